//! The pay document's envelope: `{"code":"0000","info":"调用成功","data":…}`, always with HTTP status 200; only a path or a
//! method that does not exist says so in its status too. It speaks Chinese whatever the reader's language: its texts
//! (`调用成功`, `未登录`) are part of the contract.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jifen_app::{Error, Language};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Failure, json, mall};

const SUCCESS: &str = "0000";
const FAILURE: &str = "0001";
const ILLEGAL_PARAMETER: &str = "0002";
const NOT_LOGGED_IN: &str = "0003";

/// The data of a successful answer.
pub(crate) struct Success<T>(pub(crate) T);

/// What the pay group's handlers return.
pub(crate) type Reply<T> = Result<Success<T>, Failure>;

/// 统一响应结构 · The envelope of every answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Response0000<T> {
    /// 0000 调用成功，0001 调用失败，0002 非法参数，0003 未登录
    #[schema(example = "0000")]
    code: &'static str,
    /// 响应信息；失败时为原因 · On errors, the reason.
    #[schema(example = "调用成功")]
    info: String,
    data: T,
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        let body = Response0000 {
            code: SUCCESS,
            info: "调用成功".to_owned(),
            data: self.0,
        };
        json(StatusCode::OK, "application/json", &body)
    }
}

pub(super) fn failed(failure: &Failure) -> Response {
    let status = match failure {
        Failure::NoSuchPath | Failure::MethodNotAllowed => mall::status(failure),
        _ => StatusCode::OK,
    };
    let body = Response0000 {
        code: code(failure),
        info: failure.text(Language::Chinese),
        data: (),
    };
    json(status, "application/json", &body)
}

fn code(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused(Error::Invalid { .. } | Error::NotFound(_))
        | Failure::BodyTooLarge { .. } => ILLEGAL_PARAMETER,
        Failure::Refused(Error::Unauthenticated(_)) => NOT_LOGGED_IN,
        _ => FAILURE,
    }
}
