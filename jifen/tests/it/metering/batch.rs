//! `/api/v2/metering/charges/batch`.

use serde_json::{Value, json};

use super::{BATCH, Shop, assert_invalid, assert_problem, assert_problem_body, merge};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    each_charge_of_a_batch_has_its_own_outcome,
    a_thousand_charges_are_made_and_a_repetition_makes_none,
    a_key_twice_in_a_batch_is_one_charge,
    charges_on_one_account_are_made_in_order,
    a_refused_item_may_succeed_when_the_batch_is_repeated,
    a_batch_over_many_accounts_is_exact,
);

on_sqlite!(
    a_batch_has_one_to_a_thousand_charges,
    what_is_no_batch_is_refused_as_a_whole,
    a_batch_that_is_too_long_says_so,
);

fn item(shop: &Shop, key: &str, points: i64) -> Value {
    let mut item = shop.body(points);
    item["idempotencyKey"] = json!(key);
    item
}

async fn send(shop: &Shop, items: &[Value]) -> Answer {
    let batch = json!({ "charges": items });
    let request = shop.world.post(BATCH, &batch).token(&shop.gateway);
    request.send().await
}

async fn results(shop: &Shop, items: &[Value]) -> Vec<Value> {
    let answer = send(shop, items).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body.as_object().unwrap().len(), 1);
    let results = answer.body["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), items.len());
    results
}

/// `(status, hit)` of each.
fn ends(results: &[Value]) -> Vec<(i64, bool)> {
    let end = |result: &Value| {
        let hit = result["idempotencyHit"].as_bool().unwrap();
        (result["status"].as_i64().unwrap(), hit)
    };
    results.iter().map(end).collect()
}

async fn each_charge_of_a_batch_has_its_own_outcome(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/ocr", 5, "").await;
    let (off_id, off) = shop.another_key(json!({})).await;
    let request = shop
        .world
        .request("PATCH", &format!("/api/v2/api-keys/{off_id}"));
    let request = request.body("{\"active\":false}").token(&shop.token);
    assert_eq!(request.send().await.status, 200);
    let changed = |key: &str, change: Value| {
        let mut item = item(&shop, key, 1);
        merge(&mut item, change);
        item
    };
    let route = |path: &str| json!({ "points": null, "title": null, "route": { "method": "POST", "path": path } });
    let items = [
        item(&shop, "a", 10),
        changed("b", json!({ "points": 0 })),
        changed("c", json!({ "apiKey": "jf_live_nobodys" })),
        item(&shop, "d", 91),
        changed("e", json!({ "apiKey": off })),
        changed("f", json!({ "title": null })),
        changed("g", json!({ "idempotencyKey": null })),
        changed("h", json!({ "idempotencyKey": "钥匙" })),
        changed("i", json!({ "points": "5" })),
        changed("j", route("/v1/ocr")),
        changed("k", route("/v1/nothing")),
        changed("l", json!({ "units": 5 })),
        changed("m", json!({ "idempotencyKey": "x".repeat(256) })),
        item(&shop, "n", 85),
    ];
    let got = results(&shop, &items).await;
    let problem = |place: usize, status: u16, code: &str, more: Value| {
        let result = &got[place];
        assert_eq!(result.as_object().unwrap().len(), 3, "{result}");
        assert_eq!(
            (&result["status"], &result["idempotencyHit"]),
            (&json!(status), &json!(false)),
            "{place}: {result}"
        );
        assert_problem_body(&result["problem"], status, code, &more);
    };
    let id = got[0]["charge"]["id"].clone();
    let charge =
        json!({ "id": id, "points": 10, "balance": 90, "chargedAt": "2026-01-15T04:00:00Z" });
    let first = json!({ "status": 200, "idempotencyHit": false, "charge": charge });
    assert_eq!(got[0], first);
    let balance = |limit: &str, balance: i64| json!({ "limit": limit, "balance": balance });
    problem(1, 422, "invalid_request", json!({ "field": "points" }));
    problem(2, 422, "unknown_api_key", json!({ "limit": "unknown" }));
    problem(3, 402, "insufficient_points", balance("balance", 90));
    problem(4, 403, "api_key_not_usable", balance("inactive", 100));
    problem(5, 422, "invalid_request", json!({ "field": "title" }));
    problem(
        6,
        422,
        "invalid_request",
        json!({ "field": "idempotencyKey" }),
    );
    problem(
        7,
        422,
        "invalid_request",
        json!({ "field": "Idempotency-Key" }),
    );
    problem(8, 422, "invalid_request", json!({ "field": "points" }));
    assert_eq!(got[9]["charge"]["points"], 5);
    assert!(got[9]["charge"]["tariff"].is_i64(), "{}", got[9]);
    problem(10, 422, "unknown_route", json!({ "field": "route" }));
    problem(11, 422, "invalid_request", json!({ "field": "units" }));
    problem(
        12,
        422,
        "invalid_request",
        json!({ "field": "idempotencyKey" }),
    );
    assert_eq!(got[13]["charge"]["balance"], 0);
    assert_eq!(shop.standing().await, (0, 0, 3));
    shop.end().await;
}

async fn a_thousand_charges_are_made_and_a_repetition_makes_none(world: World) {
    let shop = Shop::new(world, 5_000).await;
    let items: Vec<Value> = (0..1_000)
        .map(|number| item(&shop, &format!("call-{number}"), number % 7 + 1))
        .collect();
    let first = results(&shop, &items).await;
    assert!(ends(&first).iter().all(|end| *end == (200, false)));
    let sum: i64 = (0..1_000).map(|number| number % 7 + 1).sum();
    assert_eq!(shop.standing().await, (5_000 - sum, 0, 1_000));
    shop.world.clock.advance_seconds(3_600);
    let again = results(&shop, &items).await;
    assert!(ends(&again).iter().all(|end| *end == (200, true)));
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first["charge"], again["charge"]);
    }
    let single = shop.charge("call-999", 999 % 7 + 1).await;
    assert_eq!(
        (single.header("idempotency-hit"), &single.body),
        ("true", &first[999]["charge"]),
        "alone and in a batch, a key is the same"
    );
    assert_eq!(shop.standing().await, (5_000 - sum, 0, 1_000));
    shop.end().await;
}

async fn a_batch_has_one_to_a_thousand_charges(world: World) {
    let shop = Shop::new(world, 5_000).await;
    let one = results(&shop, &[item(&shop, "one", 1)]).await;
    assert_eq!(ends(&one), [(200, false)]);
    let items: Vec<Value> = (0..1_001)
        .map(|number| item(&shop, &number.to_string(), 1))
        .collect();
    assert_invalid(&send(&shop, &items).await, "charges");
    assert_invalid(&send(&shop, &[]).await, "charges");
    assert_eq!(shop.standing().await, (4_999, 0, 1));
    let most = results(&shop, &items[..1_000]).await;
    assert!(ends(&most).iter().all(|end| *end == (200, false)));
}

async fn a_key_twice_in_a_batch_is_one_charge(world: World) {
    let shop = Shop::new(world, 100).await;
    let items = [
        item(&shop, "a", 10),
        item(&shop, "a", 10),
        item(&shop, "a", 11),
        item(&shop, "b", 1_000),
        item(&shop, "b", 1),
        item(&shop, "b", 1),
        item(&shop, "b", 1_000),
        item(&shop, "A", 10),
    ];
    let got = results(&shop, &items).await;
    let expected = [
        (200, false),
        (200, true),
        (422, false),
        // What was refused has not used its key up.
        (402, false),
        (200, false),
        (200, true),
        (422, false),
        (200, false),
    ];
    assert_eq!(ends(&got), expected, "{got:?}");
    assert_eq!(got[0]["charge"], got[1]["charge"]);
    assert_eq!(got[2]["problem"]["code"], "idempotency_key_reused");
    assert_eq!(got[6]["problem"]["code"], "idempotency_key_reused");
    assert_eq!(shop.standing().await, (79, 0, 3));
    shop.end().await;
}

async fn charges_on_one_account_are_made_in_order(world: World) {
    let shop = Shop::new(world, 100).await;
    let items: Vec<Value> = (0..60)
        .map(|number| item(&shop, &number.to_string(), 3))
        .collect();
    let got = results(&shop, &items).await;
    for (number, result) in got.iter().enumerate() {
        let left = 100 - 3 * (i64::try_from(number).unwrap() + 1);
        if left >= 0 {
            assert_eq!(result["charge"]["balance"], left, "{number}");
        } else {
            assert_eq!(result["problem"]["balance"], 1, "{number}");
        }
    }
    // A smaller one after those that were refused takes what they left.
    let got = results(&shop, &[item(&shop, "big", 2), item(&shop, "small", 1)]).await;
    assert_eq!(ends(&got), [(402, false), (200, false)]);
    assert_eq!(shop.standing().await, (0, 0, 34));
    shop.end().await;
}

async fn a_refused_item_may_succeed_when_the_batch_is_repeated(world: World) {
    let shop = Shop::new(world, 10).await;
    let items = [
        item(&shop, "a", 6),
        item(&shop, "b", 6),
        item(&shop, "c", 4),
        item(&shop, "d", 0),
    ];
    let ends_of = async || ends(&results(&shop, &items).await);
    let first = [(200, false), (402, false), (200, false), (422, false)];
    assert_eq!(ends_of().await, first);
    assert_eq!(
        ends_of().await,
        [(200, true), (402, false), (200, true), (422, false)]
    );
    shop.give(6, None).await;
    assert_eq!(
        ends_of().await,
        [(200, true), (200, false), (200, true), (422, false)]
    );
    assert_eq!(
        ends_of().await,
        [(200, true), (200, true), (200, true), (422, false)]
    );
    assert_eq!(shop.standing().await, (0, 0, 3));
    shop.end().await;
}

async fn a_batch_over_many_accounts_is_exact(world: World) {
    let shop = Shop::new(world, 100).await;
    let mut keys = vec![shop.key.clone()];
    for person in ["xiaohong", "laowang"] {
        let token = shop.world.log_in(person).await;
        let order = shop.world.create_order(&token, "100001").await;
        shop.world.pay_with_wechat(person, &order).await;
        shop.world.deliver_notifications().await;
        keys.push(shop.key_of(&token, json!({})).await.1);
    }
    let items: Vec<Value> = (0..300)
        .map(|number| {
            let mut item = item(&shop, "same", 7);
            item["apiKey"] = json!(keys[number % 3]);
            item["idempotencyKey"] = json!((number / 3).to_string());
            item
        })
        .collect();
    // Two at once: each charge is made by one of them.
    let (one, other) = tokio::join!(send(&shop, &items), send(&shop, &items));
    assert_eq!((one.status, other.status), (200, 200), "{}", other.text);
    let one = one.body["results"].as_array().unwrap().clone();
    let other = other.body["results"].as_array().unwrap().clone();
    let mut made = [0; 3];
    for (number, (one, other)) in one.iter().zip(&other).enumerate() {
        assert_eq!(one["status"], other["status"]);
        assert_eq!(one["charge"], other["charge"]);
        if one["status"] == 200 {
            made[number % 3] += 1;
            let hits = [one, other].map(|result| result["idempotencyHit"] == true);
            assert!(hits[0] != hits[1], "{one} {other}");
        }
    }
    assert_eq!(made, [14; 3], "14 times 7 of 100");
    shop.end().await;
}

async fn what_is_no_batch_is_refused_as_a_whole(world: World) {
    let shop = Shop::new(world, 100).await;
    let good = item(&shop, "a", 1);
    for charges in [
        json!(null),
        json!({}),
        json!("a"),
        good.clone(),
        json!([1]),
        json!([good, null]),
        json!([[good]]),
    ] {
        let batch = json!({ "charges": charges });
        let request = shop.world.post(BATCH, &batch).token(&shop.gateway);
        assert_invalid(&request.send().await, "charges");
    }
    for (body, field) in [
        ("[]", "body"),
        ("{\"charges\":[", "body"),
        ("{}", "charges"),
    ] {
        let request = shop.world.post_text(BATCH, body).token(&shop.gateway);
        let request = request.header("content-type", "application/json");
        assert_invalid(&request.send().await, field);
    }
    assert_eq!(shop.standing().await, (100, 0, 0));
    // Nothing but bad items is an answer, too.
    let got = results(&shop, &[json!({}), json!({ "idempotencyKey": 5 })]).await;
    assert_eq!(ends(&got), [(422, false), (422, false)]);
}

async fn a_batch_that_is_too_long_says_so(world: World) {
    let shop = Shop::new(world, 5_000).await;
    let mut long = item(&shop, "a", 1);
    long["description"] = json!("述".repeat(512));
    let items: Vec<Value> = (0..1_000)
        .map(|number| {
            let mut item = long.clone();
            item["idempotencyKey"] = json!(number.to_string());
            item
        })
        .collect();
    assert_problem(
        &send(&shop, &items).await,
        413,
        "body_too_large",
        &json!({}),
    );
    let some = results(&shop, &items[..200]).await;
    assert!(ends(&some).iter().all(|end| *end == (200, false)));
    assert_eq!(shop.standing().await, (4_800, 0, 200));
}
