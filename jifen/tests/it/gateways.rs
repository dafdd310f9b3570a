//! The ready configurations of `deploy/gateways` in the real nginx, Caddy and `HAProxy`, in front of a small API.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::Request as Seen;
use jifen_domain::Points;
use jifen_domain::tariff::{Rates, RoutePattern, UnitPrice};

use crate::world::{Answer, Request, World};
use api::Api;
use jifen_double::{Asked, CREDENTIAL, GOOD, JifenDouble};
use proxy::{Kind, Proxy, Wiring};
use wire::{free_address, header};

/// Stamps a test for each proxy: `on_each_proxy!(name)` runs `async fn name(kind: Kind)`.
macro_rules! on_each_proxy {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use crate::gateways::proxy::Kind;

            #[tokio::test]
            async fn nginx() {
                super::$name(Kind::Nginx).await;
            }

            #[tokio::test]
            async fn caddy() {
                super::$name(Kind::Caddy).await;
            }

            #[tokio::test]
            async fn haproxy() {
                super::$name(Kind::Haproxy).await;
            }
        })+
    };
}

mod api;
mod endpoint;
mod jifen_double;
mod mall;
mod proxy;
mod wire;

on_each_proxy!(
    a_caller_with_points_reaches_the_api_as_who_he_is,
    a_key_may_come_in_x_api_key,
    what_a_caller_forges_counts_neither_for_jifen_nor_for_the_api,
    calls_are_refused_while_jifen_cannot_be_reached,
    calls_are_refused_while_jifen_fails,
    calls_pass_uncharged_while_jifen_cannot_be_reached_where_the_operator_chose_so,
    calls_pass_uncharged_while_jifen_fails_where_the_operator_chose_so,
);

/// Prices a route for each call.
async fn price(world: &World, routes: &str, points: i64) {
    let pattern = RoutePattern::parse(routes).unwrap();
    let unit = UnitPrice::new(points * 1_000_000, 1).unwrap();
    let rates = Rates::new(Points::ZERO, Some(unit), Points::new(1).unwrap()).unwrap();
    let tariff = world.app.set_tariff(&pattern, "OCR", rates).await;
    tariff.unwrap();
}

/// The address that callers call from.
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));

/// A proxy between callers, a double of Jifen that tells what it was asked, and an API.
struct Stage {
    jifen: JifenDouble,
    api: Api,
    proxy: Proxy,
    http: reqwest::Client,
}

/// What is out of order.
#[derive(Default)]
struct Trouble {
    jifen_is_away: bool,
    api_is_away: bool,
    is_open: bool,
}

impl Stage {
    async fn set(kind: Kind) -> Self {
        Self::set_with(kind, Trouble::default()).await
    }

    async fn set_with(kind: Kind, trouble: Trouble) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (jifen, api) = (JifenDouble::start().await, Api::start().await);
        let wiring = Wiring {
            jifen: if trouble.jifen_is_away {
                [free_address(), free_address()]
            } else {
                jifen.nodes
            },
            api: if trouble.api_is_away {
                free_address()
            } else {
                api.address
            },
            credential: CREDENTIAL,
            is_open: trouble.is_open,
        };
        Self {
            proxy: Proxy::start(kind, &wiring).await,
            jifen,
            api,
            http: reqwest::Client::builder()
                .no_proxy()
                .local_address(CALLER)
                .build()
                .unwrap(),
        }
    }

    fn post(&self, path: &str) -> Request {
        let url = format!("http://{}{path}", self.proxy.address);
        Request(self.http.post(url).body("a page"))
    }

    async fn call(&self, key: &str, path: &str) -> Answer {
        let request = self.post(path);
        request
            .header("authorization", &format!("Bearer {key}"))
            .send()
            .await
    }

    /// The one call that has reached the API.
    #[track_caller]
    fn seen(&self) -> Seen<String> {
        let mut seen = self.api.take_seen();
        assert_eq!(seen.len(), 1, "{seen:?}\n{}", self.proxy.log());
        seen.remove(0)
    }

    /// Checks an answer that the API gave.
    #[track_caller]
    fn assert_served(&self, answer: &Answer) {
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, "served"),
            "{answer:?}\n{}",
            self.proxy.log()
        );
    }

    /// Checks a refusal, and that the API knows nothing of it.
    #[track_caller]
    fn assert_refused(&self, answer: &Answer, status: u16, code: &str) {
        let told = (
            answer.status,
            answer.header("x-jifen-reason"),
            answer.header("content-type"),
            answer.body["code"].as_str().unwrap_or_default(),
        );
        let expected = (status, code, "application/problem+json", code);
        assert_eq!(told, expected, "{answer:?}\n{}", self.proxy.log());
        assert!(self.api.take_seen().is_empty());
    }
}

async fn a_caller_with_points_reaches_the_api_as_who_he_is(kind: Kind) {
    let stage = Stage::set(kind).await;
    let answer = stage.call(GOOD, "/v1/ocr?pages=2&lang=zh").await;
    stage.assert_served(&answer);
    assert_eq!(answer.header("x-api"), "real");
    assert_eq!(answer.header("ratelimit"), "\"key\";r=9;t=60");
    assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=10;w=60");

    let seen = stage.seen();
    assert_eq!(seen.method(), "POST");
    assert_eq!(seen.uri(), "/v1/ocr?pages=2&lang=zh");
    assert_eq!(seen.body(), "a page");
    for (name, value) in [
        ("x-jifen-user", "7"),
        ("x-jifen-key", "key-1"),
        ("x-jifen-charge", "7-1"),
        ("x-jifen-points", "5"),
        ("x-jifen-balance", "95"),
        ("authorization", ""),
        ("x-jifen-credential", ""),
    ] {
        assert_eq!(header(&seen, name), value, "{name}");
    }
    let request_id = header(&seen, "x-request-id");
    assert!(request_id.len() >= 32, "{request_id}");
    let asked = Asked {
        method: "POST".to_owned(),
        uri: "/v1/ocr?pages=2&lang=zh".to_owned(),
        ip: CALLER.to_string(),
        units: "1".to_owned(),
        request_id,
    };
    assert_eq!(stage.jifen.asked(), [asked]);
}

async fn a_key_may_come_in_x_api_key(kind: Kind) {
    let stage = Stage::set(kind).await;
    let answer = stage.post("/v1/ocr").header("x-api-key", GOOD).send().await;
    stage.assert_served(&answer);
    assert_eq!(header(&stage.seen(), "x-api-key"), "");
    let answer = stage.post("/v1/ocr").send().await;
    stage.assert_refused(&answer, 401, "unknown_api_key");
}

async fn what_a_caller_forges_counts_neither_for_jifen_nor_for_the_api(kind: Kind) {
    let stage = Stage::set(kind).await;
    let forged = [
        ("x-jifen-user", "1"),
        ("x_jifen_user", "1"),
        ("X-JIFEN_User", "1"),
        ("x-jifen-key", "1"),
        ("x-jifen-charge", "1-1"),
        ("x-jifen-points", "1"),
        ("x-jifen-balance", "1"),
        ("x-jifen-units", "0"),
        ("x-jifen-credential", "sk_forged"),
        ("x-jifen-refund", "true"),
        ("x-jifen-status", "200"),
        ("x-request-id", "forged"),
        ("x-original-method", "OPTIONS"),
        ("x-original-uri", "/free"),
        ("x-forwarded-method", "OPTIONS"),
        ("x-forwarded-uri", "/free"),
        ("x-real-ip", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let mut charges = Vec::new();
    for _ in 0..2 {
        let request = stage.post("/v1/ocr?for=nginx");
        let request = request.header("authorization", &format!("Bearer {GOOD}"));
        let request = forged.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        stage.assert_served(&request.send().await);
        let seen = stage.seen();
        for (name, value) in seen.headers() {
            let name = name.as_str().replace('_', "-");
            let value = value.to_str().unwrap();
            let is_named = name.starts_with("x-jifen-") || name == "x-request-id";
            let is_forged = forged
                .iter()
                .any(|(forged, lie)| *forged == name && *lie == value);
            assert!(!(is_named && is_forged), "{name}: {value}");
        }
        charges.push(header(&seen, "x-jifen-charge"));
    }
    assert_eq!(charges, ["7-1", "7-2"], "the same X-Request-Id twice");
    for asked in stage.jifen.asked() {
        assert_eq!(
            (
                asked.method.as_str(),
                asked.uri.as_str(),
                asked.units.as_str()
            ),
            ("POST", "/v1/ocr?for=nginx", "1")
        );
        assert_eq!(asked.ip, CALLER.to_string());
        assert_ne!(asked.request_id, "forged");
    }
}

async fn calls_are_refused_while_jifen_cannot_be_reached(kind: Kind) {
    let trouble = Trouble {
        jifen_is_away: true,
        ..Trouble::default()
    };
    let stage = Stage::set_with(kind, trouble).await;
    let answer = stage.call(GOOD, "/v1/ocr").await;
    assert_eq!(answer.body["code"], "busy", "{answer:?}");
    assert_eq!(answer.status, 503);
    assert!(stage.api.take_seen().is_empty());
}

async fn calls_are_refused_while_jifen_fails(kind: Kind) {
    let stage = Stage::set(kind).await;
    stage.jifen.be_busy();
    let answer = stage.call(GOOD, "/v1/ocr").await;
    stage.assert_refused(&answer, 503, "busy");
    assert_eq!(answer.header("retry-after"), "3");
}

async fn calls_pass_uncharged_while_jifen_cannot_be_reached_where_the_operator_chose_so(
    kind: Kind,
) {
    let trouble = Trouble {
        jifen_is_away: true,
        is_open: true,
        ..Trouble::default()
    };
    assert_passes_uncharged(&Stage::set_with(kind, trouble).await).await;
}

async fn calls_pass_uncharged_while_jifen_fails_where_the_operator_chose_so(kind: Kind) {
    let trouble = Trouble {
        is_open: true,
        ..Trouble::default()
    };
    let stage = Stage::set_with(kind, trouble).await;
    stage.jifen.be_busy();
    assert_passes_uncharged(&stage).await;
}

/// A caller says who he is and what he paid, and nobody can check it: the API does not hear it.
async fn assert_passes_uncharged(stage: &Stage) {
    let request = stage.post("/v1/ocr?a=b");
    let request = request
        .header("authorization", &format!("Bearer {GOOD}"))
        .header("x-jifen-user", "1")
        .header("x-jifen-charge", "1-1");
    stage.assert_served(&request.send().await);
    let seen = stage.seen();
    assert_eq!(
        (seen.method().as_str(), seen.body().as_str()),
        ("POST", "a page")
    );
    assert_eq!(seen.uri(), "/v1/ocr?a=b");
    for name in [
        "x-jifen-user",
        "x-jifen-key",
        "x-jifen-charge",
        "authorization",
    ] {
        assert_eq!(header(&seen, name), "", "{name}");
    }
    assert_eq!(stage.jifen.charge_count(), 0);
}

#[tokio::test]
async fn nginx_gives_back_what_a_failed_call_cost() {
    gives_back_what_a_failed_call_cost(Kind::Nginx).await;
}

#[tokio::test]
async fn haproxy_gives_back_what_a_failed_call_cost() {
    gives_back_what_a_failed_call_cost(Kind::Haproxy).await;
}

async fn gives_back_what_a_failed_call_cost(kind: Kind) {
    let stage = Stage::set(kind).await;
    // Calls that are paid stand between those that are not.
    for (path, status) in [
        ("/v1/ocr", 200),
        ("/answers-500", 500),
        ("/answers-404", 404),
        ("/answers-503", 503),
        ("/refunds", 200),
        ("/v1/ocr", 200),
    ] {
        let answer = stage.call(GOOD, path).await;
        let told = (answer.status, answer.text.as_str());
        assert_eq!(told, (status, "served"), "{path}: {answer:?}");
        assert_eq!(answer.header("x-jifen-refund"), "", "{path}");
    }
    // An answer of the proxy, or none: HAProxy does as the API does when it hangs up on a connection used before.
    let request = stage.post("/hangs-up").header("x-api-key", GOOD);
    let answered = request.0.send().await;
    assert!(answered.is_err() || answered.is_ok_and(|answer| answer.status() == 502));
    let refunds = stage.jifen.refunds(4).await;
    let mut charges: Vec<&str> = refunds
        .iter()
        .map(|refund| refund.charge.as_str())
        .collect();
    // Each on its own way.
    charges.sort_unstable();
    assert_eq!(charges, ["7-2", "7-4", "7-5", "7-7"]);
    for refund in &refunds {
        let request_id = refund.idempotency_key.strip_prefix("refund-").unwrap();
        assert_eq!(stage.jifen.charge_of(request_id), refund.charge);
    }
    assert_eq!(stage.jifen.asked().len(), 7);
}

#[tokio::test]
async fn nginx_gives_back_what_a_call_cost_that_the_api_never_got() {
    gives_back_what_a_call_cost_that_the_api_never_got(Kind::Nginx).await;
}

#[tokio::test]
async fn haproxy_gives_back_what_a_call_cost_that_the_api_never_got() {
    gives_back_what_a_call_cost_that_the_api_never_got(Kind::Haproxy).await;
}

async fn gives_back_what_a_call_cost_that_the_api_never_got(kind: Kind) {
    let trouble = Trouble {
        api_is_away: true,
        ..Trouble::default()
    };
    let stage = Stage::set_with(kind, trouble).await;
    let answer = stage.call(GOOD, "/v1/ocr").await;
    assert!([502, 503].contains(&answer.status), "{answer:?}");
    let refunds = stage.jifen.refunds(1).await;
    assert_eq!(refunds[0].charge, "7-1");
}
