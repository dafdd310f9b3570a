//! `POST /api/v2/metering/verify`: is a key good, whose is it, what may it still spend.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use jifen_app::{App, Verified};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{CallFields, read_question};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::{CountedService, VerifyScope};
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields};
use crate::request::language::language;
use crate::request::rates::rate_headers;

/// Look at an API key · 校验 API Key
///
/// Whether the key could make a call now, and what its account holds. Nothing is taken, set aside or counted: only a charge or
/// a hold makes sure of the points. With `points`, or with `route` and `units`, the price is held against the balance.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "verify", security(("service" = [])),
    request_body = Question,
    responses(
        (status = 200, description = "What there is to say of the key, also when it may not be used", body = Verification),
        (status = 401, description = "`unauthenticated`: unknown or revoked service credential", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the credential lacks the scope `verify`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field, `unknown_route`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`: the rate limit of the credential", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn verify(
    State(app): State<App>,
    CountedService { rates, .. }: CountedService<VerifyScope>,
    headers: HeaderMap,
    JsonBody(Question(question)): JsonBody<Question>,
) -> Result<Response, Failure> {
    let verified = app.verify(&question).await?;
    let language = language(headers.get(http::header::ACCEPT_LANGUAGE));
    let answer = Verification::new(verified, language);
    let answer = json(StatusCode::OK, "application/json", &answer);
    Ok((AppendHeaders(rate_headers(&rates)), answer).into_response())
}

/// A key, and the call it is to be used for.
#[derive(ToSchema)]
#[schema(value_type = CallFields)]
pub(crate) struct Question(jifen_app::Question);

impl FromFields for Question {
    fn from_fields(fields: &Fields) -> Result<Self, jifen_app::Error> {
        read_question(fields).map(Self)
    }
}

/// What there is to say of a key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verification {
    /// Whether the call could be made now.
    #[schema(example = true)]
    usable: bool,
    /// Which limit refuses it: `unknown`, `expired`, `inactive`, `ip`, `scope`, `key_cap`, `balance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "balance", nullable = false)]
    limit: Option<&'static str>,
    /// The same in words, in the language of Accept-Language.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// What the call would cost, when it was described.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 5, nullable = false)]
    points: Option<i64>,
    /// The key, unless it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<VerifiedKey>,
}

/// A key that is known.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VerifiedKey {
    #[schema(example = "5f0c2c6de1a54c0d9a6b1c77")]
    id: String,
    #[schema(example = "production")]
    name: String,
    /// Whose it is.
    #[schema(example = "4503599627370496")]
    user_id: String,
    /// It spends play points only.
    is_test: bool,
    #[schema(example = "2025-06-25T08:00:00Z", format = DateTime)]
    expires_at: String,
    /// Points its account can spend.
    #[schema(example = 100)]
    balance: i64,
    /// What is left of the tightest of its caps, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 40, nullable = false)]
    cap_left: Option<i64>,
}

impl Verification {
    fn new(verified: Verified, language: jifen_app::Language) -> Self {
        let refusal = verified.refusal;
        Self {
            usable: refusal.is_none(),
            limit: refusal.as_ref().map(jifen_app::Refusal::name),
            detail: refusal.map(|refusal| refusal.text(language)),
            points: verified.points.map(jifen_domain::Points::get),
            key: verified.key.map(|known| VerifiedKey {
                id: known.key.id.clone(),
                name: known.key.name.clone(),
                user_id: known.key.user.to_string(),
                is_test: known.key.is_test,
                expires_at: known.key.expires_at.to_rfc3339(),
                balance: known.balance.get(),
                cap_left: known.cap_left.map(jifen_domain::Points::get),
            }),
        }
    }
}
