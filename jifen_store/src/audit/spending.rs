//! What was spent: by day, and by keys that have a cap.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jifen_domain::AccountId;

use super::Audit;
use super::fact::{Fact, Usage};
use super::table::{Key, Table};
use crate::engine::Row;
use crate::ledger::{Tail, TailUsage};
use crate::{Result, Tx};

/// A row of `usage_days`.
pub(super) struct UsageRow {
    account: i64,
    day: i64,
    key: String,
    title: String,
    charges: i64,
    points: i64,
}

impl Table for UsageRow {
    const NAME: &'static str = "usage_days";
    const SQL: &'static str = "SELECT account_id, day, api_key_id, title, charges, points FROM usage_days \
         WHERE (account_id, day, api_key_id, title) > ($1, $2, $3, $4) AND account_id <= $5 \
         ORDER BY account_id, day, api_key_id, title LIMIT $6";

    fn before(account: i64) -> Key {
        Key::Usage(account, i64::MIN, String::new(), String::new())
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            day: row.get(1)?,
            key: row.get(2)?,
            title: row.get(3)?,
            charges: row.get(4)?,
            points: row.get(5)?,
        })
    }

    fn key(&self) -> Key {
        Key::Usage(self.account, self.day, self.key.clone(), self.title.clone())
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let usage = || Usage {
            day: self.day,
            key: Cow::Borrowed(&self.key),
            title: Cow::Borrowed(&self.title),
        };
        let row = format!("day {}, key {}, title {}", self.day, self.key, self.title);
        // Something was charged or given back on each day there is.
        let counts = self.charges > 0 || (self.charges == 0 && self.points < 0);
        audit.require(
            self.account,
            Self::NAME,
            &row,
            &[(counts, "it counts nothing")],
        );
        let (charges, points) = (self.charges.saturating_neg(), self.points.saturating_neg());
        audit.fact(self.account, Fact::UsageCharges(usage()), charges, None);
        audit.fact(self.account, Fact::UsagePoints(usage()), points, None);
    }
}

/// A row of `key_spending`.
struct SpendingRow {
    key: String,
    account: i64,
    total: i64,
    /// Where the key spends from: its user, negated for a test key.
    account_of_key: Option<i64>,
    caps: i64,
}

impl Audit<'_> {
    /// What keys with a cap have spent is what their calls cost and hold. Keys are compared by the total: the counters of the
    /// day and the month begin anew, and a call that goes past midnight counts for the day it was made.
    pub(super) async fn check_key_spending(&mut self, tx: &mut Tx) -> Result<()> {
        const ROWS: i64 = 1_000;
        let mut after = (self.range.0, String::new());
        let mut spent = (None, None);
        loop {
            let rows = tx.spending_rows(&after, self.range.1, ROWS).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = (last.account, last.key.clone());
            for row in rows {
                if spent.0 != Some(row.account) {
                    let by_keys = tx.readable_spending(AccountId(row.account)).await?;
                    spent = (Some(row.account), by_keys);
                }
                let Some(spent) = &spent.1 else {
                    continue;
                };
                let total = spent.get(&row.key).copied().unwrap_or(0);
                let problem = format!("it counts {} points, the calls make it {total}", row.total);
                let label = format!("key {}", row.key);
                if row.total != total {
                    self.find(row.account, "key_spending", label.clone(), problem);
                }
                self.require(
                    row.account,
                    "key_spending",
                    &label,
                    &[
                        (
                            row.account_of_key == Some(row.account),
                            "the key does not spend from this account",
                        ),
                        (row.caps > 0, "the key has no cap"),
                    ],
                );
            }
        }
    }
}

impl Tx {
    /// What all keys have spent and hold; none when the latest entries of one of the person's accounts cannot be read, which is
    /// told of its row.
    async fn readable_spending(
        &mut self,
        account: AccountId,
    ) -> Result<Option<BTreeMap<String, i64>>> {
        for account in self.accounts_of_person(account).await? {
            let is_readable = self
                .fetch_optional(
                    "SELECT entry_count, tail, tail_usage FROM accounts WHERE id = $1",
                    &[account.0.into()],
                    |row| {
                        let tail = Tail::read(row.get(1)?, row.get(0)?);
                        Ok(tail.is_ok() && TailUsage::read(row.get(2)?).is_ok())
                    },
                )
                .await?;
            if is_readable == Some(false) {
                return Ok(None);
            }
        }
        self.spent_by_keys(account).await.map(Some)
    }

    async fn spending_rows(
        &mut self,
        after: &(i64, String),
        last_account: i64,
        rows_max: i64,
    ) -> Result<Vec<SpendingRow>> {
        self.fetch_all(
            "SELECT s.api_key_id, s.account_id, s.total_points, CASE WHEN k.is_test = 1 THEN -k.user_id ELSE k.user_id END, \
             CASE WHEN COALESCE(k.daily_cap, k.monthly_cap, k.total_cap) IS NULL THEN 0 ELSE 1 END \
             FROM key_spending s LEFT JOIN api_keys k ON k.id = s.api_key_id \
             WHERE (s.account_id, s.api_key_id) > ($1, $2) AND s.account_id <= $3 ORDER BY s.account_id, s.api_key_id LIMIT $4",
            &[after.0.into(), (&after.1).into(), last_account.into(), rows_max.into()],
            |row| {
                Ok(SpendingRow {
                    key: row.get(0)?,
                    account: row.get(1)?,
                    total: row.get(2)?,
                    account_of_key: row.get(3)?,
                    caps: row.get(4)?,
                })
            },
        )
        .await
    }
}
