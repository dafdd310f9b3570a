//! `wechatpayv3`, a WeChat Pay library for Python.

use jifen_store::Engine;
use serde_json::{Value, json};

use super::{kit, python};
use crate::world::{Answer, Token, World};

/// WeChat Pay's side of the sandbox's keys.
const WECHAT_PAY_KEY: &str = include_str!("../../../../jifen_sandbox/keys/wechat_pay_key.pem");

#[tokio::test]
async fn wechatpayv3_signs_the_malls_requests_and_payment_info_with_the_same_signatures() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world
        .app
        .query_order(order["orderId"].as_str().unwrap())
        .await
        .unwrap();

    let exchanges = world.sandbox_get("/exchanges?provider=wechat_pay").await;
    let requests: Vec<Value> = exchanges.as_array().unwrap().iter().map(request).collect();
    let methods: Vec<&Value> = requests.iter().map(|request| &request["method"]).collect();
    assert_eq!(methods, ["GET", "POST"], "{exchanges}");
    let input = json!({ "kit": kit(), "requests": requests, "payment": order["paymentInfo"] });
    python("wechatpayv3_sdk.py", "signatures", input).await;
}

#[tokio::test]
async fn the_mall_accepts_a_notification_made_with_wechatpayv3_and_credits_the_points() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let paid = |fen: i64| {
        let id = order["orderId"].as_str().unwrap();
        json!({ "kit": kit(), "wechat_pay_private_key": WECHAT_PAY_KEY, "transaction": transaction(id, fen) })
    };

    let cheap = python("wechatpayv3_sdk.py", "notification", paid(1)).await;
    assert_eq!(
        deliver(&world, &cheap).await.status,
        422,
        "another amount than the order's"
    );
    let told = python("wechatpayv3_sdk.py", "notification", paid(168)).await;
    let mut altered = told.clone();
    altered["body"] = json!(
        told["body"]
            .as_str()
            .unwrap()
            .replace("支付成功", "支付失败")
    );
    assert_eq!(
        deliver(&world, &altered).await.status,
        401,
        "altered after signing"
    );
    assert_eq!(world.points(&token).await, 0);

    for _ in 0..2 {
        let answer = deliver(&world, &told).await;
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    }
    assert_paid(&world, &token, &order).await;
}

#[tokio::test]
async fn wechatpayv3_pays_queries_refunds_and_closes_at_the_sandbox_by_key_and_by_certificate() {
    let world = World::on_real_time(Engine::Sqlite).await;
    python(
        "wechatpayv3_sdk.py",
        "calls",
        json!({ "kit": kit(), "sandbox": world.sandbox }),
    )
    .await;
}

async fn assert_paid(world: &World, token: &Token, order: &Value) {
    let path = format!(
        "/api/v1/points/check-payment?orderId={}",
        order["orderId"].as_str().unwrap()
    );
    let answer = world.get(&path).token(token).send().await;
    assert_eq!(
        (
            &answer.body["data"]["isPaid"],
            &answer.body["data"]["points"]
        ),
        (&json!(true), &json!(100)),
        "{}",
        answer.text
    );
    world.assert_audit_is_clean().await;
}

async fn deliver(world: &World, notification: &Value) -> Answer {
    let body = notification["body"].as_str().unwrap().to_owned();
    let mut request = world
        .post_text("/api/v1/wechat-pay/notify", body)
        .header("content-type", "application/json");
    for (name, value) in notification["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    request.send().await
}

/// What the sandbox has logged, as the script takes it.
fn request(exchange: &Value) -> Value {
    let headers = exchange["request_headers"].as_array().unwrap();
    let authorization = headers
        .iter()
        .find(|header| header[0] == "authorization")
        .unwrap();
    json!({
        "method": exchange["method"],
        "target": exchange["target"],
        "body": exchange["request_body"],
        "authorization": authorization[1],
    })
}

/// A payment as a notification tells it.
fn transaction(order: &str, fen: i64) -> Value {
    let kit = kit();
    json!({
        "mchid": kit["mchid"],
        "appid": kit["mini_program_appid"],
        "out_trade_no": order,
        "transaction_id": "4200002074202601159012345678",
        "trade_type": "JSAPI",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "",
        "success_time": "2026-01-15T12:00:09+08:00",
        "payer": { "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" },
        "amount": { "total": fen, "payer_total": fen, "currency": "CNY", "payer_currency": "CNY" },
    })
}
