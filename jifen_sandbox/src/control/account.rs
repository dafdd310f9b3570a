//! `/sandbox/api/official-account` and the access tokens.

use axum::{Json, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    official_account::{Settings, Verification, verify_server},
    payments::ActionError,
    sandbox::Sandbox,
};

pub(super) async fn settings(State(sandbox): State<Sandbox>) -> Json<Settings> {
    Json(sandbox.official_account().settings())
}

pub(super) async fn set(
    State(sandbox): State<Sandbox>,
    Json(settings): Json<Settings>,
) -> Result<Json<Settings>, ActionError> {
    sandbox
        .official_account()
        .set(settings)
        .map(Json)
        .map_err(ActionError::Invalid)
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    badly_signed: bool,
}

pub(super) async fn verify(
    State(sandbox): State<Sandbox>,
    wish: Option<Json<Wish>>,
) -> Result<Json<Verification>, ActionError> {
    let Json(wish) = wish.unwrap_or_default();
    verify_server(&sandbox, wish.badly_signed).await.map(Json)
}

#[derive(Serialize)]
pub(super) struct QrCodeView {
    ticket: String,
    url: String,
    scene: String,
    ends_at: Option<Timestamp>,
}

pub(super) async fn qr_codes(State(sandbox): State<Sandbox>) -> Json<Vec<QrCodeView>> {
    let codes = sandbox.official_account().qr_codes().into_iter();
    let views = codes.map(|code| QrCodeView {
        url: code.content(&sandbox),
        ticket: code.ticket,
        scene: code.scene,
        ends_at: code.ends_at,
    });
    Json(views.collect())
}

pub(super) async fn revoke_access_tokens(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.access_tokens().revoke_all();
    StatusCode::NO_CONTENT
}
