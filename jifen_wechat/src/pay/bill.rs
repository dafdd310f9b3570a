//! The trade bill of a day: what WeChat Pay says happened, for comparing with one's own records.

use std::collections::HashMap;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use url::Url;

use crate::crypto;
use crate::pay::Pay;
use crate::pay::error::PayError;
use crate::pay::exchange::{Exchange, require_ok};
use crate::pay::order::TradeState;
use crate::private::Private;

/// Which trades of the day are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillKind {
    /// Payments and refunds.
    All,
    /// Payments that succeeded.
    Success,
    /// Refunds.
    Refund,
}

impl BillKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Success => "SUCCESS",
            Self::Refund => "REFUND",
        }
    }
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeBill {
    /// One per payment and per refund.
    pub rows: Vec<BillRow>,
    /// The summary line by column name, as written (amounts in yuan).
    pub summary: HashMap<String, String>,
}

/// A line of a bill. Columns that a kind of bill does not have are empty or `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillRow {
    /// Beijing time.
    pub trade_time: jiff::civil::DateTime,
    /// `AppID`.
    pub app_id: String,
    /// Merchant number.
    pub mch_id: String,
    /// WeChat Pay's number of the order.
    pub transaction_id: String,
    /// The merchant's number of the order.
    pub out_trade_no: String,
    /// The payer.
    pub openid: Private,
    /// `JSAPI`, `NATIVE`, …
    pub trade_type: String,
    /// `SUCCESS` on a payment, `REFUND` on a refund.
    pub trade_state: TradeState,
    /// `CNY`.
    pub currency: String,
    /// Fen to be settled: the order less WeChat's coupons.
    pub settlement_total_fen: Option<i64>,
    /// Fen the order cost.
    pub order_total_fen: Option<i64>,
    /// WeChat Pay's number of the refund.
    pub refund_id: Option<String>,
    /// The merchant's number of the refund.
    pub out_refund_no: Option<String>,
    /// Fen given back, less coupons.
    pub refund_fen: Option<i64>,
    /// Fen asked to be given back.
    pub requested_refund_fen: Option<i64>,
    /// What became of the refund.
    pub refund_status: Option<String>,
    /// [`crate::pay::Prepay::description`].
    pub description: String,
    /// [`crate::pay::Prepay::attach`].
    pub attach: String,
    /// WeChat Pay's fee in hundred-thousandths of a yuan (its own precision); negative on refunds.
    pub fee_yuan_e5: Option<i64>,
    /// The rate, as written.
    pub rate: String,
}

/// Why a downloaded bill is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// Not the file whose hash WeChat Pay signed.
    #[error("the bill is not the one WeChat Pay signed for")]
    Hash,
    /// A hash that is not known here.
    #[error("the bill's hash is not SHA1")]
    HashType,
    /// Not gzip, although asked for.
    #[error("the bill cannot be unpacked")]
    Packing,
    /// Larger than allowed.
    #[error("the bill is larger than {bill_bytes_max} bytes")]
    TooLarge {
        /// The limit, unpacked.
        bill_bytes_max: usize,
    },
    /// The download address is not one to send a signature to.
    #[error("the bill's download address is not usable")]
    DownloadUrl,
    /// Not UTF-8.
    #[error("the bill is not UTF-8")]
    Encoding,
    /// A column that is needed is not there.
    #[error("the bill has no column {0}")]
    Column(&'static str),
    /// A line that cannot be read.
    #[error("line {line} of the bill has no usable {what}")]
    Line {
        /// Counted from 1, the header.
        line: usize,
        /// Which column.
        what: &'static str,
    },
    /// The bill ends too early or lists another number of trades than its summary says.
    #[error("the bill is not complete")]
    Incomplete,
}

#[derive(Deserialize)]
struct BillLink {
    download_url: String,
    hash_type: String,
    hash_value: String,
}

impl Pay {
    /// Asks for, downloads, checks and reads the bill of a day (Beijing time). It is ready the next morning;
    /// [`crate::pay::PayRefusalKind::BillNotReady`] before, and when there were no trades.
    pub async fn trade_bill(
        &self,
        date: jiff::civil::Date,
        kind: BillKind,
    ) -> Result<TradeBill, PayError> {
        let mut url = self.url("/v3/bill/tradebill", "");
        url.query_pairs_mut()
            .append_pair("bill_date", &date.to_string())
            .append_pair("bill_type", kind.as_str())
            .append_pair("tar_type", "GZIP");
        let link: BillLink = self.exchange(&Exchange::get(url)).await?.json()?;
        if link.hash_type != "SHA1" {
            return Err(BillError::HashType.into());
        }
        let packed = self.download_bill(&link.download_url).await?;
        let bill_bytes_max = self.config.bill_bytes_max;
        // Unpacking and hashing megabytes would hold up everything else on this thread.
        tokio::task::spawn_blocking(move || {
            let csv = unpack(&packed, bill_bytes_max)?;
            if crypto::sha1_hex(&[&csv]) != link.hash_value.to_ascii_lowercase() {
                return Err(BillError::Hash);
            }
            parse(&csv)
        })
        .await
        .map_err(|_| BillError::Incomplete)?
        .map_err(PayError::Bill)
    }

    /// The answer is not signed; its hash is in the signed answer before.
    async fn download_bill(&self, download_url: &str) -> Result<Bytes, PayError> {
        let url = Url::parse(download_url).map_err(|_| BillError::DownloadUrl)?;
        // The address came in a signed answer; what is left to fear is a downgrade.
        if url.scheme() != "https" && url.scheme() != self.config.api_base.scheme() {
            return Err(BillError::DownloadUrl.into());
        }
        let exchange = Exchange::get(url);
        let mut attempt = 1;
        loop {
            let result = self
                .send_signed(
                    &exchange,
                    self.config.bill_timeout,
                    self.config.bill_bytes_max,
                )
                .await
                .and_then(|answer| require_ok(&answer).map(|()| answer.body));
            match result {
                Err(error)
                    if error.may_repeat_now() && attempt < self.config.limits.attempts_max =>
                {
                    tracing::info!(attempt, %error, "the download of a bill is repeated");
                    tokio::time::sleep(self.config.limits.delay_after(attempt)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

fn unpack(packed: &[u8], bill_bytes_max: usize) -> Result<Vec<u8>, BillError> {
    let mut csv = Vec::new();
    let limit = u64::try_from(bill_bytes_max).unwrap_or(u64::MAX);
    MultiGzDecoder::new(packed)
        .take(limit.saturating_add(1))
        .read_to_end(&mut csv)
        .map_err(|_| BillError::Packing)?;
    if csv.len() > bill_bytes_max {
        return Err(BillError::TooLarge { bill_bytes_max });
    }
    Ok(csv)
}

/// Header, rows, summary header, summary. Every cell of rows and summary begins with a back-tick; headers have none.
fn parse(csv: &[u8]) -> Result<TradeBill, BillError> {
    let text = std::str::from_utf8(csv).map_err(|_| BillError::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or(BillError::Incomplete)?;
    let columns = Columns::new(header)?;
    let mut rows = Vec::new();
    let summary_header = loop {
        let (number, line) = lines.next().ok_or(BillError::Incomplete)?;
        match cells(line) {
            Some(cells) => rows.push(columns.row(number, &cells)?),
            None => break line,
        }
    };
    let (number, summary) = lines.next().ok_or(BillError::Incomplete)?;
    let summary = cells(summary).ok_or(BillError::Line {
        line: number,
        what: "summary",
    })?;
    let summary: HashMap<String, String> = summary_header
        .split(',')
        .map(|name| name.trim().to_owned())
        .zip(summary.into_iter().map(str::to_owned))
        .collect();
    let trades = summary
        .get("总交易单数")
        .and_then(|count| count.parse::<usize>().ok());
    if trades != Some(rows.len()) {
        return Err(BillError::Incomplete);
    }
    Ok(TradeBill { rows, summary })
}

/// Cells may contain commas, so the back-tick belongs to the separator. `None` for a header.
fn cells(line: &str) -> Option<Vec<&str>> {
    Some(line.strip_prefix('`')?.split(",`").map(str::trim).collect())
}

/// Where each column stands: their order may change and new ones may come.
struct Columns<'a>(HashMap<&'a str, usize>);

impl<'a> Columns<'a> {
    fn new(header: &'a str) -> Result<Self, BillError> {
        let columns = Self(
            header
                .split(',')
                .enumerate()
                .map(|(index, name)| (name.trim(), index))
                .collect(),
        );
        for needed in ["交易时间", "商户号", "微信订单号", "商户订单号", "交易状态"]
        {
            if !columns.0.contains_key(needed) {
                return Err(BillError::Column(needed));
            }
        }
        Ok(columns)
    }

    fn row(&self, line: usize, cells: &[&str]) -> Result<BillRow, BillError> {
        if cells.len() != self.0.len() {
            return Err(BillError::Line {
                line,
                what: "number of cells",
            });
        }
        let text = |name: &'static str| {
            let cell = self.0.get(name).and_then(|index| cells.get(*index));
            cell.copied().unwrap_or_default()
        };
        // A payment carries 0 where refund numbers would stand.
        let number = |name| Some(text(name).to_owned()).filter(|text| !matches!(&**text, "" | "0"));
        let decimal = |what: &'static str, places: u32| match text(what) {
            "" => Ok(None),
            amount => parse_decimal(amount, places)
                .map(Some)
                .ok_or(BillError::Line { line, what }),
        };
        let fen = |what| decimal(what, 2);
        Ok(BillRow {
            trade_time: jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text("交易时间"))
                .map_err(|_| BillError::Line {
                    line,
                    what: "交易时间",
                })?,
            app_id: text("公众账号ID").to_owned(),
            mch_id: text("商户号").to_owned(),
            transaction_id: text("微信订单号").to_owned(),
            out_trade_no: text("商户订单号").to_owned(),
            openid: text("用户标识").into(),
            trade_type: text("交易类型").to_owned(),
            trade_state: text("交易状态").to_owned().into(),
            currency: text("货币种类").to_owned(),
            settlement_total_fen: fen("应结订单金额")?,
            order_total_fen: fen("订单金额")?,
            refund_id: number("微信退款单号"),
            out_refund_no: number("商户退款单号"),
            refund_fen: fen("退款金额")?,
            requested_refund_fen: fen("申请退款金额")?,
            refund_status: number("退款状态"),
            description: text("商品名称").to_owned(),
            attach: text("商户数据包").to_owned(),
            fee_yuan_e5: decimal("手续费", 5)?,
            rate: text("费率").to_owned(),
        })
    }
}

/// `"1.68"` with two places is 168; more places than that are an error, not rounded.
fn parse_decimal(text: &str, places: u32) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction: i64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let value = whole
        .parse::<i64>()
        .ok()?
        .checked_mul(10_i64.checked_pow(places)?)?
        .checked_add(fraction.checked_mul(10_i64.checked_pow(missing)?)?)?;
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BILL: &str = "\u{feff}交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\r\n\
        `2024-01-15 12:05:09,`wxd678efh567hg6787,`1900000109,`0,`,`4200002100202401150000000001,`PM202401150000000000000000000001,`oUpF8uMuAJO,`JSAPI,`SUCCESS,`OTHERS,`CNY,`1.68,`0.00,`0,`0,`0.00,`0.00,`,`,`积分, 1000 点,`pkg=basic,`0.01008,`0.60%,`1.68,`0.00,`\r\n\
        `2024-01-15 13:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`4200002100202401150000000001,`PM202401150000000000000000000001,`oUpF8uMuAJO,`JSAPI,`REFUND,`OTHERS,`CNY,`0.00,`0.00,`50300001202401160000000000001,`RF01,`0.68,`0.00,`ORIGINAL,`SUCCESS,`积分, 1000 点,`pkg=basic,`-0.00408,`0.60%,`0.00,`0.68,`\r\n\
        总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n\
        `2,`1.68,`0.68,`0.00,`0.00600,`1.68,`0.68\r\n";

    #[test]
    fn a_bill_is_read_by_column_name() {
        let bill = parse(BILL.as_bytes()).unwrap();
        let [payment, refund] = &bill.rows[..] else {
            panic!("two rows")
        };
        assert_eq!(payment.trade_time.to_string(), "2024-01-15T12:05:09");
        assert_eq!(payment.trade_state, TradeState::Success);
        assert_eq!(payment.order_total_fen, Some(168));
        assert_eq!(payment.refund_id, None);
        assert_eq!(payment.description, "积分, 1000 点");
        assert_eq!(payment.fee_yuan_e5, Some(1008));
        assert_eq!(refund.trade_state, TradeState::Refund);
        assert_eq!(refund.out_refund_no.as_deref(), Some("RF01"));
        assert_eq!(refund.refund_fen, Some(68));
        assert_eq!(refund.fee_yuan_e5, Some(-408));
        assert_eq!(bill.summary["订单总金额"], "1.68");
        assert!(!format!("{bill:?}").contains("oUpF8uMuAJO"));
    }

    #[test]
    fn a_bill_that_lost_a_line_is_refused() {
        let lines: Vec<&str> = BILL.lines().collect();
        let without = |index: usize| {
            let mut lines = lines.clone();
            lines.remove(index);
            parse(lines.join("\n").as_bytes())
        };
        assert_eq!(without(1), Err(BillError::Incomplete));
        assert_eq!(without(4), Err(BillError::Incomplete));
        assert!(without(0).is_err());
        assert_eq!(parse(b""), Err(BillError::Incomplete));
    }

    #[test]
    fn a_cell_too_many_or_an_amount_too_precise_is_refused() {
        let error = |from: &str, to: &str| parse(BILL.replacen(from, to, 1).as_bytes()).err();
        assert_eq!(
            error("`0.60%,`1.68", "`0.60%,`1.685"),
            Some(BillError::Line {
                line: 2,
                what: "订单金额"
            })
        );
        assert_eq!(
            error("`pkg=basic", "`pkg,`basic"),
            Some(BillError::Line {
                line: 2,
                what: "number of cells"
            })
        );
        assert_eq!(
            error("商户订单号", "订单"),
            Some(BillError::Column("商户订单号"))
        );
    }

    #[test]
    fn decimals_are_exact() {
        for (text, value) in [
            ("1.68", Some(168)),
            ("0.00", Some(0)),
            ("-0.68", Some(-68)),
            ("12", Some(1200)),
            ("0.1", Some(10)),
            ("1.685", None),
            ("", None),
            (".5", None),
            ("1.-5", None),
            ("+1.00", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_decimal(text, 2), value, "{text}");
        }
    }
}
