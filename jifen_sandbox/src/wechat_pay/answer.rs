//! How WeChat Pay answers: errors in its JSON, and every answer signed with the key the caller asked for.

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt as _;

use super::{
    authorization::{Rejected, SCHEME},
    keys::PlatformKey,
    refusal::Refusal,
};
use crate::{exchanges, sandbox::Sandbox};

/// The beginning of a signature that is wrong on purpose: WeChat Pay probes whether anybody looks.
pub(crate) const PROBE_PREFIX: &str = "WECHATPAY/SIGNTEST/";

/// A refusal on its way out, with what the exchange log shall say about it.
#[derive(Debug)]
pub(crate) struct Refused {
    refusal: Refusal,
    explained: exchanges::Refusal,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let explained = exchanges::Refusal::new(refusal.code, refusal.message.clone());
        Self { refusal, explained }
    }
}

impl From<Box<Rejected>> for Refused {
    fn from(rejected: Box<Rejected>) -> Self {
        let Rejected {
            refusal,
            message,
            signature,
        } = *rejected;
        let mut refused = Self::from(refusal);
        if let Some(message) = message {
            refused.explained = refused.explained.compare("string_to_sign", message, "");
        }
        if let Some(signature) = signature {
            let expected = "a signature of string_to_sign by the merchant's private key";
            refused.explained = refused.explained.compare("signature", expected, signature);
        }
        if let Some(issue) = refused
            .refusal
            .detail
            .as_ref()
            .and_then(|detail| detail.get("issue")?.as_str())
        {
            refused.explained.reason = format!("{} ({issue})", refused.explained.reason);
        }
        refused
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let response = (self.refusal.status, axum::Json(self.refusal.body())).into_response();
        self.explained.attach(response)
    }
}

/// Signs whatever the inner handlers answer.
pub(crate) async fn sign(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let wanted = request
        .headers()
        .get("wechatpay-serial")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let response = next.run(request).await;
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = collected.to_bytes();
    let pay = sandbox.wechat_pay();
    let (rotating, probe) = {
        let mut settings = pay.settings.lock();
        (settings.rotating_certificates, settings.draw_answer_probe())
    };
    // A wish that cannot be met was refused; that refusal is signed like an answer to no wish.
    let key = pay
        .keys
        .for_answer(wanted.as_deref(), rotating)
        .unwrap_or(&pay.keys.certificate);
    let moment = sandbox.environment().now().as_second();
    let nonce = sandbox.environment().hex(32);
    let flaw = if probe { Flaw::Probe } else { Flaw::None };
    for (name, value) in signature_headers(key, moment, &nonce, &body, flaw) {
        insert(&mut parts.headers, name, &value);
    }
    insert(
        &mut parts.headers,
        "request-id",
        &format!("{}-0", sandbox.environment().hex(42).to_uppercase()),
    );
    if parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/json")
    {
        insert(
            &mut parts.headers,
            "content-type",
            "application/json; charset=utf-8",
        );
    }
    Response::from_parts(parts, Body::from(body))
}

/// What is wrong with a signature on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// WeChat Pay's own probe.
    Probe,
    /// A signature over something else.
    Bad,
}

/// The five headers of a signed answer or notification, over `timestamp\n nonce\n body\n`.
pub(crate) fn signature_headers(
    key: &PlatformKey,
    unix_seconds: i64,
    nonce: &str,
    body: &Bytes,
    flaw: Flaw,
) -> [(&'static str, String); 5] {
    let mut message = format!("{unix_seconds}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    let signature = match flaw {
        Flaw::None => key.key.sign(&message),
        Flaw::Probe => format!("{PROBE_PREFIX}{}", key.key.sign(nonce.as_bytes())),
        Flaw::Bad => {
            message.push(b'x');
            key.key.sign(&message)
        }
    };
    [
        ("wechatpay-timestamp", unix_seconds.to_string()),
        ("wechatpay-nonce", nonce.to_owned()),
        ("wechatpay-serial", key.serial.to_owned()),
        ("wechatpay-signature-type", SCHEME.to_owned()),
        ("wechatpay-signature", signature),
    ]
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value)
        .expect("hexadecimal, base64, digits and constants are visible ASCII");
    headers.insert(HeaderName::from_static(name), value);
}
