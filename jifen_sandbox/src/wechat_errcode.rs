//! How `api.weixin.qq.com` answers: always HTTP 200, JSON, `errcode` and `errmsg` where something is wrong.

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Value, json};

use crate::{environment::Environment, exchanges::Refusal};

/// An answer with an `errcode` other than 0, and for the log why.
#[derive(Debug, Clone)]
pub(crate) struct Errcode {
    code: i32,
    message: &'static str,
    refusal: Refusal,
}

impl Errcode {
    /// `message` is WeChat's own English text, `reason` the sandbox's explanation.
    pub(crate) fn new(code: i32, message: &'static str, reason: impl Into<String>) -> Self {
        Self {
            code,
            message,
            refusal: Refusal::new(code.to_string(), reason),
        }
    }

    pub(crate) fn compare(
        mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        received: impl Into<String>,
    ) -> Self {
        self.refusal = self.refusal.compare(what, expected, received);
        self
    }

    /// The answer; `errmsg` ends with a request id, as WeChat's does.
    pub(crate) fn respond(self, environment: &dyn Environment) -> Response {
        let rid = format!(
            "{:x}-{}-{}",
            environment.unix_seconds(),
            environment.hex(8),
            environment.hex(8)
        );
        let body = json!({"errcode": self.code, "errmsg": format!("{}, rid: {rid}", self.message)});
        self.refusal.attach(answer(&body))
    }
}

/// A JSON answer.
pub(crate) fn answer(body: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json; encoding=utf-8")],
        body.to_string(),
    )
        .into_response()
}

/// The first characters of something secret, enough to recognise it in the log.
pub(crate) fn shortened(secret: &str) -> String {
    let start: String = secret.chars().take(6).collect();
    if start.len() == secret.len() {
        start
    } else {
        format!("{start}… ({} characters)", secret.chars().count())
    }
}
