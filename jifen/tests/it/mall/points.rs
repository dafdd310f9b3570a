//! `/api/v1/points`: packages, orders, and whether they are paid.

use jifen_app::operator::Gift;
use jifen_domain::order::OrderState;
use jifen_domain::{Fen, Points, UserId};
use jifen_store::Engine;
use serde_json::{Value, json};

use super::{all_at_once, assert_refused, assert_success, buy, everything, received, text};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

const CREATE: &str = "/api/v1/points/create-order";
const NOT_ON_SALE: &str = "packageId: 没有这个套餐，或已下架";

on_both_engines!(
    packages_are_told_in_the_operators_order,
    an_order_is_answered_with_what_the_mini_program_pays_with,
    an_unpaid_order_is_used_again_and_keeps_its_price,
    an_order_that_can_hardly_be_paid_is_replaced,
    wechat_is_asked_about_an_unpaid_order_every_three_seconds_at_most,
);

on_sqlite!(
    what_is_not_on_sale_cannot_be_ordered,
    somebody_from_the_web_alone_cannot_pay_in_the_mini_program,
    an_order_survives_a_wechat_pay_that_is_down,
    an_order_survives_an_answer_that_is_lost,
    a_payment_whose_notification_was_lost_is_found_by_asking,
    a_paid_order_tells_the_balance_and_its_own_expiry,
    points_that_never_expire_have_no_expiry_date,
    an_order_of_another_channel_can_be_asked_about_too,
    an_order_stays_unpaid_while_wechat_cannot_be_asked,
);

async fn check(world: &World, token: &Token, order: &str) -> Answer {
    world
        .get(&format!("/api/v1/points/check-payment?orderId={order}"))
        .token(token)
        .send()
        .await
}

fn unpaid() -> Value {
    json!({ "isPaid": false, "points": 0, "expiryDate": null })
}

async fn packages_are_told_in_the_operators_order(world: World) {
    let token = world.log_in("xiaoming").await;
    let packages = async || {
        world
            .get("/api/v1/points/packages")
            .token(&token)
            .send()
            .await
    };
    let mut expected = json!({ "packages": [
        {
            "id": "100001", "name": "体验包 100 点", "points": 100, "price": 168, "originalPrice": 200, "discount": 16,
            "isHot": false, "description": "首次体验 / to try",
        },
        {
            "id": "100010090091", "name": "标准包 100 点", "points": 100, "price": 168, "originalPrice": 168, "discount": 0,
            "isHot": false, "description": "与体验包同价，一年有效 / a year",
        },
        {
            "id": "starter-1000", "name": "进阶包 1000 点", "points": 1000, "price": 1500, "originalPrice": 1680, "discount": 11,
            "isHot": true, "description": "多买多省 / save 11%",
        },
        {
            "id": "pro-10000", "name": "专业包 10000 点", "points": 10000, "price": 12800, "originalPrice": 16800, "discount": 24,
            "isHot": false, "description": "永久有效 / never expires",
        },
    ] });
    assert_success(&packages().await, &expected);

    world
        .app
        .change_package("pro-10000", |package| package.position = -1)
        .await
        .unwrap();
    world
        .app
        .change_package("starter-1000", |package| package.on_sale = false)
        .await
        .unwrap();
    let list = expected["packages"].as_array_mut().unwrap();
    list.remove(2);
    list.rotate_right(1);
    assert_success(&packages().await, &expected);

    for id in ["100001", "100010090091", "pro-10000"] {
        world
            .app
            .change_package(id, |package| package.on_sale = false)
            .await
            .unwrap();
    }
    assert_success(&packages().await, &json!({ "packages": [] }));
}

async fn an_order_is_answered_with_what_the_mini_program_pays_with(world: World) {
    let token = world.log_in("xiaoming").await;
    let answer = world
        .post(CREATE, &json!({ "packageId": "starter-1000", "price": 1 }))
        .token(&token)
        .send()
        .await;
    let data = &answer.body["data"];
    let (id, info) = (text(&data["orderId"]), &data["paymentInfo"]);
    assert_success(
        &answer,
        &json!({
            "orderId": id,
            "paymentInfo": {
                "timeStamp": world.clock.now().seconds().to_string(),
                "nonceStr": text(&info["nonceStr"]),
                "package": text(&info["package"]),
                "signType": "RSA",
                "paySign": text(&info["paySign"]),
            },
            "orderInfo": {
                "packageName": "进阶包 1000 点", "points": 1000, "price": 1500, "createTime": "2026-01-15T04:00:00Z",
            },
        }),
    );
    assert!(
        (6..=32).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
        "{id}"
    );
    assert!(text(&info["package"]).starts_with("prepay_id="));
    assert!((1..=32).contains(&text(&info["nonceStr"]).len()));
    // The cashier verifies the signature, and that the payer is the one who ordered.
    world.pay_with_wechat("xiaoming", data).await;
    let transaction = world
        .sandbox_get(&format!("/wechat-pay/transactions/{id}"))
        .await["transaction"]
        .clone();
    assert_eq!(transaction["amount"]["total"], 1500, "{transaction}");
}

async fn an_unpaid_order_is_used_again_and_keeps_its_price(world: World) {
    let token = world.log_in("xiaoming").await;
    let first = world.create_order(&token, "100001").await;
    world
        .app
        .change_package("100001", |package| {
            "涨价包".clone_into(&mut package.name);
            (package.price, package.original_price) =
                (Fen::new(999).unwrap(), Fen::new(999).unwrap());
            package.points = Points::new(1).unwrap();
        })
        .await
        .unwrap();

    world.clock.advance_seconds(29 * 60 - 1);
    let again = world.create_order(&token, "100001").await;
    assert_eq!(again["orderId"], first["orderId"]);
    assert_eq!(
        again["orderInfo"], first["orderInfo"],
        "name, points, price and time are those of its creation"
    );
    assert_eq!(
        again["paymentInfo"]["package"], first["paymentInfo"]["package"],
        "WeChat Pay has not been asked again"
    );
    assert_eq!(
        again["paymentInfo"]["timeStamp"],
        world.clock.now().seconds().to_string()
    );
    let other_package = world.create_order(&token, "starter-1000").await;
    assert_ne!(other_package["orderId"], first["orderId"]);
    let somebody = world.log_in("xiaohong").await;
    let others = world.create_order(&somebody, "100001").await;
    assert_ne!(others["orderId"], first["orderId"]);
    assert_eq!(others["orderInfo"]["price"], 999);

    world.pay_with_wechat("xiaoming", &again).await;
    world.deliver_notifications().await;
    assert_eq!(
        world.points(&token).await,
        100,
        "what was promised when it was ordered"
    );
    let next = world.create_order(&token, "100001").await;
    assert_ne!(
        next["orderId"], first["orderId"],
        "a paid order is not used again"
    );
    assert_eq!(
        (&next["orderInfo"]["price"], &next["orderInfo"]["points"]),
        (&json!(999), &json!(1))
    );
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 4);
    world.assert_audit_is_clean().await;
}

async fn an_order_that_can_hardly_be_paid_is_replaced(world: World) {
    let token = world.log_in("xiaoming").await;
    let first = world.create_order(&token, "100001").await;
    world.clock.advance_seconds(29 * 60);
    let body = json!({ "packageId": "100001" });
    let answers = all_at_once((0..10).map(|_| world.post(CREATE, &body).token(&token))).await;
    let second = answers[0].body["data"].clone();
    assert_ne!(second["orderId"], first["orderId"]);
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body["data"]["orderId"]),
            (200, &second["orderId"]),
            "{}",
            answer.text
        );
    }
    let closed = text(&first["orderId"]);
    assert_eq!(
        world.app.find_order(&closed).await.unwrap().state,
        OrderState::Closed
    );
    let there = world
        .sandbox_get(&format!("/wechat-pay/transactions/{closed}"))
        .await;
    assert_eq!(
        there["transaction"]["trade_state"], "CLOSED",
        "it cannot be paid there either"
    );
    assert_success(&check(&world, &token, &closed).await, &unpaid());
    world.pay_with_wechat("xiaoming", &second).await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
}

async fn what_is_not_on_sale_cannot_be_ordered(world: World) {
    let token = world.log_in("xiaoming").await;
    world.create_order(&token, "100001").await;
    world
        .app
        .change_package("100001", |package| package.on_sale = false)
        .await
        .unwrap();
    let before = everything(&world, &token).await;
    for package in [
        "100001",
        "no-such-package",
        "10000",
        "100001 ",
        "100001\n",
        "STARTER-1000",
        "🔑",
        "'; DROP TABLE orders; --",
    ] {
        let answer = world
            .post(CREATE, &json!({ "packageId": package }))
            .token(&token)
            .send()
            .await;
        assert_refused(&answer, 422, NOT_ON_SALE);
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn somebody_from_the_web_alone_cannot_pay_in_the_mini_program(world: World) {
    let token = world.log_in_on_the_web("laowang").await;
    let before = everything(&world, &token).await;
    let answer = world
        .post(CREATE, &json!({ "packageId": "100001" }))
        .token(&token)
        .send()
        .await;
    assert_refused(&answer, 422, "packageId: 微信支付需要先在小程序登录一次");
    assert_eq!(everything(&world, &token).await, before);
}

async fn an_order_survives_a_wechat_pay_that_is_down(world: World) {
    let token = world.log_in("xiaoming").await;
    let create = async || {
        world
            .post(CREATE, &json!({ "packageId": "100001" }))
            .token(&token)
            .send()
            .await
    };
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "provider_down", "provider": "wechat_pay" }),
        )
        .await;
    assert_refused(&create().await, 500, "微信暂时不可用，请稍后重试");
    let orders = world.app.list_orders(None, 10).await.unwrap();
    assert_eq!(
        orders.iter().map(|order| order.state).collect::<Vec<_>>(),
        [OrderState::Created]
    );
    world.sandbox_delete("/faults").await;
    let answer = create().await;
    assert_eq!(
        text(&answer.body["data"]["orderId"]),
        orders[0].id,
        "the order on disk is the one to be paid"
    );
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 1);
}

async fn an_order_survives_an_answer_that_is_lost(world: World) {
    let token = world.log_in("xiaoming").await;
    let fault =
        json!({ "kind": "provider_closes_connection", "provider": "wechat_pay", "count": 1 });
    world.sandbox_post("/faults", &fault).await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 1);
}

fn is_query(request: &str) -> bool {
    request.starts_with("GET /v3/pay/transactions/out-trade-no/")
}

async fn wechat_is_asked_about_an_unpaid_order_every_three_seconds_at_most(world: World) {
    let token = world.log_in("xiaoming").await;
    let id = text(&world.create_order(&token, "100001").await["orderId"]);
    let other = text(&world.create_order(&token, "starter-1000").await["orderId"]);
    let asked = async || received(&world, "wechat_pay", is_query).await;
    for (advance_seconds, expected) in [(0, 1), (0, 1), (2, 1), (1, 2), (2, 2), (1, 3)] {
        world.clock.advance_seconds(advance_seconds);
        assert_success(&check(&world, &token, &id).await, &unpaid());
        assert_eq!(asked().await, expected);
    }
    assert_success(&check(&world, &token, &other).await, &unpaid());
    assert_eq!(asked().await, 4, "each order has its own three seconds");

    world.clock.advance_seconds(3);
    let path = format!("/api/v1/points/check-payment?orderId={id}");
    let answers = all_at_once((0..20).map(|_| world.get(&path).token(&token))).await;
    for answer in &answers {
        assert_success(answer, &unpaid());
    }
    assert_eq!(asked().await, 5);
    assert_refused(
        &check(&world, &world.log_in("xiaohong").await, &id).await,
        404,
        "没有这个订单",
    );
    world.clock.advance_seconds(3);
    assert_refused(
        &check(&world, &world.log_in("xiaohong").await, &id).await,
        404,
        "没有这个订单",
    );
    assert_eq!(asked().await, 5, "nobody else makes the mall ask");
}

#[tokio::test]
async fn wechat_is_asked_by_one_of_several_nodes() {
    let world = World::start(Engine::Postgres).await;
    let node = world.another_node().await;
    let token = world.log_in("xiaoming").await;
    let id = text(&world.create_order(&token, "100001").await["orderId"]);
    let path = format!("/api/v1/points/check-payment?orderId={id}");
    for _ in 0..3 {
        assert_success(&world.get(&path).token(&token).send().await, &unpaid());
        assert_success(
            &world
                .request_at(&node, "GET", &path)
                .token(&token)
                .send()
                .await,
            &unpaid(),
        );
    }
    assert_eq!(received(&world, "wechat_pay", is_query).await, 1);
}

async fn a_payment_whose_notification_was_lost_is_found_by_asking(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = text(&order["orderId"]);
    assert_success(&check(&world, &token, &id).await, &unpaid());
    world.pay_with_wechat("xiaoming", &order).await;
    assert_success(&check(&world, &token, &id).await, &unpaid());
    world.clock.advance_seconds(3);
    let paid = json!({ "isPaid": true, "points": 100, "expiryDate": "2026-02-14T04:00:03Z" });
    assert_success(&check(&world, &token, &id).await, &paid);
    let asked = received(&world, "wechat_pay", is_query).await;
    world.clock.advance_seconds(3);
    assert_success(&check(&world, &token, &id).await, &paid);
    assert_eq!(
        received(&world, "wechat_pay", is_query).await,
        asked,
        "what is known is not asked again"
    );
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
    world.assert_audit_is_clean().await;
}

async fn a_paid_order_tells_the_balance_and_its_own_expiry(world: World) {
    let (token, first) = buy(&world, "xiaoming", "100001").await;
    let (_, second) = buy(&world, "xiaoming", "starter-1000").await;
    let paid = |expiry: &str| json!({ "isPaid": true, "points": 1_100, "expiryDate": expiry });
    assert_success(
        &check(&world, &token, &first).await,
        &paid("2026-02-14T04:00:00Z"),
    );
    assert_success(
        &check(&world, &token, &second).await,
        &paid("2027-01-15T04:00:00Z"),
    );
}

async fn points_that_never_expire_have_no_expiry_date(world: World) {
    let (token, order) = buy(&world, "xiaoming", "pro-10000").await;
    let paid = json!({ "isPaid": true, "points": 10_000, "expiryDate": null });
    assert_success(&check(&world, &token, &order).await, &paid);
    assert_eq!(
        world
            .get("/api/v1/user/info")
            .token(&token)
            .send()
            .await
            .body["data"]["pointsExpiryDate"],
        json!(null)
    );
}

async fn an_order_of_another_channel_can_be_asked_about_too(world: World) {
    let login = world.log_in_answer("xiaoming").await;
    let token = Token(text(&login["data"]["token"]));
    let user = UserId::parse(&text(&login["data"]["userInfo"]["userId"])).unwrap();
    let gift = Gift {
        user,
        points: 5,
        validity_days: None,
        reason: "test".to_owned(),
        key: None,
    };
    world.app.give_points(&gift).await.unwrap();
    let form = world.alipay_form(&user.to_string(), "100001").await;
    assert_success(&check(&world, &token, &form.order_id()).await, &unpaid());
    world.pay_with_alipay(&form).await;
    world.clock.advance_seconds(3);
    let paid = json!({ "isPaid": true, "points": 105, "expiryDate": "2026-02-14T04:00:03Z" });
    assert_success(&check(&world, &token, &form.order_id()).await, &paid);
}

async fn an_order_stays_unpaid_while_wechat_cannot_be_asked(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "provider_down", "provider": "wechat_pay" }),
        )
        .await;
    let id = text(&order["orderId"]);
    assert_success(&check(&world, &token, &id).await, &unpaid());
    world.sandbox_delete("/faults").await;
    world.clock.advance_seconds(3);
    assert_eq!(
        check(&world, &token, &id).await.body["data"]["isPaid"],
        true
    );
}
