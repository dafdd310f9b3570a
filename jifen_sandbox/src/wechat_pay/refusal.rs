//! What WeChat Pay answers when it refuses: an HTTP status, a code and, for a bad parameter, where it stands.

use http::StatusCode;
use serde_json::{Value, json};

/// A refused request, as the body `{"code","message","detail"?}` says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<Value>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: None,
        }
    }

    /// 400 `PARAM_ERROR` for one field of the body; `field` is a JSON pointer such as `/amount/total`.
    pub(crate) fn parameter(field: &str, value: Value, issue: impl Into<String>) -> Self {
        Self::parameter_in("body", field, value, issue)
    }

    /// 400 `PARAM_ERROR` for a part of the path or the query (`location` is `uri`) or of the body.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make the value for this one call"
    )]
    pub(crate) fn parameter_in(
        location: &str,
        field: &str,
        value: Value,
        issue: impl Into<String>,
    ) -> Self {
        let issue = issue.into();
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "PARAM_ERROR",
            message: format!("参数错误：{field} {issue}"),
            detail: Some(
                json!({"field": field, "value": value, "issue": issue, "location": location}),
            ),
        }
    }

    /// 400 `INVALID_REQUEST`: well formed, but against a rule.
    pub(crate) fn rule(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"code": self.code, "message": self.message});
        if let (Some(detail), Some(object)) = (&self.detail, body.as_object_mut()) {
            object.insert("detail".to_owned(), detail.clone());
        }
        body
    }
}
