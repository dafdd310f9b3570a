//! What can go wrong in the store, the same names on both engines.

/// A result of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store did not do what was asked.
///
/// No variant holds a stored value or a parameter: a text names tables, constraints and statements, never what is in
/// them. Cloning is cheap enough to tell every member of a failed group commit the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row with this key exists already.
    #[error("a row with the same key exists ({constraint})")]
    Unique {
        /// The index's name as created by `CREATE UNIQUE INDEX`; `{table}_pkey` for a primary key and
        /// `{table}_{columns}_key` for a `UNIQUE` inside the table, as PostgreSQL names them by default.
        constraint: String,
    },
    /// The row refers to one that does not exist, or is still referred to.
    #[error("a row that is referred to does not exist, or is still referred to")]
    ForeignKey,
    /// A value breaks a rule of the table.
    #[error("a value breaks a rule of the table ({constraint})")]
    Check {
        /// The constraint's name; `{table}_{column}_not_null` where a value is missing.
        constraint: String,
    },
    /// Others hold what this transaction needs: a deadlock, a lock not obtained in time. It may be tried again.
    #[error("the database is busy, try again")]
    Busy,
    /// The database cannot be reached or cannot write. From [`crate::Tx::commit`] it means that the outcome is unknown.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A stored row breaks a rule that was checked before it was written.
    #[error("a stored row is corrupt: {0}")]
    Corrupt(String),
    /// An earlier statement of this transaction failed or was cancelled; it can only be dropped.
    #[error("an earlier statement of this transaction failed or was cancelled")]
    Aborted,
    /// The schema cannot be brought to this binary's version.
    #[error("the database cannot be migrated: {0}")]
    Migration(String),
    /// The configuration of the store is wrong.
    #[error("the store's configuration is wrong: {0}")]
    Configuration(String),
    /// The database refused a statement: a mistake in the program or the schema.
    #[error("the database refused a statement: {0}")]
    Database(String),
}

impl Error {
    /// [`Error::Database`] with the beginning of the statement it is about.
    pub(super) fn refused(message: &str, sql: &str) -> Self {
        const STATEMENT_CHARS_MAX: usize = 100;
        let mut statement = String::with_capacity(STATEMENT_CHARS_MAX);
        for word in sql.split_whitespace() {
            if statement.len() + word.len() > STATEMENT_CHARS_MAX {
                statement.push_str(" …");
                break;
            }
            if !statement.is_empty() {
                statement.push(' ');
            }
            statement.push_str(word);
        }
        Self::Database(format!("{message}, in: {statement}"))
    }
}
