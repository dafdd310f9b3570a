//! The mall document: `/api/v1/auth`, `/user`, `/points`, `/api-keys`, `/system`.

pub(crate) mod api_keys;
pub(crate) mod auth;
pub(crate) mod points;
pub(crate) mod system;
pub(crate) mod user;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use jifen_app::App;

use crate::envelope::Failure;

/// Lets nobody in while the mall is in maintenance.
pub(crate) async fn require_open(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    app.require_open().await?;
    Ok(next.run(request).await)
}
