//! The clients over HTTP against a scripted server.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, also outside the functions marked as such"
)]

use std::sync::atomic::Ordering;

#[path = "support/environment.rs"]
mod environment;
#[path = "clients/miniprogram.rs"]
mod miniprogram;
#[path = "clients/official.rs"]
mod official;
#[path = "clients/pay.rs"]
mod pay;
#[path = "clients/pay_bill.rs"]
mod pay_bill;
#[path = "support/server.rs"]
mod server;
#[path = "clients/token.rs"]
mod token;

fn advance(environment: &environment::FixedEnvironment, seconds: i64) {
    environment.now.fetch_add(seconds, Ordering::SeqCst);
}
