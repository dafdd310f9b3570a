//! Fresh databases for tests: a file in a folder of its own, or a database on the PostgreSQL server that
//! `scripts/postgres-for-tests` starts.
//!
//! Everything here panics when it cannot do its work: a test without its database has failed.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::engine::{Engine, Store, StoreConfig, schema_fingerprint, statement_for_one_row};

/// Names the server: the URL of a superuser on a server nobody else needs, reached without TLS.
const SERVER_VARIABLE: &str = "JIFEN_TEST_POSTGRES_URL";
/// Serialises making the template among the test processes.
const TEMPLATE_LOCK: i64 = 0x6a69_6665_6e00_0002;
const POOL_SIZE_MAX: usize = 8;

/// Numbers the databases of this process.
static FRESH: AtomicU64 = AtomicU64::new(0);
/// The name of this process's template on the PostgreSQL server.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// An empty, migrated database, removed when dropped.
///
/// # Panics
/// When there is no PostgreSQL server, or the database cannot be made.
pub async fn fresh(engine: Engine) -> TestStore {
    let test_store = create(engine, true).await;
    if engine == Engine::Sqlite {
        test_store.migrate().await.expect("the schema is sound");
    }
    test_store
}

/// An empty database without the mall's schema, removed when dropped.
///
/// # Panics
/// As [`fresh`] does.
pub async fn bare(engine: Engine) -> TestStore {
    create(engine, false).await
}

/// A database with the first so many migrations, as an older version left it; removed when dropped.
///
/// # Panics
/// As [`fresh`] does.
pub async fn at_version(engine: Engine, migrations: usize) -> TestStore {
    let test_store = create(engine, false).await;
    let applied = test_store.store.migrate_first(migrations).await;
    assert_eq!(applied.expect("the schema is sound").len(), migrations);
    test_store
}

/// A [`Store`] that takes its database with it.
#[derive(Debug)]
pub struct TestStore {
    store: Store,
    config: StoreConfig,
    /// Removed last, when the store has let go of it.
    _place: Place,
}

impl TestStore {
    /// How to open the same database once more, as another node or process does.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The store itself, to hand to what is tested.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Runs a statement behind the store's back, as an operator with a database shell could, and returns how many rows
    /// it changed.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn raw(&self, sql: &str) -> u64 {
        let changed = self.try_raw(sql).await;
        changed.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs statements that the schema would refuse: no check and no reference is in force, from now on or, on SQLite, for
    /// these statements.
    ///
    /// # Panics
    /// When the database refuses them all the same.
    pub async fn without_constraints(&self, sql: &str) {
        match &self.config {
            StoreConfig::Sqlite { path } => {
                let off = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;";
                rusqlite::Connection::open(path)
                    .and_then(|connection| connection.execute_batch(&format!("{off} {sql}")))
                    .unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            StoreConfig::Postgres { url, .. } => {
                let off = "SET session_replication_role = replica; \
                    DO $$ DECLARE c record; BEGIN FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint \
                    WHERE contype = 'c' AND connamespace = 'public'::regnamespace \
                    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$;";
                let client = connect(url.expose_secret()).await;
                run(&client, &format!("{off} {sql}")).await;
            }
        }
    }

    /// What the schema consists of: `column TABLE.COLUMN`, `index NAME`, `constraint NAME`, without what the database names
    /// itself.
    ///
    /// # Panics
    /// When the database cannot be asked.
    pub async fn schema(&self) -> std::collections::BTreeSet<String> {
        let names: Vec<String> = match &self.config {
            StoreConfig::Sqlite { path } => {
                let connection = rusqlite::Connection::open(path).expect("the file opens");
                let list = |sql: &str| -> Vec<String> {
                    let mut statement = connection.prepare(sql).expect("the schema is there");
                    let rows = statement.query_map([], |row| row.get(0));
                    rows.and_then(Iterator::collect).expect("names are texts")
                };
                let mut names = list(
                    "SELECT 'column ' || m.name || '.' || p.name FROM sqlite_schema m JOIN pragma_table_info(m.name) p \
                     WHERE m.type = 'table' UNION ALL SELECT 'index ' || name FROM sqlite_schema \
                     WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'",
                );
                for table in list("SELECT sql FROM sqlite_schema WHERE type = 'table'") {
                    let mut words = table
                        .split([' ', '\n', '('])
                        .filter(|word| !word.is_empty());
                    while let Some(word) = words.next() {
                        if word == "CONSTRAINT" {
                            names.extend(words.next().map(|name| format!("constraint {name}")));
                        }
                    }
                }
                names
            }
            StoreConfig::Postgres { url, .. } => {
                let client = connect(url.expose_secret()).await;
                let rows = client.query(
                    "SELECT 'column ' || table_name || '.' || column_name FROM information_schema.columns \
                     WHERE table_schema = current_schema() UNION ALL \
                     SELECT 'constraint ' || conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace \
                     WHERE c.contype = 'c' AND n.nspname = current_schema() UNION ALL \
                     SELECT 'index ' || i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
                     JOIN pg_namespace n ON n.oid = i.relnamespace LEFT JOIN pg_constraint c ON c.conindid = i.oid \
                     WHERE n.nspname = current_schema() AND c.oid IS NULL",
                    &[],
                );
                let rows = rows.await.expect("the schema is there");
                rows.iter().map(|row| row.get(0)).collect()
            }
        };
        names.into_iter().collect()
    }

    /// Runs a statement the database may refuse: what it says then, the constraint's name included.
    pub async fn raw_error(&self, sql: &str) -> Option<String> {
        self.try_raw(sql).await.err()
    }

    async fn try_raw(&self, sql: &str) -> Result<u64, String> {
        match &self.config {
            StoreConfig::Sqlite { path } => rusqlite::Connection::open(path)
                .and_then(|connection| connection.execute(sql, []))
                .map(|changed| u64::try_from(changed).unwrap_or(u64::MAX))
                .map_err(|error| error.to_string()),
            StoreConfig::Postgres { url, .. } => connect(url.expose_secret())
                .await
                .execute(sql, &[])
                .await
                .map_err(|error| format!("{error:?}")),
        }
    }

    /// Prepares statements without running them; returns those the database refuses, with its reasons.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn refused<'a>(&self, statements: &'a [String]) -> Vec<(&'a str, String)> {
        let mut refused = Vec::new();
        match &self.config {
            StoreConfig::Sqlite { path } => {
                let connection = rusqlite::Connection::open(path).expect("the file opens");
                for sql in statements {
                    if let Err(error) = connection.prepare(&statement_for_one_row(sql)) {
                        refused.push((sql.as_str(), error.to_string()));
                    }
                }
            }
            StoreConfig::Postgres { url, .. } => {
                let client = connect(url.expose_secret()).await;
                for sql in statements {
                    if let Err(error) = client.prepare(&statement_for_one_row(sql)).await {
                        refused.push((sql.as_str(), format!("{error:?}")));
                    }
                }
            }
        }
        refused
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Database(String),
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = match self {
            Self::Folder(path) => std::fs::remove_dir_all(path).map_err(|error| error.to_string()),
            Self::Database(name) => drop_database(name.clone()),
        };
        if let Err(error) = removed
            && !std::thread::panicking()
        {
            panic!("the test's database could not be removed: {error}");
        }
    }
}

async fn create(engine: Engine, from_template: bool) -> TestStore {
    let number = FRESH.fetch_add(1, Ordering::Relaxed);
    let name = format!("jifen_test_{}_{number}", std::process::id());
    let (config, place) = match engine {
        Engine::Sqlite => {
            let folder = std::env::temp_dir().join(name);
            // What an earlier process of the same number left behind when it was killed.
            drop(std::fs::remove_dir_all(&folder));
            let path = folder.join("mall.sqlite");
            (StoreConfig::Sqlite { path }, Place::Folder(folder))
        }
        Engine::Postgres => {
            let template = if from_template {
                TEMPLATE.get_or_init(make_template).await
            } else {
                "template0"
            };
            let admin = admin().await;
            run(
                &admin,
                &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            )
            .await;
            run(
                &admin,
                &format!("CREATE DATABASE {name} TEMPLATE {template}"),
            )
            .await;
            (postgres(&name), Place::Database(name))
        }
    };
    let store = Store::open(&config).await.expect("a fresh database opens");
    TestStore {
        store,
        config,
        _place: place,
    }
}

/// Makes a database with the schema, once for all processes on this server. Copying it is faster than migrating.
async fn make_template() -> String {
    let name = format!("jifen_template_{}", schema_fingerprint(Engine::Postgres));
    let admin = admin().await;
    run(&admin, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let exists = admin
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await
        .expect("the server lists its databases");
    if exists.is_none() {
        let draft = format!("{name}_draft");
        run(
            &admin,
            &format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)"),
        )
        .await;
        run(
            &admin,
            &format!("CREATE DATABASE {draft} TEMPLATE template0"),
        )
        .await;
        let store = Store::open(&postgres(&draft))
            .await
            .expect("the draft opens");
        store.migrate().await.expect("the schema is sound");
        drop(store);
        // Nobody may be connected to a template: ends the store's connections, and keeps others away.
        run(
            &admin,
            &format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false"),
        )
        .await;
        run(
            &admin,
            &format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{draft}'"),
        )
        .await;
        run(&admin, &format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    }
    // The lock ends with the connection.
    name
}

fn drop_database(name: String) -> Result<(), String> {
    // A thread of its own: a drop may not wait inside the test's runtime.
    let dropping = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?
            .block_on(async {
                run(
                    &admin().await,
                    &format!("DROP DATABASE {name} WITH (FORCE)"),
                )
                .await;
                Ok(())
            })
    });
    dropping
        .join()
        .map_err(|_| "the server did not drop it".to_owned())?
}

async fn admin() -> Client {
    connect(&server_url()).await
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("{SERVER_VARIABLE} names no server that answers: {error}"));
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The settings of a database on the test server.
fn postgres(database: &str) -> StoreConfig {
    let url = server_url();
    let (scheme, rest) = url
        .split_once("://")
        .unwrap_or_else(|| panic!("{SERVER_VARIABLE} must begin with postgresql://"));
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = address.split('/').next().unwrap_or_default();
    StoreConfig::Postgres {
        url: SecretString::from(format!("{scheme}://{host}/{database}?{query}")),
        pool_size_max: POOL_SIZE_MAX,
    }
}

fn server_url() -> String {
    std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{SERVER_VARIABLE} is not set: this test needs a PostgreSQL server. Run ./scripts/test, or \
             ./scripts/postgres-for-tests cargo test -p jifen_store"
        )
    })
}
