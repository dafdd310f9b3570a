//! However many nodes, however many calls at once: every point is spent once.

use jifen_store::Engine;
use jifen_store::testing::fresh;
use serde_json::json;
use tokio::task::JoinSet;

use super::http;
use crate::crash::load::{Load, Town};
use crate::crash::node::{Node, audit};
use crate::world::{Answer, Request, database_url};

const CALLS: usize = 200;
const POINTS: i64 = 70;
const CONNECTIONS: usize = 24;
/// Answers before one of two nodes is killed, and after.
const ANSWERS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_charges_at_once_as_many_succeed_as_there_are_points_on_sqlite() {
    spends_every_point_once(Engine::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_charges_at_once_as_many_succeed_as_there_are_points_on_postgres() {
    spends_every_point_once(Engine::Postgres, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_charges_at_once_as_many_succeed_as_there_are_points_on_two_nodes() {
    spends_every_point_once(Engine::Postgres, 2).await;
}

async fn spends_every_point_once(engine: Engine, nodes: usize) {
    let store = fresh(engine).await;
    let database = database_url(store.config());
    let town = Town::of_one(store.store(), POINTS).await;
    let nodes: Vec<Node> = (0..nodes).map(|_| Node::start(&database)).collect();
    let http = http();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let body = json!({ "apiKey": town.people.holders[0].key, "points": 1, "title": "OCR" });
        let request = http
            .post(format!(
                "{}/api/v2/metering/charges",
                nodes[number % nodes.len()].url
            ))
            .header("authorization", format!("Bearer {}", town.people.gateway))
            .header("idempotency-key", number.to_string());
        let request = Request(request).body(&body.to_string()).0;
        calls.spawn(until_decided(request));
    }
    let answers = calls.join_all().await;
    let mut left: Vec<i64> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body["balance"].as_i64().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        (0..POINTS).collect::<Vec<i64>>(),
        "each charge leaves another balance"
    );
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (402, &json!("insufficient_points")),
            "{}",
            answer.text
        );
        assert_eq!(answer.body["balance"], 0, "{}", answer.text);
    }
    audit(&database);
}

/// A node that was held up says so; then the call is repeated as it is.
async fn until_decided(request: reqwest::RequestBuilder) -> Answer {
    loop {
        let answer = Request(request.try_clone().unwrap()).send().await;
        if answer.status != 503 {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_nodes_is_killed_the_other_goes_on_and_no_charge_is_wrong() {
    let store = fresh(Engine::Postgres).await;
    let database = database_url(store.config());
    // Everybody charges the same account.
    let town = Town::of_one(store.store(), 1_000_000).await;
    let (killed, stays) = (Node::start(&database), Node::start(&database));
    let both = vec![killed.url.clone(), stays.url.clone()];
    let load = Load::start(&town, CONNECTIONS, both);
    load.until_answered(ANSWERS).await;
    killed.kill();
    load.until_answered(ANSWERS).await;
    load.go_to(vec![stays.url.clone()]);
    let done = load.stop().await;
    town.assert_is_all_there_is(&done).await;
    audit(&database);
}
