//! `/api/v1/points/purchase-history` and `/consumption-history`: exact, complete, newest first.

use jifen_app::operator::Gift;
use jifen_domain::UserId;
use serde_json::{Value, json};

use super::{assert_success, buy, text};
use crate::world::{Token, World, on_both_engines, on_sqlite};

const PURCHASES: &str = "/api/v1/points/purchase-history";
const CONSUMPTION: &str = "/api/v1/points/consumption-history";

on_both_engines!(
    purchases_are_pending_paid_or_failed,
    purchases_are_paged_newest_first,
    consumption_names_what_was_spent_and_keeps_the_name_of_a_deleted_key,
    consumption_is_counted_exactly_over_many_pages,
    what_is_merged_is_one_history,
);

on_sqlite!(charges_that_were_refused_leave_no_trace);

async fn page(world: &World, token: &Token, path: &str, query: &str) -> Value {
    let answer = world
        .get(&format!("{path}{query}"))
        .token(token)
        .send()
        .await;
    assert_success(&answer, &answer.body["data"]);
    answer.body["data"].clone()
}

/// Every row, page by page; each page but the last is full.
async fn all_rows(world: &World, token: &Token, path: &str, size: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    for number in 1.. {
        let page = page(world, token, path, &format!("?page={number}&size={size}")).await;
        let total = usize::try_from(page["total"].as_u64().unwrap()).unwrap();
        let list = page["list"].as_array().unwrap();
        assert_eq!(
            list.len(),
            size.min(total.saturating_sub(rows.len())),
            "page {number}"
        );
        rows.extend(list.clone());
        if list.is_empty() {
            assert_eq!(rows.len(), total);
            break;
        }
    }
    rows
}

async fn purchases_are_pending_paid_or_failed(world: World) {
    let token = world.log_in("xiaoming").await;
    assert_eq!(
        page(&world, &token, PURCHASES, "").await,
        json!({ "total": 0, "list": [] })
    );

    let paid = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &paid).await;
    world.deliver_notifications().await;
    world.clock.advance_seconds(1);
    let failed = world.create_order(&token, "starter-1000").await;
    world.clock.advance_seconds(1_800);
    world.do_jobs().await;
    let pending = world.create_order(&token, "pro-10000").await;
    world.clock.advance_seconds(1);
    // On our disk, while WeChat Pay has not heard of it.
    let created = world.create_order(&token, "100010090091").await;
    world
        .raw(&format!(
            "UPDATE orders SET state = 'created', prepay_id = NULL WHERE id = {}",
            created["orderId"].to_string().replace('"', "'")
        ))
        .await;
    world.clock.advance_seconds(1);
    let user = text(&world.log_in_answer("xiaoming").await["data"]["userInfo"]["userId"]);
    let alipay = world.alipay_form(&user, "100001").await;

    let alipay = json!(alipay.order_id());
    let expected = [
        (&alipay, "体验包 100 点", 100, 168, "pending", "2026-01-15T04:30:03Z"),
        (&created["orderId"], "标准包 100 点", 100, 168, "pending", "2026-01-15T04:30:02Z"),
        (&pending["orderId"], "专业包 10000 点", 10_000, 12_800, "pending", "2026-01-15T04:30:01Z"),
        (&failed["orderId"], "进阶包 1000 点", 1_000, 1_500, "failed", "2026-01-15T04:00:01Z"),
        (&paid["orderId"], "体验包 100 点", 100, 168, "paid", "2026-01-15T04:00:00Z"),
    ]
    .map(|(id, name, points, price, status, time)| {
        json!({ "orderId": id, "packageName": name, "points": points, "price": price, "status": status, "purchaseTime": time })
    });
    assert_eq!(
        page(&world, &token, PURCHASES, "").await,
        json!({ "total": 5, "list": expected })
    );
}

async fn purchases_are_paged_newest_first(world: World) {
    let mut made = Vec::new();
    for _ in 0..6 {
        let token = world.log_in("xiaoming").await;
        for package in ["100001", "starter-1000"] {
            made.push(world.create_order(&token, package).await["orderId"].clone());
            world.clock.advance_seconds(1);
        }
        world.clock.advance_seconds(29 * 60);
        // Ordering anew replaces what has run out of time.
        world.do_jobs().await;
    }
    made.reverse();
    let token = world.log_in("xiaoming").await;
    let ids = |rows: &[Value]| {
        rows.iter()
            .map(|row| row["orderId"].clone())
            .collect::<Vec<_>>()
    };
    for size in [1, 5, 12, 100] {
        assert_eq!(
            ids(&all_rows(&world, &token, PURCHASES, size).await),
            made,
            "size {size}"
        );
    }
    let first = page(&world, &token, PURCHASES, "").await;
    assert_eq!(
        (&first["total"], ids(first["list"].as_array().unwrap())),
        (&json!(12), made[..10].to_vec()),
        "10 a page, from page 1"
    );
    assert_eq!(
        page(&world, &token, PURCHASES, "?page=2").await["list"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for query in [
        "?page=3",
        "?page=1000000",
        "?page=9223372036854775807&size=100",
    ] {
        assert_eq!(
            page(&world, &token, PURCHASES, query).await,
            json!({ "total": 12, "list": [] }),
            "{query}"
        );
    }
}

async fn consumption_names_what_was_spent_and_keeps_the_name_of_a_deleted_key(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (id, key) = world.api_key(&token, "我的钥匙 🔑").await;
    let gateway = world.gateway().await;
    assert_eq!(
        page(&world, &token, CONSUMPTION, "").await,
        json!({ "total": 0, "list": [] })
    );

    let charge = async |number: &str, body: Value| {
        let request = world
            .post("/api/v2/metering/charges", &body)
            .token(&gateway)
            .header("idempotency-key", number);
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["id"].clone()
    };
    let first = charge("1", json!({ "apiKey": key, "points": 3, "title": " chat/completions ", "description": "1,024 tokens" })).await;
    world.clock.advance_seconds(90);
    let second = charge("2", json!({ "apiKey": key, "points": 97, "title": "OCR" })).await;
    assert_eq!(charge("1", json!({ "apiKey": key, "points": 3, "title": " chat/completions ", "description": "1,024 tokens" })).await, first);

    let expected = json!({ "total": 2, "list": [
        {
            "id": second, "title": "OCR", "description": null, "points": 97, "consumeTime": "2026-01-15T04:01:30Z",
            "apiKeyId": id, "apiKeyName": "我的钥匙 🔑",
        },
        {
            "id": first, "title": "chat/completions", "description": "1,024 tokens", "points": 3,
            "consumeTime": "2026-01-15T04:00:00Z", "apiKeyId": id, "apiKeyName": "我的钥匙 🔑",
        },
    ] });
    assert_eq!(page(&world, &token, CONSUMPTION, "").await, expected);
    let deleted = world
        .post("/api/v1/api-keys/delete", &json!({ "id": id }))
        .token(&token)
        .send()
        .await;
    assert_success(&deleted, &json!(null));
    assert_eq!(page(&world, &token, CONSUMPTION, "").await, expected);
}

async fn consumption_is_counted_exactly_over_many_pages(world: World) {
    let (token, _) = buy(&world, "xiaoming", "starter-1000").await;
    let (_, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    let mut spent = Vec::new();
    for number in 0..43_i64 {
        let points = number % 7 + 1;
        let charged = world
            .charge(&gateway, &number.to_string(), &key, points)
            .await;
        assert_eq!(charged.status, 200, "{}", charged.text);
        spent.push((charged.body["id"].clone(), points));
        // Neither grants nor expiries between charges make a gap.
        if number % 10 == 0 {
            buy(&world, "xiaoming", "100001").await;
        }
    }
    spent.reverse();
    for size in [1, 10, 42, 43, 100] {
        let rows = all_rows(&world, &token, CONSUMPTION, size).await;
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row["id"].clone(), row["points"].as_i64().unwrap()))
            .collect();
        assert_eq!(told, spent, "size {size}");
    }
    for query in ["?page=6", "?page=9223372036854775807&size=100"] {
        assert_eq!(
            page(&world, &token, CONSUMPTION, query).await,
            json!({ "total": 43, "list": [] }),
            "{query}"
        );
    }
    world.assert_audit_is_clean().await;
}

async fn what_is_merged_is_one_history(world: World) {
    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": false }))
        .await;
    let (phone, bought) = buy(&world, "xiaohong", "100001").await;
    world.clock.advance_seconds(1);
    let web = world.log_in_on_the_web("xiaohong").await;
    let web_info = world.get("/api/v1/user/info").token(&web).send().await;
    let web_user = UserId::parse(&text(&web_info.body["data"]["userInfo"]["userId"])).unwrap();
    let gift = Gift {
        user: web_user,
        points: 50,
        validity_days: None,
        reason: "test".to_owned(),
        key: None,
    };
    world.app.give_points(&gift).await.unwrap();
    let (_, phone_key) = world.api_key(&phone, "phone").await;
    let (_, web_key) = world.api_key(&web, "web").await;
    let gateway = world.gateway().await;
    let keys = [phone_key, web_key];
    let charge = async |number: usize| {
        world.clock.advance_seconds(1);
        world
            .charge(&gateway, &number.to_string(), &keys[number % 2], 1)
            .await
            .body["id"]
            .clone()
    };
    let mut charges = Vec::new();
    for number in 0..6 {
        charges.push(charge(number).await);
    }

    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": true }))
        .await;
    world.log_in("xiaohong").await;
    world.log_in_on_the_web("xiaohong").await;
    for number in 6..8 {
        charges.push(charge(number).await);
    }
    charges.reverse();
    for token in [&phone, &web] {
        assert_eq!(world.points(token).await, 142);
        for size in [3, 100] {
            let rows = all_rows(&world, token, CONSUMPTION, size).await;
            assert_eq!(
                rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(),
                charges,
                "size {size}"
            );
        }
        let orders = all_rows(&world, token, PURCHASES, 10).await;
        assert_eq!((orders.len(), &orders[0]["orderId"]), (1, &json!(bought)));
        let keys = world.get("/api/v1/api-keys").token(token).send().await;
        assert_eq!(keys.body["data"]["list"].as_array().unwrap().len(), 2);
    }
    world.assert_audit_is_clean().await;
}

async fn charges_that_were_refused_leave_no_trace(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (_, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    for (number, points) in [("1", 101), ("2", 0), ("3", -1)] {
        assert_ne!(
            world.charge(&gateway, number, &key, points).await.status,
            200
        );
    }
    assert_eq!(
        page(&world, &token, CONSUMPTION, "").await,
        json!({ "total": 0, "list": [] })
    );
    assert_eq!(world.points(&token).await, 100);
}
