//! `POST /api/v2/metering/charges/batch`: many charges at once.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jifen_app::{App, BATCH_MAX, ChargeRequest, Charged, Error};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{CallFields, read_call};
use super::charges::Charge;
use crate::envelope::problem::{Problem, status_and_code};
use crate::envelope::{Failure, json};
use crate::request::authority::{ChargeScope, ServiceKey};
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields};
use crate::request::language::language;

/// Bytes of an idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Make many charges · 批量扣费
///
/// Up to 1,000, each with its own idempotency key and its own outcome, in the order given: one that is refused does not keep
/// the others from being made. All of them are on the disk before the answer. Repeat the batch as it is when no answer comes.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "charge_batch", security(("service" = [])),
    request_body = Batch,
    responses(
        (status = 200, description = "How each charge ended", body = Results),
        (status = 401, description = "`unauthenticated`: unknown or revoked service credential", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the credential lacks the scope `charge`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`: send smaller batches", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`: no list of 1 to 1,000 objects", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`busy` or `maintenance`: repeat the batch as it is", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn charge(
    State(app): State<App>,
    gateway: ServiceKey<ChargeScope>,
    headers: HeaderMap,
    JsonBody(Batch(items)): JsonBody<Batch>,
) -> Result<Response, Failure> {
    let language = language(headers.get(http::header::ACCEPT_LANGUAGE));
    let mut results: Vec<Option<Outcome>> = Vec::with_capacity(items.len());
    let mut charges = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(charge) => {
                charges.push(charge);
                results.push(None);
            }
            Err(error) => results.push(Some(Outcome::refused(error, language))),
        }
    }
    let tried = if charges.is_empty() {
        Vec::new()
    } else {
        app.charge_batch(&gateway.credential, charges).await?
    };
    let mut tried = tried.into_iter();
    let results = results
        .into_iter()
        .filter_map(|result| result.or_else(|| Some(Outcome::of(tried.next()?, language))));
    let results = Results {
        results: results.collect(),
    };
    Ok(json(StatusCode::OK, "application/json", &results))
}

/// The charges, or why one of them cannot be tried.
#[derive(ToSchema)]
#[schema(value_type = BatchFields)]
pub(crate) struct Batch(Vec<Result<(String, ChargeRequest), Error>>);

/// Charges to be made.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct BatchFields {
    /// 1 to 1,000.
    #[schema(max_items = 1000)]
    charges: Vec<BatchCharge>,
}

/// A charge of a batch.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct BatchCharge {
    /// 1 to 255 visible ASCII characters, different for every charge.
    #[schema(example = "call-4711")]
    idempotency_key: String,
    #[schema(inline)]
    #[serde(flatten)]
    call: CallFields,
}

impl FromFields for Batch {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        let items = fields.objects("charges", BATCH_MAX)?;
        let read = |item: Fields| {
            let key = item.text("idempotencyKey", IDEMPOTENCY_KEY_BYTES_MAX)?;
            Ok((key, read_call(&item)?))
        };
        Ok(Self(items.into_iter().map(read).collect()))
    }
}

/// How the charges ended, in the order of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Results {
    results: Vec<Outcome>,
}

/// How one charge ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// The status the charge would have had by itself.
    #[schema(example = 200)]
    status: u16,
    /// The charge had been made before by the same request.
    idempotency_hit: bool,
    /// The charge, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    charge: Option<Charge>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<Problem>,
}

impl Outcome {
    fn of(charged: Result<Charged, Error>, language: jifen_app::Language) -> Self {
        match charged {
            Ok(charged) => Self {
                status: StatusCode::OK.as_u16(),
                idempotency_hit: charged.is_replay,
                charge: Some(charged.into()),
                problem: None,
            },
            Err(error) => Self::refused(error, language),
        }
    }

    fn refused(error: Error, language: jifen_app::Language) -> Self {
        let failure = Failure::from(error);
        failure.log();
        Self {
            status: status_and_code(&failure).0.as_u16(),
            idempotency_hit: false,
            charge: None,
            problem: Some(Problem::of(&failure, language)),
        }
    }
}
