//! A merchant's call whose headers and signature are in order: the argument every protocol handler takes.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, StatusCode, header},
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    answer::Refused,
    authorization::{self, SignedRequest, Signer},
    fields,
    refusal::Refusal,
};
use crate::sandbox::Sandbox;

/// A call that really comes from the merchant.
pub(crate) struct Verified {
    pub(crate) now: Timestamp,
    query: Vec<(String, String)>,
    body: Bytes,
}

impl Verified {
    /// The value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    }

    /// The body as an object that obeys the general rules.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, Refusal> {
        fields::parse(&self.body)
    }
}

impl FromRequest<Sandbox> for Verified {
    type Rejection = Refused;

    async fn from_request(request: Request, sandbox: &Sandbox) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        headers(&parts.headers, parts.uri.path())?;
        let body_bytes_max = sandbox.config().limits.body_bytes_max;
        let body = to_bytes(body, body_bytes_max).await.map_err(|_| {
            let message = format!("请求体超过{body_bytes_max}字节");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "PARAM_ERROR", message)
        })?;
        let now = sandbox.environment().now();
        let pay = sandbox.wechat_pay();
        let kit = sandbox.kit();
        let merchant = Signer {
            mchid: kit.mchid,
            serial_no: kit.merchant_certificate_serial,
            key: &pay.keys.merchant,
        };
        let signed = SignedRequest {
            method: parts.method.as_str(),
            url: parts
                .uri
                .path_and_query()
                .map_or(parts.uri.path(), |url| url.as_str()),
            authorization: text(&parts.headers, header::AUTHORIZATION.as_str()),
            body: &body,
        };
        authorization::verify(&signed, &merchant, &mut pay.nonces.lock(), now)?;
        if parts.method == Method::POST {
            content_type(&parts.headers)?;
        }
        let rotating = pay.settings.lock().rotating_certificates;
        let serial = text(&parts.headers, "wechatpay-serial");
        if pay.keys.for_answer(serial, rotating).is_none() {
            let message = "平台证书序列号Wechatpay-Serial错误";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "PARAM_ERROR", message).into());
        }
        let query = parts.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Ok(Self { now, query, body })
    }
}

/// `User-Agent` must be there, and `Accept` must let JSON through; a bill is downloaded with whatever `Accept`.
fn headers(headers: &HeaderMap, path: &str) -> Result<(), Refusal> {
    let present = |name: &str| text(headers, name).is_some_and(|value| !value.is_empty());
    if !present("accept") || !present("user-agent") {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "PARAM_ERROR",
            "Http头缺少Accept或User-Agent",
        ));
    }
    let mut accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let json = accepts.any(|accept| {
        ["application/json", "*/*", "application/*"]
            .iter()
            .any(|kind| accept.contains(kind))
    });
    if !json && path != "/v3/billdownload/file" {
        let message = "Http头Accept必须包含application/json";
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            "PARAM_ERROR",
            message,
        ));
    }
    Ok(())
}

fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = text(headers, "content-type")
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "Http头Content-Type必须为application/json";
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "PARAM_ERROR",
        message,
    ))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
