//! What the HTTP side is told by the configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;

/// Limits and manners of the HTTP server. [`HttpConfig::default`] is fit for development.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Which web pages may call the mall from a browser.
    pub cors: Cors,
    /// Marks cookies `Secure`. They are so in any case when the mall's public base URL is https.
    pub secure_cookies: bool,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest request head: request line and headers. At least 8 KiB.
    pub head_bytes_max: usize,
    /// Longest time from a request's head to its answer.
    pub request_timeout: Duration,
    /// Longest time a connection may take to send a request's head, or be idle between two requests.
    pub header_read_timeout: Duration,
    /// Requests in hand at once; those beyond are refused with 503 at once. Health checks and metrics do not count.
    pub concurrency_max: usize,
    /// Open connections at once; those beyond wait in the operating system's queue.
    pub connections_max: usize,
    /// How long `/readyz` says "shutting down" while requests are still accepted, so that a load balancer notices.
    pub drain_delay: Duration,
    /// How long requests in hand may go on after that.
    pub shutdown_timeout: Duration,
    /// Where the provider sandbox shows its pages, for the link on the landing page.
    pub sandbox_url: Option<String>,
    /// Shared by [`crate::router`] and [`crate::serve`]: clone one configuration for both.
    pub shutting_down: ShuttingDown,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            cors: Cors::Any,
            secure_cookies: false,
            // `encryptedData` may have 64 KiB, the rest of its request 8.
            body_bytes_max: 72 * 1024,
            head_bytes_max: 32 * 1024,
            request_timeout: Duration::from_secs(30),
            header_read_timeout: Duration::from_secs(30),
            concurrency_max: 512,
            connections_max: 4_096,
            drain_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(20),
            sandbox_url: None,
            shutting_down: ShuttingDown::default(),
        }
    }
}

/// Which web pages may call the mall from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Those of any origin, but without cookies.
    Any,
    /// Those of these origins, with cookies.
    List(Vec<Origin>),
}

/// Scheme, host and, unless it is the scheme's own, port: `https://www.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Checks the form browsers give an origin: lower case, no path, no slash at the end.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for anything else, `*` and `null` included.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(invalid)?;
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte)
        };
        if host.is_empty() || !host.bytes().all(is_plain) {
            return Err(invalid());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| invalid())
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

/// A text that is not an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl std::fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is not an origin: write it like https://www.example.com",
            self.0
        )
    }
}

impl std::error::Error for InvalidOrigin {}

/// Whether the server is on its way out. Clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct ShuttingDown(Arc<AtomicBool>);

impl ShuttingDown {
    /// From now on `/readyz` answers 503.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_the_form_browsers_give_it() {
        for good in [
            "https://www.example.com",
            "http://localhost:8080",
            "http://[::1]:3000",
            "http://127.0.0.1:1",
        ] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "www.example.com",
            "https://a.b/",
            "https://A.b",
            "ftp://a.b",
            "https://a b",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
