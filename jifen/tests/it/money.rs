//! Money is never wrong: whatever comes twice, late, out of order, at once, or forged.

use jifen_domain::order::OrderState;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Request, World, on_both_engines};

on_both_engines!(
    fifty_parallel_orders_are_one_order,
    fifty_parallel_pay_pages_are_one_order,
    the_same_wechat_notification_twenty_times_at_once_credits_once,
    the_same_alipay_notification_twenty_times_at_once_credits_once,
    a_payment_is_booked_before_the_order_knows_that_it_was_prepaid,
    a_notification_from_before_our_commit_is_refused_and_booked_when_it_comes_again,
    a_payment_after_closing_is_credited_and_flagged,
    a_close_before_its_success_does_not_lose_the_money,
    finished_after_success_credits_once,
    whoever_is_told_that_it_is_done_finds_it_done,
    query_and_notification_at_once_credit_once,
    a_lost_notification_is_found_by_the_job,
    an_unpaid_order_is_closed_at_the_provider_and_then_here,
    forged_and_foreign_wechat_payments_change_nothing,
    forged_and_foreign_alipay_payments_change_nothing,
    a_payment_of_another_channels_order_is_refused,
    parallel_charges_take_exactly_what_is_there,
    a_charge_repeated_while_it_takes_the_last_points_gets_its_first_answer,
    a_refunded_payment_is_told_to_the_operator_and_never_booked,
    an_order_nobody_can_close_blocks_its_buyer_for_an_hour_at_the_most,
);

/// Sends all at once and returns the answers.
async fn all_at_once(requests: impl IntoIterator<Item = Request>) -> Vec<crate::world::Answer> {
    let mut running = JoinSet::new();
    for request in requests {
        running.spawn(request.send());
    }
    running.join_all().await
}

fn accepted(attempts: &Value) -> usize {
    attempts["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|attempt| attempt["accepted"] == true)
        .count()
}

async fn fifty_parallel_orders_are_one_order(world: World) {
    let token = world.log_in("xiaoming").await;
    let body = json!({ "packageId": "100001" });
    let answers = all_at_once((0..50).map(|_| {
        world
            .post("/api/v1/points/create-order", &body)
            .token(&token)
    }))
    .await;
    let first = answers[0].body["data"]["orderId"].clone();
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body["data"]["orderId"]),
            (200, &first),
            "{}",
            answer.text
        );
    }
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 1);
}

async fn fifty_parallel_pay_pages_are_one_order(world: World) {
    let body = json!({ "userId": "10001", "productId": "100001" });
    let answers =
        all_at_once((0..50).map(|_| world.post("/api/v1/alipay/create_pay_order", &body))).await;
    for answer in &answers {
        assert_eq!(
            (&answer.body["code"], &answer.body["data"]),
            (&json!("0000"), &answers[0].body["data"])
        );
    }
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 1);
}

async fn the_same_wechat_notification_twenty_times_at_once_credits_once(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let sent = world
        .sandbox_post(
            "/wechat-pay/notify",
            &json!({ "out_trade_no": order["orderId"], "repeat": 20 }),
        )
        .await;
    assert_eq!(accepted(&sent), 20, "{sent}");
    assert_eq!(world.points(&token).await, 100);
    world.assert_audit_is_clean().await;
}

async fn the_same_alipay_notification_twenty_times_at_once_credits_once(world: World) {
    let token = world.log_in("xiaoming").await;
    let id = world.log_in_answer("xiaoming").await["data"]["userInfo"]["userId"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = world.alipay_form(&id, "100001").await;
    world.submit(&form).await;
    let sent = world
        .sandbox_post(
            "/alipay/notify",
            &json!({ "out_trade_no": form.order_id(), "repeat": 20 }),
        )
        .await;
    assert_eq!(accepted(&sent), 20, "{sent}");
    assert_eq!(world.points(&token).await, 100);
    world.assert_audit_is_clean().await;
}

async fn a_payment_is_booked_before_the_order_knows_that_it_was_prepaid(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    // As it stands on disk while the call to WeChat Pay is under way.
    world
        .raw(&format!(
            "UPDATE orders SET state = 'created', prepay_id = NULL WHERE id = '{id}'"
        ))
        .await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
    assert_eq!(
        world.app.find_order(id).await.unwrap().state,
        OrderState::Delivered
    );
}

async fn a_notification_from_before_our_commit_is_refused_and_booked_when_it_comes_again(
    world: World,
) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    // An order that is not committed is one that nobody else can see.
    world
        .raw(&format!(
            "UPDATE orders SET id = 'hidden' WHERE id = '{id}'"
        ))
        .await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 0);
    world
        .raw(&format!(
            "UPDATE orders SET id = '{id}' WHERE id = 'hidden'"
        ))
        .await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
    world.assert_audit_is_clean().await;
}

async fn a_payment_after_closing_is_credited_and_flagged(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    world.clock.advance_seconds(31 * 60);
    world.do_jobs().await;
    assert_eq!(
        world.app.find_order(id).await.unwrap().state,
        OrderState::Closed
    );

    let sent = world
        .sandbox_post("/wechat-pay/notify", &json!({ "out_trade_no": id }))
        .await;
    assert_eq!(accepted(&sent), 1, "{sent}");
    let order = world.app.find_order(id).await.unwrap();
    assert_eq!(
        (order.state, order.paid_after_close),
        (OrderState::Delivered, true)
    );
    let history = world
        .app
        .purchases(order.user, jifen_app::Paging { page: 1, size: 1 })
        .await
        .unwrap();
    assert_eq!(history.list[0].state, OrderState::Delivered);
    world.assert_audit_is_clean().await;
}

async fn a_close_before_its_success_does_not_lose_the_money(world: World) {
    let form = world.alipay_form("10001", "100001").await;
    world.submit(&form).await;
    let id = form.order_id();
    let closed = json!({ "out_trade_no": id, "fields": { "trade_status": "TRADE_CLOSED", "gmt_payment": "" } });
    assert_eq!(
        accepted(&world.sandbox_post("/alipay/notify", &closed).await),
        1
    );
    assert_eq!(
        world.app.find_order(&id).await.unwrap().state,
        OrderState::Closed
    );
    assert_eq!(
        accepted(
            &world
                .sandbox_post("/alipay/notify", &json!({ "out_trade_no": id }))
                .await
        ),
        1
    );
    let order = world.app.find_order(&id).await.unwrap();
    assert_eq!(
        (order.state, order.paid_after_close),
        (OrderState::Delivered, true)
    );
    assert_eq!(
        accepted(&world.sandbox_post("/alipay/notify", &closed).await),
        1
    );
    assert_eq!(
        world.app.find_order(&id).await.unwrap().state,
        OrderState::Delivered
    );
    world.assert_audit_is_clean().await;
}

async fn finished_after_success_credits_once(world: World) {
    let form = world.alipay_form("10001", "100001").await;
    world.submit(&form).await;
    for status in ["TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_SUCCESS"] {
        let notification =
            json!({ "out_trade_no": form.order_id(), "fields": { "trade_status": status } });
        assert_eq!(
            accepted(&world.sandbox_post("/alipay/notify", &notification).await),
            1
        );
    }
    assert_eq!(
        world
            .app
            .profile(jifen_domain::UserId(10001))
            .await
            .unwrap()
            .points
            .get(),
        100
    );
    world.assert_audit_is_clean().await;
}

async fn whoever_is_told_that_it_is_done_finds_it_done(world: World) {
    for round in 0..5 {
        let form = world.alipay_form("10001", "100001").await;
        world.submit(&form).await;
        let id = form.order_id();
        let told = async || {
            let paid = json!({ "out_trade_no": id, "fields": { "trade_no": format!("202601152200{round}") } });
            assert_eq!(
                accepted(&world.sandbox_post("/alipay/notify", &paid).await),
                1
            );
            assert_eq!(
                world.app.find_order(&id).await.unwrap().state,
                OrderState::Delivered
            );
        };
        tokio::join!(told(), told(), told(), told(), told(), told());
    }
}

async fn query_and_notification_at_once_credit_once(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    let id = order["orderId"].as_str().unwrap();
    let path = format!("/api/v1/points/check-payment?orderId={id}");
    let (answers, ()) = tokio::join!(
        all_at_once((0..10).map(|_| world.get(&path).token(&token))),
        world.deliver_notifications(),
    );
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        world.get(&path).token(&token).send().await.body["data"]["points"],
        100
    );
    world.assert_audit_is_clean().await;
}

async fn a_lost_notification_is_found_by_the_job(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    let form = world.alipay_form("10001", "100001").await;
    world.pay_with_alipay(&form).await;
    world.clock.advance_seconds(29);
    world.do_jobs().await;
    assert_eq!(world.points(&token).await, 0, "it is early to ask");
    world.clock.advance_seconds(1);
    world.do_jobs().await;
    assert_eq!(world.points(&token).await, 100);
    assert_eq!(
        world.app.find_order(&form.order_id()).await.unwrap().state,
        OrderState::Delivered
    );
    world.assert_audit_is_clean().await;
}

async fn an_unpaid_order_is_closed_at_the_provider_and_then_here(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "provider_down", "provider": "wechat_pay" }),
        )
        .await;
    world.clock.advance_seconds(30 * 60);
    world.do_jobs().await;
    assert!(
        world.app.find_order(id).await.unwrap().state.is_open(),
        "not closed here while it is not closed there"
    );
    world.sandbox_delete("/faults").await;
    world.clock.advance_seconds(60);
    world.do_jobs().await;
    assert_eq!(
        world.app.find_order(id).await.unwrap().state,
        OrderState::Closed
    );
    let there = world
        .sandbox_get(&format!("/wechat-pay/transactions/{id}"))
        .await;
    assert_eq!(there["transaction"]["trade_state"], "CLOSED", "{there}");

    let next = world.create_order(&token, "100001").await;
    assert_ne!(next["orderId"], order["orderId"]);
}

async fn forged_and_foreign_wechat_payments_change_nothing(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = &order["orderId"];
    let forgeries = [
        json!({ "bad_signature": true }),
        json!({ "signature_probe": true }),
        json!({ "timestamp_skew_seconds": -301 }),
        json!({ "timestamp_skew_seconds": 301 }),
        json!({ "serial": "PUB_KEY_ID_0000000000000000000000000000" }),
        json!({ "api_v3_key": "another key of exactly 32 bytes." }),
        json!({ "appid": "wx0000000000000000" }),
        json!({ "mchid": "1900000000" }),
        json!({ "amount_fen": 1 }),
        json!({ "amount_fen": 169 }),
        json!({ "currency": "USD" }),
        json!({ "named_out_trade_no": "there_is_no_such_order" }),
    ];
    for (number, mut forgery) in forgeries.into_iter().enumerate() {
        forgery["out_trade_no"] = id.clone();
        forgery["transaction_id"] = format!("42000000{number}").into();
        let sent = world.sandbox_post("/wechat-pay/notify", &forgery).await;
        assert_eq!(accepted(&sent), 0, "{forgery} was accepted: {sent}");
        assert_eq!(world.points(&token).await, 0, "{forgery}");
    }
    let unpaid = json!({ "out_trade_no": id, "trade_state": "NOTPAY" });
    world.sandbox_post("/wechat-pay/notify", &unpaid).await;
    assert_eq!(world.points(&token).await, 0);
    assert!(
        world
            .app
            .find_order(id.as_str().unwrap())
            .await
            .unwrap()
            .state
            .is_open()
    );
    let incidents = world.app.incidents(100).await.unwrap();
    assert!(
        incidents
            .iter()
            .any(|incident| incident.reason.contains("costs")),
        "{incidents:?}"
    );
}

async fn forged_and_foreign_alipay_payments_change_nothing(world: World) {
    let form = world.alipay_form("10001", "100001").await;
    world.submit(&form).await;
    for forgery in [
        json!({ "bad_signature": true }),
        json!({ "tampered": { "total_amount": "0.01" } }),
        json!({ "fields": { "total_amount": "0.01" } }),
        json!({ "fields": { "total_amount": "168.00" } }),
        json!({ "fields": { "app_id": "2021000000000000" } }),
        json!({ "fields": { "seller_id": "2088000000000000" } }),
        json!({ "fields": { "out_trade_no": "there_is_no_such_order" } }),
    ] {
        let mut forgery = forgery;
        forgery["out_trade_no"] = form.order_id().into();
        let sent = world.sandbox_post("/alipay/notify", &forgery).await;
        assert_eq!(sent["attempts"][0]["body"], "false", "{forgery}: {sent}");
    }
    let waiting =
        json!({ "out_trade_no": form.order_id(), "fields": { "trade_status": "WAIT_BUYER_PAY" } });
    assert_eq!(
        world.sandbox_post("/alipay/notify", &waiting).await["attempts"][0]["body"],
        "success"
    );
    assert_eq!(
        world
            .app
            .profile(jifen_domain::UserId(10001))
            .await
            .unwrap()
            .points
            .get(),
        0
    );
    assert!(
        world
            .app
            .find_order(&form.order_id())
            .await
            .unwrap()
            .state
            .is_open()
    );
}

async fn a_payment_of_another_channels_order_is_refused(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let form = world.alipay_form("10001", "100001").await;
    world.submit(&form).await;
    let claim = json!({ "out_trade_no": order["orderId"], "named_out_trade_no": form.order_id() });
    assert_eq!(
        accepted(&world.sandbox_post("/wechat-pay/notify", &claim).await),
        0
    );
    let claim =
        json!({ "out_trade_no": form.order_id(), "fields": { "out_trade_no": order["orderId"] } });
    assert_eq!(
        accepted(&world.sandbox_post("/alipay/notify", &claim).await),
        0
    );
    assert_eq!(world.points(&token).await, 0);
    assert_eq!(world.app.incidents(10).await.unwrap().len(), 2);
}

async fn parallel_charges_take_exactly_what_is_there(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    let (_, key) = world.api_key(&token, "k").await;
    let gateway = world.gateway().await;
    let charge = |number: usize, points: i64| {
        let body = json!({ "apiKey": key, "points": points, "title": "OCR" });
        let request = world
            .post("/api/v2/metering/charges", &body)
            .token(&gateway);
        request.header("idempotency-key", &number.to_string())
    };
    // 40 different charges of 3, each sent twice: 33 fit into 100 points.
    let answers = all_at_once((0..80).map(|number| charge(number % 40, 3))).await;
    let count = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!(count(200) + count(402), 80, "{answers:?}");
    assert_eq!(world.points(&token).await, 1);
    let spent = world
        .get("/api/v1/points/consumption-history")
        .token(&token)
        .send()
        .await;
    assert_eq!(spent.body["data"]["total"], 33);
    let too_much = charge(100, 2).send().await;
    assert_eq!(
        (too_much.status, &too_much.body["balance"]),
        (402, &json!(1)),
        "{}",
        too_much.text
    );
    world.assert_audit_is_clean().await;
}

async fn a_charge_repeated_while_it_takes_the_last_points_gets_its_first_answer(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    let (_, key) = world.api_key(&token, "k").await;
    let gateway = world.gateway().await;
    let body = json!({ "apiKey": key, "points": 100, "title": "all of it" });
    let charge = |_| {
        let request = world
            .post("/api/v2/metering/charges", &body)
            .token(&gateway);
        request.header("idempotency-key", "the-last")
    };
    for answer in all_at_once((0..20).map(charge)).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.body["balance"], 0);
    }
    world.assert_audit_is_clean().await;
}

async fn a_refunded_payment_is_told_to_the_operator_and_never_booked(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    let refunded = json!({ "out_trade_no": id, "trade_state": "REFUND" });
    assert_eq!(
        accepted(&world.sandbox_post("/wechat-pay/notify", &refunded).await),
        0
    );
    assert_eq!(world.points(&token).await, 0);

    let form = world.alipay_form("10001", "100001").await;
    world.submit(&form).await;
    for status in ["TRADE_SUCCESS", "TRADE_CLOSED"] {
        let told = json!({ "out_trade_no": form.order_id(), "fields": { "trade_status": status } });
        assert_eq!(
            accepted(&world.sandbox_post("/alipay/notify", &told).await),
            1
        );
    }
    let incidents = world.app.incidents(10).await.unwrap();
    assert_eq!(incidents.len(), 2, "{incidents:?}");
    assert!(
        incidents
            .iter()
            .all(|incident| incident.reason.contains("refunded"))
    );
    world.assert_audit_is_clean().await;
}

async fn an_order_nobody_can_close_blocks_its_buyer_for_an_hour_at_the_most(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    let down = json!({ "kind": "provider_down", "provider": "wechat_pay" });
    world.sandbox_post("/faults", &down).await;
    world.clock.advance_seconds(30 * 60 + 3_599);
    world.do_jobs().await;
    assert!(world.app.find_order(id).await.unwrap().state.is_open());
    world.clock.advance_seconds(1_800);
    world.do_jobs().await;
    assert_eq!(
        world.app.find_order(id).await.unwrap().state,
        OrderState::Closed
    );
    world.sandbox_delete("/faults").await;
    let next = world.create_order(&token, "100001").await;
    assert_ne!(next["orderId"], order["orderId"]);
}
