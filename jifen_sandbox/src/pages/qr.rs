//! `/sandbox/qr/{code}`: what the content of a login QR code opens. Choose who scans.

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    response::Html,
};
use serde::Deserialize;

use super::render;
use crate::{official_account::QrCode, payments::ActionError, people::Person, sandbox::Sandbox};

#[derive(Template)]
#[template(path = "qr.html")]
struct QrPage {
    code: QrCode,
    is_over: bool,
    people: Vec<Person>,
    /// Who has just scanned it, and the event that was pushed.
    scanned: Option<(Person, &'static str)>,
    push_url: Option<String>,
}

pub(super) async fn show(
    State(sandbox): State<Sandbox>,
    Path(code): Path<String>,
) -> Result<Html<String>, ActionError> {
    page(&sandbox, &code, None)
}

#[derive(Deserialize)]
pub(super) struct Scanned {
    person_id: String,
}

pub(super) async fn scan(
    State(sandbox): State<Sandbox>,
    Path(code): Path<String>,
    Form(form): Form<Scanned>,
) -> Result<Html<String>, ActionError> {
    let pushed = sandbox
        .official_account()
        .scan(&sandbox, &form.person_id, &code)?;
    let person = sandbox
        .people()
        .find(&form.person_id)
        .ok_or(ActionError::NotFound("person"))?;
    page(&sandbox, &code, Some((person, pushed.event)))
}

fn page(
    sandbox: &Sandbox,
    code: &str,
    scanned: Option<(Person, &'static str)>,
) -> Result<Html<String>, ActionError> {
    let account = sandbox.official_account();
    let code = account
        .find_qr_code(code)
        .ok_or(ActionError::NotFound("QR code"))?;
    render(&QrPage {
        is_over: code.is_over(sandbox.environment().now()),
        people: sandbox.people().all(),
        scanned,
        push_url: account.settings().push_url,
        code,
    })
}
