//! The two cookies of the mall (RFC 6265).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// A web login: the session token.
pub(crate) const SESSION: &str = "jifen_session";
/// The browser that asks for a login QR code: only it gets the session when the code is scanned.
pub(crate) const QR_BROWSER: &str = "jifen_qr";

/// The value of a cookie the browser sends. Of several of one name the first counts: it has the most specific path.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A `Set-Cookie` that scripts cannot read, sent along with links to the mall but not with requests of foreign pages.
/// `value` is one of our tokens, which need no quoting; zero seconds delete the cookie.
pub(crate) fn set_cookie(
    name: &str,
    value: &str,
    max_age_seconds: i64,
    secure: bool,
) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!(
        "{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_seconds}{secure}"
    );
    let mut header = HeaderValue::try_from(text).expect("tokens are base64url");
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(
            COOKIE,
            HeaderValue::from_static("a=1; xjifen_qr=no;jifen_qr=yes=; jifen_qr=later; broken"),
        );
        headers.append(COOKIE, HeaderValue::from_static("jifen_session=token"));
        assert_eq!(cookie(&headers, QR_BROWSER), Some("yes="));
        assert_eq!(cookie(&headers, SESSION), Some("token"));
        assert_eq!(cookie(&headers, "broken"), None);
        assert_eq!(cookie(&HeaderMap::new(), SESSION), None);
    }

    #[test]
    fn a_cookie_is_secure_where_it_can_be() {
        assert_eq!(
            set_cookie("a", "b", 60, false),
            "a=b; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert_eq!(
            set_cookie("a", "", 0, true),
            "a=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure"
        );
    }
}
