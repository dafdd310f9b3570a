//! How answers are wrapped: one mapping from what went wrong to an answer for each group of URLs.
//!
//! A handler fails with a [`Failure`]; it travels up as an empty response that carries it, and [`render`] turns it into the
//! envelope of the group that was asked, in the reader's language. Unknown paths, time-outs and panics go the same way.

pub(crate) mod callback;
pub(crate) mod mall;
pub(crate) mod pay;
pub(crate) mod problem;

mod failure;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use jifen_app::App;
use serde::Serialize;

pub(crate) use failure::{Carried, Failure};

use crate::request::language::language;

/// URLs that are answered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The mall document's.
    Mall,
    /// The pay document's.
    Pay,
    /// Version 2, RFC 9457.
    V2,
    /// Alipay's notifications.
    AlipayNotification,
    /// Pushes to the official account.
    OfficialAccount,
    /// WeChat Pay's notifications.
    WechatPayNotification,
    /// Health, documentation, and whatever does not exist.
    Service,
}

impl Group {
    /// The group a path belongs to, whether or not there is something at it.
    pub(crate) fn of(path: &str) -> Self {
        let Some(v1) = path.strip_prefix("/api/v1/") else {
            return if path.starts_with("/api/v2/") {
                Self::V2
            } else {
                Self::Service
            };
        };
        match v1 {
            "alipay/alipay_notify_url" => Self::AlipayNotification,
            "weixin/portal/receive" => Self::OfficialAccount,
            "wechat-pay/notify" => Self::WechatPayNotification,
            _ if v1.starts_with("alipay/") || v1.starts_with("login/") => Self::Pay,
            _ => Self::Mall,
        }
    }
}

/// Gives failures the envelope of their group, and every answer the headers that go with it.
pub(crate) async fn render(State(app): State<App>, request: Request, next: Next) -> Response {
    let group = Group::of(request.uri().path());
    let accept_language = request
        .headers()
        .get(http::header::ACCEPT_LANGUAGE)
        .cloned();
    let mut response = next.run(request).await;
    if let Some(Carried(failure)) = response.extensions_mut().remove() {
        failure.log();
        let language = language(accept_language.as_ref());
        let mut answer = match group {
            Group::Mall => mall::failed(&failure, language),
            Group::Pay => pay::failed(&failure),
            Group::V2 => problem::failed(&failure, language),
            Group::AlipayNotification => callback::alipay_failed(&failure),
            Group::OfficialAccount => callback::official_account_failed(&failure),
            Group::WechatPayNotification => callback::wechat_pay_failed(&failure),
            Group::Service => failed_service(&failure, language),
        };
        if let Some(allow) = response.headers_mut().remove(ALLOW) {
            answer.headers_mut().insert(ALLOW, allow);
        }
        answer
            .headers_mut()
            .extend(failure.retry_headers(app.now()));
        response = answer;
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if group != Group::Service {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A path outside the API, as people see it.
fn failed_service(failure: &Failure, language: jifen_app::Language) -> Response {
    text(mall::status(failure), failure.text(language))
}

/// A JSON answer.
pub(crate) fn json(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, content_type)], Body::from(bytes)).into_response(),
        Err(error) => Failure::from(jifen_app::Error::internal(error)).into_response(),
    }
}

/// A text answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    (
        status,
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        body.into(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_envelope_of_its_document() {
        for (path, group) in [
            ("/api/v1/points/create-order", Group::Mall),
            ("/api/v1/nowhere", Group::Mall),
            ("/api/v1/alipay/create_pay_order", Group::Pay),
            ("/api/v1/login/nowhere", Group::Pay),
            (
                "/api/v1/alipay/alipay_notify_url",
                Group::AlipayNotification,
            ),
            ("/api/v1/weixin/portal/receive", Group::OfficialAccount),
            ("/api/v1/wechat-pay/notify", Group::WechatPayNotification),
            ("/api/v2/metering/charges", Group::V2),
            ("/healthz", Group::Service),
            ("/api/v1", Group::Service),
        ] {
            assert_eq!(Group::of(path), group, "{path}");
        }
    }
}
