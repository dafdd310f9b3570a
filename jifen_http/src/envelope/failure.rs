//! What can go wrong with a request: what a use case says, and what HTTP adds.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use jifen_app::{Error, Language, Limited, Text};
use jifen_domain::Time;

use crate::request::rates::rate_headers;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A use case or an extractor refused.
    Refused(Error),
    /// The same, under a code of its own in version 2.
    Named {
        /// The problem's code.
        code: &'static str,
        /// The refusal.
        error: Error,
    },
    /// Nothing is at this path.
    NoSuchPath,
    /// Something is, but not for this method.
    MethodNotAllowed,
    /// More than the server reads.
    BodyTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// Not answered in time. What was under way has been given up.
    TimedOut,
    /// More requests at once than the server takes.
    Overloaded,
    /// A bug; the panic itself is in the log.
    Panicked,
}

/// A failure on its way to where it gets its envelope.
#[derive(Clone)]
pub(crate) struct Carried(pub(crate) Arc<Failure>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Carried(Arc::new(self)));
        response
    }
}

impl Failure {
    /// What the caller is told: what is wrong, and what to do.
    pub(crate) fn text(&self, language: Language) -> String {
        let text = match self {
            Self::Refused(error) | Self::Named { error, .. } => return error.text(language),
            Self::NoSuchPath => {
                Text::new("没有这个接口，请检查路径", "there is nothing at this path")
            }
            Self::MethodNotAllowed => Text::new(
                "请求方式不支持，见 Allow 响应头",
                "this method is not allowed here, see the Allow header",
            ),
            Self::BodyTooLarge { bytes_max } => Text::owned(
                format!("请求体不能超过 {bytes_max} 字节"),
                format!("the body must not be longer than {bytes_max} bytes"),
            ),
            Self::TimedOut => Text::new(
                "处理超时，请稍后重试",
                "this took too long, try again later",
            ),
            Self::Overloaded => Text::new("系统繁忙，请稍后重试", "busy, try again in a moment"),
            Self::Panicked => Text::new("服务器内部错误", "internal server error"),
        };
        text.in_language(language).to_owned()
    }

    /// The headers that say when to try again, where that is known or can be guessed, and how often the caller may.
    pub(crate) fn retry_headers(&self, now: Time) -> Vec<(HeaderName, HeaderValue)> {
        let seconds = self.retry_after_seconds(now);
        let retry = seconds.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds)));
        let rates = self.limited().map(|limited| rate_headers(&limited.rates));
        retry.into_iter().chain(rates.unwrap_or_default()).collect()
    }

    fn limited(&self) -> Option<&Limited> {
        match self {
            Self::Refused(Error::TooMany(limited)) => Some(limited),
            Self::Refused(Error::KeyRefused { limited, .. }) => limited.as_ref(),
            _ => None,
        }
    }

    fn retry_after_seconds(&self, now: Time) -> Option<i64> {
        if let Some(limited) = self.limited() {
            return Some(limited.retry_after_seconds);
        }
        match self {
            Self::Refused(Error::Maintenance { ends_at, .. }) => {
                ends_at.map(|at| at.seconds().saturating_sub(now.seconds()).max(1))
            }
            Self::Refused(Error::Busy(_)) | Self::Overloaded | Self::TimedOut => Some(1),
            _ => None,
        }
    }

    /// Writes down what the caller could not have avoided, once.
    pub(crate) fn log(&self) {
        match self {
            Self::Refused(error @ Error::Busy(_)) => {
                tracing::warn!(%error, "a request was refused");
            }
            Self::Refused(error) if error.is_ours() => tracing::error!(%error, "a request failed"),
            Self::TimedOut => tracing::warn!("a request took too long"),
            _ => {}
        }
    }
}
