//! A gateway that answers what the test tells it to, over real HTTP, and remembers what it was asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jifen_alipay::{Alipay, AppKey, Config, Environment, KeyMode};
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// 2024-01-15 12:00:00 in Beijing, the time of the request vectors.
pub(crate) const NOW: i64 = 1_705_291_200;

pub(crate) enum Reply {
    Body(Vec<u8>),
    Status(&'static str),
    /// Reads the request and never answers.
    Silence,
    /// Closes the connection after reading the request.
    HangUp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Path and query as sent.
    pub(crate) target: String,
    pub(crate) body: String,
}

impl Request {
    /// The parameters of query and body together.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        let url = Url::parse("http://gateway")
            .unwrap()
            .join(&self.target)
            .unwrap();
        url.query_pairs()
            .chain(form_urlencoded::parse(self.body.as_bytes()))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }
}

pub(crate) struct Gateway {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Gateway {
    /// Answers one request after the other from `script`; a request beyond its end is not answered with HTTP 200.
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!(
            "http://{}/gateway.do",
            listener.local_addr().unwrap()
        ))
        .unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut script = script.into_iter();
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                let reply = script.next().unwrap_or(Reply::Status("410 Gone"));
                match reply {
                    Reply::Body(body) => write_reply(&mut stream, "200 OK", &body).await,
                    Reply::Status(status) => write_reply(&mut stream, status, b"").await,
                    Reply::Silence => silent.push(stream),
                    Reply::HangUp => drop(stream),
                }
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    let head_end = loop {
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "the request ends in its head");
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().unwrap())
        })
        .unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    Request {
        target: head.split(' ').nth(1).unwrap().to_owned(),
        body: String::from_utf8(bytes[head_end + 4..].to_vec()).unwrap(),
    }
}

async fn write_reply(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A client that has seen too much hangs up before the end.
    let _ = stream.write_all(body).await;
}

struct FixedEnvironment;

impl Environment for FixedEnvironment {
    fn unix_seconds(&self) -> i64 {
        NOW
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0xab);
    }
}

pub(crate) fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// The key the pretended Alipay signs with.
pub(crate) fn alipay_private_key() -> AppKey {
    let file = vectors("alipay_notifications.json");
    AppKey::parse(text(
        &file,
        "alipay_private_key_for_fake_provider_pkcs8_pem",
    ))
    .unwrap()
}

/// A signed answer: `node` in `root`.
pub(crate) fn signed(root: &str, node: &[u8]) -> Reply {
    let sign = alipay_private_key().sign(node).unwrap();
    let mut body = format!("{{\"{root}\":").into_bytes();
    body.extend_from_slice(node);
    body.extend_from_slice(format!(",\"sign\":\"{sign}\"}}").as_bytes());
    Reply::Body(body)
}

pub(crate) fn config(gateway: &Url) -> Config {
    let requests = vectors("alipay_request_signing.json");
    let mut config = Config::new(
        gateway.clone(),
        text(&requests, "app_id"),
        SecretString::from(text(&requests, "app_private_key_pkcs8_bare_base64")),
        KeyMode::PublicKey {
            alipay_public_key: text(
                &vectors("alipay_notifications.json"),
                "alipay_public_key_bare_base64",
            )
            .to_owned(),
        },
    );
    config.limits.retry_delay = std::time::Duration::ZERO;
    config
}

pub(crate) fn client_of(config: Config) -> Result<Alipay, jifen_alipay::SettingError> {
    // Fails when another test of this process was first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Alipay::new(config, http, Arc::new(FixedEnvironment))
}

/// A client of a gateway with this script.
pub(crate) async fn scripted(script: Vec<Reply>) -> (Alipay, Gateway) {
    let gateway = Gateway::start(script).await;
    (client_of(config(&gateway.url)).unwrap(), gateway)
}
