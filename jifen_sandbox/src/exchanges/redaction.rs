//! What the log never shows, although the keys here are throw-away ones: an integrator may have pointed a program with real
//! credentials at the sandbox by mistake.

use serde_json::Value;

/// Names of query parameters and JSON members whose values are replaced.
const SECRETS: [&str; 6] = [
    "secret",
    "access_token",
    "session_key",
    "refresh_token",
    "appsecret",
    "app_auth_token",
];
const REPLACEMENT: &str = "[redacted]";
/// Headers that say something about a protocol; the others are left out.
const HEADERS_SHOWN: [&str; 6] = [
    "authorization",
    "content-type",
    "user-agent",
    "accept",
    "request-id",
    "content-length",
];
const HEADER_PREFIX_SHOWN: &str = "wechatpay-";

/// `target` with the values of secret query parameters replaced.
pub(crate) fn redact_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let parameters = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={REPLACEMENT}"),
            _ => parameter.to_owned(),
        });
    format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// A body as text, secrets in JSON replaced, cut to `bytes_max`.
pub(crate) fn redact_body(body: &[u8], bytes_max: usize) -> String {
    // The text as received is kept where there is nothing to hide, since a signature may cover it.
    let redacted = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|mut value| {
            let replaced = redact_value(&mut value);
            replaced.then(|| value.to_string())
        });
    let text = redacted.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!(
        "{}… ({} bytes)",
        text.get(..end).unwrap_or_default(),
        body.len()
    )
}

/// The headers that matter to the protocols, in the order received. A signature is not a secret.
pub(crate) fn redact_headers(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| {
        HEADERS_SHOWN.contains(&name.as_str()) || name.as_str().starts_with(HEADER_PREFIX_SHOWN)
    });
    shown
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let foreign = name == http::header::AUTHORIZATION && !value.starts_with("WECHATPAY2-");
            (
                name.to_string(),
                if foreign {
                    REPLACEMENT.to_owned()
                } else {
                    value
                },
            )
        })
        .collect()
}

fn is_secret(name: &str) -> bool {
    SECRETS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Whether anything was replaced.
fn redact_value(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => {
            let mut replaced = false;
            for (name, member) in members {
                if is_secret(name) && member.is_string() {
                    *member = Value::from(REPLACEMENT);
                    replaced = true;
                } else {
                    replaced |= redact_value(member);
                }
            }
            replaced
        }
        Value::Array(items) => {
            let mut replaced = false;
            for item in items {
                replaced |= redact_value(item);
            }
            replaced
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_query_is_replaced_and_the_rest_kept() {
        assert_eq!(
            redact_target("/sns/jscode2session?appid=wx1&secret=abc&js_code=c"),
            "/sns/jscode2session?appid=wx1&secret=[redacted]&js_code=c"
        );
    }

    #[test]
    fn a_secret_deep_in_json_is_replaced_and_other_json_keeps_its_exact_text() {
        assert_eq!(
            redact_body(br#"{"a":[{"session_key":"k"}]}"#, 100),
            r#"{"a":[{"session_key":"[redacted]"}]}"#
        );
        assert_eq!(
            redact_body(br#"{ "b" : 1,"a":2}"#, 100),
            r#"{ "b" : 1,"a":2}"#
        );
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        assert_eq!(redact_body("积分".as_bytes(), 4), "积… (6 bytes)");
    }
}
