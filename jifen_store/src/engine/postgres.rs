//! PostgreSQL: a bounded pool, a connection for each transaction, statements prepared once on each connection.
//!
//! A connection goes back to the pool only when it is known to be outside a transaction; one whose state is not known is
//! closed, which makes the server roll back.

mod failure;
mod listener;
mod settings;

use std::borrow::Cow;
use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use futures_util::TryStreamExt;
use futures_util::future::{join, join_all};
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Error, Result};
use super::migrate::{self, Applied, Migration};
use super::row::{Row, Source};
use super::value::Parameter;
use super::{Engine, Lock};

use failure::{begin_failure, failure, is_stale_plan, pool_failure};
pub(super) use listener::Listener;

/// How long to wait for a connection: a free one, a new one, the check of a used one.
const POOL_WAIT_SECONDS_MAX: u64 = 5;
/// The longest silence of the server about a statement, longer than any lock is waited for. A server, or a network before it,
/// that is silent for longer counts as gone: whoever waits is told, and every connection that may have gone with it is closed.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long undoing an abandoned transaction may take before its connection is closed.
const CLEAN_TIME_MAX: Duration = Duration::from_secs(5);
/// Serialises the migrations of several nodes; any number, as long as it stays the same.
const MIGRATION_LOCK: i64 = 0x6a69_6665_6e00_0001;

/// Begins a transaction. Sent together with its first statement, which the server runs even if it refuses this one.
const BEGIN: &str = "BEGIN READ WRITE";
/// Begins to read from one state. Nobody waits for its locks, so it may pause. What is read may be one account or everything:
/// each statement is planned for that.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
     SET LOCAL plan_cache_mode = force_custom_plan;
     SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// What every connection is set to: nothing waits without end, a commit is on the disk when it returns, and nothing is
/// written outside a transaction. A node that is cut off in the middle of a transaction gives its locks up after seconds,
/// before those who wait for them give up.
const PREPARE_SESSION: &str = "SET default_transaction_read_only = on;
     SET statement_timeout = '30s';
     SET lock_timeout = '8s';
     SET idle_in_transaction_session_timeout = '5s';
     SET default_transaction_isolation = 'read committed';
     SET client_min_messages = 'warning';
     SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') = 'off'";

/// An open PostgreSQL database.
pub(super) struct Database {
    pool: Pool,
    config: Config,
    tls: MakeRustlsConnect,
}

impl Database {
    /// Prepares the pool and opens its first connection.
    pub(super) async fn open(url: &str, pool_size_max: usize) -> Result<Self> {
        if pool_size_max == 0 {
            return Err(Error::Configuration(
                "the pool must allow at least one connection".to_owned(),
            ));
        }
        let settings::Settings { config, tls } = settings::parse(url)?;
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let wait = Some(Duration::from_secs(POOL_WAIT_SECONDS_MAX));
        let pool = Pool::builder(manager)
            .max_size(pool_size_max)
            // The connection used last: its server process has the most in its caches.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(wait)
            .create_timeout(wait)
            .recycle_timeout(wait)
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let prepared = timeout(SILENCE_TIME_MAX, client.batch_execute(PREPARE_SESSION));
                    match prepared.await {
                        Ok(prepared) => prepared.map_err(HookError::Backend),
                        Err(_) => Err(HookError::message("the server did not answer in time")),
                    }
                })
            }))
            .build()
            .map_err(|error| Error::Configuration(error.to_string()))?;
        let database = Self { pool, config, tls };
        drop(database.connection().await?);
        Ok(database)
    }

    /// The transaction begins on the server with its first statement.
    pub(super) async fn begin(&self) -> Result<Session> {
        self.session(Transaction::Due).await
    }

    pub(super) async fn read(&self) -> Result<Session> {
        self.session(Transaction::None).await
    }

    /// A session that sees one state.
    pub(super) async fn snapshot(&self) -> Result<Session> {
        let mut session = self.session(Transaction::Open).await?;
        session.in_flight = true;
        let begun = heard(session.connection().batch_execute(BEGIN_SNAPSHOT)).await;
        session.finish(begun, BEGIN_SNAPSHOT)?;
        Ok(session)
    }

    async fn session(&self, transaction: Transaction) -> Result<Session> {
        Ok(Session {
            client: Some(self.connection().await?),
            tls: self.tls.clone(),
            transaction,
            in_flight: false,
            is_stale: false,
        })
    }

    /// For what other nodes announce.
    pub(super) fn listener(&self) -> Listener {
        Listener::new(self.config.clone(), self.tls.clone())
    }

    pub(super) async fn migrate(&self, migrations: &'static [Migration]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        while let Some(name) = self.apply_next(migrations).await? {
            names.push(name);
        }
        Ok(names)
    }

    /// Applies the first missing migration; the lock is held from reading which it is to its record.
    async fn apply_next(&self, migrations: &'static [Migration]) -> Result<Option<String>> {
        let client = Unclean(Some(self.connection().await?));
        let connection = client.connection();
        let explain = |error: tokio_postgres::Error| {
            Error::Migration(failure(&error, "a migration").to_string())
        };
        connection
            .batch_execute(&format!(
                "{BEGIN}; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
                 SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); {}",
                migrate::CREATE_TABLE
            ))
            .await
            .map_err(explain)?;
        let applied: Vec<Applied> = connection
            .query(migrate::SELECT_APPLIED, &[])
            .await
            .map_err(explain)?
            .iter()
            .map(|row| {
                Ok(Applied {
                    name: row.try_get(0)?,
                    checksum: row.try_get(1)?,
                })
            })
            .collect::<std::result::Result<_, _>>()
            .map_err(explain)?;
        let missing = migrate::next(migrations, Engine::Postgres, &applied)?;
        if let Some(migration) = missing {
            let explain = |error: tokio_postgres::Error| {
                let error = failure(&error, "a migration");
                Error::Migration(format!("{}: {error}", migration.name))
            };
            connection
                .batch_execute(migration.postgres)
                .await
                .map_err(explain)?;
            connection
                .execute(
                    "INSERT INTO schema_migrations (name, checksum, applied_at)
                     VALUES ($1, $2, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))",
                    &[&migration.name, &migration.checksum(Engine::Postgres)],
                )
                .await
                .map_err(explain)?;
        }
        connection.batch_execute("COMMIT").await.map_err(explain)?;
        client.release();
        Ok(missing.map(|migration| migration.name.to_owned()))
    }

    async fn connection(&self) -> Result<Client> {
        self.pool.get().await.map_err(|error| pool_failure(&error))
    }
}

/// A connection borrowed from the pool, inside a transaction or not.
pub(super) struct Session {
    client: Option<Client>,
    tls: MakeRustlsConnect,
    transaction: Transaction,
    /// A statement is under way; still set when dropped, it was cancelled.
    in_flight: bool,
    /// The prepared statements no longer fit the schema.
    is_stale: bool,
}

/// What the server knows of a session's transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// There is none, and will be none.
    None,
    /// Nothing yet: it begins with the first statement.
    Due,
    /// It has been begun, or may have been.
    Open,
}

impl Session {
    /// Runs a statement and returns how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, params: &[impl Parameter]) -> Result<u64> {
        let begins = self.start();
        let client = self.connection();
        let outcome = pipelined(client, begins, execute(client, sql, params)).await;
        self.finish(outcome, sql)
    }

    /// Runs statements one after the other, sent without waiting for one another's answers. Returns how many rows each changed.
    pub(super) async fn execute_all(
        &mut self,
        statements: &[(&str, &[impl Parameter])],
    ) -> Result<Vec<u64>> {
        let begins = self.start();
        let client = self.connection();
        let outcomes = match pipelined(client, begins, execute_all(client, statements)).await {
            Ok(outcomes) => outcomes,
            Err(failure) => vec![Err(failure)],
        };
        // The first that failed; what follows it fails, too.
        let failed = outcomes.iter().position(std::result::Result::is_err);
        let sql = statements.get(failed.unwrap_or_default());
        self.finish(outcomes.into_iter().collect(), sql.map_or("", |sql| sql.0))
    }

    /// Runs a query and hands each row to `each`.
    pub(super) async fn rows(
        &mut self,
        lock: Lock,
        sql: &str,
        params: &[impl Parameter],
        each: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let locking = match lock {
            Lock::None => Cow::Borrowed(sql),
            Lock::Wait => Cow::Owned(format!("{sql} FOR UPDATE")),
            Lock::Skip => Cow::Owned(format!("{sql} FOR UPDATE SKIP LOCKED")),
        };
        let begins = self.start();
        let client = self.connection();
        let outcome = pipelined(client, begins, rows(client, &locking, params, each)).await;
        self.finish(outcome, sql)?
    }

    /// Commits; the connection goes back to the pool.
    pub(super) async fn commit(mut self) -> Result<()> {
        if self.transaction == Transaction::Open {
            self.in_flight = true;
            let outcome = heard(self.connection().batch_execute("COMMIT")).await;
            self.finish(outcome, "COMMIT")?;
            self.transaction = Transaction::None;
        }
        Ok(())
    }

    /// Whether the transaction begins with this statement.
    fn start(&mut self) -> bool {
        self.in_flight = true;
        let begins = self.transaction == Transaction::Due;
        if begins {
            self.transaction = Transaction::Open;
        }
        begins
    }

    fn finish<T>(&mut self, outcome: std::result::Result<T, Failure>, sql: &str) -> Result<T> {
        // After a silence it is under way still.
        self.in_flight = matches!(outcome, Err(Failure::Silence));
        outcome.map_err(|error| match error {
            Failure::Begin(error) => begin_failure(&error),
            Failure::Statement(error) => {
                self.is_stale |= is_stale_plan(&error);
                failure(&error, sql)
            }
            Failure::Silence => {
                self.distrust_idle_connections();
                silence()
            }
        })
    }

    /// What made one connection fall silent has probably met the others, too; whoever borrowed one of those next would have
    /// to find that out anew.
    fn distrust_idle_connections(&self) {
        if let Some(pool) = self.client.as_ref().and_then(Client::pool) {
            pool.retain(|_, _| false);
        }
    }

    fn connection(&self) -> &Client {
        self.client
            .as_ref()
            .expect("a session keeps its connection until it is dropped")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        if self.transaction != Transaction::Open && !self.in_flight && !self.is_stale {
            return;
        }
        let unclean = Unclean(Some(client));
        // Without a runtime, or with statements to forget, the connection is closed here and now.
        if !self.is_stale
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            if self.in_flight {
                runtime.spawn(unclean.stop(self.tls.clone()));
            } else {
                runtime.spawn(unclean.roll_back());
            }
        }
    }
}

/// A connection in an unknown state: closed when dropped, unless it has been cleaned.
struct Unclean(Option<Client>);

impl Unclean {
    /// Rolls back and gives the connection back to the pool.
    async fn roll_back(self) {
        let rolled_back = timeout(CLEAN_TIME_MAX, self.connection().batch_execute("ROLLBACK"));
        if matches!(rolled_back.await, Ok(Ok(()))) {
            self.release();
        }
    }

    /// Stops the statement that may still be running, so that it gives up its locks, and closes the connection: the
    /// server may act on the request late, and must not then find somebody else's statement.
    async fn stop(self, tls: MakeRustlsConnect) {
        let token = self.connection().cancel_token();
        let asked = timeout(CLEAN_TIME_MAX, token.cancel_query(tls)).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::warn!(
                "an abandoned statement could not be stopped; it ends at its time limit"
            );
        }
    }

    fn connection(&self) -> &Client {
        self.0
            .as_ref()
            .expect("the connection is there until it is released")
    }

    fn release(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Unclean {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Client::take(client));
        }
    }
}

/// Why a statement has no outcome.
enum Failure {
    /// The transaction that was to begin with it did not.
    Begin(tokio_postgres::Error),
    Statement(tokio_postgres::Error),
    /// The server said nothing for too long.
    Silence,
}

/// Waits for the next word of the server.
async fn heard<T>(
    word: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> std::result::Result<T, Failure> {
    match timeout(SILENCE_TIME_MAX, word).await {
        Ok(outcome) => outcome.map_err(Failure::Statement),
        Err(_) => Err(Failure::Silence),
    }
}

fn silence() -> Error {
    Error::Unavailable("the server did not answer in time".to_owned())
}

/// Runs a statement; the transaction that is to begin with it is begun in the same round trip.
async fn pipelined<T>(
    client: &Client,
    begins: bool,
    statement: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    if !begins {
        return statement.await;
    }
    // The first is polled first, and sent first.
    let (begun, outcome) = join(heard(client.batch_execute(BEGIN)), statement).await;
    begun.map_err(|failure| match failure {
        Failure::Statement(error) => Failure::Begin(error),
        other => other,
    })?;
    outcome
}

async fn execute(
    client: &Client,
    sql: &str,
    params: &[impl Parameter],
) -> std::result::Result<u64, Failure> {
    let statement = prepare(client, sql, params).await?;
    heard(client.execute_raw(&statement, params)).await
}

/// All are prepared before the first is sent: then each is sent when it is polled first, in their order.
async fn execute_all(
    client: &Client,
    statements: &[(&str, &[impl Parameter])],
) -> std::result::Result<Vec<std::result::Result<u64, Failure>>, Failure> {
    let mut prepared = Vec::with_capacity(statements.len());
    for (sql, params) in statements {
        prepared.push(prepare(client, sql, params).await?);
    }
    let executions = prepared
        .iter()
        .zip(statements)
        .map(|(statement, (_, params))| heard(client.execute_raw(statement, *params)));
    Ok(join_all(executions).await)
}

async fn prepare(
    client: &Client,
    sql: &str,
    params: &[impl Parameter],
) -> std::result::Result<Statement, Failure> {
    let types: Vec<Type> = params.iter().map(Parameter::postgres_type).collect();
    heard(client.prepare_typed_cached(sql, &types)).await
}

/// The outer error is PostgreSQL's, the inner that of `each`.
async fn rows(
    client: &Client,
    sql: &str,
    params: &[impl Parameter],
    mut each: impl FnMut(&Row<'_>) -> Result<()>,
) -> std::result::Result<Result<()>, Failure> {
    let statement = prepare(client, sql, params).await?;
    let stream = heard(client.query_raw(&statement, params)).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(row) = heard(stream.try_next()).await? {
        if let Err(error) = each(&Row(Source::Postgres(&row))) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}
