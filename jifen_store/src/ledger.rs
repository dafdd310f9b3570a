//! Accounts, lots and entries.

use jifen_domain::ledger::{Account, Counts, Entry, Lot, LotSource, Movement};
use jifen_domain::{AccountId, Points, Time, UserId};

use crate::engine::Row;
use crate::{Error, Result, Tx};

/// What an account holds at a moment, read in one statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Points that can be spent.
    pub available: Points,
    /// The earliest expiry among them.
    pub next_expiry: Option<Time>,
}

/// One line of the consumption history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// The account that was charged.
    pub account: AccountId,
    /// The entry's number in it.
    pub entry: i64,
    /// What it was for.
    pub title: String,
    /// More about it.
    pub description: Option<String>,
    /// Points spent, positive.
    pub points: i64,
    /// When.
    pub at: Time,
    /// The key that was used.
    pub api_key_id: String,
    /// Its name, also when it was deleted.
    pub api_key_name: Option<String>,
}

/// A charge that was made under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeRecord {
    /// Hash of what was asked for.
    pub input_hash: Vec<u8>,
    /// The account that was charged.
    pub account: AccountId,
    /// The entry's number in it.
    pub entry: i64,
    /// Points spent, positive.
    pub points: i64,
    /// Balance after the charge.
    pub balance_after: Points,
    /// When.
    pub at: Time,
}

impl Tx {
    pub(crate) async fn insert_account(&mut self, id: AccountId) -> Result<()> {
        self.execute(
            "INSERT INTO accounts (id, balance, entry_count, charge_count, lot_count) VALUES ($1, 0, 0, 0, 0)",
            &[id.0.into()],
        )
        .await
        .map(drop)
    }

    /// An account with its open lots, locked until the transaction ends. Lock several in the order of their ids.
    pub async fn lock_account(&mut self, id: AccountId) -> Result<Option<Account>> {
        let row = self
            .lock_optional(
                "SELECT balance, entry_count, charge_count, lot_count FROM accounts WHERE id = $1",
                &[id.0.into()],
                |row| {
                    Ok((
                        row.get(0)?,
                        Counts {
                            entries: row.get(1)?,
                            charges: row.get(2)?,
                            lots: row.get(3)?,
                        },
                    ))
                },
            )
            .await?;
        let Some((balance, counts)) = row else {
            return Ok(None);
        };
        let open_lots = self
            .fetch_all(
                "SELECT number, source, order_id, gift_key, origin_account, origin_lot, points, remaining, expires_at, \
                 granted_at FROM lots WHERE account_id = $1 AND remaining > 0",
                &[id.0.into()],
                read_lot,
            )
            .await?;
        Account::load(id, points(balance)?, counts, open_lots)
            .map(Some)
            .map_err(|broken| Error::Corrupt(broken.to_string()))
    }

    /// Appends what was moved in an account since [`Tx::lock_account`].
    pub async fn append_journal(&mut self, account: &Account) -> Result<()> {
        for entry in account.journal() {
            self.append_entry(account.id(), entry).await?;
        }
        let counts = account.counts();
        self.execute(
            "UPDATE accounts SET balance = $1, entry_count = $2, charge_count = $3, lot_count = $4 WHERE id = $5",
            &[
                account.balance().get().into(),
                counts.entries.into(),
                counts.charges.into(),
                counts.lots.into(),
                account.id().0.into(),
            ],
        )
        .await
        .map(drop)
    }

    async fn append_entry(&mut self, account: AccountId, entry: &Entry) -> Result<()> {
        let (kind, lot, charge, title) = match &entry.movement {
            Movement::Grant { lot, title } => ("grant", Some(lot), None, title.as_str()),
            Movement::Charge { number, detail, .. } => (
                "charge",
                None,
                Some((*number, detail)),
                detail.title.as_str(),
            ),
            Movement::Expiry { .. } => ("expiry", None, None, ""),
            Movement::MergeOut { .. } => ("merge_out", None, None, ""),
        };
        if let Some(lot) = lot {
            self.insert_lot(account, lot).await?;
        }
        self.execute(
            "INSERT INTO entries (account_id, number, kind, points, balance_after, at, lot_number, charge_number, api_key_id, \
             title, description) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                account.0.into(),
                entry.number.into(),
                kind.into(),
                entry.signed_points().into(),
                entry.balance_after.get().into(),
                entry.at.micros().into(),
                lot.map(|lot| lot.number).into(),
                charge.map(|(number, _)| number).into(),
                charge.map(|(_, detail)| detail.api_key_id.as_str()).into(),
                title.into(),
                charge.and_then(|(_, detail)| detail.description.as_deref()).into(),
            ],
        )
        .await?;
        for draw in entry.draws() {
            self.execute(
                "INSERT INTO draws (account_id, entry_number, lot_number, points) VALUES ($1, $2, $3, $4)",
                &[account.0.into(), entry.number.into(), draw.lot.into(), draw.points.get().into()],
            )
            .await?;
            self.execute(
                "UPDATE lots SET remaining = remaining - $1 WHERE account_id = $2 AND number = $3",
                &[draw.points.get().into(), account.0.into(), draw.lot.into()],
            )
            .await?;
        }
        Ok(())
    }

    async fn insert_lot(&mut self, account: AccountId, lot: &Lot) -> Result<()> {
        let (source, order_id, gift_key, origin) = match &lot.source {
            LotSource::Purchase { order_id } => ("purchase", Some(order_id), None, None),
            LotSource::Gift { key } => ("gift", None, Some(key), None),
            LotSource::Merge { account, lot } => ("merge", None, None, Some((account.0, *lot))),
        };
        self.execute(
            "INSERT INTO lots (account_id, number, source, order_id, gift_key, origin_account, origin_lot, points, remaining, \
             expires_at, granted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10)",
            &[
                account.0.into(),
                lot.number.into(),
                source.into(),
                order_id.map(String::as_str).into(),
                gift_key.map(String::as_str).into(),
                origin.map(|(account, _)| account).into(),
                origin.map(|(_, lot)| lot).into(),
                lot.points.get().into(),
                lot.expires_at.map(Time::micros).into(),
                lot.granted_at.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// What an account holds at `now`.
    pub async fn holdings(&mut self, id: AccountId, now: Time) -> Result<Holdings> {
        let holdings = self
            .fetch_optional(
                "SELECT CAST(COALESCE(SUM(remaining), 0) AS BIGINT), MIN(expires_at) FROM lots \
                 WHERE account_id = $1 AND remaining > 0 AND (expires_at IS NULL OR expires_at > $2)",
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

    /// Accounts in which points have expired but were not swept, at most `rows_max`.
    pub async fn accounts_to_sweep(&mut self, now: Time, rows_max: i64) -> Result<Vec<AccountId>> {
        self.fetch_all(
            "SELECT DISTINCT account_id FROM lots WHERE remaining > 0 AND expires_at IS NOT NULL AND expires_at <= $1 LIMIT $2",
            &[now.micros().into(), rows_max.into()],
            |row| row.get(0).map(AccountId),
        )
        .await
    }

    /// A user's charges, newest first, and how many there are in all. Entries are found by their number, so every page
    /// costs the same; only a user who was merged from several records pays for counting.
    pub async fn consumption(
        &mut self,
        user: UserId,
        skip: i64,
        rows_max: i64,
    ) -> Result<(i64, Vec<Consumption>)> {
        let merged = self.merged_into(user).await?;
        if merged.is_empty() {
            let total = self.charge_count(user).await?;
            let newest = total.saturating_sub(skip);
            let list = self
                .fetch_all(
                    "SELECT e.account_id, e.number, e.title, e.description, -e.points, e.at, e.api_key_id, k.name \
                     FROM entries e LEFT JOIN api_keys k ON k.id = e.api_key_id \
                     WHERE e.account_id = $1 AND e.charge_number <= $2 AND e.charge_number > $3 ORDER BY e.charge_number DESC",
                    &[user.0.into(), newest.into(), newest.saturating_sub(rows_max).into()],
                    read_consumption,
                )
                .await?;
            return Ok((total, list));
        }
        let mut total = self.charge_count(user).await?;
        for record in merged {
            total += self.charge_count(record).await?;
        }
        let list = self
            .fetch_all(
                "SELECT e.account_id, e.number, e.title, e.description, -e.points, e.at, e.api_key_id, k.name \
                 FROM users u JOIN entries e ON e.account_id = u.id LEFT JOIN api_keys k ON k.id = e.api_key_id \
                 WHERE (u.id = $1 OR u.merged_into = $1) AND e.charge_number IS NOT NULL \
                 ORDER BY e.at DESC, e.account_id DESC, e.charge_number DESC LIMIT $2 OFFSET $3",
                &[user.0.into(), rows_max.into(), skip.into()],
                read_consumption,
            )
            .await?;
        Ok((total, list))
    }

    async fn charge_count(&mut self, user: UserId) -> Result<i64> {
        let count = self
            .fetch_optional(
                "SELECT charge_count FROM accounts WHERE id = $1",
                &[user.0.into()],
                |row| row.get(0),
            )
            .await?;
        Ok(count.unwrap_or(0))
    }

    /// What was charged under an idempotency key.
    pub async fn charge_record(
        &mut self,
        credential_id: &str,
        idempotency_key: &str,
    ) -> Result<Option<ChargeRecord>> {
        self.fetch_optional(
            "SELECT r.input_hash, r.account_id, r.entry_number, -e.points, e.balance_after, e.at FROM charge_requests r \
             JOIN entries e ON e.account_id = r.account_id AND e.number = r.entry_number \
             WHERE r.credential_id = $1 AND r.idempotency_key = $2",
            &[credential_id.into(), idempotency_key.into()],
            |row| {
                Ok(ChargeRecord {
                    input_hash: row.get(0)?,
                    account: AccountId(row.get(1)?),
                    entry: row.get(2)?,
                    points: row.get(3)?,
                    balance_after: points(row.get(4)?)?,
                    at: Time::from_micros(row.get(5)?),
                })
            },
        )
        .await
    }

    /// Remembers what was charged under an idempotency key. `false` when the key was used in the meantime.
    pub async fn insert_charge_record(
        &mut self,
        credential_id: &str,
        idempotency_key: &str,
        record: &ChargeRecord,
    ) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO charge_requests (credential_id, idempotency_key, input_hash, account_id, entry_number) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (credential_id, idempotency_key) DO NOTHING",
                &[
                    credential_id.into(),
                    idempotency_key.into(),
                    record.input_hash.as_slice().into(),
                    record.account.0.into(),
                    record.entry.into(),
                ],
            )
            .await?;
        Ok(inserted == 1)
    }
}

/// Points that can be spent and their earliest expiry, from two columns that follow each other.
pub(crate) fn read_holdings(row: &Row<'_>, first: usize) -> Result<Holdings> {
    Ok(Holdings {
        available: points(row.get(first)?)?,
        next_expiry: time(row, first + 1)?,
    })
}

fn read_lot(row: &Row<'_>) -> Result<Lot> {
    let source: String = row.get(1)?;
    let (order_id, gift_key) = (row.get::<Option<String>>(2)?, row.get::<Option<String>>(3)?);
    let origin = row.get::<Option<i64>>(4)?.zip(row.get::<Option<i64>>(5)?);
    let source = match (source.as_str(), order_id, gift_key, origin) {
        ("purchase", Some(order_id), None, None) => LotSource::Purchase { order_id },
        ("gift", None, Some(key), None) => LotSource::Gift { key },
        ("merge", None, None, Some((account, lot))) => LotSource::Merge {
            account: AccountId(account),
            lot,
        },
        _ => {
            return Err(Error::Corrupt(format!(
                "a lot of source {source} without what it names"
            )));
        }
    };
    Ok(Lot {
        number: row.get(0)?,
        source,
        points: points(row.get(6)?)?,
        remaining: points(row.get(7)?)?,
        expires_at: time(row, 8)?,
        granted_at: Time::from_micros(row.get(9)?),
    })
}

fn read_consumption(row: &Row<'_>) -> Result<Consumption> {
    Ok(Consumption {
        account: AccountId(row.get(0)?),
        entry: row.get(1)?,
        title: row.get(2)?,
        description: row.get(3)?,
        points: row.get(4)?,
        at: Time::from_micros(row.get(5)?),
        api_key_id: row.get(6)?,
        api_key_name: row.get(7)?,
    })
}

fn points(value: i64) -> Result<Points> {
    Points::new(value)
        .ok_or_else(|| Error::Corrupt(format!("{value} points where none can be negative")))
}

fn time(row: &Row<'_>, index: usize) -> Result<Option<Time>> {
    Ok(row.get::<Option<i64>>(index)?.map(Time::from_micros))
}
