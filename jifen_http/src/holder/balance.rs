//! `GET /api/v2/balance`: what there is to spend.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::StatusCode;
use jifen_app::{App, Expiring};
use jifen_domain::{Points, Time};
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::KeyHolder;
use crate::request::rates::rate_headers;

/// Ask for the balance · 查询积分余额
///
/// With the API key itself: what can be spent, what expires when, what is left of the key's caps.
#[utoipa::path(
    get, path = "", tag = "holder", operation_id = "balance", security(("api_key" = [])),
    responses(
        (status = 200, description = "What there is to spend", body = Balance),
        (status = 401, description = "`unauthenticated`: unknown API key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`api_key_not_usable`: expired or switched off", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn balance(
    State(app): State<App>,
    KeyHolder { key, rates }: KeyHolder,
) -> Result<Response, Failure> {
    let balance = app.balance(&key).await?;
    let answer = Balance {
        available: balance.available.get(),
        held: balance.held.get(),
        is_test: key.is_test,
        key_id: key.id.clone(),
        cap_left: balance.cap_left.map(Points::get),
        expiring: balance.expiring.into_iter().map(Expiry::from).collect(),
    };
    let answer = json(StatusCode::OK, "application/json", &answer);
    Ok((AppendHeaders(rate_headers(&rates)), answer).into_response())
}

/// What there is to spend.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Balance {
    /// Points that can be spent now.
    #[serde(rename = "balance")]
    #[schema(example = 1000)]
    available: i64,
    /// Points set aside for calls that are under way.
    #[schema(example = 20)]
    held: i64,
    /// The key is a test key, and these are play points.
    is_test: bool,
    #[schema(example = "5f0c2c6de1a54c0d9a6b1c77")]
    key_id: String,
    /// What is left of the tightest of the key's caps, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 40, nullable = false)]
    cap_left: Option<i64>,
    /// What of the balance expires when: the earliest 20, what never expires last.
    expiring: Vec<Expiry>,
}

/// Points that expire together.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Expiry {
    #[schema(example = 600)]
    points: i64,
    /// Null for never.
    #[schema(example = "2025-06-25T08:00:00Z", format = DateTime)]
    expires_at: Option<String>,
}

impl From<Expiring> for Expiry {
    fn from(expiring: Expiring) -> Self {
        Self {
            points: expiring.points.get(),
            expires_at: expiring.at.map(Time::to_rfc3339),
        }
    }
}
