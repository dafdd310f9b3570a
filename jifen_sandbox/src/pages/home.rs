//! `/sandbox`: who can I be, what is waiting, where do I point my program.

use askama::Template;
use axum::{extract::State, response::Html};

use super::render;
use crate::{
    exchanges::Exchange,
    payments::{ActionError, Payment},
    people::Person,
    sandbox::Sandbox,
};

const WAITING_LISTED_MAX: usize = 6;
const REFUSED_LISTED_MAX: usize = 5;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    people: Vec<Person>,
    waiting: Vec<Payment>,
    refused: Vec<Exchange>,
    base_url: String,
    push_url: Option<String>,
    faults: usize,
}

pub(super) async fn show(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    let payments = [
        crate::wechat_pay::payments(&sandbox),
        crate::alipay::payments(&sandbox),
    ];
    let waiting = payments
        .into_iter()
        .flatten()
        .filter(|payment| payment.payable)
        .take(WAITING_LISTED_MAX);
    let all = sandbox.exchanges().newest(usize::MAX, None).into_iter();
    let refused = all
        .filter(|exchange| exchange.refusal.is_some())
        .take(REFUSED_LISTED_MAX);
    render(&Home {
        people: sandbox.people().all(),
        waiting: waiting.collect(),
        refused: refused.collect(),
        base_url: sandbox.url(""),
        push_url: sandbox.official_account().settings().push_url,
        faults: sandbox.faults().all().len(),
    })
}
