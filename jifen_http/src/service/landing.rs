//! `/`: where to go from here.

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Response};
use http::header::CONTENT_SECURITY_POLICY;

use crate::web::Web;

const PAGE: &str = include_str!("../../assets/landing.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

pub(crate) async fn landing(State(web): State<Web>) -> Response {
    let sandbox = web
        .config
        .sandbox_url
        .as_deref()
        .map(sandbox_item)
        .unwrap_or_default();
    (
        [(CONTENT_SECURITY_POLICY, POLICY)],
        Html(PAGE.replace("{sandbox}", &sandbox)),
    )
        .into_response()
}

fn sandbox_item(url: &str) -> String {
    let url = url
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;");
    format!(
        "<li><a href=\"{url}/\">微信与支付宝沙箱 <span lang=\"en\">· WeChat and Alipay sandbox</span></a></li>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_is_linked_as_text_not_as_markup() {
        assert!(
            sandbox_item("http://127.0.0.1:9001/\"<x&y")
                .contains("href=\"http://127.0.0.1:9001/&quot;&lt;x&amp;y/\"")
        );
        assert!(PAGE.contains("{sandbox}"));
    }
}
