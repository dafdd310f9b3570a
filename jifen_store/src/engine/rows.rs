//! One statement for many rows, the same text on both engines.
//!
//! A marker says where the rows come in; `$n` is column `n` of the row:
//!
//! ```sql
//! INSERT INTO t (a, b) SELECT $1, $2 {from each}
//! UPDATE t SET x = $1 {from each} WHERE t.a = $2
//! SELECT $1, e.x FROM {each} (SELECT x FROM t WHERE a = $2 ORDER BY n DESC LIMIT 1) e
//! SELECT a.id, a.balance FROM accounts a WHERE a.id {in each} ORDER BY a.id
//! ```
//!
//! SQLite runs the statement once for each row, prepared once. PostgreSQL runs it once for all, over
//! `unnest($1, $2, …) AS each(c1, c2, …)`. So that both do the same:
//! - The rows must not depend on each other: no two of them change the same row of a table.
//! - A column that could also be one of `each` (`c1`, `c2` …) is qualified. The target of an UPDATE is qualified by its
//!   table's name, but not on the left of `=` in SET.
//! - Between `{from each}` of an INSERT and its `ON CONFLICT` there is nothing but `WHERE true`, which SQLite needs not.
//! - `{in each}` takes one column, of values that differ; nothing else in the statement is a parameter. With it the order
//!   of the answer is the statement's on PostgreSQL and the column's on SQLite: give sorted values, and order by them.
//!   Only this form can lock.

use std::fmt;

use rusqlite::{Connection, Statement};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::error::{Error, Result};
use super::row::{Row, Source};
use super::statement;
use super::value::{Conversion, Parameter, Value};
use super::{Lock, Session, State, Tx, sqlite};

/// A parameter with a value for each row. All columns of a call have the same length.
pub(crate) enum Column<'a> {
    /// `BIGINT`.
    Int(Vec<Option<i64>>),
    /// `TEXT`.
    Text(Vec<Option<&'a str>>),
    /// `BYTEA`, `BLOB` on SQLite.
    Blob(Vec<Option<&'a [u8]>>),
}

impl<'a> Column<'a> {
    /// Of integers, some of them missing or none.
    pub(crate) fn ints(values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> Self {
        Self::Int(values.into_iter().map(Into::into).collect())
    }

    /// Of texts, some of them missing or none.
    pub(crate) fn texts(values: impl IntoIterator<Item = impl Into<Option<&'a str>>>) -> Self {
        Self::Text(values.into_iter().map(Into::into).collect())
    }

    /// Of bytes, some of them missing or none.
    pub(crate) fn blobs(values: impl IntoIterator<Item = impl Into<Option<&'a [u8]>>>) -> Self {
        Self::Blob(values.into_iter().map(Into::into).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Blob(values) => values.len(),
        }
    }

    fn value(&self, row: usize) -> Value<'a> {
        match self {
            Self::Int(values) => values.get(row).copied().flatten().into(),
            Self::Text(values) => values.get(row).copied().flatten().into(),
            Self::Blob(values) => values.get(row).copied().flatten().into(),
        }
    }
}

/// A statement and its rows.
pub(crate) struct RowStatement<'a> {
    pub(crate) sql: &'static str,
    pub(crate) columns: Vec<Column<'a>>,
}

impl Tx {
    /// Runs `sql` for each row and returns how many rows of tables it changed in all.
    ///
    /// When it fails for one of them, the transaction can only be dropped, as after any statement.
    pub(crate) async fn execute_rows(
        &mut self,
        sql: &'static str,
        columns: &[Column<'_>],
    ) -> Result<u64> {
        let changed = self.run_all(&[(sql, columns)]).await?;
        Ok(changed.first().copied().unwrap_or_default())
    }

    /// The same for several statements, on PostgreSQL in one round trip. Each sees what those before it have done.
    pub(crate) async fn execute_all(
        &mut self,
        statements: &[RowStatement<'_>],
    ) -> Result<Vec<u64>> {
        let statements: Vec<_> = statements
            .iter()
            .map(|statement| (statement.sql, statement.columns.as_slice()))
            .collect();
        self.run_all(&statements).await
    }

    async fn run_all(&mut self, statements: &[(&'static str, &[Column<'_>])]) -> Result<Vec<u64>> {
        let mut changed = vec![0; statements.len()];
        let mut places = Vec::with_capacity(statements.len());
        for (place, (sql, columns)) in statements.iter().enumerate() {
            if self.count_rows(sql, columns, Lock::None)? > 0 {
                places.push(place);
            }
        }
        if places.is_empty() {
            return Ok(changed);
        }
        let texts: Vec<_> = places
            .iter()
            .map(|place| self.shared.texts.get(statements[*place].0))
            .collect();
        let rewritten: Vec<(&str, &[Column<'_>])> = places
            .iter()
            .zip(&texts)
            .map(|(place, text)| (&**text, statements[*place].1))
            .collect();
        self.state = State::Running;
        let outcome = match &mut self.session {
            Session::SqliteWrite(transaction) => {
                transaction.run(|connection| execute_each_of(connection, &rewritten))
            }
            Session::SqliteRead(reader) => execute_each_of(reader.connection(), &rewritten),
            Session::Postgres(session) => session.execute_all(&rewritten).await,
        };
        for (place, count) in places.into_iter().zip(self.finish(outcome)?) {
            changed[place] = count;
        }
        Ok(changed)
    }

    /// What a query finds for each row. On SQLite the answer has the rows' order; on PostgreSQL it has that of the
    /// statement, if it names one.
    pub(crate) async fn fetch_rows<T: Send>(
        &mut self,
        sql: &'static str,
        columns: &[Column<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        self.all_rows(Lock::None, sql, columns, map).await
    }

    /// Like [`Tx::fetch_rows`], and nobody else changes or locks what is found until this transaction ends. For
    /// `{in each}` alone; the statement orders what it finds, or two transactions may wait for each other.
    pub(crate) async fn lock_rows<T: Send>(
        &mut self,
        sql: &'static str,
        columns: &[Column<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        debug_assert!(
            sql.contains(statement::IN_EACH),
            "only a table's own rows can be locked: {sql}"
        );
        self.all_rows(Lock::Wait, sql, columns, map).await
    }

    /// `count` new positions for entries, rising, and never given to another transaction of any node that commits.
    pub(crate) async fn next_positions(&mut self, count: i64) -> Result<Vec<i64>> {
        if let Session::Postgres(_) = self.session {
            return self
                .fetch_all(
                    "SELECT nextval('entry_positions') FROM generate_series(1, $1)",
                    &[count.into()],
                    |row| row.get(0),
                )
                .await;
        }
        let written: Option<i64> = self
            .fetch_optional(
                "SELECT COALESCE(MAX(position), 0) FROM entries",
                &[],
                |row| row.get(0),
            )
            .await?;
        let last = written.unwrap_or(0).max(self.position_given);
        let new_last = last
            .checked_add(count.max(0))
            .ok_or_else(|| Error::Corrupt("no positions are left for entries".to_owned()))?;
        self.position_given = new_last;
        Ok((last + 1..=new_last).collect())
    }

    async fn all_rows<T: Send>(
        &mut self,
        lock: Lock,
        sql: &'static str,
        columns: &[Column<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let count = self.count_rows(sql, columns, lock)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        self.state = State::Running;
        let mut found = Vec::with_capacity(count);
        let each = |row: &Row<'_>| {
            found.push(map(row)?);
            Ok(())
        };
        let sql = self.shared.texts.get(sql);
        let outcome = match &mut self.session {
            Session::SqliteWrite(transaction) => {
                transaction.run(|connection| query_each(connection, &sql, columns, count, each))
            }
            Session::SqliteRead(reader) => {
                query_each(reader.connection(), &sql, columns, count, each)
            }
            Session::Postgres(session) => session.rows(lock, &sql, columns, each).await,
        };
        self.finish(outcome)?;
        Ok(found)
    }

    /// How many rows there are for a statement that may run now.
    fn count_rows(
        &mut self,
        sql: &'static str,
        columns: &[Column<'_>],
        lock: Lock,
    ) -> Result<usize> {
        debug_assert_eq!(
            statement::columns(sql),
            Ok(columns.len()),
            "columns must be numbered in order of first use, and all be given: {sql}"
        );
        self.may_run(sql, lock)?;
        let count = columns.first().map_or(0, Column::len);
        if columns.iter().any(|column| column.len() != count) {
            return self.finish(Err(Error::refused("the columns differ in length", sql)));
        }
        Ok(count)
    }
}

/// Runs statements for each of their rows on SQLite and returns how many rows each changed.
fn execute_each_of(
    connection: &Connection,
    statements: &[(&str, &[Column<'_>])],
) -> Result<Vec<u64>> {
    let run = |(sql, columns): &(&str, &[Column<'_>])| -> Result<u64> {
        let failed = |error: rusqlite::Error| sqlite::failure(connection, &error, sql);
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        let mut changed = 0;
        for row in 0..columns.first().map_or(0, Column::len) {
            bind(&mut statement, columns, row).map_err(failed)?;
            changed += statement.raw_execute().map_err(failed)?;
        }
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    };
    statements.iter().map(run).collect()
}

/// Runs a query for each row on SQLite and hands what it finds to `each`.
fn query_each(
    connection: &Connection,
    sql: &str,
    columns: &[Column<'_>],
    count: usize,
    mut each: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error: rusqlite::Error| sqlite::failure(connection, &error, sql);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    for row in 0..count {
        bind(&mut statement, columns, row).map_err(failed)?;
        let mut found = statement.raw_query();
        while let Some(row) = found.next().map_err(failed)? {
            each(&Row(Source::Sqlite(row)))?;
        }
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, columns: &[Column<'_>], row: usize) -> rusqlite::Result<()> {
    for (index, column) in columns.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, column.value(row))?;
    }
    Ok(())
}

/// Names kind and length only: the values are keys, titles, hashes.
impl fmt::Debug for Column<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Int(_) => "Int",
            Self::Text(_) => "Text",
            Self::Blob(_) => "Blob",
        };
        write!(formatter, "{kind}(… {})", self.len())
    }
}

impl Parameter for Column<'_> {
    fn postgres_type(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8_ARRAY,
            Self::Text(_) => Type::TEXT_ARRAY,
            Self::Blob(_) => Type::BYTEA_ARRAY,
        }
    }
}

impl ToSql for Column<'_> {
    fn to_sql(&self, declared: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match self {
            Self::Int(values) => values.to_sql_checked(declared, out),
            Self::Text(values) => values.to_sql_checked(declared, out),
            Self::Blob(values) => values.to_sql_checked(declared, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // The kind decides, in `to_sql`.
        true
    }

    to_sql_checked!();
}
