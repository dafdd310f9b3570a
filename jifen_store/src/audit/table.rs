//! Reading a table in the order of its primary key, some thousand rows a statement.

use super::{Audit, AuditProgress};
use crate::engine::{Row, Value};
use crate::{Result, Tx};

/// Rows a statement.
pub(super) const ROWS: i64 = 20_000;
/// So few that PostgreSQL looks others up for them one by one: for more it reads the whole of the other tables, even if there
/// turns out to be one.
pub(super) const ROWS_WITH_OTHERS: i64 = 4_000;

/// A table of which every row is held against the others.
pub(super) trait Table: Sized + Send {
    const NAME: &'static str;
    /// Rows a statement. [`ROWS_WITH_OTHERS`] where others are looked up for them.
    const ROWS: i64 = ROWS;
    /// Begins behind a primary key (the first parameters), ends with an account, and has a limit. Others are looked up for the rows
    /// that the limit leaves.
    const SQL: &'static str;

    /// What comes before all rows of an account.
    fn before(account: i64) -> Key;

    fn read(row: &Row<'_>) -> Result<Self>;

    fn key(&self) -> Key;

    fn check(&self, audit: &mut Audit<'_>);
}

/// A primary key.
pub(super) enum Key {
    One(i64),
    Two(i64, i64),
    Three(i64, i64, i64),
    Request(i64, Vec<u8>, i64),
    Usage(i64, i64, String, String),
}

impl Key {
    fn values(&self) -> Vec<Value<'_>> {
        match self {
            Self::One(one) => vec![(*one).into()],
            Self::Two(one, two) => vec![(*one).into(), (*two).into()],
            Self::Three(one, two, three) => vec![(*one).into(), (*two).into(), (*three).into()],
            Self::Request(account, fingerprint, position) => vec![
                (*account).into(),
                fingerprint.as_slice().into(),
                (*position).into(),
            ],
            Self::Usage(account, day, key, title) => {
                vec![(*account).into(), (*day).into(), key.into(), title.into()]
            }
        }
    }
}

impl Audit<'_> {
    /// The rows of the accounts of a range.
    pub(super) async fn read_table<T: Table>(
        &mut self,
        tx: &mut Tx,
        range: (i64, i64),
    ) -> Result<()> {
        let mut after = T::before(range.0);
        let mut read = 0;
        loop {
            let mut params = after.values();
            params.push(range.1.into());
            params.push(T::ROWS.into());
            let rows: Vec<T> = tx.fetch_all(T::SQL, &params, T::read).await?;
            for row in &rows {
                row.check(self);
            }
            let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            read += count;
            let Some(last) = rows.last().filter(|_| count == T::ROWS) else {
                return Ok(());
            };
            after = last.key();
            self.observer.progress(AuditProgress {
                table: T::NAME,
                rows: read,
                permille: None,
            });
            // Others on this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}
