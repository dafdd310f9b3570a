//! Bounds what a request may cost: how many are in hand, how long one takes, and that a bug in one ends only that one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use crate::envelope::Failure;

/// How much goes on at once, and for how long.
#[derive(Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    request_timeout: Duration,
}

impl Places {
    pub(crate) fn new(concurrency_max: usize, request_timeout: Duration) -> Self {
        let free = Arc::new(Semaphore::new(concurrency_max.min(Semaphore::MAX_PERMITS)));
        Self {
            free,
            request_timeout,
        }
    }
}

/// Turns requests away when there is no place for them: waiting would only make all of them late.
pub(crate) async fn protect(
    State(places): State<Places>,
    request: Request,
    next: Next,
) -> Response {
    // Who looks after the server must see it above all when it is busy.
    let is_watching = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let place = places.free.try_acquire();
    if place.is_err() && !is_watching {
        return Failure::Overloaded.into_response();
    }
    // Nothing of the request is used after a panic in it.
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(places.request_timeout, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a request panicked");
            Failure::Panicked.into_response()
        }
        Err(_) => Failure::TimedOut.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Carried;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    async fn ask(router: Router, path: &str) -> String {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        response
            .extensions()
            .get::<Carried>()
            .map_or("answered".to_owned(), |carried| format!("{:?}", carried.0))
    }

    async fn bug() {
        panic!("a bug");
    }

    fn router(places: Places) -> Router {
        Router::new()
            .route("/bug", get(bug))
            .route("/endless", get(std::future::pending::<()>))
            .route("/quick", get(async || "quick"))
            .route("/healthz", get(async || "alive"))
            .layer(from_fn_with_state(places, protect))
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_an_endless_request_end_only_themselves() {
        let router = router(Places::new(2, Duration::from_secs(30)));
        assert_eq!(ask(router.clone(), "/bug").await, "Panicked");
        assert_eq!(ask(router.clone(), "/endless").await, "TimedOut");
        assert_eq!(ask(router.clone(), "/quick").await, "answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_too_many_is_turned_away_but_a_health_check_is_not() {
        let router = router(Places::new(1, Duration::from_secs(30)));
        let slow = tokio::spawn(ask(router.clone(), "/endless"));
        tokio::task::yield_now().await;
        assert_eq!(ask(router.clone(), "/quick").await, "Overloaded");
        assert_eq!(ask(router.clone(), "/healthz").await, "answered");
        assert_eq!(slow.await.unwrap(), "TimedOut");
        assert_eq!(
            ask(router, "/quick").await,
            "answered",
            "the place is free again"
        );
    }
}
