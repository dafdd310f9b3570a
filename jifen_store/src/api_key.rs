//! API keys of users, their secrets, and what they have spent. Only keyed hashes of the secrets are stored.

use jifen_domain::key::{ApiKey, Caps, IpRange, RateLimit, Spending};
use jifen_domain::tariff::RoutePattern;
use jifen_domain::{AccountId, Points, Time, UserId};

use crate::engine::{Column, Row};
use crate::{Error, Result, Tx};

/// A key found by one of its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOfSecret {
    /// The key; it may be expired, off or deleted.
    pub key: ApiKey,
    /// From then on this secret is unknown.
    pub valid_until: Option<Time>,
}

/// What a key has spent from an account. There is one for each key with a cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpending {
    /// The key's id.
    pub key_id: String,
    /// The account it spends from.
    pub account: AccountId,
    /// How much.
    pub spending: Spending,
}

/// A query for whole keys, to be read with [`read_key`].
macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, k.user_id, k.name, k.active, k.is_test, k.hint, k.created_at, k.expires_at, k.last_used_at, k.deleted_at, \
             k.daily_cap, k.monthly_cap, k.total_cap, k.rate_requests, k.rate_seconds, k.ip_ranges, k.scopes ",
            $rest
        )
    };
}

impl Tx {
    /// Adds a key with its first secret.
    pub async fn insert_api_key(&mut self, key: &ApiKey, secret_hash: &[u8]) -> Result<()> {
        self.execute(
            "INSERT INTO api_keys (id, user_id, name, active, is_test, hint, created_at, expires_at, daily_cap, monthly_cap, \
             total_cap, rate_requests, rate_seconds, ip_ranges, scopes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            &[
                (&key.id).into(),
                key.user.0.into(),
                (&key.name).into(),
                key.active.into(),
                key.is_test.into(),
                key.hint.as_deref().into(),
                key.created_at.micros().into(),
                key.expires_at.micros().into(),
                key.caps.daily.map(Points::get).into(),
                key.caps.monthly.map(Points::get).into(),
                key.caps.total.map(Points::get).into(),
                key.rate.map(|rate| i64::from(rate.requests())).into(),
                key.rate.map(|rate| i64::from(rate.seconds())).into(),
                write_ip_ranges(&key.ip_ranges).as_str().into(),
                write_scopes(&key.scopes).as_str().into(),
            ],
        )
        .await?;
        self.insert_secret(&key.id, secret_hash).await
    }

    /// Writes what may change about a key.
    pub async fn update_api_key(&mut self, key: &ApiKey) -> Result<()> {
        self.execute(
            "UPDATE api_keys SET name = $1, active = $2, hint = $3, deleted_at = $4, daily_cap = $5, monthly_cap = $6, \
             total_cap = $7, rate_requests = $8, rate_seconds = $9, ip_ranges = $10, scopes = $11 WHERE id = $12",
            &[
                (&key.name).into(),
                key.active.into(),
                key.hint.as_deref().into(),
                key.deleted_at.map(Time::micros).into(),
                key.caps.daily.map(Points::get).into(),
                key.caps.monthly.map(Points::get).into(),
                key.caps.total.map(Points::get).into(),
                key.rate.map(|rate| i64::from(rate.requests())).into(),
                key.rate.map(|rate| i64::from(rate.seconds())).into(),
                write_ip_ranges(&key.ip_ranges).as_str().into(),
                write_scopes(&key.scopes).as_str().into(),
                (&key.id).into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Gives a key a new secret. The one it had goes on working until `old_valid_until`; secrets replaced before are
    /// forgotten at once, so that a key never has more than two.
    pub async fn replace_api_key_secret(
        &mut self,
        id: &str,
        secret_hash: &[u8],
        old_valid_until: Time,
    ) -> Result<()> {
        self.execute(
            "DELETE FROM api_key_secrets WHERE api_key_id = $1 AND valid_until IS NOT NULL",
            &[id.into()],
        )
        .await?;
        self.execute(
            "UPDATE api_key_secrets SET valid_until = $1 WHERE api_key_id = $2",
            &[old_valid_until.micros().into(), id.into()],
        )
        .await?;
        self.insert_secret(id, secret_hash).await
    }

    async fn insert_secret(&mut self, id: &str, secret_hash: &[u8]) -> Result<()> {
        self.execute(
            "INSERT INTO api_key_secrets (secret_hash, api_key_id) VALUES ($1, $2)",
            &[secret_hash.into(), id.into()],
        )
        .await
        .map(drop)
    }

    /// The hashes of a key's secrets, those that are no longer valid included. At most two.
    pub async fn api_key_secret_hashes(&mut self, id: &str) -> Result<Vec<Vec<u8>>> {
        self.fetch_all(
            "SELECT secret_hash FROM api_key_secrets WHERE api_key_id = $1 ORDER BY secret_hash",
            &[id.into()],
            |row| row.get(0),
        )
        .await
    }

    /// A user's keys that are not deleted, live and test keys, newest first.
    pub async fn api_keys(&mut self, user: UserId) -> Result<Vec<ApiKey>> {
        self.fetch_all(
            select_keys!(
                "FROM api_keys k WHERE k.user_id = $1 AND k.deleted_at IS NULL ORDER BY k.created_at DESC, k.id DESC"
            ),
            &[user.0.into()],
            read_key,
        )
        .await
    }

    /// A key by its id.
    pub async fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>> {
        self.fetch_optional(
            select_keys!("FROM api_keys k WHERE k.id = $1"),
            &[id.into()],
            read_key,
        )
        .await
    }

    /// A key by its id, locked.
    pub async fn lock_api_key(&mut self, id: &str) -> Result<Option<ApiKey>> {
        self.lock_optional(
            select_keys!("FROM api_keys k WHERE k.id = $1"),
            &[id.into()],
            read_key,
        )
        .await
    }

    /// A key by the keyed hash of one of its secrets; one that is past its time is unknown.
    pub async fn api_key_by_hash(
        &mut self,
        secret_hash: &[u8],
        now: Time,
    ) -> Result<Option<KeyOfSecret>> {
        self.fetch_optional(
            select_keys!(
                ", s.valid_until FROM api_key_secrets s JOIN api_keys k ON k.id = s.api_key_id \
                 WHERE s.secret_hash = $1 AND (s.valid_until IS NULL OR s.valid_until > $2)"
            ),
            &[secret_hash.into(), now.micros().into()],
            |row| {
                Ok(KeyOfSecret {
                    key: read_key(row)?,
                    valid_until: row.get::<Option<i64>>(KEY_COLUMNS)?.map(Time::from_micros),
                })
            },
        )
        .await
    }

    /// Notes that these keys were used; each is given once.
    pub async fn touch_api_keys(&mut self, ids: &[&str], now: Time) -> Result<()> {
        self.execute_rows(
            "UPDATE api_keys SET last_used_at = $1 {from each} WHERE api_keys.id = $2",
            &[
                Column::ints(ids.iter().map(|_| now.micros())),
                Column::texts(ids.iter().copied()),
            ],
        )
        .await
        .map(drop)
    }

    /// What these keys have spent, in the order of their ids; those without a cap are not among them. Who is going to
    /// change it has locked their accounts.
    pub async fn key_spending(&mut self, ids: &[&str]) -> Result<Vec<KeySpending>> {
        self.fetch_rows(
            SELECT_SPENDING,
            &[Column::texts(in_order(ids))],
            read_spending,
        )
        .await
    }

    /// The same, and nobody else changes it until this transaction ends.
    pub async fn lock_key_spending(&mut self, ids: &[&str]) -> Result<Vec<KeySpending>> {
        self.lock_rows(
            SELECT_SPENDING,
            &[Column::texts(in_order(ids))],
            read_spending,
        )
        .await
    }

    /// Writes what keys have spent, whether or not it was counted before; each is given once.
    pub async fn put_key_spending(&mut self, spent: &[KeySpending]) -> Result<()> {
        let numbers = |number: fn(&Spending) -> i64| {
            Column::ints(spent.iter().map(|spent| number(&spent.spending)))
        };
        self.execute_rows(
            "INSERT INTO key_spending (api_key_id, account_id, day, day_points, month, month_points, total_points) \
             SELECT $1, $2, $3, $4, $5, $6, $7 {from each} \
             ON CONFLICT (api_key_id) DO UPDATE SET account_id = excluded.account_id, day = excluded.day, \
             day_points = excluded.day_points, month = excluded.month, month_points = excluded.month_points, \
             total_points = excluded.total_points",
            &[
                Column::texts(spent.iter().map(|spent| spent.key_id.as_str())),
                Column::ints(spent.iter().map(|spent| spent.account.0)),
                numbers(|spent| spent.day),
                numbers(|spent| spent.day_points.get()),
                numbers(|spent| spent.month),
                numbers(|spent| spent.month_points.get()),
                numbers(|spent| spent.total_points.get()),
            ],
        )
        .await
        .map(drop)
    }

    /// Begins to count what a key spends. Its account is locked.
    pub async fn start_key_spending(&mut self, spent: &KeySpending) -> Result<()> {
        self.put_key_spending(std::slice::from_ref(spent)).await?;
        self.note_capped_keys(spent.account).await
    }

    /// Counts no longer what a key spends from this account. The account is locked.
    pub async fn stop_key_spending(&mut self, id: &str, account: AccountId) -> Result<()> {
        self.execute(
            "DELETE FROM key_spending WHERE api_key_id = $1",
            &[id.into()],
        )
        .await?;
        self.note_capped_keys(account).await
    }

    /// Makes the keys of one person those of another, with what is counted of them. Their accounts are locked.
    pub(crate) async fn redirect_api_keys(&mut self, from: UserId, to: UserId) -> Result<()> {
        self.execute(
            "UPDATE api_keys SET user_id = $1 WHERE user_id = $2",
            &[to.0.into(), from.0.into()],
        )
        .await?;
        for account_of in [AccountId::from, AccountId::of_tests] {
            let moved = self
                .execute(
                    "UPDATE key_spending SET account_id = $1 WHERE account_id = $2",
                    &[account_of(to).0.into(), account_of(from).0.into()],
                )
                .await?;
            if moved > 0 {
                self.note_capped_keys(account_of(from)).await?;
                self.note_capped_keys(account_of(to)).await?;
            }
        }
        Ok(())
    }

    async fn note_capped_keys(&mut self, account: AccountId) -> Result<()> {
        self.execute(
            "UPDATE accounts SET has_capped_keys = \
             CASE WHEN EXISTS (SELECT 1 FROM key_spending s WHERE s.account_id = $1) THEN 1 ELSE 0 END WHERE id = $1",
            &[account.0.into()],
        )
        .await
        .map(drop)
    }
}

/// Columns that [`read_key`] reads.
const KEY_COLUMNS: usize = 17;
const SELECT_SPENDING: &str = "SELECT api_key_id, account_id, day, day_points, month, month_points, total_points \
     FROM key_spending WHERE api_key_id {in each} ORDER BY api_key_id";

/// Each id once, sorted.
fn in_order<'a>(ids: &[&'a str]) -> Vec<&'a str> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn read_key(row: &Row<'_>) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.get(0)?,
        user: UserId(row.get(1)?),
        name: row.get(2)?,
        active: row.get(3)?,
        is_test: row.get(4)?,
        hint: row.get(5)?,
        created_at: Time::from_micros(row.get(6)?),
        expires_at: Time::from_micros(row.get(7)?),
        last_used_at: row.get::<Option<i64>>(8)?.map(Time::from_micros),
        deleted_at: row.get::<Option<i64>>(9)?.map(Time::from_micros),
        caps: Caps {
            daily: read_cap(row, 10)?,
            monthly: read_cap(row, 11)?,
            total: read_cap(row, 12)?,
        },
        rate: read_rate(row, 13)?,
        ip_ranges: read_ip_ranges(&row.get::<String>(15)?)?,
        scopes: read_scopes(&row.get::<String>(16)?)?,
    })
}

fn read_spending(row: &Row<'_>) -> Result<KeySpending> {
    Ok(KeySpending {
        key_id: row.get(0)?,
        account: AccountId(row.get(1)?),
        spending: Spending {
            day: row.get(2)?,
            day_points: read_points(row.get(3)?)?,
            month: row.get(4)?,
            month_points: read_points(row.get(5)?)?,
            total_points: read_points(row.get(6)?)?,
        },
    })
}

fn read_cap(row: &Row<'_>, column: usize) -> Result<Option<Points>> {
    row.get::<Option<i64>>(column)?.map(read_points).transpose()
}

fn read_points(points: i64) -> Result<Points> {
    Points::new(points).ok_or_else(|| Error::Corrupt("negative points of a key".to_owned()))
}

/// From two columns, requests and seconds.
pub(crate) fn read_rate(row: &Row<'_>, column: usize) -> Result<Option<RateLimit>> {
    let (requests, seconds): (Option<i64>, Option<i64>) = (row.get(column)?, row.get(column + 1)?);
    let (Some(requests), Some(seconds)) = (requests, seconds) else {
        return Ok(None);
    };
    let rate = RateLimit::new(requests, seconds);
    rate.map(Some)
        .ok_or_else(|| Error::Corrupt(format!("{requests} requests in {seconds} s are no rate")))
}

/// `10.0.0.0/8 2001:db8::/32`
fn write_ip_ranges(ranges: &[IpRange]) -> String {
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

fn read_ip_ranges(text: &str) -> Result<Vec<IpRange>> {
    text.split_whitespace()
        .map(|range| {
            range
                .parse()
                .map_err(|error| Error::Corrupt(format!("the IP range {range}: {error}")))
        })
        .collect()
}

/// Between patterns; no pattern contains it.
const SCOPE_SEPARATOR: &str = ", ";

/// `POST /v1/ocr, * /v1/files/*`
fn write_scopes(scopes: &[RoutePattern]) -> String {
    let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    texts.join(SCOPE_SEPARATOR)
}

fn read_scopes(text: &str) -> Result<Vec<RoutePattern>> {
    text.split(SCOPE_SEPARATOR)
        .filter(|scope| !scope.is_empty())
        .map(|scope| {
            RoutePattern::parse(scope)
                .map_err(|error| Error::Corrupt(format!("the scope {scope}: {error}")))
        })
        .collect()
}
