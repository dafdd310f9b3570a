//! What keys may do with which settings, seen by a gateway that charges them.

use jifen_domain::key::{RateLimit, Scopes};
use serde_json::{Value, json};

use super::{KEYS, change, key};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

on_both_engines!(
    a_cap_is_met_exactly,
    a_first_cap_counts_what_was_spent_before,
    a_change_counts_from_the_next_charge_on,
    test_keys_spend_no_real_points,
);

on_sqlite!(
    a_key_with_addresses_is_refused_elsewhere,
    a_key_with_scopes_is_refused_for_other_routes,
    a_key_over_its_rate_is_told_when_to_come_again,
    a_gateway_over_its_rate_is_told_when_to_come_again,
    a_credential_does_what_its_scopes_allow,
    a_proxy_shows_its_credential_in_a_header_of_its_own,
    noise_is_refused_without_asking_the_database,
);

/// A gateway that charges a key of somebody with 100 points.
struct Shop {
    world: World,
    token: Token,
    gateway: Token,
    key_id: String,
    secret: String,
    charges: std::cell::Cell<u32>,
}

impl Shop {
    async fn with_key(world: World, wanted: Value) -> Self {
        let token = world.log_in("xiaoming").await;
        let order = world.create_order(&token, "100001").await;
        world.pay_with_wechat("xiaoming", &order).await;
        world.deliver_notifications().await;
        let mut body = json!({ "name": "k" });
        for (field, value) in wanted.as_object().unwrap() {
            body[field] = value.clone();
        }
        let (key_id, secret) = key(&world, &token, &body).await;
        Self {
            gateway: world.gateway().await,
            charges: std::cell::Cell::new(0),
            world,
            token,
            key_id,
            secret,
        }
    }

    async fn charge(&self, points: i64) -> Answer {
        self.charge_with(points, json!({})).await
    }

    async fn charge_with(&self, points: i64, more: Value) -> Answer {
        self.charge_as(&self.gateway, points, more).await
    }

    async fn charge_as(&self, gateway: &Token, points: i64, more: Value) -> Answer {
        let mut body = json!({ "apiKey": self.secret, "points": points, "title": "OCR" });
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.charges.set(self.charges.get() + 1);
        self.world
            .post("/api/v2/metering/charges", &body)
            .token(gateway)
            .header("idempotency-key", &self.charges.get().to_string())
            .send()
            .await
    }

    async fn change(&self, change_to: Value) {
        let answer = change(&self.world, &self.token, &self.key_id, &change_to).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// What refused a charge: status, code and limit.
fn refusal(answer: &Answer) -> (u16, &str, &str) {
    let text = |field: &str| answer.body[field].as_str().unwrap_or_default();
    (answer.status, text("code"), text("limit"))
}

#[track_caller]
fn assert_charged(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
}

const CAP_REACHED: (u16, &str, &str) = (402, "key_cap_reached", "key_cap");

async fn a_cap_is_met_exactly(world: World) {
    let shop = Shop::with_key(
        world,
        json!({ "dailyCap": 5, "monthlyCap": 8, "totalCap": 12 }),
    )
    .await;
    assert_charged(&shop.charge(3).await);
    let refused = shop.charge(3).await;
    assert_eq!(refusal(&refused), CAP_REACHED);
    assert_eq!(refused.body["balance"], 97);
    assert_charged(&shop.charge(2).await);
    assert_eq!(refusal(&shop.charge(1).await), CAP_REACHED);
    // It was noon; the day in China ends after twelve hours.
    shop.world.clock.advance_seconds(12 * 3_600);
    assert_charged(&shop.charge(3).await);
    assert_eq!(refusal(&shop.charge(1).await), CAP_REACHED, "of the month");
    shop.world.clock.advance_seconds(16 * 86_400);
    assert_charged(&shop.charge(4).await);
    assert_eq!(refusal(&shop.charge(1).await), CAP_REACHED, "of the key");
    shop.world.assert_audit_is_clean().await;
}

async fn a_first_cap_counts_what_was_spent_before(world: World) {
    let shop = Shop::with_key(world, json!({})).await;
    assert_charged(&shop.charge(7).await);
    shop.change(json!({ "dailyCap": 10 })).await;
    assert_eq!(refusal(&shop.charge(4).await), CAP_REACHED);
    assert_charged(&shop.charge(3).await);
    shop.change(json!({ "dailyCap": null })).await;
    assert_charged(&shop.charge(5).await);
    shop.change(json!({ "totalCap": 20 })).await;
    assert_eq!(refusal(&shop.charge(6).await), CAP_REACHED);
    assert_charged(&shop.charge(5).await);
    shop.world.assert_audit_is_clean().await;
}

async fn a_change_counts_from_the_next_charge_on(world: World) {
    const INACTIVE: (u16, &str, &str) = (403, "api_key_not_usable", "inactive");
    let shop = Shop::with_key(world, json!({})).await;
    for _ in 0..3 {
        assert_charged(&shop.charge(1).await);
        shop.change(json!({ "active": false })).await;
        assert_eq!(refusal(&shop.charge(1).await), INACTIVE);
        shop.change(json!({ "active": true })).await;
    }
    shop.change(json!({ "totalCap": 3 })).await;
    assert_eq!(refusal(&shop.charge(1).await), CAP_REACHED);
    shop.change(json!({ "totalCap": 4 })).await;
    assert_charged(&shop.charge(1).await);
    let request = shop
        .world
        .request("DELETE", &format!("{KEYS}/{}", shop.key_id));
    assert_eq!(request.token(&shop.token).send().await.status, 204);
    assert_eq!(
        refusal(&shop.charge(1).await),
        (422, "unknown_api_key", "unknown")
    );
    assert_eq!(shop.world.points(&shop.token).await, 96);
}

async fn test_keys_spend_no_real_points(world: World) {
    let shop = Shop::with_key(world, json!({ "test": true })).await;
    let answer = shop.charge(1).await;
    assert!(
        answer.status == 200 || answer.body["code"] == "insufficient_points",
        "{}",
        answer.text
    );
    assert_eq!(shop.world.points(&shop.token).await, 100);
    shop.world.assert_audit_is_clean().await;
}

async fn a_key_with_addresses_is_refused_elsewhere(world: World) {
    const ELSEWHERE: (u16, &str, &str) = (403, "api_key_not_usable", "ip");
    let wanted = json!({ "ipRanges": ["203.0.113.0/24", "2001:db8::/32"] });
    let shop = Shop::with_key(world, wanted).await;
    for ip in ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1"] {
        assert_charged(&shop.charge_with(1, json!({ "ip": ip })).await);
    }
    for ip in [json!("203.0.114.1"), json!("2001:db9::1"), json!(null)] {
        let answer = shop.charge_with(1, json!({ "ip": ip })).await;
        assert_eq!(refusal(&answer), ELSEWHERE, "{ip}");
    }
}

async fn a_key_with_scopes_is_refused_for_other_routes(world: World) {
    const SCOPE: (u16, &str, &str) = (403, "api_key_not_usable", "scope");
    let wanted = json!({ "scopes": ["POST /v1/ocr", "* /v1/files/*"] });
    let shop = Shop::with_key(world, wanted).await;
    let charge = async |method: &str, path: &str| {
        let route = json!({ "route": { "method": method, "path": path } });
        shop.charge_with(1, route).await
    };
    assert_charged(&charge("POST", "/v1/ocr").await);
    assert_charged(&charge("GET", "/v1/files/7").await);
    for (method, path) in [("GET", "/v1/ocr"), ("POST", "/v1/chat")] {
        assert_eq!(refusal(&charge(method, path).await), SCOPE, "{path}");
    }
    assert_eq!(refusal(&shop.charge(1).await), SCOPE, "no route is told");
}

async fn a_key_over_its_rate_is_told_when_to_come_again(world: World) {
    let wanted = json!({ "rateLimit": { "requests": 2, "seconds": 10 } });
    let shop = Shop::with_key(world, wanted).await;
    for (left, reset) in [(1, 5), (0, 10)] {
        let answer = shop.charge(1).await;
        assert_charged(&answer);
        assert_eq!(
            (
                answer.header("ratelimit"),
                answer.header("ratelimit-policy")
            ),
            (
                format!("\"key\";r={left};t={reset}").as_str(),
                "\"key\";q=2;w=10"
            )
        );
    }
    for _ in 0..3 {
        let refused = shop.charge(1).await;
        assert_eq!(refusal(&refused), (429, "too_many_requests", "rate"));
        assert_eq!(
            (refused.header("retry-after"), &refused.body["balance"]),
            ("5", &json!(98))
        );
    }
    shop.world.clock.advance_seconds(5);
    assert_charged(&shop.charge(1).await);
    assert_eq!(shop.charge(1).await.status, 429);
    assert_eq!(shop.world.points(&shop.token).await, 97);
}

async fn a_gateway_over_its_rate_is_told_when_to_come_again(world: World) {
    let shop = Shop::with_key(world, json!({})).await;
    let (_, secret) = shop
        .world
        .app
        .create_limited_credential("slow", Scopes::all(), RateLimit::new(1, 60))
        .await
        .unwrap();
    let slow = Token(secret);
    let answer = shop.charge_as(&slow, 1, json!({})).await;
    assert_charged(&answer);
    assert_eq!(answer.header("ratelimit"), "\"credential\";r=0;t=60");
    let refused = shop.charge_as(&slow, 1, json!({})).await;
    assert_eq!(refusal(&refused), (429, "too_many_requests", "rate"));
    assert_eq!(refused.header("retry-after"), "60");
    assert_charged(&shop.charge(1).await);
}

async fn a_credential_does_what_its_scopes_allow(world: World) {
    let shop = Shop::with_key(world, json!({})).await;
    for (scopes, status) in [("verify hold refund", 403), ("charge", 200)] {
        let scopes = Scopes::parse(scopes).unwrap();
        let (_, secret) = shop
            .world
            .app
            .create_limited_credential("gateway", scopes, None)
            .await
            .unwrap();
        let answer = shop.charge_as(&Token(secret), 1, json!({})).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        if status == 403 {
            assert_eq!(refusal(&answer).1, "forbidden");
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("charge"), "{detail}");
        }
    }
    assert_eq!(shop.world.points(&shop.token).await, 99);
}

async fn a_proxy_shows_its_credential_in_a_header_of_its_own(world: World) {
    let shop = Shop::with_key(world, json!({})).await;
    let charge = async |credential: &str, authorization: &str| {
        let body = json!({ "apiKey": shop.secret, "points": 1, "title": "OCR" });
        let request = shop
            .world
            .post("/api/v2/metering/charges", &body)
            .header("x-jifen-credential", credential)
            .header("authorization", authorization)
            .header("idempotency-key", "same");
        request.send().await.status
    };
    let own = shop.gateway.0.as_str();
    assert_eq!(charge(own, &format!("Bearer {}", shop.secret)).await, 200);
    assert_eq!(charge(own, "Basic nonsense").await, 200);
    // What a caller writes into Authorization never stands in for the proxy's own.
    assert_eq!(charge("nonsense", &format!("Bearer {own}")).await, 401);
    assert_eq!(charge("", &format!("Bearer {own}")).await, 401);
}

async fn noise_is_refused_without_asking_the_database(world: World) {
    const UNKNOWN: (u16, &str, &str) = (422, "unknown_api_key", "unknown");
    let shop = Shop::with_key(world, json!({})).await;
    let world = &shop.world;
    assert_charged(&shop.charge(1).await);
    // A well-formed secret that was asked about once: nobody's.
    let (id, gone) = key(world, &shop.token, &json!({ "name": "gone" })).await;
    let request = world.request("DELETE", &format!("{KEYS}/{id}"));
    assert_eq!(request.token(&shop.token).send().await.status, 204);
    assert_eq!(
        refusal(&world.charge(&shop.gateway, "gone", &gone, 1).await),
        UNKNOWN
    );
    let (_, new) = key(world, &shop.token, &json!({ "name": "new" })).await;

    // From now on whoever looks a secret up fails.
    world
        .raw("ALTER TABLE api_key_secrets RENAME TO out_of_reach")
        .await;
    let typo = format!(
        "{}{}",
        &shop.secret[..41],
        if shop.secret.ends_with('a') { 'b' } else { 'a' }
    );
    for noise in [
        "x",
        "jf_live_",
        "jf_live_0",
        "sk_0",
        typo.as_str(),
        gone.as_str(),
    ] {
        let answer = world.charge(&shop.gateway, "noise", noise, 1).await;
        assert_eq!(refusal(&answer), UNKNOWN, "{noise}");
    }
    assert_charged(&shop.charge(1).await);
    let looked_up = world.charge(&shop.gateway, "new", &new, 1).await;
    assert_eq!(looked_up.status, 500, "{}", looked_up.text);
    world.clock.advance_seconds(5);
    assert_eq!(shop.charge(1).await.status, 500, "not believed any longer");
}
