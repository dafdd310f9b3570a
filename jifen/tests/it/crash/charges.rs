//! Killed under a full load of charges; afterwards every one that was answered is there exactly once, and nothing else.

use std::time::Duration;

use jifen_store::testing::fresh;
use jifen_store::{Engine, Store, StoreConfig};

use super::load::{Dice, Load, Town};
use super::node::{Node, audit};
use super::postgres::Server;
use crate::world::database_url;

const ROUNDS: u64 = 50;
const CONNECTIONS: usize = 24;
const KEYS: usize = 32;
/// How many more answers a round waits for, at most. In some rounds none: killed as soon as it is there.
const ANSWERS_MAX: u64 = 100;
/// And then how much longer it lives, so that a kill meets every step of a group.
const LIFE_MICROS_MAX: u64 = 12_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_every_answered_charge_once_after_fifty_kills() {
    let store = fresh(Engine::Sqlite).await;
    let database = database_url(store.config());
    let town = Town::settle(store.store(), KEYS).await;
    let mut node = Node::start(&database);
    let load = Load::start(&town, CONNECTIONS, vec![node.url.clone()]);
    let mut dice = Dice::new(1);
    for _ in 0..ROUNDS {
        a_while(&load, &mut dice).await;
        node.kill();
        node = Node::start(&database);
        load.go_to(vec![node.url.clone()]);
    }
    let done = load.stop().await;
    town.assert_is_all_there_is(&done).await;
    audit(&database);
}

/// In two of three rounds the mall is killed, in one the server with all its processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_every_answered_charge_once_after_fifty_kills_and_twenty_five_of_its_own() {
    let mut server = Server::start();
    let database = server.url();
    let config = StoreConfig::Postgres {
        url: database.clone().into(),
        pool_size_max: 4,
    };
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    let town = Town::settle(store, KEYS).await;
    let mut node = Node::start(&database);
    let load = Load::start(&town, CONNECTIONS, vec![node.url.clone()]);
    let mut dice = Dice::new(2);
    for round in 0..ROUNDS + ROUNDS / 2 {
        a_while(&load, &mut dice).await;
        if round % 3 == 2 {
            // The mall goes on, and finds it again by itself.
            server.kill_and_start();
        } else {
            node.kill();
            node = Node::start(&database);
            load.go_to(vec![node.url.clone()]);
        }
    }
    let done = load.stop().await;
    town.assert_is_all_there_is(&done).await;
    audit(&database);
}

/// Until so many more requests have been answered, and a moment longer.
async fn a_while(load: &Load, dice: &mut Dice) {
    load.until_answered(dice.below(ANSWERS_MAX)).await;
    let life = Duration::from_micros(dice.below(LIFE_MICROS_MAX));
    let _ = tokio::time::timeout(life, std::future::pending::<()>()).await;
}
