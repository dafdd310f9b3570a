//! Follow-up work as rows.

use jifen_domain::Time;

use crate::engine::Row;
use crate::{Result, Tx};

/// A piece of work, claimed for the time of a lease.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Which work.
    pub kind: String,
    /// On what; unique with the kind.
    pub subject: String,
    /// What the work needs to know beyond its subject. May be personal: never logged.
    pub payload: String,
    /// Attempts before this one.
    pub attempts: i64,
    /// End of the lease, which also tells this claim from another one.
    pub leased_until: Time,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("kind", &self.kind)
            .field("subject", &self.subject)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Work that was given up after its last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedJob {
    /// Which work.
    pub kind: String,
    /// On what.
    pub subject: String,
    /// The last error.
    pub error: String,
    /// When it was given up.
    pub failed_at: Time,
}

impl Tx {
    /// Asks for work at `run_at`. The same work asked for twice is done once, at the earlier time, with the later payload;
    /// work that is being done is done again, at the latest when the lease would have ended or at `run_at`, whichever is
    /// earlier.
    pub async fn enqueue(
        &mut self,
        kind: &str,
        subject: &str,
        payload: &str,
        run_at: Time,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO jobs (kind, subject, payload, run_at, attempts) VALUES ($1, $2, $3, $4, 0) \
             ON CONFLICT (kind, subject) DO UPDATE SET payload = excluded.payload, attempts = 0, failed_at = NULL, \
             leased_until = NULL, run_at = CASE WHEN jobs.failed_at IS NULL AND jobs.run_at < excluded.run_at THEN jobs.run_at \
             ELSE excluded.run_at END",
            &[kind.into(), subject.into(), payload.into(), run_at.micros().into()],
        )
        .await
        .map(drop)
    }

    /// Takes work that is due, oldest first, for the time of a lease; no two nodes take the same.
    pub async fn claim_jobs(
        &mut self,
        now: Time,
        leased_until: Time,
        rows_max: i64,
    ) -> Result<Vec<Job>> {
        let mut jobs = self
            .lock_all_skipping(
                "SELECT kind, subject, payload, attempts FROM jobs WHERE failed_at IS NULL AND run_at <= $1 \
                 ORDER BY run_at, kind, subject LIMIT $2",
                &[now.micros().into(), rows_max.into()],
                read_job,
            )
            .await?;
        for job in &mut jobs {
            job.leased_until = leased_until;
            self.execute(
                "UPDATE jobs SET run_at = $1, leased_until = $1 WHERE kind = $2 AND subject = $3",
                &[
                    leased_until.micros().into(),
                    (&job.kind).into(),
                    (&job.subject).into(),
                ],
            )
            .await?;
        }
        Ok(jobs)
    }

    /// The work is done. Nothing happens when the lease was lost or the work was asked for again.
    pub async fn finish_job(&mut self, job: &Job) -> Result<()> {
        self.execute(
            "DELETE FROM jobs WHERE kind = $1 AND subject = $2 AND leased_until = $3",
            &[
                (&job.kind).into(),
                (&job.subject).into(),
                job.leased_until.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The work is to be done again at `run_at`; `error` tells why when this attempt failed.
    pub async fn retry_job(&mut self, job: &Job, run_at: Time, error: Option<&str>) -> Result<()> {
        self.execute(
            "UPDATE jobs SET run_at = $1, leased_until = NULL, attempts = attempts + 1, last_error = $2 \
             WHERE kind = $3 AND subject = $4 AND leased_until = $5",
            &[
                run_at.micros().into(),
                error.into(),
                (&job.kind).into(),
                (&job.subject).into(),
                job.leased_until.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The work is given up; the row stays for the operator to see.
    pub async fn fail_job(&mut self, job: &Job, now: Time, error: &str) -> Result<()> {
        self.execute(
            "UPDATE jobs SET failed_at = $1, leased_until = NULL, attempts = attempts + 1, last_error = $2, payload = '' \
             WHERE kind = $3 AND subject = $4 AND leased_until = $5",
            &[
                now.micros().into(),
                error.into(),
                (&job.kind).into(),
                (&job.subject).into(),
                job.leased_until.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Forgets work that was given up before; returns how much.
    pub async fn purge_failed_jobs(&mut self, failed_before: Time) -> Result<u64> {
        self.execute(
            "DELETE FROM jobs WHERE failed_at < $1",
            &[failed_before.micros().into()],
        )
        .await
    }

    /// Withdraws work that is no longer needed.
    pub async fn cancel_job(&mut self, kind: &str, subject: &str) -> Result<()> {
        self.execute(
            "DELETE FROM jobs WHERE kind = $1 AND subject = $2",
            &[kind.into(), subject.into()],
        )
        .await
        .map(drop)
    }

    /// When the next work is due.
    pub async fn next_job_at(&mut self) -> Result<Option<Time>> {
        let next = self
            .fetch_optional(
                "SELECT MIN(run_at) FROM jobs WHERE failed_at IS NULL",
                &[],
                |row| row.get::<Option<i64>>(0),
            )
            .await?;
        Ok(next.flatten().map(Time::from_micros))
    }

    /// Jobs waiting, and jobs given up.
    pub async fn job_counts(&mut self) -> Result<(i64, i64)> {
        let counts = self
            .fetch_optional("SELECT COUNT(*), COUNT(failed_at) FROM jobs", &[], |row| {
                let (all, failed): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((all - failed, failed))
            })
            .await?;
        Ok(counts.unwrap_or((0, 0)))
    }

    /// Work that was given up, newest first.
    pub async fn failed_jobs(&mut self, rows_max: i64) -> Result<Vec<FailedJob>> {
        self.fetch_all(
            "SELECT kind, subject, COALESCE(last_error, ''), failed_at FROM jobs WHERE failed_at IS NOT NULL \
             ORDER BY failed_at DESC, kind, subject LIMIT $1",
            &[rows_max.into()],
            |row| {
                Ok(FailedJob {
                    kind: row.get(0)?,
                    subject: row.get(1)?,
                    error: row.get(2)?,
                    failed_at: Time::from_micros(row.get(3)?),
                })
            },
        )
        .await
    }
}

fn read_job(row: &Row<'_>) -> Result<Job> {
    Ok(Job {
        kind: row.get(0)?,
        subject: row.get(1)?,
        payload: row.get(2)?,
        attempts: row.get(3)?,
        leased_until: Time::from_micros(0),
    })
}
