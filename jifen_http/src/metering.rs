//! `/api/v2/metering`: what spends points. Called by the operator's gateways.

pub(crate) mod charges;
