//! `/api/v2/metering/holds`.

use serde_json::json;

use super::{HOLDS, Shop, all_at_once, assert_hit, assert_invalid, assert_problem, id, merge};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_hold_is_answered_field_by_field,
    held_points_cannot_be_spent,
    a_capture_takes_the_real_cost_and_frees_the_rest,
    a_capture_beyond_the_hold_takes_what_is_free_and_names_the_shortfall,
    a_capture_is_final,
    a_release_is_final,
    a_hold_ends_by_itself_at_its_time,
    a_hold_ends_by_itself_when_only_the_sweep_runs,
    a_hold_gets_more_points_and_more_time,
    a_repeated_hold_or_extension_is_made_once,
    held_points_outlive_their_lot_and_are_gone_when_released,
    a_captured_hold_costs_what_its_tariff_said_then,
    holds_in_parallel_never_overdraw,
    one_hold_is_ended_once_however_many_try,
    an_unknown_hold_is_not_found,
);

on_sqlite!(
    seconds_are_one_to_a_day,
    what_is_no_hold_is_refused_by_the_field,
    what_is_no_capture_or_extension_is_refused_by_the_field,
    maintenance_stops_new_holds_and_lets_open_ones_end,
    a_thousand_holds_may_be_open,
);

#[track_caller]
fn assert_ended(answer: &Answer) {
    assert_problem(answer, 409, "hold_ended", &json!({}));
}

/// Of a capture: points, shortfall and balance.
#[track_caller]
fn assert_captured(answer: &Answer, points: i64, shortfall: i64, balance: i64) {
    let told = ["points", "shortfall", "balance"].map(|member| answer.body[member].as_i64());
    assert_eq!(
        (answer.status, told),
        (200, [points, shortfall, balance].map(Some)),
        "{}",
        answer.text
    );
}

#[track_caller]
fn assert_insufficient(answer: &Answer, balance: i64) {
    let told = json!({ "limit": "balance", "balance": balance });
    assert_problem(answer, 402, "insufficient_points", &told);
}

async fn a_hold_is_answered_field_by_field(world: World) {
    let shop = Shop::new(world, 100).await;
    let answer = shop.hold("call-1", 30).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{}",
        answer.text
    );
    let hold = id(&answer);
    let expected =
        json!({ "id": hold, "points": 30, "balance": 70, "expiresAt": "2026-01-15T04:05:00Z" });
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("idempotency-hit"), "");
    assert_eq!(shop.standing().await, (70, 30, 0));
    assert_eq!(shop.world.points(&shop.token).await, 70);

    shop.world.clock.advance_seconds(60);
    let captured = shop.capture(&hold, 12).await;
    let charge = captured.body["chargeId"].as_str().unwrap();
    let expected = json!({ "chargeId": charge, "points": 12, "shortfall": 0, "balance": 88, "endedAt": "2026-01-15T04:01:00Z" });
    assert_eq!((captured.status, &captured.body), (200, &expected));
    assert_ne!(charge, hold);
    let history = shop
        .world
        .get("/api/v1/points/consumption-history")
        .token(&shop.token)
        .send()
        .await;
    let entry = &history.body["data"]["list"][0];
    assert_eq!(
        [
            &entry["id"],
            &entry["points"],
            &entry["title"],
            &entry["apiKeyName"]
        ],
        [
            &json!(charge),
            &json!(12),
            &json!("OCR"),
            &json!("my program")
        ],
        "{}",
        history.text
    );

    let hold = shop.held("call-2", 8).await;
    let released = shop.release(&hold).await;
    let expected =
        json!({ "points": 0, "shortfall": 0, "balance": 88, "endedAt": "2026-01-15T04:01:00Z" });
    assert_eq!((released.status, &released.body), (200, &expected));
    assert_eq!(shop.standing().await, (88, 0, 1));
    shop.end().await;
}

async fn held_points_cannot_be_spent(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("h", 60).await;
    assert_insufficient(&shop.charge("1", 41).await, 40);
    assert_insufficient(&shop.hold("2", 41).await, 40);
    assert_eq!(shop.charge("1", 40).await.body["balance"], 0);
    assert_insufficient(&shop.charge("3", 1).await, 0);
    assert_eq!(shop.release(&hold).await.body["balance"], 60);
    shop.charged("3", 60).await;
    assert_eq!(shop.standing().await, (0, 0, 2));
    shop.end().await;
}

async fn a_capture_takes_the_real_cost_and_frees_the_rest(world: World) {
    let shop = Shop::new(world, 100).await;
    for (number, (cost, balance)) in [(4, 96), (10, 86), (0, 86), (1, 85)]
        .into_iter()
        .enumerate()
    {
        let hold = shop.held(&number.to_string(), 10).await;
        assert_captured(&shop.capture(&hold, cost).await, cost, 0, balance);
    }
    assert_eq!(shop.standing().await, (85, 0, 4));
    shop.end().await;
}

async fn a_capture_beyond_the_hold_takes_what_is_free_and_names_the_shortfall(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 10).await;
    assert_captured(&shop.capture(&hold, 25).await, 25, 0, 75);
    let hold = shop.held("2", 10).await;
    let other = shop.held("3", 40).await;
    // Of 75 are 10 held for it, 40 for another call, 25 free.
    let short = shop.capture(&hold, 50).await;
    assert_captured(&short, 35, 15, 0);
    assert_hit(&shop.capture(&hold, 50).await, &short);
    shop.give(7, None).await;
    assert_hit(&shop.capture(&hold, 50).await, &short);
    assert_captured(
        &shop.capture(&other, 1_000_000_000_000).await,
        47,
        999_999_999_953,
        0,
    );
    assert_eq!(shop.standing().await, (0, 0, 3));
    shop.end().await;
}

async fn a_capture_is_final(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 10).await;
    let first = shop.capture(&hold, 4).await;
    shop.charged("between", 1).await;
    shop.world.clock.advance_seconds(86_400);
    for _ in 0..2 {
        assert_hit(&shop.capture(&hold, 4).await, &first);
        assert_ended(&shop.capture(&hold, 5).await);
        assert_ended(&shop.capture(&hold, 0).await);
        assert_ended(&shop.release(&hold).await);
        assert_ended(&shop.extend(&hold, "e", &json!({ "points": 1 })).await);
        assert_ended(&shop.extend(&hold, "f", &json!({ "seconds": 60 })).await);
    }
    // Whichever credential asks: a hold ends once.
    let other = shop.world.gateway().await;
    let path = format!("{HOLDS}/{hold}/capture");
    let request = shop
        .world
        .post(&path, &json!({ "points": 4 }))
        .token(&other);
    assert_hit(&request.send().await, &first);
    let english = shop.world.post(&path, &json!({ "points": 5 }));
    let english = english.header("accept-language", "en");
    let answer = english.token(&shop.gateway).send().await;
    assert_eq!(
        answer.body["detail"],
        "the hold was captured: nothing more can be done with it"
    );
    assert_eq!(shop.standing().await, (95, 0, 2));
    shop.end().await;
}

async fn a_release_is_final(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 10).await;
    let first = shop.release(&hold).await;
    shop.charged("between", 1).await;
    shop.world.clock.advance_seconds(86_400);
    for _ in 0..2 {
        assert_hit(&shop.release(&hold).await, &first);
        assert_ended(&shop.capture(&hold, 4).await);
        assert_ended(&shop.capture(&hold, 0).await);
        assert_ended(&shop.extend(&hold, "e", &json!({ "points": 1 })).await);
    }
    assert_eq!(shop.standing().await, (99, 0, 1));
    shop.end().await;
}

async fn a_hold_ends_by_itself_at_its_time(world: World) {
    let shop = Shop::new(world, 100).await;
    let mut body = shop.body(60);
    body["seconds"] = json!(60);
    let hold = id(&shop.post(HOLDS, "1", &body).await);
    let other = shop.held("2", 10).await;
    shop.world.clock.advance_seconds(59);
    assert_insufficient(&shop.charge("3", 31).await, 30);
    shop.world.clock.advance_seconds(1);
    // No sweep has run; the account's next movement finds out.
    let charge = shop.charge("3", 31).await;
    assert_eq!((charge.status, &charge.body["balance"]), (200, &json!(59)));
    assert_ended(&shop.capture(&hold, 1).await);
    assert_ended(&shop.release(&hold).await);
    assert_ended(&shop.extend(&hold, "e", &json!({ "seconds": 600 })).await);
    assert_eq!(shop.standing().await, (59, 10, 1));
    // The call itself comes too late, with nothing else in between.
    shop.world.clock.advance_seconds(240);
    let late = shop.capture(&other, 1).await;
    assert_ended(&late);
    assert_eq!(late.body["detail"], "这笔预占已过期，不能再改");
    assert_eq!(shop.standing().await, (69, 0, 1));
    shop.sweep().await;
    assert_ended(&shop.capture(&other, 1).await);
    assert_eq!(shop.standing().await, (69, 0, 1));
    shop.end().await;
}

async fn a_hold_ends_by_itself_when_only_the_sweep_runs(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 60).await;
    shop.world.clock.advance_seconds(299);
    shop.sweep().await;
    assert_eq!(shop.standing().await, (40, 60, 0));
    shop.world.clock.advance_seconds(11);
    shop.sweep().await;
    assert_eq!(shop.standing().await, (100, 0, 0));
    assert_eq!(shop.world.points(&shop.token).await, 100);
    assert_ended(&shop.capture(&hold, 1).await);
    assert_ended(&shop.release(&hold).await);
    shop.end().await;
}

async fn a_hold_gets_more_points_and_more_time(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 10).await;
    let told = |answer: &Answer, points: i64, balance: i64, expires_at: &str| {
        let expected =
            json!({ "id": hold, "points": points, "balance": balance, "expiresAt": expires_at });
        assert_eq!(
            (answer.status, &answer.body),
            (200, &expected),
            "{}",
            answer.text
        );
    };
    let more = shop.extend(&hold, "a", &json!({ "points": 20 })).await;
    told(&more, 30, 70, "2026-01-15T04:05:00Z");
    // From now on, and never shorter.
    let longer = shop.extend(&hold, "b", &json!({ "seconds": 600 })).await;
    told(&longer, 30, 70, "2026-01-15T04:10:00Z");
    let shorter = shop.extend(&hold, "c", &json!({ "seconds": 1 })).await;
    told(&shorter, 30, 70, "2026-01-15T04:10:00Z");
    shop.world.clock.advance_seconds(599);
    let both = json!({ "points": 5, "seconds": 300 });
    let both = shop.extend(&hold, "d", &both).await;
    told(&both, 35, 65, "2026-01-15T04:14:59Z");
    let too_many = json!({ "points": 66, "seconds": 600 });
    assert_insufficient(&shop.extend(&hold, "e", &too_many).await, 65);
    shop.world.clock.advance_seconds(299);
    assert_captured(&shop.capture(&hold, 35).await, 35, 0, 65);
    shop.end().await;
}

async fn a_repeated_hold_or_extension_is_made_once(world: World) {
    let shop = Shop::new(world, 100).await;
    let first = shop.hold("1", 10).await;
    let hold = id(&first);
    assert_hit(&shop.hold("1", 10).await, &first);
    for (member, value) in [
        ("points", json!(11)),
        ("title", json!("TTS")),
        ("description", json!("x")),
        ("seconds", json!(301)),
    ] {
        let mut other = shop.body(10);
        other[member] = value;
        let answer = shop.post(HOLDS, "1", &other).await;
        assert_problem(&answer, 422, "idempotency_key_reused", &json!({}));
    }
    let charge = shop.charge("1", 10).await;
    assert_problem(&charge, 422, "idempotency_key_reused", &json!({}));
    let mut same = shop.body(10);
    same["seconds"] = json!(300);
    assert_hit(&shop.post(HOLDS, "1", &same).await, &first);

    let body = json!({ "points": 5, "seconds": 600 });
    let extended = shop.extend(&hold, "e", &body).await;
    assert_eq!(extended.body["points"], 15, "{}", extended.text);
    assert_hit(&shop.extend(&hold, "e", &body).await, &extended);
    let other = shop.extend(&hold, "e", &json!({ "points": 5 })).await;
    assert_problem(&other, 422, "idempotency_key_reused", &json!({}));
    assert_eq!(shop.standing().await, (85, 15, 0));

    // The hold that was made is named again, also when it has ended.
    assert_captured(&shop.capture(&hold, 15).await, 15, 0, 85);
    let again = shop.hold("1", 10).await;
    assert_eq!(
        (
            again.status,
            again.header("idempotency-hit"),
            &again.body["id"]
        ),
        (200, "true", &json!(hold)),
        "{}",
        again.text
    );
    // What was refused may be tried again.
    assert_insufficient(&shop.hold("2", 86).await, 85);
    shop.give(1, None).await;
    assert_eq!(shop.hold("2", 86).await.header("idempotency-hit"), "");
    assert_eq!(shop.standing().await, (0, 86, 1));
    shop.end().await;
}

async fn held_points_outlive_their_lot_and_are_gone_when_released(world: World) {
    let shop = Shop::new(world, 10).await;
    shop.give(30, Some(1)).await;
    let mut body = shop.body(20);
    body["seconds"] = json!(86_400);
    let (captured, released) = (
        id(&shop.post(HOLDS, "a", &body).await),
        id(&shop.post(HOLDS, "b", &shop.body(5)).await),
    );
    let longer = json!({ "seconds": 86_400 });
    assert_eq!(shop.extend(&released, "e", &longer).await.status, 200);
    shop.world.clock.advance_seconds(86_399);
    for (hold, key) in [(&captured, "f"), (&released, "g")] {
        assert_eq!(shop.extend(hold, key, &longer).await.status, 200);
    }
    assert_eq!(shop.standing().await, (15, 25, 0));
    shop.world.clock.advance_seconds(1);
    shop.sweep().await;
    // The 5 that were free of the lot of one day are gone, what is held of it is not.
    assert_eq!(shop.standing().await, (10, 25, 0));
    assert_insufficient(&shop.charge("1", 11).await, 10);
    // The 6 that it does not cost have expired long since.
    let capture = shop.capture(&captured, 14).await;
    assert_captured(&capture, 14, 0, 10);
    assert_eq!(shop.standing().await, (10, 5, 1));
    assert_hit(&shop.capture(&captured, 14).await, &capture);
    let release = shop.release(&released).await;
    assert_eq!(release.body["balance"], 10, "{}", release.text);
    assert_hit(&shop.release(&released).await, &release);
    assert_eq!(shop.standing().await, (10, 0, 1));
    assert_insufficient(&shop.charge("1", 11).await, 10);
    shop.charged("1", 10).await;
    shop.end().await;
}

async fn a_captured_hold_costs_what_its_tariff_said_then(world: World) {
    let shop = Shop::new(world, 1_000).await;
    shop.titled_tariff("POST /v1/chat", "Chat", 1, "0.8/1000")
        .await;
    let call = |units: i64| shop.call("POST /v1/chat", json!({ "units": units }));
    let answer = shop.post(HOLDS, "1", &call(100_000)).await;
    assert_eq!(answer.body["points"], 81, "{}", answer.text);
    let other = id(&shop.post(HOLDS, "2", &call(10)).await);
    let by_points = shop.held("3", 10).await;
    shop.titled_tariff("POST /v1/chat", "Chat", 100, "").await;
    let units = |units: i64| json!({ "units": units });
    let hold = id(&answer);
    let captured = shop.on_hold(&hold, "capture", &units(2_500)).await;
    assert_captured(&captured, 3, 0, 985);
    let again = shop.on_hold(&hold, "capture", &units(2_500)).await;
    assert_hit(&again, &captured);
    // More than the hold, also by units; and in points although it was made by units.
    let more = shop.on_hold(&other, "capture", &units(10_000)).await;
    assert_captured(&more, 9, 0, 978);
    let retired = jifen_domain::tariff::RoutePattern::parse("POST /v1/chat").unwrap();
    shop.world.app.retire_tariff(&retired).await.unwrap();
    let again = shop.on_hold(&hold, "capture", &units(2_500)).await;
    assert_hit(&again, &captured);
    let untariffed = shop.on_hold(&by_points, "capture", &units(1)).await;
    assert_invalid(&untariffed, "units");
    assert_captured(&shop.capture(&by_points, 1).await, 1, 0, 987);
    let history = shop
        .world
        .get("/api/v1/points/consumption-history")
        .token(&shop.token)
        .send()
        .await;
    assert_eq!(history.body["data"]["list"][1]["title"], "Chat");
    shop.end().await;
}

async fn holds_in_parallel_never_overdraw(world: World) {
    let shop = Shop::new(world, 100).await;
    let body = shop.body(7);
    let requests = (0..40).map(|number| shop.request(HOLDS, &number.to_string(), &body));
    let answers = all_at_once(requests).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 14, "14 times 7 fit into 100: {answers:?}");
    assert_eq!(shop.standing().await, (2, 98, 0));
    let captures = answers.iter().filter(|answer| answer.status == 200);
    let captures = captures.map(|answer| {
        let path = format!("{HOLDS}/{}/capture", id(answer));
        let request = shop.world.post(&path, &json!({ "points": 8 }));
        request.token(&shop.gateway)
    });
    let ended = all_at_once(captures).await;
    let sum = |member: &str| -> i64 {
        let numbers = ended.iter().map(|answer| answer.body[member].as_i64());
        numbers.map(Option::unwrap).sum()
    };
    assert_eq!((sum("points"), sum("shortfall")), (100, 12));
    assert_eq!(shop.standing().await, (0, 0, 14));
    shop.end().await;
}

async fn one_hold_is_ended_once_however_many_try(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 50).await;
    let attempt = |number: i64| {
        let (action, body) = match number % 3 {
            0 => ("release", json!({})),
            _ => ("capture", json!({ "points": 10 * (number % 3) })),
        };
        let path = format!("{HOLDS}/{hold}/{action}");
        shop.world.post(&path, &body).token(&shop.gateway)
    };
    let answers = all_at_once((0..30).map(attempt)).await;
    let done: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(done.len(), 10, "{answers:?}");
    assert!(done.iter().all(|answer| answer.text == done[0].text));
    let firsts = done
        .iter()
        .filter(|answer| answer.header("idempotency-hit").is_empty());
    assert_eq!(firsts.count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_ended(refused);
    }
    let spent = done[0].body["points"].as_i64().unwrap();
    let standing = shop.standing().await;
    assert_eq!((standing.0, standing.1), (100 - spent, 0));
    shop.end().await;
}

async fn an_unknown_hold_is_not_found(world: World) {
    let shop = Shop::new(world, 100).await;
    let (charge, hold) = (shop.charged("c", 1).await, shop.held("h", 10).await);
    let (account, entry) = hold.split_once('-').unwrap();
    let captured = shop.held("x", 1).await;
    let captured = shop.capture(&captured, 1).await;
    let captured = captured.body["chargeId"].as_str().unwrap().to_owned();
    let before = shop.standing().await;
    let long = "9".repeat(5_000);
    for nonsense in [
        "-",
        "--",
        "0-0",
        "-0-1",
        "0",
        "x",
        "hold",
        "%2F",
        "%00",
        "%FF",
        "%E6%9C%AA",
        "..%2F..",
        "1-99999999999999999999",
        "99999999999999999999-1",
        "9223372036854775807-9223372036854775807",
        "-9223372036854775808-1",
        "-9223372036854775807-1",
        long.as_str(),
        charge.as_str(),
        captured.as_str(),
        account,
        &format!("{account}-0"),
        &format!("{account}--{entry}"),
        &format!("{account}-0{entry}"),
        &format!("{account}-+{entry}"),
        &format!("+{account}-{entry}"),
        &format!("0{account}-{entry}"),
        &format!("{account}-{entry}%20"),
        &format!("{account}-{entry}-1"),
        &format!("{account}-1"),
        &format!("{account}-1000"),
        &format!("-{account}-{entry}"),
        &format!("{entry}-{account}"),
    ] {
        let answers = [
            shop.capture(nonsense, 1).await,
            shop.on_hold(nonsense, "capture", &json!({ "units": 1 }))
                .await,
            shop.release(nonsense).await,
            shop.extend(nonsense, "e", &json!({ "seconds": 60 })).await,
            shop.extend(nonsense, "e", &json!({ "points": 1 })).await,
        ];
        for answer in answers {
            assert_problem(&answer, 404, "not_found", &json!({}));
        }
    }
    let none = shop
        .world
        .post(&format!("{HOLDS}//capture"), &json!({ "points": 1 }));
    let none = none.token(&shop.gateway).send().await;
    assert_problem(&none, 404, "not_found", &json!({}));
    assert_eq!(shop.standing().await, before);
    shop.end().await;
}

async fn seconds_are_one_to_a_day(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("h", 1).await;
    for seconds in [
        json!(0),
        json!(-1),
        json!(86_401),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1e30),
        json!(1.5),
        json!("60"),
        json!([]),
        json!(true),
    ] {
        let mut body = shop.body(1);
        body["seconds"] = seconds.clone();
        assert_invalid(&shop.post(HOLDS, "1", &body).await, "seconds");
        let body = json!({ "seconds": seconds, "points": 1 });
        assert_invalid(&shop.extend(&hold, "2", &body).await, "seconds");
    }
    assert_eq!(shop.standing().await, (99, 1, 0));
    for (key, seconds, until) in [
        ("a", json!(1), "2026-01-15T04:00:01Z"),
        ("b", json!(86_400), "2026-01-16T04:00:00Z"),
        ("c", json!(null), "2026-01-15T04:05:00Z"),
    ] {
        let mut body = shop.body(1);
        body["seconds"] = seconds;
        let answer = shop.post(HOLDS, key, &body).await;
        assert_eq!(answer.body["expiresAt"], until, "{}", answer.text);
    }
}

async fn what_is_no_hold_is_refused_by_the_field(world: World) {
    let shop = Shop::new(world, 100).await;
    let keyless = shop.world.post(HOLDS, &shop.body(1)).token(&shop.gateway);
    assert_invalid(&keyless.send().await, "Idempotency-Key");
    for (change, field) in [
        (json!({ "apiKey": null }), "apiKey"),
        (json!({ "apiKey": 1 }), "apiKey"),
        (json!({ "points": null }), "points"),
        (json!({ "points": 0 }), "points"),
        (json!({ "points": -1 }), "points"),
        (json!({ "points": 1.5 }), "points"),
        (json!({ "points": "1" }), "points"),
        (json!({ "points": 1_000_000_000_001_i64 }), "points"),
        (json!({ "title": null }), "title"),
        (json!({ "title": "a\nb" }), "title"),
        (json!({ "title": "长".repeat(129) }), "title"),
        (json!({ "description": "a\u{7}" }), "description"),
        (json!({ "ip": "here" }), "ip"),
        (json!({ "units": 5 }), "units"),
    ] {
        let mut body = shop.body(1);
        merge(&mut body, change);
        let answer = shop.post(HOLDS, "1", &body).await;
        assert_invalid(&answer, field);
    }
    let unpriced = shop.call("POST /v1/nothing", json!({ "units": 5 }));
    let answer = shop.post(HOLDS, "1", &unpriced).await;
    assert_problem(&answer, 422, "unknown_route", &json!({ "field": "route" }));
    assert_insufficient(&shop.hold("1", 1_000_000_000_000).await, 100);
    assert_eq!(shop.standing().await, (100, 0, 0));
}

async fn what_is_no_capture_or_extension_is_refused_by_the_field(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.tariff("POST /v1/chat", 0, "1/1").await;
    let call = shop.call("POST /v1/chat", json!({ "units": 10 }));
    let hold = id(&shop.post(HOLDS, "h", &call).await);
    let wrong = [
        json!(-1),
        json!(1.5),
        json!("1"),
        json!([]),
        json!(1_000_000_000_001_i64),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
    ];
    for value in wrong {
        let points = shop
            .on_hold(&hold, "capture", &json!({ "points": value }))
            .await;
        assert_invalid(&points, "points");
        let units = shop
            .on_hold(&hold, "capture", &json!({ "units": value }))
            .await;
        assert_invalid(&units, "units");
        let more = shop.extend(&hold, "e", &json!({ "points": value })).await;
        assert_invalid(&more, "points");
    }
    let neither = shop.on_hold(&hold, "capture", &json!({})).await;
    assert_invalid(&neither, "points");
    let both = json!({ "points": 1, "units": 1 });
    assert_invalid(&shop.on_hold(&hold, "capture", &both).await, "units");
    assert_invalid(&shop.extend(&hold, "e", &json!({})).await, "points");
    assert_invalid(
        &shop.extend(&hold, "e", &json!({ "points": 0 })).await,
        "points",
    );
    // A hold, too, holds no more than one movement can.
    let most = json!({ "points": 1_000_000_000_000_i64 });
    assert_invalid(&shop.extend(&hold, "e", &most).await, "points");
    let path = format!("{HOLDS}/{hold}/extend");
    let keyless = shop.world.post(&path, &json!({ "points": 1 }));
    assert_invalid(
        &keyless.token(&shop.gateway).send().await,
        "Idempotency-Key",
    );
    for action in ["capture", "extend"] {
        let path = format!("{HOLDS}/{hold}/{action}");
        for body in ["", "[]", "{", "null"] {
            let request = shop.world.post_text(&path, body).token(&shop.gateway);
            let request = request.header("content-type", "application/json");
            let answer = request.header("idempotency-key", "e").send().await;
            assert_invalid(&answer, "body");
        }
    }
    assert_eq!(shop.standing().await, (90, 10, 0));
    // A release needs nothing at all.
    let path = format!("{HOLDS}/{hold}/release");
    let request = shop.world.request("POST", &path).token(&shop.gateway);
    assert_eq!(request.send().await.status, 200);
}

async fn maintenance_stops_new_holds_and_lets_open_ones_end(world: World) {
    let shop = Shop::new(world, 100).await;
    let (one, other) = (shop.held("1", 10).await, shop.held("2", 10).await);
    let maintenance = jifen_app::Maintenance {
        message: "升级".to_owned(),
        ends_at: None,
        charges_stopped: true,
    };
    shop.world
        .app
        .start_maintenance(&maintenance)
        .await
        .unwrap();
    assert_problem(&shop.hold("3", 1).await, 503, "maintenance", &json!({}));
    let more = shop.extend(&one, "e", &json!({ "points": 1 })).await;
    assert_problem(&more, 503, "maintenance", &json!({}));
    assert_captured(&shop.capture(&one, 4).await, 4, 0, 86);
    assert_eq!(shop.release(&other).await.body["balance"], 96);
}

async fn a_thousand_holds_may_be_open(world: World) {
    let shop = Shop::new(world, 5_000).await;
    let body = shop.body(1);
    for start in (0..1_000).step_by(100) {
        let requests = (start..start + 100).map(|n| shop.request(HOLDS, &n.to_string(), &body));
        let answers = all_at_once(requests).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    let answer = shop.hold("more", 1).await;
    let told = json!({ "limit": "holds", "balance": 4_000 });
    assert_problem(&answer, 409, "too_many_holds", &told);
    assert_eq!(shop.standing().await, (4_000, 1_000, 0));
    shop.world.clock.advance_seconds(300);
    assert_eq!(shop.hold("more", 1).await.status, 200);
    assert_eq!(shop.standing().await, (4_999, 1, 0));
    shop.end().await;
}
