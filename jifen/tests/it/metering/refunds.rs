//! `/api/v2/metering/refunds`.

use serde_json::{Value, json};

use super::{REFUNDS, Shop, all_at_once, assert_hit, assert_invalid, assert_problem, id};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_whole_charge_is_given_back,
    a_charge_is_given_back_in_parts_and_never_more_of_it,
    a_repeated_refund_is_made_once,
    another_credential_may_give_back_what_is_left,
    points_go_back_to_the_lots_they_came_from,
    points_of_an_expired_lot_are_good_for_the_grace,
    a_capture_is_given_back_like_a_charge,
    only_charges_are_given_back,
    a_charge_is_given_back_after_its_holder_was_merged,
    parallel_refunds_never_give_back_more_than_was_charged,
    a_refund_frees_points_for_a_charge_at_once,
);

on_sqlite!(
    what_is_no_refund_is_refused_by_the_field,
    the_operator_chooses_the_grace,
);

/// Of a refund: points and balance.
#[track_caller]
fn assert_refunded(answer: &Answer, points: i64, balance: i64) {
    assert_eq!(
        (
            answer.status,
            &answer.body["points"],
            &answer.body["balance"]
        ),
        (200, &json!(points), &json!(balance)),
        "{}",
        answer.text
    );
}

async fn a_whole_charge_is_given_back(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 30).await;
    shop.world.clock.advance_seconds(60);
    let answer = shop.refund("r", &charge, Value::Null).await;
    let refund = id(&answer);
    let expected =
        json!({ "id": refund, "points": 30, "balance": 100, "refundedAt": "2026-01-15T04:01:00Z" });
    assert_eq!((answer.status, &answer.body), (200, &expected));
    assert_eq!(answer.header("idempotency-hit"), "");
    assert_ne!(refund, charge);
    assert_invalid(&shop.refund("s", &charge, Value::Null).await, "points");
    assert_invalid(&shop.refund("s", &charge, json!(1)).await, "points");
    // The charge stays in the history; it was made.
    assert_eq!(shop.standing().await, (100, 0, 1));
    shop.end().await;
}

async fn a_charge_is_given_back_in_parts_and_never_more_of_it(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 30).await;
    assert_invalid(&shop.refund("a", &charge, json!(31)).await, "points");
    assert_refunded(&shop.refund("a", &charge, json!(10)).await, 10, 80);
    assert_refunded(&shop.refund("b", &charge, json!(1)).await, 1, 81);
    let english = json!({ "chargeId": charge, "points": 20 });
    let request = shop.request(REFUNDS, "c", &english);
    let answer = request.header("accept-language", "en").send().await;
    assert_invalid(&answer, "points");
    assert_eq!(
        answer.body["detail"],
        "points: at most 19 are left to refund"
    );
    assert_refunded(&shop.refund("c", &charge, Value::Null).await, 19, 100);
    assert_invalid(&shop.refund("d", &charge, json!(1)).await, "points");
    assert_eq!(shop.standing().await, (100, 0, 1));
    shop.end().await;
}

async fn a_repeated_refund_is_made_once(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 30).await;
    let other = shop.charged("2", 30).await;
    let first = shop.refund("r", &charge, json!(10)).await;
    assert_refunded(&first, 10, 50);
    shop.charged("3", 50).await;
    for _ in 0..2 {
        assert_hit(&shop.refund("r", &charge, json!(10)).await, &first);
    }
    let reused = [
        shop.refund("r", &charge, json!(11)).await,
        shop.refund("r", &charge, Value::Null).await,
        shop.refund("r", &other, json!(10)).await,
        shop.charge("r", 10).await,
    ];
    for answer in reused {
        assert_problem(&answer, 422, "idempotency_key_reused", &json!({}));
    }
    // "All that is left" repeated is the same, whatever is left by then.
    let rest = shop.refund("s", &charge, Value::Null).await;
    assert_refunded(&rest, 20, 20);
    assert_hit(&shop.refund("s", &charge, Value::Null).await, &rest);
    // What was refused may be tried again with less.
    assert_invalid(&shop.refund("t", &other, json!(31)).await, "points");
    assert_refunded(&shop.refund("t", &other, json!(30)).await, 30, 50);
    assert_eq!(shop.standing().await, (50, 0, 3));
    shop.end().await;
}

async fn another_credential_may_give_back_what_is_left(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 30).await;
    assert_refunded(&shop.refund("r", &charge, json!(10)).await, 10, 80);
    let support = shop.world.gateway().await;
    let refund = async || {
        let body = json!({ "chargeId": charge, "points": 10 });
        let request = shop.world.post(REFUNDS, &body).token(&support);
        request.header("idempotency-key", "r").send().await
    };
    let first = refund().await;
    assert_refunded(&first, 10, 90);
    assert_hit(&refund().await, &first);
    assert_eq!(shop.standing().await, (90, 0, 1));
    shop.end().await;
}

async fn points_go_back_to_the_lots_they_came_from(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.give(20, Some(30)).await;
    shop.give(20, Some(10)).await;
    // 20 of ten days, 20 of thirty, 10 that never expire.
    let charge = shop.charged("1", 50).await;
    assert_refunded(&shop.refund("r", &charge, Value::Null).await, 50, 140);
    shop.world.clock.advance_seconds(10 * 86_400);
    assert_eq!(shop.standing().await, (120, 0, 1));
    shop.world.clock.advance_seconds(20 * 86_400);
    assert_eq!(shop.standing().await, (100, 0, 1));
    shop.sweep().await;
    shop.end().await;
}

async fn points_of_an_expired_lot_are_good_for_the_grace(world: World) {
    let shop = Shop::new(world, 10).await;
    shop.give(20, Some(1)).await;
    let charge = shop.charged("1", 15).await;
    shop.world.clock.advance_seconds(2 * 86_400);
    shop.sweep().await;
    assert_eq!(shop.standing().await, (10, 0, 1), "5 have expired");
    assert_refunded(&shop.refund("a", &charge, json!(5)).await, 5, 15);
    shop.world.clock.advance_seconds(86_400);
    assert_refunded(&shop.refund("b", &charge, Value::Null).await, 10, 25);
    let expiring = shop.account().await.expiring;
    let expiring: Vec<_> = expiring.iter().map(|part| part.points.get()).collect();
    assert_eq!(expiring.iter().sum::<i64>(), 25);
    // Seven days after the first part came back, that part at least is gone; those that never expire stay.
    shop.world.clock.advance_seconds(6 * 86_400 - 1);
    assert_eq!(shop.standing().await.0, 25);
    shop.world.clock.advance_seconds(86_400 + 1);
    assert_eq!(shop.standing().await, (10, 0, 1));
    shop.sweep().await;
    assert_eq!(shop.standing().await, (10, 0, 1));
    shop.end().await;
}

async fn the_operator_chooses_the_grace(_: World) {
    let engine = jifen_store::Engine::Sqlite;
    let world = World::start_with(engine, |config| config.metering.refund_grace_days = 1).await;
    let shop = Shop::new(world, 0).await;
    shop.give(20, Some(1)).await;
    let charge = shop.charged("1", 20).await;
    shop.world.clock.advance_seconds(5 * 86_400);
    assert_refunded(&shop.refund("r", &charge, Value::Null).await, 20, 20);
    shop.world.clock.advance_seconds(86_400 - 1);
    assert_eq!(shop.standing().await.0, 20);
    shop.world.clock.advance_seconds(1);
    assert_eq!(shop.standing().await.0, 0);
    assert_eq!(shop.charge("2", 1).await.status, 402);
    shop.end().await;
}

async fn a_capture_is_given_back_like_a_charge(world: World) {
    let shop = Shop::new(world, 50).await;
    shop.give(20, Some(30)).await;
    let hold = shop.held("h", 30).await;
    let captured = shop.capture(&hold, 40).await;
    let charge = captured.body["chargeId"].as_str().unwrap().to_owned();
    assert_invalid(&shop.refund("a", &charge, json!(41)).await, "points");
    assert_refunded(&shop.refund("a", &charge, json!(15)).await, 15, 45);
    assert_refunded(&shop.refund("b", &charge, Value::Null).await, 25, 70);
    // Only what was taken can be given back, not what was asked for.
    let hold = shop.held("h2", 1).await;
    let captured = shop.capture(&hold, 100).await;
    assert_eq!(captured.body["shortfall"], 30, "{}", captured.text);
    let charge = captured.body["chargeId"].as_str().unwrap().to_owned();
    assert_refunded(&shop.refund("c", &charge, Value::Null).await, 70, 70);
    let hold = shop.held("h3", 1).await;
    let free = shop.capture(&hold, 0).await;
    let charge = free.body["chargeId"].as_str().unwrap().to_owned();
    assert_invalid(&shop.refund("d", &charge, Value::Null).await, "points");
    assert_eq!(shop.standing().await, (70, 0, 3));
    shop.end().await;
}

async fn only_charges_are_given_back(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 10).await;
    let refund = id(&shop.refund("r", &charge, json!(1)).await);
    let (open, released) = (shop.held("h", 10).await, shop.held("i", 10).await);
    assert_eq!(shop.release(&released).await.status, 200);
    let (account, number) = charge.split_once('-').unwrap();
    let before = shop.standing().await;
    let long = "1".repeat(64);
    for nonsense in [
        &refund,
        &open,
        &released,
        &format!("{account}-1"),
        &format!("{account}-0"),
        &format!("{account}--{number}"),
        &format!("{account}-0{number}"),
        &format!("{account}-1000"),
        &format!("-{account}-{number}"),
        &format!("-{account}-1"),
        &format!("+{charge}"),
        &format!("{charge} "),
        &long,
        "-",
        "0-0",
        "0-1",
        "-0-1",
        "1-1",
        "-1-1",
        "1-99999999999999999999",
        "99999999999999999999-1",
        "9223372036854775807-1",
        "-9223372036854775807-1",
        "-9223372036854775808-1",
        "-9223372036854775808--9223372036854775808",
        "取",
        "../../x",
    ] {
        let answer = shop.refund("x", nonsense, json!(1)).await;
        assert_problem(&answer, 404, "not_found", &json!({}));
    }
    assert_eq!(shop.standing().await, before);
    shop.end().await;
}

async fn a_charge_is_given_back_after_its_holder_was_merged(world: World) {
    let (mut shop, (older, _)) = Shop::of_two_records(world, json!({})).await;
    shop.give(60, Some(30)).await;
    shop.give(40, None).await;
    let charge = shop.charged("1", 70).await;
    assert_refunded(&shop.refund("before", &charge, json!(5)).await, 5, 35);
    shop.become_one().await;
    assert_eq!(shop.world.points(&older).await, 35);

    let after = shop.refund("after", &charge, json!(50)).await;
    assert_refunded(&after, 50, 85);
    assert_hit(&shop.refund("after", &charge, json!(50)).await, &after);
    let rest = shop.refund("rest", &charge, Value::Null).await;
    assert_refunded(&rest, 15, 100);
    assert_invalid(&shop.refund("more", &charge, json!(1)).await, "points");
    assert_eq!(shop.world.points(&older).await, 100);
    // What was charged before is not charged again, although another account pays now.
    let again = shop.charge("1", 70).await;
    assert_eq!(
        (again.status, again.header("idempotency-hit"), id(&again)),
        (200, "true", charge),
        "{}",
        again.text
    );
    // The key goes on with the record that is left, and both histories are one.
    assert_eq!(shop.charge("2", 100).await.body["balance"], 0);
    assert_eq!(shop.standing().await, (0, 0, 2));
    shop.end().await;
}

async fn parallel_refunds_never_give_back_more_than_was_charged(world: World) {
    let shop = Shop::new(world, 60).await;
    shop.give(40, Some(30)).await;
    let charge = shop.charged("1", 100).await;
    let body = json!({ "chargeId": charge, "points": 7 });
    let requests = (0..40).map(|number| shop.request(REFUNDS, &format!("r{number}"), &body));
    let answers = all_at_once(requests).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 14, "14 times 7 of 100: {answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_invalid(refused, "points");
    }
    assert_eq!(shop.standing().await, (98, 0, 1));
    let body = json!({ "chargeId": charge });
    let requests = (40..60).map(|number| shop.request(REFUNDS, &format!("r{number}"), &body));
    let answers = all_at_once(requests).await;
    let made = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(
        made.map(|answer| &answer.body["points"])
            .collect::<Vec<_>>(),
        [&json!(2)]
    );
    assert_eq!(shop.standing().await, (100, 0, 1));
    shop.end().await;
}

async fn a_refund_frees_points_for_a_charge_at_once(world: World) {
    let shop = Shop::new(world, 100).await;
    let mut charge = shop.charged("0", 100).await;
    for round in 1..40 {
        assert_eq!(shop.charge("poor", 1).await.status, 402);
        let refund = shop
            .refund(&format!("r{round}"), &charge, Value::Null)
            .await;
        assert_refunded(&refund, 100, 100);
        charge = shop.charged(&format!("c{round}"), 100).await;
    }
    // The first ones are found again, long after their entries were folded away.
    assert_eq!(
        shop.charge("c1", 100).await.header("idempotency-hit"),
        "true"
    );
    assert_eq!(shop.standing().await, (0, 0, 40));
    shop.end().await;
}

async fn what_is_no_refund_is_refused_by_the_field(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 10).await;
    for (body, field) in [
        (json!({}), "chargeId"),
        (json!({ "chargeId": null }), "chargeId"),
        (json!({ "chargeId": 1 }), "chargeId"),
        (json!({ "chargeId": " " }), "chargeId"),
        (json!({ "chargeId": "a\u{0}" }), "chargeId"),
        (json!({ "chargeId": "1".repeat(65) }), "chargeId"),
        (json!({ "chargeId": charge, "points": 0 }), "points"),
        (json!({ "chargeId": charge, "points": -1 }), "points"),
        (json!({ "chargeId": charge, "points": 1.5 }), "points"),
        (json!({ "chargeId": charge, "points": "1" }), "points"),
        (json!({ "chargeId": charge, "points": [] }), "points"),
        (json!({ "chargeId": charge, "points": i64::MAX }), "points"),
        (json!({ "chargeId": charge, "points": u64::MAX }), "points"),
    ] {
        assert_invalid(&shop.post(REFUNDS, "r", &body).await, field);
    }
    let good = json!({ "chargeId": charge });
    let keyless = shop.world.post(REFUNDS, &good).token(&shop.gateway);
    assert_invalid(&keyless.send().await, "Idempotency-Key");
    for key in ["", " ", "钥匙", &"x".repeat(256)] {
        assert_invalid(&shop.post(REFUNDS, key, &good).await, "Idempotency-Key");
    }
    for body in ["", "[]", "{", "null"] {
        let request = shop.world.post_text(REFUNDS, body).token(&shop.gateway);
        let request = request.header("content-type", "application/json");
        let answer = request.header("idempotency-key", "r").send().await;
        assert_invalid(&answer, "body");
    }
    let request = shop.world.get(REFUNDS).token(&shop.gateway);
    assert_problem(&request.send().await, 405, "method_not_allowed", &json!({}));
    assert_eq!(shop.standing().await, (90, 0, 1));
}
