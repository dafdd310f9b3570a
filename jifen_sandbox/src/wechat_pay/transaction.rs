//! One order at WeChat Pay: unpaid, paid, refunded or closed, and what a query says about it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{prepay::Prepay, refund::Refund};
use crate::beijing;

/// How long a `prepay_id` or `code_url` can be used.
pub(crate) const PREPAY_VALID: SignedDuration = SignedDuration::from_hours(2);

/// `trade_state`, without those of payment codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    NotPay,
    PayError,
    Success,
    Refund,
    Closed,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotPay => "NOTPAY",
            Self::PayError => "PAYERROR",
            Self::Success => "SUCCESS",
            Self::Refund => "REFUND",
            Self::Closed => "CLOSED",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::NotPay,
            Self::PayError,
            Self::Success,
            Self::Refund,
            Self::Closed,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::NotPay => "订单未支付",
            Self::PayError => "支付失败",
            Self::Success => "支付成功",
            Self::Refund => "订单发生过退款，退款详情请查询退款单",
            Self::Closed => "订单已关闭",
        }
    }
}

/// What became known when the payer paid.
#[derive(Debug, Clone)]
pub(crate) struct Paid {
    pub(crate) transaction_id: String,
    pub(crate) openid: String,
    pub(crate) person_id: Option<String>,
    /// Paid by a coupon of WeChat's, so that the payer paid that much less.
    pub(crate) coupon_fen: i64,
    pub(crate) at: Timestamp,
}

/// Why a payer cannot pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayError {
    #[error("the order is paid already")]
    Paid,
    #[error("the order is closed")]
    Closed,
    #[error("the order's time_expire is past")]
    Expired,
    #[error("the prepay_id or code_url is older than two hours")]
    PrepayExpired,
}

/// One order.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) prepay: Prepay,
    pub(crate) state: State,
    pub(crate) created_at: Timestamp,
    /// The `prepay_id` handed out last and when.
    pub(crate) prepay_id: String,
    pub(crate) prepared_at: Timestamp,
    pub(crate) paid: Option<Paid>,
    pub(crate) refunds: Vec<Refund>,
}

impl Transaction {
    /// Whether the payer may pay now.
    pub(crate) fn payable(&self, now: Timestamp) -> Result<(), PayError> {
        match self.state {
            State::Success | State::Refund => Err(PayError::Paid),
            State::Closed => Err(PayError::Closed),
            State::NotPay | State::PayError if now > self.prepay.expires_at => {
                Err(PayError::Expired)
            }
            State::NotPay | State::PayError if self.prepay_expired(now) => {
                Err(PayError::PrepayExpired)
            }
            State::NotPay | State::PayError => Ok(()),
        }
    }

    pub(crate) fn prepay_expired(&self, now: Timestamp) -> bool {
        now.duration_since(self.prepared_at) > PREPAY_VALID
    }

    pub(crate) fn total_fen(&self) -> i64 {
        self.prepay.total_fen
    }

    /// What the payer paid out of their own pocket.
    pub(crate) fn payer_total_fen(&self) -> i64 {
        self.total_fen() - self.paid.as_ref().map_or(0, |paid| paid.coupon_fen)
    }

    /// Refunded or on the way to it; a closed refund has returned nothing.
    pub(crate) fn refunded_fen(&self, now: Timestamp) -> i64 {
        self.refunds
            .iter()
            .filter(|refund| refund.takes_money(now))
            .map(|refund| refund.refund_fen)
            .sum()
    }

    /// The answer of a query, which is also the plaintext of the payment's notification.
    pub(crate) fn describe(&self, mchid: &str) -> Value {
        let prepay = &self.prepay;
        let mut answer = json!({
            "mchid": mchid,
            "appid": prepay.appid,
            "out_trade_no": prepay.out_trade_no,
            "trade_state": self.state.as_str(),
            "trade_state_desc": self.state.description(),
        });
        let more = match &self.paid {
            None => json!({
                "amount": {"total": prepay.total_fen, "currency": "CNY", "payer_currency": "CNY"},
                "promotion_detail": [],
                "scene_info": {"device_id": ""},
            }),
            Some(paid) => json!({
                "transaction_id": paid.transaction_id,
                "trade_type": prepay.trade_type.as_str(),
                "bank_type": "OTHERS",
                "attach": prepay.attach,
                "success_time": beijing::rfc3339(paid.at),
                "payer": {"openid": paid.openid},
                "amount": {
                    "total": prepay.total_fen,
                    "payer_total": self.payer_total_fen(),
                    "currency": "CNY",
                    "payer_currency": "CNY",
                },
                "promotion_detail": self.promotions(),
            }),
        };
        if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
            answer.extend(more);
        }
        answer
    }

    fn promotions(&self) -> Value {
        match &self.paid {
            Some(paid) if paid.coupon_fen > 0 => json!([{
                "coupon_id": "109519",
                "name": "立减优惠",
                "scope": "GLOBAL",
                "type": "NOCASH",
                "amount": paid.coupon_fen,
                "stock_id": "931386",
                "wechatpay_contribute": paid.coupon_fen,
                "merchant_contribute": 0,
                "other_contribute": 0,
                "currency": "CNY",
            }]),
            _ => json!([]),
        }
    }
}
