//! PostgreSQL is away for a while: calls are turned away meanwhile, and it is found again without a restart.

use std::time::{Duration, Instant};

use jifen_store::Engine;
use jifen_store::testing::fresh;

use super::metric;
use super::wire::Wire;
use crate::crash::load::{Load, Town};
use crate::crash::node::{Node, audit};
use crate::world::database_url;

const CONNECTIONS: usize = 16;
const PEOPLE: usize = 8;
const ANSWERS: u64 = 200;
/// Calls that are turned away before the wire is mended.
const TURNED_AWAY: u64 = 16;
/// How long it may take until calls are answered again, on a machine that does much else. The longest wait within is that for
/// a connection that was lost in silence.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_is_made_again_and_no_charge_is_wrong() {
    recovers_from(Wire::cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_falls_silent_is_given_up_and_no_charge_is_wrong() {
    recovers_from(Wire::silence).await;
}

async fn recovers_from(damage: fn(&Wire)) {
    let store = fresh(Engine::Postgres).await;
    let wire = Wire::to(store.config()).await;
    let town = Town::settle(store.store(), PEOPLE).await;
    let node = Node::start(&wire.database_url);
    let load = Load::start(&town, CONNECTIONS, vec![node.url.clone()]);
    load.until_answered(ANSWERS).await;
    assert_eq!(metric(&node.url, "jifen_database_up").await, Some(1));
    let failures = async || {
        let failures = metric(&node.url, "jifen_charge_database_failures_total").await;
        failures.unwrap()
    };
    assert_eq!(failures().await, 0);

    damage(&wire);
    // Each with Retry-After, which the callers look at.
    load.until_turned_away(TURNED_AWAY).await;
    assert_eq!(metric(&node.url, "jifen_database_up").await, Some(0));
    assert!(failures().await > 0);

    wire.mend();
    let mended = Instant::now();
    load.until_answered(ANSWERS).await;
    let recovery = mended.elapsed();
    assert!(recovery < RECOVERY_TIME_MAX, "it took {recovery:?}");
    assert_eq!(metric(&node.url, "jifen_database_up").await, Some(1));
    let done = load.stop().await;
    town.assert_is_all_there_is(&done).await;
    audit(&database_url(store.config()));
}
