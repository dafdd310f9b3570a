//! A sandbox, a clock, an integrator.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use jifen_sandbox::{Config, Environment, Kit, Sandbox, outgoing_client};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

/// Where every test's clock starts.
pub(crate) const START: i64 = 1_705_291_200;

/// A clock that stands still until moved, and numbers that only look random.
pub(crate) struct StillLife {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl StillLife {
    pub(crate) fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Environment for StillLife {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::SeqCst)).unwrap()
    }

    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let drawn = self
                .drawn
                .fetch_add(1, Ordering::SeqCst)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 48).to_le_bytes()[0];
        }
    }
}

/// A sandbox on a free port.
pub(crate) struct TestSandbox {
    pub(crate) base_url: String,
    pub(crate) clock: Arc<StillLife>,
    pub(crate) http: reqwest::Client,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}

impl TestSandbox {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Real retry schedules and no deliveries of its own, unless `change` says otherwise.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // The first test of the process installs it; for the others it is there already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let clock = Arc::new(StillLife {
            now: AtomicI64::new(START),
            drawn: AtomicU64::new(1),
        });
        let mut config = Config::new(base_url.clone(), outgoing_client().unwrap());
        config.environment = clock.clone();
        config.automatic_delivery = false;
        config.time_compression = 1;
        change(&mut config);
        tokio::spawn(Sandbox::new(config).serve(listener, std::future::pending()));
        Self {
            base_url,
            clock,
            http: outgoing_client().unwrap(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_json(http::Method::POST, path, &body).await
    }

    pub(crate) async fn send_json(&self, method: http::Method, path: &str, body: &Value) -> Answer {
        let request = self
            .http
            .request(method, self.url(path))
            .header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Points the official account's pushes at a new integrator.
    pub(crate) async fn integrator(&self, mode: &str) -> Integrator {
        let integrator = Integrator::start().await;
        let settings = serde_json::json!({"push_url": integrator.url, "mode": mode});
        let answer = self
            .send_json(
                http::Method::PUT,
                "/sandbox/api/official-account",
                &settings,
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        integrator
    }

    /// A normal access token of an app of the kit.
    pub(crate) async fn access_token(&self, appid: &str, secret: &str) -> String {
        let body = serde_json::json!({"grant_type": "client_credential", "appid": appid, "secret": secret});
        let answer = self.post("/cgi-bin/stable_token", body).await.json();
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    pub(crate) async fn account_token(&self) -> String {
        let kit = Kit::builtin();
        self.access_token(kit.official_account_appid, kit.official_account_secret)
            .await
    }

    /// The refusal of the newest exchange.
    pub(crate) async fn newest_refusal(&self) -> Value {
        self.get("/sandbox/api/exchanges?count=1").await.json()[0]["refusal"].clone()
    }

    /// What is compared under that name in a refusal.
    pub(crate) fn compared<'a>(refusal: &'a Value, what: &str) -> (&'a str, &'a str) {
        let pairs = refusal["compared"].as_array().unwrap();
        let pair = pairs
            .iter()
            .find(|pair| pair["what"] == what)
            .unwrap_or_else(|| panic!("{what} not in {refusal}"));
        (
            pair["expected"].as_str().unwrap(),
            pair["received"].as_str().unwrap(),
        )
    }
}

/// A request the integrator got.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// The text of an XML element, with or without CDATA.
    pub(crate) fn element(&self, name: &str) -> &str {
        let (start, end) = (format!("<{name}>"), format!("</{name}>"));
        let Some((_, rest)) = self.body.split_once(&start) else {
            return "";
        };
        let text = rest.split_once(&end).unwrap().0;
        text.strip_prefix("<![CDATA[")
            .and_then(|text| text.strip_suffix("]]>"))
            .unwrap_or(text)
    }
}

type Answers = Arc<Mutex<VecDeque<(u16, String)>>>;

/// A server that records what it is sent and answers what it was told to, `success` otherwise.
pub(crate) struct Integrator {
    pub(crate) url: String,
    received: mpsc::UnboundedReceiver<Received>,
    answers: Answers,
}

impl Integrator {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/receive", listener.local_addr().unwrap());
        let (sender, received) = mpsc::unbounded_channel();
        let answers = Answers::default();
        let router = Router::new()
            .fallback(receive)
            .with_state((sender, answers.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            received,
            answers,
        }
    }

    /// The answer to the next request not yet provided for.
    pub(crate) fn will_answer(&self, status: u16, body: impl Into<String>) {
        self.answers
            .lock()
            .unwrap()
            .push_back((status, body.into()));
    }

    /// The next request, which must already have arrived.
    pub(crate) fn got(&mut self) -> Received {
        self.received
            .try_recv()
            .expect("the integrator was sent a request")
    }

    /// The next request, whenever it arrives.
    pub(crate) async fn gets(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    pub(crate) fn got_nothing_more(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

async fn receive(
    State((sender, answers)): State<(mpsc::UnboundedSender<Received>, Answers)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let query: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let echo = query
        .iter()
        .find(|(name, _)| name == "echostr")
        .map(|(_, value)| value.clone());
    let received = Received {
        method: parts.method.to_string(),
        query,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    sender.send(received).unwrap();
    let told = answers.lock().unwrap().pop_front();
    let (status, body) = told.unwrap_or_else(|| (200, echo.unwrap_or_else(|| "success".into())));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// SHA-1 in hexadecimal of the sorted, joined parts: written here again, so that the sandbox is not its own judge.
pub(crate) fn sha1_sorted(parts: &[&str]) -> String {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    sha1(&sorted.concat())
}

pub(crate) fn sha1(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    let nibbles = digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from_digit(nibble.into(), 16).unwrap())
        .collect()
}
