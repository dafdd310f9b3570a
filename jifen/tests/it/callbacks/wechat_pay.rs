//! `/api/v1/wechat-pay/notify`.

use jifen_app::Maintenance;
use jifen_domain::order::OrderState;
use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::{Answer, Token, World, on_both_engines};

const NOTIFY: &str = "/api/v1/wechat-pay/notify";

on_both_engines!(
    a_payment_is_accepted_without_a_body_and_again,
    what_is_not_ours_is_refused_with_the_status_that_says_why
);

async fn ordered(world: &World) -> (Token, String) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    (token, order["orderId"].as_str().unwrap().to_owned())
}

/// Sends one notification of an order, altered as `wish` says: the status and the body of the mall's answer.
async fn notified(world: &World, order: &str, mut wish: Value) -> (u64, String) {
    wish["out_trade_no"] = order.into();
    let sent = world.sandbox_post("/wechat-pay/notify", &wish).await;
    let attempt = &sent["attempts"][0];
    (
        attempt["status"].as_u64().unwrap(),
        attempt["body"].as_str().unwrap().to_owned(),
    )
}

fn assert_is_fail(body: &str) {
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "FAIL", "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty(), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
}

async fn a_payment_is_accepted_without_a_body_and_again(world: World) {
    let (token, order) = ordered(&world).await;
    for _ in 0..3 {
        assert_eq!(
            notified(&world, &order, json!({})).await,
            (204, String::new())
        );
        assert_eq!(world.points(&token).await, 100);
    }
    assert_eq!(
        world.app.find_order(&order).await.unwrap().state,
        OrderState::Delivered
    );
    assert_eq!(
        notified(
            &world,
            &order,
            json!({ "event_type": "SOMETHING.NEW", "trade_state": "NOTPAY" })
        )
        .await
        .0,
        204
    );
    world.assert_audit_is_clean().await;
}

async fn what_is_not_ours_is_refused_with_the_status_that_says_why(world: World) {
    let (token, order) = ordered(&world).await;
    for (status, wish) in [
        (401, json!({ "bad_signature": true })),
        (401, json!({ "signature_probe": true })),
        (401, json!({ "timestamp_skew_seconds": -301 })),
        (401, json!({ "timestamp_skew_seconds": 301 })),
        (401, json!({ "timestamp_skew_seconds": -86_400 })),
        (
            401,
            json!({ "serial": "PUB_KEY_ID_0000000000000000000000000000" }),
        ),
        (
            401,
            json!({ "serial": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1" }),
        ),
        (401, json!({ "serial": "" })),
        (422, json!({ "amount_fen": 1 })),
        (422, json!({ "currency": "USD" })),
        (422, json!({ "appid": "wx0000000000000000" })),
        (422, json!({ "mchid": "1900000000" })),
        (
            422,
            json!({ "named_out_trade_no": "there_is_no_such_order" }),
        ),
        (
            500,
            json!({ "api_v3_key": "another key of exactly 32 bytes." }),
        ),
    ] {
        let (answered, body) = notified(&world, &order, wish.clone()).await;
        assert_eq!(answered, status, "{wish}: {body}");
        assert_is_fail(&body);
        assert!(!body.contains("another key"), "{body}");
        assert_eq!(world.points(&token).await, 0, "{wish}");
    }
    assert_eq!(
        notified(&world, &order, json!({ "timestamp_skew_seconds": -290 }))
            .await
            .0,
        204
    );
    assert_eq!(world.points(&token).await, 100);
}

#[tokio::test]
async fn a_request_that_nobody_signed_is_unauthorized() {
    let world = World::start(Engine::Sqlite).await;
    ordered(&world).await;
    let post = async |body: Vec<u8>, headers: &[(&str, &str)]| -> Answer {
        let request = world
            .post_text(NOTIFY, body)
            .header("content-type", "application/json");
        headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            })
            .send()
            .await
    };
    let now = world.clock.now().seconds().to_string();
    let forged = [
        ("wechatpay-timestamp", now.as_str()),
        ("wechatpay-nonce", "1"),
        (
            "wechatpay-serial",
            "PUB_KEY_ID_0119007361002024010100000000",
        ),
        ("wechatpay-signature", "bm90aGluZw=="),
    ];
    for (body, headers, why) in [
        (b"{}".to_vec(), &forged[..0], "no headers"),
        (Vec::new(), &forged[..], "no body"),
        (b"{}".to_vec(), &forged[..3], "no signature"),
        (b"{}".to_vec(), &forged[1..], "no timestamp"),
        (vec![0xff; 100], &forged[..], "bytes"),
        (b"not json".to_vec(), &forged[..], "no JSON"),
    ] {
        let answer = post(body, headers).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (401, "application/json"),
            "{why}: {}",
            answer.text
        );
        assert_is_fail(&answer.text);
    }
    let huge = post(vec![b' '; 600_000], &forged).await;
    assert_eq!(huge.status, 413, "{}", huge.text);
    assert_is_fail(&huge.text);
    let wrong_method = world.get(NOTIFY).send().await;
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, "POST"),
        "{}",
        wrong_method.text
    );
    assert_is_fail(&wrong_method.text);
}

#[tokio::test]
async fn payments_are_booked_in_maintenance_and_after_the_database_was_away() {
    let world = World::start(Engine::Sqlite).await;
    let (token, order) = ordered(&world).await;
    let maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at: None,
        charges_stopped: true,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    world.raw("ALTER TABLE orders RENAME TO lost").await;
    let (status, body) = notified(&world, &order, json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert_is_fail(&body);
    assert!(
        !body.contains("orders"),
        "what failed is for the log: {body}"
    );
    world.raw("ALTER TABLE lost RENAME TO orders").await;
    assert_eq!(notified(&world, &order, json!({})).await.0, 204);
    world.app.end_maintenance().await.unwrap();
    assert_eq!(world.points(&token).await, 100);
}
