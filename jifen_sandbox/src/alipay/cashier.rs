//! The cashier: the buyer logs in, which creates the trade, and pays, fails or leaves.

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    answer::Failure,
    book::{Book, Checkout},
    notification::{self, Kind},
    trade::{Buyer, Ordered, Status, Trade},
    trades,
};
use crate::{
    beijing,
    payments::{ActionError, CashierAction, Payment},
    people::Person,
    provider::Provider,
    sandbox::Sandbox,
};

/// Payments the list page shows.
const LISTED_MAX: usize = 100;

/// Every order somebody opened the cashier for, newest first.
pub(crate) fn payments(sandbox: &Sandbox) -> Vec<Payment> {
    trades::close_expired(sandbox, sandbox.environment().now());
    let book = sandbox.alipay().book.lock();
    let mut seen = std::collections::HashSet::new();
    let newest = book
        .checkouts()
        .filter(|checkout| seen.insert(checkout.ordered.out_trade_no.clone()));
    newest
        .map(|checkout| describe(sandbox, &book, checkout))
        .collect()
}

/// One, by the cashier's id, the `out_trade_no` or the `trade_no`.
pub(crate) fn payment(sandbox: &Sandbox, id: &str) -> Result<Payment, ActionError> {
    trades::close_expired(sandbox, sandbox.environment().now());
    let book = sandbox.alipay().book.lock();
    find(&book, id).map(|checkout| describe(sandbox, &book, checkout))
}

/// Does what a person does at the cashier. Paying includes logging in.
pub(crate) fn act(
    sandbox: &Sandbox,
    id: &str,
    action: CashierAction,
) -> Result<Payment, ActionError> {
    match action {
        CashierAction::Pay { person_id } => {
            log_in(sandbox, id, person_id.as_deref())?;
            pay(sandbox, id)
        }
        // Alipay knows no failed trade: it goes on waiting for its buyer. The buyer must have logged in to try.
        CashierAction::Fail => log_in(sandbox, id, None),
        CashierAction::Abandon => payment(sandbox, id),
    }
}

/// Creates the trade, or finds it again, with this buyer (`None`: the one it has, else the first demo person).
pub(crate) fn log_in(
    sandbox: &Sandbox,
    id: &str,
    person_id: Option<&str>,
) -> Result<Payment, ActionError> {
    let now = sandbox.environment().now();
    trades::close_expired(sandbox, now);
    let mut book = sandbox.alipay().book.lock();
    let checkout = find(&book, id)?.clone();
    let number = checkout.ordered.out_trade_no.clone();
    let existing = book
        .find(&number)
        .map(|trade| trade.buyer.person_id.clone());
    let created = existing.is_none();
    let wanted = person_id.map(str::to_owned).or(existing);
    let person = match wanted {
        Some(wanted) => sandbox.people().find(&wanted),
        None => sandbox.people().all().into_iter().next(),
    };
    let person = person.ok_or(ActionError::NotFound("person"))?;
    let buyer = Buyer {
        user_id: person.alipay_user_id(),
        open_id: person.openid(sandbox.kit().alipay_app_id),
        masked_login: person.alipay_logon_id(),
        person_id: person.id,
    };
    book.log_in(&checkout.id, buyer, sandbox.environment(), now)
        .map_err(|failure| conflict(&failure))?;
    drop(book);
    if created {
        trades::notify(sandbox, &number, &Kind::Created, now);
    }
    payment(sandbox, id)
}

fn pay(sandbox: &Sandbox, id: &str) -> Result<Payment, ActionError> {
    let now = sandbox.environment().now();
    let mut book = sandbox.alipay().book.lock();
    let number = find(&book, id)?.ordered.out_trade_no.clone();
    book.pay(&number, now)
        .map_err(|failure| conflict(&failure))?;
    drop(book);
    trades::notify(sandbox, &number, &Kind::Paid, now);
    payment(sandbox, id)
}

fn find<'a>(book: &'a Book, id: &str) -> Result<&'a Checkout, ActionError> {
    let by_trade_no = || book.checkout(&book.find_by_trade_no(id)?.ordered.out_trade_no);
    book.checkout(id)
        .or_else(by_trade_no)
        .ok_or(ActionError::NotFound("payment"))
}

fn conflict(failure: &Failure) -> ActionError {
    ActionError::Conflict(format!("{}: {}", failure.sub_code, failure.sub_msg))
}

fn describe(sandbox: &Sandbox, book: &Book, checkout: &Checkout) -> Payment {
    let ordered = &checkout.ordered;
    let trade = book.find(&ordered.out_trade_no);
    let waiting = trade.is_none_or(|trade| trade.status == Status::WaitBuyerPay);
    let over = is_over(ordered, sandbox);
    Payment {
        provider: Provider::Alipay,
        id: checkout.id.clone(),
        out_trade_no: ordered.out_trade_no.clone(),
        description: ordered.subject.clone(),
        amount_fen: ordered.total_fen,
        state: trade
            .map_or("TRADE_NOT_EXIST", |trade| trade.status.as_str())
            .to_owned(),
        payable: waiting && (trade.is_some() || !over),
        person_id: trade.map(|trade| trade.buyer.person_id.clone()),
        created_at: beijing::rfc3339(trade.map_or(checkout.opened_at, |trade| trade.created_at)),
        notify_url: ordered.notify_url.clone(),
    }
}

/// Whether the form came too late: only an absolute deadline can pass before there is a trade.
fn is_over(ordered: &Ordered, sandbox: &Sandbox) -> bool {
    matches!(ordered.deadline, super::trade::Deadline::At(moment) if moment <= sandbox.environment().now())
}

#[derive(Template)]
#[template(path = "alipay/cashier_list.html")]
struct ListPage {
    payments: Vec<Payment>,
}

#[derive(Template)]
#[template(path = "alipay/cashier.html")]
struct CashierPage {
    payment: Payment,
    /// Who can log in, or nobody once somebody has.
    people: Vec<Person>,
    /// Who is logged in.
    buyer: Option<String>,
    trade_no: Option<String>,
    expires_at: Option<String>,
    /// Where the buyer goes back to.
    return_url: Option<String>,
    /// A payment was tried and refused.
    failed: bool,
}

#[derive(Template)]
#[template(path = "alipay/error.html")]
struct ErrorPage<'a> {
    code: &'a str,
    reason: &'a str,
}

/// What a browser gets instead of the cashier when the merchant's form is wrong.
pub(crate) fn error_page(code: &str, reason: &str) -> Response {
    match crate::pages::render(&ErrorPage { code, reason }) {
        Ok(page) => page.into_response(),
        Err(error) => error.into_response(),
    }
}

/// `GET /sandbox/alipay/cashier`
pub(crate) async fn list(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    let waiting = payments(&sandbox)
        .into_iter()
        .filter(|payment| payment.payable);
    crate::pages::render(&ListPage {
        payments: waiting.take(LISTED_MAX).collect(),
    })
}

/// `GET /sandbox/alipay/cashier/{id}`
pub(crate) async fn page(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Html<String>, ActionError> {
    show(&sandbox, &id, false)
}

fn show(sandbox: &Sandbox, id: &str, failed: bool) -> Result<Html<String>, ActionError> {
    let payment = payment(sandbox, id)?;
    let now = sandbox.environment().now();
    let trade: Option<Trade> = sandbox
        .alipay()
        .book
        .lock()
        .find(&payment.out_trade_no)
        .cloned();
    let return_url = trade
        .as_ref()
        .filter(|trade| trade.paid_at.is_some())
        .and_then(|trade| notification::return_url(sandbox, trade, now));
    let buyer = trade
        .as_ref()
        .and_then(|trade| sandbox.people().find(&trade.buyer.person_id));
    crate::pages::render(&CashierPage {
        people: if trade.is_none() {
            sandbox.people().all()
        } else {
            Vec::new()
        },
        buyer: buyer.map(|person| person.nickname),
        trade_no: trade.as_ref().map(|trade| trade.trade_no.clone()),
        expires_at: trade.as_ref().map(|trade| beijing::plain(trade.expires_at)),
        return_url,
        failed,
        payment,
    })
}

/// What the cashier's forms send.
#[derive(Debug, Deserialize)]
pub(crate) struct Submitted {
    action: String,
    #[serde(default)]
    person_id: String,
}

/// `POST /sandbox/alipay/cashier/{id}`
pub(crate) async fn submit(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Form(form): Form<Submitted>,
) -> Result<Response, ActionError> {
    let person_id = (!form.person_id.is_empty()).then_some(form.person_id.as_str());
    let here = format!("/sandbox/alipay/cashier/{id}");
    match form.action.as_str() {
        "login" => {
            log_in(&sandbox, &id, person_id)?;
            Ok(Redirect::to(&here).into_response())
        }
        "pay" => {
            let paid = act(
                &sandbox,
                &id,
                CashierAction::Pay {
                    person_id: person_id.map(str::to_owned),
                },
            )?;
            let now = sandbox.environment().now();
            let trade = sandbox
                .alipay()
                .book
                .lock()
                .find(&paid.out_trade_no)
                .cloned();
            let back = trade.and_then(|trade| notification::return_url(&sandbox, &trade, now));
            Ok(Redirect::to(&back.unwrap_or(here)).into_response())
        }
        "fail" => {
            act(&sandbox, &id, CashierAction::Fail)?;
            let page = show(&sandbox, &id, true)?;
            Ok((StatusCode::OK, page).into_response())
        }
        "abandon" => {
            act(&sandbox, &id, CashierAction::Abandon)?;
            Ok(Redirect::to("/sandbox/alipay/cashier").into_response())
        }
        _ => Err(ActionError::Invalid(
            "action must be login, pay, fail or abandon".to_owned(),
        )),
    }
}
