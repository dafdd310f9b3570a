//! The pages: who one is, the chat, the cashiers' neighbours, faults, exchanges, mails, the kit.
//!
//! A page is a struct beside its handler; [`face`] surrounds them all and remembers in which language the visitor reads.

use askama::Template;
use axum::{
    Json, Router,
    body::to_bytes,
    extract::Request,
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::{payments::ActionError, sandbox::Sandbox};

mod account;
mod exchanges;
mod faults;
mod home;
mod kit;
mod mails;
mod people;
mod qr;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/sandbox") }))
        .route("/sandbox", get(home::show))
        .route("/sandbox/people", post(people::create))
        .route("/sandbox/people/{id}", get(people::show).post(people::act))
        .route("/sandbox/people/{id}/avatar.svg", get(people::avatar))
        .route("/sandbox/qr/{code}", get(qr::show).post(qr::scan))
        .route(
            "/sandbox/official-account",
            get(account::show).post(account::change),
        )
        .route("/sandbox/faults", get(faults::show).post(faults::change))
        .route(
            "/sandbox/exchanges",
            get(exchanges::list).post(exchanges::clear),
        )
        .route("/sandbox/exchanges/{id}", get(exchanges::show))
        .route(
            "/sandbox/notifications",
            get(exchanges::notifications).post(exchanges::resend),
        )
        .route("/sandbox/mails", get(mails::show).post(mails::clear))
        .route("/sandbox/kit", get(kit::show))
        .route(
            "/sandbox/{*rest}",
            get(|| async { ActionError::NotFound("page") }),
        )
}

/// The two languages of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Chinese,
    English,
}

#[derive(Debug, Clone, Copy)]
struct Face {
    language: Language,
    /// The control API: errors are JSON.
    is_api: bool,
}

tokio::task_local! {
    static FACE: Face;
}

/// Bytes of an error the framework writes.
const ERROR_BYTES_MAX: usize = 16 * 1024;
const LANGUAGE_COOKIE: &str = "jifen_sandbox_language";

/// Middleware around pages and control API: the language (from `?lang=`, which is remembered, the cookie, or the browser) and the
/// form of errors.
pub(crate) async fn face(request: Request, next: Next) -> Response {
    let asked = request.uri().query().and_then(|query| {
        let value = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "lang")?
            .1;
        language_named(&value)
    });
    let language = asked.unwrap_or_else(|| language_of(request.headers()));
    let face = Face {
        language,
        is_api: request.uri().path().starts_with("/sandbox/api"),
    };
    let mut response = FACE.scope(face, next.run(request)).await;
    if face.is_api {
        response = with_json_error(response).await;
    }
    if let Some(asked) = asked {
        let cookie = format!(
            "{LANGUAGE_COOKIE}={}; Path=/sandbox; SameSite=Lax; Max-Age=31536000",
            name_of(asked)
        );
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Gives the texts with which the framework refuses a request (a body that is not JSON, a missing member) the form that the
/// control API's own errors have.
async fn with_json_error(response: Response) -> Response {
    let (status, content_type) = (
        response.status(),
        response.headers().get(header::CONTENT_TYPE),
    );
    let is_text = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if !status.is_client_error() || !is_text {
        return response;
    }
    let text = to_bytes(response.into_body(), ERROR_BYTES_MAX)
        .await
        .unwrap_or_default();
    (
        status,
        Json(json!({"error": String::from_utf8_lossy(&text)})),
    )
        .into_response()
}

fn language_named(name: &str) -> Option<Language> {
    match name.get(..2)? {
        "zh" => Some(Language::Chinese),
        "en" => Some(Language::English),
        _ => None,
    }
}

const fn name_of(language: Language) -> &'static str {
    match language {
        Language::Chinese => "zh",
        Language::English => "en",
    }
}

fn language_of(headers: &HeaderMap) -> Language {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let cookie = text(header::COOKIE)
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix(LANGUAGE_COOKIE)?.strip_prefix('='))
        .and_then(language_named);
    let preferred = || {
        text(header::ACCEPT_LANGUAGE)
            .split(',')
            .find_map(|range| language_named(range.trim()))
    };
    cookie.or_else(preferred).unwrap_or(Language::Chinese)
}

fn current() -> Face {
    FACE.try_with(|face| *face).unwrap_or(Face {
        language: Language::Chinese,
        is_api: false,
    })
}

/// `zh` or `en`, for the `lang` attribute.
pub(crate) fn language() -> &'static str {
    name_of(current().language)
}

/// Whichever of the two texts the visitor reads. Callable from templates: `{{ crate::pages::t("收银台", "Cashier") }}`.
pub(crate) fn t<'a>(chinese: &'a str, english: &'a str) -> &'a str {
    match current().language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}

/// An amount in yuan, e.g. `¥1.68`.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "askama hands over fields by reference"
)]
pub(crate) fn yuan(fen: &i64) -> String {
    format!(
        "{}¥{}.{:02}",
        if *fen < 0 { "-" } else { "" },
        fen.unsigned_abs() / 100,
        fen.unsigned_abs() % 100
    )
}

/// A moment in Beijing time, to the second.
pub(crate) fn moment(at: &jiff::Timestamp) -> String {
    crate::beijing::plain(*at)
}

/// A page as HTML.
pub(crate) fn render(page: &impl Template) -> Result<Html<String>, ActionError> {
    page.render().map(Html).map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        ActionError::Conflict("the page cannot be rendered".into())
    })
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    message: String,
}

impl IntoResponse for ActionError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        };
        let message = self.to_string();
        if current().is_api {
            return (status, Json(json!({"error": message}))).into_response();
        }
        match (ErrorPage {
            message: message.clone(),
        })
        .render()
        {
            Ok(page) => (status, Html(page)).into_response(),
            Err(_) => (status, message).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_wins_over_the_browser_and_chinese_is_the_default() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect()
        };
        assert_eq!(language_of(&headers(&[])), Language::Chinese);
        assert_eq!(
            language_of(&headers(&[("accept-language", "de,en-GB;q=0.8")])),
            Language::English
        );
        let both = [
            ("accept-language", "en"),
            ("cookie", "a=b; jifen_sandbox_language=zh"),
        ];
        assert_eq!(language_of(&headers(&both)), Language::Chinese);
        assert_eq!(
            language_of(&headers(&[("accept-language", "*")])),
            Language::Chinese
        );
    }

    #[test]
    fn fen_are_shown_as_yuan() {
        assert_eq!(
            (yuan(&168), yuan(&5), yuan(&-250)),
            ("¥1.68".into(), "¥0.05".into(), "-¥2.50".into())
        );
    }
}
