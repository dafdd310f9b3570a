//! What Alipay says when it refuses: classified by code, never by text.

/// Alipay answered and refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Alipay refused with code {code}{}{}: {}",
    if sub_code.is_empty() { "" } else { ", " }, sub_code, kind.advice())]
pub struct Failure {
    /// The gateway's code, such as `40004`.
    pub code: String,
    /// The reason, such as `ACQ.TRADE_NOT_EXIST`; empty when the gateway gives none.
    pub sub_code: String,
    /// Alipay's words (`sub_msg`, else `msg`). For `isv.invalid-signature` they repeat the request's parameters, so
    /// they are left out of `Display`.
    pub message: String,
    /// What it means.
    pub kind: FailureKind,
    /// Whether the answer was signed. Verdicts on a trade are accepted only signed; faults of the gateway's front
    /// come unsigned.
    pub is_signed: bool,
}

/// What a refusal means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// Outcome unknown: the same parameters again, then query. The client has already repeated within its limits.
    System,
    /// No such trade: the buyer never reached the cashier. A form already shown can still create it until it expires.
    TradeNotExist,
    /// The trade's state does not allow it: query, it may be paid.
    TradeState,
    /// The trade is paid: query and book.
    TradePaid,
    /// The trade is closed: a new `out_trade_no` is needed.
    TradeClosed,
    /// The trade is finished: nothing can be closed or refunded any more.
    TradeFinished,
    /// The `out_trade_no` was used with another amount or subject.
    TradeNumberReused,
    /// Alipay does not accept the amount or a word of the subject.
    ContentRefused,
    /// The seller's balance does not cover the refund: top up, then repeat unchanged.
    SellerBalance,
    /// The refund's amount is wrong.
    RefundAmount,
    /// The trade cannot be refunded by this interface.
    RefundNotAllowed,
    /// The `out_request_no` was used with another amount.
    RefundNumberReused,
    /// No bill for that day: empty, or not made yet (about 10 o'clock the next day, Beijing).
    BillNotReady,
    /// Too many calls: wait before the next one.
    RateLimited,
    /// The app, its keys or its contract are not set up as they must be.
    Configuration(ConfigurationFault),
    /// A parameter is missing or invalid.
    InvalidRequest,
    /// A code not known here.
    Other,
}

/// What is wrong with the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigurationFault {
    /// The gateway cannot verify our signature.
    Signature,
    /// The app is not known at this gateway.
    AppId,
    /// The request's time is too far from Alipay's.
    Clock,
    /// The app lacks the product or is not online.
    Permission,
    /// The contract or the seller's account does not allow it.
    Contract,
    /// An authorisation token is asked for.
    AuthToken,
    /// The certificates' serial numbers are missing or unknown.
    Certificate,
}

impl FailureKind {
    /// Classifies a refusal. Codes as in Alipay's documentation; some come with `aop.` before them.
    pub fn of(code: &str, sub_code: &str) -> Self {
        match sub_code.strip_prefix("aop.").unwrap_or(sub_code) {
            "ACQ.SYSTEM_ERROR" | "isp.unknow-error" | "unknow-error" => Self::System,
            "ACQ.TRADE_NOT_EXIST" => Self::TradeNotExist,
            "ACQ.TRADE_STATUS_ERROR"
            | "ACQ.REASON_TRADE_STATUS_INVALID"
            | "ACQ.REASON_ILLEGAL_STATUS" => Self::TradeState,
            "ACQ.TRADE_HAS_SUCCESS" => Self::TradePaid,
            "ACQ.TRADE_HAS_CLOSE" => Self::TradeClosed,
            "ACQ.TRADE_HAS_FINISHED" => Self::TradeFinished,
            "ACQ.CONTEXT_INCONSISTENT" => Self::TradeNumberReused,
            "ACQ.TOTAL_FEE_EXCEED" | "ACQ.EXIST_FORBIDDEN_WORD" => Self::ContentRefused,
            "ACQ.SELLER_BALANCE_NOT_ENOUGH" => Self::SellerBalance,
            "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL" | "ACQ.REASON_TRADE_REFUND_FEE_ERR" => {
                Self::RefundAmount
            }
            "ACQ.REASON_TRADE_BEEN_FREEZEN" | "ACQ.TRADE_NOT_ALLOW_REFUND" => {
                Self::RefundNotAllowed
            }
            "ACQ.DISCORDANT_REPEAT_REQUEST" => Self::RefundNumberReused,
            "isp.bill_not_exist" => Self::BillNotReady,
            "isv.invalid-signature" | "isv.missing-signature" | "isv.invalid-signature-type" => {
                Self::Configuration(ConfigurationFault::Signature)
            }
            "isv.invalid-app-id" | "isv.missing-app-id" => {
                Self::Configuration(ConfigurationFault::AppId)
            }
            "isv.invalid-timestamp" => Self::Configuration(ConfigurationFault::Clock),
            "ACQ.ACCESS_FORBIDDEN" | "ACQ.PARTNER_ERROR" => {
                Self::Configuration(ConfigurationFault::Contract)
            }
            sub_code if sub_code.starts_with("isv.") && sub_code.contains("cert-sn") => {
                Self::Configuration(ConfigurationFault::Certificate)
            }
            "ACQ.INVALID_PARAMETER" => Self::InvalidRequest,
            _ => Self::of_code(code),
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            "20000" => Self::System,
            "20001" => Self::Configuration(ConfigurationFault::AuthToken),
            "40001" | "40002" | "40003" => Self::InvalidRequest,
            "40005" => Self::RateLimited,
            "40006" => Self::Configuration(ConfigurationFault::Permission),
            _ => Self::Other,
        }
    }

    /// Whether it says something about a trade or a refund, and so is worth nothing without a signature.
    pub fn is_verdict_on_trade(self) -> bool {
        !matches!(
            self,
            Self::System
                | Self::RateLimited
                | Self::Configuration(_)
                | Self::InvalidRequest
                | Self::BillNotReady
                | Self::Other
        )
    }

    /// What to do, in the operator's words.
    pub fn advice(self) -> &'static str {
        match self {
            Self::System => "Alipay is in trouble; repeat unchanged, then query",
            Self::TradeNotExist => "there is no such trade",
            Self::TradeState => "the trade's state does not allow it; query it",
            Self::TradePaid => "the trade is paid already",
            Self::TradeClosed => "the trade is closed",
            Self::TradeFinished => "the trade is finished",
            Self::TradeNumberReused => "the order number was used with another amount or subject",
            Self::ContentRefused => "the amount or a word of the subject is not accepted",
            Self::SellerBalance => "the seller's balance is too low; top up and repeat unchanged",
            Self::RefundAmount => "the refund's amount is wrong",
            Self::RefundNotAllowed => "the trade cannot be refunded through the interface",
            Self::RefundNumberReused => "the refund number was used with another amount",
            Self::BillNotReady => "there is no bill for that day, or not yet",
            Self::RateLimited => "too many calls; wait",
            Self::Configuration(fault) => fault.advice(),
            Self::InvalidRequest => "a parameter is missing or invalid",
            Self::Other => "see Alipay's documentation for the code",
        }
    }
}

impl ConfigurationFault {
    /// What to do, in the operator's words.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Signature => {
                "Alipay cannot verify our signature: the app private key does not belong to the app public key \
                 (or certificate) that was uploaded in Alipay's console"
            }
            Self::AppId => {
                "the app id is not known at this gateway: production and sandbox have different apps, and the app \
                 must be online"
            }
            Self::Clock => "the clock of this machine is wrong; synchronise it",
            Self::Permission => {
                "the app lacks the product: sign the contract for it in Alipay's console, add it to the app and put \
                 the app online"
            }
            Self::Contract => {
                "the seller's contract or account does not allow it; see Alipay's console"
            }
            Self::AuthToken => {
                "Alipay asks for an authorisation token: the app does not belong to this seller"
            }
            Self::Certificate => {
                "Alipay does not know the certificates: download app, Alipay and root certificate again and check the \
                 app's key mode in the console"
            }
        }
    }
}
