//! The same proxies with the mall itself behind them: what a call costs is really taken, once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{Request, Response};
use jifen_app::operator::Gift;
use jifen_domain::UserId;
use jifen_store::Engine;
use serde_json::{Value, json};

use super::api::Api;
use super::price;
use super::proxy::{Kind, Proxy, Wiring};
use super::wire::{free_address, header, serve};
use crate::world::{Answer, Token, World};

on_each_proxy!(
    a_call_is_charged_to_the_holder_of_the_key,
    a_refused_caller_learns_why_and_does_not_reach_the_api,
    refusals_stay_refusals_where_the_operator_chose_open,
    a_gateway_with_a_wrong_credential_lets_nobody_in,
    a_lost_answer_of_the_mall_is_asked_for_again_and_charged_once,
    a_call_that_failed_is_paid_back,
);

/// How long points may take to come back before a test gives up.
const REFUND_TIMEOUT: Duration = Duration::from_secs(10);

/// The mall, a person with a key and 18 points, and a proxy before an API that costs 5.
struct Shop {
    world: World,
    person: Token,
    key: (String, String),
    api: Api,
    proxy: Proxy,
    credential: Token,
}

/// What an operator may set otherwise.
#[derive(Default)]
struct Setting {
    is_open: bool,
    credential: Option<&'static str>,
}

impl Shop {
    /// `way` says by which addresses the proxy reaches the mall.
    async fn open<W>(kind: Kind, way: impl FnOnce(SocketAddr) -> W) -> Self
    where
        W: Future<Output = [SocketAddr; 2]>,
    {
        Self::open_with(kind, way, Setting::default()).await
    }

    async fn open_with<W>(kind: Kind, way: impl FnOnce(SocketAddr) -> W, setting: Setting) -> Self
    where
        W: Future<Output = [SocketAddr; 2]>,
    {
        let world = World::start(Engine::Sqlite).await;
        price(&world, "POST /v1/ocr", 5).await;
        let login = world.log_in_answer("xiaoming").await;
        let person = Token(login["data"]["token"].as_str().unwrap().to_owned());
        let gift = Gift {
            user: UserId::parse(login["data"]["userInfo"]["userId"].as_str().unwrap()).unwrap(),
            points: 18,
            validity_days: None,
            reason: "a gift".to_owned(),
            key: None,
        };
        world.app.give_points(&gift).await.unwrap();
        let key = world.api_key(&person, "scanner").await;
        let api = Api::start().await;
        let credential = world.gateway().await;
        let mall = world.mall.strip_prefix("http://").unwrap();
        let wiring = Wiring {
            jifen: way(mall.parse().unwrap()).await,
            api: api.address,
            credential: setting.credential.unwrap_or(&credential.0),
            is_open: setting.is_open,
        };
        Self {
            proxy: Proxy::start(kind, &wiring).await,
            world,
            person,
            key,
            api,
            credential,
        }
    }

    async fn call(&self, key: &str) -> Answer {
        self.call_path(key, "/v1/ocr?lang=zh").await
    }

    async fn call_path(&self, key: &str, path: &str) -> Answer {
        let proxy = format!("http://{}", self.proxy.address);
        let request = self.world.request_at(&proxy, "POST", path);
        request
            .header("x-api-key", key)
            .header("accept-language", "en")
            .send()
            .await
    }

    /// Another key of the person: its secret.
    async fn new_key(&self, body: &Value) -> String {
        let request = self.world.post("/api/v2/api-keys", body);
        let answer = request.token(&self.person).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body["secret"].as_str().unwrap().to_owned()
    }

    async fn switch_off(&self) {
        let off = json!({ "id": self.key.0, "status": "inactive" });
        let off = self.world.post("/api/v1/api-keys/update-status", &off);
        assert_eq!(off.token(&self.person).send().await.status, 200);
    }

    async fn points(&self) -> i64 {
        self.world.points(&self.person).await
    }

    /// Ids of the charges in the person's history, the newest first.
    async fn charges(&self) -> Vec<String> {
        let history = self.world.get("/api/v1/points/consumption-history");
        let history = history.token(&self.person).send().await;
        let charges = history.body["data"]["list"].as_array().unwrap().clone();
        let ids = charges.iter().map(|charge| charge["id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }
}

async fn straight(mall: SocketAddr) -> [SocketAddr; 2] {
    [mall, mall]
}

async fn a_call_is_charged_to_the_holder_of_the_key(kind: Kind) {
    let shop = Shop::open(kind, straight).await;
    let before = shop.points().await;
    for calls in 1..=2 {
        let answer = shop.call(&shop.key.1).await;
        assert_eq!(answer.status, 200, "{answer:?}\n{}", shop.proxy.log());
        assert_eq!(shop.points().await, before - 5 * calls);
        let seen = shop.api.take_seen().remove(0);
        let balance = (before - 5 * calls).to_string();
        assert_eq!(header(&seen, "x-jifen-key"), shop.key.0);
        assert_eq!(header(&seen, "x-jifen-points"), "5");
        assert_eq!(header(&seen, "x-jifen-balance"), balance);
        assert_eq!(header(&seen, "x-jifen-charge"), shop.charges().await[0]);
    }
    assert_eq!(shop.charges().await.len(), 2);
    shop.world.assert_audit_is_clean().await;
}

async fn a_refused_caller_learns_why_and_does_not_reach_the_api(kind: Kind) {
    let shop = Shop::open(kind, straight).await;
    let refused = async |key: &str, path: &str, status: u16, code: &str, limit: &str| {
        let answer = shop.call_path(key, path).await;
        let told = (
            answer.status,
            answer.header("x-jifen-reason"),
            answer.header("content-type"),
            answer.body["code"].as_str().unwrap_or_default(),
        );
        let expected = (status, code, "application/problem+json", code);
        assert_eq!(told, expected, "{answer:?}\n{}", shop.proxy.log());
        assert_eq!(answer.header("x-jifen-limit"), limit, "{answer:?}");
        assert_eq!(answer.header("x-jifen-status"), "", "nginx's own affair");
        assert!(shop.api.take_seen().is_empty());
        answer
    };
    let answer = refused(
        "jf_live_nonsense",
        "/v1/ocr",
        401,
        "unknown_api_key",
        "unknown",
    )
    .await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let key = shop.key.1.as_str();
    refused(key, "/v1/unpriced", 422, "unknown_route", "").await;

    let capped = shop
        .new_key(&json!({ "name": "capped", "dailyCap": 4 }))
        .await;
    let answer = refused(&capped, "/v1/ocr", 402, "key_cap_reached", "key_cap").await;
    assert_eq!(answer.header("x-jifen-balance"), "18");
    let hurried = json!({ "name": "hurried", "rateLimit": { "requests": 1, "seconds": 60 } });
    let hurried = shop.new_key(&hurried).await;
    let allowed = shop.call(&hurried).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert!(allowed.header("ratelimit").starts_with("\"key\";r=0;t="));
    assert_eq!(allowed.header("ratelimit-policy"), "\"key\";q=1;w=60");
    assert_eq!(shop.api.take_seen().len(), 1);
    let answer = refused(&hurried, "/v1/ocr", 429, "too_many_requests", "rate").await;
    assert_eq!(answer.header("retry-after"), "60");

    for _ in 0..2 {
        assert_eq!(shop.call(key).await.status, 200);
    }
    assert_eq!(shop.api.take_seen().len(), 2);
    let answer = refused(key, "/v1/ocr", 402, "insufficient_points", "balance").await;
    assert_eq!(answer.header("x-jifen-balance"), "3");
    assert_eq!(answer.body["balance"], 3);

    shop.switch_off().await;
    refused(key, "/v1/ocr", 403, "api_key_not_usable", "inactive").await;
}

/// Open is for a Jifen that is down.
async fn refusals_stay_refusals_where_the_operator_chose_open(kind: Kind) {
    let open = Setting {
        is_open: true,
        ..Setting::default()
    };
    let shop = Shop::open_with(kind, straight, open).await;
    for (key, status) in [("jf_live_nonsense", 401), (&shop.key.1, 200)] {
        assert_eq!(shop.call(key).await.status, status, "{}", shop.proxy.log());
    }
    assert_eq!(
        shop.call_path(&shop.key.1, "/v1/unpriced").await.status,
        422
    );
    shop.switch_off().await;
    assert_eq!(shop.call(&shop.key.1).await.status, 403);
    assert_eq!(shop.api.take_seen().len(), 1);
}

async fn a_gateway_with_a_wrong_credential_lets_nobody_in(kind: Kind) {
    let wrong = Setting {
        is_open: true,
        credential: Some("sk_revoked"),
    };
    let shop = Shop::open_with(kind, straight, wrong).await;
    let answer = shop.call(&shop.key.1).await;
    let told = (answer.status, answer.header("x-jifen-reason"));
    assert_eq!(told, (403, "gateway_not_authorized"), "{answer:?}");
    assert!(shop.api.take_seen().is_empty());
}

async fn a_lost_answer_of_the_mall_is_asked_for_again_and_charged_once(kind: Kind) {
    let shop = Shop::open(kind, with_a_bad_line).await;
    let before = shop.points().await;
    let answer = shop.call(&shop.key.1).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", shop.proxy.log());
    assert_eq!(shop.points().await, before - 5);
    let seen = shop.api.take_seen().remove(0);
    assert_eq!(shop.charges().await, [header(&seen, "x-jifen-charge")]);
}

/// nginx and `HAProxy` see to it; behind Caddy the API does, with what it was told.
async fn a_call_that_failed_is_paid_back(kind: Kind) {
    let shop = Shop::open(kind, straight).await;
    price(&shop.world, "* /*", 5).await;
    let before = shop.points().await;
    let answer = shop.call_path(&shop.key.1, "/answers-500").await;
    assert_eq!((answer.status, answer.text.as_str()), (500, "served"));
    let seen = shop.api.take_seen().remove(0);
    if kind == Kind::Caddy {
        assert_eq!(shop.points().await, before - 5);
        let body =
            json!({ "chargeId": header(&seen, "x-jifen-charge"), "reason": "upstream failed" });
        let refund = shop.world.post("/api/v2/metering/refunds", &body);
        let refund = refund.token(&shop.credential);
        let name = format!("refund-{}", header(&seen, "x-request-id"));
        let answer = refund.header("idempotency-key", &name).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let paid_back = async { while shop.points().await != before {} };
    let in_time = tokio::time::timeout(REFUND_TIMEOUT, paid_back).await;
    assert!(in_time.is_ok(), "{}", shop.proxy.log());
    shop.world.assert_audit_is_clean().await;
}

/// The first address leads to the mall over a line that breaks once, when the mall has answered.
async fn with_a_bad_line(mall: SocketAddr) -> [SocketAddr; 2] {
    let line = free_address();
    let has_broken = Arc::new(AtomicBool::new(false));
    let http = jifen::instance::outgoing_client().unwrap();
    serve(line, move |request| {
        let (http, has_broken) = (http.clone(), has_broken.clone());
        async move {
            let answer = pass_on(&http, mall, request).await;
            has_broken.swap(true, Ordering::SeqCst).then_some(answer)
        }
    })
    .await;
    [line, mall]
}

async fn pass_on(
    http: &reqwest::Client,
    mall: SocketAddr,
    request: Request<String>,
) -> Response<String> {
    let (parts, body) = request.into_parts();
    let answer = http
        .request(parts.method, format!("http://{mall}{}", parts.uri))
        .headers(parts.headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut response = Response::builder().status(answer.status());
    let headers = answer.headers().iter();
    for (name, value) in headers.filter(|(name, _)| *name != "content-length") {
        response = response.header(name, value);
    }
    response.body(answer.text().await.unwrap()).unwrap()
}
