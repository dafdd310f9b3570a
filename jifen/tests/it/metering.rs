//! What gateways call.

mod charges;
