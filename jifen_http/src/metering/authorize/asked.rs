//! What a proxy asks: which call, whose key, under which request id.

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use jifen_app::{Error, Text};
use jifen_domain::tariff::Route;

use crate::envelope::Failure;

/// The endpoint itself.
const ENDPOINT: &str = "/api/v2/metering/authorize";
/// Bytes of a request id: those of an idempotency key.
const REQUEST_ID_BYTES_MAX: usize = 255;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_JIFEN_UNITS: HeaderName = HeaderName::from_static("x-jifen-units");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// Where a proxy says what the call is. Each has one place and no other is looked at: a proxy passes on what it does not know,
/// so its caller fills the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `X-Original-Method` and `X-Original-URI`; statuses as `auth_request` knows them.
    Nginx,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`: Caddy, Traefik, APISIX, and our script for `HAProxy`.
    Forwarded,
    /// The question's own method and path: Envoy.
    Itself,
}

impl Dialect {
    /// Below the endpoint the query is the caller's, and means nothing here.
    pub(super) fn of(uri: &Uri) -> Self {
        if uri.path() != ENDPOINT {
            Self::Itself
        } else if uri.query() == Some("for=nginx") {
            Self::Nginx
        } else {
            Self::Forwarded
        }
    }
}

/// A question about a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) api_key: String,
    pub(super) route: Route,
    pub(super) ip: Option<IpAddr>,
    pub(super) units: i64,
    /// Made by the proxy: the idempotency key of the charge.
    pub(super) request_id: Option<String>,
}

impl Asked {
    pub(super) fn read(dialect: Dialect, parts: &Parts) -> Result<Self, Failure> {
        let headers = &parts.headers;
        let (method, path) = match dialect {
            Dialect::Nginx => forwarded(headers, &X_ORIGINAL_METHOD, &X_ORIGINAL_URI)?,
            Dialect::Forwarded => forwarded(headers, &X_FORWARDED_METHOD, &X_FORWARDED_URI)?,
            Dialect::Itself => {
                let path = parts.uri.path().strip_prefix(ENDPOINT);
                (
                    parts.method.as_str().to_owned(),
                    path.unwrap_or_default().to_owned(),
                )
            }
        };
        Ok(Self {
            route: Route::new(&method, &path).map_err(Error::from_route)?,
            ip: client_ip(headers)?,
            units: units(headers)?,
            request_id: request_id(headers)?,
            api_key: api_key(headers)?,
        })
    }
}

/// A header that the proxy sets and that is there once: a second one would be the caller's.
pub(super) fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(misconfigured(name));
    }
    let text = first.map(|value| value.to_str().map_err(|_| misconfigured(name)));
    text.transpose()
}

/// The method, and the path without its query.
fn forwarded(
    headers: &HeaderMap,
    method: &HeaderName,
    uri: &HeaderName,
) -> Result<(String, String), Failure> {
    let named = once(headers, method)?.and_then(|text| Method::from_bytes(text.as_bytes()).ok());
    let named = named.ok_or_else(|| misconfigured(method))?;
    let text = once(headers, uri)?;
    let target = text.and_then(|text| Uri::try_from(text).ok());
    let target = target.ok_or_else(|| misconfigured(uri))?;
    // `Uri` cuts off what follows a `#`; a proxy may not. No route has one, so it is refused.
    let path = text.filter(|text| text.contains('#'));
    let path = path.unwrap_or_else(|| target.path());
    Ok((named.as_str().to_owned(), path.to_owned()))
}

/// `X-Real-IP`, else the last of `X-Forwarded-For`: the one that the proxy itself has added.
fn client_ip(headers: &HeaderMap) -> Result<Option<IpAddr>, Failure> {
    let (name, text) = if let Some(text) = once(headers, &X_REAL_IP)? {
        (&X_REAL_IP, Some(text))
    } else {
        let last = headers.get_all(&X_FORWARDED_FOR).iter().next_back();
        let last = last.and_then(|value| value.to_str().ok());
        let address = last.and_then(|list| list.rsplit(',').next());
        (&X_FORWARDED_FOR, address)
    };
    let ip = text.map(|text| text.trim().parse().map_err(|_| misconfigured(name)));
    ip.transpose()
}

fn units(headers: &HeaderMap) -> Result<i64, Failure> {
    let Some(text) = once(headers, &X_JIFEN_UNITS)? else {
        return Ok(1);
    };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let units = text.parse().ok().filter(|_| is_plain);
    units.ok_or_else(|| misconfigured(&X_JIFEN_UNITS))
}

fn request_id(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(id) = once(headers, &X_REQUEST_ID)? else {
        return Ok(None);
    };
    let is_printable = id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_printable && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) {
        Ok(Some(id.to_owned()))
    } else {
        Err(misconfigured(&X_REQUEST_ID))
    }
}

/// The caller's own headers: whatever is wrong with them is his key not being there.
fn api_key(headers: &HeaderMap) -> Result<String, Failure> {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = authorization
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_ascii());
    let plain = || headers.get(X_API_KEY).and_then(|value| value.to_str().ok());
    let key = bearer.or_else(plain).filter(|key| !key.is_empty());
    key.map(str::to_owned).ok_or_else(unknown_api_key)
}

/// The code of [`unknown_api_key`].
pub(super) const UNKNOWN_API_KEY: &str = "unknown_api_key";

/// No key, or none that we know.
pub(super) fn unknown_api_key() -> Failure {
    let text = Text::new(
        "需要有效的 API Key：Authorization: Bearer jf_… 或 X-API-Key",
        "needs a valid API key: Authorization: Bearer jf_… or X-API-Key",
    );
    Failure::Named {
        code: UNKNOWN_API_KEY,
        error: Error::Unauthenticated(text),
    }
}

/// The gateway's own headers are not as they must be. Refused, not failed: what fails passes where a gateway is open.
fn misconfigured(name: &HeaderName) -> Failure {
    tracing::warn!(
        header = name.as_str(),
        "a gateway asked with a header missing, malformed or doubled"
    );
    let text = Text::owned(
        format!("网关配置有误（{name}），请联系服务方"),
        format!("the gateway is misconfigured ({name}): tell whoever runs this service"),
    );
    Failure::Named {
        code: "gateway_misconfigured",
        error: Error::Forbidden(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Asked, &'static str> {
        let mut request = Request::builder().method("PUT").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Asked::read(Dialect::of(&parts.uri), &parts).map_err(|failure| match failure {
            Failure::Named { code, .. } => code,
            Failure::Refused(Error::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        })
    }

    fn read_route(uri: &str, headers: &[(&str, &str)]) -> Result<String, &'static str> {
        let headers = [headers, &[("x-api-key", "jf_live_x")]].concat();
        read(uri, &headers).map(|asked| asked.route.to_string())
    }

    /// With what every other header of the question is right.
    fn with(header: (&str, &str)) -> Result<Asked, &'static str> {
        let right = [
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/v1/ocr"),
        ];
        read(ENDPOINT, &[&right[..], &[header]].concat())
    }

    #[test]
    fn each_dialect_looks_for_the_call_in_its_own_place() {
        let everywhere = [
            ("x-original-method", "POST"),
            ("x-original-uri", "/original?a=b"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "/forwarded?for=nginx"),
        ];
        for (uri, expected) in [
            ("/api/v2/metering/authorize?for=nginx", "POST /original"),
            ("/api/v2/metering/authorize", "GET /forwarded"),
            ("/api/v2/metering/authorize?for=caddy", "GET /forwarded"),
            (
                "/api/v2/metering/authorize/own/path?for=nginx",
                "PUT /own/path",
            ),
            ("/api/v2/metering/authorize/", "PUT /"),
        ] {
            assert_eq!(
                read_route(uri, &everywhere).as_deref(),
                Ok(expected),
                "{uri}"
            );
        }
        let absolute = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "http://h/p?q"),
        ];
        assert_eq!(read_route(ENDPOINT, &absolute).as_deref(), Ok("GET /p"));
    }

    #[test]
    fn a_gateway_that_passes_on_its_callers_headers_is_refused() {
        let right = [
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/v1/ocr"),
        ];
        assert_eq!(read_route(ENDPOINT, &right).as_deref(), Ok("POST /v1/ocr"));
        for wrong in [
            ("x-forwarded-uri", "/free"),
            ("x-forwarded-method", "GET"),
            ("x-jifen-units", "-1"),
            ("x-jifen-units", "+1"),
            ("x-jifen-units", "1.5"),
            ("x-jifen-units", "9223372036854775808"),
            ("x-jifen-units", ""),
            ("x-real-ip", "nonsense"),
            ("x-forwarded-for", "192.0.2.1, nonsense"),
            ("x-request-id", ""),
            ("x-request-id", "two words"),
        ] {
            let headers = [&right[..], &[wrong]].concat();
            assert_eq!(
                read_route(ENDPOINT, &headers),
                Err("gateway_misconfigured"),
                "{wrong:?}"
            );
        }
        for missing in [&right[..1], &right[1..], &[]] {
            assert_eq!(
                read_route(ENDPOINT, missing),
                Err("gateway_misconfigured"),
                "{missing:?}"
            );
        }
        let doubled = [("x-request-id", "a"), ("x-request-id", "a")];
        let headers = [&right[..], &doubled].concat();
        assert_eq!(read_route(ENDPOINT, &headers), Err("gateway_misconfigured"));
    }

    #[test]
    fn the_key_is_a_bearer_token_or_stands_alone() {
        for (header, expected) in [
            (("authorization", "Bearer jf_live_x"), Ok("jf_live_x")),
            (("authorization", "bearer  jf_live_x "), Ok("jf_live_x")),
            (("x-api-key", "jf_live_x"), Ok("jf_live_x")),
            (("authorization", "Basic abc"), Err("unknown_api_key")),
            (("authorization", "Bearer "), Err("unknown_api_key")),
            (("x-api-key", ""), Err("unknown_api_key")),
            (("cookie", "a=b"), Err("unknown_api_key")),
        ] {
            let key = with(header).map(|asked| asked.api_key);
            assert_eq!(key.as_deref().map_err(|code| *code), expected, "{header:?}");
        }
    }

    #[test]
    fn the_caller_is_whom_the_proxy_saw() {
        let ip = |headers: &[(&str, &str)]| {
            let right = [
                ("x-forwarded-method", "POST"),
                ("x-forwarded-uri", "/"),
                ("x-api-key", "k"),
            ];
            let asked = read(ENDPOINT, &[&right[..], headers].concat()).unwrap();
            asked.ip.map(|ip| ip.to_string()).unwrap_or_default()
        };
        assert_eq!(ip(&[]), "");
        assert_eq!(
            ip(&[("x-forwarded-for", "192.0.2.1, 192.0.2.2")]),
            "192.0.2.2"
        );
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "2001:db8::1"),
        ];
        assert_eq!(ip(&lines), "2001:db8::1");
        let both = [("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.9")];
        assert_eq!(ip(&both), "192.0.2.9");
    }

    #[test]
    fn a_call_has_one_spelling_or_is_refused() {
        for (uri, expected) in [
            ("/v1/ocr?pages=2", Ok("POST /v1/ocr")),
            ("/v1/%6Fcr", Ok("POST /v1/ocr")),
            ("/cheap/../v1/ocr", Err("route")),
            ("/cheap%2f..%2fv1/ocr", Err("route")),
            ("//v1/ocr", Err("route")),
            ("*", Err("route")),
        ] {
            let headers = [("x-forwarded-method", "POST"), ("x-forwarded-uri", uri)];
            let route = read_route(ENDPOINT, &headers);
            assert_eq!(route.as_deref().map_err(|code| *code), expected, "{uri}");
        }
    }
}
