//! `/api/v2/balance` and `/api/v2/usage`: what the holder of an API key can ask with the key itself.

pub(crate) mod balance;
pub(crate) mod usage;
