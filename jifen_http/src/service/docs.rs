//! The landing page, `/openapi.json` and `/docs`: all embedded, nothing is fetched from elsewhere.

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use crate::envelope::json;
use crate::web::Web;

/// Changes with the files: the version of the npm package they come from.
const ASSETS_TAG: &str = "\"swagger-ui-5.35.0\"";
/// The interface asks this server only; its styles are set by scripts.
const DOCS_POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'";

/// Where to go from here.
pub(crate) async fn landing(State(web): State<Web>) -> Html<String> {
    let sandbox = web.config.sandbox_url.as_deref().map_or_else(String::new, |url| {
        format!("<li><a href=\"{url}/\">微信与支付宝沙箱 <span lang=\"en\">· WeChat and Alipay sandbox</span></a></li>\n")
    });
    Html(include_str!("../../assets/landing.html").replace("{sandbox}", &sandbox))
}

/// The description of every URL, for programs.
pub(crate) async fn openapi() -> Response {
    json(StatusCode::OK, "application/json", &crate::openapi())
}

/// The same, for people.
pub(crate) async fn docs() -> Response {
    ([(CONTENT_SECURITY_POLICY, DOCS_POLICY)], Html(include_str!("../../assets/docs.html"))).into_response()
}

pub(crate) async fn start_script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/docs.js")).into_response()
}

pub(crate) async fn bundle_script(headers: HeaderMap) -> Response {
    let bytes = include_bytes!("../../assets/swagger-ui-bundle.js.gz");
    compressed(&headers, "text/javascript; charset=utf-8", bytes)
}

pub(crate) async fn style(headers: HeaderMap) -> Response {
    compressed(&headers, "text/css; charset=utf-8", include_bytes!("../../assets/swagger-ui.css.gz"))
}

/// Every browser takes gzip, so there is no other form.
fn compressed(headers: &HeaderMap, content_type: &'static str, bytes: &'static [u8]) -> Response {
    let caching = [(ETAG, ASSETS_TAG), (CACHE_CONTROL, "public, max-age=86400")];
    if headers.get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == ASSETS_TAG.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, content_type), (CONTENT_ENCODING, "gzip")], bytes).into_response()
}
