//! SQLite: one writer committing in groups ([`writer`]), readers beside it, statements run where they are called.
//!
//! A statement costs microseconds, less than handing it to another thread; what can take long — the commit's wait for
//! the disk, waiting for another process — runs on the writer's thread.

mod checkpoint;
mod failure;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter};

use super::error::{Error, Result};
use super::migrate::{self, Applied, Migration};
use super::row::{Row, Source};
use super::value::Value;
use crate::ledger::fingerprint;

pub(super) use failure::failure;
pub(super) use reader::Reader;
#[cfg(test)]
pub(super) use writer::WAITING_MAX;
pub(super) use writer::{GroupLimits, Transaction};

/// Statements kept prepared on each connection; the store has fewer.
const STATEMENTS_MAX: usize = 1_000;
/// How long a connection waits for another process (the command line beside the server).
const BUSY_SECONDS_MAX: u64 = 5;
/// How long a migration waits for another process that is migrating.
const MIGRATION_SECONDS_MAX: u64 = 600;

/// An open SQLite database.
pub(super) struct Database {
    path: PathBuf,
    writer: Arc<writer::Queue>,
    readers: Arc<reader::Readers>,
}

impl Database {
    /// Opens the file, creating it and its folder.
    pub(super) fn open(path: &Path, limits: GroupLimits) -> Result<Self> {
        create(path)?;
        let connection = connect_writer(path, Duration::from_secs(BUSY_SECONDS_MAX))?;
        Ok(Self {
            path: path.to_owned(),
            writer: writer::Queue::start(connection, path.to_owned(), limits)?,
            readers: Arc::new(reader::Readers::new(path.to_owned())),
        })
    }

    pub(super) async fn begin(&self) -> Result<Transaction> {
        Transaction::begin(&self.writer).await
    }

    pub(super) async fn read(&self) -> Result<Reader> {
        self.readers.borrow().await
    }

    /// A number that changes with each commit of another process, or of another store of this one.
    pub(super) async fn foreign_version(&self) -> Result<i64> {
        // The writer's connection counts every commit but those made on it, which are all that this store makes.
        self.begin().await?.run(|writer| {
            let sql = "PRAGMA data_version";
            let mut version = 0;
            rows(writer, sql, &[], |row| {
                version = row.get(0)?;
                Ok(())
            })?;
            Ok(version)
        })
    }

    /// Migrates on a connection of its own; the writer takes note of a changed schema by itself.
    pub(super) async fn migrate(&self, migrations: &'static [Migration]) -> Result<Vec<String>> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || apply(&path, migrations))
            .await
            .map_err(|_| Error::Migration("the migration was stopped".to_owned()))?
    }
}

/// Runs a statement and returns how many rows it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value<'_>]) -> Result<u64> {
    let changed = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(params)))
        .map_err(|error| failure(connection, &error, sql))?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// Runs a query to its end and hands each row to `each`.
pub(super) fn rows(
    connection: &Connection,
    sql: &str,
    params: &[Value<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error: rusqlite::Error| failure(connection, &error, sql);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(params)).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        each(&Row(Source::Sqlite(row)))?;
    }
    Ok(())
}

/// Creates the file, which its journals copy the permissions of, for this user alone.
fn create(path: &Path) -> Result<()> {
    let unavailable = |error: std::io::Error| {
        Error::Unavailable(format!("{} cannot be created: {error}", path.display()))
    };
    let mut folder = std::fs::DirBuilder::new();
    let mut file = std::fs::OpenOptions::new();
    folder.recursive(true);
    file.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        folder.create(parent).map_err(unavailable)?;
    }
    file.open(path).map_err(unavailable)?;
    Ok(())
}

/// A connection with this store's settings. `busy` is how long it waits for another process.
fn connect(path: &Path, busy: Duration) -> Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite's own mutexes are not needed.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let unavailable = |error: rusqlite::Error| {
        Error::Unavailable(format!("{} cannot be opened: {error}", path.display()))
    };
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection.busy_timeout(busy).map_err(unavailable)?;
    // Statements are planned once, not again for each value bound to them.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(unavailable)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let journal: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(unavailable)?;
    if journal != "wal" {
        return Err(Error::Unavailable(format!(
            "{}: the file system has no shared memory for SQLite's write-ahead log; use a local disk",
            path.display()
        )));
    }
    connection
        .execute_batch(
            // FULL: a commit is on the disk when it returns. The log shrinks back to 256 MiB after a large transaction.
            "PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -4096;
             PRAGMA journal_size_limit = 268435456;",
        )
        .map_err(unavailable)?;
    Ok(connection)
}

/// A connection that writes: it keeps more pages than SQLite would, and moves the log into the file by itself only where
/// [`checkpoint`] has not come to it.
fn connect_writer(path: &Path, busy: Duration) -> Result<Connection> {
    let connection = connect(path, busy)?;
    connection
        .execute_batch(
            "PRAGMA cache_size = -16384;
             PRAGMA wal_autocheckpoint = 64000;",
        )
        .map_err(|error| failure(&connection, &error, "PRAGMA"))?;
    Ok(connection)
}

fn apply(path: &Path, migrations: &'static [Migration]) -> Result<Vec<String>> {
    let mut connection = connect(path, Duration::from_secs(MIGRATION_SECONDS_MAX))?;
    add_functions(&connection)?;
    // SQLite changes a table by building it anew, which must not set off the references to the old one; they are
    // checked as a whole before the commit.
    connection
        .execute_batch("PRAGMA foreign_keys = OFF")
        .map_err(|error| failure(&connection, &error, "PRAGMA foreign_keys"))?;
    let mut names = Vec::new();
    while let Some(name) = apply_next(&mut connection, migrations)? {
        names.push(name);
    }
    Ok(names)
}

/// Gives migrations PostgreSQL's function `sha256`, and `request_fingerprint`; of bytes.
fn add_functions(connection: &Connection) -> Result<()> {
    add_function(connection, "sha256", |bytes| {
        Some(digest::digest(&digest::SHA256, bytes).as_ref().to_vec())
    })?;
    add_function(connection, "request_fingerprint", |key| {
        Some(fingerprint(key.try_into().ok()?).to_vec())
    })
}

fn add_function(
    connection: &Connection,
    name: &str,
    of: fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<()> {
    connection
        .create_scalar_function(
            name,
            1,
            FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC,
            move |context| match context.get_raw(0) {
                ValueRef::Null => Ok(None),
                ValueRef::Blob(bytes) => Ok(of(bytes)),
                other => Err(rusqlite::Error::InvalidFunctionParameterType(
                    0,
                    other.data_type(),
                )),
            },
        )
        .map_err(|error| Error::Migration(error.to_string()))
}

/// Applies the first missing migration; the write lock is held from reading which it is to its record.
fn apply_next(
    connection: &mut Connection,
    migrations: &'static [Migration],
) -> Result<Option<String>> {
    let explain = |error: rusqlite::Error| Error::Migration(error.to_string());
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(explain)?;
    transaction
        .execute_batch(migrate::CREATE_TABLE)
        .map_err(explain)?;
    let applied = transaction
        .prepare(migrate::SELECT_APPLIED)
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok(Applied {
                        name: row.get(0)?,
                        checksum: row.get(1)?,
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(explain)?;
    let Some(migration) = migrate::next(migrations, super::Engine::Sqlite, &applied)? else {
        return Ok(None);
    };
    let explain = |error: rusqlite::Error| Error::Migration(format!("{}: {error}", migration.name));
    transaction
        .execute_batch(migration.sqlite)
        .map_err(explain)?;
    let dangling = transaction
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut statement| statement.exists([]))
        .map_err(explain)?;
    if dangling {
        return Err(Error::Migration(format!(
            "{}: it leaves a row that refers to one that does not exist",
            migration.name
        )));
    }
    transaction
        .execute(
            "INSERT INTO schema_migrations (name, checksum, applied_at)
             VALUES ($1, $2, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
            (migration.name, migration.checksum(super::Engine::Sqlite)),
        )
        .map_err(explain)?;
    transaction.commit().map_err(explain)?;
    Ok(Some(migration.name.to_owned()))
}
