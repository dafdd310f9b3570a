//! `/api/v2/metering/authorize` itself, asked as proxies ask.

use jifen_app::operator::Gift;
use jifen_domain::UserId;
use jifen_domain::key::Scope;
use serde_json::{Value, json};

use super::price;
use crate::world::{Answer, Request, Token, World, on_both_engines, on_sqlite};

const AUTHORIZE: &str = "/api/v2/metering/authorize";

on_both_engines!(
    a_call_is_charged_and_the_gateway_told_whose_it_is,
    a_question_asked_again_is_charged_once,
);

on_sqlite!(
    a_refusal_says_why_in_the_callers_language,
    nginx_hears_only_statuses_it_knows,
    envoy_asks_with_the_call_itself,
    no_method_passes_unasked,
    a_bound_key_is_held_against_what_the_gateway_says,
    units_are_the_gateways,
    a_gateway_that_may_not_ask_lets_nobody_in,
    a_header_that_stands_twice_is_refused,
);

/// A person with 100 points, a key, and a gateway to an API whose route costs 5 for each unit.
struct Shop {
    world: World,
    person: Token,
    user: UserId,
    key: (String, String),
    gateway: Token,
}

impl Shop {
    async fn open(world: World) -> Self {
        let login = world.log_in_answer("xiaoming").await;
        let person = Token(login["data"]["token"].as_str().unwrap().to_owned());
        let user = UserId::parse(login["data"]["userInfo"]["userId"].as_str().unwrap()).unwrap();
        let gift = Gift {
            user,
            points: 100,
            validity_days: None,
            reason: "a gift".to_owned(),
            key: None,
        };
        world.app.give_points(&gift).await.unwrap();
        price(&world, "POST /v1/ocr", 5).await;
        Self {
            key: world.api_key(&person, "scanner").await,
            gateway: world.gateway().await,
            world,
            person,
            user,
        }
    }

    /// A question of the gateway, as yet without a caller.
    fn question(&self, path: &str) -> Request {
        let request = self.world.get(&format!("{AUTHORIZE}{path}"));
        request.header("x-jifen-credential", &self.gateway.0)
    }

    /// About a call with the person's key.
    fn ask(&self) -> Request {
        let question = self.question("").token(&Token(self.key.1.clone()));
        called(question, "/v1/ocr?pages=2")
    }

    async fn points(&self) -> i64 {
        self.world.points(&self.person).await
    }

    /// Another key of the person, and its secret.
    async fn bound_key(&self, body: &Value) -> Token {
        let request = self.world.post("/api/v2/api-keys", body);
        let answer = request.token(&self.person).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Token(answer.body["secret"].as_str().unwrap().to_owned())
    }
}

fn called(question: Request, uri: &str) -> Request {
    question
        .header("x-forwarded-method", "POST")
        .header("x-forwarded-uri", uri)
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let told = (answer.status, answer.header("x-jifen-reason"));
    assert_eq!(told, (status, code), "{answer:?}");
    assert_eq!(answer.body["code"], code);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-jifen-charge"), "");
}

async fn a_call_is_charged_and_the_gateway_told_whose_it_is(world: World) {
    let shop = Shop::open(world).await;
    let answer = shop.ask().header("x-request-id", "r-1").send().await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (200, ""),
        "{answer:?}"
    );
    let history = shop.world.get("/api/v1/points/consumption-history");
    let history = history.token(&shop.person).send().await;
    let charge = history.body["data"]["list"][0]["id"].as_str().unwrap();
    for (name, value) in [
        ("x-jifen-user", shop.user.to_string().as_str()),
        ("x-jifen-key", &shop.key.0),
        ("x-jifen-charge", charge),
        ("x-jifen-points", "5"),
        ("x-jifen-balance", "95"),
        ("x-jifen-reason", ""),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(shop.points().await, 95);
    shop.world.assert_audit_is_clean().await;
}

async fn a_question_asked_again_is_charged_once(world: World) {
    let shop = Shop::open(world).await;
    let first = shop.ask().header("x-request-id", "r-1").send().await;
    let again = shop.ask().header("x-request-id", "r-1").send().await;
    assert_eq!((first.status, again.status), (200, 200), "{again:?}");
    assert_eq!(first.header("idempotency-hit"), "");
    assert_eq!(again.header("idempotency-hit"), "true");
    assert_eq!(
        first.header("x-jifen-charge"),
        again.header("x-jifen-charge")
    );
    assert_eq!(shop.points().await, 95);

    let (one, other) = (shop.ask().send().await, shop.ask().send().await);
    assert_ne!(one.header("x-jifen-charge"), other.header("x-jifen-charge"));
    assert_eq!(shop.points().await, 85, "without an id each is for itself");
}

async fn a_refusal_says_why_in_the_callers_language(world: World) {
    let shop = Shop::open(world).await;
    let nobody = called(shop.question(""), "/v1/ocr").send().await;
    assert_refused(&nobody, 401, "unknown_api_key");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    assert_eq!(nobody.header("x-jifen-limit"), "unknown");
    assert!(
        nobody.body["detail"]
            .as_str()
            .unwrap()
            .contains("需要有效的"),
        "{nobody:?}"
    );
    let stranger = shop.question("").header("x-api-key", "jf_live_nonsense");
    let stranger = called(stranger, "/v1/ocr").send().await;
    assert_refused(&stranger, 401, "unknown_api_key");

    for path in ["/v1/unpriced", "/v1/../v1/ocr", "//v1/ocr", "/v1%2Focr"] {
        let question = shop.question("").token(&Token(shop.key.1.clone()));
        let answer = called(question, path).send().await;
        assert_refused(&answer, 422, "unknown_route");
    }

    let many = shop.ask().header("x-jifen-units", "20");
    assert_eq!(many.send().await.status, 200);
    let poor = shop.ask().header("accept-language", "en").send().await;
    assert_refused(&poor, 402, "insufficient_points");
    assert_eq!(poor.header("x-jifen-limit"), "balance");
    assert_eq!(poor.header("x-jifen-balance"), "0");
    assert_eq!(
        poor.body["detail"],
        "not enough points: 0 left, buy more first"
    );

    let off = json!({ "id": shop.key.0, "status": "inactive" });
    let off = shop.world.post("/api/v1/api-keys/update-status", &off);
    assert_eq!(off.token(&shop.person).send().await.status, 200);
    let answer = shop.ask().send().await;
    assert_refused(&answer, 403, "api_key_not_usable");
    assert_eq!(answer.header("x-jifen-limit"), "inactive");
}

async fn nginx_hears_only_statuses_it_knows(world: World) {
    let shop = Shop::open(world).await;
    let hasty = json!({ "name": "hasty", "rateLimit": { "requests": 1, "seconds": 60 } });
    let hasty = shop.bound_key(&hasty).await;
    let ask = |key: &Token, uri: &str, units: &str| {
        let question = shop.question("?for=nginx").token(key);
        question
            .header("x-original-method", "POST")
            .header("x-original-uri", uri)
            // The caller's, which nginx passes on.
            .header("x-forwarded-uri", "/free")
            .header("x-jifen-units", units)
    };
    let mine = Token(shop.key.1.clone());
    let allowed = ask(&hasty, "/v1/ocr", "1").send().await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert!(
        allowed.header("ratelimit").starts_with("\"key\";r=0;t="),
        "{allowed:?}"
    );
    for (key, uri, units, status, code) in [
        (&mine, "/v1/ocr", "99", "402", "insufficient_points"),
        (&mine, "/v1/unpriced", "1", "422", "unknown_route"),
        (&hasty, "/v1/ocr", "1", "429", "too_many_requests"),
    ] {
        let answer = ask(key, uri, units).send().await;
        assert_refused(&answer, 403, code);
        assert_eq!(answer.header("x-jifen-status"), status);
        assert_eq!(answer.header("retry-after").is_empty(), status != "429");
    }
    for uri in ["/v1/ocr#x", "/v1/ocr#/../free", "/v1/ocr#x?a=b"] {
        let answer = ask(&mine, uri, "1").send().await;
        assert_refused(&answer, 403, "unknown_route");
        assert_eq!(answer.header("x-jifen-status"), "422");
    }
    let stranger = Token("jf_live_nonsense".to_owned());
    let answer = ask(&stranger, "/v1/ocr", "1").send().await;
    assert_refused(&answer, 401, "unknown_api_key");
    assert_eq!(answer.header("x-jifen-status"), "");
}

async fn envoy_asks_with_the_call_itself(world: World) {
    let shop = Shop::open(world).await;
    price(&shop.world, "PATCH /v1/pages/*", 7).await;
    let path = format!("{AUTHORIZE}/v1/pages/3?for=nginx");
    let question = shop.world.request("PATCH", &path);
    let question = question
        .header("x-jifen-credential", &shop.gateway.0)
        .header("x-api-key", &shop.key.1);
    let answer = called(question, "/v1/ocr").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-jifen-points"), "7");
}

/// CORS answers OPTIONS with 200 wherever it stands; a gateway would take that for leave to pass.
async fn no_method_passes_unasked(world: World) {
    let shop = Shop::open(world).await;
    for method in ["OPTIONS", "HEAD", "GET", "PUT", "DELETE", "PURGE"] {
        let request = shop.world.request(method, &format!("{AUTHORIZE}/v1/ocr"));
        let answer = request
            .header("origin", "https://www.example.com")
            .header("access-control-request-method", "POST")
            .header("x-jifen-credential", &shop.gateway.0)
            .header("x-api-key", &shop.key.1)
            .send()
            .await;
        let told = (answer.status, answer.header("x-jifen-reason"));
        assert_eq!(
            told,
            (422, "unknown_route"),
            "{method}: only POST has a price"
        );
    }
    assert_eq!(shop.points().await, 100);
}

async fn a_bound_key_is_held_against_what_the_gateway_says(world: World) {
    let shop = Shop::open(world).await;
    let body = json!({ "name": "bound", "ipRanges": ["192.0.2.0/24"], "scopes": ["POST /v1/ocr"] });
    let key = shop.bound_key(&body).await;
    price(&shop.world, "POST /v1/other", 5).await;
    for (uri, ip, limit) in [
        ("/v1/ocr", ("x-real-ip", "192.0.2.9"), ""),
        (
            "/v1/ocr",
            ("x-forwarded-for", "198.51.100.1, 192.0.2.9"),
            "",
        ),
        ("/v1/ocr", ("x-real-ip", "198.51.100.1"), "ip"),
        (
            "/v1/ocr",
            ("x-forwarded-for", "192.0.2.9, 198.51.100.1"),
            "ip",
        ),
        ("/v1/other", ("x-real-ip", "192.0.2.9"), "scope"),
    ] {
        let question = called(shop.question("").token(&key), uri);
        let answer = question.header(ip.0, ip.1).send().await;
        if limit.is_empty() {
            assert_eq!(answer.status, 200, "{ip:?}: {answer:?}");
        } else {
            assert_refused(&answer, 403, "api_key_not_usable");
        }
        assert_eq!(answer.header("x-jifen-limit"), limit, "{uri} {ip:?}");
    }
}

async fn units_are_the_gateways(world: World) {
    let shop = Shop::open(world).await;
    let answer = shop.ask().header("x-jifen-units", "3").send().await;
    assert_eq!(answer.header("x-jifen-points"), "15", "{answer:?}");
    for nonsense in ["-1", "1.5", "many", ""] {
        let answer = shop.ask().header("x-jifen-units", nonsense).send().await;
        assert_refused(&answer, 403, "gateway_misconfigured");
    }
}

/// Never 401, which callers would take for their own, and never 5xx, which an open gateway lets pass.
async fn a_gateway_that_may_not_ask_lets_nobody_in(world: World) {
    let shop = Shop::open(world).await;
    let scopes = [Scope::Verify, Scope::Refund].into_iter().collect();
    let limited = shop
        .world
        .app
        .create_limited_credential("other", scopes, None);
    let (_, limited) = limited.await.unwrap();
    for credential in [None, Some("sk_nonsense"), Some(limited.as_str())] {
        let question = shop.world.get(AUTHORIZE).token(&Token(shop.key.1.clone()));
        let mut question = called(question, "/v1/ocr");
        if let Some(credential) = credential {
            question = question.header("x-jifen-credential", credential);
        }
        let answer = question.send().await;
        assert_refused(&answer, 403, "gateway_not_authorized");
    }
    assert_eq!(shop.points().await, 100);
}

/// The second would be the caller's own.
async fn a_header_that_stands_twice_is_refused(world: World) {
    let shop = Shop::open(world).await;
    for name in [
        "x-jifen-credential",
        "x-forwarded-method",
        "x-forwarded-uri",
    ] {
        let answer = shop.ask().header(name, "POST").send().await;
        assert_refused(&answer, 403, "gateway_misconfigured");
    }
    for name in ["x-jifen-units", "x-request-id", "x-real-ip"] {
        let answer = shop.ask().header(name, "1").header(name, "1").send().await;
        assert_refused(&answer, 403, "gateway_misconfigured");
    }
    let missing = shop
        .question("")
        .token(&Token(shop.key.1.clone()))
        .send()
        .await;
    assert_refused(&missing, 403, "gateway_misconfigured");
}
