//! Jifen as proxies see it: tells what it was asked, and plays the faults that a real one does not play on demand. It answers
//! by the contract of `/api/v2/metering/authorize` and `/api/v2/metering/refunds`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::response::Builder;
use axum::http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::wire::{free_address, header, serve};

/// The service credential that it knows.
pub(super) const CREDENTIAL: &str = "sk_of_this_gateway";
/// How long a refund may take to arrive before a test gives up.
const REFUND_TIMEOUT: Duration = Duration::from_secs(10);

/// The API key that it knows.
pub(super) const GOOD: &str = "jf_live_good";

/// A question about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) ip: String,
    pub(super) units: String,
    pub(super) request_id: String,
}

/// A refund that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refund {
    pub(super) charge: String,
    pub(super) idempotency_key: String,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Charge ids by request id.
    charges: HashMap<String, String>,
    refunds: Vec<Refund>,
    is_busy: bool,
}

/// Two nodes of one Jifen.
#[derive(Clone)]
pub(super) struct JifenDouble {
    pub(super) nodes: [SocketAddr; 2],
    state: Arc<Mutex<State>>,
    refunded: Arc<Notify>,
}

impl JifenDouble {
    pub(super) async fn start() -> Self {
        let jifen = Self {
            nodes: [free_address(), free_address()],
            state: Arc::default(),
            refunded: Arc::default(),
        };
        for node in jifen.nodes {
            let serving = jifen.clone();
            serve(node, move |request| {
                let jifen = serving.clone();
                async move { Some(jifen.answer(&request)) }
            })
            .await;
        }
        jifen
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(super) fn charge_count(&self) -> usize {
        self.state.lock().unwrap().charges.len()
    }

    /// The charge of a request.
    pub(super) fn charge_of(&self, request_id: &str) -> String {
        self.state.lock().unwrap().charges[request_id].clone()
    }

    /// From now on everything is answered with 503.
    pub(super) fn be_busy(&self) {
        self.state.lock().unwrap().is_busy = true;
    }

    /// All refunds, as soon as there are so many.
    pub(super) async fn refunds(&self, count: usize) -> Vec<Refund> {
        let enough = async {
            loop {
                let another = self.refunded.notified();
                let refunds = self.state.lock().unwrap().refunds.clone();
                if refunds.len() >= count {
                    return refunds;
                }
                another.await;
            }
        };
        tokio::time::timeout(REFUND_TIMEOUT, enough)
            .await
            .expect("a refund did not arrive")
    }

    fn answer(&self, request: &Request<String>) -> Response<String> {
        let mut state = self.state.lock().unwrap();
        if state.is_busy {
            let busy = Response::builder().header("retry-after", "3");
            return problem(busy, 503, "busy");
        }
        if header(request, "x-jifen-credential") != CREDENTIAL {
            return problem(Response::builder(), 403, "gateway_not_authorized");
        }
        match request.uri().path() {
            "/api/v2/metering/authorize" => state.authorize(request),
            "/api/v2/metering/refunds" if request.method() == "POST" => {
                state.refund(request);
                self.refunded.notify_waiters();
                Response::new("{}".to_owned())
            }
            _ => problem(Response::builder(), 404, "not_found"),
        }
    }
}

impl State {
    fn authorize(&mut self, request: &Request<String>) -> Response<String> {
        let is_nginx = request.uri().query() == Some("for=nginx");
        let route = if is_nginx { "original" } else { "forwarded" };
        let asked = Asked {
            method: header(request, &format!("x-{route}-method")),
            uri: header(request, &format!("x-{route}-uri")),
            ip: header(request, "x-real-ip"),
            units: header(request, "x-jifen-units"),
            request_id: header(request, "x-request-id"),
        };
        self.asked.push(asked.clone());
        let authorization = header(request, "authorization");
        let key = match authorization.strip_prefix("Bearer ") {
            Some(key) => key.to_owned(),
            None => header(request, "x-api-key"),
        };
        if key == GOOD {
            self.allow(asked.request_id)
        } else {
            problem(Response::builder(), 401, "unknown_api_key")
        }
    }

    fn allow(&mut self, request_id: String) -> Response<String> {
        let next = self.charges.len() + 1;
        let charge = self.charges.entry(request_id);
        let charge = charge.or_insert_with(|| format!("7-{next}"));
        Response::builder()
            .header("x-jifen-user", "7")
            .header("x-jifen-key", "key-1")
            .header("x-jifen-charge", charge.as_str())
            .header("x-jifen-points", "5")
            .header("x-jifen-balance", "95")
            .header("ratelimit", "\"key\";r=9;t=60")
            .header("ratelimit-policy", "\"key\";q=10;w=60")
            .body(String::new())
            .unwrap()
    }

    fn refund(&mut self, request: &Request<String>) {
        let body: Value = serde_json::from_str(request.body()).unwrap();
        self.refunds.push(Refund {
            charge: body["chargeId"].as_str().unwrap().to_owned(),
            idempotency_key: header(request, "idempotency-key"),
        });
    }
}

fn problem(response: Builder, status: u16, code: &str) -> Response<String> {
    let body =
        json!({ "type": format!("urn:jifen:problem:{code}"), "status": status, "code": code });
    response
        .status(status)
        .header("x-jifen-reason", code)
        .header("content-type", "application/problem+json")
        .body(body.to_string())
        .unwrap()
}
