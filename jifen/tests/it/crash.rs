//! What is killed (`kill -9`) at random moments, over and over: afterwards everything is there exactly once. Real processes,
//! the real clock.

mod charges;
mod orders;

pub(crate) mod load;
pub(crate) mod node;
mod postgres;
