//! One trade at Alipay: what the merchant ordered, who buys, and its four states.

use jiff::{SignedDuration, Timestamp};

use super::charset::Charset;

/// How long a trade stays payable when the merchant said nothing.
pub(crate) const PAYABLE_DEFAULT: SignedDuration = SignedDuration::from_hours(15 * 24);

/// `trade_status`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    WaitBuyerPay,
    Success,
    Finished,
    Closed,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::WaitBuyerPay => "WAIT_BUYER_PAY",
            Self::Success => "TRADE_SUCCESS",
            Self::Finished => "TRADE_FINISHED",
            Self::Closed => "TRADE_CLOSED",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::WaitBuyerPay,
            Self::Success,
            Self::Finished,
            Self::Closed,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }
}

/// What the merchant's page-pay request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) out_trade_no: String,
    pub(crate) total_fen: i64,
    pub(crate) subject: String,
    pub(crate) body: Option<String>,
    pub(crate) passback_params: Option<String>,
    pub(crate) deadline: Deadline,
    pub(crate) notify_url: Option<String>,
    pub(crate) return_url: Option<String>,
    /// In which everything about this trade is written to the merchant.
    pub(crate) charset: Charset,
}

/// Until when the buyer may pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// `time_expire`
    At(Timestamp),
    /// `timeout_express`, counted from the creation of the trade at the cashier.
    After(SignedDuration),
    /// `timeout_express` of `1c`: until midnight of the day on which the trade is created.
    EndOfDay,
}

/// The buyer as the merchant sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buyer {
    pub(crate) person_id: String,
    pub(crate) user_id: String,
    pub(crate) open_id: String,
    /// `buyer_logon_id`
    pub(crate) masked_login: String,
}

/// One refund that moved money.
#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub(crate) out_request_no: String,
    pub(crate) amount_fen: i64,
    pub(crate) at: Timestamp,
    /// Refunded in all, this one included.
    pub(crate) cumulative_fen: i64,
}

/// A trade exists once its buyer has logged in at the cashier.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the protocol's own names")]
pub(crate) struct Trade {
    pub(crate) trade_no: String,
    pub(crate) ordered: Ordered,
    pub(crate) buyer: Buyer,
    pub(crate) status: Status,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) paid_at: Option<Timestamp>,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) refunds: Vec<Refund>,
}

impl Trade {
    pub(crate) fn refunded_fen(&self) -> i64 {
        self.refunds
            .last()
            .map_or(0, |refund| refund.cumulative_fen)
    }
}
