//! What was spent by day, key and title.

use std::collections::BTreeMap;

use jifen_domain::key::china_day;
use jifen_domain::{AccountId, Time};

use super::tail_usage::Line;
use crate::{Error, Result, Tx};

/// How often reading is repeated when entries were folded meanwhile.
const READ_ROUNDS_MAX: usize = 5;

/// What was spent on a day with a key for a title.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageLine {
    /// The day in China, counted from 1970.
    pub day: i64,
    /// The key.
    pub api_key_id: String,
    /// The charges' title.
    pub title: String,
    /// How many charges.
    pub charges: i64,
    /// Points spent, less what was given back on that day.
    pub points: i64,
}

impl Tx {
    /// What an account spent on the days `from` to `to`, in the order of day, key and title: the first `rows_max` lines or
    /// more.
    pub async fn usage(
        &mut self,
        account: AccountId,
        from: i64,
        to: i64,
        rows_max: i64,
    ) -> Result<Vec<UsageLine>> {
        let mut extent = self.extent(account).await?;
        for _ in 0..READ_ROUNDS_MAX {
            let Some(known) = &extent else {
                return Ok(Vec::new());
            };
            let folded = self.folded_usage(account, from, to, rows_max).await?;
            let now = self.extent(account).await?;
            if now
                .as_ref()
                .is_some_and(|now| now.blocks() == known.blocks())
            {
                let latest = known.tail_usage.lines().map(UsageLine::from);
                let inside = latest.filter(|line| (from..=to).contains(&line.day));
                return Ok(UsageLine::add_up(folded.into_iter().chain(inside)));
            }
            extent = now;
        }
        Err(Error::Busy)
    }

    async fn folded_usage(
        &mut self,
        account: AccountId,
        from: i64,
        to: i64,
        rows_max: i64,
    ) -> Result<Vec<UsageLine>> {
        self.fetch_all(
            "SELECT day, api_key_id, title, charges, points FROM usage_days WHERE account_id = $1 AND day >= $2 AND day <= $3 \
             ORDER BY day, api_key_id, title LIMIT $4",
            &[account.0.into(), from.into(), to.into(), rows_max.into()],
            |row| {
                Ok(UsageLine {
                    day: row.get(0)?,
                    api_key_id: row.get(1)?,
                    title: row.get(2)?,
                    charges: row.get(3)?,
                    points: row.get(4)?,
                })
            },
        )
        .await
    }

    /// What a key has spent, and holds, on a day, in the month of that day, and in all, from all accounts that are one
    /// person's now. Lock the account before.
    pub async fn spent_by_key(
        &mut self,
        account: AccountId,
        api_key_id: &str,
        day: i64,
        month_days: (i64, i64),
    ) -> Result<(i64, i64, i64)> {
        let mut spent = (0, 0, 0);
        for account in self.accounts_of_person(account).await? {
            let lines = self.spent_and_held(account).await?;
            for line in lines.iter().filter(|line| line.api_key_id == api_key_id) {
                if line.day == day {
                    spent.0 += line.points;
                }
                if (month_days.0..=month_days.1).contains(&line.day) {
                    spent.1 += line.points;
                }
                spent.2 += line.points;
            }
        }
        Ok(spent)
    }

    /// What all keys have spent and hold, as [`Tx::spent_by_key`] counts it.
    pub(crate) async fn spent_by_keys(
        &mut self,
        account: AccountId,
    ) -> Result<BTreeMap<String, i64>> {
        let mut spent = BTreeMap::new();
        for account in self.accounts_of_person(account).await? {
            for line in self.spent_and_held(account).await? {
                *spent.entry(line.api_key_id).or_default() += line.points;
            }
        }
        Ok(spent)
    }

    /// The account, and those of records that were merged into its owner's; of test keys when it is one.
    pub(crate) async fn accounts_of_person(
        &mut self,
        account: AccountId,
    ) -> Result<Vec<AccountId>> {
        let accounts = self
            .fetch_all(
                "SELECT a.id FROM (SELECT COALESCE(merged_into, id) AS id FROM users WHERE id = $1) p \
                 JOIN accounts a ON a.user_id = p.id \
                 UNION SELECT a.id FROM (SELECT COALESCE(merged_into, id) AS id FROM users WHERE id = $1) p \
                 JOIN users v ON v.merged_into = p.id JOIN accounts a ON a.user_id = v.id ORDER BY 1",
                &[account.user().0.into()],
                |row| row.get(0).map(AccountId),
            )
            .await?;
        let is_of_tests = account.0 < 0;
        Ok(accounts
            .into_iter()
            .filter(|known| (known.0 < 0) == is_of_tests)
            .collect())
    }

    /// The usage, and a line for each open hold on the day it was made.
    async fn spent_and_held(&mut self, account: AccountId) -> Result<Vec<UsageLine>> {
        let mut lines = self.usage(account, i64::MIN, i64::MAX, i64::MAX).await?;
        let held = self
            .fetch_all(
                "SELECT created_at, api_key_id, title, points FROM holds WHERE account_id = $1 AND state = 'held'",
                &[account.0.into()],
                |row| {
                    Ok(UsageLine {
                        day: china_day(Time::from_micros(row.get(0)?)),
                        api_key_id: row.get(1)?,
                        title: row.get(2)?,
                        charges: 0,
                        points: row.get(3)?,
                    })
                },
            )
            .await?;
        lines.extend(held);
        Ok(lines)
    }
}

impl From<Line<'_>> for UsageLine {
    fn from(line: Line<'_>) -> Self {
        Self {
            day: line.day,
            api_key_id: line.api_key_id.to_owned(),
            title: line.title.to_owned(),
            charges: line.charges,
            points: line.points,
        }
    }
}

impl UsageLine {
    /// Lines of the same day, key and title as one; in this order.
    pub fn add_up(lines: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut sums: BTreeMap<(i64, String, String), (i64, i64)> = BTreeMap::new();
        for line in lines {
            let sum = sums
                .entry((line.day, line.api_key_id, line.title))
                .or_default();
            sum.0 += line.charges;
            sum.1 += line.points;
        }
        sums.into_iter()
            .map(|((day, api_key_id, title), (charges, points))| Self {
                day,
                api_key_id,
                title,
                charges,
                points,
            })
            .collect()
    }
}
