//! `/api/v2/metering/authorize`: forward auth. A proxy asks about a call before it passes it on; the answer is 200 when the
//! call has been charged, else the status that the caller shall see.
//!
//! `deploy/gateways` has the proxies' side. What both agree on:
//!
//! - The gateway shows its service credential in `X-Jifen-Credential`. Because it does, its other headers are believed: it
//!   must set each of them itself, for every call, and pass none of them on from its callers.
//! - The caller's API key is the call's own, `Authorization: Bearer jf_…` or `X-API-Key`.
//! - The charge's idempotency key is `X-Request-Id`, made by the proxy. **A caller who could choose it would pay once for all
//!   his calls.** Without it every question is a charge of its own, also one that a proxy repeats.
//! - `?for=nginx`: nginx's `auth_request` knows 2xx, 401 and 403. Other refusals are 403 there, and `X-Jifen-Status` has
//!   the true status.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT_LANGUAGE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jifen_app::{App, ChargeRequest, Charged, Cost, Error, Limit, Text};
use jifen_domain::Points;

use super::call::IDEMPOTENCY_HIT;
use crate::envelope::problem::{Problem, status_and_code};
use crate::envelope::{Failure, json};
use crate::request::authority::{ChargeScope, ServiceKey};
use crate::request::language::language;
use crate::request::rates::rate_headers;
use asked::{Asked, Dialect, once};

mod asked;

const X_JIFEN_CREDENTIAL: HeaderName = HeaderName::from_static("x-jifen-credential");
const X_JIFEN_USER: HeaderName = HeaderName::from_static("x-jifen-user");
const X_JIFEN_KEY: HeaderName = HeaderName::from_static("x-jifen-key");
const X_JIFEN_CHARGE: HeaderName = HeaderName::from_static("x-jifen-charge");
const X_JIFEN_POINTS: HeaderName = HeaderName::from_static("x-jifen-points");
const X_JIFEN_BALANCE: HeaderName = HeaderName::from_static("x-jifen-balance");
const X_JIFEN_STATUS: HeaderName = HeaderName::from_static("x-jifen-status");
const X_JIFEN_REASON: HeaderName = HeaderName::from_static("x-jifen-reason");
const X_JIFEN_LIMIT: HeaderName = HeaderName::from_static("x-jifen-limit");

/// Headers of an answer that lets a call pass, about.
const ANSWER_HEADERS: usize = 8;

/// Answers a question of any method. At `/authorize` itself the proxy's headers say what the call is; below it, the rest of
/// the path does, and the method is the call's own (Envoy's `path_prefix`).
pub(crate) async fn authorize(
    State(app): State<App>,
    gateway: Result<ServiceKey<ChargeScope>, Failure>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let dialect = Dialect::of(&parts.uri);
    match charge(&app, gateway, dialect, &parts).await {
        Ok(charged) => allowed(&charged),
        Err(failure) => refused(&app, dialect, &failure, &parts.headers),
    }
}

async fn charge(
    app: &App,
    gateway: Result<ServiceKey<ChargeScope>, Failure>,
    dialect: Dialect,
    parts: &Parts,
) -> Result<Charged, Failure> {
    once(&parts.headers, &X_JIFEN_CREDENTIAL)?;
    let gateway = gateway.map_err(gateway_not_authorized)?.credential;
    let asked = Asked::read(dialect, parts)?;
    let request = ChargeRequest {
        api_key: asked.api_key,
        cost: Cost::Units(asked.units),
        route: Some(asked.route),
        title: None,
        description: None,
        ip: asked.ip,
    };
    let key = asked.request_id.unwrap_or_else(|| app.random_id());
    let charged = app.charge(&gateway, &key, &request).await;
    charged.map_err(|error| match error {
        Error::KeyRefused {
            limit: Limit::Unknown,
            ..
        } => asked::unknown_api_key(),
        other => other.into(),
    })
}

/// A gateway that may not ask is not told 401: the caller would take that for his own key's. Nor 5xx, which a gateway that
/// is open while Jifen is down would let pass.
fn gateway_not_authorized(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Error::Unauthenticated(_) | Error::Forbidden(_)) => {
            tracing::warn!("a gateway asked without a service credential of the scope charge");
            let text = Text::new(
                "网关未获授权，请联系服务方",
                "the gateway is not authorized: tell whoever runs this service",
            );
            Failure::Named {
                code: "gateway_not_authorized",
                error: Error::Forbidden(text),
            }
        }
        other => other,
    }
}

fn allowed(charged: &Charged) -> Response {
    let mut headers = HeaderMap::with_capacity(ANSWER_HEADERS);
    put(&mut headers, X_JIFEN_USER, &charged.user.to_string());
    put(&mut headers, X_JIFEN_KEY, &charged.key_id);
    put(&mut headers, X_JIFEN_CHARGE, &charged.id);
    headers.insert(X_JIFEN_POINTS, charged.points.into());
    headers.insert(X_JIFEN_BALANCE, charged.balance.get().into());
    if charged.is_replay {
        headers.insert(IDEMPOTENCY_HIT, HeaderValue::from_static("true"));
    }
    headers.extend(rate_headers(&charged.rates));
    (StatusCode::OK, headers).into_response()
}

/// Gives the failure its envelope here, because the headers repeat what is in it: nginx throws the body away.
fn refused(app: &App, dialect: Dialect, failure: &Failure, asked: &HeaderMap) -> Response {
    failure.log();
    let (status, code) = status_and_code(failure);
    let problem = Problem::of(failure, language(asked.get(ACCEPT_LANGUAGE)));
    let mut response = json(status, "application/problem+json", &problem);
    let headers = response.headers_mut();
    headers.insert(X_JIFEN_REASON, HeaderValue::from_static(code));
    let (limit, balance) = limit_and_balance(failure);
    if let Some(limit) = limit {
        headers.insert(X_JIFEN_LIMIT, HeaderValue::from_static(limit));
    }
    if let Some(balance) = balance {
        headers.insert(X_JIFEN_BALANCE, balance.get().into());
    }
    headers.extend(failure.retry_headers(app.now()));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let is_known = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if dialect == Dialect::Nginx && status.is_client_error() && !is_known {
        headers.insert(X_JIFEN_STATUS, status.as_u16().into());
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

fn limit_and_balance(failure: &Failure) -> (Option<&'static str>, Option<Points>) {
    match failure {
        Failure::Refused(Error::Insufficient { available }) => (Some("balance"), Some(*available)),
        Failure::Refused(Error::KeyRefused { limit, balance, .. }) => {
            (Some(limit.name()), *balance)
        }
        Failure::Named {
            code: asked::UNKNOWN_API_KEY,
            ..
        } => (Some(Limit::Unknown.name()), None),
        _ => (None, None),
    }
}

/// Ids of ours are plain ASCII; one that is not would be left out rather than break the answer.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
