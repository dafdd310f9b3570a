//! Requests that lie ready, but for the idempotency keys, which are written into each as it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::prepare::Gateway;

/// Where requests come from.
pub(crate) trait Requests: Send + Sync {
    /// Writes the next request.
    fn write(&self, request: &mut Vec<u8>);
}

/// Of the bench's own server: as long as the URL of charges, so that both requests have the same size.
pub(crate) const ECHO_URL: &str = "/benchmark/metering/echo";

/// Stands where an idempotency key goes: 16 hexadecimal digits.
const KEY: &str = "0000000000000000";

/// Numbers all idempotency keys of this process.
static KEYS: AtomicU64 = AtomicU64::new(0);

/// How many requests were sent, of those that are charges one by one.
pub(crate) fn sent() -> u64 {
    KEYS.load(Ordering::Relaxed)
}

/// Charges of a point each, in no order that repeats: of one key, or spread over many.
pub(crate) fn charges(gateway: &Gateway, api_keys: &[String]) -> Arc<dyn Requests> {
    posts("/api/v2/metering/charges", gateway, api_keys)
}

/// The same requests to a URL that only reads them.
pub(crate) fn echoes(gateway: &Gateway, api_keys: &[String]) -> Arc<dyn Requests> {
    posts(ECHO_URL, gateway, api_keys)
}

/// Batches of charges of a point each, every one over as many accounts as said, or nearly.
pub(crate) fn batches(
    gateway: &Gateway,
    api_keys: &[String],
    size: u64,
    accounts: u64,
) -> Arc<dyn Requests> {
    /// Each batch names other keys; some hundred batches name all of them.
    const BATCHES: u64 = 256;
    let batch = |number: u64| {
        let charges: Vec<_> = (0..size)
            .map(|place| {
                let key = &api_keys[pick(number * size + place % accounts, api_keys.len())];
                json!({ "idempotencyKey": KEY, "apiKey": key, "points": 1, "title": "OCR" })
            })
            .collect();
        let body = json!({ "charges": charges }).to_string();
        Template::new(&post("/api/v2/metering/charges/batch", gateway, "", &body))
    };
    Arc::new(Templates((0..BATCHES).map(batch).collect()))
}

/// Whether keys are good.
pub(crate) fn verifications(gateway: &Gateway, api_keys: &[String]) -> Arc<dyn Requests> {
    let verification = |api_key: &String| {
        let body = json!({ "apiKey": api_key }).to_string();
        Template::new(&post("/api/v2/metering/verify", gateway, "", &body))
    };
    Arc::new(Templates(api_keys.iter().map(verification).collect()))
}

/// What somebody who has logged in sees at some URLs, each as often as the others.
pub(crate) fn pages(urls: &[String], token: &str) -> Arc<dyn Requests> {
    let get = |url: &String| {
        Template::new(&format!(
            "GET {url} HTTP/1.1\r\nHost: jifen\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    };
    Arc::new(Templates(urls.iter().map(get).collect()))
}

fn posts(url: &str, gateway: &Gateway, api_keys: &[String]) -> Arc<dyn Requests> {
    let idempotency_key = format!("Idempotency-Key: {KEY}\r\n");
    let template = |api_key: &String| {
        let body = json!({ "apiKey": api_key, "points": 1, "title": "OCR" }).to_string();
        Template::new(&post(url, gateway, &idempotency_key, &body))
    };
    Arc::new(Templates(api_keys.iter().map(template).collect()))
}

fn post(url: &str, gateway: &Gateway, header: &str, body: &str) -> String {
    format!(
        "POST {url} HTTP/1.1\r\nHost: jifen\r\nAuthorization: Bearer {}\r\n{header}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        gateway.secret,
        body.len()
    )
}

/// One of them at random each time.
struct Templates(Vec<Template>);

impl Requests for Templates {
    fn write(&self, request: &mut Vec<u8>) {
        // Also where no key is written: it is what the choice is made by.
        let first = KEYS.fetch_add(self.0[0].keys.len().max(1) as u64, Ordering::Relaxed);
        let template = &self.0[pick(first, self.0.len())];
        request.extend_from_slice(&template.bytes);
        for (number, at) in (first..).zip(&template.keys) {
            let digits = (0..KEY.len())
                .rev()
                .map(|place| (number >> (4 * place)) & 15);
            for (byte, digit) in request[*at..].iter_mut().zip(digits) {
                *byte = b"0123456789abcdef"[digit as usize];
            }
        }
    }
}

struct Template {
    bytes: Vec<u8>,
    /// Where idempotency keys begin.
    keys: Vec<usize>,
}

impl Template {
    fn new(text: &str) -> Self {
        Self {
            keys: text.match_indices(KEY).map(|(at, _)| at).collect(),
            bytes: text.as_bytes().to_vec(),
        }
    }
}

fn pick(number: u64, among: usize) -> usize {
    (scramble(number) % among as u64) as usize
}

/// Steele, Lea and Flood's `SplitMix64`: as good as random, the same in each run.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
