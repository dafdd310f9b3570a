//! What surrounds every provider's URL: faults, the body's bound, the exchange log.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};

use crate::{
    exchanges::{Direction, Exchange, Refusal, redact_body, redact_headers, redact_target},
    faults::{CloseConnection, FaultKind},
    provider::Provider,
    sandbox::Sandbox,
};

/// How long a request's body may take to arrive.
const BODY_READ_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer; the largest are bills, of which a sandbox has few lines.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Middleware around the providers' URLs.
pub(crate) async fn observe(
    State(sandbox): State<Sandbox>,
    request: Request,
    next: Next,
) -> Response {
    let at = sandbox.environment().now();
    let (parts, body) = request.into_parts();
    let body_bytes_max = sandbox.config().limits.body_bytes_max;
    let read = tokio::time::timeout(BODY_READ_MAX, to_bytes(body, body_bytes_max)).await;
    let (request_body, unreadable) = match read {
        Ok(Ok(bytes)) => (bytes, false),
        _ => (Bytes::new(), true),
    };
    let provider = provider_of(&parts, &request_body, &sandbox);
    let faults = sandbox.faults().take_for_request(provider);
    let asked = Asked {
        provider,
        at,
        body: request_body.clone(),
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers.clone(),
    };
    for fault in &faults {
        if let FaultKind::ProviderSlow { seconds } = fault {
            tokio::time::sleep(Duration::from_secs(u64::from(*seconds))).await;
        }
    }
    let response = if unreadable {
        let reason =
            format!("the body is longer than {body_bytes_max} bytes, too slow, or broke off");
        Refusal::new("413", reason).attach(StatusCode::PAYLOAD_TOO_LARGE.into_response())
    } else if faults.contains(&FaultKind::ProviderDown) {
        down()
    } else {
        misbehave(
            &faults,
            next.run(Request::from_parts(parts, Body::from(request_body)))
                .await,
        )
    };
    record(&sandbox, asked, &faults, response).await
}

/// What the log keeps of a request.
struct Asked {
    provider: Provider,
    at: jiff::Timestamp,
    method: String,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn record(
    sandbox: &Sandbox,
    asked: Asked,
    faults: &[FaultKind],
    response: Response,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, RESPONSE_BYTES_MAX).await else {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the sandbox's own answer is too long",
        )
            .into_response();
    };
    let body_bytes_max = sandbox.config().limits.exchange_body_bytes_max;
    let applied = faults
        .iter()
        .map(|fault| fault.name())
        .collect::<Vec<_>>()
        .join(", ");
    let closed = parts.extensions.get::<CloseConnection>().is_some();
    sandbox.exchanges().record(Exchange {
        id: 0,
        at: asked.at,
        provider: asked.provider,
        direction: Direction::Received,
        method: asked.method,
        target: redact_target(&asked.target),
        request_headers: redact_headers(&asked.headers),
        request_body: redact_body(&asked.body, body_bytes_max),
        status: (!closed).then_some(parts.status.as_u16()),
        response_headers: redact_headers(&parts.headers),
        response_body: redact_body(&body, body_bytes_max),
        duration_ms: sandbox
            .environment()
            .now()
            .as_millisecond()
            .saturating_sub(asked.at.as_millisecond()),
        note: (!applied.is_empty()).then(|| format!("fault: {applied}")),
        refusal: parts.extensions.remove::<Refusal>(),
    });
    Response::from_parts(parts, Body::from(body))
}

/// A gateway in front of the provider answers; the request never reached it.
fn down() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
    (
        StatusCode::BAD_GATEWAY,
        [(header::CONTENT_TYPE, "text/html")],
        page,
    )
        .into_response()
}

/// What happens to an answer after the request has been carried out.
fn misbehave(faults: &[FaultKind], response: Response) -> Response {
    if faults.contains(&FaultKind::ProviderClosesConnection) {
        // Where the sandbox does not run its own server, the status is all there is.
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(CloseConnection);
        return response;
    }
    if faults.contains(&FaultKind::ProviderNonsense) {
        return (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "text/html")],
            "<html>{\"errcode\":",
        )
            .into_response();
    }
    response
}

/// Answers a URL no provider has; logged like any other, since it is usually a wrong base URL.
pub(crate) async fn unknown_url() -> Response {
    let response = (
        StatusCode::NOT_FOUND,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        "404 not found",
    );
    let reason = "none of the four providers has this URL; compare the path and the base URL";
    Refusal::new("404", reason).attach(response.into_response())
}

/// Which provider's URL it is. The token URLs serve both apps: there the appid decides, in the query or (`stable_token`) the body.
fn provider_of(parts: &Parts, body: &[u8], sandbox: &Sandbox) -> Provider {
    let path = parts.uri.path();
    if path.starts_with("/v3/") {
        return Provider::WechatPay;
    }
    if path.starts_with("/gateway.do") || path == crate::alipay::BILL_PATH {
        return Provider::Alipay;
    }
    if path.starts_with("/sns/") || path.starts_with("/wxa/") {
        return Provider::MiniProgram;
    }
    let mini_program = sandbox.kit().mini_program_appid;
    let named_in_query = parts
        .uri
        .query()
        .is_some_and(|query| query.contains(mini_program));
    let named_in_body = path == "/cgi-bin/stable_token"
        && body
            .windows(mini_program.len())
            .any(|window| window == mini_program.as_bytes());
    if named_in_query || named_in_body {
        Provider::MiniProgram
    } else {
        Provider::OfficialAccount
    }
}
