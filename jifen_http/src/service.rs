//! What looks after the server: health, metrics, documentation.

pub(crate) mod docs;
pub(crate) mod health;
pub(crate) mod landing;
pub(crate) mod metrics;
