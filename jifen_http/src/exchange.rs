//! What happens around every request: it gets an id, is counted and logged, may be turned away, and always ends in time.

pub(crate) mod metrics;
mod observe;
mod protect;
mod request_id;

pub(crate) use observe::{Observer, observe};
pub(crate) use protect::{Places, protect};
pub(crate) use request_id::{RequestIds, X_REQUEST_ID};
