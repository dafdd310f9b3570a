//! The one error type of the use cases. Which to use when:
//!
//! - [`Error::Invalid`]: the caller sent something wrong; names the field and what to do.
//! - [`Error::Unauthenticated`]: no token, or one that no longer opens the door; log in again.
//! - [`Error::Forbidden`]: known caller, not allowed.
//! - [`Error::NotFound`]: no such thing, or somebody else's: never told apart.
//! - [`Error::Conflict`]: an idempotency key used for something else.
//! - [`Error::Insufficient`]: not enough points. [`Error::KeyRefused`]: another limit of an API key.
//! - [`Error::Ended`]: what it was asked of is over for good.
//! - [`Error::TooMany`], [`Error::Maintenance`], [`Error::Busy`]: later.
//! - [`Error::Provider`]: WeChat or Alipay failed us; what failed is logged, not sent.
//! - [`Error::Internal`]: our fault; logged, not sent.
//!
//! Each API group maps it to its envelope in one place; [`Error::text`] is what people read.

use std::borrow::Cow;

use jifen_domain::key::KeyRefused;
use jifen_domain::text::TextError;
use jifen_domain::{Points, Time};

use crate::rate_limits::Limited;

/// In which language a person reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// 简体中文, unless the reader asks for English.
    #[default]
    Chinese,
    /// English.
    English,
}

/// A sentence in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    zh: Cow<'static, str>,
    en: Cow<'static, str>,
}

impl Text {
    /// A fixed sentence.
    pub const fn new(zh: &'static str, en: &'static str) -> Self {
        Self {
            zh: Cow::Borrowed(zh),
            en: Cow::Borrowed(en),
        }
    }

    /// A sentence made up at run time.
    pub fn owned(zh: String, en: String) -> Self {
        Self {
            zh: Cow::Owned(zh),
            en: Cow::Owned(en),
        }
    }

    /// The sentence in one language.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::Chinese => &self.zh,
            Language::English => &self.en,
        }
    }
}

/// What a use case answers when it does not do what was asked. Nothing has changed then, unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field is missing, mistyped or out of range.
    #[error("invalid {field}: {}", .text.en)]
    Invalid {
        /// The field's name in the request.
        field: &'static str,
        /// What is wrong and what to do.
        text: Text,
    },
    /// Not logged in.
    #[error("not authenticated: {}", .0.en)]
    Unauthenticated(Text),
    /// Not allowed.
    #[error("forbidden: {}", .0.en)]
    Forbidden(Text),
    /// Unknown, or somebody else's.
    #[error("not found: {}", .0.en)]
    NotFound(Text),
    /// The same key was used for something else.
    #[error("conflict: {}", .0.en)]
    Conflict(Text),
    /// The balance is too low.
    #[error("insufficient points: {available} left")]
    Insufficient {
        /// What can be spent.
        available: Points,
    },
    /// An API key may not do what was asked.
    #[error("the API key is refused: {}", .limit.name())]
    KeyRefused {
        /// Which limit refused.
        limit: Limit,
        /// What its account holds; `None` when the key is unknown.
        balance: Option<Points>,
        /// When to try again, of [`Limit::Rate`].
        limited: Option<Limited>,
    },
    /// Over for good.
    #[error("ended: {}", .0.en)]
    Ended(Text),
    /// Asked too often.
    #[error("too many requests")]
    TooMany(Limited),
    /// Closed by the operator.
    #[error("in maintenance")]
    Maintenance {
        /// The operator's words.
        message: String,
        /// Expected end.
        ends_at: Option<Time>,
    },
    /// Overloaded, or the database is away for a moment.
    #[error("busy: {0}")]
    Busy(Box<dyn std::error::Error + Send + Sync>),
    /// A provider did not do its part.
    #[error("{} failed: {cause}", .provider.en)]
    Provider {
        /// Which one, for people.
        provider: Text,
        /// For the log.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that must not happen.
    #[error("internal error: {0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

/// Which limit refused an API key. The lack of points is [`Error::Insufficient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No such key, or deleted.
    Unknown,
    /// Its time is over.
    Expired,
    /// Switched off by its holder.
    Inactive,
    /// The call does not come from where the key may be used.
    Ip,
    /// The key is not for this route.
    Scope,
    /// It was used too often.
    Rate,
    /// It has spent what it may in a day, a month, or in all.
    KeyCap,
    /// Its account has as many open holds as there may be.
    Holds,
}

impl Limit {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
            Self::Ip => "ip",
            Self::Scope => "scope",
            Self::Rate => "rate",
            Self::KeyCap => "key_cap",
            Self::Holds => "holds",
        }
    }

    fn text(self, retry_after_seconds: Option<i64>) -> Text {
        match self {
            Self::Unknown => Text::new("没有这个 API Key", "no such API key"),
            Self::Expired => Text::new("API Key 已过期", "the API key has expired"),
            Self::Inactive => Text::new("API Key 已停用", "the API key is inactive"),
            Self::Ip => Text::new(
                "API Key 不允许从这个 IP 地址使用",
                "the API key may not be used from this IP address",
            ),
            Self::Scope => Text::new(
                "API Key 无权调用这个接口",
                "the API key may not be used for this route",
            ),
            Self::Rate => {
                let seconds = retry_after_seconds.unwrap_or(1);
                Text::owned(
                    format!("请求过于频繁，请 {seconds} 秒后重试"),
                    format!("too many requests, try again in {seconds} s"),
                )
            }
            Self::KeyCap => Text::new(
                "API Key 的积分限额已用完，请提高限额或等下一周期",
                "the API key has reached its cap: raise it or wait for the next period",
            ),
            Self::Holds => Text::new(
                "预占过多，请先完成或释放",
                "too many open holds: capture or release some",
            ),
        }
    }
}

/// What use cases return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An invalid field.
    pub const fn invalid(field: &'static str, text: Text) -> Self {
        Self::Invalid { field, text }
    }

    /// A mistake of ours, for the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// WeChat's fault.
    pub fn wechat(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Provider {
            provider: Text::new("微信", "WeChat"),
            cause: cause.into(),
        }
    }

    /// Alipay's fault.
    pub fn alipay(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Provider {
            provider: Text::new("支付宝", "Alipay"),
            cause: cause.into(),
        }
    }

    /// A feature that the operator has not configured.
    pub const fn not_configured(zh: &'static str, en: &'static str) -> Self {
        Self::Forbidden(Text::new(zh, en))
    }

    /// A refused line of text in a field.
    pub fn from_text(field: &'static str, error: TextError) -> Self {
        let text = match error {
            TextError::Blank => Text::new("不能为空", "must not be blank"),
            TextError::Control => {
                Text::new("不能包含控制字符", "must not contain control characters")
            }
            TextError::TooLong { chars_max } => Text::owned(
                format!("不能超过 {chars_max} 个字符"),
                format!("must not be longer than {chars_max} characters"),
            ),
        };
        Self::Invalid { field, text }
    }

    /// Whether the cause belongs into the log: what the caller could not have avoided.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Busy(_) | Self::Provider { .. } | Self::Internal(_)
        )
    }

    /// What the caller is told: what is wrong, and what to do.
    pub fn text(&self, language: Language) -> String {
        let text = match self {
            Self::Invalid { field, text } => {
                return format!("{field}: {}", text.in_language(language));
            }
            Self::Unauthenticated(text)
            | Self::Forbidden(text)
            | Self::NotFound(text)
            | Self::Ended(text)
            | Self::Conflict(text) => text.clone(),
            Self::KeyRefused { limit, limited, .. } => {
                limit.text(limited.map(|limited| limited.retry_after_seconds))
            }
            Self::Insufficient { available } => Text::owned(
                format!("积分不足，可用 {}，请先充值", available.get()),
                format!(
                    "not enough points: {} left, buy more first",
                    available.get()
                ),
            ),
            Self::TooMany(Limited {
                retry_after_seconds,
                ..
            }) => Text::owned(
                format!("请求过于频繁，请 {retry_after_seconds} 秒后重试"),
                format!("too many requests, try again in {retry_after_seconds} s"),
            ),
            Self::Maintenance { message, ends_at } => {
                let until = ends_at.map(Time::to_rfc3339);
                let zh = until
                    .as_ref()
                    .map(|at| format!("（预计 {at} 结束）"))
                    .unwrap_or_default();
                let en = until
                    .map(|at| format!(" (expected to end at {at})"))
                    .unwrap_or_default();
                Text::owned(
                    format!("系统维护中：{message}{zh}"),
                    format!("in maintenance: {message}{en}"),
                )
            }
            Self::Busy(_) => Text::new("系统繁忙，请稍后重试", "busy, try again in a moment"),
            Self::Provider { provider, .. } => Text::owned(
                format!("{}暂时不可用，请稍后重试", provider.zh),
                format!(
                    "{} is not available at the moment, try again later",
                    provider.en
                ),
            ),
            Self::Internal(_) => Text::new("服务器内部错误", "internal server error"),
        };
        text.in_language(language).to_owned()
    }
}

impl From<jifen_store::Error> for Error {
    fn from(error: jifen_store::Error) -> Self {
        match error {
            busy @ (jifen_store::Error::Busy | jifen_store::Error::Unavailable(_)) => {
                Self::Busy(busy.into())
            }
            other => Self::Internal(other.into()),
        }
    }
}

impl From<KeyRefused> for Limit {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::Unknown => Self::Unknown,
            KeyRefused::Expired => Self::Expired,
            KeyRefused::Inactive => Self::Inactive,
            KeyRefused::Ip => Self::Ip,
            KeyRefused::Scope => Self::Scope,
        }
    }
}
