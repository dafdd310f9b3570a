//! The sandbox over real HTTP: a server on a free port, a clock the test sets, and an integrator that records what it is sent.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod access_token;
mod faults;
mod harness;
mod mini_program;
mod official_account;
mod outbox;
mod pages;
