//! The mall document, letter for letter: what each URL answers, and what it refuses.

mod api_keys;
mod auth;
mod authority;
mod bad_bodies;
mod bad_queries;
mod every_answer;
mod histories;
mod points;
mod profile;
mod refresh;
mod system;
mod user;

use jifen_domain::UserId;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Answer, Request, Token, World};

/// Every URL that needs a session, with a body that would be carried out.
const NEEDS_SESSION: [(&str, &str, &str); 13] = [
    ("GET", "/api/v1/user/info", ""),
    ("POST", "/api/v1/user/bind-phone", r#"{"code":"x"}"#),
    (
        "POST",
        "/api/v1/user/bind-email",
        r#"{"email":"li@example.com"}"#,
    ),
    ("POST", "/api/v1/user/confirm-email", r#"{"code":"123456"}"#),
    ("GET", "/api/v1/points/packages", ""),
    (
        "POST",
        "/api/v1/points/create-order",
        r#"{"packageId":"100001"}"#,
    ),
    ("GET", "/api/v1/points/check-payment?orderId=x", ""),
    ("GET", "/api/v1/points/purchase-history", ""),
    ("GET", "/api/v1/points/consumption-history", ""),
    ("GET", "/api/v1/api-keys", ""),
    ("POST", "/api/v1/api-keys/create", r#"{"name":"key"}"#),
    ("POST", "/api/v1/api-keys/delete", r#"{"id":"x"}"#),
    (
        "POST",
        "/api/v1/api-keys/update-status",
        r#"{"id":"x","status":"active"}"#,
    ),
];

/// What is answered to somebody without a session.
const NOT_LOGGED_IN: &str = "未登录，请先登录";
/// What is answered to a session that no longer counts.
const LOGIN_EXPIRED: &str = "未登录或登录已过期，请重新登录";

/// A request that was carried out is answered with exactly this data.
#[track_caller]
fn assert_success(answer: &Answer, data: &Value) {
    let envelope = json!({ "code": 0, "message": "success", "data": data });
    assert_eq!(
        (answer.status, &answer.body),
        (200, &envelope),
        "{}",
        answer.text
    );
}

/// A refusal is exactly this envelope, and its code is the HTTP status.
#[track_caller]
fn assert_refused(answer: &Answer, code: u16, message: &str) {
    let envelope = json!({ "code": code, "message": message, "data": null });
    assert_eq!(
        (answer.status, &answer.body),
        (code, &envelope),
        "{}",
        answer.text
    );
}

/// Everything that a refused request must leave as it is: the caller's, and how much there is of everybody's.
async fn everything(world: &World, token: &Token) -> Value {
    let orders = world.app.list_orders(None, 1_000).await.unwrap().len();
    let users = world.app.list_users(UserId(0), 1_000).await.unwrap().len();
    let mut everything = json!({ "orders": orders, "users": users });
    for path in [
        "/user/info",
        "/points/purchase-history",
        "/points/consumption-history",
        "/api-keys",
    ] {
        let answer = world
            .get(&format!("/api/v1{path}"))
            .token(token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        everything[path] = answer.body;
    }
    everything
}

/// Sends all at once and returns the answers.
async fn all_at_once(requests: impl IntoIterator<Item = Request>) -> Vec<Answer> {
    let mut running = JoinSet::new();
    for request in requests {
        running.spawn(request.send());
    }
    running.join_all().await
}

/// Logs in, buys the package and pays for it.
async fn buy(world: &World, person: &str, package: &str) -> (Token, String) {
    let token = world.log_in(person).await;
    let order = world.create_order(&token, package).await;
    world.pay_with_wechat(person, &order).await;
    world.deliver_notifications().await;
    (token, text(&order["orderId"]))
}

/// Requests that a provider has received at a path, as `METHOD path`.
async fn received(world: &World, provider: &str, wanted: impl Fn(&str) -> bool) -> usize {
    let exchanges = world
        .sandbox_get(&format!("/exchanges?provider={provider}&count=500"))
        .await;
    let received = exchanges
        .as_array()
        .unwrap()
        .iter()
        .filter(|exchange| exchange["direction"] == "received");
    let requests = received.map(|exchange| {
        format!(
            "{} {}",
            text(&exchange["method"]),
            text(&exchange["target"])
        )
    });
    requests
        .filter(|request| wanted(request.split('?').next().unwrap()))
        .count()
}

#[track_caller]
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}
