//! What providers are answered when their notifications cannot be taken: each in the words of its protocol, so that it
//! delivers again.

use axum::response::Response;
use http::StatusCode;
use jifen_app::Language;
use serde_json::json;

use super::{Failure, json, mall, text};

/// Alipay knows two answers, `success` and anything else; the pay document writes `false`.
pub(super) fn alipay_failed(failure: &Failure) -> Response {
    match failure {
        Failure::MethodNotAllowed => text(mall::status(failure), failure.text(Language::English)),
        _ => text(StatusCode::OK, "false"),
    }
}

/// WeChat reads `success` or a message; any other status makes it push again.
pub(super) fn official_account_failed(failure: &Failure) -> Response {
    text(mall::status(failure), failure.text(Language::English))
}

/// WeChat Pay reads the status, and records the message.
pub(super) fn wechat_pay_failed(failure: &Failure) -> Response {
    wechat_pay_refused(mall::status(failure), &failure.text(Language::English))
}

/// The body WeChat Pay's notification protocol asks for with any status but 200 and 204.
pub(crate) fn wechat_pay_refused(status: StatusCode, message: &str) -> Response {
    json(
        status,
        "application/json",
        &json!({ "code": "FAIL", "message": message }),
    )
}
