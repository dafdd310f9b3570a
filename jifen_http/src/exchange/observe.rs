//! One log line and one count for each request. Neither ever sees a query, a header or a body: they hold secrets.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::metrics::{Exchange, Metrics, Verb};
use super::request_id::{RequestIds, X_REQUEST_ID};
use crate::web::Web;

/// The state of [`observe`].
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) web: Web,
    pub(crate) ids: Arc<RequestIds>,
}

/// The outermost layer.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let metrics: &Metrics = &observer.web.metrics;
    let id = observer.ids.of(request.headers());
    let verb = Verb::of(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    // Not the raw path: it may hold anything, and would make a new label for each guess.
    let route = path.as_ref().map_or("unknown", MatchedPath::as_str);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());

    let in_flight = metrics.enter();
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);

    let status = response.status().as_u16();
    let latency = started.elapsed();
    metrics.count(
        &Exchange {
            verb,
            route,
            status,
        },
        latency,
    );
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(method = verb.name(), route, status, latency_us, "answered"));
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}
