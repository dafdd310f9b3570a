//! Trade bills: the link, and the file behind it.

use std::{collections::VecDeque, io::Write as _};

use aws_lc_rs::digest;
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, Timestamp, civil::Date};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{answer::Refused, refusal::Refusal, verified::Verified};
use crate::{beijing, sandbox::Sandbox};

mod file;

/// How long a link works.
const LINK_VALID: SignedDuration = SignedDuration::from_mins(5);
const DOWNLOADS_MAX: usize = 64;
/// When the bill of a day is ready, on the next day.
const READY_HOUR: i8 = 10;
/// Bills reach back this far.
const DAYS_BACK_MAX: i64 = 90;

/// Which rows a bill has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BillType {
    All,
    Success,
    Refund,
}

/// Files waiting to be fetched, the oldest forgotten first.
#[derive(Default)]
pub(crate) struct Downloads(VecDeque<Download>);

struct Download {
    token: String,
    expires_at: Timestamp,
    gzip: bool,
    file: Bytes,
}

/// `GET /v3/bill/tradebill?bill_date=&bill_type=&tar_type=`
pub(crate) async fn tradebill(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    let bill_type = match call.query("bill_type").as_deref() {
        None | Some("ALL") => BillType::All,
        Some("SUCCESS") => BillType::Success,
        Some("REFUND") => BillType::Refund,
        Some(other) => return Err(bad("bill_type", other, "只能是ALL、SUCCESS或REFUND").into()),
    };
    let gzip = match call.query("tar_type").as_deref() {
        None => false,
        Some("GZIP") => true,
        Some(other) => return Err(bad("tar_type", other, "只能是GZIP").into()),
    };
    let day = call.query("bill_date").unwrap_or_default();
    let day =
        beijing::parse_date(&day).ok_or_else(|| bad("bill_date", &day, "必须是YYYY-MM-DD格式"))?;
    let pay = sandbox.wechat_pay();
    let at_once = pay.settings.lock().bill_at_once;
    ready(day, call.now, at_once)?;
    let file = file::write(&pay.book.lock(), day, bill_type, sandbox.kit().mchid)
        .ok_or_else(no_statement)?;
    let file = Bytes::from(file);
    let hash: String = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &file)
        .as_ref()
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    // Base64 on purpose: its characters must be escaped in the URL, and signed as they stand there.
    let token = sandbox.environment().base64::<32>();
    let encoded = utf8_percent_encode(&token, NON_ALPHANUMERIC).to_string();
    let tail = if gzip { "&tartype=gzip" } else { "" };
    let expires_at = call
        .now
        .saturating_add(LINK_VALID)
        .unwrap_or(Timestamp::MAX);
    pay.bills.lock().add(Download {
        token,
        expires_at,
        gzip,
        file,
    });
    Ok(Json(json!({
        "download_url": sandbox.url(&format!("/v3/billdownload/file?token={encoded}{tail}")),
        "hash_type": "SHA1",
        "hash_value": hash,
    })))
}

/// `GET /v3/billdownload/file?token=`: the one answer that is not signed.
pub(crate) async fn download(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<Response, Refused> {
    let token = call.query("token").unwrap_or_default();
    let found = sandbox.wechat_pay().bills.lock().find(&token, call.now);
    let (file, gzip) = found.ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST",
            "下载链接不存在或已过期，请重新申请账单",
        )
    })?;
    if !gzip {
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], file).into_response());
    }
    let packed = pack(&file).map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "SYSTEM_ERROR",
            "账单压缩失败",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "application/x-gzip")], packed).into_response())
}

fn pack(file: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(file)?;
    encoder.finish()
}

fn ready(day: Date, now: Timestamp, at_once: bool) -> Result<(), Refusal> {
    let today = beijing::date(now);
    if at_once && day <= today {
        return Ok(());
    }
    let age_days = i64::from(day.until(today).map_or(0, |span| span.get_days()));
    if day >= today {
        return Err(no_statement());
    }
    if age_days > DAYS_BACK_MAX {
        return Err(bad("bill_date", &day.to_string(), "只能查询三个月内的账单"));
    }
    if age_days == 1 && beijing::hour(now) < READY_HOUR {
        let message = "账单生成中，请在10点以后再试";
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "STATEMENT_CREATING",
            message,
        ));
    }
    Ok(())
}

fn no_statement() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "NO_STATEMENT_EXIST",
        "请求的账单文件不存在",
    )
}

fn bad(name: &str, value: &str, issue: &str) -> Refusal {
    Refusal::parameter_in("uri", name, Value::from(value), issue)
}

impl Downloads {
    fn add(&mut self, download: Download) {
        while self.0.len() >= DOWNLOADS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(download);
    }

    fn find(&self, token: &str, now: Timestamp) -> Option<(Bytes, bool)> {
        let found = self
            .0
            .iter()
            .find(|download| download.token == token && now <= download.expires_at)?;
        Some((found.file.clone(), found.gzip))
    }
}
