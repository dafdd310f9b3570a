//! The one writer, passed from caller to caller, and its commits in groups.
//!
//! Waiting for the disk costs a hundred times what a transaction's statements cost, so several transactions share one
//! wait. They run one after the other in one outer transaction, all but the first as savepoints; a caller that commits
//! passes the writer to the next in the queue and waits. When nobody is next, or the group is large or old enough, the
//! outer transaction is committed on a thread of its own, or by a member that may wait for the disk, and all its members
//! are told. Those who arrive meanwhile queue up and are the next group: no timer decides, and a lone caller waits for
//! nobody.
//!
//! Invariants:
//! - There is one [`Writer`], owned at any time by the queue, by one [`Lease`] or by the thread. A lease that is dropped
//!   anywhere, even unreceived in a channel, passes it on.
//! - Only members of a group whose outer COMMIT has succeeded are told `Ok`.
//! - A savepoint never outlives its [`Transaction`].
//!
//! A foreign key that is checked late (`DEFERRABLE`) would fail the outer COMMIT and with it the neighbours; the schema
//! has none.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::checkpoint::Checkpoints;
use super::{BUSY_SECONDS_MAX, connect_writer, failure};
use crate::engine::error::{Error, Result};

/// Most callers in the queue.
pub(in crate::engine) const WAITING_MAX: usize = 10_000;
/// How long a caller waits for its turn.
const WAIT_SECONDS_MAX: u64 = 10;

/// When a group is committed although somebody is next.
#[derive(Clone, Copy)]
pub(in crate::engine) struct GroupLimits {
    /// Most transactions in one commit.
    pub(in crate::engine) members_max: usize,
    /// How long a group accepts members: a bound on what the first of them waits.
    pub(in crate::engine) open_milliseconds_max: u64,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            members_max: 512,
            open_milliseconds_max: 5,
        }
    }
}

/// A read-write transaction in the current group. The first of a group needs no savepoint: nobody else's work is in the outer
/// transaction yet. (A savepoint costs a copy of each page that is changed after it.)
pub(in crate::engine) struct Transaction {
    lease: Lease,
    undo: Undo,
}

/// How a transaction that is dropped is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// It is over.
    Nothing,
    /// With the outer transaction, which holds nothing else.
    Outer,
    Savepoint,
}

impl Transaction {
    /// Waits for the writer and opens a savepoint.
    pub(super) async fn begin(queue: &Arc<Queue>) -> Result<Self> {
        let mut lease = queue.acquire().await?;
        match lease.writer().open_group() {
            Ok(()) => {}
            // Another process writes: wait for it where waiting blocks nobody.
            Err(Error::Busy) => lease = queue.open_group_patiently(lease).await?,
            Err(error) => return Err(error),
        }
        let mut undo = Undo::Outer;
        if lease.writer().has_members() {
            lease.writer().run("SAVEPOINT job")?;
            undo = Undo::Savepoint;
        }
        Ok(Self { lease, undo })
    }

    /// Runs statements on the writer's connection.
    pub(in crate::engine) fn run<R>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<R>,
    ) -> Result<R> {
        let writer = self.lease.writer();
        let outcome = work(&writer.connection);
        if let Err(error) = &outcome
            && writer.connection.is_autocommit()
        {
            // A full disk and its like make SQLite roll back the outer transaction by itself, and with it the members
            // that have finished but not been told.
            self.undo = Undo::Nothing;
            writer.fail_group(error);
        }
        outcome
    }

    /// Joins the group, passes the writer on, and waits until the group is on the disk.
    pub(in crate::engine) async fn commit(mut self) -> Result<()> {
        let outcome = self.join_group()?;
        if !self.lease.queue.is_awaited() {
            // Lets callers that are ready to run reach the queue and join; a lone caller goes on at once.
            tokio::task::yield_now().await;
        }
        drop(self);
        committed(outcome).await
    }

    /// The same on a thread that may wait for the disk itself, which spares two changes of threads when nobody is next.
    pub(in crate::engine) async fn commit_on_this_thread(mut self) -> Result<()> {
        let outcome = self.join_group()?;
        self.lease.may_wait_for_disk = true;
        drop(self);
        committed(outcome).await
    }

    fn join_group(&mut self) -> Result<oneshot::Receiver<Result<()>>> {
        if self.undo == Undo::Savepoint {
            self.run(|connection| run(connection, "RELEASE job"))?;
        }
        self.undo = Undo::Nothing;
        let (member, outcome) = oneshot::channel();
        self.lease.writer().join_group(member)?;
        Ok(outcome)
    }
}

async fn committed(outcome: oneshot::Receiver<Result<()>>) -> Result<()> {
    outcome
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("the commit was lost".to_owned())))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let writer = self.lease.writer();
        match self.undo {
            Undo::Nothing => {}
            Undo::Outer => {
                writer.roll_back();
                writer.group = None;
            }
            Undo::Savepoint => {
                let undone = writer
                    .run("ROLLBACK TO job")
                    .and_then(|()| writer.run("RELEASE job"));
                if let Err(error) = undone {
                    // What cannot be undone alone is undone with its group.
                    writer.roll_back();
                    writer.fail_group(&error);
                }
            }
        }
    }
}

/// The callers waiting for the writer, first come first served.
pub(super) struct Queue {
    state: Mutex<State>,
    limits: GroupLimits,
    /// To the thread. It holds at most one job: there is one writer.
    thread: mpsc::Sender<Job>,
}

struct State {
    /// The writer, when nobody has it. Then nobody waits, and no group is open.
    idle: Option<Box<Writer>>,
    waiting: VecDeque<oneshot::Sender<Lease>>,
}

/// What the thread does, because it may take long.
enum Job {
    Commit(Arc<Queue>, Box<Writer>),
    Open(Lease, oneshot::Sender<Result<Lease>>),
}

impl Queue {
    /// Starts the thread; it ends when the queue and its last transaction are gone.
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        limits: GroupLimits,
    ) -> Result<Arc<Self>> {
        let (thread, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("jifen-commit".to_owned())
            .spawn(move || jobs.into_iter().for_each(Job::run))
            .map_err(|error| Error::Unavailable(format!("no thread to commit on: {error}")))?;
        let writer = Writer::new(connection, path)?;
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                idle: Some(Box::new(writer)),
                waiting: VecDeque::new(),
            }),
            limits,
            thread,
        }))
    }

    async fn acquire(self: &Arc<Self>) -> Result<Lease> {
        let turn = {
            let mut state = self.state();
            if let Some(writer) = state.idle.take() {
                return Ok(Lease::new(self, writer));
            }
            if state.waiting.len() >= WAITING_MAX {
                state.waiting.retain(|waiter| !waiter.is_closed());
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::Unavailable(
                    "too many transactions are waiting".to_owned(),
                ));
            }
            let (waiter, turn) = oneshot::channel();
            state.waiting.push_back(waiter);
            turn
        };
        timeout(Duration::from_secs(WAIT_SECONDS_MAX), turn)
            .await
            .map_err(|_| Error::Busy)?
            .map_err(|_| Error::Unavailable("the writer was lost".to_owned()))
    }

    async fn open_group_patiently(&self, lease: Lease) -> Result<Lease> {
        let (reply, opened) = oneshot::channel();
        self.give(Job::Open(lease, reply));
        opened
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the writer was lost".to_owned())))
    }

    fn is_awaited(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Gives the writer to the next caller, or commits the group it carries, or lays it down.
    fn pass_on(self: &Arc<Self>, mut writer: Box<Writer>, may_wait_for_disk: bool) {
        loop {
            let waiter = {
                let mut state = self.state();
                let next = if writer.is_group_full(self.limits) {
                    None
                } else {
                    state.waiting.pop_front()
                };
                if next.is_none() && writer.group.is_none() {
                    state.idle = Some(writer);
                    return;
                }
                next
            };
            writer = match waiter {
                Some(waiter) => match waiter.send(Lease::new(self, writer)) {
                    Ok(()) => return,
                    // The caller has gone away.
                    Err(lease) => lease.into_writer(),
                },
                None if writer.has_members() => {
                    let job = Job::Commit(Arc::clone(self), writer);
                    if may_wait_for_disk {
                        job.run();
                    } else {
                        self.give(job);
                    }
                    return;
                }
                None => {
                    writer.roll_back();
                    writer.group = None;
                    writer
                }
            };
        }
    }

    fn give(&self, job: Job) {
        if let Err(mpsc::SendError(job)) = self.thread.send(job) {
            // Only if the thread has died; slower here, but as durable.
            job.run();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn run(self) {
        match self {
            Self::Commit(queue, mut writer) => {
                let (members, outcome) = writer.commit_group();
                queue.pass_on(writer, false);
                for member in members {
                    // A member that has gone away does not care.
                    drop(member.send(outcome.clone()));
                }
            }
            Self::Open(mut lease, reply) => {
                let opened = lease.writer().open_group_patiently();
                // Unreceived, the lease is dropped and passes the writer on.
                drop(reply.send(opened.map(|()| lease)));
            }
        }
    }
}

/// The right to use the writer. Dropped, it passes the writer on.
struct Lease {
    queue: Arc<Queue>,
    writer: Option<Box<Writer>>,
    /// Whether the thread that drops it may commit.
    may_wait_for_disk: bool,
}

impl Lease {
    fn new(queue: &Arc<Queue>, writer: Box<Writer>) -> Self {
        Self {
            queue: Arc::clone(queue),
            writer: Some(writer),
            may_wait_for_disk: false,
        }
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer
            .as_mut()
            .expect("a lease keeps the writer until it is dropped")
    }

    fn into_writer(mut self) -> Box<Writer> {
        self.writer
            .take()
            .expect("a lease keeps the writer until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.queue.pass_on(writer, self.may_wait_for_disk);
        }
    }
}

/// The connection that writes, and the group that is open on it.
struct Writer {
    connection: Connection,
    path: PathBuf,
    group: Option<Group>,
    checkpoints: Checkpoints,
}

/// An outer transaction and those waiting for its commit.
struct Group {
    opened: Instant,
    members: Vec<oneshot::Sender<Result<()>>>,
}

impl Writer {
    fn new(connection: Connection, path: PathBuf) -> Result<Self> {
        let writer = Self {
            checkpoints: Checkpoints::start(&path)?,
            connection,
            path,
            group: None,
        };
        writer.wait_for_others(Duration::ZERO)?;
        Ok(writer)
    }

    /// Begins the outer transaction if there is none. [`Error::Busy`] at once when another process is writing.
    fn open_group(&mut self) -> Result<()> {
        if self.group.is_some() {
            return Ok(());
        }
        if !self.connection.is_autocommit() {
            return Err(Error::Unavailable(
                "an earlier transaction could not be ended".to_owned(),
            ));
        }
        self.run("BEGIN IMMEDIATE")?;
        self.group = Some(Group {
            opened: Instant::now(),
            members: Vec::new(),
        });
        Ok(())
    }

    /// The same, waiting for another process. Blocks the thread.
    fn open_group_patiently(&mut self) -> Result<()> {
        self.wait_for_others(Duration::from_secs(BUSY_SECONDS_MAX))?;
        let opened = self.open_group();
        self.wait_for_others(Duration::ZERO)?;
        opened
    }

    fn join_group(&mut self, member: oneshot::Sender<Result<()>>) -> Result<()> {
        let group = self.group.as_mut().ok_or(Error::Aborted)?;
        group.members.push(member);
        Ok(())
    }

    fn is_group_full(&self, limits: GroupLimits) -> bool {
        let open_max = Duration::from_millis(limits.open_milliseconds_max);
        self.group.as_ref().is_some_and(|group| {
            group.members.len() >= limits.members_max || group.opened.elapsed() >= open_max
        })
    }

    fn has_members(&self) -> bool {
        self.group
            .as_ref()
            .is_some_and(|group| !group.members.is_empty())
    }

    /// Ends the outer transaction. Returns whom to tell, and what. Blocks the thread until the disk has it.
    fn commit_group(&mut self) -> (Vec<oneshot::Sender<Result<()>>>, Result<()>) {
        let members = self.group.take().map(|group| group.members);
        let outcome = self.run("COMMIT").map_err(|error| {
            self.roll_back();
            group_failure(&error)
        });
        if outcome.is_ok() {
            self.checkpoints.committed(&self.connection);
        }
        (members.unwrap_or_default(), outcome)
    }

    /// Tells the members of the open group that nothing of it was written.
    fn fail_group(&mut self, error: &Error) {
        for member in self
            .group
            .take()
            .into_iter()
            .flat_map(|group| group.members)
        {
            drop(member.send(Err(group_failure(error))));
        }
    }

    /// Ends the outer transaction without a trace; a connection that cannot even do this is replaced.
    fn roll_back(&mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        let rolled_back = self.run("ROLLBACK");
        if self.connection.is_autocommit() {
            return;
        }
        tracing::error!(
            ?rolled_back,
            "a transaction could not be rolled back; reconnecting"
        );
        let replaced = connect_writer(&self.path, Duration::ZERO).map(|connection| {
            self.connection = connection;
        });
        if let Err(error) = replaced {
            tracing::error!(%error, "the database could not be opened again");
        }
    }

    fn wait_for_others(&self, time: Duration) -> Result<()> {
        self.connection
            .busy_timeout(time)
            .map_err(|error| failure(&self.connection, &error, "busy_timeout"))
    }

    fn run(&self, sql: &'static str) -> Result<()> {
        run(&self.connection, sql)
    }
}

fn group_failure(error: &Error) -> Error {
    Error::Unavailable(format!("the commit this one shared has failed: {error}"))
}

/// Runs a statement that controls the transaction.
fn run(connection: &Connection, sql: &'static str) -> Result<()> {
    super::execute(connection, sql, &[]).map(drop)
}
