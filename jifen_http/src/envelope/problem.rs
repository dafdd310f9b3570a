//! Version 2's errors: RFC 9457 problem details, with a stable `code` for programs.

use axum::response::Response;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use jifen_app::{Error, Language};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Failure, json, mall};

/// RFC 9457 problem details.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:jifen:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:jifen:problem:insufficient_points")]
    kind: String,
    /// The code in words.
    #[schema(example = "insufficient points")]
    title: String,
    /// The HTTP status.
    #[schema(example = 402)]
    status: u16,
    /// Stable, for programs: `invalid_request`, `unauthenticated`, `forbidden`, `insufficient_points`, `unknown_api_key`,
    /// `api_key_not_usable`, `idempotency_key_reused`, `body_too_large`, `too_many_requests`, `maintenance`, `busy`,
    /// `not_found`, `method_not_allowed`, `provider_failed`, `internal_error`.
    #[schema(example = "insufficient_points")]
    code: &'static str,
    /// What is wrong and what to do, in the language of Accept-Language.
    #[schema(example = "not enough points: 3 left, buy more first")]
    detail: String,
    /// The field that is wrong, of `invalid_request` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
    /// Points that can be spent, of `insufficient_points` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3, nullable = false)]
    balance: Option<i64>,
}

pub(super) fn failed(failure: &Failure, language: Language) -> Response {
    let (status, code) = status_and_code(failure);
    let (field, balance) = match failure {
        Failure::Refused(Error::Invalid { field, .. }) => (Some(*field), None),
        Failure::Refused(Error::Insufficient { available }) => (None, Some(available.get())),
        _ => (None, None),
    };
    let problem = Problem {
        kind: format!("urn:jifen:problem:{code}"),
        title: code.replace('_', " "),
        status: status.as_u16(),
        code,
        detail: failure.text(language),
        field,
        balance,
    };
    let mut response = json(status, "application/problem+json", &problem);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn status_and_code(failure: &Failure) -> (StatusCode, &'static str) {
    let code = match failure {
        Failure::Refused(Error::Insufficient { .. }) => {
            return (StatusCode::PAYMENT_REQUIRED, "insufficient_points");
        }
        // Not 409: repeating the request as it is can never succeed.
        Failure::Refused(Error::Conflict(_)) => {
            return (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused");
        }
        Failure::Refused(error) => match error {
            Error::Unauthenticated(_) => "unauthenticated",
            Error::Forbidden(_) => "forbidden",
            Error::NotFound(_) => "not_found",
            Error::TooMany { .. } => "too_many_requests",
            Error::Maintenance { .. } => "maintenance",
            Error::Busy(_) => "busy",
            Error::Provider { .. } => "provider_failed",
            Error::Internal(_) => "internal_error",
            Error::Invalid { .. } | Error::Insufficient { .. } | Error::Conflict(_) => {
                "invalid_request"
            }
        },
        Failure::Named { code, .. } => code,
        Failure::NoSuchPath => "not_found",
        Failure::MethodNotAllowed => "method_not_allowed",
        Failure::BodyTooLarge { .. } => "body_too_large",
        Failure::TimedOut | Failure::Overloaded => "busy",
        Failure::Panicked => "internal_error",
    };
    (mall::status(failure), code)
}
