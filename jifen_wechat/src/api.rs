//! Calls to `api.weixin.qq.com`: JSON with an `errcode`, HTTP 200 also for errors.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::token::TokenStoreError;
use crate::transport::{self, CallLimits, TransportError};

/// A call to `api.weixin.qq.com` that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// WeChat understood the call and said no.
    #[error(transparent)]
    Refused(Refusal),
    /// No usable answer, after all attempts.
    #[error(transparent)]
    Transport(TransportError),
    /// WeChat reported success without a value that success has to carry.
    #[error("WeChat's answer lacks {0}")]
    Incomplete(&'static str),
    /// An argument that WeChat would refuse; nothing was sent.
    #[error("{argument}: expected {expected}")]
    Argument {
        /// Which argument.
        argument: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The caller's token store failed.
    #[error(transparent)]
    TokenStore(TokenStoreError),
    /// The access token that the call needs could not be got; shared by all calls that waited for it.
    #[error("no access token")]
    NoToken(#[source] Arc<ApiError>),
    /// The process is shutting down.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// Other nodes kept replacing the access token while this one tried to.
    #[error("the access token was replaced by others in every one of {rounds} rounds")]
    TokenContended {
        /// How often it was tried.
        rounds: u32,
    },
}

impl ApiError {
    /// What WeChat's refusal means, if it is one.
    pub fn refusal_kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind),
            Self::NoToken(cause) => cause.refusal_kind(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(
                refusal.kind,
                RefusalKind::Busy | RefusalKind::RateLimited | RefusalKind::QuotaUsedUp
            ),
            Self::NoToken(cause) => cause.is_temporary(),
            Self::Transport(_)
            | Self::TokenStore(_)
            | Self::ShuttingDown
            | Self::TokenContended { .. } => true,
            Self::Incomplete(_) | Self::Argument { .. } => false,
        }
    }
}

/// WeChat's `errcode` and `errmsg`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("WeChat refused {call}: {code} {message}")]
pub struct Refusal {
    /// The call, for the log.
    pub call: &'static str,
    /// `errcode`.
    pub code: i64,
    /// `errmsg`, shortened: for the log (it ends with the `rid` WeChat's support asks for), never to be parsed.
    pub message: String,
    /// What the code means.
    pub kind: RefusalKind,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// Busy (-1): later.
    Busy,
    /// The code from the client is wrong, expired or of another app: the client must get a new one.
    CodeInvalid,
    /// The code was used before. After a lost answer this may have been our own first attempt.
    CodeUsed,
    /// WeChat blocks this user as high-risk: refuse the login.
    UserBlocked,
    /// Too frequent: back off.
    RateLimited,
    /// The daily quota of this interface is used up: stop until tomorrow.
    QuotaUsedUp,
    /// The access token was refused, also after a new one was fetched.
    AccessToken,
    /// The openid is not known to this app, or its owner does not follow the account.
    OpenidUnknown,
    /// The receiver has to follow the account first.
    NotFollowing,
    /// The receiver is restricted or does not want such messages.
    ReceiverRefuses,
    /// The template id is not one of this account, or the data does not fit the template.
    Template,
    /// `AppID`, `AppSecret`, caller IP or permission: an operator has to act, repeating does not help.
    Configuration,
    /// Any other code.
    Other,
}

impl RefusalKind {
    fn of(code: i64) -> Self {
        match code {
            -1 => Self::Busy,
            40029 | 41008 => Self::CodeInvalid,
            40163 => Self::CodeUsed,
            40226 => Self::UserBlocked,
            45011 => Self::RateLimited,
            45009 => Self::QuotaUsedUp,
            40001 | 42001 | 40014 => Self::AccessToken,
            40003 => Self::OpenidUnknown,
            43004 | 50005 => Self::NotFollowing,
            43101 | 50002 => Self::ReceiverRefuses,
            40037 | 47003 => Self::Template,
            40002 | 40013 | 40125 | 40164 | 40243 | 41002 | 41004 | 48001 | 48004 | 50004
            | 50007 | 89503 | 89506 | 89507 => Self::Configuration,
            _ => Self::Other,
        }
    }
}

/// When a call may be sent again after no usable answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A second execution does no harm.
    Always,
    /// Only when it is certain that the first was not executed.
    OnlyUnprocessed,
}

pub(crate) struct Call<'a> {
    /// For errors and the log.
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) query: Vec<(&'static str, &'a str)>,
    /// JSON; GET without, POST with.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) repeat: Repeat,
}

#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) limits: CallLimits,
}

impl Api {
    /// Sends the call, again where that is safe, and reads the answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ApiError> {
        let mut attempt = 1;
        loop {
            let error = match self.call_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if attempt >= self.limits.attempts_max || !may_repeat(&error, call.repeat) {
                return Err(error);
            }
            tracing::debug!(call = call.name, attempt, %error, "WeChat call is repeated");
            tokio::time::sleep(self.limits.delay_after(attempt)).await;
            attempt += 1;
        }
    }

    async fn call_once<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ApiError> {
        let mut url = transport::endpoint(&self.base, call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let method = if call.body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = reqwest::Request::new(method, url);
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = &call.body {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        let answer = transport::send(
            &self.http,
            request,
            self.limits.timeout,
            self.limits.answer_bytes_max,
        )
        .await
        .map_err(ApiError::Transport)?;
        if answer.status != 200 {
            return Err(ApiError::Transport(TransportError::Status {
                status: answer.status,
            }));
        }
        read(call.name, &answer.body)
    }
}

fn may_repeat(error: &ApiError, repeat: Repeat) -> bool {
    match error {
        // WeChat says itself that it did nothing.
        ApiError::Refused(refusal) => refusal.kind == RefusalKind::Busy,
        ApiError::Transport(TransportError::AnswerTooLarge { .. }) => false,
        ApiError::Transport(error) => repeat == Repeat::Always || !error.may_have_been_processed(),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    errcode: i64,
    #[serde(default)]
    errmsg: String,
}

fn read<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, ApiError> {
    // The content type is not looked at: older interfaces label their JSON text/plain.
    let not_json = |error: serde_json::Error| {
        ApiError::Transport(TransportError::NotJson {
            line: error.line(),
            column: error.column(),
        })
    };
    let outcome: Outcome = serde_json::from_slice(body).map_err(not_json)?;
    if outcome.errcode != 0 {
        return Err(ApiError::Refused(Refusal {
            call,
            code: outcome.errcode,
            message: loggable(&outcome.errmsg),
            kind: RefusalKind::of(outcome.errcode),
        }));
    }
    serde_json::from_slice(body).map_err(not_json)
}

/// Foreign text made fit for one line of a log.
pub(crate) fn loggable(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(CHARACTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_may_have_been_processed_is_repeated_only_where_that_is_harmless() {
        let timed_out = ApiError::Transport(TransportError::TimedOut {
            timeout_milliseconds: 1,
        });
        assert!(may_repeat(&timed_out, Repeat::Always));
        assert!(!may_repeat(&timed_out, Repeat::OnlyUnprocessed));
        let busy = read::<Outcome>("x", br#"{"errcode":-1,"errmsg":"busy"}"#)
            .err()
            .unwrap();
        assert!(may_repeat(&busy, Repeat::OnlyUnprocessed));
        let wrong = read::<Outcome>("x", br#"{"errcode":40029}"#).err().unwrap();
        assert!(!may_repeat(&wrong, Repeat::Always));
    }

    #[test]
    fn foreign_text_cannot_break_the_log() {
        assert_eq!(loggable("a\nb\u{1b}c"), "a b c");
        assert_eq!(loggable(&"长".repeat(1000)).chars().count(), 200);
    }
}
