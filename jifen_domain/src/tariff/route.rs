//! Which call, and which calls.
//!
//! A server behind a gateway may take several spellings of a path for one: `/v1//ocr`, `/v1/x/../ocr`, `/v1/%6Fcr`,
//! `/v1/ocr/`, `/v1/ocr;x` (RFC 3986, sections 3.3 and 6.2.2). If they were different paths here, whoever calls could
//! choose the spelling that costs least, or that the scope of a key lets through. So a path has one spelling: what means
//! the same everywhere is brought to it, and what servers understand differently is refused.
//!
//! Upper and lower case are different here, as in RFC 3986. Where a server does not tell them apart, a cheap `/v1/*` beside
//! a dear `/v1/ocr` also prices `/v1/OCR`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// Bytes of a path, without its query string.
pub const PATH_BYTES_MAX: usize = 2_048;
const METHOD_BYTES_MAX: usize = 32;
const ANY: &str = "*";

/// One call of the operator's API. Outside this crate only [`Route::new`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Route {
    /// In upper case.
    pub method: String,
    /// In its one spelling, without the query string.
    pub path: String,
}

impl Route {
    /// Brings a call to its one spelling. The query string is cut off; a slash at the end makes no difference.
    ///
    /// # Errors
    /// Says what is wrong with the method or the path.
    pub fn new(method: &str, path: &str) -> Result<Self, RouteError> {
        let method = spell_method(method)?;
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let path = spell_path(path)?;
        Ok(Self { method, path })
    }

    /// Reads `POST /v1/ocr`.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let (method, path) = words(text).ok_or(RouteError::Form)?;
        Self::new(method, path)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Calls of the operator's API: of one method or any, of one path or of many. `*` stands for any one segment, at the end
/// for any that follow, at least one: `POST /v1/ocr`, `GET /v1/*/pages`, `* /v1/files/*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoutePattern {
    /// `*` for any.
    method: String,
    path: String,
}

impl RoutePattern {
    /// The method is `*` for any.
    ///
    /// # Errors
    /// Says what is wrong with the method or the path.
    pub fn new(method: &str, path: &str) -> Result<Self, RouteError> {
        let method = if method == ANY {
            ANY.to_owned()
        } else {
            spell_method(method)?
        };
        if path.contains('?') {
            return Err(RouteError::Query);
        }
        let spelt = spell_path(path)?;
        let mixes = |segment: &str| segment.contains(ANY) && segment != ANY;
        // An encoded `*` would be decoded to one that stands for more than itself.
        if segments(&spelt).any(mixes) || spelt.matches(ANY).count() != path.matches(ANY).count() {
            return Err(RouteError::Wildcard);
        }
        Ok(Self {
            method,
            path: spelt,
        })
    }

    /// Reads `POST /v1/ocr`, `* /v1/files/*`, or, for any method, `/v1/chat`.
    ///
    /// # Errors
    /// As [`RoutePattern::new`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        match words(text) {
            Some((method, path)) => Self::new(method, path),
            None if text.trim().starts_with('/') => Self::new(ANY, text.trim()),
            None => Err(RouteError::Form),
        }
    }

    /// In upper case; `*` for any.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// With its wildcards.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is for many paths.
    pub fn has_wildcard(&self) -> bool {
        segments(&self.path).any(|segment| segment == ANY)
    }

    /// Whether the call is one of these.
    pub fn matches(&self, route: &Route) -> bool {
        if self.method != ANY && self.method != route.method {
            return false;
        }
        let mut ours = segments(&self.path).peekable();
        let mut theirs = segments(&route.path);
        while let Some(segment) = ours.next() {
            match theirs.next() {
                Some(_) if segment == ANY && ours.peek().is_none() => return true,
                Some(_) if segment == ANY => {}
                Some(other) if segment == other => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Orders patterns so that the first one that matches a call is the narrowest: from the left, a segment that is
    /// written out comes before `*`, and `*` for one segment before `*` for all that follow; then, a method before `*`.
    /// Two different patterns are never equal.
    pub fn narrowest_first(one: &Self, other: &Self) -> Ordering {
        one.widths()
            .cmp(other.widths())
            .then_with(|| (one.method == ANY).cmp(&(other.method == ANY)))
            .then_with(|| one.path.cmp(&other.path))
            .then_with(|| one.method.cmp(&other.method))
    }

    fn widths(&self) -> impl Iterator<Item = Width> {
        let mut segments = segments(&self.path).peekable();
        std::iter::from_fn(move || {
            let segment = segments.next()?;
            Some(match segment {
                ANY if segments.peek().is_none() => Width::Rest,
                ANY => Width::Any,
                _ => Width::One,
            })
        })
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// How much a segment of a pattern leaves open.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    One,
    Any,
    Rest,
}

/// Why a text names no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a method and a path.
    #[error("write the method and the path with a space between them, such as POST /v1/ocr")]
    Form,
    /// Empty, too long, or of other characters.
    #[error("the method must be 1 to {METHOD_BYTES_MAX} letters or hyphens, such as POST")]
    Method,
    /// A URL, or a path relative to something.
    #[error("the path must begin with a slash, such as /v1/ocr")]
    NoSlash,
    /// More than [`PATH_BYTES_MAX`].
    #[error("the path must not be longer than {PATH_BYTES_MAX} bytes without its query string")]
    TooLong,
    /// `//`.
    #[error("the path must not have two slashes in a row")]
    EmptySegment,
    /// `/./` or `/../`, encoded or not.
    #[error("the path must not contain the segments . and ..")]
    DotSegment,
    /// White space, a control character, `\`, `;`, `#`, or not ASCII.
    #[error(
        "the path must be as in a URL: no space, backslash, semicolon or #, and other characters percent-encoded"
    )]
    Character,
    /// A `%` that no two hexadecimal digits follow.
    #[error("behind every % of the path belong two hexadecimal digits")]
    Encoding,
    /// An encoded `/`, `\`, `;` or control character.
    #[error(
        "the path must not contain an encoded slash, backslash, semicolon or control character"
    )]
    EncodedSeparator,
    /// Of a pattern: `*` beside other characters of a segment.
    #[error("* stands for a whole segment of the path, such as /v1/files/*")]
    Wildcard,
    /// Of a pattern.
    #[error("the path must not have a query string: all calls of a path are treated alike")]
    Query,
}

/// Method and path of a text.
fn words(text: &str) -> Option<(&str, &str)> {
    let (method, path) = text.trim().split_once(' ')?;
    Some((method, path.trim_start()))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn spell_method(method: &str) -> Result<String, RouteError> {
    let fits = !method.is_empty()
        && method.len() <= METHOD_BYTES_MAX
        && method
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    // Some servers take `post` for `POST`.
    fits.then(|| method.to_ascii_uppercase())
        .ok_or(RouteError::Method)
}

fn spell_path(path: &str) -> Result<String, RouteError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(RouteError::TooLong);
    }
    let rest = path.strip_prefix('/').ok_or(RouteError::NoSlash)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        // `//` is one slash too many.
        let is_root = path == "/";
        return is_root
            .then(|| path.to_owned())
            .ok_or(RouteError::EmptySegment);
    }
    let mut spelt = String::with_capacity(path.len());
    for segment in rest.split('/') {
        let segment = spell_segment(segment)?;
        if segment.is_empty() {
            return Err(RouteError::EmptySegment);
        }
        if segment == "." || segment == ".." {
            return Err(RouteError::DotSegment);
        }
        spelt.push('/');
        spelt.push_str(&segment);
    }
    Ok(spelt)
}

/// Characters that need no encoding are decoded, the digits of other encodings are in upper case.
fn spell_segment(segment: &str) -> Result<Cow<'_, str>, RouteError> {
    if segment.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(segment));
    }
    let mut spelt = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if is_plain(byte) {
            spelt.push(char::from(byte));
            continue;
        }
        if byte != b'%' {
            return Err(RouteError::Character);
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(RouteError::Encoding);
        };
        let encoded = u8::try_from(16 * high + low).map_err(|_| RouteError::Encoding)?;
        if encoded.is_ascii_control() || b"/\\;".contains(&encoded) {
            return Err(RouteError::EncodedSeparator);
        }
        if is_plain(encoded) {
            spelt.push(char::from(encoded));
        } else {
            spelt.push('%');
            for digit in [high, low] {
                spelt.extend(char::from_digit(digit, 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    Ok(Cow::Owned(spelt))
}

/// What a segment may contain without encoding (`pchar` of RFC 3986), but for the semicolon: behind it, some servers
/// expect parameters that are not part of the path.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(path: &str) -> Result<String, RouteError> {
        Route::new("GET", path).map(|route| route.path)
    }

    fn pattern(text: &str) -> RoutePattern {
        RoutePattern::parse(text).unwrap()
    }

    fn matches(text: &str, route: &str) -> bool {
        pattern(text).matches(&Route::parse(route).unwrap())
    }

    #[test]
    fn every_spelling_of_a_path_is_one_path() {
        for (given, spelt) in [
            ("/", "/"),
            ("/?a=/../b", "/"),
            ("/v1/ocr", "/v1/ocr"),
            ("/v1/ocr/", "/v1/ocr"),
            ("/v1/ocr?page=1&path=//", "/v1/ocr"),
            ("/v1/ocr/?", "/v1/ocr"),
            ("/v1/%6Fcr", "/v1/ocr"),
            ("/%76%31/o%63r", "/v1/ocr"),
            ("/v1/gpt%3aMini", "/v1/gpt:Mini"),
            ("/v1/%e7%a7%AF", "/v1/%E7%A7%AF"),
            ("/v1/a%20b%3f%25", "/v1/a%20b%3F%25"),
            ("/v1/...", "/v1/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/V1/OCR", "/V1/OCR"),
        ] {
            assert_eq!(path(given).as_deref(), Ok(spelt), "{given}");
        }
    }

    #[test]
    fn paths_that_servers_understand_differently_are_refused() {
        use RouteError::{
            Character, DotSegment, EmptySegment, EncodedSeparator, Encoding, NoSlash, TooLong,
        };
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        for (given, error) in [
            ("", NoSlash),
            ("v1/ocr", NoSlash),
            ("*", NoSlash),
            ("?x=/", NoSlash),
            ("https://api.example.com/v1/ocr", NoSlash),
            ("//", EmptySegment),
            ("//v1/ocr", EmptySegment),
            ("/v1//ocr", EmptySegment),
            ("/v1/ocr//", EmptySegment),
            ("/v1/./ocr", DotSegment),
            ("/v1/x/../ocr", DotSegment),
            ("/..", DotSegment),
            ("/v1/%2e%2E/ocr", DotSegment),
            ("/v1/.%2e", DotSegment),
            ("/v1/ocr;x=1", Character),
            ("/v1/..;/ocr", Character),
            ("/v1\\ocr", Character),
            ("/v1/ocr#x", Character),
            ("/v1/o cr", Character),
            ("/v1/ocr\n", Character),
            ("/v1/o\0cr", Character),
            ("/v1/积分", Character),
            ("/v1/o|cr", Character),
            ("/v1/%", Encoding),
            ("/v1/%4", Encoding),
            ("/v1/%4/a", Encoding),
            ("/v1/%+4", Encoding),
            ("/v1/%g0", Encoding),
            ("/v1%2Focr", EncodedSeparator),
            ("/v1%5cocr", EncodedSeparator),
            ("/v1/ocr%3Bx", EncodedSeparator),
            ("/v1/ocr%00", EncodedSeparator),
            ("/v1/ocr%7f", EncodedSeparator),
            (&long, TooLong),
        ] {
            assert_eq!(path(given), Err(error), "{given}");
        }
        let longest = &long[..PATH_BYTES_MAX];
        let with_query = format!("{longest}?{long}");
        assert_eq!(path(&with_query).as_deref(), Ok(longest));
    }

    #[test]
    fn a_method_is_a_word_in_upper_case() {
        let method = |method: &str| Route::new(method, "/").map(|route| route.method);
        assert_eq!(method("post").as_deref(), Ok("POST"));
        assert_eq!(method("VERSION-CONTROL").as_deref(), Ok("VERSION-CONTROL"));
        for wrong in ["", "*", "PO ST", "POST\r\n", "ＰＯＳＴ", &"A".repeat(33)] {
            assert_eq!(method(wrong), Err(RouteError::Method), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_reads_back_from_its_text() {
        for (text, written) in [
            ("POST /v1/ocr", "POST /v1/ocr"),
            (" post   /v1/ocr/ ", "POST /v1/ocr"),
            ("* /v1/files/*", "* /v1/files/*"),
            ("/v1/chat", "* /v1/chat"),
            ("/*", "* /*"),
            ("/", "* /"),
            ("GET /v1/*/pages", "GET /v1/*/pages"),
        ] {
            assert_eq!(pattern(text).to_string(), written, "{text}");
            assert_eq!(pattern(written), pattern(text));
        }
        let route = Route::parse("GET /v1/ocr?x").unwrap();
        assert_eq!(route.to_string(), "GET /v1/ocr");
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused_for_what_is_wrong_with_it() {
        for (text, error) in [
            ("", RouteError::Form),
            ("POST", RouteError::Form),
            ("POST/v1/ocr", RouteError::Form),
            ("POST v1/ocr", RouteError::NoSlash),
            ("POST GET /v1/ocr", RouteError::NoSlash),
            ("P*T /v1/ocr", RouteError::Method),
            ("POST /v1/oc*", RouteError::Wildcard),
            ("POST /v1/**", RouteError::Wildcard),
            ("POST /v1/%2a", RouteError::Wildcard),
            ("POST /v1/%2Aa", RouteError::Wildcard),
            ("POST /v1/ocr?x=1", RouteError::Query),
            ("POST /v1//ocr", RouteError::EmptySegment),
            ("POST /v1/../ocr", RouteError::DotSegment),
            ("POST /v1/ocr /v2", RouteError::Character),
        ] {
            assert_eq!(RoutePattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(Route::parse("/v1/ocr"), Err(RouteError::Form));
        assert_eq!(Route::parse("* /v1/ocr"), Err(RouteError::Method));
    }

    #[test]
    fn a_pattern_matches_its_routes_and_no_others() {
        for (pattern, route) in [
            ("POST /v1/ocr", "POST /v1/ocr"),
            ("POST /v1/ocr", "post /v1/%6Fcr/?x"),
            ("/v1/chat", "GET /v1/chat"),
            ("/v1/files/*", "DELETE /v1/files/7"),
            ("/v1/files/*", "DELETE /v1/files/7/parts/8"),
            ("/v1/*/pages", "GET /v1/7/pages"),
            ("/*/*", "GET /a/b/c"),
            ("/*", "GET /a/b"),
            ("/*", "GET /"),
            ("/", "GET /"),
        ] {
            assert!(matches(pattern, route), "{pattern} for {route}");
        }
        for (pattern, route) in [
            ("POST /v1/ocr", "GET /v1/ocr"),
            ("POST /v1/ocr", "POST /v1/ocr/pages"),
            ("POST /v1/ocr", "POST /v1"),
            ("POST /v1/ocr", "POST /v1/OCR"),
            ("/v1/files/*", "GET /v1/files"),
            ("/v1/files/*", "GET /v1/files/"),
            ("/v1/files/*", "GET /v1/files2/7"),
            ("/v1/*/pages", "GET /v1/pages"),
            ("/v1/*/pages", "GET /v1/7/8/pages"),
            ("/v1/*/pages", "GET /v1/7/pages/8"),
            ("/*/*", "GET /a"),
            ("/", "GET /a"),
        ] {
            assert!(!matches(pattern, route), "{pattern} for {route}");
        }
    }

    #[test]
    fn narrower_patterns_come_first() {
        let in_order = [
            "* /",
            "POST /v1/chat",
            "* /v1/chat",
            "GET /v1/ocr/pages",
            "GET /v1/ocr/*",
            "* /v1/ocr/*",
            "GET /v1/*/pages",
            "* /v1/*/*",
            "POST /v1/*",
            "* /v1/*",
            "* /*/ocr",
            "GET /*",
            "* /*",
        ];
        let mut sorted = in_order.map(pattern);
        sorted.reverse();
        sorted.sort_by(RoutePattern::narrowest_first);
        assert_eq!(sorted.map(|pattern| pattern.to_string()), in_order);
    }

    fn any_pattern() -> impl Strategy<Value = RoutePattern> {
        let segment = prop_oneof![Just("*"), Just("a"), Just("b")];
        let method = prop_oneof![Just("*"), Just("GET")];
        (method, proptest::collection::vec(segment, 0..4)).prop_map(|(method, segments)| {
            RoutePattern::new(method, &format!("/{}", segments.join("/"))).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_spelling_is_final(text in "/[a-z%/.;0-9A-F]{0,12}") {
            if let Ok(spelt) = path(&text) {
                prop_assert_eq!(path(&spelt), Ok(spelt.clone()));
                prop_assert!(spelt.len() <= text.len());
            }
        }

        #[test]
        fn no_text_makes_it_panic(method in any::<String>(), text in any::<String>()) {
            drop(Route::new(&method, &format!("/{text}")));
            drop(RoutePattern::parse(&format!("{method} {text}")));
        }

        #[test]
        fn the_order_is_total(a in any_pattern(), b in any_pattern(), c in any_pattern()) {
            let order = RoutePattern::narrowest_first;
            prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            prop_assert_eq!(order(&a, &b).is_eq(), a == b);
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                prop_assert!(order(&a, &c).is_le());
            }
        }
    }
}
