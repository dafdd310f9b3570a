//! `/openapi.json`, and `/docs` to read it and try it: all embedded, nothing is fetched from elsewhere.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// The description of every URL, for programs.
pub(crate) async fn openapi(request: HeaderMap) -> Response {
    static DESCRIPTION: LazyLock<Asset> = LazyLock::new(|| {
        let json = serde_json::to_vec(&crate::openapi()).expect("a description has text keys only");
        Asset::plain("application/json", json)
    });
    DESCRIPTION.answer(&request)
}

/// The same, for people.
pub(crate) async fn docs(request: HeaderMap) -> Response {
    static PAGE: LazyLock<Asset> = LazyLock::new(|| {
        Asset::plain(
            "text/html; charset=utf-8",
            include_bytes!("../../assets/docs.html").as_slice(),
        )
    });
    PAGE.answer(&request)
}

pub(crate) async fn start_script(request: HeaderMap) -> Response {
    static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
        Asset::plain(
            "text/javascript; charset=utf-8",
            include_bytes!("../../assets/docs.js").as_slice(),
        )
    });
    SCRIPT.answer(&request)
}

pub(crate) async fn bundle_script(request: HeaderMap) -> Response {
    static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
        let bytes = include_bytes!("../../assets/swagger-ui-bundle.js.gz");
        Asset::compressed("text/javascript; charset=utf-8", bytes)
    });
    SCRIPT.answer(&request)
}

pub(crate) async fn style(request: HeaderMap) -> Response {
    static STYLE: LazyLock<Asset> = LazyLock::new(|| {
        Asset::compressed(
            "text/css; charset=utf-8",
            include_bytes!("../../assets/swagger-ui.css.gz"),
        )
    });
    STYLE.answer(&request)
}

/// Swagger UI sets its styles by script, draws icons from data URLs, and asks this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A file that is part of the binary.
struct Asset {
    content_type: &'static str,
    is_gzip: bool,
    body: Bytes,
    /// A hash of the bytes: it changes when they do.
    etag: HeaderValue,
}

impl Asset {
    fn plain(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(content_type, false, body.into())
    }

    /// Every browser takes gzip, so there is no other form.
    fn compressed(content_type: &'static str, body: &'static [u8]) -> Self {
        Self::new(content_type, true, Bytes::from_static(body))
    }

    fn new(content_type: &'static str, is_gzip: bool, body: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&body);
        let etag = format!("\"{:016x}\"", hasher.finish());
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits in quotes");
        Self {
            content_type,
            is_gzip,
            body,
            etag,
        }
    }

    /// The file, or that the browser has it already.
    fn answer(&self, request: &HeaderMap) -> Response {
        let is_known = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|line| self.is_among(line));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            (
                [(CONTENT_TYPE, self.content_type)],
                Body::from(self.body.clone()),
            )
                .into_response()
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        // Asked for each time, answered with 304: a new version of the mall shows its own description at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        if self.is_gzip && !is_known {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Whether a list of tags holds this file's; a proxy that recompresses marks them `W/`.
    fn is_among(&self, tags: &HeaderValue) -> bool {
        let mut tags = tags
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii);
        tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_once_and_confirmed_afterwards() {
        let (asset, other) = (
            Asset::compressed("text/css", b"one"),
            Asset::compressed("text/css", b"two"),
        );
        let first = asset.answer(&HeaderMap::new());
        assert_eq!(
            (first.status(), &first.headers()[CONTENT_ENCODING]),
            (StatusCode::OK, &HeaderValue::from_static("gzip"))
        );
        let etag = first.headers()[ETAG].to_str().unwrap();
        for known in [
            etag.to_owned(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
        ] {
            let seen =
                HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::try_from(&known).unwrap())]);
            let again = asset.answer(&seen);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert!(!again.headers().contains_key(CONTENT_ENCODING));
            assert_eq!(
                other.answer(&seen).status(),
                StatusCode::OK,
                "another file has another tag"
            );
        }
    }

    #[test]
    fn the_compressed_files_are_gzip() {
        for bytes in [
            include_bytes!("../../assets/swagger-ui-bundle.js.gz").as_slice(),
            include_bytes!("../../assets/swagger-ui.css.gz").as_slice(),
        ] {
            assert_eq!(bytes.get(..2), Some([0x1f, 0x8b].as_slice()));
        }
    }
}
