//! Reading for long from one state of the database.

use super::{Database, Session, Store, Tx};
use crate::engine::error::Result;

impl Store {
    /// Borrows a connection on which all statements see the state of the first one, however long it takes. Statements that
    /// write or lock are refused. Others write on meanwhile: on SQLite the log then grows until this is dropped, on PostgreSQL
    /// row versions are kept so long.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn snapshot(&self) -> Result<Tx> {
        let session = match &self.database {
            Database::Sqlite(database) => {
                let mut reader = database.read().await?;
                reader.begin()?;
                Session::SqliteRead(Box::new(reader))
            }
            Database::Postgres(database) => Session::Postgres(Box::new(database.snapshot().await?)),
        };
        Ok(self.tx(session, true))
    }
}
