//! What gateways call.

mod batch;
mod charges;
mod holds;
mod key_limits;
mod merged;
mod refunds;
mod tariffs;
mod verify;

use jifen_app::operator::Gift;
use jifen_app::{Balance, Paging};
use jifen_domain::tariff::{Rates, RoutePattern, UnitPrice};
use jifen_domain::{Points, UserId};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Answer, Request, Token, World};

pub(crate) const CHARGES: &str = "/api/v2/metering/charges";
pub(crate) const BATCH: &str = "/api/v2/metering/charges/batch";
pub(crate) const HOLDS: &str = "/api/v2/metering/holds";
pub(crate) const REFUNDS: &str = "/api/v2/metering/refunds";
pub(crate) const VERIFY: &str = "/api/v2/metering/verify";

/// A mall in which somebody has points and a key, and a gateway that charges it.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) token: Token,
    pub(crate) user: UserId,
    pub(crate) key_id: String,
    pub(crate) key: String,
    pub(crate) gateway: Token,
}

impl Shop {
    /// With points that never expire, and a key that may do everything.
    pub(crate) async fn new(world: World, points: i64) -> Self {
        Self::with_key(world, points, json!({})).await
    }

    /// With a key that is limited.
    pub(crate) async fn with_key(world: World, points: i64, limits: Value) -> Self {
        let (token, user) = user_of(&world, "xiaoming").await;
        let shop = Self::of(world, token, user, limits).await;
        if points > 0 {
            shop.give(points, None).await;
        }
        shop
    }

    async fn of(world: World, token: Token, user: UserId, limits: Value) -> Self {
        let gateway = world.gateway().await;
        let mut shop = Self {
            world,
            token,
            user,
            key_id: String::new(),
            key: String::new(),
            gateway,
        };
        (shop.key_id, shop.key) = shop.another_key(limits).await;
        shop
    }

    /// Somebody of whom it is not known yet that two records are one person: of the younger, with a key that is limited; and
    /// the older one.
    pub(crate) async fn of_two_records(world: World, limits: Value) -> (Self, (Token, UserId)) {
        let apart = json!({ "unionid_shared": false });
        world.sandbox_patch("/people/xiaohong", &apart).await;
        let older = user_of(&world, "xiaohong").await;
        world.clock.advance_seconds(1);
        let (openid, cookie) = world.web_login("xiaohong").await;
        let token = Token(cookie.strip_prefix("jifen_session=").unwrap().to_owned());
        let user = world.user_of(&openid).await;
        (Self::of(world, token, user, limits).await, older)
    }

    /// It turns out, and the older record goes on.
    pub(crate) async fn become_one(&mut self) {
        let shared = json!({ "unionid_shared": true });
        self.world.sandbox_patch("/people/xiaohong", &shared).await;
        self.world.log_in("xiaohong").await;
        let (openid, _) = self.world.web_login("xiaohong").await;
        let younger = std::mem::replace(&mut self.user, self.world.user_of(&openid).await);
        assert_ne!(self.user, younger);
    }

    /// Another key of the same person: `(id, secret)`.
    pub(crate) async fn another_key(&self, limits: Value) -> (String, String) {
        self.key_of(&self.token, limits).await
    }

    /// A key of somebody: `(id, secret)`.
    pub(crate) async fn key_of(&self, token: &Token, limits: Value) -> (String, String) {
        let mut body = json!({ "name": "my program" });
        merge(&mut body, limits);
        let answer = self.world.post("/api/v2/api-keys", &body).token(token);
        let answer = answer.send().await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// Changes the key.
    pub(crate) async fn change_key(&self, change: Value) {
        let path = format!("/api/v2/api-keys/{}", self.key_id);
        let request = self.world.request("PATCH", &path);
        let answer = request.body(&change.to_string()).token(&self.token);
        let answer = answer.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub(crate) async fn give(&self, points: i64, validity_days: Option<i64>) {
        let gift = Gift {
            user: self.user,
            points,
            validity_days,
            reason: "a gift".to_owned(),
            key: None,
        };
        self.world.app.give_points(&gift).await.unwrap();
    }

    /// Prices a route, from now on: `("POST /v1/chat", 2, "0.8/1000")`.
    pub(crate) async fn tariff(&self, route: &str, points_per_call: i64, per_units: &str) -> i64 {
        self.titled_tariff(route, route, points_per_call, per_units)
            .await
    }

    pub(crate) async fn titled_tariff(
        &self,
        route: &str,
        title: &str,
        points_per_call: i64,
        per_units: &str,
    ) -> i64 {
        let points = |points| Points::new(points).unwrap();
        let unit_price = (!per_units.is_empty()).then(|| UnitPrice::parse(per_units).unwrap());
        let rates = Rates::new(points(points_per_call), unit_price, points(1)).unwrap();
        let pattern = RoutePattern::parse(route).unwrap();
        let tariff = self.world.app.set_tariff(&pattern, title, rates).await;
        tariff.unwrap().id
    }

    pub(crate) fn body(&self, points: i64) -> Value {
        json!({ "apiKey": self.key, "points": points, "title": "OCR" })
    }

    /// The body of a call that its route prices.
    pub(crate) fn call(&self, route: &str, more: Value) -> Value {
        let (method, path) = route.split_once(' ').unwrap();
        let mut body = json!({ "apiKey": self.key, "route": { "method": method, "path": path } });
        merge(&mut body, more);
        body
    }

    /// A request of the gateway with an idempotency key.
    pub(crate) fn request(&self, path: &str, key: &str, body: &Value) -> Request {
        self.world
            .post(path, body)
            .token(&self.gateway)
            .header("idempotency-key", key)
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.request(path, key, body).send().await
    }

    pub(crate) async fn charge(&self, key: &str, points: i64) -> Answer {
        self.post(CHARGES, key, &self.body(points)).await
    }

    /// A charge that succeeds: its id.
    pub(crate) async fn charged(&self, key: &str, points: i64) -> String {
        let answer = self.charge(key, points).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        id(&answer)
    }

    pub(crate) async fn hold(&self, key: &str, points: i64) -> Answer {
        self.post(HOLDS, key, &self.body(points)).await
    }

    /// A hold that succeeds: its id.
    pub(crate) async fn held(&self, key: &str, points: i64) -> String {
        let answer = self.hold(key, points).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        id(&answer)
    }

    pub(crate) async fn capture(&self, hold: &str, points: i64) -> Answer {
        self.on_hold(hold, "capture", &json!({ "points": points }))
            .await
    }

    pub(crate) async fn release(&self, hold: &str) -> Answer {
        self.on_hold(hold, "release", &json!({})).await
    }

    /// What needs no idempotency key.
    pub(crate) async fn on_hold(&self, hold: &str, action: &str, body: &Value) -> Answer {
        let path = format!("{HOLDS}/{hold}/{action}");
        let request = self.world.post(&path, body).token(&self.gateway);
        request.send().await
    }

    pub(crate) async fn extend(&self, hold: &str, key: &str, body: &Value) -> Answer {
        self.post(&format!("{HOLDS}/{hold}/extend"), key, body)
            .await
    }

    /// Of a charge that many points, or, with null, all that is left.
    pub(crate) async fn refund(&self, key: &str, charge: &str, points: Value) -> Answer {
        let body = json!({ "chargeId": charge, "points": points });
        self.post(REFUNDS, key, &body).await
    }

    pub(crate) async fn verify(&self, body: &Value) -> Answer {
        let request = self.world.post(VERIFY, body).token(&self.gateway);
        request.send().await
    }

    /// What the account of the key holds, without counting against the key's rate.
    pub(crate) async fn account(&self) -> Balance {
        let key = self.world.app.find_api_key(&self.key).await.unwrap();
        self.world.app.balance(&key).await.unwrap()
    }

    /// Points that can be spent, points that are held, and charges so far.
    pub(crate) async fn standing(&self) -> (i64, i64, i64) {
        let account = self.account().await;
        let charges = self.history().await;
        (account.available.get(), account.held.get(), charges)
    }

    /// Charges in the holder's history.
    pub(crate) async fn history(&self) -> i64 {
        let paging = Paging { page: 1, size: 1 };
        let history = self.world.app.consumption(self.user, paging).await;
        history.unwrap().total
    }

    /// The work that is done over and over is done, what has expired is swept.
    pub(crate) async fn sweep(&self) {
        self.world.app.ensure_recurring_jobs().await.unwrap();
        self.world.do_jobs().await;
    }

    pub(crate) async fn end(self) {
        self.world.assert_audit_is_clean().await;
    }
}

/// Somebody who logs in from the mini program.
pub(crate) async fn user_of(world: &World, person: &str) -> (Token, UserId) {
    let login = world.log_in_answer(person).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let user = text(&login["data"]["userInfo"]["userId"]);
    (
        Token(text(&login["data"]["token"])),
        UserId::parse(&user).unwrap(),
    )
}

/// Adds the members of an object to another; null takes one away.
pub(crate) fn merge(body: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        unreachable!("an object is merged")
    };
    for (member, value) in more {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(&member);
        } else {
            body[&member] = value;
        }
    }
}

pub(crate) fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

/// RFC 9457, with exactly the members that the interface describes.
#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: u16, code: &str, more: &Value) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, "application/problem+json"),
        "{}",
        answer.text
    );
    assert_problem_body(&answer.body, status, code, more);
}

/// The same of a problem inside another answer.
#[track_caller]
pub(crate) fn assert_problem_body(problem: &Value, status: u16, code: &str, more: &Value) {
    let mut expected = json!({
        "type": format!("urn:jifen:problem:{code}"),
        "title": code.replace('_', " "),
        "status": status,
        "code": code,
        "detail": problem["detail"],
    });
    merge(&mut expected, more.clone());
    assert_eq!(*problem, expected);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
}

#[track_caller]
pub(crate) fn assert_invalid(answer: &Answer, field: &str) {
    assert_problem(answer, 422, "invalid_request", &json!({ "field": field }));
}

#[track_caller]
pub(crate) fn assert_hit(answer: &Answer, first: &Answer) {
    assert_eq!(
        (answer.status, answer.header("idempotency-hit")),
        (200, "true"),
        "{}",
        answer.text
    );
    assert_eq!(answer.text, first.text, "byte for byte");
}

pub(crate) async fn all_at_once(requests: impl IntoIterator<Item = Request>) -> Vec<Answer> {
    let mut running = JoinSet::new();
    for request in requests {
        running.spawn(request.send());
    }
    running.join_all().await
}
