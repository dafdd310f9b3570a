//! A fixed clock, repeatable randomness, and an HTTP client without trusted roots.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use jifen_wechat::Environment;

/// A clock that stands still until it is set. Random bytes are `random` over and over, or where that is `None` zeros that end in a
/// counter.
pub(crate) struct FixedEnvironment {
    pub(crate) now: AtomicI64,
    pub(crate) random: Option<&'static [u8]>,
    counter: AtomicU8,
}

impl FixedEnvironment {
    pub(crate) fn at(now: i64) -> Self {
        Self {
            now: AtomicI64::new(now),
            random: None,
            counter: AtomicU8::new(0),
        }
    }
}

impl Environment for FixedEnvironment {
    fn unix_seconds(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        if let Some(random) = self.random {
            for (byte, random) in bytes.iter_mut().zip(random.iter().cycle()) {
                *byte = *random;
            }
        } else if let Some((last, rest)) = bytes.split_last_mut() {
            rest.fill(0);
            *last = self.counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}
