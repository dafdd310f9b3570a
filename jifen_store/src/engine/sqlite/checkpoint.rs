//! Moving the write-ahead log into the database file while others write.
//!
//! SQLite by itself does it in a commit, and whoever waits for that waits for all of it: some ten milliseconds under load. Here a
//! thread moves everything on a connection of its own, then what was written meanwhile, and so on; the last few pages
//! are left to the writer, because the log begins anew only when all of it was moved and nobody writes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::connect;
use crate::engine::error::{Error, Result};

/// Commits from one look at the log to the next.
const COMMITS_BETWEEN_LOOKS: u32 = 32;
/// Pages in the log that are worth the moving: 64 MiB. The longer the log, the more often a page that is moved was written
/// into it, and the less is written twice; but whoever reads a page looks for it in all of the log.
const PAGES_MIN: i64 = 16_000;
/// How often a log is moved before what is left is the writer's. SQLite syncs the file only after a pass that has met with no
/// new commit, so each may leave the sync of all that was moved before it to the next, or to the writer.
const PASSES_MAX: usize = 16;

/// What the writer has of it. The thread has ended, and closed the file, when this is gone.
pub(super) struct Checkpoints {
    /// `None` only while it is dropped.
    look: Option<SyncSender<()>>,
    is_rest_left: Arc<AtomicBool>,
    commits: u32,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(path: &Path) -> Result<Self> {
        // Whoever reads or writes goes first.
        let connection = connect(path, Duration::ZERO)?;
        let (look, looks) = sync_channel(1);
        let is_rest_left = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_rest_left);
        let thread = std::thread::Builder::new()
            .name("jifen-log".to_owned())
            .spawn(move || move_log(&connection, &looks, &flag))
            .map_err(|error| Error::Unavailable(format!("no thread for the log: {error}")))?;
        Ok(Self {
            look: Some(look),
            is_rest_left,
            commits: 0,
            thread: Some(thread),
        })
    }

    /// To be called by the writer after a commit, when no transaction is open.
    pub(super) fn committed(&mut self, writer: &Connection) {
        if self.is_rest_left.swap(false, Ordering::Relaxed) {
            checkpoint(writer, "PRAGMA wal_checkpoint(PASSIVE)");
            return;
        }
        self.commits += 1;
        if self.commits >= COMMITS_BETWEEN_LOOKS {
            self.commits = 0;
            if let Some(look) = &self.look {
                // Full when the thread has not come to the last one yet.
                look.try_send(()).ok();
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.look = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that moves the log has panicked");
        }
    }
}

fn move_log(connection: &Connection, looks: &Receiver<()>, is_rest_left: &AtomicBool) {
    while looks.recv().is_ok() {
        if left(connection) < PAGES_MIN {
            continue;
        }
        for _ in 0..PASSES_MAX {
            checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)");
            if left(connection) == 0 {
                break;
            }
        }
        is_rest_left.store(true, Ordering::Relaxed);
    }
}

/// How many pages of the log have not been moved yet.
fn left(connection: &Connection) -> i64 {
    let log = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)");
    log.map_or(0, |log| log.pages - log.moved)
}

struct Log {
    pages: i64,
    /// Of these, how many are in the file already.
    moved: i64,
}

/// `None` when it failed, which delays nothing but this: SQLite does it itself when the log grows too large.
fn checkpoint(connection: &Connection, pragma: &str) -> Option<Log> {
    let log = connection.prepare_cached(pragma).and_then(|mut statement| {
        statement.query_row([], |row| {
            Ok(Log {
                pages: row.get(1)?,
                moved: row.get(2)?,
            })
        })
    });
    log.inspect_err(|error| tracing::warn!(%error, "the log could not be moved into the database"))
        .ok()
}
