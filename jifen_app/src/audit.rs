//! Holding the whole ledger against its rules.

use jifen_domain::AccountId;
use jifen_store::{Audited, Finding};

use crate::App;
use crate::error::Result;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// What was read.
    pub audited: Audited,
    /// What is wrong, at most a thousand.
    pub findings: Vec<Finding>,
}

/// Findings kept: beyond that the ledger needs more than a list.
const FINDINGS_MAX: usize = 1_000;
const ACCOUNTS_PER_STEP: i64 = 500;

impl App {
    /// Recomputes every account from its entries. Each account is read in one transaction, so the mall may stay open.
    /// `progress` is told how many accounts of how many are done.
    pub async fn audit(&self, mut progress: impl FnMut(i64, i64)) -> Result<AuditReport> {
        let total = self.store.read().await?.ledger_size().await?;
        let mut report = AuditReport {
            audited: Audited {
                accounts: 0,
                entries: total.entries,
            },
            findings: Vec::new(),
        };
        let mut after = AccountId(i64::MIN);
        loop {
            let ids = self
                .store
                .read()
                .await?
                .accounts_after(after, ACCOUNTS_PER_STEP)
                .await?;
            let Some(last) = ids.last() else {
                return Ok(report);
            };
            after = *last;
            for id in ids {
                let mut tx = self.store.begin().await?;
                let findings = tx.audit_account(id, self.now()).await?;
                let room = FINDINGS_MAX.saturating_sub(report.findings.len());
                report.findings.extend(findings.into_iter().take(room));
                report.audited.accounts += 1;
            }
            progress(report.audited.accounts, total.accounts);
        }
    }
}
