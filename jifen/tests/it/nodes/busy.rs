//! More calls than the queue holds, while the database stands still.

use std::time::{Duration, Instant};

use jifen_domain::AccountId;
use jifen_store::Engine;
use jifen_store::testing::fresh;
use serde_json::{Value, json};

use super::{http, metric};
use crate::crash::load::Town;
use crate::crash::node::{Node, audit};
use crate::world::{Answer, Request, database_url};

/// The least that may be configured.
const QUEUE_MAX: u64 = 1_000;
const FILLING_TIME_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_turns_away_at_once_what_does_not_fit_into_the_queue() {
    turns_away_at_once_what_does_not_fit_into_the_queue(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_turns_away_at_once_what_does_not_fit_into_the_queue() {
    turns_away_at_once_what_does_not_fit_into_the_queue(Engine::Postgres).await;
}

async fn turns_away_at_once_what_does_not_fit_into_the_queue(engine: Engine) {
    let store = fresh(engine).await;
    let database = database_url(store.config());
    let town = Town::of_one(store.store(), 10_000).await;
    let queue_max = QUEUE_MAX.to_string();
    let settings = [
        ("JIFEN__METERING__QUEUE_MAX", queue_max.as_str()),
        ("JIFEN__METERING__GROUP_MAX", "1"),
    ];
    let node = Node::start_with(&database, &settings);
    let api_key = &town.people.holders[0].key;
    let call = |number: u64| json!({ "apiKey": api_key, "points": 1, "title": "OCR", "idempotencyKey": number.to_string() });
    let post = |path: &str, key: &str, body: &Value| {
        let url = format!("{}/api/v2/metering{path}", node.url);
        let request = http().post(url).header("idempotency-key", key);
        let authority = format!("Bearer {}", town.people.gateway);
        Request(request.header("authorization", authority)).body(&body.to_string())
    };
    // The node knows its callers, and the key's use is noted.
    assert_eq!(post("/charges", "0", &call(0)).send().await.status, 200);

    // Somebody else has what every group needs.
    let mut stalled = store.begin().await.unwrap();
    let account = [AccountId::from(town.people.holders[0].user)];
    stalled.lock_accounts(&account).await.unwrap();
    let batch: Vec<Value> = (1..=QUEUE_MAX).map(call).collect();
    let batch = post("/charges/batch", "", &json!({ "charges": batch }));
    let batch = tokio::spawn(batch.send());
    // One of them is under way.
    let began = Instant::now();
    while metric(&node.url, "jifen_charges_waiting").await != Some(QUEUE_MAX - 1) {
        assert!(began.elapsed() < FILLING_TIME_MAX);
        // An idle transaction would be ended.
        stalled.lock_accounts(&account).await.unwrap();
    }
    let last = post("/charges", "last", &call(QUEUE_MAX + 1));
    let last = tokio::spawn(last.send());
    while metric(&node.url, "jifen_charges_waiting").await != Some(QUEUE_MAX) {
        assert!(began.elapsed() < FILLING_TIME_MAX);
        stalled.lock_accounts(&account).await.unwrap();
    }

    let two = json!({ "charges": [call(2_001), call(2_002)] });
    for (path, body) in [("/charges", call(2_000)), ("/charges/batch", two)] {
        // It is answered although nothing moves.
        assert_is_busy(&post(path, "2000", &body).send().await);
    }
    let turned_away = metric(
        &node.url,
        "jifen_charge_operations_total{outcome=\"turned_away\"}",
    );
    assert_eq!(turned_away.await, Some(3));
    assert_eq!(
        metric(&node.url, "jifen_charges_waiting").await,
        Some(QUEUE_MAX)
    );

    drop(stalled);
    let batch = batch.await.unwrap();
    let results = batch.body["results"].as_array().unwrap();
    assert!(
        results.iter().all(|result| result["status"] == 200),
        "{}",
        batch.text
    );
    let last = last.await.unwrap();
    assert_eq!(
        last.body["balance"],
        10_000 - 2 - i64::try_from(QUEUE_MAX).unwrap(),
        "{}",
        last.text
    );
    // What was turned away was not done.
    let again = post("/charges", "2000", &call(2_000)).send().await;
    assert_eq!(
        (again.status, again.header("idempotency-hit")),
        (200, ""),
        "{}",
        again.text
    );
    audit(&database);
}

fn assert_is_busy(answer: &Answer) {
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (503, &json!("busy")),
        "{}",
        answer.text
    );
    assert_eq!(answer.header("retry-after"), "1");
}
