//! `alipay.data.dataservice.bill.downloadurl.query` and the file behind its link.

use std::collections::VecDeque;

use axum::{
    body::Bytes,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    answer::{Failure, Members},
    biz_content::BizContent,
};
use crate::{beijing, exchanges::Refusal, sandbox::Sandbox};

mod file;

/// Where bills are fetched, as at Alipay's bill centre.
pub(crate) const DOWNLOAD_PATH: &str = "/downloadBillFile.resource";
/// How long a link works.
const LINK_VALID: SignedDuration = SignedDuration::from_secs(30);
const DOWNLOADS_MAX: usize = 64;
/// When the bill of a day is ready, on the next day.
const READY_HOUR: i8 = 10;

/// Files waiting to be fetched, the oldest forgotten first.
#[derive(Default)]
pub(crate) struct Downloads(VecDeque<Download>);

struct Download {
    token: String,
    expires_at: Timestamp,
    name: String,
    zip: Bytes,
}

/// The days a bill covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) first: Date,
    pub(crate) last: Date,
}

impl Period {
    /// `yyyy-MM-dd` or `yyyy-MM`, from 2016 on.
    fn parse(text: &str) -> Option<Self> {
        let period = if text.len() == 7 {
            let first = beijing::parse_date(&format!("{text}-01"))?;
            Self {
                first,
                last: first.last_of_month(),
            }
        } else {
            let day = beijing::parse_date(text)?;
            Self {
                first: day,
                last: day,
            }
        };
        (period.first.year() >= 2016).then_some(period)
    }
}

/// The business of `alipay.data.dataservice.bill.downloadurl.query`: only trade bills, since no account is kept here.
pub(crate) fn download_url(
    sandbox: &Sandbox,
    biz: &BizContent,
    now: Timestamp,
) -> Result<Members, Failure> {
    match biz.required("bill_type", 20)? {
        "trade" => {}
        "signcustomer" => {
            return Err(Failure::new(
                "isp.bill_not_exist",
                "账单不存在：沙箱没有账务账单",
            ));
        }
        other => {
            return Err(Failure::invalid_parameter(format!(
                "bill_type不支持{other}"
            )));
        }
    }
    let text = biz.required("bill_date", 10)?;
    let period = Period::parse(text)
        .ok_or_else(|| Failure::invalid_parameter("bill_date必须是yyyy-MM-dd或yyyy-MM"))?;
    let alipay = sandbox.alipay();
    if !ready(period, now, alipay.settings.lock().bill_at_once) {
        return Err(no_bill());
    }
    let seller = sandbox.kit().alipay_seller_id;
    let csv = file::write(&alipay.book.lock(), period, seller, now).ok_or_else(no_bill)?;
    let compact = text.replace('-', "");
    let name = format!("{seller}0156_{compact}.csv.zip");
    let zip = file::zip(&csv, &format!("{seller}0156_{compact}"))
        .map_err(|_| Failure::new("ACQ.SYSTEM_ERROR", "账单压缩失败"))?;
    let token = sandbox.environment().hex(32);
    let url = format!(
        "{DOWNLOAD_PATH}?bizType=trade&userId={seller}0156&fileType=csv.zip&bizDates={compact}&downloadFileName={name}&fileId={}&timestamp={}&token={token}",
        utf8_percent_encode(
            &format!("/trade/{seller}0156/{compact}.csv.zip"),
            NON_ALPHANUMERIC
        ),
        now.as_second(),
    );
    let expires_at = now.checked_add(LINK_VALID).unwrap_or(Timestamp::MAX);
    alipay.bills.lock().add(Download {
        token,
        expires_at,
        name,
        zip: Bytes::from(zip),
    });
    Ok(vec![("bill_download_url", Value::from(sandbox.url(&url)))])
}

#[derive(Debug, Deserialize)]
pub(crate) struct Link {
    #[serde(default)]
    token: String,
}

/// The file: a plain `GET` without any signature, good for 30 seconds.
pub(crate) async fn download(State(sandbox): State<Sandbox>, Query(link): Query<Link>) -> Response {
    let now = sandbox.environment().now();
    let found = sandbox.alipay().bills.lock().find(&link.token, now);
    let Some((name, zip)) = found else {
        let reason = "a bill's link works for 30 seconds; ask for a new one";
        let response = (
            StatusCode::FORBIDDEN,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            reason,
        );
        return Refusal::new("403", reason).attach(response.into_response());
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    (
        [
            (header::CONTENT_TYPE, "application/zip".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        zip,
    )
        .into_response()
}

/// A bill is ready on the morning after its last day.
fn ready(period: Period, now: Timestamp, at_once: bool) -> bool {
    let today = beijing::date(now);
    if at_once {
        return period.first <= today;
    }
    let Ok(morning) = period.last.checked_add(1.day()) else {
        return false;
    };
    today > morning || (today == morning && beijing::hour(now) >= READY_HOUR)
}

fn no_bill() -> Failure {
    Failure::new("isp.bill_not_exist", "账单不存在")
}

impl Downloads {
    fn add(&mut self, download: Download) {
        while self.0.len() >= DOWNLOADS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(download);
    }

    fn find(&self, token: &str, now: Timestamp) -> Option<(String, Bytes)> {
        let found = self
            .0
            .iter()
            .find(|download| download.token == token && now <= download.expires_at)?;
        Some((found.name.clone(), found.zip.clone()))
    }
}
