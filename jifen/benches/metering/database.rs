//! A database of the bench, on the real disk, and what is done to it behind the mall's back.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::rc::Rc;

use jifen::config::Config;
use jifen_store::Store;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::postgres::Server;

/// A database of one mall.
pub(crate) enum Database {
    Sqlite { path: PathBuf },
    Postgres { server: Rc<Server>, name: String },
}

impl Database {
    /// The mall's configuration on this database, without providers.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::development().unwrap();
        config.database.url = self.url();
        config.sandbox.mode = jifen::config::SandboxMode::Off;
        config
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { path } => path.to_str().unwrap().to_owned(),
            Self::Postgres { server, name } => server.url(name),
        }
    }

    /// Makes the tables.
    pub(crate) async fn migrate(&self) {
        let store = Store::open(&self.config().store()).await.unwrap();
        store.migrate().await.unwrap();
    }

    /// The sum of all balances.
    pub(crate) fn points(&self) -> i64 {
        self.number("balances")
    }

    /// What it takes up on the disk.
    pub(crate) fn bytes(&self) -> i64 {
        self.number("bytes")
    }

    fn number(&self, statement: &str) -> i64 {
        let sql = self.statement(statement);
        match self {
            Self::Sqlite { path } => rusqlite::Connection::open(path)
                .unwrap()
                .query_row(sql, [], |row| row.get(0))
                .unwrap(),
            Self::Postgres { server, name } => server.run(name, sql).parse().unwrap(),
        }
    }

    /// Runs statements that answer nothing.
    pub(crate) fn run(&self, statement: &str) {
        let sql = self.statement(statement);
        match self {
            Self::Sqlite { path } => rusqlite::Connection::open(path)
                .unwrap()
                .execute_batch(sql)
                .unwrap(),
            Self::Postgres { server, name } => drop(server.run(name, sql)),
        }
    }

    /// Writes many rows into a table, as fast as the engine takes them.
    pub(crate) fn fill(&self, table: &str, write: impl FnOnce(&mut Rows<'_>)) {
        let sql = self.statement(table);
        match self {
            Self::Sqlite { path } => {
                let mut connection = rusqlite::Connection::open(path).unwrap();
                connection
                    .execute_batch(self.statement("before filling"))
                    .unwrap();
                let transaction = connection.transaction().unwrap();
                write(&mut Rows::Sqlite(transaction.prepare(sql).unwrap()));
                transaction.commit().unwrap();
            }
            Self::Postgres { server, name } => server.copy(name, sql, |pipe| {
                let mut rows = Rows::Postgres {
                    pipe,
                    text: Vec::with_capacity(2 * TEXT_BYTES),
                };
                write(&mut rows);
                rows.flush();
            }),
        }
    }

    /// A statement under its heading in `statements.sql`.
    fn statement(&self, heading: &str) -> &'static str {
        let engine = match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
        };
        let own = format!("{heading}, {engine}");
        include_str!("statements.sql")
            .split("-- ")
            .filter_map(|part| part.split_once('\n'))
            .find(|(found, _)| *found == heading || *found == own)
            .unwrap_or_else(|| panic!("statements.sql has no `{own}`"))
            .1
            .trim()
    }
}

/// Collected before it is handed on.
const TEXT_BYTES: usize = 1 << 20;

/// Where rows go.
pub(crate) enum Rows<'a> {
    Sqlite(rusqlite::Statement<'a>),
    Postgres {
        pipe: &'a mut ChildStdin,
        text: Vec<u8>,
    },
}

impl Rows<'_> {
    pub(crate) fn add(&mut self, cells: &[Cell<'_>]) {
        match self {
            Self::Sqlite(statement) => {
                statement
                    .execute(rusqlite::params_from_iter(cells))
                    .unwrap();
            }
            Self::Postgres { text, .. } => {
                for (index, cell) in cells.iter().enumerate() {
                    if index > 0 {
                        text.push(b'\t');
                    }
                    cell.write(text);
                }
                text.push(b'\n');
                if text.len() > TEXT_BYTES {
                    self.flush();
                }
            }
        }
    }

    fn flush(&mut self) {
        if let Self::Postgres { pipe, text } = self {
            pipe.write_all(text).unwrap();
            text.clear();
        }
    }
}

/// A value in a row.
#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    Number(i64),
    /// Without tabs, line ends and backslashes.
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// As PostgreSQL reads it from a copy in text.
    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Null => text.extend_from_slice(b"\\N"),
            Self::Number(number) => write!(text, "{number}").unwrap(),
            Self::Text(part) => text.extend_from_slice(part.as_bytes()),
            Self::Bytes(bytes) => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                text.extend_from_slice(b"\\\\x");
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                text.extend(digits.map(|digit| DIGITS[usize::from(digit)]));
            }
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
