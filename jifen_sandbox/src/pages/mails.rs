//! `/sandbox/mails`: the mail box.

use askama::Template;
use axum::{
    extract::State,
    response::{Html, Redirect},
};

use super::render;
use crate::{mails::Mail, payments::ActionError, sandbox::Sandbox};

#[derive(Template)]
#[template(path = "mails.html")]
struct MailsPage {
    mails: Vec<Mail>,
}

pub(super) async fn show(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    render(&MailsPage {
        mails: sandbox.mails().newest(None),
    })
}

pub(super) async fn clear(State(sandbox): State<Sandbox>) -> Redirect {
    sandbox.mails().clear();
    Redirect::to("/sandbox/mails")
}
