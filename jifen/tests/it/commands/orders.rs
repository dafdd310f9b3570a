//! `jifen orders` and `jifen jobs`.

use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn sqlite_asks_the_provider_about_an_order_and_books_what_it_says() {
    asks_the_provider_about_an_order_and_books_what_it_says(Engine::Sqlite).await;
}

#[tokio::test]
async fn postgres_asks_the_provider_about_an_order_and_books_what_it_says() {
    asks_the_provider_about_an_order_and_books_what_it_says(Engine::Postgres).await;
}

async fn asks_the_provider_about_an_order_and_books_what_it_says(engine: Engine) {
    let world = World::on_real_time(engine).await;
    assert_eq!(world.jifen(&["orders", "list"]).await.text(), "none\n");
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    let form = world.alipay_form("10001", "100010090091").await;

    let unpaid = world.jifen(&["orders", "query", id]).await;
    assert!(
        unpaid
            .text()
            .starts_with("the provider says: not paid, still payable\n"),
        "{}",
        unpaid.stdout
    );
    let unseen = world.jifen(&["orders", "query", &form.order_id()]).await;
    assert!(
        unseen
            .text()
            .starts_with("the provider says: the provider has never seen it\n"),
        "{}",
        unseen.stdout
    );

    // Both are paid, and the notifications are lost.
    world.pay_with_wechat("xiaoming", &order).await;
    world.pay_with_alipay(&form).await;
    let paid = world.jifen(&["orders", "query", id]).await;
    assert!(
        paid.text().starts_with("the provider says: paid\n"),
        "{}",
        paid.stdout
    );
    let paid = world
        .jifen_json(&["orders", "query", &form.order_id()])
        .await;
    assert_eq!(
        (&paid["state"], &paid["channel"], &paid["price_fen"]),
        (&json!("delivered"), &json!("alipay_page"), &json!(168))
    );
    assert_eq!(world.points(&token).await, 100);

    let shown = world.jifen_json(&["orders", "show", id]).await;
    assert_eq!(
        (&shown["id"], &shown["state"], &shown["channel"]),
        (&json!(id), &json!("delivered"), &json!("wechat_jsapi"))
    );
    assert!(
        shown["paid_at"].is_string()
            && shown["transaction_id"].is_string()
            && shown["paid_after_close"] == false,
        "{shown}"
    );
    let listed = world
        .jifen_json(&["orders", "list", "--state", "delivered"])
        .await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(
        world
            .jifen_json(&["orders", "list", "--state", "waiting"])
            .await,
        json!([])
    );
    assert_eq!(
        world
            .jifen_json(&["orders", "list", "--most", "1"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let table = world.jifen(&["orders", "list"]).await;
    assert!(
        table.text().starts_with("ORDER ") && table.stdout.contains(id),
        "{}",
        table.stdout
    );
    world.assert_audit_is_clean().await;
}

#[tokio::test]
async fn money_that_fits_no_order_is_listed() {
    let world = World::start(Engine::Sqlite).await;
    assert_eq!(world.jifen(&["orders", "incidents"]).await.text(), "none\n");
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    for _ in 0..2 {
        let forged = json!({ "out_trade_no": order["orderId"], "amount_fen": 1, "transaction_id": "4200001" });
        world.sandbox_post("/wechat-pay/notify", &forged).await;
    }
    let incidents = world.jifen_json(&["orders", "incidents"]).await;
    let incident = &incidents[0];
    assert_eq!(
        (
            &incident["order"],
            &incident["transaction_id"],
            &incident["times"]
        ),
        (&order["orderId"], &json!("4200001"), &json!(2))
    );
    assert!(
        incident["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("costs")),
        "{incident}"
    );
    assert!(
        world
            .jifen(&["orders", "incidents"])
            .await
            .text()
            .contains("4200001")
    );
}

#[tokio::test]
async fn what_cannot_be_asked_about_an_order_is_told() {
    let world = World::start(Engine::Sqlite).await;
    for (arguments, reason) in [
        (vec!["orders", "show", "unknown"], "no such order"),
        (vec!["orders", "query", "unknown"], "no such order"),
        (
            vec!["orders", "list", "--state", "paid"],
            "\"paid\" is no state of an order",
        ),
        (vec!["orders", "list", "--most", "0"], "1..=1000"),
        (vec!["orders", "list", "--most", "1001"], "1..=1000"),
        (vec!["orders", "show"], "ID"),
    ] {
        let ran = world.jifen(&arguments).await;
        assert!(
            ran.error().contains(reason),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    let form = world.alipay_form("10001", "100001").await;
    let down = world
        .jifen_with(
            &[("JIFEN__SANDBOX__LISTEN", "127.0.0.1:9")],
            &["orders", "query", &form.order_id()],
        )
        .await;
    assert_eq!(down.code, 1);
    assert!(
        down.stderr
            .contains("\nerror: Alipay failed: no connection to Alipay\n"),
        "{}",
        down.stderr
    );
}

#[tokio::test]
async fn work_that_was_given_up_is_listed_with_its_error() {
    let world = World::start(Engine::Sqlite).await;
    assert_eq!(world.jifen(&["jobs"]).await.text(), "none\n");
    let values = "'send_mail', 'x', '{}', 0, 10, 'the server said \u{1b}[31mno', 1768449600000000";
    world.raw(&format!("INSERT INTO jobs (kind, subject, payload, run_at, attempts, last_error, failed_at) VALUES ({values})")).await;
    let listed: Value = world.jifen_json(&["jobs"]).await;
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["failed_at"]),
        (&json!("send_mail"), &json!("2026-01-15T04:00:00Z"))
    );
    let table = world.jifen(&["jobs"]).await;
    assert!(
        table.text().contains("the server said \u{fffd}[31mno"),
        "nothing steers the terminal: {}",
        table.stdout
    );
}
