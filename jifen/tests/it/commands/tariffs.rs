//! `jifen tariffs`.

use std::time::Duration;

use jifen_app::{Error, Language};
use jifen_domain::Points;
use jifen_domain::tariff::{Rates, Route, RoutePattern};
use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::{START, World, on_both_engines};

on_both_engines!(
    what_the_operator_sets_is_what_calls_cost,
    a_price_set_by_another_process_holds_within_five_seconds,
    a_price_set_on_this_node_holds_at_once,
    a_price_that_another_node_announces_holds_as_soon_as_it_is_heard_of,
);

const SET_OCR: [&str; 7] = [
    "tariffs",
    "set",
    "POST /v1/ocr",
    "--points",
    "5",
    "--title",
    "文字识别",
];
const SET_CHAT: [&str; 7] = [
    "tariffs",
    "set",
    "/v1/chat",
    "--per-units",
    "0.80/1000",
    "--title",
    "chat",
];

/// What a call costs, as the running mall says; or why it has no price.
async fn price(world: &World, route: &str, units: i64) -> Result<i64, String> {
    let route = Route::parse(route).unwrap();
    match world.app.price(&route, units).await {
        Ok(priced) => Ok(priced.points.get()),
        Err(error @ Error::Invalid { .. }) => Err(error.text(Language::English)),
        Err(error) => panic!("{error}"),
    }
}

fn pattern(text: &str) -> RoutePattern {
    RoutePattern::parse(text).unwrap()
}

fn per_call(points: i64) -> Rates {
    Rates::new(Points::new(points).unwrap(), None, Points::ZERO).unwrap()
}

fn column<'a>(listed: &'a Value, name: &str) -> Vec<&'a Value> {
    let lines = listed.as_array().unwrap().iter();
    lines.map(|line| &line[name]).collect()
}

async fn what_the_operator_sets_is_what_calls_cost(world: World) {
    assert_eq!(world.jifen_json(&["tariffs", "list"]).await, json!([]));
    assert_eq!(world.jifen_json(&SET_OCR).await["title"], json!("文字识别"));
    let chat = world.jifen_json(&SET_CHAT).await;
    let since = chat["created_at"].clone();
    assert_eq!(
        chat,
        json!({
            "id": 2, "route": "* /v1/chat", "version": 1, "title": "chat", "points": 0, "per_units": "0.8/1000", "min": 1,
            "created_at": since, "retired_at": null,
        })
    );
    let both = [
        "tariffs",
        "set",
        "GET /v1/files/*",
        "--points",
        "2",
        "--per-units",
        "1.5/1",
        "--min",
        "4",
        "--title",
        "files",
    ];
    assert_eq!(world.jifen_json(&both).await["min"], 4);

    for (route, units, points, tariff) in [
        ("POST /v1/ocr", "0", 5, 1),
        ("post /v1/ocr/?page=1", "1500", 5, 1),
        ("GET /v1/chat", "0", 1, 2),
        ("POST /v1/chat", "1250", 1, 2),
        ("POST /v1/chat", "1251", 2, 2),
        ("POST /v1/chat", "1500", 2, 2),
        ("GET /v1/files/7/8", "1", 4, 3),
        ("GET /v1/files/7/8", "3", 7, 3),
    ] {
        let priced = world
            .jifen_json(&["tariffs", "price", route, "--units", units])
            .await;
        assert_eq!(
            (&priced["points"], &priced["tariff_id"]),
            (&json!(points), &json!(tariff)),
            "{route} of {units}"
        );
    }
    let words = world.jifen(&["tariffs", "price", "POST /v1/ocr"]).await;
    assert_eq!(words.text(), "5 points (文字识别, tariff 1)\n");

    let dearer = [&SET_OCR[..4], &["7", "--title", "OCR"]].concat();
    assert_eq!(world.jifen_json(&dearer).await["version"], 2);
    let listed = world.jifen_json(&["tariffs", "list"]).await;
    assert_eq!(
        column(&listed, "route"),
        ["* /v1/chat", "GET /v1/files/*", "POST /v1/ocr"]
    );
    assert_eq!(column(&listed, "id"), [2, 3, 4]);

    let retired = world.jifen(&["tariffs", "retire", "post /v1/ocr"]).await;
    assert_eq!(retired.text(), "POST /v1/ocr has no tariff any more\n");
    let listed = world.jifen_json(&["tariffs", "list"]).await;
    assert_eq!(column(&listed, "id"), [2, 3]);
    let all = world.jifen_json(&["tariffs", "list", "--all"]).await;
    assert_eq!(column(&all, "id"), [4, 3, 2, 1]);
    let versions = world.jifen_json(&["tariffs", "list", "POST /v1/ocr"]).await;
    assert_eq!(column(&versions, "points"), [7, 5]);
    assert!(
        column(&versions, "retired_at")
            .iter()
            .all(|at| at.is_string()),
        "{versions}"
    );
}

async fn a_price_set_by_another_process_holds_within_five_seconds(world: World) {
    let unknown = price(&world, "POST /v1/ocr", 1).await.unwrap_err();
    assert_eq!(
        unknown,
        "route: no tariff prices POST /v1/ocr: the operator adds one with `jifen tariffs set`"
    );
    world.jifen_json(&SET_OCR).await;
    world.clock.advance_seconds(4);
    assert_eq!(price(&world, "POST /v1/ocr", 1).await, Err(unknown));
    world.clock.advance_seconds(1);
    assert_eq!(price(&world, "POST /v1/ocr", 1).await, Ok(5));

    world
        .jifen_json(&["tariffs", "retire", "POST /v1/ocr"])
        .await;
    assert_eq!(price(&world, "POST /v1/ocr", 1).await, Ok(5));
    world.clock.advance_seconds(5);
    assert!(price(&world, "POST /v1/ocr", 1).await.is_err());
}

async fn a_price_set_on_this_node_holds_at_once(world: World) {
    let ocr = pattern("POST /v1/ocr");
    assert!(price(&world, "POST /v1/ocr", 0).await.is_err());
    for points in [5, 6] {
        let set = world.app.set_tariff(&ocr, " OCR ", per_call(points)).await;
        let set = set.unwrap();
        assert_eq!((set.title.as_str(), set.retired_at), ("OCR", None));
        assert_eq!(set.created_at.to_rfc3339(), START);
        assert_eq!(price(&world, "POST /v1/ocr", 0).await, Ok(points));
    }
    world.app.retire_tariff(&ocr).await.unwrap();
    assert!(price(&world, "POST /v1/ocr", 0).await.is_err());
}

async fn a_price_that_another_node_announces_holds_as_soon_as_it_is_heard_of(world: World) {
    let other = jifen::instance::app(&world.config, world.clock.clone(), world.store()).unwrap();
    let following = tokio::spawn(world.app.follow_tariff_changes());
    for points in [5, 6] {
        other
            .set_tariff(&pattern("/v1/ocr"), "OCR", per_call(points))
            .await
            .unwrap();
        // The clock stands still, so that only the announcement can bring the news.
        tokio::time::timeout(Duration::from_mins(1), async {
            while price(&world, "POST /v1/ocr", 0).await != Ok(points) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    following.abort();
}

#[tokio::test]
async fn no_more_than_a_thousand_tariffs_are_in_force() {
    let world = World::start(Engine::Sqlite).await;
    let mut tx = world.store().begin().await.unwrap();
    for number in 0..1_000 {
        let pattern = pattern(&format!("/v1/{number}"));
        let put = tx.put_tariff(&pattern, "one of many", per_call(1), world.clock.now());
        put.await.unwrap();
    }
    tx.commit().await.unwrap();
    let refused = world.jifen(&SET_OCR).await;
    assert!(
        refused.error().contains("1000 tariffs"),
        "{}",
        refused.stderr
    );
    let again = [&SET_OCR[..2], &["/v1/999"], &SET_OCR[3..]].concat();
    assert_eq!(world.jifen_json(&again).await["version"], 2, "one for one");
    world.jifen_json(&["tariffs", "retire", "/v1/0"]).await;
    assert_eq!(world.jifen_json(&SET_OCR).await["version"], 1);
    assert_eq!(price(&world, "GET /v1/999", 0).await, Ok(5));
}

#[tokio::test]
async fn tariffs_are_a_table_for_people() {
    let world = World::start(Engine::Sqlite).await;
    assert_eq!(world.jifen(&["tariffs", "list"]).await.text(), "none\n");
    world.jifen_json(&SET_OCR).await;
    world.jifen_json(&SET_CHAT).await;
    let listed = world.jifen(&["tariffs", "list"]).await;
    let lines: Vec<Vec<&str>> = listed
        .text()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0][..3], ["ROUTE", "TITLE", "POINTS"]);
    assert_eq!(
        lines[1][..8],
        ["*", "/v1/chat", "chat", "0", "0.8/1000", "1", "1", "2"]
    );
    assert_eq!(
        lines[2][..7],
        ["POST", "/v1/ocr", "文字识别", "5", "1", "1", "1"]
    );
}

#[tokio::test]
async fn a_tariff_that_makes_no_sense_is_refused_with_the_reason() {
    let world = World::start(Engine::Sqlite).await;
    world.jifen_json(&SET_CHAT).await;
    let set = ["tariffs", "set", "POST /v1/ocr", "--title", "OCR"];
    let of = |route| ["tariffs", "set", route, "--title", "OCR", "--points", "5"].to_vec();
    for (arguments, reason) in [
        (set.to_vec(), "--points, --per-units or both are needed"),
        (
            [&set[..], &["--points=-5"]].concat(),
            "--points: must not be negative",
        ),
        ([&set[..], &["--points", "0.8"]].concat(), "0.8"),
        (
            [&set[..], &["--points", "1000000000001"]].concat(),
            "at most 1000000000000 points",
        ),
        (
            [&set[..], &["--points", "0", "--min", "0"]].concat(),
            "could cost nothing",
        ),
        (
            [&set[..], &["--per-units", "0.8/1000", "--min", "0"]].concat(),
            "could cost nothing",
        ),
        (
            [&set[..], &["--points", "5", "--min=-1"]].concat(),
            "--min: must not be negative",
        ),
        (
            [&set[..], &["--per-units", "0.8"]].concat(),
            "such as 0.8/1000",
        ),
        (
            [&set[..], &["--per-units", "0.0000008/1"]].concat(),
            "at most 6 decimals",
        ),
        ([&set[..], &["--per-units=-0.8/1000"]].concat(), "digits"),
        (
            [&set[..], &["--per-units", "0.8/0"]].concat(),
            "whole number of units",
        ),
        (
            [&set[..], &["--per-units", "0/1000"]].concat(),
            "more than 0",
        ),
        (set[..3].to_vec(), "--title"),
        ([&set[..4], &[" ", "--points", "5"]].concat(), "title"),
        (of("POST"), "such as POST /v1/ocr"),
        (of("POST v1/ocr"), "begin with a slash"),
        (of("POST /v1//ocr"), "two slashes"),
        (of("POST /v1/oc*"), "whole segment"),
        (of("POST /v1/ocr?x=1"), "query string"),
        (of("P0ST /v1/ocr"), "method"),
        (
            vec!["tariffs", "set", "POST", "/v1/ocr", "--points", "5"],
            "/v1/ocr",
        ),
        (
            vec!["tariffs", "retire", "POST /v1/chat"],
            "no tariff of POST /v1/chat is in force",
        ),
        (vec!["tariffs", "retire", "nothing"], "not a route"),
        (
            vec!["tariffs", "price", "POST /v1/ocr"],
            "no tariff prices POST /v1/ocr",
        ),
        (vec!["tariffs", "price", "/v1/chat"], "method and the path"),
        (
            vec!["tariffs", "price", "GET /v1/../chat"],
            "segments . and ..",
        ),
        (
            vec!["tariffs", "price", "GET /v1/chat", "--units=-1"],
            "units: must not be negative",
        ),
        (
            vec![
                "tariffs",
                "price",
                "GET /v1/chat",
                "--units",
                "9223372036854775807",
            ],
            "units: so many units cost more than 1000000000000 points",
        ),
        (
            vec![
                "tariffs",
                "price",
                "GET /v1/chat",
                "--units",
                "9223372036854775808",
            ],
            "units",
        ),
        (vec!["tariffs"], ""),
    ] {
        let ran = world.jifen(&arguments).await;
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert!(
            ran.stderr.contains(reason),
            "{arguments:?} does not say {reason:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    let listed = world.jifen_json(&["tariffs", "list", "--all"]).await;
    assert_eq!(column(&listed, "route"), ["* /v1/chat"]);
}
