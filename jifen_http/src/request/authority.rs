//! Who is calling. A handler that needs to know has it as an argument.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use jifen_app::{Error, Rates, ServiceCredential, Text};
use jifen_domain::UserId;
use jifen_domain::key::{ApiKey, Scope};

use super::cookies;
use crate::envelope::Failure;
use crate::web::Web;

/// A user with a session that has not expired.
pub(crate) struct SignedIn {
    pub(crate) id: UserId,
}

impl FromRequestParts<Web> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let token = SessionToken::from_request_parts(parts, web).await?;
        Ok(Self {
            id: web.app.authenticate(&token.value).await?,
        })
    }
}

/// A session token, whatever its age.
pub(crate) struct SessionToken {
    pub(crate) value: String,
    /// Kept by the browser, and to be replaced there.
    pub(crate) is_cookie: bool,
}

impl FromRequestParts<Web> for SessionToken {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        find_token(parts, web)?.ok_or_else(|| not_logged_in().into())
    }
}

/// A session token if there is one that counts: for what may be asked for without.
pub(crate) struct MaybeToken(pub(crate) Option<String>);

impl FromRequestParts<Web> for MaybeToken {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Self::Rejection> {
        Ok(Self(
            find_token(parts, web)
                .ok()
                .flatten()
                .map(|token| token.value),
        ))
    }
}

/// A gateway whose service credential has the scope `S`. It is shown as a bearer token or, by a proxy whose `Authorization`
/// is its caller's, as `X-Jifen-Credential`.
pub(crate) struct ServiceKey<S> {
    pub(crate) credential: Arc<ServiceCredential>,
    scope: PhantomData<S>,
}

/// One thing a gateway may do, as a type.
pub(crate) trait Scoped {
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident = $scope:ident),+ $(,)?) => {
        $(
            #[doc = concat!("[`Scope::", stringify!($scope), "`]")]
            pub(crate) struct $name;

            impl Scoped for $name {
                const SCOPE: Scope = Scope::$scope;
            }
        )+
    };
}

scopes!(
    VerifyScope = Verify,
    ChargeScope = Charge,
    HoldScope = Hold,
    RefundScope = Refund,
);

impl<S: Scoped + Send> FromRequestParts<Web> for ServiceKey<S> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let missing = || {
            let text = Text::new(
                "需要服务凭证：Authorization: Bearer sk_…",
                "needs a service credential: Authorization: Bearer sk_…",
            );
            Error::Unauthenticated(text)
        };
        let secret = service_secret(&parts.headers).ok_or_else(missing)?;
        let credential = web.app.authenticate_service(secret).await?;
        if !credential.scopes.contains(S::SCOPE) {
            let scope = S::SCOPE.as_str();
            let text = Text::owned(
                format!("服务凭证缺少权限 {scope}，请使用有该权限的凭证"),
                format!("the service credential lacks the scope {scope}: use one that has it"),
            );
            return Err(Error::Forbidden(text).into());
        }
        Ok(Self {
            credential,
            scope: PhantomData,
        })
    }
}

/// The same, for a request that is held against the credential's own rate limit alone, and refused when it is over that. Charges
/// and new holds are counted with their key's; what ends a call is only noted: [`jifen_app::App::note_gateway_request`].
pub(crate) struct CountedService<S> {
    pub(crate) gateway: ServiceKey<S>,
    pub(crate) rates: Rates,
}

impl<S: Scoped + Send> FromRequestParts<Web> for CountedService<S> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let gateway = ServiceKey::from_request_parts(parts, web).await?;
        let rates = web.app.count_gateway_request(&gateway.credential);
        let rates = rates.map_err(Error::from)?;
        Ok(Self { gateway, rates })
    }
}

/// Who shows an API key to ask about it.
pub(crate) struct KeyHolder {
    pub(crate) key: Arc<ApiKey>,
    /// The request counts against the key's limit.
    pub(crate) rates: Rates,
}

impl FromRequestParts<Web> for KeyHolder {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let missing = || {
            let text = Text::new(
                "需要 API Key：Authorization: Bearer jf_live_…",
                "needs an API key: Authorization: Bearer jf_live_…",
            );
            Error::Unauthenticated(text)
        };
        let secret = bearer(&parts.headers).ok_or_else(missing)?;
        let key = web.app.authenticate_key_holder(secret).await?;
        let rates = web.app.count_key_request(&key).map_err(Error::from)?;
        Ok(Self { key, rates })
    }
}

const X_JIFEN_CREDENTIAL: HeaderName = HeaderName::from_static("x-jifen-credential");

/// Of both headers, the one of our own counts: a proxy sets it, whatever its caller sends.
fn service_secret(headers: &HeaderMap) -> Option<&str> {
    match headers.get(X_JIFEN_CREDENTIAL) {
        Some(secret) => secret.to_str().ok().filter(|secret| is_token(secret)),
        None => bearer(headers),
    }
}

/// Bytes of a bearer token; ours have 43.
const TOKEN_BYTES_MAX: usize = 512;

/// The `Authorization` header's, else the cookie's. An error is a cookie sent along by a foreign page.
fn find_token(parts: &Parts, web: &Web) -> Result<Option<SessionToken>, Error> {
    if parts.headers.contains_key(AUTHORIZATION) {
        let token = bearer(&parts.headers);
        return Ok(token.map(|token| SessionToken {
            value: token.to_owned(),
            is_cookie: false,
        }));
    }
    let Some(token) =
        cookies::cookie(&parts.headers, cookies::SESSION).filter(|token| is_token(token))
    else {
        return Ok(None);
    };
    if !parts.method.is_safe()
        && parts.method != Method::OPTIONS
        && !is_same_origin(&parts.headers, web)
    {
        let text = Text::new(
            "不接受其他网站带 Cookie 的请求",
            "requests with a cookie must come from the mall's own pages",
        );
        return Err(Error::Forbidden(text));
    }
    Ok(Some(SessionToken {
        value: token.to_owned(),
        is_cookie: true,
    }))
}

/// The token of `Authorization: Bearer …` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && is_token(token)).then_some(token)
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a request that changes something was made by a page of ours. Browsers say where a POST comes from, in
/// `Sec-Fetch-Site` or at least in `Origin`; who says neither is not a browser, and cannot be misled to send its cookies.
fn is_same_origin(headers: &HeaderMap, web: &Web) -> bool {
    let site = headers
        .get("sec-fetch-site")
        .map(http::HeaderValue::as_bytes);
    if matches!(site, Some(b"same-origin" | b"none")) {
        return true;
    }
    match headers.get(ORIGIN) {
        None => site.is_none(),
        Some(origin) => {
            web.trusted_origins.contains(origin)
                || (site.is_none() && is_host(origin.as_bytes(), headers))
        }
    }
}

/// Whether an origin names the very host that was asked. The scheme is not compared: behind a proxy only it knows.
fn is_host(origin: &[u8], headers: &HeaderMap) -> bool {
    let authority = origin
        .strip_prefix(b"https://")
        .or_else(|| origin.strip_prefix(b"http://"));
    authority.is_some_and(|authority| {
        headers
            .get(HOST)
            .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority))
    })
}

fn not_logged_in() -> Error {
    Error::Unauthenticated(Text::new("未登录，请先登录", "not logged in: log in first"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn authorization(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(text))])
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for good in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&authorization(good)), Some("abc"), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "Bearer a b",
            "abc",
            "Bearer:abc",
        ] {
            assert_eq!(bearer(&authorization(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_proxys_own_credential_counts_before_its_callers_authorization() {
        let secret = |credential: Option<&'static str>, authorization: &'static str| {
            let mut headers = self::authorization(authorization);
            if let Some(credential) = credential {
                headers.insert(X_JIFEN_CREDENTIAL, HeaderValue::from_static(credential));
            }
            service_secret(&headers).map(str::to_owned)
        };
        assert_eq!(secret(None, "Bearer sk_a").as_deref(), Some("sk_a"));
        assert_eq!(secret(Some("sk_b"), "Bearer sk_a").as_deref(), Some("sk_b"));
        assert_eq!(secret(Some("sk_b"), "Basic x").as_deref(), Some("sk_b"));
        for bad in ["", "sk_ b", "Bearer sk_b"] {
            assert_eq!(secret(Some(bad), "Bearer sk_a"), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_compared_with_the_host_that_was_asked() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("mall.example:8080"))]);
        assert!(
            is_host(b"http://mall.example:8080", &headers)
                && is_host(b"https://Mall.example:8080", &headers)
        );
        assert!(!is_host(b"http://mall.example", &headers) && !is_host(b"null", &headers));
        assert!(
            !is_host(b"http://evil.example:8080", &headers)
                && !is_host(b"http://mall.example:8080", &HeaderMap::new())
        );
    }
}
