//! `/metrics`, in Prometheus' text format.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use jifen_app::Error;

use crate::envelope::Failure;
use crate::exchange::metrics::JobCounts;
use crate::web::Web;

const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything counted since the start, and how many jobs wait now.
pub(crate) async fn scrape(State(web): State<Web>) -> Result<Response, Failure> {
    let counts = web.app.job_counts().await;
    web.metrics.set_jobs(counts.ok().map(|(waiting, failed)| JobCounts { waiting, failed }));
    let text = web.metrics.encode().map_err(Error::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
