//! `/api/v2/api-keys`.

use serde_json::{Value, json};

use super::{KEYS, assert_problem, create, key, list};
use crate::world::{World, on_both_engines, on_sqlite};

on_both_engines!(
    a_key_has_everything_that_was_asked_for,
    a_key_without_wishes_may_do_everything,
    test_keys_are_seen_in_this_version_only,
    fifty_keys_are_the_limit_live_and_test_together,
);

on_sqlite!(
    what_does_not_fit_is_refused_by_its_name,
    what_is_sent_is_brought_to_one_spelling,
    keys_are_their_owners,
);

async fn a_key_has_everything_that_was_asked_for(world: World) {
    let token = world.log_in("xiaoming").await;
    assert_eq!(list(&world, &token).await, json!([]));
    let wanted = json!({
        "name": " 生产 🔑 ", "expiryMonths": 12, "test": false, "dailyCap": 1_000, "monthlyCap": 20_000,
        "totalCap": 1_000_000_000_000_i64, "rateLimit": { "requests": 100, "seconds": 60 },
        "ipRanges": ["10.0.0.0/8", "2001:db8::/32"], "scopes": ["POST /v1/ocr", "* /v1/files/*"],
    });
    let answer = create(&world, &token, &wanted).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let (id, secret) = (
        answer.body["id"].as_str().unwrap(),
        answer.body["secret"].as_str().unwrap(),
    );
    assert!(
        secret.starts_with("jf_live_") && secret.len() == 42 && !secret.contains(id),
        "{secret}"
    );
    let mut known = json!({
        "id": id, "name": "生产 🔑", "test": false, "status": "active", "hint": secret[32..36],
        "createdAt": "2026-01-15T04:00:00Z", "expiresAt": "2027-01-15T04:00:00Z", "lastUsedAt": null,
        "dailyCap": 1_000, "monthlyCap": 20_000, "totalCap": 1_000_000_000_000_i64,
        "rateLimit": { "requests": 100, "seconds": 60 }, "ipRanges": ["10.0.0.0/8", "2001:db8::/32"],
        "scopes": ["POST /v1/ocr", "* /v1/files/*"],
    });
    known["secret"] = json!(secret);
    assert_eq!(answer.body, known);
    assert_eq!(answer.header("location"), format!("{KEYS}/{id}"));
    assert_eq!(answer.header("cache-control"), "no-store");

    known.as_object_mut().unwrap().remove("secret");
    assert_eq!(list(&world, &token).await, json!([known]));
    let one = world
        .get(answer.header("location"))
        .token(&token)
        .send()
        .await;
    assert_eq!((one.status, &one.body), (200, &known));
}

async fn a_key_without_wishes_may_do_everything(world: World) {
    let token = world.log_in("xiaoming").await;
    for wanted in [
        json!({ "name": "k" }),
        json!({
            "name": "k", "expiryMonths": null, "test": null, "dailyCap": null, "monthlyCap": null, "totalCap": null,
            "rateLimit": null, "ipRanges": null, "scopes": null, "unknown": 1,
        }),
        json!({ "name": "k", "ipRanges": [], "scopes": [] }),
    ] {
        let mut answer = create(&world, &token, &wanted).await;
        assert_eq!(answer.status, 201, "{wanted}: {}", answer.text);
        let told = answer.body.as_object_mut().unwrap();
        for differing in ["id", "secret", "hint"] {
            told.remove(differing).unwrap();
        }
        assert_eq!(
            answer.body,
            json!({
                "name": "k", "test": false, "status": "active", "createdAt": "2026-01-15T04:00:00Z",
                "expiresAt": "2026-07-15T04:00:00Z", "lastUsedAt": null, "dailyCap": null, "monthlyCap": null,
                "totalCap": null, "rateLimit": null, "ipRanges": [], "scopes": [],
            })
        );
    }
}

async fn test_keys_are_seen_in_this_version_only(world: World) {
    let token = world.log_in("xiaoming").await;
    let (live, _) = world.api_key(&token, "live").await;
    let (test, secret) = key(&world, &token, &json!({ "name": "test", "test": true })).await;
    assert!(
        secret.starts_with("jf_test_") && secret.len() == 42,
        "{secret}"
    );
    let keys = list(&world, &token).await;
    let told = |place: usize| (keys[place]["id"].clone(), keys[place]["test"].clone());
    let mut all = [told(0), told(1)];
    all.sort_by_key(|(_, test)| test.to_string());
    assert_eq!(
        all,
        [(json!(live), json!(false)), (json!(test), json!(true))]
    );

    let version_1 = world.get("/api/v1/api-keys").token(&token).send().await;
    assert_eq!(
        version_1.body["data"]["list"].as_array().unwrap().len(),
        1,
        "{}",
        version_1.text
    );
    for (path, body) in [
        ("delete", json!({ "id": test })),
        ("update-status", json!({ "id": test, "status": "inactive" })),
    ] {
        let request = world.post(&format!("/api/v1/api-keys/{path}"), &body);
        assert_eq!(request.token(&token).send().await.status, 404, "{path}");
    }
    assert_eq!(list(&world, &token).await, keys);
}

async fn fifty_keys_are_the_limit_live_and_test_together(world: World) {
    let token = world.log_in("xiaoming").await;
    for number in 0..50 {
        key(
            &world,
            &token,
            &json!({ "name": "k", "test": number % 2 == 0 }),
        )
        .await;
    }
    for test in [false, true] {
        let answer = create(&world, &token, &json!({ "name": "k", "test": test })).await;
        assert_problem(&answer, 422, "invalid_request", Some("name"));
    }
    let version_1 = world.post("/api/v1/api-keys/create", &json!({ "name": "k" }));
    assert_eq!(version_1.token(&token).send().await.status, 422);
    assert_eq!(list(&world, &token).await.as_array().unwrap().len(), 50);
    key(
        &world,
        &world.log_in("xiaohong").await,
        &json!({ "name": "k" }),
    )
    .await;
}

/// What may not be sent for a field, whether a key is made or changed.
pub(super) fn misfits() -> Vec<(&'static str, Value)> {
    let many = |item: &str, count| Value::from(vec![item; count]);
    let mut misfits = vec![
        ("name", json!("")),
        ("name", json!(" \u{3000}")),
        ("name", json!("x".repeat(65))),
        ("name", json!("a\nb")),
        ("name", json!("a\0b")),
        ("name", json!(7)),
        ("name", json!(null)),
        ("rateLimit", json!("100/60")),
        ("rateLimit", json!([100, 60])),
        ("rateLimit.requests", json!({ "seconds": 60 })),
        (
            "rateLimit.requests",
            json!({ "requests": null, "seconds": 60 }),
        ),
        (
            "rateLimit.requests",
            json!({ "requests": 0, "seconds": 60 }),
        ),
        (
            "rateLimit.requests",
            json!({ "requests": -1, "seconds": 60 }),
        ),
        (
            "rateLimit.requests",
            json!({ "requests": 1_000_001, "seconds": 60 }),
        ),
        (
            "rateLimit.requests",
            json!({ "requests": 1.5, "seconds": 60 }),
        ),
        ("rateLimit.seconds", json!({ "requests": 1 })),
        ("rateLimit.seconds", json!({ "requests": 1, "seconds": 0 })),
        (
            "rateLimit.seconds",
            json!({ "requests": 1, "seconds": 86_401 }),
        ),
        (
            "rateLimit.seconds",
            json!({ "requests": 1, "seconds": i64::MAX }),
        ),
        ("ipRanges", json!("10.0.0.0/8")),
        ("ipRanges", json!({})),
        ("ipRanges", json!([7])),
        ("ipRanges", json!([null])),
        ("ipRanges", json!([""])),
        ("ipRanges", json!(["localhost"])),
        ("ipRanges", json!(["10.0.0.0/8", "10.0.0.1/8"])),
        ("ipRanges", json!(["10.0.0.0/33"])),
        ("ipRanges", json!(["::/129"])),
        ("ipRanges", json!(["::ffff:10.0.0.0/8"])),
        ("ipRanges", many("10.0.0.0/8", 33)),
        ("scopes", json!("POST /v1/ocr")),
        ("scopes", json!([true])),
        ("scopes", json!(["POST"])),
        ("scopes", json!(["POST /v1/../ocr"])),
        ("scopes", json!(["POST /v1/ocr?page=1"])),
        ("scopes", json!(["PO ST /v1/ocr"])),
        ("scopes", many("POST /v1/ocr", 33)),
    ];
    for cap in ["dailyCap", "monthlyCap", "totalCap"] {
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("1"),
            json!(1_000_000_000_001_i64),
            json!(u64::MAX),
        ] {
            misfits.push((cap, value));
        }
    }
    misfits
}

async fn what_does_not_fit_is_refused_by_its_name(world: World) {
    let token = world.log_in("xiaoming").await;
    let more = [
        ("expiryMonths", json!(0)),
        ("expiryMonths", json!(2)),
        ("expiryMonths", json!(-1)),
        ("expiryMonths", json!("6")),
        ("expiryMonths", json!(6.5)),
        ("test", json!("true")),
        ("test", json!(1)),
    ];
    for (field, value) in misfits().into_iter().chain(more) {
        let mut wanted = json!({ "name": "k" });
        wanted[field.split('.').next().unwrap()] = value;
        let answer = create(&world, &token, &wanted).await;
        assert_problem(&answer, 422, "invalid_request", Some(field));
    }
    let nameless = create(&world, &token, &json!({})).await;
    assert_problem(&nameless, 422, "invalid_request", Some("name"));
    for body in ["", "[]", "{", "null", "{\"name\":\"k\""] {
        let request = world
            .post_text(KEYS, body)
            .header("content-type", "application/json");
        let answer = request.token(&token).send().await;
        assert_problem(&answer, 422, "invalid_request", Some("body"));
    }
    let request = world.post_text(KEYS, "name=k").token(&token);
    assert_problem(
        &request.send().await,
        422,
        "invalid_request",
        Some("Content-Type"),
    );
    assert_eq!(list(&world, &token).await, json!([]));

    let told = async |language: &str| {
        let request = world.post(KEYS, &json!({ "name": "k", "ipRanges": ["10.0.0.1/8"] }));
        let request = request.token(&token).header("accept-language", language);
        request.send().await.body["detail"].clone()
    };
    assert_eq!(
        told("en").await,
        "ipRanges: \"10.0.0.1/8\": the block that begins with these bits is 10.0.0.0/8: write that, or the address without \
         a slash"
    );
    assert_eq!(
        told("zh").await,
        "ipRanges: “10.0.0.1/8”：以这些位开头的地址段是 10.0.0.0/8，请写该地址段，或去掉斜杠只写地址"
    );
}

async fn what_is_sent_is_brought_to_one_spelling(world: World) {
    let token = world.log_in("xiaoming").await;
    let wanted = json!({
        "name": "k",
        "ipRanges": [" 203.0.113.7 ", "::ffff:10.0.0.0/104", "10.0.0.0/8", "2001:DB8:0::/48"],
        "scopes": ["post /v1/ocr/", "/v1/chat", "POST /v1/ocr"],
    });
    let answer = create(&world, &token, &wanted).await;
    assert_eq!(
        (&answer.body["ipRanges"], &answer.body["scopes"]),
        (
            &json!(["203.0.113.7/32", "10.0.0.0/8", "2001:db8::/48"]),
            &json!(["POST /v1/ocr", "* /v1/chat"])
        ),
        "{}",
        answer.text
    );
    let most = json!({
        "name": "k",
        "ipRanges": (0..32).map(|number| format!("10.{number}.0.0/16")).collect::<Vec<_>>(),
        "scopes": (0..32).map(|number| format!("GET /v1/{number}")).collect::<Vec<_>>(),
    });
    let answer = create(&world, &token, &most).await;
    assert_eq!(
        (&answer.body["ipRanges"], &answer.body["scopes"]),
        (&most["ipRanges"], &most["scopes"])
    );
}

async fn keys_are_their_owners(world: World) {
    let (ming, hong) = (
        world.log_in("xiaoming").await,
        world.log_in("xiaohong").await,
    );
    key(&world, &ming, &json!({ "name": "ming's" })).await;
    assert_eq!(list(&world, &hong).await, json!([]));
    assert_eq!(list(&world, &ming).await[0]["name"], "ming's");
}
