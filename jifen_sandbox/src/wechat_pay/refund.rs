//! A refund: what the merchant asks for, the rules it obeys, and how its state comes about.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    fields::{self, Fields},
    refusal::Refusal,
    transaction::{State, Transaction},
};
use crate::beijing;

/// Partial refunds of one order.
const REFUNDS_MAX: usize = 50;
/// Refunds are possible this long after the payment.
const REFUNDABLE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The least time between two refunds of one order.
const APART: SignedDuration = SignedDuration::from_mins(1);
/// How long the bank takes in the sandbox; the real one takes minutes to days.
pub(crate) const PROCESSING: SignedDuration = SignedDuration::from_secs(3);

/// `status`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundState {
    Processing,
    Success,
    Closed,
    Abnormal,
}

impl RefundState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Closed => "CLOSED",
            Self::Abnormal => "ABNORMAL",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Processing,
            Self::Success,
            Self::Closed,
            Self::Abnormal,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

/// A refund that was accepted.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the protocol's own names")]
pub(crate) struct Refund {
    pub(crate) refund_id: String,
    pub(crate) out_refund_no: String,
    pub(crate) refund_fen: i64,
    pub(crate) payer_refund_fen: i64,
    pub(crate) notify_url: Option<String>,
    pub(crate) created_at: Timestamp,
    /// What becomes of it, and when.
    pub(crate) outcome: RefundState,
    pub(crate) settles_at: Timestamp,
}

impl Refund {
    pub(crate) fn state(&self, now: Timestamp) -> RefundState {
        if now < self.settles_at {
            RefundState::Processing
        } else {
            self.outcome
        }
    }

    /// Whether the money has left the merchant, even if it has not reached the payer.
    pub(crate) fn takes_money(&self, now: Timestamp) -> bool {
        self.state(now) != RefundState::Closed
    }

    /// The answer of the refund interfaces.
    pub(crate) fn describe(&self, order: &Transaction, now: Timestamp) -> Value {
        let state = self.state(now);
        let (total, payer_total) = (order.total_fen(), order.payer_total_fen());
        let mut answer = json!({
            "refund_id": self.refund_id,
            "out_refund_no": self.out_refund_no,
            "transaction_id": order.paid.as_ref().map(|paid| paid.transaction_id.as_str()).unwrap_or_default(),
            "out_trade_no": order.prepay.out_trade_no,
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": beijing::rfc3339(self.created_at),
            "status": state.as_str(),
            "funds_account": "AVAILABLE",
            "amount": {
                "total": total,
                "refund": self.refund_fen,
                "from": [],
                "payer_total": payer_total,
                "payer_refund": self.payer_refund_fen,
                "settlement_refund": self.payer_refund_fen,
                "settlement_total": payer_total,
                "discount_refund": self.refund_fen - self.payer_refund_fen,
                "currency": "CNY",
                "refund_fee": 0,
            },
            "promotion_detail": [],
        });
        if let (RefundState::Success, Some(object)) = (state, answer.as_object_mut()) {
            object.insert(
                "success_time".to_owned(),
                Value::from(beijing::rfc3339(self.settles_at)),
            );
        }
        answer
    }

    /// The plaintext of the refund's notification.
    pub(crate) fn describe_for_notification(
        &self,
        order: &Transaction,
        mchid: &str,
        now: Timestamp,
    ) -> Value {
        let state = self.state(now);
        let mut plain = json!({
            "mchid": mchid,
            "transaction_id": order.paid.as_ref().map(|paid| paid.transaction_id.as_str()).unwrap_or_default(),
            "out_trade_no": order.prepay.out_trade_no,
            "refund_id": self.refund_id,
            "out_refund_no": self.out_refund_no,
            "refund_status": state.as_str(),
            "user_received_account": "支付用户零钱",
            "amount": {
                "total": order.total_fen(),
                "refund": self.refund_fen,
                "payer_total": order.payer_total_fen(),
                "payer_refund": self.payer_refund_fen,
            },
        });
        if let (RefundState::Success, Some(object)) = (state, plain.as_object_mut()) {
            object.insert(
                "success_time".to_owned(),
                Value::from(beijing::rfc3339(self.settles_at)),
            );
        }
        plain
    }
}

/// A refund request whose fields are all in order.
#[derive(Debug)]
pub(crate) struct RefundRequest {
    pub(crate) transaction_id: Option<String>,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) out_refund_no: String,
    pub(crate) notify_url: Option<String>,
    pub(crate) refund_fen: i64,
    pub(crate) total_fen: i64,
}

impl RefundRequest {
    pub(crate) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let top = Fields::of(body);
        let transaction_id = top.optional_text("transaction_id", 32)?.map(str::to_owned);
        let out_trade_no = top.optional_text("out_trade_no", 32)?.map(str::to_owned);
        if transaction_id.is_none() && out_trade_no.is_none() {
            let issue = "transaction_id和out_trade_no必须二选一";
            return Err(Refusal::parameter("/transaction_id", Value::Null, issue));
        }
        let out_refund_no = top.text("out_refund_no", 1, 64)?.to_owned();
        if !fields::is_number_text(&out_refund_no, "_-|*@") {
            let issue = "只能是数字、大小写字母_-|*@";
            return Err(Refusal::parameter(
                "/out_refund_no",
                Value::from(out_refund_no),
                issue,
            ));
        }
        top.optional_text("reason", 80)?;
        top.optional_text("funds_account", 32)?;
        top.optional_array("goods_detail", 6000)?;
        let notify_url = top.optional_text("notify_url", 256)?.map(str::to_owned);
        if let Some(url) = &notify_url {
            fields::notify_url(&top, url)?;
        }
        let amount = top.object("amount", "/amount")?;
        amount.currency(true)?;
        amount.optional_array("from", 10)?;
        let (refund_fen, total_fen) = (amount.fen("refund")?, amount.fen("total")?);
        if refund_fen > total_fen {
            return Err(Refusal::parameter(
                "/amount/refund",
                Value::from(refund_fen),
                "不能大于原订单金额",
            ));
        }
        Ok(Self {
            transaction_id,
            out_trade_no,
            out_refund_no,
            notify_url,
            refund_fen,
            total_fen,
        })
    }

    /// Whether the same number asked for the same before.
    pub(crate) fn repeats(&self, order: &Transaction, earlier: &Refund) -> bool {
        self.refund_fen == earlier.refund_fen
            && self.total_fen == order.total_fen()
            && self.names(order)
    }

    /// Whether the request is about this order; a `transaction_id` counts more than an `out_trade_no`.
    pub(crate) fn names(&self, order: &Transaction) -> bool {
        match (&self.transaction_id, &self.out_trade_no) {
            (Some(id), _) => order
                .paid
                .as_ref()
                .is_some_and(|paid| paid.transaction_id == *id),
            (None, Some(number)) => order.prepay.out_trade_no == *number,
            (None, None) => false,
        }
    }

    /// Applies every rule of a new refund except the merchant's balance.
    pub(crate) fn check(&self, order: &Transaction, now: Timestamp) -> Result<(), Refusal> {
        let Some(paid) = order
            .paid
            .as_ref()
            .filter(|_| matches!(order.state, State::Success | State::Refund))
        else {
            return Err(not_refundable());
        };
        if self.total_fen != order.total_fen() {
            return Err(Refusal::rule("订单金额与原订单不一致，请核实后再试"));
        }
        if now.duration_since(paid.at) > REFUNDABLE {
            return Err(Refusal::rule("订单已超过可退款的最大期限"));
        }
        if order.refunds.len() >= REFUNDS_MAX {
            return Err(Refusal::rule("订单的退款次数已达上限50次"));
        }
        if self.refund_fen > order.total_fen() - order.refunded_fen(now) {
            return Err(Refusal::rule("申请退款金额超过订单剩余可退金额"));
        }
        let too_soon = order
            .refunds
            .iter()
            .any(|refund| now.duration_since(refund.created_at) < APART);
        if too_soon {
            let message = "同一订单的多次退款需间隔1分钟以上";
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "FREQUENCY_LIMITED",
                message,
            ));
        }
        Ok(())
    }

    /// The accepted refund. A coupon is given back in proportion, so that the parts add up exactly.
    pub(crate) fn accept(&self, order: &Transaction, refund_id: String, now: Timestamp) -> Refund {
        let before = order.refunded_fen(now);
        let returned = |sum: i64| sum * order.payer_total_fen() / order.total_fen().max(1);
        Refund {
            refund_id,
            out_refund_no: self.out_refund_no.clone(),
            refund_fen: self.refund_fen,
            payer_refund_fen: returned(before + self.refund_fen) - returned(before),
            notify_url: self.notify_url.clone(),
            created_at: now,
            outcome: RefundState::Success,
            settles_at: now.saturating_add(PROCESSING).unwrap_or(Timestamp::MAX),
        }
    }
}

/// 404: no such order, or none that was paid.
pub(crate) fn not_refundable() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "RESOURCE_NOT_EXISTS",
        "订单不存在或未支付",
    )
}
