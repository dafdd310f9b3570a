//! `/api/v2/metering/charges`.

use jifen_app::Maintenance;
use jifen_domain::Time;
use serde_json::{Value, json};

use super::{BATCH, CHARGES, Shop, all_at_once, assert_hit, assert_invalid, assert_problem, merge};
use crate::world::{World, on_both_engines, on_sqlite};

on_both_engines!(
    a_charge_is_answered_field_by_field_and_kept_in_the_history,
    a_repeated_charge_gets_the_first_answer,
    a_key_used_for_something_else_is_refused,
    a_charge_beyond_the_balance_changes_nothing,
    points_that_expire_first_are_spent_first,
    a_key_that_is_not_usable_is_refused,
    a_service_credential_is_needed,
    maintenance_stops_charges_only_when_told_to,
    charges_on_two_nodes_never_overdraw,
    the_same_charge_on_two_nodes_is_made_once,
    a_charge_repeated_when_its_key_or_tariff_is_gone_gets_the_first_answer,
    an_idempotency_key_counts_for_one_credential_and_one_account,
    the_last_use_of_a_key_is_told_to_the_minute,
);

on_sqlite!(
    an_idempotency_key_is_needed_and_is_visible_ascii,
    points_are_a_whole_number_from_one,
    title_and_description_are_lines,
    each_field_is_named_that_does_not_fit,
    a_request_that_is_no_charge_is_a_problem,
);

async fn a_charge_is_answered_field_by_field_and_kept_in_the_history(world: World) {
    let shop = Shop::new(world, 100).await;
    let body = json!({ "apiKey": shop.key, "points": 30, "title": " OCR ", "description": "  one page ", "unknown": 1 });
    let answer = shop.request(CHARGES, "call-1", &body).send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{}",
        answer.text
    );
    let id = answer.body["id"].as_str().unwrap();
    let charged =
        json!({ "id": id, "points": 30, "balance": 70, "chargedAt": "2026-01-15T04:00:00Z" });
    assert_eq!(answer.body, charged);
    assert_eq!(answer.header("idempotency-hit"), "");
    assert_eq!(answer.header("cache-control"), "no-store");

    let history = shop
        .world
        .get("/api/v1/points/consumption-history")
        .token(&shop.token)
        .send()
        .await;
    assert_eq!(history.body["data"]["total"], 1);
    let entry = &history.body["data"]["list"][0];
    assert_eq!(
        (&entry["points"], &entry["title"], &entry["apiKeyName"]),
        (&json!(30), &json!("OCR"), &json!("my program"))
    );
    assert_eq!(entry["id"], id, "{entry}");
    assert_eq!(entry["description"], "one page");
    let keys = shop
        .world
        .get("/api/v1/api-keys")
        .token(&shop.token)
        .send()
        .await;
    assert!(
        keys.text.contains("2026-01-15T04:00:00Z"),
        "the last use is told: {}",
        keys.text
    );
    shop.end().await;
}

async fn a_repeated_charge_gets_the_first_answer(world: World) {
    let shop = Shop::new(world, 100).await;
    let first = shop.charge("call-1", 30).await;
    assert_eq!(shop.charge("call-2", 30).await.body["balance"], 40);
    shop.world.clock.advance_seconds(3_600);
    for _ in 0..2 {
        let again = shop.charge("call-1", 30).await;
        assert_hit(&again, &first);
    }
    assert_eq!(shop.world.points(&shop.token).await, 40);

    // What was refused was not made, so the same key may try again.
    assert_eq!(shop.charge("call-3", 50).await.status, 402);
    shop.give(10, None).await;
    let now = shop.charge("call-3", 50).await;
    assert_eq!(
        (
            now.status,
            &now.body["balance"],
            now.header("idempotency-hit")
        ),
        (200, &json!(0), "")
    );
    shop.end().await;
}

async fn a_key_used_for_something_else_is_refused(world: World) {
    let shop = Shop::new(world, 100).await;
    let body = shop.body(30);
    assert_eq!(
        shop.request(CHARGES, "call-1", &body).send().await.status,
        200
    );
    let (_, other_key) = shop.world.api_key(&shop.token, "another").await;
    for (member, value) in [
        ("points", json!(31)),
        ("title", json!("TTS")),
        ("description", json!("x")),
        ("apiKey", json!(other_key)),
    ] {
        let mut other = body.clone();
        other[member] = value;
        let answer = shop.request(CHARGES, "call-1", &other).send().await;
        assert_problem(&answer, 422, "idempotency_key_reused", &json!({}));
        assert_eq!(answer.header("idempotency-hit"), "");
    }
    assert_eq!(
        shop.request(CHARGES, "CALL-1", &body).send().await.body["balance"],
        40,
        "case matters"
    );
    assert_eq!(shop.world.points(&shop.token).await, 40);
}

async fn a_charge_beyond_the_balance_changes_nothing(world: World) {
    let shop = Shop::new(world, 100).await;
    let answer = shop.charge("1", 101).await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "limit": "balance", "balance": 100 }),
    );
    assert!(
        answer.body["detail"].as_str().unwrap().contains("100"),
        "{}",
        answer.text
    );
    let english = shop
        .request(CHARGES, "1", &shop.body(101))
        .header("accept-language", "en")
        .send()
        .await;
    assert_eq!(
        english.body["detail"],
        "not enough points: 100 left, buy more first"
    );
    assert_eq!(shop.charge("2", 100).await.body["balance"], 0);
    assert_problem(
        &shop.charge("3", 1).await,
        402,
        "insufficient_points",
        &json!({ "limit": "balance", "balance": 0 }),
    );
    shop.end().await;
}

async fn points_that_expire_first_are_spent_first(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.give(100, Some(30)).await;
    shop.give(100, Some(1)).await;
    assert_eq!(shop.charge("1", 150).await.body["balance"], 150);
    let info = shop
        .world
        .get("/api/v1/user/info")
        .token(&shop.token)
        .send()
        .await;
    assert_eq!(
        info.body["data"]["pointsExpiryDate"], "2026-02-14T04:00:00Z",
        "those of one day are spent: {}",
        info.text
    );
    // Half of those of thirty days are gone too: when they expire, 50 are lost, not 100.
    shop.world.clock.advance_seconds(30 * 86_400 - 1);
    assert_eq!(
        shop.world
            .app
            .profile(shop.user)
            .await
            .unwrap()
            .points
            .get(),
        150
    );
    shop.world.clock.advance_seconds(1);
    assert_eq!(
        shop.world
            .app
            .profile(shop.user)
            .await
            .unwrap()
            .points
            .get(),
        100,
        "expired points do not count at once"
    );
    let answer = shop.charge("2", 101).await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "limit": "balance", "balance": 100 }),
    );
    assert_eq!(shop.charge("3", 100).await.body["balance"], 0);
    shop.sweep().await;
    shop.end().await;
}

async fn a_key_that_is_not_usable_is_refused(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = async |number: &str| shop.request(CHARGES, number, &shop.body(1)).send().await;
    let set = async |status: &str| {
        let body = json!({ "id": shop.key_id, "status": status });
        let answer = shop
            .world
            .post("/api/v1/api-keys/update-status", &body)
            .token(&shop.token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    set("inactive").await;
    assert_problem(
        &charge("1").await,
        403,
        "api_key_not_usable",
        &json!({ "limit": "inactive", "balance": 100 }),
    );
    set("active").await;
    assert_eq!(charge("1").await.status, 200, "at once");

    let (mut changed, last) = (
        shop.key.clone(),
        if shop.key.ends_with('A') { "B" } else { "A" },
    );
    changed.replace_range(changed.len() - 1.., last);
    for unknown in [
        changed.as_str(),
        "jf_live_",
        "x",
        &"x".repeat(128),
        &shop.key.to_uppercase(),
        &shop.gateway.0,
        "键",
    ] {
        let body = json!({ "apiKey": unknown, "points": 1, "title": "OCR" });
        let answer = shop.request(CHARGES, "2", &body).send().await;
        assert_problem(
            &answer,
            422,
            "unknown_api_key",
            &json!({ "limit": "unknown" }),
        );
        assert!(
            !answer.text.contains(unknown) || unknown == "x",
            "a key is not repeated: {}",
            answer.text
        );
    }
    shop.world.clock.advance_seconds(200 * 86_400);
    assert_problem(
        &charge("3").await,
        403,
        "api_key_not_usable",
        &json!({ "limit": "expired", "balance": 99 }),
    );

    let token = shop.world.log_in("xiaoming").await;
    let (id, key) = shop.world.api_key(&token, "another").await;
    let deleted = shop
        .world
        .post("/api/v1/api-keys/delete", &json!({ "id": id }))
        .token(&token)
        .send()
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let body = json!({ "apiKey": key, "points": 1, "title": "OCR" });
    assert_problem(
        &shop.request(CHARGES, "4", &body).send().await,
        422,
        "unknown_api_key",
        &json!({ "limit": "unknown" }),
    );
    shop.end().await;
}

async fn a_service_credential_is_needed(world: World) {
    let shop = Shop::new(world, 100).await;
    let send = async |authorization: &str| {
        let request = shop
            .world
            .post(CHARGES, &shop.body(1))
            .header("idempotency-key", "1");
        let request = if authorization.is_empty() {
            request
        } else {
            request.header("authorization", authorization)
        };
        request.send().await
    };
    let (own, session, key) = (&shop.gateway.0, &shop.token.0, &shop.key);
    for authorization in [
        String::new(),
        "Bearer ".to_owned(),
        "Bearer sk_nonsense".to_owned(),
        format!("Basic {own}"),
        own.clone(),
        format!("Bearer {own}x"),
        format!("Bearer {}", own.to_lowercase()),
        format!("Bearer {session}"),
        format!("Bearer {key}"),
    ] {
        let answer = send(&authorization).await;
        assert_problem(&answer, 401, "unauthenticated", &json!({}));
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer",
            "{authorization}"
        );
    }
    let web = shop.world.web_login("xiaoming").await.1;
    let by_cookie = shop
        .world
        .post(CHARGES, &shop.body(1))
        .header("idempotency-key", "1")
        .header("cookie", &web);
    assert_problem(&by_cookie.send().await, 401, "unauthenticated", &json!({}));

    assert_eq!(send(&format!("Bearer {own}")).await.status, 200);
    let id = shop.world.app.service_credentials().await.unwrap()[0]
        .id
        .clone();
    shop.world.app.revoke_service_credential(&id).await.unwrap();
    assert_problem(
        &send(&format!("Bearer {own}")).await,
        401,
        "unauthenticated",
        &json!({}),
    );
    assert_eq!(shop.world.points(&shop.token).await, 99);
}

async fn maintenance_stops_charges_only_when_told_to(world: World) {
    let shop = Shop::new(world, 100).await;
    let ends_at = Some(Time::parse_rfc3339("2026-01-15T05:00:00Z").unwrap());
    let mut maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at,
        charges_stopped: false,
    };
    shop.world
        .app
        .start_maintenance(&maintenance)
        .await
        .unwrap();
    assert_eq!(shop.charge("1", 1).await.status, 200);
    maintenance.charges_stopped = true;
    shop.world
        .app
        .start_maintenance(&maintenance)
        .await
        .unwrap();
    let stopped = shop.charge("2", 1).await;
    assert_problem(&stopped, 503, "maintenance", &json!({}));
    assert_eq!(stopped.header("retry-after"), "3600");
    assert_eq!(
        stopped.body["detail"],
        "系统维护中：升级（预计 2026-01-15T05:00:00Z 结束）"
    );
    shop.world.app.end_maintenance().await.unwrap();
    assert_eq!(shop.charge("2", 1).await.body["balance"], 98);
}

async fn an_idempotency_key_is_needed_and_is_visible_ascii(world: World) {
    let shop = Shop::new(world, 100).await;
    let missing = shop
        .world
        .post(CHARGES, &shop.body(1))
        .token(&shop.gateway)
        .send()
        .await;
    assert_invalid(&missing, "Idempotency-Key");
    for key in ["", " ", "a b", "a\tb", "钥匙", "é", &"x".repeat(256)] {
        let answer = shop.request(CHARGES, key, &shop.body(1)).send().await;
        assert_invalid(&answer, "Idempotency-Key");
    }
    let longest = "x".repeat(255);
    for (balance, key) in [(99, longest.as_str()), (98, "!"), (97, "~;\"'`$(){}")] {
        assert_eq!(
            shop.request(CHARGES, key, &shop.body(1)).send().await.body["balance"],
            balance,
            "{key}"
        );
    }
    assert_eq!(shop.history().await, 3);
}

async fn points_are_a_whole_number_from_one(world: World) {
    let shop = Shop::new(world, 100).await;
    for points in [
        "0",
        "-1",
        "1000000000001",
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "1.0",
        "1.5",
        "1e1",
        "\"5\"",
        "true",
        "null",
        "[1]",
    ] {
        let body = format!(
            "{{\"apiKey\":\"{}\",\"points\":{points},\"title\":\"OCR\"}}",
            shop.key
        );
        let request = shop.world.post_text(CHARGES, body).token(&shop.gateway);
        let answer = request
            .header("idempotency-key", "1")
            .header("content-type", "application/json")
            .send()
            .await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!("invalid_request")),
            "{points}: {}",
            answer.text
        );
        // What is no number at all to JSON is a mistake of the body.
        let field = if points == "1e400" { "body" } else { "points" };
        assert_eq!(answer.body["field"], field, "{points}: {}", answer.text);
    }
    let answer = shop.charge("1", 1_000_000_000_000).await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "limit": "balance", "balance": 100 }),
    );
}

async fn title_and_description_are_lines(world: World) {
    let shop = Shop::new(world, 100).await;
    let body = |title: Value, description: Value| json!({ "apiKey": shop.key, "points": 1, "title": title, "description": description });
    for title in [
        Value::Null,
        json!(""),
        json!(" \u{3000}"),
        json!("a\nb"),
        json!("a\u{7}"),
        json!(1),
        json!("长".repeat(129)),
        json!("x".repeat(5_000)),
    ] {
        let answer = shop
            .request(CHARGES, "1", &body(title.clone(), Value::Null))
            .send()
            .await;
        assert_invalid(&answer, "title");
    }
    for description in [
        json!(1),
        json!("a\nb"),
        json!("长".repeat(513)),
        json!({}),
        json!("x".repeat(5_000)),
    ] {
        let answer = shop
            .request(CHARGES, "1", &body(json!("t"), description))
            .send()
            .await;
        assert_invalid(&answer, "description");
    }
    for (number, (title, description)) in [
        (json!("长".repeat(128)), json!("述".repeat(512))),
        (json!("🙂"), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = shop
            .request(CHARGES, &number.to_string(), &body(title, description))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

async fn a_request_that_is_no_charge_is_a_problem(world: World) {
    let shop = Shop::new(world, 100).await;
    let send = async |body: String, content_type: &str| {
        let request = shop
            .world
            .post_text(CHARGES, body)
            .token(&shop.gateway)
            .header("idempotency-key", "1");
        request.header("content-type", content_type).send().await
    };
    for body in ["", "{", "[]", "null"] {
        assert_invalid(&send(body.to_owned(), "application/json").await, "body");
    }
    let good = shop.body(1).to_string();
    assert_invalid(&send(good, "text/plain").await, "Content-Type");
    assert_invalid(&send("{}".to_owned(), "application/json").await, "apiKey");
    assert_problem(
        &send(" ".repeat(600_000), "application/json").await,
        413,
        "body_too_large",
        &json!({}),
    );
    assert_problem(
        &shop.world.get(CHARGES).send().await,
        405,
        "method_not_allowed",
        &json!({}),
    );
    assert_problem(
        &shop.world.get("/api/v2/nothing").send().await,
        404,
        "not_found",
        &json!({}),
    );
    shop.world.raw("ALTER TABLE entries RENAME TO lost").await;
    let broken = shop.charge("1", 1).await;
    assert_problem(&broken, 500, "internal_error", &json!({}));
    assert!(
        !broken.text.contains("entries"),
        "what failed is for the log: {}",
        broken.text
    );
    shop.world.raw("ALTER TABLE lost RENAME TO entries").await;
    assert_eq!(shop.charge("1", 1).await.body["balance"], 99);
}

async fn charges_on_two_nodes_never_overdraw(world: World) {
    let shop = Shop::new(world, 100).await;
    let nodes = [shop.world.mall.clone(), shop.world.another_node().await];
    let charge = |number: usize| {
        let request = shop
            .world
            .post_to(&nodes[number % 2], CHARGES, &shop.body(7))
            .token(&shop.gateway);
        request.header("idempotency-key", &number.to_string())
    };
    let answers = all_at_once((0..40).map(charge)).await;
    let count = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    // A node that is too busy says so, and nothing was taken.
    assert_eq!(count(200) + count(402) + count(503), 40, "{answers:?}");
    for number in 0..40 {
        let again = charge(number).send().await;
        assert!([200, 402].contains(&again.status), "{}", again.text);
    }
    assert_eq!(
        shop.world.points(&shop.token).await,
        2,
        "14 charges of 7 fit into 100"
    );
    assert_eq!(shop.history().await, 14);
    shop.end().await;
}

async fn the_same_charge_on_two_nodes_is_made_once(world: World) {
    let shop = Shop::new(world, 100).await;
    let nodes = [shop.world.mall.clone(), shop.world.another_node().await];
    let charge = |number: usize| {
        let request = shop
            .world
            .post_to(&nodes[number % 2], CHARGES, &shop.body(7))
            .token(&shop.gateway);
        request.header("idempotency-key", "one-and-the-same")
    };
    let answers = all_at_once((0..20).map(charge)).await;
    let made: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert!(
        !made.is_empty() && made.iter().all(|answer| answer.text == made[0].text),
        "{answers:?}"
    );
    assert_eq!(
        made.iter()
            .filter(|answer| answer.header("idempotency-hit").is_empty())
            .count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|answer| [200, 503].contains(&answer.status)),
        "{answers:?}"
    );
    assert_eq!(shop.world.points(&shop.token).await, 93);
    shop.end().await;
}

async fn a_charge_repeated_when_its_key_or_tariff_is_gone_gets_the_first_answer(world: World) {
    let limits = json!({ "rateLimit": { "requests": 4, "seconds": 86_400 }, "totalCap": 12 });
    let shop = Shop::with_key(world, 100, limits).await;
    shop.tariff("POST /v1/ocr", 5, "").await;
    let call = shop.call("POST /v1/ocr", json!({}));
    let first = shop.charge("points", 7).await;
    let priced = shop.post(CHARGES, "route", &call).await;
    assert_eq!(priced.status, 200, "{}", priced.text);
    let repeated = async || {
        assert_hit(&shop.charge("points", 7).await, &first);
        assert_hit(&shop.post(CHARGES, "route", &call).await, &priced);
        let other = shop.charge("points", 8).await;
        assert_ne!(other.status, 200, "{}", other.text);
    };
    // The cap is met; then the rate is exceeded by the repetitions themselves.
    repeated().await;
    assert_eq!(shop.charge("new", 1).await.status, 429);
    repeated().await;
    let ocr = jifen_domain::tariff::RoutePattern::parse("POST /v1/ocr").unwrap();
    shop.world.app.retire_tariff(&ocr).await.unwrap();
    repeated().await;
    shop.change_key(json!({ "rateLimit": null, "totalCap": null }))
        .await;
    repeated().await;
    let limits = [
        json!({ "ipRanges": ["10.0.0.0/8"] }),
        json!({ "scopes": ["GET /v1/nothing"] }),
        json!({ "active": false }),
    ];
    for limit in limits {
        shop.change_key(limit.clone()).await;
        let new = shop.charge("new", 1).await;
        assert_eq!(new.status, 403, "{limit}: {}", new.text);
        repeated().await;
    }
    shop.world.clock.advance_seconds(200 * 86_400);
    repeated().await;
    assert_eq!(shop.standing().await, (88, 0, 2));
    shop.end().await;
}

async fn an_idempotency_key_counts_for_one_credential_and_one_account(world: World) {
    let shop = Shop::new(world, 100).await;
    let mine = shop.charge("call", 1).await;
    let other_gateway = shop.world.gateway().await;
    let theirs = shop
        .world
        .charge(&other_gateway, "call", &shop.key, 1)
        .await;
    assert_eq!(
        (theirs.status, &theirs.body["balance"]),
        (200, &json!(98)),
        "another gateway counts for itself"
    );
    let somebody = shop.world.log_in("laowang").await;
    let order = shop.world.create_order(&somebody, "100001").await;
    shop.world.pay_with_wechat("laowang", &order).await;
    shop.world.deliver_notifications().await;
    let (_, key) = shop.key_of(&somebody, json!({})).await;
    let elsewhere = shop.world.charge(&shop.gateway, "call", &key, 1).await;
    assert_eq!(
        (elsewhere.status, elsewhere.header("idempotency-hit")),
        (200, ""),
        "{}",
        elsewhere.text
    );
    assert_hit(&shop.charge("call", 1).await, &mine);
    // A hold is no charge.
    let hold = shop.hold("call", 1).await;
    assert_problem(&hold, 422, "idempotency_key_reused", &json!({}));
    let id = super::id(&mine);
    let refund = shop.refund("call", &id, Value::Null).await;
    assert_problem(&refund, 422, "idempotency_key_reused", &json!({}));
    assert_eq!(shop.standing().await, (98, 0, 2));
    shop.end().await;
}

async fn the_last_use_of_a_key_is_told_to_the_minute(world: World) {
    let shop = Shop::new(world, 1).await;
    let last_used = async || {
        let token = shop.world.log_in("xiaoming").await;
        let path = format!("/api/v2/api-keys/{}", shop.key_id);
        let answer = shop.world.get(&path).token(&token).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["lastUsedAt"].clone()
    };
    assert_eq!(shop.charge("refused", 2).await.status, 402);
    assert_eq!(last_used().await, Value::Null, "nothing was charged");
    shop.give(99, None).await;
    shop.world.clock.advance_seconds(1);
    shop.charged("1", 1).await;
    assert_eq!(last_used().await, "2026-01-15T04:00:01Z");
    shop.world.clock.advance_seconds(59);
    shop.charged("2", 1).await;
    assert_eq!(last_used().await, "2026-01-15T04:00:01Z");
    shop.world.clock.advance_seconds(1);
    shop.charged("3", 1).await;
    assert_eq!(last_used().await, "2026-01-15T04:01:01Z");
    shop.world.clock.advance_seconds(3_600);
    let batch = async |key: &str| {
        let mut item = shop.body(1);
        item["idempotencyKey"] = json!(key);
        let batch = json!({ "charges": [item] });
        let answer = shop.world.post(BATCH, &batch).token(&shop.gateway);
        assert_eq!(answer.send().await.body["results"][0]["status"], 200);
    };
    batch("4").await;
    assert_eq!(last_used().await, "2026-01-15T05:01:01Z");
    // However close to each other the charges are.
    shop.world.clock.advance_seconds(40);
    batch("5").await;
    assert_eq!(last_used().await, "2026-01-15T05:01:01Z");
    shop.world.clock.advance_seconds(40);
    batch("6").await;
    assert_eq!(last_used().await, "2026-01-15T05:02:21Z");
    shop.world.clock.advance_seconds(3_600);
    shop.held("7", 1).await;
    assert_eq!(last_used().await, "2026-01-15T06:02:21Z");
}

async fn each_field_is_named_that_does_not_fit(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/ocr", 5, "").await;
    let wrong = |field: &str, value: Value| {
        let mut body = shop.body(1);
        body[field] = value;
        body
    };
    let long = json!("x".repeat(100_000));
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for value in [json!(null), json!(1), json!(""), json!([]), long.clone()] {
        cases.push((wrong("apiKey", value), "apiKey"));
    }
    for value in [
        json!(1),
        json!({}),
        long.clone(),
        json!("1.2.3"),
        json!("10.0.0.0/8"),
    ] {
        cases.push((wrong("ip", value), "ip"));
    }
    for value in [json!("5"), json!(1.5), json!([1]), json!(true)] {
        let call = shop.call("POST /v1/ocr", json!({ "units": value }));
        cases.push((call, "units"));
        cases.push((wrong("points", value), "points"));
    }
    for member in ["method", "path"] {
        for value in [json!(null), json!(1), json!(" "), long.clone()] {
            let mut body = shop.call("POST /v1/ocr", json!({}));
            body["route"][member] = value;
            cases.push((body, member));
        }
    }
    for member in ["apiKey", "points", "title"] {
        let mut body = shop.body(1);
        merge(&mut body, json!({ member: null }));
        cases.push((body, member));
    }
    for (body, field) in cases {
        let answer = shop.post(CHARGES, "1", &body).await;
        assert_eq!(
            (answer.status, &answer.body["code"], &answer.body["field"]),
            (422, &json!("invalid_request"), &json!(field)),
            "{:.200}: {}",
            body.to_string(),
            answer.text
        );
    }
    for route in [json!(1), json!("POST /v1/ocr"), json!([])] {
        let mut body = shop.call("POST /v1/ocr", json!({}));
        body["route"] = route;
        let answer = shop.post(CHARGES, "1", &body).await;
        assert_eq!(
            (answer.status, &answer.body["field"]),
            (422, &json!("route"))
        );
    }
    assert_eq!(shop.standing().await, (100, 0, 0));
}
