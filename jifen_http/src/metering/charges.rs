//! `POST /api/v2/metering/charges`: charging an API key.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use jifen_app::{App, Charged};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{IDEMPOTENCY_HIT, NewCall, idempotency_key};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::{ChargeScope, ServiceKey};
use crate::request::body::JsonBody;
use crate::request::rates::rate_headers;

/// Charge an API key · 对 API Key 扣费
///
/// Exact, durable before it is answered, and made once for each `Idempotency-Key` of a service credential and holder: the same
/// request again gets the first answer, with `Idempotency-Hit: true`. A refused charge changes nothing and may be repeated.
/// Name the points, or the route and let the tariff set the price.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "charge", security(("service" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, different for every charge", example = "call-4711")),
    request_body = NewCall,
    responses(
        (status = 200, description = "Charged, now or by the same request before", body = Charge),
        (status = 401, description = "`unauthenticated`: unknown or revoked service credential", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "`insufficient_points` or `key_cap_reached`, with the `balance`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`api_key_not_usable`: see `limit`; `forbidden`: the credential lacks the scope `charge`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field, `unknown_api_key`, `unknown_route`, `idempotency_key_reused`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`: the rate limit of the key or of the credential", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`busy` or `maintenance`: repeat with the same key", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn charge(
    State(app): State<App>,
    gateway: ServiceKey<ChargeScope>,
    headers: HeaderMap,
    JsonBody(NewCall(request)): JsonBody<NewCall>,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let charged = app.charge(&gateway.credential, key, &request).await?;
    let hit = charged.is_replay.then_some((IDEMPOTENCY_HIT, "true"));
    let rates = rate_headers(&charged.rates);
    let answer = json(StatusCode::OK, "application/json", &Charge::from(charged));
    Ok((AppendHeaders(hit), AppendHeaders(rates), answer).into_response())
}

/// A charge that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Charge {
    /// Names the charge for ever; the `id` of the holder's consumption history.
    #[schema(example = "4503599627370496-7")]
    id: String,
    /// Points taken.
    #[schema(example = 5)]
    points: i64,
    /// What could be spent right after it.
    #[schema(example = 95)]
    balance: i64,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    charged_at: String,
    /// The version of the tariff that set the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3, nullable = false)]
    tariff: Option<i64>,
}

impl From<Charged> for Charge {
    fn from(charged: Charged) -> Self {
        Self {
            id: charged.id,
            points: charged.points,
            balance: charged.balance.get(),
            charged_at: charged.at.to_rfc3339(),
            tariff: charged.tariff_id,
        }
    }
}
