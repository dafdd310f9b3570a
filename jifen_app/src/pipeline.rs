//! The charge pipeline: what arrives while a commit is under way becomes the next commit.
//!
//! Everything that spends points is an [`Operation`] on one account, put into a bounded queue. A worker takes all that is
//! waiting, decides it in the order of arrival and writes it in one transaction ([`group`]), and answers when that is on the
//! disk. Nobody waits for a timer: when nothing is under way a lone operation is a group by itself. An operation that fails
//! fails alone; a full queue says so at once.
//!
//! Nothing is remembered between groups: the rows of the accounts, locked by the transaction, are the only truth. So any number
//! of workers and nodes may run, and one that dies takes nothing with it but what it had not answered.

mod counts;
mod group;
mod operation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use jifen_domain::AccountId;
use jifen_store::{Engine, Store};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::environment::Environment;
use crate::error::{Error, Result};

pub use counts::{Distribution, PipelineCounts};
pub(crate) use operation::{Action, Answer, Declined, Operation, Outcome, Settled};

use counts::Counters;

/// How often a group gives way to those who are about to ask.
const GIVE_WAY_MAX: usize = 8;

/// The way in.
pub(crate) struct Pipeline {
    context: Arc<Context>,
    queues: OnceLock<Vec<mpsc::Sender<Job>>>,
    settings: PipelineSettings,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineSettings {
    /// Most operations in one transaction, at least 1: bounds how long the first of them waits.
    pub group_max: usize,
    /// Most operations waiting for one worker, at least 1,000: a whole batch.
    pub waiting_max: usize,
    /// Workers on PostgreSQL, each with a connection, the accounts shared out between them; at least 1. SQLite has one writer.
    pub workers: usize,
}

/// What a worker needs.
struct Context {
    store: Store,
    environment: Arc<dyn Environment>,
    counters: Counters,
}

struct Job {
    operation: Operation,
    answer: oneshot::Sender<Settled>,
}

impl Pipeline {
    pub(crate) fn new(
        store: Store,
        environment: Arc<dyn Environment>,
        settings: PipelineSettings,
    ) -> Self {
        Self {
            context: Arc::new(Context {
                store,
                environment,
                counters: Counters::default(),
            }),
            queues: OnceLock::new(),
            settings,
        }
    }

    /// Does one operation. What it answers is on the disk.
    pub(crate) async fn submit(&self, operation: Operation) -> Result<Settled> {
        let (answer, settled) = oneshot::channel();
        self.queue_of(operation.account)
            .try_send(Job { operation, answer })
            .map_err(|refused| match refused {
                TrySendError::Full(_) => self.turn_away(1),
                TrySendError::Closed(_) => lost(),
            })?;
        settled.await.map_err(|_| lost())
    }

    /// Does several, all of them accepted into the queue or none. In the order given, as far as they are on one account.
    pub(crate) async fn submit_all(&self, operations: Vec<Operation>) -> Result<Vec<Settled>> {
        let queues = self.queues();
        let mut wanted = vec![0; queues.len()];
        for operation in &operations {
            wanted[place(operation.account, queues.len())] += 1;
        }
        let mut places = Vec::with_capacity(queues.len());
        for (queue, wanted) in queues.iter().zip(wanted) {
            let reserved = queue.try_reserve_many(wanted);
            places.push(reserved.map_err(|refused| match refused {
                TrySendError::Full(()) => self.turn_away(operations.len()),
                TrySendError::Closed(()) => lost(),
            })?);
        }
        let mut waiting = Vec::with_capacity(operations.len());
        for operation in operations {
            let (answer, settled) = oneshot::channel();
            let place = places[place(operation.account, queues.len())].next();
            place.ok_or_else(lost)?.send(Job { operation, answer });
            waiting.push(settled);
        }
        drop(places);
        let mut all = Vec::with_capacity(waiting.len());
        for settled in waiting {
            all.push(settled.await.map_err(|_| lost())?);
        }
        Ok(all)
    }

    /// What it has done so far, and what waits in it.
    pub(crate) fn counts(&self) -> PipelineCounts {
        self.context.counters.read(self.waiting())
    }

    fn waiting(&self) -> usize {
        let queues = self.queues.get().map_or(&[][..], Vec::as_slice);
        queues
            .iter()
            .map(|queue| queue.max_capacity() - queue.capacity())
            .sum()
    }

    fn turn_away(&self, operations: usize) -> Error {
        self.context.counters.turned_away(operations);
        Error::Busy("the charge pipeline is full".into())
    }

    fn queue_of(&self, account: AccountId) -> &mpsc::Sender<Job> {
        let queues = self.queues();
        &queues[place(account, queues.len())]
    }

    /// Started by the first operation, inside the runtime. They end when the pipeline is gone.
    fn queues(&self) -> &[mpsc::Sender<Job>] {
        self.queues.get_or_init(|| {
            let workers = match self.context.store.engine() {
                Engine::Sqlite => 1,
                Engine::Postgres => self.settings.workers,
            };
            (0..workers)
                .map(|_| {
                    let (queue, jobs) = mpsc::channel(self.settings.waiting_max);
                    self.start_worker(jobs);
                    queue
                })
                .collect()
        })
    }

    /// SQLite's statements and the wait for its disk keep a thread busy, so its worker has one to itself; beside it the
    /// requests of the next group are read. A runtime of one thread does everything on that, in the same order each time.
    fn start_worker(&self, jobs: mpsc::Receiver<Job>) {
        let context = Arc::clone(&self.context);
        let group_max = self.settings.group_max;
        let runtime = Handle::current();
        if self.context.store.engine() == Engine::Postgres
            || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread
        {
            runtime.spawn(context.work(jobs, group_max, Seat::Shared));
            return;
        }
        // Its work reaches it by this, so that there is somebody to give it to when there is no thread.
        let (work, taken) = std::sync::mpsc::channel();
        let on_runtime = runtime.clone();
        let spawned = std::thread::Builder::new()
            .name("jifen-charges".to_owned())
            .spawn(move || taken.recv().map(|work| on_runtime.block_on(work)));
        match spawned {
            Ok(_) => drop(work.send(context.work(jobs, group_max, Seat::OwnThread))),
            Err(error) => {
                tracing::error!(%error, "no thread for the charge pipeline: it is slower");
                runtime.spawn(context.work(jobs, group_max, Seat::Shared));
            }
        }
    }
}

/// Where a worker works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// On the runtime's threads, among the requests.
    Shared,
    OwnThread,
}

impl Context {
    async fn work(self: Arc<Self>, mut queue: mpsc::Receiver<Job>, group_max: usize, seat: Seat) {
        let mut jobs = Vec::with_capacity(group_max);
        while gather(&mut queue, &mut jobs, group_max, seat).await {
            let (operations, answers): (Vec<_>, Vec<_>) = jobs
                .drain(..)
                .map(|job| (job.operation, job.answer))
                .unzip();
            let outcomes = group::settle(&self, &operations, seat).await;
            self.counters.ended(&outcomes);
            let answering = async move {
                let settled = operations.into_iter().zip(outcomes);
                for (answer, (operation, outcome)) in answers.into_iter().zip(settled) {
                    // Whoever has gone away asks again with the same idempotency key.
                    drop(answer.send(Settled { operation, outcome }));
                }
            };
            match seat {
                Seat::Shared => answering.await,
                // Who is woken from a thread of the runtime goes on there, without a queue that all threads share.
                Seat::OwnThread => drop(tokio::spawn(answering)),
            }
        }
    }
}

/// Takes what is waiting. Those who are about to ask may join, as long as giving way to them brings more: the larger a group,
/// the less its commit costs each. Nobody is waited for. `false` when there will be no more.
async fn gather(
    queue: &mut mpsc::Receiver<Job>,
    jobs: &mut Vec<Job>,
    group_max: usize,
    seat: Seat,
) -> bool {
    if queue.recv_many(jobs, group_max).await == 0 {
        return false;
    }
    for _ in 0..GIVE_WAY_MAX {
        match seat {
            Seat::Shared => tokio::task::yield_now().await,
            Seat::OwnThread => std::thread::yield_now(),
        }
        let before = jobs.len();
        while jobs.len() < group_max
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        if jobs.len() == before {
            break;
        }
    }
    true
}

/// Which of `count` queues an account's operations go to: always the same, so that their order is kept.
fn place(account: AccountId, count: usize) -> usize {
    usize::try_from(account.0.unsigned_abs() % (count as u64)).unwrap_or(0)
}

fn lost() -> Error {
    Error::Busy("a worker of the charge pipeline was lost".into())
}
