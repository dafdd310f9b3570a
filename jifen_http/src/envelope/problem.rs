//! Version 2's errors: RFC 9457 problem details, with a stable `code` for programs.

use axum::response::Response;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use jifen_app::{Error, Language, Limit};
use jifen_domain::Points;
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
    /// `api_key_not_usable`, `key_cap_reached`, `unknown_route`, `hold_ended`, `idempotency_key_reused`, `body_too_large`, `too_many_requests`, `maintenance`, `busy`,
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
    /// Which limit refused an API key: `balance`, `key_cap`, `holds`, `rate`, `expired`, `inactive`, `ip`, `scope`, `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "balance", nullable = false)]
    limit: Option<&'static str>,
    /// Points that can be spent, when an API key was refused that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3, nullable = false)]
    balance: Option<i64>,
}

pub(super) fn failed(failure: &Failure, language: Language) -> Response {
    let problem = Problem::of(failure, language);
    let status = status_and_code(failure).0;
    let mut response = json(status, "application/problem+json", &problem);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

impl Problem {
    /// A failure in words and for programs.
    pub(crate) fn of(failure: &Failure, language: Language) -> Self {
        let (status, code) = status_and_code(failure);
        let (field, limit, balance) = match failure {
            Failure::Refused(Error::Invalid { field, .. }) => (Some(*field), None, None),
            Failure::Refused(Error::Insufficient { available }) => {
                (None, Some("balance"), Some(available.get()))
            }
            Failure::Refused(Error::KeyRefused { limit, balance, .. }) => {
                (None, Some(limit.name()), balance.map(Points::get))
            }
            _ => (None, None, None),
        };
        Self {
            kind: format!("urn:jifen:problem:{code}"),
            title: code.replace('_', " "),
            status: status.as_u16(),
            code,
            detail: failure.text(language),
            field,
            limit,
            balance,
        }
    }
}

pub(crate) fn status_and_code(failure: &Failure) -> (StatusCode, &'static str) {
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
            Error::Ended(_) => "hold_ended",
            Error::KeyRefused { limit, .. } => match limit {
                Limit::Unknown => "unknown_api_key",
                Limit::Expired | Limit::Inactive | Limit::Ip | Limit::Scope => "api_key_not_usable",
                Limit::Rate => "too_many_requests",
                Limit::KeyCap => "key_cap_reached",
                Limit::Holds => "too_many_holds",
            },
            Error::Invalid { field: "route", .. } => "unknown_route",
            Error::TooMany(_) => "too_many_requests",
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
