//! `/api/v2/metering/verify`.

use serde_json::{Value, json};

use super::{Shop, assert_invalid, assert_problem, merge};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_good_key_is_told_field_by_field,
    each_limit_is_named,
    nothing_is_counted_or_taken,
);

on_sqlite!(
    an_unknown_key_is_an_answer_and_no_error,
    what_is_no_question_is_refused_by_the_field,
);

/// Whether it is usable, and the limit if not.
#[track_caller]
fn verdict(answer: &Answer) -> (bool, Option<&str>) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let usable = answer.body["usable"].as_bool().unwrap();
    let limit = answer.body["limit"].as_str();
    assert_eq!(usable, limit.is_none(), "{}", answer.text);
    assert_eq!(usable, answer.body["detail"].is_null(), "{}", answer.text);
    (usable, limit)
}

async fn a_good_key_is_told_field_by_field(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/chat", 0, "0.8/1000").await;
    let answer = shop.verify(&json!({ "apiKey": shop.key })).await;
    let key = json!({
        "id": shop.key_id, "name": "my program", "userId": shop.user.to_string(), "isTest": false,
        "expiresAt": answer.body["key"]["expiresAt"], "balance": 100,
    });
    assert_eq!(answer.body, json!({ "usable": true, "key": key }));
    let expires_at = answer.body["key"]["expiresAt"].as_str().unwrap();
    assert!(expires_at.starts_with("2026-"), "{expires_at}");

    let mut priced = json!({ "usable": true, "points": 30, "key": key });
    let question = json!({ "apiKey": shop.key, "points": 30, "ip": "10.0.0.1", "title": 5 });
    assert_eq!(shop.verify(&question).await.body, priced);
    priced["points"] = json!(2);
    let question = shop.call("POST /v1/chat", json!({ "units": 2_500 }));
    assert_eq!(shop.verify(&question).await.body, priced);

    shop.held("h", 40).await;
    // What was held before there was a cap counts, too.
    shop.change_key(json!({ "dailyCap": 60, "totalCap": 90 }))
        .await;
    let answer = shop.verify(&question).await;
    let key = &answer.body["key"];
    assert_eq!((&key["balance"], &key["capLeft"]), (&json!(60), &json!(20)));
    shop.charged("c", 5).await;
    let answer = shop.verify(&question).await;
    let key = &answer.body["key"];
    assert_eq!((&key["balance"], &key["capLeft"]), (&json!(55), &json!(15)));
}

async fn each_limit_is_named(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("* /v1/*", 5, "").await;
    let asked = async |more: Value| {
        let mut body = json!({ "apiKey": shop.key });
        merge(&mut body, more);
        shop.verify(&body).await
    };
    let ocr = json!({ "method": "POST", "path": "/v1/ocr" });
    let chat = json!({ "method": "POST", "path": "/v1/chat" });
    assert_eq!(
        verdict(&asked(json!({ "points": 100 })).await),
        (true, None)
    );
    let poor = asked(json!({ "points": 101 })).await;
    assert_eq!(verdict(&poor), (false, Some("balance")));
    assert_eq!(poor.body["points"], 101);
    assert_eq!(poor.body["key"]["balance"], 100);

    shop.change_key(json!({ "monthlyCap": 10 })).await;
    assert_eq!(verdict(&asked(json!({ "points": 10 })).await), (true, None));
    let capped = asked(json!({ "points": 11 })).await;
    assert_eq!(verdict(&capped), (false, Some("key_cap")));
    shop.charged("c", 10).await;
    assert_eq!(verdict(&asked(json!({})).await), (false, Some("key_cap")));
    shop.change_key(json!({ "monthlyCap": null })).await;

    let limits = json!({ "ipRanges": ["10.0.0.0/8"], "scopes": ["POST /v1/ocr"] });
    shop.change_key(limits).await;
    let ip = json!("10.1.2.3");
    for (route, ip, expected) in [
        (&ocr, &ip, (true, None)),
        (&ocr, &json!("11.0.0.1"), (false, Some("ip"))),
        (&ocr, &Value::Null, (false, Some("ip"))),
        (&chat, &ip, (false, Some("scope"))),
        (&Value::Null, &ip, (false, Some("scope"))),
    ] {
        let answer = asked(json!({ "route": route, "ip": ip })).await;
        assert_eq!(verdict(&answer), expected, "{route} {ip}");
    }
    let unlimited = json!({ "ipRanges": null, "scopes": null, "active": false });
    shop.change_key(unlimited).await;
    let inactive = asked(json!({ "points": 1_000 })).await;
    assert_eq!(verdict(&inactive), (false, Some("inactive")));
    assert_eq!(inactive.body["detail"], "API Key 已停用");
    let request = shop
        .world
        .post(super::VERIFY, &json!({ "apiKey": shop.key }));
    let request = request.header("accept-language", "en");
    let english = request.token(&shop.gateway).send().await;
    assert_eq!(english.body["detail"], "the API key is inactive");
    shop.world.clock.advance_seconds(400 * 86_400);
    assert_eq!(verdict(&asked(json!({})).await), (false, Some("expired")));
}

async fn nothing_is_counted_or_taken(world: World) {
    let limits = json!({ "rateLimit": { "requests": 2, "seconds": 60 }, "totalCap": 50 });
    let shop = Shop::with_key(world, 100, limits).await;
    for _ in 0..10 {
        let answer = shop.verify(&shop.body(50)).await;
        assert_eq!(verdict(&answer), (true, None));
        assert_eq!(answer.header("ratelimit"), "");
    }
    assert_eq!(shop.standing().await, (100, 0, 0));
    let path = format!("/api/v2/api-keys/{}", shop.key_id);
    let key = shop.world.get(&path).token(&shop.token).send().await;
    assert_eq!(key.body["lastUsedAt"], Value::Null, "{}", key.text);
    let charge = shop.charge("1", 50).await;
    assert_eq!(charge.header("ratelimit"), "\"key\";r=1;t=30");
    shop.end().await;
}

async fn an_unknown_key_is_an_answer_and_no_error(world: World) {
    let shop = Shop::new(world, 100).await;
    let (gone_id, gone) = shop.another_key(json!({})).await;
    let request = shop
        .world
        .request("DELETE", &format!("/api/v2/api-keys/{gone_id}"));
    assert_eq!(request.token(&shop.token).send().await.status, 204);
    let (session, credential) = (shop.token.0.clone(), shop.gateway.0.clone());
    for unknown in [
        "x",
        "jf_live_",
        "jf_test_x",
        &gone,
        &session,
        &credential,
        "键",
    ] {
        let answer = shop
            .verify(&json!({ "apiKey": unknown, "points": 5 }))
            .await;
        assert_eq!(verdict(&answer), (false, Some("unknown")), "{unknown}");
        assert_eq!(answer.body.get("key"), None);
        assert_eq!(answer.body["points"], 5);
    }
}

async fn what_is_no_question_is_refused_by_the_field(world: World) {
    let shop = Shop::new(world, 100).await;
    let good = json!({ "apiKey": shop.key });
    for (change, field) in [
        (json!({ "apiKey": null }), "apiKey"),
        (json!({ "apiKey": [] }), "apiKey"),
        (json!({ "apiKey": "x".repeat(129) }), "apiKey"),
        (json!({ "apiKey": "a\u{0}b" }), "apiKey"),
        (json!({ "points": 0 }), "points"),
        (json!({ "points": -5 }), "points"),
        (json!({ "points": 0.5 }), "points"),
        (json!({ "points": 1_000_000_000_001_i64 }), "points"),
        (json!({ "points": 1, "units": 1 }), "units"),
        (json!({ "ip": "10.0.0" }), "ip"),
        (json!({ "route": { "method": "GET" } }), "path"),
        (json!({ "route": { "path": "/" } }), "method"),
    ] {
        let mut question = good.clone();
        merge(&mut question, change);
        assert_invalid(&shop.verify(&question).await, field);
    }
    let unpriced = shop.call("GET /v1/ocr", json!({ "units": 1 }));
    let answer = shop.verify(&unpriced).await;
    assert_problem(&answer, 422, "unknown_route", &json!({ "field": "route" }));
    let request = shop.world.get(super::VERIFY).token(&shop.gateway);
    assert_problem(&request.send().await, 405, "method_not_allowed", &json!({}));
}
