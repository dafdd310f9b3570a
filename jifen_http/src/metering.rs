//! `/api/v2/metering`: what spends points. Called by the operator's gateways.

pub(crate) mod authorize;
pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod charges;
pub(crate) mod holds;
pub(crate) mod refunds;
pub(crate) mod verify;
