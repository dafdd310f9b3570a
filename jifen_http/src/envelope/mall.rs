//! The mall document's envelope: `{"code":0,"message":"success","data":…}`; an error's code is the HTTP status.

use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use jifen_app::{Error, Language, Limit};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Failure, json};

/// The data of a successful answer.
pub(crate) struct Success<T>(pub(crate) T);

/// What the mall's handlers return.
pub(crate) type Reply<T> = Result<Success<T>, Failure>;

/// 统一响应格式 · The envelope of every answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// 0 表示成功 · 0 for success.
    #[schema(example = 0)]
    code: u16,
    /// 状态描述 · What happened, for people.
    #[schema(example = "success")]
    message: String,
    data: T,
}

/// null
#[derive(ToSchema)]
pub(crate) struct Nothing;

/// 失败响应 · An error: the code is the HTTP status, the message says what to do.
#[derive(Serialize, ToSchema)]
pub(crate) struct MallError {
    /// 非 0，等于 HTTP 状态码 · Not 0; the HTTP status.
    #[schema(example = 422)]
    code: u16,
    /// 错误描述，语言随 Accept-Language · What is wrong and what to do, in the language of Accept-Language.
    #[schema(example = "packageId: 缺少该字段")]
    message: String,
    /// null
    #[schema(value_type = Option<Object>)]
    data: (),
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Wire<'a, T> {
            code: u16,
            message: &'static str,
            data: &'a T,
        }
        json(
            StatusCode::OK,
            "application/json",
            &Wire {
                code: 0,
                message: "success",
                data: &self.0,
            },
        )
    }
}

pub(super) fn failed(failure: &Failure, language: Language) -> Response {
    let status = status(failure);
    let error = MallError {
        code: status.as_u16(),
        message: failure.text(language),
        data: (),
    };
    let mut response = json(status, "application/json", &error);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The status of a failure, and the code in the envelope.
pub(super) fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Refused(error) | Failure::Named { error, .. } => match error {
            Error::Invalid { .. } | Error::Insufficient { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) | Error::Ended(_) => StatusCode::CONFLICT,
            Error::KeyRefused { limit, .. } => match limit {
                Limit::Unknown => StatusCode::UNPROCESSABLE_ENTITY,
                Limit::Expired | Limit::Inactive | Limit::Ip | Limit::Scope => {
                    StatusCode::FORBIDDEN
                }
                Limit::Rate => StatusCode::TOO_MANY_REQUESTS,
                Limit::KeyCap => StatusCode::PAYMENT_REQUIRED,
                Limit::Holds => StatusCode::CONFLICT,
            },
            Error::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Maintenance { .. } | Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Provider { .. } | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        },
        Failure::NoSuchPath => StatusCode::NOT_FOUND,
        Failure::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Failure::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::TimedOut | Failure::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
