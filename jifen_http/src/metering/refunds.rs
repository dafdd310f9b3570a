//! `POST /api/v2/metering/refunds`: taking a charge back.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use jifen_app::{App, Error, RefundedCharge};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{IDEMPOTENCY_HIT, idempotency_key};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::{RefundScope, ServiceKey};
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields};
use crate::request::rates::rate_headers;

/// Bytes of a charge's id.
const ID_BYTES_MAX: usize = 64;

/// Take a charge back · 退回扣费
///
/// In part or whole, in several parts if need be, never more than was charged. The points go back to the lots they came from;
/// of lots that have expired since they are good again for the operator's grace (`metering.refund_grace_days`). It counts for the
/// credential's rate limit, and is never refused for it.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "refund_charge", security(("service" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, different for every refund", example = "call-4711-refund")),
    request_body = NewRefund,
    responses(
        (status = 200, description = "Given back, now or by the same request before", body = Refund),
        (status = 403, description = "`forbidden`: the credential lacks the scope `refund`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such charge", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field: more than is left of the charge", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`busy`: repeat with the same key", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn refund(
    State(app): State<App>,
    gateway: ServiceKey<RefundScope>,
    headers: HeaderMap,
    JsonBody(NewRefund { charge_id, points }): JsonBody<NewRefund>,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let refunded = app
        .refund_charge(&gateway.credential, key, &charge_id, points)
        .await?;
    let hit = refunded.is_replay.then_some((IDEMPOTENCY_HIT, "true"));
    let answer = json(StatusCode::OK, "application/json", &Refund::from(refunded));
    let rates = app.note_gateway_request(&gateway.credential);
    let rates = AppendHeaders(rate_headers(&rates));
    Ok((AppendHeaders(hit), rates, answer).into_response())
}

/// What to give back.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewRefund {
    /// The `id` of the charge.
    #[schema(example = "4503599627370496-7")]
    charge_id: String,
    /// How many points; without, all that were not given back yet.
    #[schema(example = 5, minimum = 1)]
    points: Option<i64>,
}

impl FromFields for NewRefund {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            charge_id: fields.text("chargeId", ID_BYTES_MAX)?,
            points: fields.optional_integer("points")?,
        })
    }
}

/// A refund that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refund {
    /// Names the refund for ever.
    #[schema(example = "4503599627370496-9")]
    id: String,
    /// Points given back.
    #[schema(example = 5)]
    points: i64,
    /// What could be spent right after it.
    #[schema(example = 100)]
    balance: i64,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    refunded_at: String,
}

impl From<RefundedCharge> for Refund {
    fn from(refunded: RefundedCharge) -> Self {
        Self {
            id: refunded.id,
            points: refunded.points,
            balance: refunded.balance.get(),
            refunded_at: refunded.at.to_rfc3339(),
        }
    }
}
