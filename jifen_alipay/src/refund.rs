//! Giving money back.

use serde::{Deserialize, Serialize};

use crate::client::Alipay;
use crate::error::{AnswerError, Error, RequestError};
use crate::money::format_yuan;
use crate::trade::{check_number, required, same_number, time, yuan};

/// A refund of all or part of a paid trade.
#[derive(Debug, Clone, Copy)]
pub struct Refund<'a> {
    /// Our order number.
    pub out_trade_no: &'a str,
    /// Our number of this refund: 1 to 64 of `0-9A-Za-z_-`. Stored before the first call; the same number moves money
    /// once, however often it is sent.
    pub out_request_no: &'a str,
    /// How much, in fen.
    pub refund_fen: i64,
    /// What the buyer reads, at most 256 characters.
    pub reason: Option<&'a str>,
}

/// Alipay's answer to a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefundAnswer {
    /// Alipay's number of the trade.
    pub trade_no: String,
    /// `fund_change`: whether this very call moved money. When not, it was a repetition or is not done yet: ask
    /// [`Alipay::refund_query`].
    pub has_moved_money: bool,
    /// `refund_fee`: what has been refunded of this trade altogether, in fen.
    pub refunded_total_fen: i64,
}

/// What became of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// `REFUND_SUCCESS`: the money is back.
    Done {
        /// How much this refund gave back, in fen.
        refund_fen: i64,
        /// The trade's price, in fen.
        total_fen: i64,
        /// When (`gmt_refund_pay`), unix seconds.
        refunded_at: Option<i64>,
    },
    /// Not received, failed, or under way for less than about 10 seconds: repeat the refund unchanged.
    NotDone,
}

impl Alipay {
    /// `alipay.trade.refund`. Two refunds of one trade must lie at least 3 seconds apart.
    pub async fn refund(&self, refund: &Refund<'_>) -> Result<RefundAnswer, Error> {
        check_number("out_trade_no", refund.out_trade_no)?;
        check_number("out_request_no", refund.out_request_no)?;
        if refund.refund_fen < 1 {
            return Err(field("refund_amount", "at least 0.01 yuan").into());
        }
        if let Some(reason) = refund.reason
            && (reason.is_empty() || reason.chars().count() > 256)
        {
            return Err(field("refund_reason", "1 to 256 characters").into());
        }
        let content = RefundContent {
            out_trade_no: refund.out_trade_no,
            refund_amount: format_yuan(refund.refund_fen),
            refund_reason: refund.reason,
            out_request_no: refund.out_request_no,
        };
        let answer: RefundWire = self.call("alipay.trade.refund", &content).await?;
        same_number(refund.out_trade_no, answer.out_trade_no.as_deref())?;
        Ok(RefundAnswer {
            trade_no: required("trade_no", answer.trade_no)?,
            has_moved_money: answer.fund_change.as_deref() == Some("Y"),
            refunded_total_fen: yuan("refund_fee", answer.refund_fee.as_deref())?,
        })
    }

    /// `alipay.trade.fastpay.refund.query`: what became of a refund. Meaningful from 10 seconds after the refund.
    pub async fn refund_query(
        &self,
        out_trade_no: &str,
        out_request_no: &str,
    ) -> Result<RefundState, Error> {
        check_number("out_trade_no", out_trade_no)?;
        check_number("out_request_no", out_request_no)?;
        let content = RefundQueryContent {
            out_trade_no,
            out_request_no,
            query_options: ["gmt_refund_pay"],
        };
        let answer: RefundQueryWire = self
            .call("alipay.trade.fastpay.refund.query", &content)
            .await?;
        if answer.refund_status.as_deref() != Some("REFUND_SUCCESS") {
            return Ok(RefundState::NotDone);
        }
        same_number(out_trade_no, answer.out_trade_no.as_deref())?;
        if answer.out_request_no.as_deref() != Some(out_request_no) {
            return Err(AnswerError::OtherTrade.into());
        }
        Ok(RefundState::Done {
            refund_fen: yuan("refund_amount", answer.refund_amount.as_deref())?,
            total_fen: yuan("total_amount", answer.total_amount.as_deref())?,
            refunded_at: time("gmt_refund_pay", answer.gmt_refund_pay.as_deref())?,
        })
    }
}

fn field(field: &'static str, rule: &'static str) -> RequestError {
    RequestError::Field { field, rule }
}

#[derive(Serialize)]
struct RefundContent<'a> {
    out_trade_no: &'a str,
    refund_amount: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_reason: Option<&'a str>,
    out_request_no: &'a str,
}

#[derive(Deserialize)]
struct RefundWire {
    trade_no: Option<String>,
    out_trade_no: Option<String>,
    fund_change: Option<String>,
    refund_fee: Option<String>,
}

#[derive(Serialize)]
struct RefundQueryContent<'a> {
    out_trade_no: &'a str,
    out_request_no: &'a str,
    query_options: [&'static str; 1],
}

#[derive(Deserialize)]
struct RefundQueryWire {
    out_trade_no: Option<String>,
    out_request_no: Option<String>,
    refund_status: Option<String>,
    refund_amount: Option<String>,
    total_amount: Option<String>,
    gmt_refund_pay: Option<String>,
}
