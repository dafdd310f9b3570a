//! Orders: prepay, query, close.

use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::pay::error::PayError;
use crate::pay::exchange::{Exchange, Verified};
use crate::pay::{Pay, PayRefusalKind};
use crate::private::Private;

const DESCRIPTION_BYTES_MAX: usize = 127;
const ATTACH_BYTES_MAX: usize = 128;

/// An order to be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepay {
    /// The merchant's order number: 6 to 32 of `0-9 A-Z a-z _ - | *`, never used for another order.
    pub out_trade_no: String,
    /// Shown to the payer. Emoji are left out and what exceeds 127 bytes is cut, because WeChat Pay refuses both.
    pub description: String,
    /// Fen, more than 0.
    pub total_fen: i64,
    /// The last moment to pay, in seconds since 1970. It does not close the order.
    pub expires_at_unix_seconds: Option<i64>,
    /// Comes back once paid; at most 128 bytes, no emoji.
    pub attach: Option<String>,
}

/// The state of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TradeState {
    /// Paid.
    Success,
    /// Was paid; at least one refund was made.
    Refund,
    /// Not paid, still payable until it expires.
    NotPay,
    /// Closed without payment.
    Closed,
    /// A payment failed; the payer may try again.
    PayError,
    /// Payment code only.
    UserPaying,
    /// Payment code only.
    Revoked,
    /// A state this version does not know.
    Other(String),
}

impl TradeState {
    /// Whether money was received for the order, even if some went back.
    pub fn is_paid(&self) -> bool {
        matches!(self, Self::Success | Self::Refund)
    }
}

impl From<String> for TradeState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "SUCCESS" => Self::Success,
            "REFUND" => Self::Refund,
            "NOTPAY" => Self::NotPay,
            "CLOSED" => Self::Closed,
            "PAYERROR" => Self::PayError,
            "USERPAYING" => Self::UserPaying,
            "REVOKED" => Self::Revoked,
            _ => Self::Other(text),
        }
    }
}

impl<'de> Deserialize<'de> for TradeState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// An order as WeChat Pay sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Transaction {
    /// `AppID` of the prepay.
    #[serde(rename = "appid")]
    pub app_id: String,
    /// Merchant number.
    #[serde(rename = "mchid")]
    pub mch_id: String,
    /// The merchant's order number.
    pub out_trade_no: String,
    /// WeChat Pay's number, once paid.
    pub transaction_id: Option<String>,
    /// `JSAPI`, `NATIVE`, …
    pub trade_type: Option<String>,
    /// What became of it.
    pub trade_state: TradeState,
    /// In words.
    #[serde(default)]
    pub trade_state_desc: String,
    /// The bank, or `OTHERS`.
    pub bank_type: Option<String>,
    /// [`Prepay::attach`].
    pub attach: Option<String>,
    /// When it was paid.
    pub success_time: Option<jiff::Timestamp>,
    payer: Option<Payer>,
    /// Once paid, often before.
    pub amount: Option<TradeAmount>,
    /// Coupons used.
    #[serde(default)]
    pub promotion_detail: Vec<Promotion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Payer {
    openid: Option<Private>,
}

/// The amount of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TradeAmount {
    /// Fen: what the order costs. Compare this one.
    #[serde(rename = "total")]
    pub total_fen: i64,
    /// Fen: what the payer paid, less if coupons were used; still a full payment.
    #[serde(rename = "payer_total")]
    pub payer_total_fen: Option<i64>,
    /// `CNY`.
    pub currency: Option<String>,
}

/// A coupon used. Informative only, so a missing field does not make the payment unreadable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Promotion {
    /// Its id.
    pub coupon_id: String,
    /// Fen.
    #[serde(rename = "amount")]
    pub amount_fen: i64,
}

/// What the merchant's own records say about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderExpectation<'a> {
    /// `AppID` of the prepay.
    pub app_id: &'a str,
    /// Merchant number.
    pub mch_id: &'a str,
    /// The merchant's order number.
    pub out_trade_no: &'a str,
    /// Fen.
    pub total_fen: i64,
}

/// In what a transaction differs from the merchant's records: it must not be booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transaction differs from the order in its {0}")]
pub struct OrderMismatch(pub &'static str);

impl Transaction {
    /// Who paid: openid within [`Transaction::app_id`].
    pub fn payer_openid(&self) -> Option<&Private> {
        self.payer.as_ref()?.openid.as_ref()
    }

    /// Compares with the merchant's records: app, merchant, number, total and currency (CNY).
    pub fn check(&self, expected: &OrderExpectation<'_>) -> Result<(), OrderMismatch> {
        let amount = self.amount.as_ref().ok_or(OrderMismatch("amount"))?;
        let checks = [
            ("AppID", self.app_id == expected.app_id),
            ("merchant number", self.mch_id == expected.mch_id),
            ("order number", self.out_trade_no == expected.out_trade_no),
            ("amount", amount.total_fen == expected.total_fen),
            (
                "currency",
                amount.currency.as_deref().unwrap_or("CNY") == "CNY",
            ),
        ];
        checks
            .into_iter()
            .find(|(_, holds)| !holds)
            .map_or(Ok(()), |(what, _)| Err(OrderMismatch(what)))
    }
}

/// The outcome of closing an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Closed now.
    Now,
    /// It was closed before.
    Before,
    /// WeChat Pay has never seen it, so it cannot be paid either unless it is prepaid again.
    NeverExisted,
}

#[derive(Serialize)]
struct PrepayBody<'a> {
    appid: &'a str,
    mchid: &'a str,
    description: String,
    out_trade_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_expire: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attach: Option<&'a str>,
    notify_url: &'a str,
    amount: PrepayAmount,
    #[serde(skip_serializing_if = "Option::is_none")]
    payer: Option<PrepayPayer<'a>>,
}

#[derive(Serialize)]
struct PrepayAmount {
    total: i64,
    currency: &'static str,
}

#[derive(Serialize)]
struct PrepayPayer<'a> {
    openid: &'a Private,
}

impl Pay {
    /// JSAPI: returns the prepay id for [`Pay::request_payment_params`]. Repeating it with the same parameters is safe and
    /// gives a valid id of the same order.
    pub async fn prepay_jsapi(&self, order: &Prepay, openid: &Private) -> Result<String, PayError> {
        #[derive(Deserialize)]
        struct Answer {
            prepay_id: String,
        }
        if openid.as_str().is_empty() || openid.as_str().len() > 128 {
            return Err(PayError::Argument {
                argument: "openid",
                expected: "1 to 128 bytes",
            });
        }
        let body = self.prepay_body(order, Some(openid))?;
        let url = self.url("/v3/pay/transactions/jsapi", "");
        let verified = self.exchange(&Exchange::post(url, &body)).await?;
        let answer: Answer = verified.json()?;
        non_empty(answer.prepay_id, &verified, "prepay_id")
    }

    /// Native: returns the content of the QR code to pay by, valid for two hours. Differs from call to call.
    pub async fn prepay_native(&self, order: &Prepay) -> Result<String, PayError> {
        #[derive(Deserialize)]
        struct Answer {
            code_url: String,
        }
        let body = self.prepay_body(order, None)?;
        let url = self.url("/v3/pay/transactions/native", "");
        let verified = self.exchange(&Exchange::post(url, &body)).await?;
        let answer: Answer = verified.json()?;
        non_empty(answer.code_url, &verified, "code_url")
    }

    /// What became of an order. [`PayRefusalKind::NotExist`] means WeChat Pay never accepted it.
    pub async fn query(&self, out_trade_no: &str) -> Result<Transaction, PayError> {
        check_number("out_trade_no", out_trade_no)?;
        let path = "/v3/pay/transactions/out-trade-no/{}";
        let (transaction, verified) = self.query_at(path, out_trade_no).await?;
        if transaction.out_trade_no != out_trade_no {
            return Err(verified.unusable("out_trade_no: it is another order's"));
        }
        Ok(transaction)
    }

    /// The same by WeChat Pay's own number.
    pub async fn query_by_transaction_id(
        &self,
        transaction_id: &str,
    ) -> Result<Transaction, PayError> {
        check_number("transaction_id", transaction_id)?;
        let path = "/v3/pay/transactions/id/{}";
        let (transaction, verified) = self.query_at(path, transaction_id).await?;
        if transaction.transaction_id.as_deref() != Some(transaction_id) {
            return Err(verified.unusable("transaction_id: it is another order's"));
        }
        Ok(transaction)
    }

    /// Closes an unpaid order, so that it cannot be paid any more. [`PayRefusalKind::AlreadyPaid`],
    /// [`PayRefusalKind::TradeState`] and [`PayRefusalKind::InvalidRequest`] mean: query it, it may be paid.
    pub async fn close(&self, out_trade_no: &str) -> Result<Closed, PayError> {
        #[derive(Serialize)]
        struct Body<'a> {
            mchid: &'a str,
        }
        check_number("out_trade_no", out_trade_no)?;
        let url = self.url("/v3/pay/transactions/out-trade-no/{}/close", out_trade_no);
        let body = Body {
            mchid: &self.config.mch_id,
        };
        match self.exchange(&Exchange::post(url, &body)).await {
            Ok(_) => Ok(Closed::Now),
            Err(error) => match error.refusal_kind() {
                Some(PayRefusalKind::Closed) => Ok(Closed::Before),
                Some(PayRefusalKind::NotExist) => Ok(Closed::NeverExisted),
                _ => Err(error),
            },
        }
    }

    async fn query_at(
        &self,
        path: &str,
        number: &str,
    ) -> Result<(Transaction, Verified), PayError> {
        let mut url = self.url(path, number);
        url.query_pairs_mut()
            .append_pair("mchid", &self.config.mch_id);
        let verified = self.exchange(&Exchange::get(url)).await?;
        let transaction: Transaction = verified.json()?;
        if transaction.mch_id != self.config.mch_id {
            return Err(verified.unusable("mchid: it is another merchant's"));
        }
        Ok((transaction, verified))
    }

    fn prepay_body<'a>(
        &'a self,
        order: &'a Prepay,
        openid: Option<&'a Private>,
    ) -> Result<PrepayBody<'a>, PayError> {
        check_number("out_trade_no", &order.out_trade_no)?;
        check_fen("total_fen", order.total_fen)?;
        let description = shortened(&without_supplementary(&order.description));
        if description.trim().is_empty() {
            return Err(PayError::Argument {
                argument: "description",
                expected: "text besides emoji",
            });
        }
        if let Some(attach) = &order.attach
            && (attach.len() > ATTACH_BYTES_MAX || *attach != without_supplementary(attach))
        {
            return Err(PayError::Argument {
                argument: "attach",
                expected: "at most 128 bytes without emoji",
            });
        }
        Ok(PrepayBody {
            appid: &self.config.app_id,
            mchid: &self.config.mch_id,
            description,
            out_trade_no: &order.out_trade_no,
            time_expire: order
                .expires_at_unix_seconds
                .map(beijing_time)
                .transpose()?,
            attach: order.attach.as_deref(),
            notify_url: self.config.notify_url.as_str(),
            amount: PrepayAmount {
                total: order.total_fen,
                currency: "CNY",
            },
            payer: openid.map(|openid| PrepayPayer { openid }),
        })
    }
}

/// `text` without characters outside the Basic Multilingual Plane (most emoji), which WeChat Pay refuses in any field.
pub fn without_supplementary(text: &str) -> String {
    text.chars()
        .filter(|character| character.len_utf8() <= 3)
        .collect()
}

fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(DESCRIPTION_BYTES_MAX))
        .unwrap_or(text)
        .to_owned()
}

pub(crate) fn check_number(argument: &'static str, number: &str) -> Result<(), PayError> {
    let is_valid = (6..=32).contains(&number.len())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-|*".contains(&byte));
    if is_valid {
        return Ok(());
    }
    Err(PayError::Argument {
        argument,
        expected: "6 to 32 of 0-9 A-Z a-z _ - | *",
    })
}

pub(crate) fn check_fen(argument: &'static str, fen: i64) -> Result<(), PayError> {
    if fen > 0 {
        return Ok(());
    }
    Err(PayError::Argument {
        argument,
        expected: "fen, more than 0",
    })
}

/// RFC 3339 with Beijing's offset, as WeChat Pay writes it.
fn beijing_time(unix_seconds: i64) -> Result<String, PayError> {
    let time = jiff::Timestamp::from_second(unix_seconds).map_err(|_| PayError::Argument {
        argument: "expires_at_unix_seconds",
        expected: "seconds since 1970",
    })?;
    Ok(time
        .to_zoned(TimeZone::fixed(Offset::constant(8)))
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string())
}

fn non_empty(text: String, verified: &Verified, what: &'static str) -> Result<String, PayError> {
    if text.is_empty() {
        return Err(verified.unusable(what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_go_and_chinese_stays() {
        assert_eq!(without_supplementary("积分🎉 €☃"), "积分 €☃");
    }

    #[test]
    fn a_long_description_is_cut_between_characters() {
        assert_eq!(shortened(&"积".repeat(50)), "积".repeat(42));
        assert_eq!(shortened("points"), "points");
    }

    #[test]
    fn times_are_written_in_beijing_time() {
        assert_eq!(
            beijing_time(1_705_293_000).unwrap(),
            "2024-01-15T12:30:00+08:00"
        );
        assert!(beijing_time(i64::MAX).is_err());
    }

    #[test]
    fn order_numbers_are_checked_before_they_become_part_of_a_path() {
        assert!(check_number("x", "PM-ab_1*|").is_ok());
        for number in [
            "short",
            "with/slash",
            "with space",
            "..%2f..",
            "123456789012345678901234567890123",
        ] {
            assert!(check_number("x", number).is_err(), "{number}");
        }
    }
}
