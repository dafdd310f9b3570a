//! What the holder of a key can ask about the account it spends from.

use jifen_domain::key::{ApiKey, china_day};
use jifen_domain::{Points, Time};
use jifen_store::{Expiring, UsageLine};

use crate::App;
use crate::error::{Error, Result, Text};

/// Days of a usage report.
const USAGE_DAYS_MAX: i64 = 92;
/// Lines of a usage report.
const USAGE_LINES_MAX: usize = 10_000;
/// Expiries told.
const EXPIRIES_MAX: i64 = 20;

/// What an account holds, and what is left for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Points that can be spent.
    pub available: Points,
    /// Points set aside for calls that are under way.
    pub held: Points,
    /// What expires when, the earliest first.
    pub expiring: Vec<Expiring>,
    /// What is left of the tightest of the key's caps.
    pub cap_left: Option<Points>,
}

/// By what a usage report adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// By day.
    pub day: bool,
    /// By key.
    pub key: bool,
    /// By title.
    pub title: bool,
}

impl App {
    /// What the account of a key holds.
    pub async fn balance(&self, key: &ApiKey) -> Result<Balance> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let (held, expiring) = reader.expiring(key.account(), now, EXPIRIES_MAX).await?;
        let available = reader.holdings(key.account(), now).await?.available;
        drop(reader);
        let cap_left = self.cap_left(key).await?;
        Ok(Balance {
            available,
            held,
            expiring,
            cap_left,
        })
    }

    /// What is left of the tightest cap of a key; `None` without caps.
    pub(crate) async fn cap_left(&self, key: &ApiKey) -> Result<Option<Points>> {
        if key.caps.is_none() {
            return Ok(None);
        }
        let mut reader = self.store.read().await?;
        let spent = reader.key_spending(&[&key.id]).await?.pop();
        Ok(spent.and_then(|spent| spent.spending.left(&key.caps, self.now())))
    }

    /// What an account spent from one day in China to another, added up as asked. What is not asked for is left blank.
    pub async fn usage(
        &self,
        key: &ApiKey,
        (from, to): (Time, Time),
        by: Grouping,
    ) -> Result<Vec<UsageLine>> {
        let (from, to) = (china_day(from), china_day(to));
        if to < from {
            let text = Text::new("不能早于 from", "must not be before from");
            return Err(Error::invalid("to", text));
        }
        if to - from >= USAGE_DAYS_MAX {
            let text = Text::owned(
                format!("最多 {USAGE_DAYS_MAX} 天，请缩短时间段"),
                format!("at most {USAGE_DAYS_MAX} days at a time"),
            );
            return Err(Error::Invalid { field: "to", text });
        }
        let rows_max = i64::try_from(USAGE_LINES_MAX + 1).unwrap_or(i64::MAX);
        let mut reader = self.store.read().await?;
        let lines = reader.usage(key.account(), from, to, rows_max).await?;
        if lines.len() > USAGE_LINES_MAX {
            let text = Text::owned(
                format!("超过 {USAGE_LINES_MAX} 行，请缩短时间段"),
                format!("more than {USAGE_LINES_MAX} lines: ask for fewer days"),
            );
            return Err(Error::Invalid { field: "to", text });
        }
        let lines = lines.into_iter().map(|line| UsageLine {
            day: if by.day { line.day } else { from },
            api_key_id: if by.key {
                line.api_key_id
            } else {
                String::new()
            },
            title: if by.title { line.title } else { String::new() },
            ..line
        });
        Ok(UsageLine::add_up(lines))
    }
}
