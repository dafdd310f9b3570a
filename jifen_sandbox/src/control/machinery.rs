//! Kit, faults, exchanges, notifications, mails.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::Deserialize;

use crate::{
    exchanges::Exchange,
    faults::{Fault, NewFault},
    kit::Kit,
    mails::{Mail, NewMail},
    outbox::{self, FlushResult, NotificationView},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

const EXCHANGES_LISTED_DEFAULT: usize = 50;

pub(super) async fn kit(State(sandbox): State<Sandbox>) -> Json<&'static Kit> {
    Json(sandbox.kit())
}

pub(super) async fn faults(State(sandbox): State<Sandbox>) -> Json<Vec<Fault>> {
    Json(sandbox.faults().all())
}

pub(super) async fn add_fault(
    State(sandbox): State<Sandbox>,
    Json(new): Json<NewFault>,
) -> Result<Json<Fault>, ActionError> {
    sandbox.faults().add(&new).map(Json)
}

pub(super) async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.faults().clear();
    StatusCode::NO_CONTENT
}

pub(super) async fn remove_fault(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ActionError> {
    sandbox.faults().remove(id).map(|()| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct Which {
    provider: Option<Provider>,
    count: Option<usize>,
}

pub(super) async fn exchanges(
    State(sandbox): State<Sandbox>,
    Query(which): Query<Which>,
) -> Json<Vec<Exchange>> {
    Json(sandbox.exchanges().newest(
        which.count.unwrap_or(EXCHANGES_LISTED_DEFAULT),
        which.provider,
    ))
}

pub(super) async fn exchange(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Json<Exchange>, ActionError> {
    sandbox
        .exchanges()
        .find(id)
        .map(Json)
        .ok_or(ActionError::NotFound("exchange"))
}

pub(super) async fn clear_exchanges(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.exchanges().clear();
    StatusCode::NO_CONTENT
}

pub(super) async fn notifications(State(sandbox): State<Sandbox>) -> Json<Vec<NotificationView>> {
    Json(sandbox.outbox().all())
}

pub(super) async fn notification(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Json<NotificationView>, ActionError> {
    sandbox.outbox().find(id).map(Json)
}

pub(super) async fn resend(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Json<NotificationView>, ActionError> {
    outbox::resend(&sandbox, id).await.map(Json)
}

pub(super) async fn flush(State(sandbox): State<Sandbox>) -> Json<FlushResult> {
    Json(outbox::flush(&sandbox).await)
}

pub(super) async fn deliver_due(State(sandbox): State<Sandbox>) -> Json<FlushResult> {
    Json(outbox::deliver_due(&sandbox).await)
}

#[derive(Deserialize)]
pub(super) struct Addressee {
    to: Option<String>,
}

pub(super) async fn mails(
    State(sandbox): State<Sandbox>,
    Query(addressee): Query<Addressee>,
) -> Json<Vec<Mail>> {
    Json(sandbox.mails().newest(addressee.to.as_deref()))
}

pub(super) async fn store_mail(
    State(sandbox): State<Sandbox>,
    Json(new): Json<NewMail>,
) -> Json<Mail> {
    Json(sandbox.mails().store(new, sandbox.environment().now()))
}

pub(super) async fn clear_mails(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.mails().clear();
    StatusCode::NO_CONTENT
}
