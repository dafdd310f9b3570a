//! Charges whose price the operator has set.

use serde_json::{Value, json};

use super::{CHARGES, Shop, assert_invalid, assert_problem};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_route_prices_its_charges,
    a_charge_keeps_the_tariff_it_was_made_under,
);

on_sqlite!(
    units_are_a_whole_number_from_zero,
    points_and_units_exclude_each_other,
    a_route_without_a_tariff_is_named,
    a_route_has_one_spelling,
    a_route_with_points_of_its_own_is_not_priced,
);

#[track_caller]
fn assert_priced(answer: &Answer, points: i64, tariff: i64) {
    assert_eq!(
        (
            answer.status,
            &answer.body["points"],
            &answer.body["tariff"]
        ),
        (200, &json!(points), &json!(tariff)),
        "{}",
        answer.text
    );
}

async fn a_route_prices_its_charges(world: World) {
    let shop = Shop::new(world, 1_000).await;
    let ocr = shop.titled_tariff("POST /v1/ocr", "文字识别", 5, "").await;
    let chat = shop
        .titled_tariff("* /v1/chat", "Chat", 0, "0.8/1000")
        .await;
    let files = shop
        .titled_tariff("GET /v1/files/*", "Files", 2, "1/1")
        .await;
    for (route, more, points, tariff) in [
        ("POST /v1/ocr", json!({}), 5, ocr),
        ("POST /v1/ocr", json!({ "units": 100 }), 5, ocr),
        ("POST /v1/chat", json!({}), 1, chat),
        ("GET /v1/chat", json!({ "units": 0 }), 1, chat),
        ("POST /v1/chat", json!({ "units": 1_250 }), 1, chat),
        ("POST /v1/chat", json!({ "units": 1_251 }), 2, chat),
        ("GET /v1/files/a/b", json!({ "units": 3 }), 5, files),
        ("GET /v1/files/a", json!({}), 3, files),
        ("GET /v1/files/a", json!({ "units": null }), 3, files),
    ] {
        let key = shop.world.app.random_id();
        let answer = shop.post(CHARGES, &key, &shop.call(route, more)).await;
        assert_priced(&answer, points, tariff);
    }
    let own = json!({ "title": "Invoice", "description": "page 1" });
    let answer = shop
        .post(CHARGES, "own", &shop.call("POST /v1/ocr", own))
        .await;
    assert_priced(&answer, 5, ocr);
    let history = shop
        .world
        .get("/api/v1/points/consumption-history?size=100")
        .token(&shop.token)
        .send()
        .await;
    let list = history.body["data"]["list"].as_array().unwrap();
    let titles: Vec<_> = list.iter().map(|entry| entry["title"].as_str()).collect();
    let titles: Vec<_> = titles.into_iter().flatten().collect();
    let expected = [
        "Invoice",
        "Files",
        "Files",
        "Files",
        "Chat",
        "Chat",
        "Chat",
        "Chat",
        "文字识别",
        "文字识别",
    ];
    assert_eq!(titles, expected);
    assert_eq!(list[0]["description"], "page 1");
    shop.end().await;
}

async fn a_charge_keeps_the_tariff_it_was_made_under(world: World) {
    let shop = Shop::new(world, 100).await;
    let cheap = shop.titled_tariff("POST /v1/ocr", "OCR", 5, "").await;
    let call = shop.call("POST /v1/ocr", json!({}));
    let first = shop.post(CHARGES, "1", &call).await;
    assert_priced(&first, 5, cheap);
    let dear = shop.titled_tariff("POST /v1/ocr", "OCR 2", 9, "").await;
    assert!(dear > cheap);
    // At once, and what was charged stays as it was.
    assert_priced(&shop.post(CHARGES, "2", &call).await, 9, dear);
    super::assert_hit(&shop.post(CHARGES, "1", &call).await, &first);
    let stored = shop.world.app.all_tariffs(None, 10).await.unwrap();
    let versions: Vec<_> = stored.iter().map(|tariff| tariff.version).collect();
    assert_eq!(versions, [2, 1], "the old version can still be looked up");
    let history = shop
        .world
        .get("/api/v1/points/consumption-history")
        .token(&shop.token)
        .send()
        .await;
    let list = &history.body["data"]["list"];
    assert_eq!(
        (&list[0]["title"], &list[0]["points"]),
        (&json!("OCR 2"), &json!(9))
    );
    assert_eq!(
        (&list[1]["title"], &list[1]["points"]),
        (&json!("OCR"), &json!(5))
    );
    // A refund gives back what was paid, not what it would cost today.
    let refund = shop.refund("r", &super::id(&first), Value::Null).await;
    assert_eq!(refund.body["points"], 5, "{}", refund.text);
    assert_eq!(shop.standing().await, (91, 0, 2));
    shop.end().await;
}

async fn units_are_a_whole_number_from_zero(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/chat", 0, "1/1").await;
    for units in [
        "-1",
        "-9223372036854775808",
        "1.5",
        "1.0",
        "1e2",
        "\"5\"",
        "[]",
        "1000000000001",
        "9223372036854775807",
        "9223372036854775808",
    ] {
        let mut body = shop.call("POST /v1/chat", json!({ "units": "UNITS" }));
        body["unknown"] = json!(1);
        let body = body.to_string().replace("\"UNITS\"", units);
        let request = shop.world.post_text(CHARGES, body).token(&shop.gateway);
        let request = request.header("content-type", "application/json");
        let answer = request.header("idempotency-key", "1").send().await;
        assert_invalid(&answer, "units");
    }
    let most = shop.call("POST /v1/chat", json!({ "units": 1_000_000_000_000_i64 }));
    let answer = shop.post(CHARGES, "1", &most).await;
    let told = json!({ "limit": "balance", "balance": 100 });
    assert_problem(&answer, 402, "insufficient_points", &told);
    assert_eq!(shop.standing().await, (100, 0, 0));
}

async fn points_and_units_exclude_each_other(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/chat", 0, "1/1").await;
    for (points, units) in [(1, 1), (0, 0), (-1, 5)] {
        let both = shop.call(
            "POST /v1/chat",
            json!({ "points": points, "units": units, "title": "t" }),
        );
        assert_invalid(&shop.post(CHARGES, "1", &both).await, "units");
    }
    let neither = json!({ "apiKey": shop.key, "title": "t" });
    assert_invalid(&shop.post(CHARGES, "1", &neither).await, "points");
    let no_route = json!({ "apiKey": shop.key, "title": "t", "units": 5 });
    let answer = shop.post(CHARGES, "1", &no_route).await;
    assert_problem(&answer, 422, "unknown_route", &json!({ "field": "route" }));
    assert_eq!(shop.standing().await, (100, 0, 0));
}

async fn a_route_without_a_tariff_is_named(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/ocr", 5, "").await;
    for route in [
        "GET /v1/ocr",
        "POST /v1/OCR",
        "POST /v1",
        "POST /v1/ocr/2",
        "POST /",
    ] {
        let body = shop.call(route, json!({}));
        let english = shop.request(CHARGES, "1", &body);
        let answer = english.header("accept-language", "en").send().await;
        assert_problem(&answer, 422, "unknown_route", &json!({ "field": "route" }));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("no tariff prices {route}:")),
            "{detail}"
        );
    }
    assert_eq!(shop.standing().await, (100, 0, 0));
}

async fn a_route_has_one_spelling(world: World) {
    let shop = Shop::new(world, 100).await;
    let dear = shop.tariff("POST /v1/ocr", 5, "").await;
    shop.tariff("POST /v1/*", 1, "").await;
    for (number, same) in [
        "/v1/ocr",
        "/v1/ocr/",
        "/v1/ocr?page=1",
        "/v1/%6Fcr",
        "/v1/ocr?../x",
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = shop.call("POST /v1/ocr", json!({}));
        body["route"] = json!({ "method": "post", "path": same });
        let answer = shop.post(CHARGES, &number.to_string(), &body).await;
        assert_priced(&answer, 5, dear);
    }
    for refused in [
        "/v1/x/../ocr",
        "/v1/./ocr",
        "/v1/..",
        "/v1/%2e%2E/ocr",
        "/v1//ocr",
        "/v1/ocr%2F..",
        "/v1\\ocr",
        "/v1/ocr;x=1",
        "/v1/o cr",
        "/v1/%zz",
        "v1/ocr",
        "*",
        "http://example.com/v1/ocr",
    ] {
        let mut body = shop.call("POST /v1/ocr", json!({}));
        body["route"]["path"] = json!(refused);
        let answer = shop.post(CHARGES, "x", &body).await;
        assert_eq!(
            (answer.status, &answer.body["field"]),
            (422, &json!("route")),
            "{refused}: {}",
            answer.text
        );
    }
    let mut body = shop.call("POST /v1/ocr", json!({}));
    for method in ["*", "PO ST", "POST\n", "文", "1"] {
        body["route"]["method"] = json!(method);
        let answer = shop.post(CHARGES, "x", &body).await;
        assert_eq!(
            (answer.status, &answer.body["field"]),
            (422, &json!("route")),
            "{method}: {}",
            answer.text
        );
    }
    assert_eq!(shop.standing().await, (75, 0, 5));
}

async fn a_route_with_points_of_its_own_is_not_priced(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/ocr", 5, "").await;
    let body = shop.call("POST /v1/ocr", json!({ "points": 7 }));
    let untitled = shop.post(CHARGES, "1", &body).await;
    assert_invalid(&untitled, "title");
    let body = shop.call("POST /v1/other", json!({ "points": 7, "title": "t" }));
    let answer = shop.post(CHARGES, "1", &body).await;
    assert_eq!((answer.status, &answer.body["points"]), (200, &json!(7)));
    assert_eq!(answer.body.get("tariff"), None);
}
