//! `alipay-sdk`, Alipay's own for Node.js.

use std::collections::BTreeMap;

use jifen_domain::order::OrderState;
use jifen_store::Engine;
use serde_json::{Value, json};

use super::{kit, node};
use crate::world::World;

/// Alipay's side of the sandbox's keys.
const ALIPAY_KEY: &str = include_str!("../../../../jifen_sandbox/keys/alipay_key.pem");

#[tokio::test]
async fn alipay_sdk_verifies_the_malls_pay_form_and_calls_and_no_altered_one() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let form = world.alipay_form("10001", "100010090091").await;
    world.submit(&form).await;
    world.app.query_order(&form.order_id()).await.unwrap();

    let query = url::Url::parse(&form.action).unwrap();
    let mut pay = parameters(query.query().unwrap());
    pay.extend(form.fields.iter().cloned());
    assert_eq!(pay["method"], "alipay.trade.page.pay");
    let exchanges = world
        .sandbox_get("/exchanges?provider=alipay&count=1")
        .await;
    let call = sent(&exchanges[0]);
    assert_eq!(call["method"], "alipay.trade.query");
    let mut altered = pay.clone();
    altered.insert(
        "biz_content".to_owned(),
        pay["biz_content"].replace("1.68", "0.01"),
    );
    assert_ne!(altered, pay);

    let input =
        json!({ "publicKey": kit()["alipay_app_public_key"], "signed": [pay, call, altered] });
    assert_eq!(node("verify", input).await, json!([true, true, false]));
}

#[tokio::test]
async fn the_mall_accepts_a_notification_signed_by_alipay_sdk_and_credits_the_points() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let form = world.alipay_form("10001", "100010090091").await;
    let notify = async |total: &str, signed_total: &str| {
        let body = notification(&form.order_id(), signed_total).await;
        let body = body.replace(
            &format!("total_amount={signed_total}"),
            &format!("total_amount={total}"),
        );
        let request = world.post_text("/api/v1/alipay/alipay_notify_url", body);
        request
            .header(
                "content-type",
                "application/x-www-form-urlencoded;charset=utf-8",
            )
            .send()
            .await
    };

    assert_eq!(
        notify("1.68", "0.01").await.text,
        "false",
        "altered after signing"
    );
    assert_eq!(
        notify("0.01", "0.01").await.text,
        "false",
        "another amount than the order's"
    );
    assert_eq!(
        world.app.find_order(&form.order_id()).await.unwrap().state,
        OrderState::Waiting
    );
    for _ in 0..2 {
        let answer = notify("1.68", "1.68").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "success"));
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

#[tokio::test]
async fn alipay_sdk_pays_queries_refunds_and_closes_at_the_sandbox_by_key_and_by_certificate() {
    let world = World::on_real_time(Engine::Sqlite).await;
    node("calls", json!({ "kit": kit(), "sandbox": world.sandbox })).await;
}

/// The body of a notification that an order was paid.
async fn notification(order: &str, total: &str) -> String {
    let kit = kit();
    let parameters = json!({
        "app_id": kit["alipay_app_id"],
        "auth_app_id": kit["alipay_app_id"],
        "buyer_id": "2088102116773037",
        "buyer_pay_amount": total,
        "charset": "utf-8",
        "fund_bill_list": format!(r#"[{{"amount":"{total}","fundChannel":"ALIPAYACCOUNT"}}]"#),
        "gmt_create": "2026-01-15 12:00:01",
        "gmt_payment": "2026-01-15 12:00:09",
        "invoice_amount": total,
        "notify_id": "2026011501222120009073031437654321",
        "notify_time": "2026-01-15 12:00:10",
        "notify_type": "trade_status_sync",
        "out_trade_no": order,
        "point_amount": "0.00",
        "receipt_amount": total,
        "seller_id": kit["alipay_seller_id"],
        "subject": "标准包 100 点",
        "total_amount": total,
        "trade_no": "2026011522001473031437654321",
        "trade_status": "TRADE_SUCCESS",
        "version": "1.0",
    });
    let input = json!({ "kit": kit, "alipayPrivateKey": ALIPAY_KEY, "parameters": parameters });
    node("notification", input).await["body"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The parameters of a request the sandbox has logged.
fn sent(exchange: &Value) -> BTreeMap<String, String> {
    let target = exchange["target"].as_str().unwrap();
    let mut all = parameters(target.split_once('?').map_or("", |(_, query)| query));
    all.extend(parameters(exchange["request_body"].as_str().unwrap()));
    all
}

fn parameters(form: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect()
}
