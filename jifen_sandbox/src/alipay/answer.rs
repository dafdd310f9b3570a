//! How the gateway answers: a node whose exact text is signed, or for a request it cannot even attribute an unsigned error.

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::Response,
};
use serde_json::Value;

use super::{charset::Charset, keys::Keys};

/// The members of an answer's node besides `code` and `msg`.
pub(crate) type Members = Vec<(&'static str, Value)>;

/// A business call that failed: code 40004.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) sub_code: &'static str,
    pub(crate) sub_msg: String,
    /// Members the answer has in spite of the failure.
    pub(crate) members: Members,
}

impl Failure {
    pub(crate) fn new(sub_code: &'static str, sub_msg: impl Into<String>) -> Self {
        Self {
            sub_code,
            sub_msg: sub_msg.into(),
            members: Vec::new(),
        }
    }

    pub(crate) fn invalid_parameter(what: impl std::fmt::Display) -> Self {
        Self::new("ACQ.INVALID_PARAMETER", format!("参数无效：{what}"))
    }
}

/// A request the gateway refuses before any business: answered without a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayError {
    pub(crate) code: &'static str,
    pub(crate) sub_code: String,
    pub(crate) sub_msg: String,
}

impl GatewayError {
    pub(crate) fn missing(what: &str, sub_msg: impl Into<String>) -> Self {
        Self {
            code: "40001",
            sub_code: format!("isv.missing-{what}"),
            sub_msg: sub_msg.into(),
        }
    }

    pub(crate) fn invalid(what: &str, sub_msg: impl Into<String>) -> Self {
        Self {
            code: "40002",
            sub_code: format!("isv.invalid-{what}"),
            sub_msg: sub_msg.into(),
        }
    }

    fn msg(&self) -> &'static str {
        if self.code == "40001" {
            "Missing Required Arguments"
        } else {
            "Invalid Arguments"
        }
    }
}

/// The text of a node: `code` and `msg` first, the rest by name, every slash escaped.
pub(crate) fn node(outcome: Result<Members, Failure>) -> String {
    let (mut head, mut members) = match outcome {
        Ok(members) => (
            vec![
                ("code", Value::from("10000")),
                ("msg", Value::from("Success")),
            ],
            members,
        ),
        Err(failure) => {
            let head = vec![
                ("code", Value::from("40004")),
                ("msg", Value::from("Business Failed")),
                ("sub_code", Value::from(failure.sub_code)),
                ("sub_msg", Value::from(failure.sub_msg)),
            ];
            (head, failure.members)
        }
    };
    members.sort_by_key(|(name, _)| *name);
    head.append(&mut members);
    object(&head)
}

/// A signed answer of `method`; in certificate mode it names Alipay's certificate.
pub(crate) fn signed(
    method: &str,
    node: &str,
    keys: &Keys,
    certificate_mode: bool,
    charset: Charset,
) -> Response {
    let sign = keys.alipay.sign(&charset.encode(node));
    let root = format!("{}_response", method.replace('.', "_"));
    let certificate = if certificate_mode {
        format!("\"alipay_cert_sn\":\"{}\",", keys.alipay_cert_sn)
    } else {
        String::new()
    };
    respond(
        &format!("{{\"{root}\":{node},{certificate}\"sign\":\"{sign}\"}}"),
        charset,
    )
}

/// `{"error_response":{…}}` without a signature.
pub(crate) fn unsigned(error: &GatewayError, charset: Charset) -> Response {
    let node = object(&[
        ("code", Value::from(error.code)),
        ("msg", Value::from(error.msg())),
        ("sub_code", Value::from(error.sub_code.as_str())),
        ("sub_msg", Value::from(error.sub_msg.as_str())),
    ]);
    respond(&format!("{{\"error_response\":{node}}}"), charset)
}

/// A slash stands only inside strings, where JSON lets it be escaped; Alipay does.
fn object(members: &[(&str, Value)]) -> String {
    let texts: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", texts.join(",")).replace('/', "\\/")
}

fn respond(text: &str, charset: Charset) -> Response {
    Response::builder()
        .status(StatusCode::OK)
        .header(
            header::CONTENT_TYPE,
            format!("text/html;charset={}", charset.name()),
        )
        .body(Body::from(charset.encode(text)))
        .expect("the status and the header are constants")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::PrivateKey;

    #[test]
    fn what_the_official_sdk_accepts_is_what_is_signed_here() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let responses = read(include_str!("../../tests/vectors/alipay_responses.json"));
        let notifications = read(include_str!(
            "../../tests/vectors/alipay_notifications.json"
        ));
        let pem = notifications["alipay_private_key_for_fake_provider_pkcs8_pem"]
            .as_str()
            .unwrap();
        let key = PrivateKey::from_pem(pem).unwrap();
        let case = |name: &str| {
            responses["cases"]
                .as_array()
                .unwrap()
                .iter()
                .find(|case| case["name"] == name)
                .unwrap()
                .clone()
        };
        for (name, members) in [
            ("query_paid", &["code", "msg"][..]),
            (
                "query_trade_not_exist",
                &["code", "msg", "sub_code", "sub_msg"],
            ),
            ("bill_url_with_escaped_slashes", &["code", "msg"]),
        ] {
            let case = case(name);
            let text = case["signed_substring"].as_str().unwrap();
            let parsed = read(text);
            let rest = parsed
                .as_object()
                .unwrap()
                .iter()
                .filter(|(member, _)| !members.contains(&member.as_str()));
            let rest: Vec<(&'static str, Value)> = rest
                .map(|(member, value)| (&*member.clone().leak(), value.clone()))
                .collect();
            let outcome = if parsed["code"] == "10000" {
                Ok(rest)
            } else {
                let mut failure =
                    Failure::new("ACQ.TRADE_NOT_EXIST", parsed["sub_msg"].as_str().unwrap());
                failure.members = rest;
                Err(failure)
            };
            assert_eq!(node(outcome), text, "{name}");
            assert_eq!(
                key.sign(text.as_bytes()),
                case["sign"].as_str().unwrap(),
                "{name}"
            );
        }
    }
}
