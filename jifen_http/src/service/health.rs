//! `/healthz` and `/readyz`.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::envelope::text;
use crate::web::Web;

/// Longest time the database may take to answer before the node counts as not ready.
const DATABASE_WAIT: Duration = Duration::from_secs(2);

/// The process is alive
#[utoipa::path(
    get, path = "", tag = "service", operation_id = "healthz",
    responses((status = 200, description = "`alive`", body = String, content_type = "text/plain")),
)]
pub(crate) async fn alive() -> Response {
    text(StatusCode::OK, "alive")
}

/// The node may be sent requests: the database answers, and it is not shutting down
#[utoipa::path(
    get, path = "", tag = "service", operation_id = "readyz",
    responses(
        (status = 200, description = "`ready`", body = String, content_type = "text/plain"),
        (status = 503, description = "Why not", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn ready(State(web): State<Web>) -> Response {
    if web.config.shutting_down.has_begun() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down");
    }
    match tokio::time::timeout(DATABASE_WAIT, web.app.job_counts()).await {
        Ok(Ok(_)) => text(StatusCode::OK, "ready"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer",
            )
        }
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database is slow to answer",
        ),
    }
}
