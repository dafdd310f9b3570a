//! What can go wrong with WeChat Pay, sorted by what to do about it.

use serde::Deserialize;

use crate::api::loggable;
use crate::pay::bill::BillError;
use crate::pay::signature::SignatureRefusal;
use crate::transport::TransportError;

/// A call to WeChat Pay that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// WeChat Pay understood the call and said no (or: later).
    #[error(transparent)]
    Refused(PayRefusal),
    /// No usable answer, after all attempts.
    #[error(transparent)]
    Transport(TransportError),
    /// An answer came, but it is not proven to be WeChat's. The call may have been processed.
    #[error("WeChat Pay's answer is not authentic: {reason} (Request-ID {request_id})")]
    Unverified {
        /// Why not.
        reason: SignatureRefusal,
        /// For WeChat's support.
        request_id: String,
    },
    /// An authentic answer that cannot be understood, or is about something else.
    #[error("WeChat Pay's answer has no usable {what} (Request-ID {request_id})")]
    Answer {
        /// What is missing or wrong.
        what: &'static str,
        /// For WeChat's support.
        request_id: String,
    },
    /// An argument that WeChat Pay would refuse; nothing was sent.
    #[error("{argument}: expected {expected}")]
    Argument {
        /// Which argument.
        argument: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The downloaded bill is not usable.
    #[error(transparent)]
    Bill(#[from] BillError),
    /// aws-lc could not make a signature.
    #[error("the request could not be signed")]
    Signing,
}

impl PayError {
    /// What WeChat Pay's refusal means, if it is one.
    pub fn refusal_kind(&self) -> Option<PayRefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind()),
            _ => None,
        }
    }

    /// True when the call may have taken effect: find out by a query, or repeat it with the same parameters; never with a
    /// new order or refund number.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(
                refusal.kind(),
                PayRefusalKind::Temporary | PayRefusalKind::Unproven | PayRefusalKind::UserPaying
            ),
            Self::Transport(error) => error.may_have_been_processed(),
            Self::Unverified { .. } | Self::Answer { .. } => true,
            Self::Argument { .. } | Self::Bill(_) | Self::Signing => false,
        }
    }

    /// Whether sending the same bytes again at once may help.
    pub(crate) fn may_repeat_now(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.kind() == PayRefusalKind::Temporary,
            Self::Transport(error) => !matches!(error, TransportError::AnswerTooLarge { .. }),
            Self::Unverified { reason, .. } => *reason == SignatureRefusal::Probe,
            _ => false,
        }
    }
}

/// WeChat Pay's error answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("WeChat Pay refused with {status} {code}: {message} (Request-ID {request_id})")]
pub struct PayRefusal {
    /// HTTP status.
    pub status: u16,
    /// `code` as WeChat spelled it this time; compare [`PayRefusal::kind`] instead.
    pub code: String,
    /// `message`, shortened, for the log.
    pub message: String,
    /// Which field is wrong (`detail.field`), if WeChat says so.
    pub field: Option<String>,
    /// For WeChat's support.
    pub request_id: String,
    /// Whether the answer was signed by WeChat Pay. Errors need not be.
    pub is_authentic: bool,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayRefusalKind {
    /// Outcome unknown: repeat with the same parameters, then query.
    Temporary,
    /// Too frequent: the same later.
    RateLimited,
    /// The order is paid: query and book it.
    AlreadyPaid,
    /// The order is closed: a new order number is needed.
    Closed,
    /// WeChat has never accepted such an order or refund: the same number may be used again.
    NotExist,
    /// The number was used with other parameters: query it.
    NumberUsed,
    /// A rule is broken, among them "already paid" and "number repeated": query the order, do not repeat.
    InvalidRequest,
    /// The state of the trade forbids this (also "already paid"): query the order.
    TradeState,
    /// The user is entering the password: query in five seconds.
    UserPaying,
    /// The merchant's balance does not suffice: the same refund number later.
    BalanceTooLow,
    /// The payer's account cannot do this.
    PayerAccount,
    /// Risk control or a limit of the business: show the failure, do not hammer.
    RiskControl,
    /// Keys, certificates, bindings or permissions: an operator has to act.
    Configuration,
    /// A parameter is wrong: repeating does not help.
    Parameter,
    /// There is no bill for that day, or not yet.
    BillNotReady,
    /// The code would settle the fate of an order, but the answer is not signed: query.
    Unproven,
    /// Any other code.
    Other,
}

impl PayRefusal {
    pub(crate) fn read(status: u16, body: &[u8], request_id: String, is_authentic: bool) -> Self {
        #[derive(Deserialize, Default)]
        struct Body {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
            detail: Option<Detail>,
        }
        #[derive(Deserialize)]
        struct Detail {
            // `value` and `issue` may quote what was sent, such as an openid.
            field: Option<String>,
        }
        // A gateway between may answer with HTML: then the status is all there is to know.
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        Self {
            status,
            code: loggable(&body.code),
            message: loggable(&body.message),
            field: body
                .detail
                .and_then(|detail| detail.field)
                .map(|field| loggable(&field)),
            request_id,
            is_authentic,
        }
    }

    /// What to do. An unsigned answer is not believed when it says what became of an order.
    pub fn kind(&self) -> PayRefusalKind {
        let kind = kind_of(self.status, &self.code);
        let is_decisive = matches!(
            kind,
            PayRefusalKind::AlreadyPaid
                | PayRefusalKind::Closed
                | PayRefusalKind::NotExist
                | PayRefusalKind::NumberUsed
                | PayRefusalKind::TradeState
                | PayRefusalKind::InvalidRequest
        );
        if is_decisive && !self.is_authentic {
            PayRefusalKind::Unproven
        } else {
            kind
        }
    }
}

/// The spelling of codes varies between pages and over time, by underscores only.
fn kind_of(status: u16, code: &str) -> PayRefusalKind {
    let code: String = code.chars().filter(|character| *character != '_').collect();
    match code.as_str() {
        "ORDERPAID" => PayRefusalKind::AlreadyPaid,
        "ORDERCLOSED" => PayRefusalKind::Closed,
        "ORDERNOTEXIST" | "RESOURCENOTEXISTS" | "REFUNDNOTEXIST" => PayRefusalKind::NotExist,
        "OUTTRADENOUSED" => PayRefusalKind::NumberUsed,
        "INVALIDREQUEST" => PayRefusalKind::InvalidRequest,
        "TRADEERROR" => PayRefusalKind::TradeState,
        "USERPAYING" => PayRefusalKind::UserPaying,
        "NOTENOUGH" => PayRefusalKind::BalanceTooLow,
        "ACCOUNTERROR" | "USERACCOUNTABNORMAL" => PayRefusalKind::PayerAccount,
        "RULELIMIT" => PayRefusalKind::RiskControl,
        "SIGNERROR" | "NOAUTH" | "APPIDMCHIDNOTMATCH" | "MCHNOTEXISTS" => {
            PayRefusalKind::Configuration
        }
        "PARAMERROR" | "OPENIDMISMATCH" | "INVALIDTRANSACTIONID" => PayRefusalKind::Parameter,
        "NOSTATEMENTEXIST" | "STATEMENTCREATING" => PayRefusalKind::BillNotReady,
        "FREQUENCYLIMITED" | "FREQUENCYLIMITEXCEED" | "RATELIMITEXCEED" | "RATELIMITEXCEEDED" => {
            PayRefusalKind::RateLimited
        }
        "SYSTEMERROR" | "BANKERROR" => PayRefusalKind::Temporary,
        _ => match status {
            401 => PayRefusalKind::Configuration,
            429 => PayRefusalKind::RateLimited,
            202 | 500.. => PayRefusalKind::Temporary,
            _ => PayRefusalKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, is_authentic: bool) -> PayRefusal {
        let body = format!(r#"{{"code":"{code}","message":"m"}}"#);
        PayRefusal::read(status, body.as_bytes(), String::new(), is_authentic)
    }

    #[test]
    fn both_spellings_of_a_code_mean_the_same() {
        for (left, right) in [
            ("SYSTEM_ERROR", "SYSTEMERROR"),
            ("NO_AUTH", "NOAUTH"),
            ("RULE_LIMIT", "RULELIMIT"),
            ("ORDER_NOT_EXIST", "ORDERNOTEXIST"),
            ("NOT_ENOUGH", "NOTENOUGH"),
            ("ORDER_CLOSED", "ORDERCLOSED"),
            ("ORDER_PAID", "ORDERPAID"),
            ("FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED"),
        ] {
            let kind = refusal(400, left, true).kind();
            assert_eq!(kind, refusal(400, right, true).kind(), "{left}");
            assert_ne!(kind, PayRefusalKind::Other, "{left}");
        }
    }

    #[test]
    fn an_unsigned_answer_does_not_settle_the_fate_of_an_order() {
        for code in [
            "ORDER_NOT_EXIST",
            "ORDER_CLOSED",
            "ORDERPAID",
            "TRADE_ERROR",
        ] {
            assert_eq!(refusal(404, code, false).kind(), PayRefusalKind::Unproven);
            let error = PayError::Refused(refusal(404, code, false));
            assert!(error.is_outcome_unknown());
            let error = PayError::Refused(refusal(404, code, true));
            assert!(!error.is_outcome_unknown());
        }
        assert_eq!(
            refusal(401, "SIGN_ERROR", false).kind(),
            PayRefusalKind::Configuration
        );
    }

    #[test]
    fn a_server_error_of_the_caller_is_not_repeated() {
        let may_repeat = |code| PayError::Refused(refusal(500, code, true)).may_repeat_now();
        assert!(may_repeat("SYSTEM_ERROR"));
        assert!(may_repeat("SOMETHING_NEW"));
        assert!(!may_repeat("OPENID_MISMATCH"));
        assert!(!may_repeat("INVALID_TRANSACTIONID"));
    }

    #[test]
    fn what_was_sent_is_not_repeated_in_the_error() {
        let body = r#"{"code":"PARAM_ERROR","message":"m","detail":{"field":"/payer/openid","value":"oSECRET","issue":"oSECRET"}}"#;
        let refusal = PayRefusal::read(400, body.as_bytes(), String::new(), true);
        assert_eq!(refusal.field.as_deref(), Some("/payer/openid"));
        assert!(!format!("{refusal:?} {refusal}").contains("oSECRET"));
    }
}
