//! `/api/v2/balance`.

use serde_json::{Value, json};

use super::{BALANCE, ask};
use crate::metering::{Shop, assert_problem};
use crate::world::{World, on_both_engines, on_sqlite};

on_both_engines!(
    the_balance_is_told_field_by_field,
    what_expires_first_is_told_first,
    what_a_hold_has_set_aside_does_not_expire_in_the_list,
);

on_sqlite!(
    the_tightest_cap_is_told,
    the_earliest_twenty_expiries_are_told,
    questions_count_for_the_keys_rate,
);

async fn the_balance_is_told_field_by_field(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.held("h", 30).await;
    let answer = ask(&shop, BALANCE).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let never = json!({ "points": 70, "expiresAt": null });
    let expected = json!({
        "balance": 70, "held": 30, "isTest": false, "keyId": shop.key_id, "expiring": [never],
    });
    assert_eq!(answer.body, expected);
    shop.charged("c", 70).await;
    let answer = ask(&shop, BALANCE).await;
    let expected = json!({
        "balance": 0, "held": 30, "isTest": false, "keyId": shop.key_id, "expiring": [],
    });
    assert_eq!(answer.body, expected);
    shop.end().await;
}

async fn expiring(shop: &Shop) -> Value {
    let answer = ask(shop, BALANCE).await;
    let list = answer.body["expiring"].as_array().unwrap();
    let sum: i64 = list
        .iter()
        .map(|part| part["points"].as_i64().unwrap())
        .sum();
    assert_eq!(answer.body["balance"], sum, "{}", answer.text);
    let part = |part: &Value| json!([part["points"], part["expiresAt"]]);
    list.iter().map(part).collect()
}

async fn what_expires_first_is_told_first(world: World) {
    let shop = Shop::new(world, 5).await;
    shop.give(20, Some(30)).await;
    shop.give(10, Some(1)).await;
    shop.give(7, Some(30)).await;
    shop.give(5, None).await;
    let (one, thirty) = ("2026-01-16T04:00:00Z", "2026-02-14T04:00:00Z");
    assert_eq!(
        expiring(&shop).await,
        json!([[10, one], [27, thirty], [10, null]])
    );
    shop.charged("1", 4).await;
    assert_eq!(
        expiring(&shop).await,
        json!([[6, one], [27, thirty], [10, null]])
    );
    shop.charged("2", 7).await;
    assert_eq!(expiring(&shop).await, json!([[26, thirty], [10, null]]));
    // What has expired is not told, swept or not.
    shop.world.clock.advance_seconds(30 * 86_400);
    assert_eq!(expiring(&shop).await, json!([[10, null]]));
    shop.sweep().await;
    assert_eq!(expiring(&shop).await, json!([[10, null]]));
    shop.end().await;
}

async fn what_a_hold_has_set_aside_does_not_expire_in_the_list(world: World) {
    let shop = Shop::new(world, 5).await;
    shop.give(10, Some(1)).await;
    let hold = shop.held("h", 4).await;
    let one = "2026-01-16T04:00:00Z";
    assert_eq!(expiring(&shop).await, json!([[6, one], [5, null]]));
    shop.charged("1", 6).await;
    assert_eq!(expiring(&shop).await, json!([[5, null]]));
    assert_eq!(shop.release(&hold).await.status, 200);
    assert_eq!(expiring(&shop).await, json!([[4, one], [5, null]]));
    shop.end().await;
}

async fn cap_left(shop: &Shop) -> Value {
    ask(shop, BALANCE).await.body["capLeft"].clone()
}

async fn the_tightest_cap_is_told(world: World) {
    let caps = json!({ "dailyCap": 10, "monthlyCap": 15, "totalCap": 40 });
    let mut shop = Shop::with_key(world, 100, caps).await;
    assert_eq!(cap_left(&shop).await, 10);
    shop.charged("1", 3).await;
    shop.held("h", 4).await;
    assert_eq!(cap_left(&shop).await, 3);
    shop.world.clock.advance_seconds(12 * 3_600);
    shop.token = shop.world.log_in("xiaoming").await;
    // The hold has ended by itself meanwhile.
    shop.sweep().await;
    shop.charged("2", 5).await;
    assert_eq!(cap_left(&shop).await, 5);
    shop.charged("3", 4).await;
    assert_eq!(cap_left(&shop).await, 1);
    shop.change_key(json!({ "dailyCap": null })).await;
    assert_eq!(cap_left(&shop).await, 3);
    shop.change_key(json!({ "monthlyCap": 5 })).await;
    assert_eq!(cap_left(&shop).await, 0, "lower than what is spent");
    shop.change_key(json!({ "monthlyCap": null, "totalCap": null }))
        .await;
    assert_eq!(cap_left(&shop).await, Value::Null);
}

async fn the_earliest_twenty_expiries_are_told(world: World) {
    let shop = Shop::new(world, 1).await;
    for days in (1..=30).rev() {
        shop.give(days, Some(days)).await;
    }
    let answer = ask(&shop, BALANCE).await;
    let list = answer.body["expiring"].as_array().unwrap();
    let points: Vec<_> = list
        .iter()
        .map(|part| part["points"].as_i64().unwrap())
        .collect();
    assert_eq!(points, (1..=20).collect::<Vec<_>>());
    assert_eq!(answer.body["balance"], 1 + 30 * 31 / 2);
}

async fn questions_count_for_the_keys_rate(world: World) {
    let limit = json!({ "rateLimit": { "requests": 3, "seconds": 30 } });
    let shop = Shop::with_key(world, 100, limit).await;
    let answer = ask(&shop, BALANCE).await;
    assert_eq!(
        (
            answer.header("ratelimit"),
            answer.header("ratelimit-policy")
        ),
        ("\"key\";r=2;t=10", "\"key\";q=3;w=30")
    );
    let answer = ask(&shop, super::USAGE).await;
    assert_eq!(answer.header("ratelimit"), "\"key\";r=1;t=20");
    shop.charged("1", 1).await;
    let refused = ask(&shop, BALANCE).await;
    assert_problem(&refused, 429, "too_many_requests", &json!({}));
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(ask(&shop, super::USAGE).await.status, 429);
    shop.world.clock.advance_seconds(10);
    assert_eq!(ask(&shop, BALANCE).await.status, 200);
}
