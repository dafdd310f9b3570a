//! The two engines under one surface: the only place that knows there are two.
//!
//! A statement is one text for both. What differs — row locks, how a transaction becomes durable, how errors are named —
//! is settled here, so that the rest of the store reads as if there were one database.
//!
//! - [`sqlite`]: one writer whose transactions are committed in groups, and readers beside it.
//! - [`postgres`]: a bounded pool; each transaction has a connection.
//! - [`rows`]: one statement for many rows.
//! - [`snapshot`]: reading for long from one state.
//! - [`changes`]: what has changed, told to those who keep copies.
//! - [`touched`]: which accounts have changed, for those who remember what one holds.
//! - [`migrate`]: the schema's versions.

mod changes;
mod error;
mod migrate;
mod postgres;
mod row;
mod rows;
mod snapshot;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
mod touched;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use secrecy::{ExposeSecret, SecretString};

pub use changes::Change;
use changes::{Changes, Pending};
pub use error::{Error, Result};
use migrate::Migration;
#[cfg(any(test, feature = "testing"))]
pub(crate) use migrate::fingerprint as schema_fingerprint;
pub(crate) use row::Row;
pub(crate) use rows::{Column, RowStatement};
#[cfg(any(test, feature = "testing"))]
pub(crate) use statement::one_row as statement_for_one_row;
use statement::{Form, Texts};
use touched::{Touched, Touching};
pub(crate) use value::Value;

/// Where the data lives.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// One file on this machine, for one node.
    Sqlite {
        /// The file; it and its folder are created, readable by this user only.
        path: PathBuf,
    },
    /// A PostgreSQL server, for any number of nodes.
    Postgres {
        /// `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem`. Over TLS the
        /// certificate is always verified, against Mozilla's roots or `sslrootcert`.
        url: SecretString,
        /// Most connections open at once, at least 1.
        pool_size_max: usize,
    },
}

/// Which engine a store runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite, built in.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A handle to the database, cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    shared: Arc<Shared>,
}

/// What a store's clones and transactions share.
struct Shared {
    texts: Texts,
    changes: Changes,
    touched: Touched,
    /// See [`Store::is_listening`].
    is_listening: AtomicBool,
}

#[derive(Clone)]
enum Database {
    Sqlite(Arc<sqlite::Database>),
    Postgres(Arc<postgres::Database>),
}

impl Store {
    /// Opens the database and proves that it answers. The schema is left as it is: see [`Store::migrate`].
    ///
    /// # Errors
    /// [`Error::Configuration`] for a URL that cannot be used, [`Error::Unavailable`] when there is no database.
    pub async fn open(config: &StoreConfig) -> Result<Self> {
        let database = match config {
            StoreConfig::Sqlite { path } => Database::Sqlite(Arc::new(sqlite::Database::open(
                path,
                sqlite::GroupLimits::default(),
            )?)),
            StoreConfig::Postgres { url, pool_size_max } => Database::Postgres(Arc::new(
                postgres::Database::open(url.expose_secret(), *pool_size_max).await?,
            )),
        };
        Ok(Self::over(database))
    }

    fn over(database: Database) -> Self {
        let form = match database {
            Database::Sqlite(_) => Form::OneRow,
            Database::Postgres(_) => Form::AllRows,
        };
        Self {
            database,
            shared: Arc::new(Shared {
                texts: Texts::new(form),
                changes: Changes::new(),
                touched: Touched::new(),
                is_listening: AtomicBool::new(false),
            }),
        }
    }

    /// Applies the migrations that are missing, each in a transaction of its own, and returns their names.
    ///
    /// Several nodes may do this at once: one applies, the others wait and find it done.
    ///
    /// # Errors
    /// [`Error::Migration`] when the database holds a migration this binary does not know (it is newer), or one whose
    /// text has changed since it was applied.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        self.apply(migrate::MIGRATIONS).await
    }

    /// Applies no more than the first so many migrations.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn migrate_first(&self, count: usize) -> Result<Vec<String>> {
        let first = migrate::MIGRATIONS.get(..count);
        self.apply(first.unwrap_or(migrate::MIGRATIONS)).await
    }

    async fn apply(&self, migrations: &'static [Migration]) -> Result<Vec<String>> {
        match &self.database {
            Database::Sqlite(database) => database.migrate(migrations).await,
            Database::Postgres(database) => database.migrate(migrations).await,
        }
    }

    /// Begins a read-write transaction, READ COMMITTED or stricter. It is rolled back when dropped.
    ///
    /// On SQLite there is one at a time and the others wait for it: do nothing inside that waits for anything else.
    ///
    /// # Errors
    /// [`Error::Busy`] or [`Error::Unavailable`] when the turn does not come in time.
    pub async fn begin(&self) -> Result<Tx> {
        let session = match &self.database {
            Database::Sqlite(database) => Session::SqliteWrite(Box::new(database.begin().await?)),
            Database::Postgres(database) => Session::Postgres(Box::new(database.begin().await?)),
        };
        Ok(self.tx(session, false))
    }

    /// Borrows a connection to read on. Each statement sees what is committed when it starts; two statements may see
    /// different states. Statements that write or lock are refused.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection becomes free in time.
    pub async fn read(&self) -> Result<Tx> {
        let session = match &self.database {
            Database::Sqlite(database) => Session::SqliteRead(Box::new(database.read().await?)),
            Database::Postgres(database) => Session::Postgres(Box::new(database.read().await?)),
        };
        Ok(self.tx(session, true))
    }

    fn tx(&self, session: Session, reads_only: bool) -> Tx {
        Tx {
            session,
            touching: Touching::new(&self.shared),
            shared: Arc::clone(&self.shared),
            state: State::Open,
            reads_only,
            position_given: 0,
            announced: Vec::new(),
            until_decided: Vec::new(),
        }
    }

    /// The engine behind this store.
    pub fn engine(&self) -> Engine {
        match &self.database {
            Database::Sqlite(_) => Engine::Sqlite,
            Database::Postgres(_) => Engine::Postgres,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Store")
            .field(&self.engine())
            .finish()
    }
}

/// A transaction, or a connection to read on.
///
/// After a failed or cancelled statement it can only be dropped, on both engines: PostgreSQL would ignore what follows,
/// and what follows was written on the assumption that the statement worked.
pub struct Tx {
    session: Session,
    shared: Arc<Shared>,
    state: State,
    reads_only: bool,
    /// The last of the positions it was given on SQLite, 0 for none.
    position_given: i64,
    /// What subscribers are to hear once it is committed.
    announced: Vec<Change>,
    /// The accounts it changes.
    touching: Touching,
    until_decided: Vec<Box<dyn Send>>,
}

enum Session {
    SqliteWrite(Box<sqlite::Transaction>),
    SqliteRead(Box<sqlite::Reader>),
    Postgres(Box<postgres::Session>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A statement is under way; found by the next one, it was cancelled.
    Running,
    Failed,
}

/// Where a commit may wait for the disk.
#[derive(Clone, Copy)]
enum Place {
    ThisThread,
    Elsewhere,
}

/// What happens to the rows a query finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    None,
    /// Others wait to change or lock them until this transaction ends.
    Wait,
    /// The same, passing over those which are locked.
    Skip,
}

impl Tx {
    /// Commits, and returns only after what was written is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the outcome is unknown; after any other error nothing was written. When this future
    /// is dropped before it is ready the outcome is unknown, too; the commit goes on.
    pub async fn commit(self) -> Result<()> {
        self.commit_on(Place::Elsewhere).await
    }

    /// Keeps something until the outcome of this transaction is there, whoever waits for it: it is dropped then.
    pub fn keep_until_decided(&mut self, kept: impl Send + 'static) {
        self.until_decided.push(Box::new(kept));
    }

    /// The same for a caller that has a thread to itself: on SQLite that thread then waits for the disk.
    pub async fn commit_on_this_thread(self) -> Result<()> {
        self.commit_on(Place::ThisThread).await
    }

    async fn commit_on(self, place: Place) -> Result<()> {
        if self.state != State::Open {
            return Err(Error::Aborted);
        }
        if self.reads_only || matches!(place, Place::ThisThread) {
            return self.commit_and_tell(place).await;
        }
        // A caller who gives up must not keep those who remember what is changed from hearing of it.
        let outcome = tokio::spawn(self.commit_and_tell(place)).await;
        outcome.unwrap_or_else(|_| Err(Error::Unavailable("the commit was lost".to_owned())))
    }

    async fn commit_and_tell(mut self, place: Place) -> Result<()> {
        self.notify_others().await?;
        let pending = Pending::new(&self.shared.changes, self.announced);
        let until_decided = (self.touching, self.until_decided);
        let outcome = match self.session {
            Session::SqliteWrite(transaction) => match place {
                Place::ThisThread => transaction.commit_on_this_thread().await,
                Place::Elsewhere => transaction.commit().await,
            },
            Session::Postgres(session) => session.commit().await,
            Session::SqliteRead(_) => Ok(()),
        };
        drop(until_decided);
        pending.settle(&outcome);
        outcome
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        self.start_statement(sql, params, Lock::None)?;
        let changed = match &mut self.session {
            Session::SqliteWrite(transaction) => {
                transaction.run(|connection| sqlite::execute(connection, sql, params))
            }
            Session::SqliteRead(reader) => sqlite::execute(reader.connection(), sql, params),
            Session::Postgres(session) => session.execute(sql, params).await,
        };
        self.finish(changed)
    }

    /// The row a query finds, or none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is more than one.
    pub(crate) async fn fetch_optional<T: Send>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        self.optional(Lock::None, sql, params, map).await
    }

    /// All rows a query finds. The statement bounds their number.
    pub(crate) async fn fetch_all<T: Send>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        self.all(Lock::None, sql, params, map).await
    }

    /// Like [`Tx::fetch_optional`], and nobody else changes or locks the row until this transaction ends.
    pub(crate) async fn lock_optional<T: Send>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        self.optional(Lock::Wait, sql, params, map).await
    }

    /// Like [`Tx::fetch_all`], and nobody else changes or locks the rows until this transaction ends. Rows are locked in
    /// the order of the statement: order them, or two transactions may wait for each other.
    pub(crate) async fn lock_all<T: Send>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        self.all(Lock::Wait, sql, params, map).await
    }

    /// Like [`Tx::lock_all`], without the rows another transaction has locked.
    pub(crate) async fn lock_all_skipping<T: Send>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        self.all(Lock::Skip, sql, params, map).await
    }

    async fn optional<T: Send>(
        &mut self,
        lock: Lock,
        sql: &'static str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        let mut found = None;
        self.rows(lock, sql, params, |row| {
            if found.is_some() {
                return Err(Error::Corrupt(
                    "a query for at most one row found more".to_owned(),
                ));
            }
            found = Some(map(row)?);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn all<T: Send>(
        &mut self,
        lock: Lock,
        sql: &'static str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.rows(lock, sql, params, |row| {
            found.push(map(row)?);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// Runs a query and hands each row to `each`. SQLite has no row locks: its one writer is the lock.
    async fn rows(
        &mut self,
        lock: Lock,
        sql: &'static str,
        params: &[Value<'_>],
        each: impl FnMut(&Row<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        self.start_statement(sql, params, lock)?;
        let outcome = match &mut self.session {
            Session::SqliteWrite(transaction) => {
                transaction.run(|connection| sqlite::rows(connection, sql, params, each))
            }
            Session::SqliteRead(reader) => sqlite::rows(reader.connection(), sql, params, each),
            Session::Postgres(session) => session.rows(lock, sql, params, each).await,
        };
        self.finish(outcome)
    }

    fn start_statement(&mut self, sql: &str, params: &[Value<'_>], lock: Lock) -> Result<()> {
        debug_assert_eq!(
            statement::parameters(sql),
            Ok(params.len()),
            "parameters must be numbered in order of first use, and all be given: {sql}"
        );
        self.start(sql, lock)
    }

    fn start(&mut self, sql: &str, lock: Lock) -> Result<()> {
        self.may_run(sql, lock)?;
        self.state = State::Running;
        Ok(())
    }

    fn may_run(&self, sql: &str, lock: Lock) -> Result<()> {
        if self.state != State::Open {
            return Err(Error::Aborted);
        }
        if self.reads_only && (lock != Lock::None || !statement::only_reads(sql)) {
            return Err(Error::refused("this needs a transaction", sql));
        }
        Ok(())
    }

    fn finish<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.state = if outcome.is_ok() {
            State::Open
        } else {
            State::Failed
        };
        outcome
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tx").finish_non_exhaustive()
    }
}
