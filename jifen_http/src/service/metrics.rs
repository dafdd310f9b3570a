//! `/metrics`, in Prometheus' text format.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use jifen_app::{App, Error};

use crate::envelope::Failure;
use crate::exchange::metrics::JobCounts;
use crate::web::Web;

/// Longest wait for the database: a scrape without its numbers is better than none.
const DATABASE_WAIT: Duration = Duration::from_secs(2);
const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything counted since the start, and how many jobs wait now
#[utoipa::path(
    get, path = "", tag = "service", operation_id = "metrics",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn scrape(State(web): State<Web>) -> Result<Response, Failure> {
    web.metrics.set_jobs(job_counts(&web.app).await);
    let text = web.metrics.encode().map_err(Error::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

async fn job_counts(app: &App) -> Option<JobCounts> {
    match tokio::time::timeout(DATABASE_WAIT, app.job_counts()).await {
        Ok(Ok((waiting, failed))) => Some(JobCounts { waiting, failed }),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the jobs could not be counted");
            None
        }
        Err(_) => {
            tracing::warn!("the database was too slow to count the jobs");
            None
        }
    }
}
