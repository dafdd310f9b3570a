//! One HTTP exchange with a time-out and a limit on the answer, and what can go wrong with it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use serde::Serialize;
use url::Url;

/// Limits of the calls of one client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallLimits {
    /// From sending to the last byte of the answer, for each attempt.
    pub timeout: Duration,
    /// How often a request is sent at most, where repeating it is safe.
    pub attempts_max: u32,
    /// The pause before the second attempt; it doubles for each later one.
    pub retry_delay: Duration,
    /// The largest answer that is read.
    pub answer_bytes_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            attempts_max: 3,
            retry_delay: Duration::from_millis(200),
            answer_bytes_max: 1 << 20,
        }
    }
}

impl CallLimits {
    /// The pause after attempt number `attempt` (counted from 1).
    pub(crate) fn delay_after(&self, attempt: u32) -> Duration {
        self.retry_delay
            .saturating_mul(1_u32 << attempt.saturating_sub(1).min(6))
    }

    /// The longest all attempts of one call can take.
    pub(crate) fn duration_max(&self) -> Duration {
        (1..=self.attempts_max.min(32))
            .map(|attempt| self.timeout.saturating_add(self.delay_after(attempt)))
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// The exchange did not bring a usable answer. Never contains the URL, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The request did not leave: nothing has happened at WeChat.
    #[error("no connection to WeChat")]
    NotConnected(#[source] reqwest::Error),
    /// No complete answer in time; the request may have been processed.
    #[error("WeChat did not answer within {timeout_milliseconds} ms")]
    TimedOut {
        /// The time-out that passed.
        timeout_milliseconds: u128,
    },
    /// The connection broke; the request may have been processed.
    #[error("the connection to WeChat broke")]
    Interrupted(#[source] reqwest::Error),
    /// The answer is larger than allowed.
    #[error("WeChat's answer is larger than {answer_bytes_max} bytes")]
    AnswerTooLarge {
        /// The limit.
        answer_bytes_max: usize,
    },
    /// An HTTP status that this interface does not use, probably from a gateway between.
    #[error("WeChat answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The answer is not the JSON it has to be.
    #[error("WeChat's answer is not the JSON expected (line {line}, column {column})")]
    NotJson {
        /// Where, counted from 1; what stands there may be private.
        line: usize,
        /// Where in the line.
        column: usize,
    },
}

impl TransportError {
    /// False when it is certain that the request never reached WeChat.
    pub fn may_have_been_processed(&self) -> bool {
        !matches!(self, Self::NotConnected(_))
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends once.
pub(crate) async fn send(
    http: &reqwest::Client,
    mut request: reqwest::Request,
    timeout: Duration,
    answer_bytes_max: usize,
) -> Result<Answer, TransportError> {
    *request.timeout_mut() = Some(timeout);
    let classify = |error: reqwest::Error| {
        // The URL may hold an AppSecret or an access token.
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            TransportError::NotConnected(error)
        } else if error.is_timeout() {
            TransportError::TimedOut {
                timeout_milliseconds: timeout.as_millis(),
            }
        } else {
            TransportError::Interrupted(error)
        }
    };
    let mut response = http.execute(request).await.map_err(classify)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        if body.len() + chunk.len() > answer_bytes_max {
            return Err(TransportError::AnswerTooLarge { answer_bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: body.freeze(),
    })
}

/// `path` under `base`, which may itself have a path (a proxy, a stand-in). `path` is already encoded.
pub(crate) fn endpoint(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// One of the addresses written in this crate.
pub(crate) fn constant_url(text: &'static str) -> Url {
    Url::parse(text).expect("a constant that is a URL")
}

/// One of the request bodies of this crate: structs of texts, numbers and maps with text keys.
pub(crate) fn json_bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("such bodies always become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_keeps_the_path_of_its_base() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            endpoint(&url("https://api.weixin.qq.com"), "/cgi-bin/x").as_str(),
            "https://api.weixin.qq.com/cgi-bin/x"
        );
        assert_eq!(
            endpoint(&url("http://127.0.0.1:9/wechat/?a=b"), "/cgi-bin/x").as_str(),
            "http://127.0.0.1:9/wechat/cgi-bin/x"
        );
    }

    #[test]
    fn delays_double_and_stay_bounded() {
        let limits = CallLimits::default();
        assert_eq!(limits.delay_after(1), Duration::from_millis(200));
        assert_eq!(limits.delay_after(3), Duration::from_millis(800));
        assert_eq!(limits.delay_after(40), limits.delay_after(7));
    }
}
