//! Holding the whole ledger against its rules.

use jifen_domain::AccountId;
use jifen_store::{AuditObserver, AuditProgress, AuditScope, Audited, Finding};

use crate::App;
use crate::error::Result;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// What was read, and how much differs.
    pub audited: Audited,
    /// What is wrong, at most a thousand.
    pub findings: Vec<Finding>,
}

impl App {
    /// Holds the ledger against its rules: all of it, or one account. It is read from one state of the database, so the mall
    /// may stay open. The observer hears of each difference as it is found.
    pub async fn audit_observed(
        &self,
        account: Option<AccountId>,
        observer: &mut dyn AuditObserver,
    ) -> Result<Audited> {
        let scope = account.map_or(AuditScope::All, AuditScope::Account);
        let mut tx = self.store.snapshot().await?;
        Ok(tx.audit(scope, self.now(), observer).await?)
    }

    /// The same for the whole ledger. `progress` is told how many rows of a table were read, and how far through the table
    /// that is in thousandths, 0 where it is not known.
    pub async fn audit(&self, progress: impl FnMut(i64, i64) + Send) -> Result<AuditReport> {
        let mut collected = Collected {
            progress,
            findings: Vec::new(),
        };
        let audited = self.audit_observed(None, &mut collected).await?;
        Ok(AuditReport {
            audited,
            findings: collected.findings,
        })
    }
}

struct Collected<F> {
    progress: F,
    findings: Vec<Finding>,
}

impl<F: FnMut(i64, i64) + Send> AuditObserver for Collected<F> {
    fn progress(&mut self, progress: AuditProgress) {
        (self.progress)(progress.rows, progress.permille.unwrap_or(0));
    }

    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}
