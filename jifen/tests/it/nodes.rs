//! Nodes as processes of their own: several on one database, one whose database is away, one that is overrun.

mod away;
mod busy;
mod exact;
mod heard;
mod wire;

use crate::world::Request;

/// The value of a metric that has no labels, or of the line that begins so.
async fn metric(node: &str, line: &str) -> Option<u64> {
    let answer = Request(http().get(format!("{node}/metrics"))).send().await;
    let value = answer
        .text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// A client without connections of before.
fn http() -> reqwest::Client {
    jifen::instance::outgoing_client().unwrap()
}
