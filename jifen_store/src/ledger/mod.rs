//! Accounts, lots and entries.
//!
//! The entries of all accounts are one list in the order of writing ([`append`]); an account's row is its state after its last
//! entry, and says where its latest entries are ([`tail`]); where the others are is kept in blocks ([`history`]).

mod account;
mod append;
mod charge;
mod fold;
mod history;
mod merge;
mod request;
mod tail;
mod tail_usage;
mod usage;

use jifen_domain::{AccountId, Points, Time};

use crate::engine::Row;
use crate::{Error, Result, Tx};

pub use account::LockedAccount;
pub use charge::StoredCharge;
pub use history::Consumption;
pub use request::Recorded;
pub(crate) use tail::{
    BLOCK_BYTES, BLOCK_ENTRIES_I64, Fingerprint, Tail, block_positions, fingerprint,
};
pub(crate) use tail_usage::TailUsage;
pub use usage::UsageLine;

/// Bytes of the key of a request and of the hash of what it asks for.
pub(crate) const REQUEST_KEY_BYTES: usize = 16;
pub(crate) const REQUEST_HASH_BYTES: usize = 8;

/// What an account holds at a moment, read in one statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Points that can be spent.
    pub available: Points,
    /// The earliest expiry among them.
    pub next_expiry: Option<Time>,
}

/// Points that expire together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// How many, without those that are held.
    pub points: Points,
    /// When; `None` never.
    pub at: Option<Time>,
}

impl Tx {
    /// What is held of an account, and what of the rest expires when: the earliest first, those that never do last.
    pub async fn expiring(
        &mut self,
        id: AccountId,
        now: Time,
        rows_max: i64,
    ) -> Result<(Points, Vec<Expiring>)> {
        let held = self
            .fetch_optional(
                "SELECT held FROM accounts WHERE id = $1",
                &[id.0.into()],
                |row| points(row.get(0)?),
            )
            .await?;
        let expiring = self
            .fetch_all(
                "SELECT CAST(SUM(CASE WHEN l.number = b.front_lot THEN b.front_remaining - b.front_held \
                 ELSE l.remaining - l.held END) AS BIGINT) AS free, l.expires_at FROM accounts b JOIN lots l ON l.account_id = b.id \
                 WHERE b.id = $1 AND l.remaining > 0 AND (l.expires_at IS NULL OR l.expires_at > $2) GROUP BY l.expires_at \
                 HAVING SUM(CASE WHEN l.number = b.front_lot THEN b.front_remaining - b.front_held ELSE l.remaining - l.held END) > 0 \
                 ORDER BY COALESCE(l.expires_at, 9223372036854775807) LIMIT $3",
                &[id.0.into(), now.micros().into(), rows_max.into()],
                |row| {
                    Ok(Expiring {
                        points: points(row.get(0)?)?,
                        at: time(row, 1)?,
                    })
                },
            )
            .await?;
        Ok((held.unwrap_or_default(), expiring))
    }

    /// What an account holds at `now`.
    pub async fn holdings(&mut self, id: AccountId, now: Time) -> Result<Holdings> {
        let holdings = self
            .fetch_optional(
                "SELECT CAST(COALESCE(SUM(CASE WHEN l.number = b.front_lot THEN b.front_remaining - b.front_held \
                 ELSE l.remaining - l.held END), 0) AS BIGINT), MIN(l.expires_at) FROM accounts b JOIN lots l ON l.account_id = b.id \
                 WHERE b.id = $1 AND l.remaining > 0 AND (l.expires_at IS NULL OR l.expires_at > $2)",
                &[id.0.into(), now.micros().into()],
                |row| read_holdings(row, 0),
            )
            .await?;
        Ok(holdings.unwrap_or_default())
    }

    /// The expiry of the points an order granted; `None` when it granted none, `Some(None)` when they do not expire.
    pub async fn grant_expiry(&mut self, order_id: &str) -> Result<Option<Option<Time>>> {
        self.fetch_optional(
            "SELECT expires_at FROM lots WHERE order_id = $1",
            &[order_id.into()],
            |row| time(row, 0),
        )
        .await
    }

    /// The account and points of the gift that was given under a key.
    pub async fn gift(&mut self, key: &str) -> Result<Option<(AccountId, i64)>> {
        self.fetch_optional(
            "SELECT account_id, points FROM lots WHERE gift_key = $1",
            &[key.into()],
            |row| Ok((AccountId(row.get(0)?), row.get(1)?)),
        )
        .await
    }

    /// Accounts in which points have expired or a hold's time is over and nobody has taken note; at most `rows_max`.
    pub async fn accounts_to_sweep(&mut self, now: Time, rows_max: i64) -> Result<Vec<AccountId>> {
        self.fetch_all(
            "SELECT account_id FROM lots WHERE remaining > 0 AND remaining > held AND expires_at IS NOT NULL AND expires_at <= $1 \
             UNION SELECT account_id FROM holds WHERE state = 'held' AND expires_at <= $1 LIMIT $2",
            &[now.micros().into(), rows_max.into()],
            |row| row.get(0).map(AccountId),
        )
        .await
    }
}

/// Points that can be spent and their earliest expiry, from two columns that follow each other.
pub(crate) fn read_holdings(row: &Row<'_>, first: usize) -> Result<Holdings> {
    Ok(Holdings {
        available: points(row.get(first)?)?,
        next_expiry: time(row, first + 1)?,
    })
}

fn points(value: i64) -> Result<Points> {
    Points::new(value)
        .ok_or_else(|| Error::Corrupt(format!("{value} points where none can be negative")))
}

fn time(row: &Row<'_>, index: usize) -> Result<Option<Time>> {
    Ok(row.get::<Option<i64>>(index)?.map(Time::from_micros))
}
