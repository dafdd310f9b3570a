//! The bill of a day or month: what Alipay says happened, to hold our books against.

use std::io::{Cursor, Read as _};

use encoding_rs::GBK;
use serde::{Deserialize, Serialize};
use url::Url;
use zip::ZipArchive;

use crate::client::Alipay;
use crate::config::Limits;
use crate::error::{AnswerError, Error, RequestError};
use crate::private::Private;
use crate::trade::required;
use crate::transport;

mod table;

/// The most files a bill's ZIP may hold; real ones hold a detail and a summary.
const FILES_MAX: usize = 16;

/// The payments and refunds of a day or month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bill {
    /// In the order of the file.
    pub rows: Vec<BillRow>,
    /// The comment lines of the detail file without their `#`: account, period, totals.
    pub comments: Vec<String>,
}

/// One payment or refund.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BillRow {
    /// 支付宝交易号
    pub trade_no: String,
    /// 商户订单号
    pub out_trade_no: String,
    /// 业务类型
    pub kind: BillRowKind,
    /// 商品名称
    pub subject: String,
    /// 创建时间, unix seconds.
    pub created_at: Option<i64>,
    /// 完成时间, unix seconds.
    pub completed_at: Option<i64>,
    /// 对方账户, masked by Alipay.
    pub buyer: Private,
    /// 订单金额 in fen; negative for refunds.
    pub order_fen: i64,
    /// 商家实收 in fen; negative for refunds.
    pub received_fen: Option<i64>,
    /// 退款批次号/请求号: our number of the refund.
    pub out_request_no: Option<String>,
    /// 服务费 in fen; negative when Alipay takes it.
    pub service_fee_fen: Option<i64>,
    /// 备注
    pub remark: String,
}

/// 业务类型
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillRowKind {
    /// 交易
    Payment,
    /// 退款
    Refund,
    /// A kind not known here.
    Other(String),
}

impl Alipay {
    /// The trade bill of `date`, `yyyy-MM-dd` or `yyyy-MM`. Made by about 10 o'clock (Beijing) the next day;
    /// [`FailureKind::BillNotReady`](crate::FailureKind::BillNotReady) before that, and when there was nothing.
    ///
    /// The file itself is not signed and may come over plain HTTP: use it to find differences, not to credit.
    pub async fn bill(&self, date: &str) -> Result<Bill, Error> {
        let url = self.bill_url(date).await?;
        self.download_bill(&url).await
    }

    /// `alipay.data.dataservice.bill.downloadurl.query`: where the bill is, valid for 30 seconds. The URL is a secret.
    pub async fn bill_url(&self, date: &str) -> Result<Url, Error> {
        check_date(date)?;
        let content = BillContent {
            bill_type: "trade",
            bill_date: date,
        };
        let answer: BillAnswer = self
            .call("alipay.data.dataservice.bill.downloadurl.query", &content)
            .await?;
        let url = required("bill_download_url", answer.bill_download_url)?;
        Url::parse(&url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| AnswerError::Field("bill_download_url").into())
    }

    /// Downloads and reads the bill that [`Alipay::bill_url`] named.
    pub async fn download_bill(&self, url: &Url) -> Result<Bill, Error> {
        let Limits {
            bill_timeout,
            bill_zip_bytes_max,
            bill_unpacked_bytes_max,
            ..
        } = self.limits;
        let request = self.http.get(url.clone());
        let zip = transport::send(request, bill_timeout, bill_zip_bytes_max).await?;
        let read = move || read_bill(&zip, bill_unpacked_bytes_max);
        let bill = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| AnswerError::Bill("reading it was broken off"))??;
        Ok(bill)
    }
}

/// Reads a bill's ZIP. `unpacked_bytes_max` bounds all its files together.
pub fn read_bill(zip: &[u8], unpacked_bytes_max: usize) -> Result<Bill, AnswerError> {
    let mut archive =
        ZipArchive::new(Cursor::new(zip)).map_err(|_| AnswerError::Bill("it is no ZIP file"))?;
    if archive.len() > FILES_MAX {
        return Err(AnswerError::Bill("too many files in the ZIP"));
    }
    let mut bytes_left = unpacked_bytes_max;
    let mut bill = None;
    for index in 0..archive.len() {
        let file = archive
            .by_index(index)
            .map_err(|_| AnswerError::Bill("a file of the ZIP cannot be opened"))?;
        if !file.is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        let read_max = u64::try_from(bytes_left)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        file.take(read_max)
            .read_to_end(&mut bytes)
            .map_err(|_| AnswerError::Bill("a file of the ZIP is damaged"))?;
        bytes_left = bytes_left
            .checked_sub(bytes.len())
            .ok_or(AnswerError::Bill("larger than allowed when unpacked"))?;
        // Characters outside GBK stand in subjects only; amounts and numbers are ASCII and parsed strictly.
        let (text, _) = GBK.decode_without_bom_handling(&bytes);
        // The summary has other columns.
        if let Some(details) = table::read_details(&text)?
            && bill.replace(details).is_some()
        {
            return Err(AnswerError::Bill("more than one file of details"));
        }
    }
    bill.ok_or(AnswerError::Bill("no file of details"))
}

#[derive(Serialize)]
struct BillContent<'a> {
    bill_type: &'static str,
    bill_date: &'a str,
}

#[derive(Deserialize)]
struct BillAnswer {
    bill_download_url: Option<String>,
}

fn check_date(date: &str) -> Result<(), RequestError> {
    let day = if date.len() == 7 {
        format!("{date}-01")
    } else {
        date.to_owned()
    };
    let is_plain = date
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_plain && day.len() == 10 && day.parse::<jiff::civil::Date>().is_ok() {
        Ok(())
    } else {
        Err(RequestError::Field {
            field: "bill_date",
            rule: "yyyy-MM-dd or yyyy-MM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_months() {
        for date in ["2024-01-15", "2024-02-29", "2024-12"] {
            assert_eq!(check_date(date), Ok(()), "{date}");
        }
        for date in [
            "",
            "2024",
            "2024-13",
            "2024-02-30",
            "20240115",
            "2024-1-15",
            "-024-01-15",
        ] {
            assert!(check_date(date).is_err(), "{date}");
        }
    }
}
