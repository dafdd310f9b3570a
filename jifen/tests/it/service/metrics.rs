//! `/metrics`.

use jifen_store::Engine;
use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(
    every_request_is_counted_under_the_pattern_of_its_url,
    every_charge_is_counted_by_how_it_ended,
);

/// The value of a metric's line, label by label as given; `None` when there is none.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

async fn scrape(world: &World) -> String {
    let answer = world.get("/metrics").send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        )
    );
    assert!(answer.text.ends_with("# EOF\n"));
    answer.text
}

async fn every_request_is_counted_under_the_pattern_of_its_url(world: World) {
    for _ in 0..3 {
        world.get("/api/v1/system/status").send().await;
    }
    world
        .post(
            "/api/v1/alipay/create_pay_order",
            &json!({ "userId": "10001", "productId": "100001" }),
        )
        .send()
        .await;
    world.get("/api/v1/user/info").send().await;
    for guess in [
        "/api/v1/user/oSecretOpenid",
        "/wp-admin",
        "/api/v1/system/status/x",
    ] {
        world.get(guess).send().await;
    }
    let text = scrape(&world).await;
    let requests = |labels: &[&str]| value(&text, "jifen_http_requests_total", labels);
    assert_eq!(
        requests(&[
            "method=\"GET\"",
            "route=\"/api/v1/system/status\"",
            "status=\"2xx\""
        ]),
        Some(3.0),
        "{text}"
    );
    assert_eq!(
        requests(&[
            "method=\"POST\"",
            "route=\"/api/v1/alipay/create_pay_order\"",
            "status=\"2xx\""
        ]),
        Some(1.0),
        "{text}"
    );
    assert_eq!(
        requests(&["route=\"/api/v1/user/info\"", "status=\"4xx\""]),
        Some(1.0),
        "{text}"
    );
    assert_eq!(
        requests(&["route=\"unknown\"", "status=\"4xx\""]),
        Some(3.0),
        "guesses are one label: {text}"
    );
    assert!(
        !text.contains("oSecretOpenid") && !text.contains("wp-admin"),
        "{text}"
    );
    let status = ["route=\"/api/v1/system/status\""];
    assert_eq!(
        value(&text, "jifen_http_request_duration_seconds_count", &status),
        Some(3.0),
        "{text}"
    );
    assert_eq!(
        value(&text, "jifen_http_requests_in_flight", &[]),
        Some(1.0),
        "the scrape itself: {text}"
    );
    assert_eq!(value(&text, "jifen_database_up", &[]), Some(1.0), "{text}");
    assert!(
        value(&text, "jifen_jobs_waiting", &[]).is_some_and(|waiting| waiting >= 2.0),
        "query and close: {text}"
    );
    assert_eq!(value(&text, "jifen_jobs_failed", &[]), Some(0.0), "{text}");

    let again = scrape(&world).await;
    assert_eq!(
        value(&again, "jifen_http_requests_total", &["route=\"/metrics\""]),
        Some(1.0),
        "{again}"
    );
}

async fn every_charge_is_counted_by_how_it_ended(world: World) {
    let text = scrape(&world).await;
    let done = ["outcome=\"done\""];
    assert_eq!(
        value(&text, "jifen_charge_operations_total", &done),
        Some(0.0)
    );
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    let (_, key) = world.api_key(&token, "k").await;
    let gateway = world.gateway().await;
    for (request, points) in [("1", 60), ("1", 60), ("2", 60), ("3", 1)] {
        world.charge(&gateway, request, &key, points).await;
    }
    world.raw("ALTER TABLE entries RENAME TO lost").await;
    world.charge(&gateway, "4", &key, 1).await;
    world.raw("ALTER TABLE lost RENAME TO entries").await;

    let text = scrape(&world).await;
    for (outcome, count) in [
        ("done", 2.0),
        ("repeated", 1.0),
        ("refused", 1.0),
        ("turned_away", 0.0),
        ("busy", 0.0),
        ("broken", 1.0),
    ] {
        let label = format!("outcome=\"{outcome}\"");
        let found = value(&text, "jifen_charge_operations_total", &[&label]);
        assert_eq!(found, Some(count), "{outcome}: {text}");
    }
    for (name, expected) in [
        ("jifen_charges_waiting", 0.0),
        ("jifen_charge_group_operations_count", 4.0),
        ("jifen_charge_group_operations_sum", 4.0),
        ("jifen_charge_commit_duration_seconds_count", 4.0),
        ("jifen_charge_database_failures_total", 0.0),
    ] {
        assert_eq!(value(&text, name, &[]), Some(expected), "{name}: {text}");
    }
    let seconds = value(&text, "jifen_charge_commit_duration_seconds_sum", &[]);
    assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{text}");
}

#[tokio::test]
async fn a_database_that_is_away_is_told_by_the_metrics() {
    let world = World::start(Engine::Sqlite).await;
    world.raw("ALTER TABLE jobs RENAME TO lost").await;
    assert_eq!(
        value(&scrape(&world).await, "jifen_database_up", &[]),
        Some(0.0)
    );
    world.raw("ALTER TABLE lost RENAME TO jobs").await;
    assert_eq!(
        value(&scrape(&world).await, "jifen_database_up", &[]),
        Some(1.0)
    );
}
