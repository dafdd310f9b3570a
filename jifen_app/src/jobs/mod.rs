//! Follow-up work: rows claimed with a lease, done at least once, repeated with growing waits, given up after a bound.

mod handlers;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use jifen_domain::Time;
use jifen_store::Job;
use tokio::task::JoinSet;

use crate::App;
use crate::error::{Error, Result};

/// Asks the provider about an unpaid order. Subject: the order.
pub(crate) const QUERY_ORDER: &str = "query_order";
/// Closes an order that was not paid in time. Subject: the order.
pub(crate) const CLOSE_ORDER: &str = "close_order";
/// Sends a mail. Subject: the user.
pub(crate) const SEND_MAIL: &str = "send_mail";
/// Sends the template message that follows a web login. Subject: the push.
pub(crate) const SEND_LOGIN_MESSAGE: &str = "send_login_message";
/// Takes expired points out of the balances, over and over.
pub(crate) const SWEEP_EXPIRED: &str = "sweep_expired";
/// Forgets old sessions, tickets and messages, over and over.
pub(crate) const PURGE: &str = "purge";

/// Seconds after which the provider is first asked about an order.
pub(crate) const QUERY_ORDER_FIRST_SECONDS: i64 = 30;
/// Seconds a claimed job is nobody else's. Longer than any call to a provider with its repetitions.
const LEASE_SECONDS: i64 = 120;
/// Jobs in hand at once, per node.
const JOBS_MAX: i64 = 16;
/// Milliseconds after which a node looks for jobs other nodes have added.
const POLL_MILLIS: u64 = 1_000;

/// What doing a job came to.
pub(crate) enum Outcome {
    /// Done for good.
    Done,
    /// To be done again then.
    Again(Time),
}

impl App {
    /// Does follow-up work until `shutdown`; what is in hand then is finished.
    pub async fn work(&self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        if let Err(error) = self.ensure_recurring_jobs().await {
            tracing::error!(%error, "recurring jobs could not be set up");
        }
        loop {
            if let Err(error) = self.run_due_jobs().await {
                tracing::error!(%error, "jobs could not be claimed");
            }
            let wait = tokio::time::timeout(
                Duration::from_millis(POLL_MILLIS),
                self.job_added.notified(),
            );
            tokio::select! {
                () = &mut shutdown => return,
                _ = wait => {}
            }
        }
    }

    /// Does everything that is due now, and returns how many jobs that was.
    pub async fn run_due_jobs(&self) -> Result<usize> {
        let mut count = 0;
        loop {
            let now = self.now();
            if self
                .store
                .read()
                .await?
                .next_job_at()
                .await?
                .is_none_or(|at| at > now)
            {
                return Ok(count);
            }
            let mut tx = self.store.begin().await?;
            let jobs = tx
                .claim_jobs(now, now.plus_seconds(LEASE_SECONDS), JOBS_MAX)
                .await?;
            tx.commit().await?;
            if jobs.is_empty() {
                return Ok(count);
            }
            count += jobs.len();
            self.run_at_once(jobs).await;
        }
    }

    /// One job that fails, or has a bug, leaves the others alone.
    async fn run_at_once(&self, jobs: Vec<Job>) {
        let mut running = JoinSet::new();
        for job in jobs {
            let app = self.clone();
            running.spawn(async move {
                let outcome = AssertUnwindSafe(app.do_job(&job)).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("the job panicked")));
                if let Err(error) = app.note_outcome(&job, outcome).await {
                    // The lease ends by itself, and the job is done again.
                    tracing::error!(kind = job.kind, subject = job.subject, %error, "what came of a job was not noted");
                }
            });
        }
        running.join_all().await;
    }

    /// How many jobs wait, now or for later, and how many were given up.
    pub async fn job_counts(&self) -> Result<(i64, i64)> {
        Ok(self.store.read().await?.job_counts().await?)
    }

    /// Makes sure the work that never ends is on the list.
    pub async fn ensure_recurring_jobs(&self) -> Result<()> {
        let mut tx = self.store.begin().await?;
        for kind in [SWEEP_EXPIRED, PURGE] {
            tx.enqueue(kind, "", "", self.now()).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn do_job(&self, job: &Job) -> Result<Outcome> {
        match job.kind.as_str() {
            QUERY_ORDER => self.query_order_job(job).await,
            CLOSE_ORDER => self.close_order_job(job).await,
            SEND_MAIL => self.send_mail_job(job).await,
            SEND_LOGIN_MESSAGE => self.send_login_message_job(job).await,
            SWEEP_EXPIRED => self.sweep_expired_job().await,
            PURGE => self.purge_job().await,
            unknown => Err(Error::internal(format!("no such kind of job: {unknown}"))),
        }
    }

    async fn note_outcome(&self, job: &Job, outcome: Result<Outcome>) -> Result<()> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        match outcome {
            Ok(Outcome::Done) => tx.finish_job(job).await?,
            Ok(Outcome::Again(at)) => tx.retry_job(job, at, None).await?,
            Err(error) => {
                let attempt = job.attempts + 1;
                let text = error.to_string();
                tracing::warn!(
                    kind = job.kind,
                    subject = job.subject,
                    attempt,
                    error = text,
                    "a job failed"
                );
                if attempt < attempts_max(&job.kind) {
                    tx.retry_job(job, now.plus_seconds(backoff_seconds(attempt)), Some(&text))
                        .await?;
                } else {
                    tracing::error!(kind = job.kind, subject = job.subject, "a job was given up");
                    tx.fail_job(job, now, &text).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Attempts before a job is given up. Closing goes on for about two days; recurring work is never given up.
fn attempts_max(kind: &str) -> i64 {
    match kind {
        SEND_MAIL | SEND_LOGIN_MESSAGE => 5,
        SWEEP_EXPIRED | PURGE => i64::MAX,
        _ => 100,
    }
}

fn backoff_seconds(attempt: i64) -> i64 {
    const SECONDS: [i64; 6] = [5, 15, 60, 300, 900, 1_800];
    let step = usize::try_from(attempt.max(1) - 1)
        .unwrap_or(usize::MAX)
        .min(SECONDS.len() - 1);
    SECONDS[step]
}
