//! What a key's own limits refuse, beyond plain charges: those stand with the keys' settings.

use jifen_domain::key::{RateLimit, Scopes};
use serde_json::{Value, json};

use super::{BATCH, CHARGES, HOLDS, REFUNDS, Shop, VERIFY, assert_problem, id};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_hold_counts_for_the_cap_and_its_end_corrects_that,
    a_refund_makes_room_under_the_cap_of_its_day,
    a_cap_begins_again_with_chinas_day_and_month,
    parallel_charges_meet_a_cap_exactly,
    a_test_key_spends_play_points_only,
);

on_sqlite!(
    each_url_needs_its_own_scope_of_the_credential,
    holds_and_batches_count_for_the_rates,
    every_request_of_a_credential_counts_for_its_rate,
    a_refused_key_names_its_limit_for_holds_too,
);

#[track_caller]
fn assert_cap_reached(answer: &Answer, balance: i64) {
    let told = json!({ "limit": "key_cap", "balance": balance });
    assert_problem(answer, 402, "key_cap_reached", &told);
}

async fn a_hold_counts_for_the_cap_and_its_end_corrects_that(world: World) {
    let shop = Shop::with_key(world, 100, json!({ "dailyCap": 10 })).await;
    let hold = shop.held("h1", 8).await;
    assert_cap_reached(&shop.charge("1", 3).await, 92);
    assert_cap_reached(&shop.hold("h2", 3).await, 92);
    let more = shop.extend(&hold, "e1", &json!({ "points": 3 })).await;
    assert_cap_reached(&more, 92);
    assert_eq!(shop.capture(&hold, 2).await.status, 200);
    assert_cap_reached(&shop.charge("1", 9).await, 98);
    shop.charged("2", 5).await;
    let hold = shop.held("h3", 3).await;
    assert_cap_reached(&shop.charge("1", 1).await, 90);
    assert_eq!(shop.release(&hold).await.status, 200);
    shop.held("h4", 3).await;
    // One that ends by itself makes room as well, without a sweep.
    shop.world.clock.advance_seconds(300);
    let room = shop.charged("room", 3).await;
    assert_eq!(shop.refund("back", &room, Value::Null).await.status, 200);
    let again = shop.hold("h5", 3).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_cap_reached(&shop.charge("3", 1).await, 90);
    // What a capture takes beyond the hold is counted, and never refused for the cap: the call was made.
    let beyond = shop.capture(&id(&again), 9).await;
    assert_eq!(beyond.body["points"], 9, "{}", beyond.text);
    assert_cap_reached(&shop.charge("3", 1).await, 84);
    shop.end().await;
}

async fn a_refund_makes_room_under_the_cap_of_its_day(world: World) {
    let caps = json!({ "dailyCap": 10, "totalCap": 25 });
    let shop = Shop::with_key(world, 100, caps).await;
    let first = shop.charged("1", 10).await;
    assert_cap_reached(&shop.charge("2", 1).await, 90);
    assert_eq!(shop.refund("r1", &first, json!(4)).await.status, 200);
    assert_cap_reached(&shop.charge("2", 5).await, 94);
    shop.charged("2", 4).await;
    // The next day: what is given back of yesterday's charge makes no room today, but in all.
    shop.world.clock.advance_seconds(86_400);
    shop.charged("3", 10).await;
    assert_eq!(shop.refund("r2", &first, Value::Null).await.status, 200);
    assert_cap_reached(&shop.charge("4", 1).await, 86);
    shop.world.clock.advance_seconds(86_400);
    shop.charged("5", 10).await;
    shop.world.clock.advance_seconds(86_400);
    // 4 + 10 + 10 were spent in the end.
    assert_cap_reached(&shop.charge("6", 2).await, 76);
    shop.charged("6", 1).await;
    shop.end().await;
}

async fn a_cap_begins_again_with_chinas_day_and_month(world: World) {
    // 04:00 in UTC on 15 January is noon in China.
    let caps = json!({ "dailyCap": 10, "monthlyCap": 25 });
    let shop = Shop::with_key(world, 100, caps).await;
    shop.charged("1", 10).await;
    shop.world.clock.advance_seconds(12 * 3_600 - 1);
    assert_cap_reached(&shop.charge("2", 1).await, 90);
    shop.world.clock.advance_seconds(1);
    shop.charged("2", 10).await;
    assert_cap_reached(&shop.charge("3", 1).await, 80);
    shop.world.clock.advance_seconds(86_400);
    shop.charged("3", 5).await;
    assert_cap_reached(&shop.charge("4", 1).await, 75);
    // The 17th has begun; the month ends after fifteen days.
    shop.world.clock.advance_seconds(15 * 86_400 - 1);
    assert_cap_reached(&shop.charge("4", 1).await, 75);
    shop.world.clock.advance_seconds(1);
    shop.charged("4", 10).await;
    shop.end().await;
}

async fn parallel_charges_meet_a_cap_exactly(world: World) {
    let shop = Shop::with_key(world, 1_000, json!({ "totalCap": 50 })).await;
    let body = shop.body(7);
    let requests = (0..40).map(|number| shop.request(CHARGES, &number.to_string(), &body));
    let answers = super::all_at_once(requests).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 7, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.body["limit"], "key_cap", "{}", refused.text);
    }
    assert_eq!(shop.standing().await, (951, 0, 7));
    shop.end().await;
}

async fn a_test_key_spends_play_points_only(world: World) {
    let shop = Shop::with_key(world, 100, json!({ "test": true })).await;
    assert!(shop.key.starts_with("jf_test_"), "{}", shop.key);
    let before = shop.account().await.available.get();
    let charge = shop.charge("1", 200).await;
    assert_eq!(
        (charge.status, &charge.body["balance"]),
        (200, &json!(before - 200)),
        "more than there is in real points: {}",
        charge.text
    );
    let hold = shop.held("2", 300).await;
    assert_eq!(shop.capture(&hold, 250).await.status, 200);
    let refund = shop.refund("3", &id(&charge), json!(50)).await;
    assert_eq!(refund.status, 200, "{}", refund.text);
    let verified = shop.verify(&json!({ "apiKey": shop.key })).await;
    assert_eq!(verified.body["key"]["isTest"], true);
    assert_eq!(verified.body["key"]["balance"], before - 400);
    let holder = Token(shop.key.clone());
    let balance = shop
        .world
        .get("/api/v2/balance")
        .token(&holder)
        .send()
        .await;
    assert_eq!(
        (&balance.body["balance"], &balance.body["isTest"]),
        (&json!(before - 400), &json!(true)),
        "{}",
        balance.text
    );
    let usage = "/api/v2/usage?from=2026-01-15&to=2026-01-15";
    let usage = shop.world.get(usage).token(&holder).send().await;
    assert_eq!(usage.body["points"], 400, "{}", usage.text);
    // Real points and their history know nothing of it, and real keys nothing of play points.
    assert_eq!(shop.world.points(&shop.token).await, 100);
    assert_eq!(shop.history().await, 0);
    let (_, real) = shop.another_key(json!({})).await;
    let too_much = shop.world.charge(&shop.gateway, "1", &real, 101).await;
    let told = json!({ "limit": "balance", "balance": 100 });
    assert_problem(&too_much, 402, "insufficient_points", &told);
    let real = shop.world.charge(&shop.gateway, "1", &real, 100).await;
    assert_eq!((real.status, &real.body["balance"]), (200, &json!(0)));
    assert_eq!(shop.account().await.available.get(), before - 400);
    shop.end().await;
}

async fn each_url_needs_its_own_scope_of_the_credential(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("c", 1).await;
    let hold = shop.held("h", 1).await;
    let item = json!({ "idempotencyKey": "b", "apiKey": shop.key, "points": 1, "title": "t" });
    let batch = json!({ "charges": [item] });
    let of_hold = |action: &str| format!("{HOLDS}/{hold}/{action}");
    let urls = [
        (VERIFY.to_owned(), "verify", json!({ "apiKey": shop.key })),
        (CHARGES.to_owned(), "charge", shop.body(1)),
        (BATCH.to_owned(), "charge", batch),
        (HOLDS.to_owned(), "hold", shop.body(1)),
        (of_hold("extend"), "hold", json!({ "seconds": 600 })),
        (of_hold("capture"), "hold", json!({ "points": 1 })),
        (of_hold("release"), "hold", json!({})),
        (REFUNDS.to_owned(), "refund", json!({ "chargeId": charge })),
    ];
    let before = shop.standing().await;
    for (url, scope, body) in &urls {
        let others = ["verify", "charge", "hold", "refund"];
        let others: Vec<_> = others.into_iter().filter(|other| other != scope).collect();
        let scopes = Scopes::parse(&others.join(" ")).unwrap();
        let app = &shop.world.app;
        let (_, secret) = app
            .create_limited_credential("no", scopes, None)
            .await
            .unwrap();
        let request = shop.world.post(url, body).token(&Token(secret));
        let answer = request.header("idempotency-key", "x").send().await;
        assert_problem(&answer, 403, "forbidden", &json!({}));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(scope), "{url}: {detail}");
        let request = shop.world.post(url, body).header("idempotency-key", "x");
        let nobody = request.send().await;
        assert_problem(&nobody, 401, "unauthenticated", &json!({}));
    }
    assert_eq!(shop.standing().await, before);
    for (number, (url, scope, body)) in urls.iter().enumerate() {
        let app = &shop.world.app;
        let scopes = Scopes::parse(scope).unwrap();
        let (_, secret) = app
            .create_limited_credential("one", scopes, None)
            .await
            .unwrap();
        let request = shop.world.post(url, body).token(&Token(secret));
        let key = number.to_string();
        let answer = request.header("idempotency-key", &key).send().await;
        // The hold is captured when it is to be released.
        let expected = if url.ends_with("release") { 409 } else { 200 };
        assert_eq!(answer.status, expected, "{url}: {}", answer.text);
    }
    shop.end().await;
}

async fn holds_and_batches_count_for_the_rates(world: World) {
    let limit = json!({ "rateLimit": { "requests": 4, "seconds": 40 } });
    let shop = Shop::with_key(world, 100, limit).await;
    let hold = shop.hold("h", 10).await;
    assert_eq!(
        (hold.header("ratelimit"), hold.header("ratelimit-policy")),
        ("\"key\";r=3;t=10", "\"key\";q=4;w=40"),
        "{}",
        hold.text
    );
    let item =
        |key: &str| json!({ "idempotencyKey": key, "apiKey": shop.key, "points": 1, "title": "t" });
    let batch = json!({ "charges": [item("1"), item("2"), item("3"), item("4")] });
    let answer = shop.world.post(BATCH, &batch).token(&shop.gateway);
    let answer = answer.send().await;
    let statuses: Vec<_> = answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].as_i64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429], "{}", answer.text);
    let refused = shop.hold("h2", 1).await;
    let told = json!({ "limit": "rate", "balance": 87 });
    assert_problem(&refused, 429, "too_many_requests", &told);
    assert_eq!(refused.header("retry-after"), "10");
    // What goes on with a call that was let in is not counted.
    let id = id(&hold);
    assert_eq!(
        shop.extend(&id, "e", &json!({ "points": 1 })).await.status,
        200
    );
    assert_eq!(shop.capture(&id, 3).await.status, 200);

    let app = &shop.world.app;
    let rate = RateLimit::new(2, 3_600);
    let slow = app
        .create_limited_credential("slow", Scopes::all(), rate)
        .await;
    let slow = Token(slow.unwrap().1);
    shop.world.clock.advance_seconds(40);
    let charge = async |key: &str| shop.world.charge(&slow, key, &shop.key, 1).await;
    let first = charge("s1").await;
    assert_eq!(
        (first.header("ratelimit"), first.header("ratelimit-policy")),
        (
            "\"key\";r=3;t=10, \"credential\";r=1;t=1800",
            "\"key\";q=4;w=40, \"credential\";q=2;w=3600"
        )
    );
    assert_eq!(charge("s2").await.status, 200);
    let refused = charge("s3").await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, "1800")
    );
    // It was not counted for the key.
    let last = shop.charge("s4", 1).await;
    assert_eq!(
        last.header("ratelimit"),
        "\"key\";r=1;t=30",
        "{}",
        last.text
    );
}

async fn every_request_of_a_credential_counts_for_its_rate(world: World) {
    let mut shop = Shop::new(world, 100).await;
    let charge = shop.charged("c", 5).await;
    let holds = [shop.held("h", 5).await, shop.held("i", 5).await];
    for number in 0..5 {
        let rate = RateLimit::new(2, 3_600);
        let name = format!("slow{number}");
        let app = &shop.world.app;
        let slow = app.create_limited_credential(&name, Scopes::all(), rate);
        shop.gateway = Token(slow.await.unwrap().1);
        let ask = async |key: &str| match number {
            0 => shop.verify(&shop.body(1)).await,
            1 => shop.extend(&holds[0], key, &json!({ "points": 1 })).await,
            2 => shop.refund(key, &charge, json!(1)).await,
            3 => shop.capture(&holds[0], 3).await,
            _ => shop.release(&holds[1]).await,
        };
        for left in [1, 0] {
            let answer = ask(&format!("{number}-{left}")).await;
            let expected = format!("\"credential\";r={left};t={}", 3_600 - left * 1_800);
            let told = (answer.status, answer.header("ratelimit"));
            assert_eq!(told, (200, expected.as_str()), "{}", answer.text);
        }
        let next = ask("one-too-many").await;
        if number < 2 {
            assert_problem(&next, 429, "too_many_requests", &json!({}));
            assert_eq!(next.header("retry-after"), "1800");
        } else {
            // What ends a call is never refused: points would stay taken.
            assert_eq!(next.status, 200, "{}", next.text);
        }
        assert_eq!(
            ["ratelimit", "ratelimit-policy"].map(|name| next.header(name)),
            ["\"credential\";r=0;t=3600", "\"credential\";q=2;w=3600"]
        );
    }
    shop.end().await;
}

async fn a_refused_key_names_its_limit_for_holds_too(world: World) {
    let limits = json!({ "ipRanges": ["10.0.0.0/8"], "scopes": ["POST /v1/ocr"] });
    let shop = Shop::with_key(world, 100, limits).await;
    shop.tariff("* /v1/*", 5, "").await;
    let hold = async |key: &str, route: &str, more: Value| {
        shop.post(HOLDS, key, &shop.call(route, more)).await
    };
    let there = json!({ "ip": "10.1.2.3" });
    for (route, more, limit) in [
        ("POST /v1/ocr", json!({}), "ip"),
        ("POST /v1/ocr", json!({ "ip": "11.0.0.1" }), "ip"),
        ("POST /v1/chat", there.clone(), "scope"),
        ("GET /v1/ocr", there.clone(), "scope"),
    ] {
        let told = json!({ "limit": limit, "balance": 100 });
        let refused = hold("1", route, more).await;
        assert_problem(&refused, 403, "api_key_not_usable", &told);
    }
    let made = hold("1", "POST /v1/ocr", there).await;
    assert_eq!(made.status, 200, "{}", made.text);
    shop.change_key(json!({ "active": false })).await;
    // A call that was let in may be paid for.
    let captured = shop.capture(&id(&made), 4).await;
    assert_eq!(captured.body["points"], 4, "{}", captured.text);
    let told = json!({ "limit": "inactive", "balance": 96 });
    assert_problem(&shop.hold("2", 1).await, 403, "api_key_not_usable", &told);
    let unknown = json!({ "apiKey": "jf_live_x", "points": 1, "title": "t" });
    let unknown = shop.post(HOLDS, "3", &unknown).await;
    assert_problem(
        &unknown,
        422,
        "unknown_api_key",
        &json!({ "limit": "unknown" }),
    );
}
