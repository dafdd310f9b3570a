//! What one node changes, another refuses as soon as it hears of it. The clock stands still, so nothing that a node
//! remembers gets too old by itself.

use std::time::{Duration, Instant};

use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::{Answer, Token, World};

const HEARING_TIME_MAX: Duration = Duration::from_secs(30);

/// Somebody with points and a key, known to another node.
struct Shop {
    world: World,
    other: String,
    token: Token,
    gateway: Token,
    key_id: String,
    key: String,
    charges: u32,
}

impl Shop {
    async fn open() -> Self {
        let world = World::start(Engine::Postgres).await;
        let other = world.another_node().await;
        let token = world.log_in("xiaoming").await;
        let order = world.create_order(&token, "100001").await;
        world.pay_with_wechat("xiaoming", &order).await;
        world.deliver_notifications().await;
        let (key_id, key) = world.api_key(&token, "k").await;
        let gateway = world.gateway().await;
        let mut shop = Self {
            world,
            other,
            token,
            gateway,
            key_id,
            key,
            charges: 0,
        };
        let charged = shop.charge_elsewhere().await;
        assert_eq!(charged.status, 200, "{}", charged.text);
        shop
    }

    /// A charge at the other node.
    async fn charge_elsewhere(&mut self) -> Answer {
        self.charges += 1;
        let body = json!({ "apiKey": self.key, "points": 1, "title": "OCR" });
        self.world
            .post_to(&self.other, "/api/v2/metering/charges", &body)
            .token(&self.gateway)
            .header("idempotency-key", &self.charges.to_string())
            .send()
            .await
    }

    async fn change(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/api/v2/api-keys/{}{path}", self.key_id);
        let request = self.world.request(method, &path).body(&body.to_string());
        let answer = request.token(&self.token).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    /// Until the other node has heard of it, and then always.
    async fn assert_is_refused_elsewhere(&mut self, status: u16, code: &str, limit: &str) {
        let began = Instant::now();
        let refused = loop {
            let answer = self.charge_elsewhere().await;
            if answer.status != 200 {
                break answer;
            }
            assert!(began.elapsed() < HEARING_TIME_MAX, "it has not heard of it");
        };
        for refused in [refused, self.charge_elsewhere().await] {
            let text = |field: &str| refused.body[field].as_str().unwrap_or_default();
            let found = (refused.status, text("code"), text("limit"));
            assert_eq!(found, (status, code, limit), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn a_key_that_was_switched_off() {
    let mut shop = Shop::open().await;
    shop.change("PATCH", "", &json!({ "active": false })).await;
    shop.assert_is_refused_elsewhere(403, "api_key_not_usable", "inactive")
        .await;
}

#[tokio::test]
async fn the_old_secret_of_a_key_that_was_rotated() {
    let mut shop = Shop::open().await;
    let rotated = shop
        .change("POST", "/rotate", &json!({ "graceSeconds": 0 }))
        .await;
    shop.assert_is_refused_elsewhere(422, "unknown_api_key", "unknown")
        .await;
    rotated["secret"]
        .as_str()
        .unwrap()
        .clone_into(&mut shop.key);
    assert_eq!(
        shop.charge_elsewhere().await.status,
        200,
        "the new one is good"
    );
}

#[tokio::test]
async fn a_key_whose_cap_was_set_below_what_it_has_spent() {
    let mut shop = Shop::open().await;
    shop.change("PATCH", "", &json!({ "totalCap": 1 })).await;
    shop.assert_is_refused_elsewhere(402, "key_cap_reached", "key_cap")
        .await;
}

#[tokio::test]
async fn a_gateway_whose_credential_was_revoked() {
    let mut shop = Shop::open().await;
    let credentials = shop.world.app.service_credentials().await.unwrap();
    let revoked = &credentials.last().unwrap().id;
    shop.world
        .app
        .revoke_service_credential(revoked)
        .await
        .unwrap();
    shop.assert_is_refused_elsewhere(401, "unauthenticated", "")
        .await;
}
