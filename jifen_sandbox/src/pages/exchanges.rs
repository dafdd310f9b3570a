//! `/sandbox/exchanges` and `/sandbox/notifications`: what went over the wire, and what is still to be sent.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::{Html, Redirect},
};
use serde::Deserialize;

use super::render;
use crate::{
    exchanges::{Direction, Exchange},
    outbox::{self, NotificationState, NotificationView},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

const LISTED_MAX: usize = 100;

#[derive(Template)]
#[template(path = "exchanges.html")]
struct ExchangesPage {
    exchanges: Vec<Exchange>,
    providers: [Provider; 4],
    chosen: Option<Provider>,
}

#[derive(Deserialize)]
pub(super) struct Which {
    provider: Option<String>,
}

pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Query(which): Query<Which>,
) -> Result<Html<String>, ActionError> {
    let chosen = which.provider.as_deref().and_then(Provider::from_name);
    let exchanges = sandbox.exchanges().newest(LISTED_MAX, chosen);
    render(&ExchangesPage {
        exchanges,
        providers: Provider::ALL,
        chosen,
    })
}

pub(super) async fn clear(State(sandbox): State<Sandbox>) -> Redirect {
    sandbox.exchanges().clear();
    Redirect::to("/sandbox/exchanges")
}

#[derive(Template)]
#[template(path = "exchange.html")]
struct ExchangePage {
    exchange: Exchange,
}

pub(super) async fn show(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Html<String>, ActionError> {
    let exchange = sandbox
        .exchanges()
        .find(id)
        .ok_or(ActionError::NotFound("exchange"))?;
    render(&ExchangePage { exchange })
}

#[derive(Template)]
#[template(path = "notifications.html")]
struct NotificationsPage {
    notifications: Vec<NotificationView>,
}

pub(super) async fn notifications(
    State(sandbox): State<Sandbox>,
) -> Result<Html<String>, ActionError> {
    let mut notifications = sandbox.outbox().all();
    notifications.truncate(LISTED_MAX);
    render(&NotificationsPage { notifications })
}

#[derive(Deserialize)]
pub(super) struct Resend {
    /// Absent: everything waiting.
    id: Option<u64>,
}

pub(super) async fn resend(
    State(sandbox): State<Sandbox>,
    Form(form): Form<Resend>,
) -> Result<Redirect, ActionError> {
    match form.id {
        Some(id) => drop(outbox::resend(&sandbox, id).await?),
        None => drop(outbox::flush(&sandbox).await),
    }
    Ok(Redirect::to("/sandbox/notifications"))
}
