//! Asking about a trade, and closing one that is not paid.

use serde::{Deserialize, Serialize};

use crate::beijing::parse_beijing;
use crate::client::Alipay;
use crate::error::{AnswerError, Error, RequestError};
use crate::money::parse_yuan;
use crate::private::Private;

/// `trade_status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradeStatus {
    /// `WAIT_BUYER_PAY`: the buyer has seen the cashier and not paid.
    WaitBuyerPay,
    /// `TRADE_SUCCESS`: paid, can be refunded. Stays so after a partial refund.
    Success,
    /// `TRADE_FINISHED`: paid, can no longer be refunded.
    Finished,
    /// `TRADE_CLOSED`: closed unpaid, or refunded in full.
    Closed,
    /// A status not known here. Not a payment.
    Other(String),
}

impl TradeStatus {
    /// Reads Alipay's spelling.
    pub fn parse(text: &str) -> Self {
        match text {
            "WAIT_BUYER_PAY" => Self::WaitBuyerPay,
            "TRADE_SUCCESS" => Self::Success,
            "TRADE_FINISHED" => Self::Finished,
            "TRADE_CLOSED" => Self::Closed,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }

    /// Whether money has been received: `TRADE_SUCCESS` or `TRADE_FINISHED`, nothing else.
    pub fn is_paid(&self) -> bool {
        matches!(self, Self::Success | Self::Finished)
    }
}

/// A trade as `alipay.trade.query` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trade {
    /// Alipay's number of it.
    pub trade_no: String,
    /// Our order number; the one that was asked for.
    pub out_trade_no: String,
    /// Its state. The only thing that says whether it is paid.
    pub status: TradeStatus,
    /// The price in fen. To be compared with the order's.
    pub total_fen: i64,
    /// When it was paid (`send_pay_date`), unix seconds.
    pub paid_at: Option<i64>,
    /// The buyer: `buyer_user_id`, or `buyer_open_id` for newer apps.
    pub buyer: Option<Private>,
}

/// The answer to a close.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedTrade {
    /// Alipay's number of the trade, when it says so.
    pub trade_no: Option<String>,
}

impl Alipay {
    /// `alipay.trade.query`: the state of a trade.
    ///
    /// [`FailureKind::TradeNotExist`](crate::FailureKind::TradeNotExist) says that the buyer never reached the cashier,
    /// not that the order failed: a form that has not expired can still be paid.
    pub async fn query(&self, out_trade_no: &str) -> Result<Trade, Error> {
        check_number("out_trade_no", out_trade_no)?;
        let answer: TradeAnswer = self
            .call("alipay.trade.query", &OutTradeNo { out_trade_no })
            .await?;
        let out_trade_no = same_number(out_trade_no, answer.out_trade_no.as_deref())?;
        Ok(Trade {
            trade_no: required("trade_no", answer.trade_no)?,
            out_trade_no,
            status: TradeStatus::parse(&required("trade_status", answer.trade_status)?),
            total_fen: yuan("total_amount", answer.total_amount.as_deref())?,
            paid_at: time("send_pay_date", answer.send_pay_date.as_deref())?,
            buyer: Private::from_text(answer.buyer_user_id.as_deref())
                .or_else(|| Private::from_text(answer.buyer_open_id.as_deref())),
        })
    }

    /// `alipay.trade.close`: closes a trade that waits for its buyer.
    ///
    /// [`FailureKind::TradeState`](crate::FailureKind::TradeState) and
    /// [`FailureKind::TradeFinished`](crate::FailureKind::TradeFinished) mean that it may be paid: query.
    /// [`FailureKind::TradeNotExist`](crate::FailureKind::TradeNotExist): there is nothing to close yet.
    pub async fn close(&self, out_trade_no: &str) -> Result<ClosedTrade, Error> {
        check_number("out_trade_no", out_trade_no)?;
        let answer: CloseAnswer = self
            .call("alipay.trade.close", &OutTradeNo { out_trade_no })
            .await?;
        // The documentation has it as optional.
        if answer.out_trade_no.is_some() {
            same_number(out_trade_no, answer.out_trade_no.as_deref())?;
        }
        Ok(ClosedTrade {
            trade_no: answer.trade_no,
        })
    }
}

#[derive(Serialize)]
struct OutTradeNo<'a> {
    out_trade_no: &'a str,
}

#[derive(Deserialize)]
struct TradeAnswer {
    trade_no: Option<String>,
    out_trade_no: Option<String>,
    trade_status: Option<String>,
    total_amount: Option<String>,
    send_pay_date: Option<String>,
    buyer_user_id: Option<String>,
    buyer_open_id: Option<String>,
}

#[derive(Deserialize)]
struct CloseAnswer {
    trade_no: Option<String>,
    out_trade_no: Option<String>,
}

/// The rule of `out_trade_no` and `out_request_no`. Alipay documents letters, digits and underscore; the hyphen is
/// used and accepted widely.
pub(crate) fn check_number(field: &'static str, number: &str) -> Result<(), RequestError> {
    let fits = (1..=64).contains(&number.len())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(RequestError::Field {
            field,
            rule: "1 to 64 letters, digits, underscores or hyphens",
        })
    }
}

/// Signed answers carry no time or nonce: one about another trade could be played back.
pub(crate) fn same_number(asked: &str, answered: Option<&str>) -> Result<String, AnswerError> {
    match answered {
        Some(answered) if answered == asked => Ok(asked.to_owned()),
        Some(_) => Err(AnswerError::OtherTrade),
        None => Err(AnswerError::Field("out_trade_no")),
    }
}

pub(crate) fn required(field: &'static str, value: Option<String>) -> Result<String, AnswerError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or(AnswerError::Field(field))
}

pub(crate) fn yuan(field: &'static str, value: Option<&str>) -> Result<i64, AnswerError> {
    value
        .and_then(|text| parse_yuan(text).ok())
        .ok_or(AnswerError::Field(field))
}

/// A time that may be missing but not be broken.
pub(crate) fn time(field: &'static str, value: Option<&str>) -> Result<Option<i64>, AnswerError> {
    match value {
        None | Some("") => Ok(None),
        Some(text) => parse_beijing(text)
            .map(Some)
            .ok_or(AnswerError::Field(field)),
    }
}
