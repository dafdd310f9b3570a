//! Telling a caller how often it may go on calling, per draft-ietf-httpapi-ratelimit-headers-10.

use http::{HeaderName, HeaderValue};
use jifen_app::{RateState, Rates};

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `RateLimit-Policy: "key";q=10;w=1` and `RateLimit: "key";r=9;t=1`: of ten requests a second, nine are left, and all ten
/// in a second. `"credential"` beside it is the gateway's own. Nothing where there is no limit.
pub(crate) fn rate_headers(rates: &Rates) -> Vec<(HeaderName, HeaderValue)> {
    let limits = [("key", &rates.key), ("credential", &rates.gateway)];
    let told: Vec<(&str, &RateState)> = limits
        .into_iter()
        .filter_map(|(name, state)| Some((name, state.as_ref()?)))
        .collect();
    let list = |item: fn(&str, &RateState) -> String| {
        let items: Vec<String> = told.iter().map(|(name, state)| item(name, state)).collect();
        // Names and numbers only: always a valid value.
        HeaderValue::from_str(&items.join(", ")).ok()
    };
    if told.is_empty() {
        return Vec::new();
    }
    let state =
        list(|name, state| format!("\"{name}\";r={};t={}", state.remaining, state.reset_seconds));
    let policy = list(|name, state| {
        format!(
            "\"{name}\";q={};w={}",
            state.limit.requests(),
            state.limit.seconds()
        )
    });
    [(RATE_LIMIT, state), (RATE_LIMIT_POLICY, policy)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jifen_domain::key::RateLimit;

    fn state(requests: i64, seconds: i64, remaining: u32) -> RateState {
        RateState {
            limit: RateLimit::new(requests, seconds).unwrap(),
            remaining,
            reset_seconds: 1,
            retry_after_seconds: None,
        }
    }

    fn told(key: Option<RateState>, gateway: Option<RateState>) -> Vec<(String, String)> {
        rate_headers(&Rates { key, gateway })
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn each_limit_that_applies_is_told() {
        assert_eq!(told(None, None), []);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            told(Some(state(10, 1, 9)), None),
            [
                header("ratelimit", r#""key";r=9;t=1"#),
                header("ratelimit-policy", r#""key";q=10;w=1"#),
            ]
        );
        assert_eq!(
            told(Some(state(10, 1, 9)), Some(state(1_000, 60, 0))),
            [
                header("ratelimit", r#""key";r=9;t=1, "credential";r=0;t=1"#),
                header(
                    "ratelimit-policy",
                    r#""key";q=10;w=1, "credential";q=1000;w=60"#
                ),
            ]
        );
    }
}
