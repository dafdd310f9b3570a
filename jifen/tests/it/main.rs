//! Everything a user of the mall can notice, over real HTTP, on both database engines, with the sandbox as the far end.
//! Folders mirror the URLs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![expect(
    clippy::too_many_lines,
    reason = "a story or a table of cases is told in one piece"
)]

mod api_keys;
mod callbacks;
mod certificates;
mod commands;
mod crash;
mod foreign;
mod gateways;
mod holder;
mod journeys;
mod mail;
mod mall;
mod metering;
mod money;
mod nodes;
mod pay;
mod service;
mod third_party_page;
mod world;
