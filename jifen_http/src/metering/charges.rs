//! `/api/v2/metering/charges`: charging an API key.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use jifen_app::{App, ChargeRequest, Charged, Error};
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::ServiceKey;
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields, missing};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_HIT: HeaderName = HeaderName::from_static("idempotency-hit");

/// Charge an API key · 对 API Key 扣费
///
/// Exact, durable before it is answered, and made once for each `Idempotency-Key` of a service credential: the same request
/// again gets the first answer, with `Idempotency-Hit: true`. A refused charge changes nothing and may be repeated.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "charge", security(("service" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, different for every charge", example = "call-4711")),
    request_body = NewCharge,
    responses(
        (status = 200, description = "Charged, now or by the same request before", body = Charge),
        (status = 401, description = "`unauthenticated`: unknown or revoked service credential", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "`insufficient_points`, with the `balance`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`api_key_not_usable`: expired or switched off", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field, `unknown_api_key`, `idempotency_key_reused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`busy` or `maintenance`: repeat with the same key", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn charge(
    State(app): State<App>,
    ServiceKey(gateway): ServiceKey,
    headers: HeaderMap,
    JsonBody(NewCharge(request)): JsonBody<NewCharge>,
) -> Result<Response, Failure> {
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .ok_or(missing("Idempotency-Key"))?;
    let charged = app
        .charge(&gateway, key.to_str().unwrap_or_default(), &request)
        .await
        .map_err(named)?;
    let hit = charged.is_replay.then_some((IDEMPOTENCY_HIT, "true"));
    let answer = json(StatusCode::OK, "application/json", &Charge::from(charged));
    Ok((AppendHeaders(hit), answer).into_response())
}

/// Refusals of the key itself have codes of their own.
fn named(error: Error) -> Failure {
    match error {
        Error::Invalid {
            field: "apiKey", ..
        } => Failure::Named {
            code: "unknown_api_key",
            error,
        },
        Error::Forbidden(_) => Failure::Named {
            code: "api_key_not_usable",
            error,
        },
        other => Failure::Refused(other),
    }
}

/// Bytes of an API key; ours have 42.
const API_KEY_BYTES_MAX: usize = 128;
/// Bytes of title and description; the use case counts characters.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// What to charge for.
#[derive(ToSchema)]
#[schema(value_type = ChargeFields)]
pub(crate) struct NewCharge(ChargeRequest);

/// A charge to be made.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct ChargeFields {
    /// The secret of the key, as its holder sent it to the gateway.
    #[schema(example = "jf_live_…")]
    api_key: String,
    /// Points to take, 1 to 1,000,000,000,000.
    #[schema(example = 5, minimum = 1)]
    points: i64,
    /// Shown in the holder's history, at most 128 characters.
    #[schema(example = "OCR", max_length = 128)]
    title: String,
    /// Shown below it, at most 512 characters.
    #[schema(example = "one page", max_length = 512)]
    description: Option<String>,
}

impl FromFields for NewCharge {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self(ChargeRequest {
            api_key: fields.text("apiKey", API_KEY_BYTES_MAX)?,
            points: fields.integer("points")?,
            title: fields.text("title", TEXT_BYTES_MAX)?,
            description: fields.optional_text("description", TEXT_BYTES_MAX)?,
        }))
    }
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
    /// The balance right after it.
    #[schema(example = 95)]
    balance: i64,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    charged_at: String,
}

impl From<Charged> for Charge {
    fn from(charged: Charged) -> Self {
        Self {
            id: charged.id,
            points: charged.points,
            balance: charged.balance.get(),
            charged_at: charged.at.to_rfc3339(),
        }
    }
}
