//! What can go wrong with a call.

use crate::failure::{Failure, FailureKind};
use crate::keys::SigningError;

/// A call did not bring its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request was not sent: the caller's arguments do not fit.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The exchange failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer cannot be trusted or understood. What happened at Alipay is unknown.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Alipay refused.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Error {
    /// What Alipay's refusal means, when it is one.
    pub fn failure_kind(&self) -> Option<FailureKind> {
        match self {
            Self::Failed(failure) => Some(failure.kind),
            _ => None,
        }
    }

    /// False when it is certain that Alipay has done nothing; otherwise repeat unchanged or query.
    pub fn may_have_been_processed(&self) -> bool {
        match self {
            Self::Request(_) => false,
            Self::Transport(error) => error.may_have_been_processed(),
            Self::Answer(_) => true,
            Self::Failed(failure) => failure.kind == FailureKind::System,
        }
    }

    /// Whether repeating at once can help.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        match self {
            Self::Transport(
                TransportError::NotConnected(_)
                | TransportError::TimedOut { .. }
                | TransportError::Interrupted(_),
            ) => true,
            Self::Transport(TransportError::Status { status }) => *status >= 500,
            Self::Failed(failure) => failure.kind == FailureKind::System,
            _ => false,
        }
    }
}

/// An argument that Alipay would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A value outside its rule.
    #[error("{field}: {rule}")]
    Field {
        /// Alipay's name of the parameter.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The request could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// The exchange did not bring an answer. Never contains the URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The request did not leave: nothing has happened at Alipay.
    #[error("no connection to Alipay")]
    NotConnected(#[source] reqwest::Error),
    /// No complete answer in time; the request may have been processed.
    #[error("Alipay did not answer within {timeout_milliseconds} ms")]
    TimedOut {
        /// The time-out that passed.
        timeout_milliseconds: u128,
    },
    /// The connection broke; the request may have been processed.
    #[error("the connection to Alipay broke")]
    Interrupted(#[source] reqwest::Error),
    /// The answer is larger than allowed.
    #[error("Alipay's answer is larger than {bytes_max} bytes")]
    AnswerTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// Not HTTP 200, which is all the gateway uses: probably something between.
    #[error("HTTP status {status} in place of an answer of Alipay")]
    Status {
        /// The status.
        status: u16,
    },
}

impl TransportError {
    /// False when it is certain that the request never reached Alipay.
    pub fn may_have_been_processed(&self) -> bool {
        !matches!(self, Self::NotConnected(_))
    }
}

/// An answer that is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not the JSON object the protocol describes.
    #[error("Alipay's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// A name occurs twice on the top level: readers could disagree about which one is signed.
    #[error("Alipay's answer repeats a name")]
    Repeated,
    /// It claims success or a verdict on a trade without a signature.
    #[error("Alipay's answer is not signed")]
    Unsigned,
    /// The signature is not by the Alipay key of the settings.
    #[error(
        "the signature of Alipay's answer is wrong: most often the setting holds the app public key in place of Alipay's"
    )]
    Signature,
    /// Signed with another certificate than the one of the settings.
    #[error(
        "Alipay has changed its certificate (now {alipay_cert_sn}): download the Alipay public certificate again"
    )]
    CertificateRotated {
        /// The serial number of the new one.
        alipay_cert_sn: String,
    },
    /// Authentic, but about another trade than the one asked for.
    #[error("Alipay's answer is about another trade")]
    OtherTrade,
    /// Authentic, but a field is missing or not what it should be.
    #[error("Alipay's answer has no usable {0}")]
    Field(&'static str),
    /// The bill is not a ZIP of CSV files as expected.
    #[error("the bill cannot be read: {0}")]
    Bill(&'static str),
}
