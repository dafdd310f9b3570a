//! Connections to read on: opened when first needed, kept, bounded.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{BUSY_SECONDS_MAX, connect, failure};
use crate::engine::error::{Error, Result};

/// Most readers at once. A read takes microseconds; only callers that hold one while they wait come near this.
const READERS_MAX: usize = 16;
/// How long to wait for a reader.
const WAIT_SECONDS_MAX: u64 = 5;

/// The readers of one database.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
            slots: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// Borrows a reader, waiting while all are in use.
    pub(super) async fn borrow(self: &Arc<Self>) -> Result<Reader> {
        let unavailable = || Error::Unavailable("no reader became free in time".to_owned());
        let wait = Duration::from_secs(WAIT_SECONDS_MAX);
        let slot = timeout(wait, Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| unavailable())?
            .map_err(|_| unavailable())?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open()?,
        };
        Ok(Reader {
            connection: Some(connection),
            readers: Arc::clone(self),
            _slot: slot,
        })
    }

    fn open(&self) -> Result<Connection> {
        let connection = connect(&self.path, Duration::from_secs(BUSY_SECONDS_MAX))?;
        connection
            .execute_batch("PRAGMA query_only = ON")
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing under this lock can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A borrowed reader, given back when dropped.
pub(in crate::engine) struct Reader {
    connection: Option<Connection>,
    readers: Arc<Readers>,
    /// Released after the connection is back, so that the next borrower finds it.
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    pub(in crate::engine) fn connection(&mut self) -> &Connection {
        self.connection
            .as_ref()
            .expect("a reader keeps its connection until it is dropped")
    }
}

impl Reader {
    /// From its first statement on this reader sees one state, until it is dropped.
    pub(in crate::engine) fn begin(&mut self) -> Result<()> {
        let connection = self.connection();
        connection
            .execute_batch("BEGIN")
            .map_err(|error| failure(connection, &error, "BEGIN"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // One that cannot leave its transaction is closed.
            if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
                self.readers.idle().push(connection);
            }
        }
    }
}
