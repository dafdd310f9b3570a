//! What gateways call for somebody whose two records become one meanwhile.

use serde_json::{Value, json};

use super::{BATCH, HOLDS, Shop, assert_hit, assert_problem, id, user_of};
use crate::world::{Answer, World, on_both_engines};

on_both_engines!(
    an_open_hold_goes_on_where_the_points_are,
    a_hold_that_ends_after_a_merge_gives_back_to_its_key_s_cap,
    what_was_done_before_a_merge_is_repeated_after_it,
    a_key_that_both_had_used_is_repeated_for_each,
    a_hold_goes_through_two_merges,
    test_keys_go_on_with_their_play_points,
);

/// The younger has 100 points, the older 50.
async fn two_records(world: World, limits: Value) -> Shop {
    let (mut shop, (_, older)) = Shop::of_two_records(world, limits).await;
    shop.give(60, Some(30)).await;
    shop.give(40, None).await;
    let younger = std::mem::replace(&mut shop.user, older);
    shop.give(50, None).await;
    shop.user = younger;
    shop
}

/// A node that does not hear of it believes for some seconds that the key is the younger record's.
fn forget_whose_key_it_was(shop: &Shop) {
    shop.world.clock.advance_seconds(5);
}

async fn an_open_hold_goes_on_where_the_points_are(world: World) {
    let mut shop = two_records(world, json!({})).await;
    let hold = shop.held("h", 99).await;
    shop.become_one().await;
    forget_whose_key_it_was(&shop);
    assert_eq!(shop.standing().await, (51, 99, 0));

    let more = json!({ "points": 11 });
    let extended = shop.extend(&hold, "e", &more).await;
    let told = ["id", "points", "balance"].map(|member| &extended.body[member]);
    assert_eq!(told, [&json!(hold), &json!(110), &json!(40)]);
    assert_hit(&shop.extend(&hold, "e", &more).await, &extended);
    let captured = shop.capture(&hold, 160).await;
    let told = ["points", "shortfall", "balance"].map(|member| &captured.body[member]);
    assert_eq!(told, [150, 10, 0].map(Value::from).each_ref());
    assert_hit(&shop.capture(&hold, 160).await, &captured);
    let ended = shop.capture(&hold, 1).await;
    assert_problem(&ended, 409, "hold_ended", &json!({}));
    // The charge can be given back like any other.
    let charge = captured.body["chargeId"].as_str().unwrap().to_owned();
    let refund = shop.refund("r", &charge, Value::Null).await;
    assert_eq!(refund.body["balance"], 150, "{}", refund.text);
    shop.end().await;
}

async fn a_hold_that_ends_after_a_merge_gives_back_to_its_key_s_cap(world: World) {
    let mut shop = two_records(world, json!({ "dailyCap": 100 })).await;
    let holds = [
        shop.held("a", 50).await,
        shop.held("b", 30).await,
        shop.held("c", 15).await,
    ];
    shop.become_one().await;
    let spend = async |key: &str, points: i64| shop.charge(key, points).await;
    let assert_reached = |answer: &Answer, balance: i64| {
        let told = json!({ "limit": "key_cap", "balance": balance });
        assert_problem(answer, 402, "key_cap_reached", &told);
    };
    assert_reached(&spend("1", 6).await, 55);
    assert_eq!(shop.release(&holds[0]).await.body["balance"], 105);
    assert_eq!(spend("1", 55).await.body["balance"], 50);
    assert_reached(&spend("2", 1).await, 50);
    assert_eq!(shop.capture(&holds[1], 10).await.body["balance"], 70);
    assert_eq!(spend("3", 20).await.body["balance"], 50);
    // The last one ends by itself.
    shop.world.clock.advance_seconds(301);
    assert_eq!(spend("4", 15).await.body["balance"], 50);
    assert_reached(&spend("5", 1).await, 50);
    shop.end().await;
}

async fn what_was_done_before_a_merge_is_repeated_after_it(world: World) {
    let mut shop = two_records(world, json!({})).await;
    let charge = shop.charge("c", 10).await;
    let hold = shop.hold("h", 20).await;
    let captured_hold = shop.held("i", 5).await;
    let captured = shop.capture(&captured_hold, 4).await;
    let refund = shop.refund("r", &id(&charge), json!(3)).await;
    shop.become_one().await;
    // First by a node that has not heard of the merge.
    for _ in 0..2 {
        assert_hit(&shop.charge("c", 10).await, &charge);
        assert_hit(&shop.hold("h", 20).await, &hold);
        assert_hit(&shop.capture(&captured_hold, 4).await, &captured);
        assert_hit(&shop.refund("r", &id(&charge), json!(3)).await, &refund);
        // The first of these is made, by the older; the second repeats it.
        let more = shop.refund("s", &id(&charge), json!(2)).await;
        assert_eq!(more.body["balance"], 121, "{}", more.text);
        forget_whose_key_it_was(&shop);
    }
    assert_eq!(shop.standing().await, (121, 20, 2));
    shop.end().await;
}

async fn a_key_that_both_had_used_is_repeated_for_each(world: World) {
    let (mut shop, (older_token, older)) = Shop::of_two_records(world, json!({})).await;
    shop.give(100, None).await;
    let younger = std::mem::replace(&mut shop.user, older);
    shop.give(50, None).await;
    let (_, of_older) = shop.key_of(&older_token, json!({})).await;
    shop.user = younger;
    let charge = shop.charge("7", 10).await;
    let of_younger = std::mem::replace(&mut shop.key, of_older);
    let other = shop.charge("7", 20).await;
    assert_eq!((charge.status, other.status), (200, 200));
    shop.become_one().await;
    for _ in 0..2 {
        assert_hit(&shop.charge("7", 20).await, &other);
        let of_older = std::mem::replace(&mut shop.key, of_younger.clone());
        assert_hit(&shop.charge("7", 10).await, &charge);
        let batch = json!({ "charges": [{ "idempotencyKey": "7", "apiKey": shop.key, "points": 10, "title": "OCR" }] });
        let batch = shop.post(BATCH, "unused", &batch).await;
        let told = &batch.body["results"][0];
        assert_eq!(
            (&told["idempotencyHit"], &told["charge"]),
            (&json!(true), &charge.body)
        );
        let reused = shop.charge("7", 11).await;
        assert_problem(&reused, 422, "idempotency_key_reused", &json!({}));
        shop.key = of_older;
        forget_whose_key_it_was(&shop);
    }
    assert_eq!(shop.standing().await, (120, 0, 2));
    shop.end().await;
}

async fn a_hold_goes_through_two_merges(world: World) {
    // Made by the youngest of three records; each merge is of two neighbours.
    let mut shop = two_records(world, json!({})).await;
    let hold = shop.held("h", 70).await;
    let (_, oldest) = user_of(&shop.world, "xiaoming").await;
    shop.become_one().await;
    let store = shop.world.store();
    let mut tx = store.begin().await.unwrap();
    let now = shop.world.clock.now();
    let merged = tx.merge_accounts(shop.user, oldest, now).await;
    merged.unwrap().unwrap();
    tx.redirect_user(shop.user, oldest, "a test", now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The key is remembered as the youngest record's.
    assert_eq!(shop.charge("1", 80).await.body["balance"], 0);
    assert_hit(&shop.charge("1", 80).await, &shop.charge("1", 80).await);
    let captured = shop.capture(&hold, 60).await;
    assert_eq!(captured.body["balance"], 10, "{}", captured.text);
    assert_hit(&shop.capture(&hold, 60).await, &captured);
    shop.end().await;
}

async fn test_keys_go_on_with_their_play_points(world: World) {
    let mut shop = two_records(world, json!({ "test": true })).await;
    let charge = shop.charge("c", 10).await;
    let hold = id(&shop.post(HOLDS, "h", &shop.body(20)).await);
    shop.become_one().await;
    assert_hit(&shop.charge("c", 10).await, &charge);
    let left = charge.body["balance"].as_i64().unwrap() - 5;
    assert_eq!(shop.capture(&hold, 5).await.body["balance"], left);
    let refund = shop.refund("r", &id(&charge), Value::Null).await;
    assert_eq!(refund.body["balance"], left + 10, "{}", refund.text);
    shop.end().await;
}
