//! The log of every exchange: each request received as a provider, each notification sent, and for a refused one exactly why.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::{locked::Locked, provider::Provider};

mod redaction;

pub(crate) use redaction::{redact_body, redact_headers, redact_target};

/// Which way an exchange went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// The integrator called the provider.
    Received,
    /// The provider called the integrator.
    Sent,
}

/// Why a request was refused, or a notification not accepted. A handler puts it into the extensions of its response
/// ([`Refusal::attach`]); the log takes it from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// The provider's error code, e.g. `40163`, `SIGN_ERROR`, `isv.invalid-signature`.
    pub(crate) code: String,
    /// One sentence that tells the integrator what to change.
    pub(crate) reason: String,
    /// Everything that was compared and differed.
    pub(crate) compared: Vec<Compared>,
}

/// Two values that should have been equal, or a value the sandbox derived (`received` empty) for the reader to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    /// What it is, e.g. `string_to_sign`, `signature`, `appid`.
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) received: String,
}

impl Refusal {
    pub(crate) fn new(code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
            compared: Vec::new(),
        }
    }

    pub(crate) fn compare(
        mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        received: impl Into<String>,
    ) -> Self {
        self.compared.push(Compared {
            what: what.into(),
            expected: expected.into(),
            received: received.into(),
        });
        self
    }

    /// Hands this to the exchange log together with the response.
    pub(crate) fn attach(self, mut response: axum::response::Response) -> axum::response::Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// One request and its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exchange {
    /// Counts from 1.
    pub(crate) id: u64,
    pub(crate) at: Timestamp,
    pub(crate) provider: Provider,
    pub(crate) direction: Direction,
    pub(crate) method: String,
    /// Path and query (received) or URL (sent), secrets redacted.
    pub(crate) target: String,
    pub(crate) request_headers: Vec<(String, String)>,
    /// Secrets redacted, cut to the log's limit.
    pub(crate) request_body: String,
    /// `None`: there was no answer.
    pub(crate) status: Option<u16>,
    pub(crate) response_headers: Vec<(String, String)>,
    pub(crate) response_body: String,
    pub(crate) duration_ms: i64,
    /// What the sandbox made of it besides, e.g. the fault that was applied or the notification's id.
    pub(crate) note: Option<String>,
    pub(crate) refusal: Option<Refusal>,
}

impl Exchange {
    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }
}

/// The most recent exchanges, oldest dropped first.
pub(crate) struct ExchangeLog {
    exchanges_max: usize,
    ring: Locked<Ring>,
}

#[derive(Default)]
struct Ring {
    last_id: u64,
    exchanges: VecDeque<Exchange>,
}

impl ExchangeLog {
    pub(crate) fn new(exchanges_max: usize) -> Self {
        Self {
            exchanges_max,
            ring: Locked::default(),
        }
    }

    /// Stores an exchange under the next id, which is returned.
    pub(crate) fn record(&self, mut exchange: Exchange) -> u64 {
        let mut ring = self.ring.lock();
        ring.last_id += 1;
        exchange.id = ring.last_id;
        tracing::debug!(
            id = exchange.id,
            provider = exchange.provider.name(),
            direction = ?exchange.direction,
            status = exchange.status,
            refused = exchange.refusal.as_ref().map(|refusal| refusal.code.as_str()),
            "exchange"
        );
        while ring.exchanges.len() >= self.exchanges_max.max(1) {
            ring.exchanges.pop_front();
        }
        ring.exchanges.push_back(exchange);
        ring.last_id
    }

    /// The newest `count` exchanges, newest first.
    pub(crate) fn newest(&self, count: usize, provider: Option<Provider>) -> Vec<Exchange> {
        let ring = self.ring.lock();
        let newest = ring.exchanges.iter().rev();
        newest
            .filter(|exchange| provider.is_none_or(|wanted| exchange.provider == wanted))
            .take(count)
            .cloned()
            .collect()
    }

    pub(crate) fn find(&self, id: u64) -> Option<Exchange> {
        self.ring
            .lock()
            .exchanges
            .iter()
            .find(|exchange| exchange.id == id)
            .cloned()
    }

    pub(crate) fn clear(&self) {
        self.ring.lock().exchanges.clear();
    }
}
