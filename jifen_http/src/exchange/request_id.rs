//! Names requests, so that an answer and its log lines can be told to belong together.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of an id that a client chose.
const ID_BYTES_MAX: usize = 64;

/// Makes ids: something random for the process, then a number.
pub(crate) struct RequestIds {
    prefix: String,
    made: AtomicU64,
}

impl RequestIds {
    /// `prefix` distinguishes this process from others and from its earlier runs.
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            prefix,
            made: AtomicU64::new(0),
        }
    }

    /// The id a proxy or client gave the request if it can go into a log as it is, else one of ours.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_well_formed(given.as_bytes()) => given.clone(),
            _ => {
                let number = self.made.fetch_add(1, Ordering::Relaxed);
                HeaderValue::try_from(format!("{}-{number:x}", self.prefix))
                    .expect("hexadecimal digits and a dash")
            }
        }
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_given_is_kept_only_when_it_is_harmless() {
        let ids = RequestIds::new("abc".to_owned());
        let of = |text: &str| {
            ids.of(&HeaderMap::from_iter([(
                X_REQUEST_ID,
                HeaderValue::from_str(text).unwrap(),
            )]))
        };
        assert_eq!(of("0190-a_B.c"), "0190-a_B.c");
        assert_eq!(of("with space"), "abc-0");
        assert_eq!(of(&"x".repeat(65)), "abc-1");
        assert_eq!(of(""), "abc-2");
        assert_eq!(ids.of(&HeaderMap::new()), "abc-3");
    }
}
