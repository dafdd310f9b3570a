//! What has changed, told to those who keep copies of it: caches of this node and, on PostgreSQL, of the others.
//!
//! A transaction announces what it changes; subscribers hear of it once it is committed, never before. What a subscriber
//! may not have heard of becomes [`Change::Missed`], so that a copy is out of date for no longer than it takes to tell.
//! PostgreSQL commits the transactions that announce something one after the other: announce what changes seldom.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::error::{Error, Result};
use super::{Database, Session, Shared, Store, Tx, sqlite};

/// Changes kept for a subscriber that is slow to take them.
const PENDING_MAX: usize = 1_024;
/// Most changes one transaction announces singly; beyond, it announces that anything may have changed.
const ANNOUNCED_MAX: usize = 100;
/// PostgreSQL takes payloads shorter than 8,000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7_999;
/// The name under which the nodes on one database hear each other.
pub(super) const CHANNEL: &str = "jifen_changes";
/// Time between two looks at whether another process has written into SQLite's file.
const LOOK_MILLISECONDS: u64 = 500;
/// How long one may take: there is one writer, and others use it.
const LOOK_TIME_MAX: Duration = Duration::from_secs(4);
/// How long to wait before connecting again, doubled with each failure in a row.
const RETRY_DELAY_MILLISECONDS_MIN: u64 = 100;
const RETRY_DELAY_MILLISECONDS_MAX: u64 = 5_000;

/// What a subscriber hears. A receiver that lags behind has missed changes, too, and is told so by
/// [`broadcast::error::RecvError::Lagged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction that announced this has been committed. A change may be heard more than once.
    Made {
        /// What kind of thing has changed.
        topic: String,
        /// Which of them.
        key: String,
    },
    /// Changes may have been missed: forget everything.
    Missed,
}

impl Store {
    /// Hears of every change from now on that is announced on this store and its clones and, while [`Store::listen`]
    /// runs, on other nodes.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.sender.subscribe()
    }

    /// Whether [`Store::listen`] hears what others change: what it misses is noticed within five seconds. If not, a copy is
    /// as old as it is.
    pub fn is_listening(&self) -> bool {
        self.shared.is_listening.load(Ordering::SeqCst)
    }

    /// Starts a task that listens to the other nodes on the same PostgreSQL database, on a connection beside the pool,
    /// and connects again whenever that is lost; each time it is there, subscribers hear [`Change::Missed`]. On SQLite there are
    /// no other nodes, but the command line may write beside the server: they hear [`Change::Missed`] within half a second of
    /// it. The task ends when the store and its clones are gone, or it is aborted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen(&self) -> JoinHandle<()> {
        let sender = self.shared.changes.sender.clone();
        let listening = Listening(Arc::downgrade(&self.shared));
        let mut store = self.shared.changes.alive.subscribe();
        let database = match &self.database {
            Database::Sqlite(database) => {
                let watching = watch_other_processes(Arc::clone(database), listening);
                return tokio::spawn(async move {
                    tokio::select! {
                        _ = store.changed() => {}
                        () = watching => {}
                    }
                });
            }
            Database::Postgres(database) => database.listener(),
        };
        tokio::spawn(async move {
            let hearing = async {
                let mut delay = Duration::from_millis(RETRY_DELAY_MILLISECONDS_MIN);
                loop {
                    let mut has_listened = false;
                    let ended = database
                        .listen(|payload| {
                            has_listened = true;
                            tell(&sender, Change::from_payload(payload));
                            listening.note(true);
                        })
                        .await;
                    listening.note(false);
                    if has_listened {
                        delay = Duration::from_millis(RETRY_DELAY_MILLISECONDS_MIN);
                    }
                    tracing::warn!(error = %ended, "changes of other nodes are not heard; connecting again");
                    tokio::time::sleep(delay).await;
                    delay = (2 * delay).min(Duration::from_millis(RETRY_DELAY_MILLISECONDS_MAX));
                }
            };
            tokio::select! {
                // Nothing is ever sent: it ends when the store does.
                _ = store.changed() => {}
                () = hearing => {}
            }
        })
    }
}

/// Whether a task listens, for as long as it runs.
struct Listening(Weak<Shared>);

impl Listening {
    fn note(&self, is_listening: bool) {
        if let Some(shared) = self.0.upgrade() {
            shared.is_listening.store(is_listening, Ordering::SeqCst);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.note(false);
    }
}

/// Notices what other processes have written into SQLite's file.
async fn watch_other_processes(database: Arc<sqlite::Database>, listening: Listening) {
    let look = async || {
        let looking = tokio::time::timeout(LOOK_TIME_MAX, database.foreign_version());
        looking.await.ok().and_then(Result::ok)
    };
    let mut known = None;
    loop {
        // Whoever cannot tell forgets everything, and so does whoever begins.
        let version = look().await;
        if version.is_none() || version != known {
            known = version;
            let Some(shared) = listening.0.upgrade() else {
                return;
            };
            shared.touched.touch_all();
            tell(&shared.changes.sender, Change::Missed);
        }
        listening.note(true);
        tokio::time::sleep(Duration::from_millis(LOOK_MILLISECONDS)).await;
    }
}

impl Tx {
    /// Lets subscribers know, when and if this transaction is committed, that what `key` names has changed. `topic` is a
    /// word without spaces.
    pub fn announce(&mut self, topic: &'static str, key: &str) {
        debug_assert!(!self.reads_only, "a reader changes nothing");
        debug_assert!(!topic.is_empty() && !topic.contains(' '), "{topic}");
        let change = Change::Made {
            topic: topic.to_owned(),
            key: key.to_owned(),
        };
        let is_too_much =
            self.announced.len() >= ANNOUNCED_MAX || change.payload().len() > PAYLOAD_BYTES_MAX;
        if self.announced.contains(&change) || self.announced == [Change::Missed] {
            return;
        }
        if is_too_much {
            self.announced = vec![Change::Missed];
        } else {
            self.announced.push(change);
        }
    }

    /// Makes the announcements for other nodes part of the transaction.
    pub(super) async fn notify_others(&mut self) -> Result<()> {
        if self.announced.is_empty() || !matches!(self.session, Session::Postgres(_)) {
            return Ok(());
        }
        let payloads: Vec<String> = self.announced.iter().map(Change::payload).collect();
        let payloads = super::Column::texts(payloads.iter().map(String::as_str));
        self.execute_rows(
            "SELECT pg_notify('jifen_changes', $1) {from each}",
            &[payloads],
        )
        .await
        .map(drop)
    }
}

impl Change {
    /// How other nodes are told: topic and key, or nothing.
    fn payload(&self) -> String {
        match self {
            Self::Made { topic, key } => format!("{topic} {key}"),
            Self::Missed => String::new(),
        }
    }

    fn from_payload(payload: &str) -> Self {
        match payload.split_once(' ') {
            Some((topic, key)) => Self::Made {
                topic: topic.to_owned(),
                key: key.to_owned(),
            },
            None => Self::Missed,
        }
    }
}

/// The subscribers of one store.
pub(super) struct Changes {
    sender: broadcast::Sender<Change>,
    /// Closed with the store, which ends its listener.
    alive: watch::Sender<()>,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(PENDING_MAX),
            alive: watch::Sender::new(()),
        }
    }
}

/// The announcements of a transaction whose commit is under way; dropped before its outcome is known, they may have been
/// missed.
pub(super) struct Pending {
    sender: broadcast::Sender<Change>,
    announced: Vec<Change>,
}

impl Pending {
    pub(super) fn new(changes: &Changes, announced: Vec<Change>) -> Self {
        Self {
            sender: changes.sender.clone(),
            announced,
        }
    }

    /// Tells the subscribers of this node what has come of it.
    pub(super) fn settle(mut self, outcome: &Result<()>) {
        match outcome {
            Ok(()) => self
                .announced
                .drain(..)
                .for_each(|change| tell(&self.sender, change)),
            // Unknown: to be dropped.
            Err(Error::Unavailable(_)) => {}
            Err(_) => self.announced.clear(),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.announced.is_empty() {
            tell(&self.sender, Change::Missed);
        }
    }
}

fn tell(sender: &broadcast::Sender<Change>, change: Change) {
    // It fails when there is no subscriber.
    drop(sender.send(change));
}
