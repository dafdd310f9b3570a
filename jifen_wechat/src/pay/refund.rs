//! Refunds.

use serde::{Deserialize, Serialize};

use crate::pay::Pay;
use crate::pay::error::PayError;
use crate::pay::exchange::{Exchange, Verified};
use crate::pay::order::{check_fen, check_number, without_supplementary};

const REASON_BYTES_MAX: usize = 80;

/// Which order a refund belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundedOrder {
    /// By WeChat Pay's number.
    TransactionId(String),
    /// By the merchant's number.
    OutTradeNo(String),
}

/// A refund to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// Of which order.
    pub order: RefundedOrder,
    /// The merchant's refund number, 1 to 64 of `0-9 A-Z a-z _ - | * @`: the same number refunds once. Store it before the
    /// first call and repeat with it on any doubt; a new number can pay twice.
    pub out_refund_no: String,
    /// Shown to the payer; at most 80 bytes, no emoji.
    pub reason: Option<String>,
    /// Fen to give back.
    pub refund_fen: i64,
    /// Fen the order cost.
    pub total_fen: i64,
}

/// What became of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefundStatus {
    /// Accepted, under way.
    Processing,
    /// The payer has the money.
    Success,
    /// Closed; nothing was returned.
    Closed,
    /// The bank refused; to be handled in the merchant console.
    Abnormal,
    /// A status this version does not know.
    Other(String),
}

impl<'de> Deserialize<'de> for RefundStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "PROCESSING" => Self::Processing,
            "SUCCESS" => Self::Success,
            "CLOSED" => Self::Closed,
            "ABNORMAL" => Self::Abnormal,
            _ => Self::Other(text),
        })
    }
}

/// A refund as WeChat Pay answers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refund {
    /// WeChat Pay's number.
    pub refund_id: String,
    /// The merchant's number.
    pub out_refund_no: String,
    /// WeChat Pay's number of the order.
    pub transaction_id: String,
    /// The merchant's number of the order.
    pub out_trade_no: String,
    /// What became of it.
    pub status: RefundStatus,
    /// When the payer got the money.
    pub success_time: Option<jiff::Timestamp>,
    /// When it was accepted.
    pub create_time: Option<jiff::Timestamp>,
    /// How much.
    pub amount: RefundAmount,
}

/// A refund as WeChat Pay notifies it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefundNotice {
    /// Merchant number.
    #[serde(rename = "mchid")]
    pub mch_id: String,
    /// WeChat Pay's number.
    pub refund_id: String,
    /// The merchant's number.
    pub out_refund_no: String,
    /// WeChat Pay's number of the order.
    pub transaction_id: String,
    /// The merchant's number of the order.
    pub out_trade_no: String,
    /// What became of it.
    #[serde(rename = "refund_status")]
    pub status: RefundStatus,
    /// When the payer got the money.
    pub success_time: Option<jiff::Timestamp>,
    /// How much.
    pub amount: RefundAmount,
}

/// The amounts of a refund.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefundAmount {
    /// Fen the order cost.
    #[serde(rename = "total")]
    pub total_fen: i64,
    /// Fen given back.
    #[serde(rename = "refund")]
    pub refund_fen: i64,
    /// Fen the payer paid, less if coupons were used.
    #[serde(rename = "payer_total")]
    pub payer_total_fen: Option<i64>,
    /// Fen the payer gets back.
    #[serde(rename = "payer_refund")]
    pub payer_refund_fen: Option<i64>,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_trade_no: Option<&'a str>,
    out_refund_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
    amount: RefundBodyAmount,
}

#[derive(Serialize)]
struct RefundBodyAmount {
    refund: i64,
    total: i64,
    currency: &'static str,
}

impl Pay {
    /// Asks for a refund. Success means accepted ([`RefundStatus::Processing`]), not returned.
    pub async fn refund(&self, request: &RefundRequest) -> Result<Refund, PayError> {
        let body = self.refund_body(request)?;
        let url = self.url("/v3/refund/domestic/refunds", "");
        let verified = self.exchange(&Exchange::post(url, &body)).await?;
        read_refund(&verified, &request.out_refund_no)
    }

    /// What became of a refund; ask from one minute after the request on.
    pub async fn query_refund(&self, out_refund_no: &str) -> Result<Refund, PayError> {
        check_refund_number(out_refund_no)?;
        let url = self.url("/v3/refund/domestic/refunds/{}", out_refund_no);
        let verified = self.exchange(&Exchange::get(url)).await?;
        read_refund(&verified, out_refund_no)
    }

    fn refund_body<'a>(&'a self, request: &'a RefundRequest) -> Result<RefundBody<'a>, PayError> {
        check_refund_number(&request.out_refund_no)?;
        check_fen("refund_fen", request.refund_fen)?;
        if request.refund_fen > request.total_fen {
            return Err(PayError::Argument {
                argument: "refund_fen",
                expected: "at most total_fen",
            });
        }
        if let Some(reason) = &request.reason
            && (reason.len() > REASON_BYTES_MAX || *reason != without_supplementary(reason))
        {
            return Err(PayError::Argument {
                argument: "reason",
                expected: "at most 80 bytes without emoji",
            });
        }
        let (transaction_id, out_trade_no) = match &request.order {
            RefundedOrder::TransactionId(id) => (Some(id.as_str()), None),
            RefundedOrder::OutTradeNo(number) => (None, Some(number.as_str())),
        };
        if let Some(number) = transaction_id.or(out_trade_no) {
            check_number("order", number)?;
        }
        Ok(RefundBody {
            transaction_id,
            out_trade_no,
            out_refund_no: &request.out_refund_no,
            reason: request.reason.as_deref(),
            notify_url: self.config.refund_notify_url.as_ref().map(url::Url::as_str),
            amount: RefundBodyAmount {
                refund: request.refund_fen,
                total: request.total_fen,
                currency: "CNY",
            },
        })
    }
}

fn read_refund(verified: &Verified, out_refund_no: &str) -> Result<Refund, PayError> {
    let refund: Refund = verified.json()?;
    if refund.out_refund_no != out_refund_no {
        return Err(verified.unusable("out_refund_no: it is another refund's"));
    }
    Ok(refund)
}

fn check_refund_number(number: &str) -> Result<(), PayError> {
    let is_valid = (1..=64).contains(&number.len())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-|*@".contains(&byte));
    if is_valid {
        return Ok(());
    }
    Err(PayError::Argument {
        argument: "out_refund_no",
        expected: "1 to 64 of 0-9 A-Z a-z _ - | * @",
    })
}
