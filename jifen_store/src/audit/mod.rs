//! Holds the ledger against its rules and names every difference.
//!
//! What one table says of an account, another says again: an entry's place is in a block or in the account's tail, what it took
//! is missing in its lot, what it charged is in the usage of the day. Each of these is a [`fact`], which the rows of one side add
//! and those of the other take away. The pass reads every table once, from one snapshot, in the order it is stored in. It
//! follows each account's numbers and balance from entry to entry, and adds the facts up in a fixed number of sums, each fact
//! with a weight of its own, so that a sum is nothing where the two sides agree. Where one is not, a second pass collects the
//! facts of that sum alone, and those that are left over are named.
//!
//! Memory is bounded: some 70 bytes for each of [`ACCOUNTS_MAX`] accounts, beyond which the entries are read once more for the
//! next so many; the holds that were open at one time; the sums; and of the second pass at most the facts of [`sums::NAMED_MAX`] sums.

mod accounts;
mod entries;
mod entry;
mod fact;
mod found;
mod holds;
mod lots;
mod orders;
mod places;
mod spending;
mod sums;
mod table;

use std::collections::HashMap;
use std::fmt;

use jifen_domain::{AccountId, Time};

use crate::{Result, Tx};
use accounts::Running;
use fact::Fact;
use sums::Facts;

/// Accounts followed at once.
const ACCOUNTS_MAX: usize = 1_000_000;
/// Differences told; what is beyond is counted.
const FINDINGS_MAX: usize = 1_000;
/// How far a clock may be ahead of this one's before what it wrote lies in the future.
const AHEAD_SECONDS_MAX: i64 = 24 * 3_600;

/// One rule the stored ledger breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Whose it is.
    pub account: AccountId,
    /// The table.
    pub table: &'static str,
    /// Which row of the account, in words: `entry 7`, `lot 2`.
    pub row: String,
    /// What does not add up, in words.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            account,
            table,
            row,
            problem,
        } = self;
        write!(f, "account {account}: {table}, {row}: {problem}")
    }
}

/// What was audited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Accounts read.
    pub accounts: i64,
    /// Entries read.
    pub entries: i64,
    /// Differences that were found.
    pub findings: i64,
    /// Sums in which something differs and that were not looked into, because so many others were.
    pub unnamed: i64,
}

/// What to audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditScope {
    /// Everything.
    All,
    /// One account, found through its blocks: the time does not depend on how many others there are.
    Account(AccountId),
}

/// How far an audit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditProgress {
    /// What is being read.
    pub table: &'static str,
    /// Rows of that table so far.
    pub rows: i64,
    /// How far through the table, in thousandths, where that is known.
    pub permille: Option<i64>,
}

/// Hears of an audit while it runs.
pub trait AuditObserver: Send {
    /// Some thousand rows were read.
    fn progress(&mut self, progress: AuditProgress);
    /// A difference was found; at most a thousand are told.
    fn found(&mut self, finding: Finding);
}

impl AuditObserver for Vec<Finding> {
    fn progress(&mut self, _: AuditProgress) {}

    fn found(&mut self, finding: Finding) {
        self.push(finding);
    }
}

impl Tx {
    /// Holds the ledger against its rules. Call it on [`crate::Store::snapshot`], or what is written meanwhile looks like a
    /// difference.
    pub async fn audit(
        &mut self,
        scope: AuditScope,
        now: Time,
        observer: &mut dyn AuditObserver,
    ) -> Result<Audited> {
        self.audit_in_passes(scope, now, observer, ACCOUNTS_MAX)
            .await
    }

    /// [`Tx::audit`] with at most so many accounts followed at once.
    pub async fn audit_in_passes(
        &mut self,
        scope: AuditScope,
        now: Time,
        observer: &mut dyn AuditObserver,
        accounts_max: usize,
    ) -> Result<Audited> {
        let mut audited = Audited::default();
        let mut from = Some(match scope {
            AuditScope::All => i64::MIN,
            AuditScope::Account(id) => id.0,
        });
        let mut is_first = true;
        while let Some(first) = from {
            let last = match scope {
                AuditScope::All => i64::MAX,
                AuditScope::Account(id) => id.0,
            };
            let accounts = self.running_accounts((first, last), accounts_max).await?;
            let next = accounts
                .last()
                .filter(|_| accounts.len() >= accounts_max)
                .and_then(|account| account.id.checked_add(1))
                .filter(|next| *next <= last);
            let mut audit = Audit {
                scope,
                range: (first, next.map_or(last, |next| next - 1)),
                checks_orders: is_first,
                now,
                accounts,
                facts: Facts::sums(),
                open_holds: HashMap::new(),
                first_lot: None,
                observer: &mut *observer,
                audited,
            };
            audit.run(self).await?;
            audited = audit.audited;
            is_first = false;
            from = next;
        }
        Ok(audited)
    }

    /// The differences of one account.
    pub async fn audit_account(&mut self, id: AccountId, now: Time) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        self.audit(AuditScope::Account(id), now, &mut findings)
            .await?;
        Ok(findings)
    }
}

/// A pass over the accounts of a range.
struct Audit<'a> {
    scope: AuditScope,
    /// The first and the last account of the pass.
    range: (i64, i64),
    /// Orders and merges are no account's and are read in the first pass.
    checks_orders: bool,
    now: Time,
    /// In the order of their ids.
    accounts: Vec<Running>,
    facts: Facts,
    /// By account and entry: how the holds stand that are open where the entries are being read.
    open_holds: HashMap<(i64, i64), holds::Until>,
    /// Of the account whose lots are being read.
    first_lot: Option<lots::FirstLot>,
    observer: &'a mut dyn AuditObserver,
    audited: Audited,
}

impl Audit<'_> {
    async fn run(&mut self, tx: &mut Tx) -> Result<()> {
        self.audited.accounts += i64::try_from(self.accounts.len()).unwrap_or(i64::MAX);
        self.read(tx).await?;
        let Some(unnamed) = self.facts.look_into() else {
            return Ok(());
        };
        self.audited.unnamed += unnamed;
        for account in &mut self.accounts {
            account.restart();
        }
        self.read(tx).await?;
        for finding in self.facts.leftovers() {
            self.tell(finding);
        }
        Ok(())
    }

    /// Every table once.
    async fn read(&mut self, tx: &mut Tx) -> Result<()> {
        self.read_entries(tx).await?;
        let own = self.range;
        self.read_table::<accounts::AccountRow>(tx, own).await?;
        self.read_lots(tx).await?;
        self.read_table::<lots::DrawRow>(tx, own).await?;
        self.read_holds(tx).await?;
        self.read_table::<holds::HoldLotRow>(tx, own).await?;
        self.read_table::<places::BlockRow>(tx, own).await?;
        self.read_table::<places::RequestKeyRow>(tx, own).await?;
        self.read_adopted_requests(tx).await?;
        self.read_table::<spending::UsageRow>(tx, own).await?;
        self.read_table::<lots::RefundedRow>(tx, own).await?;
        if self.is_naming() {
            return Ok(());
        }
        self.check_refunded_charges(tx).await?;
        self.check_key_spending(tx).await?;
        if self.checks_orders {
            self.check_orders(tx).await?;
            self.check_merges(tx).await?;
        }
        Ok(())
    }

    /// Whether this is the second pass, in which what a row says by itself was told already.
    fn is_naming(&self) -> bool {
        self.facts.is_naming()
    }

    fn is_in_range(&self, account: i64) -> bool {
        (self.range.0..=self.range.1).contains(&account)
    }

    /// Tells what a row breaks by itself.
    fn find(&mut self, account: i64, table: &'static str, row: String, problem: String) {
        if self.is_naming() || !self.is_in_range(account) {
            return;
        }
        self.tell(Finding {
            account: AccountId(account),
            table,
            row,
            problem,
        });
    }

    /// The same for each rule that does not hold.
    fn require(&mut self, account: i64, table: &'static str, row: &str, rules: &[(bool, &str)]) {
        for (_, problem) in rules.iter().filter(|(holds, _)| !holds) {
            self.find(account, table, row.to_owned(), (*problem).to_owned());
        }
    }

    fn tell(&mut self, finding: Finding) {
        self.audited.findings += 1;
        if self.audited.findings <= i64::try_from(FINDINGS_MAX).unwrap_or(i64::MAX) {
            self.observer.found(finding);
        }
    }

    /// Adds to what one side says of an account; `entry` is the entry that says so.
    fn fact(&mut self, account: i64, fact: Fact<'_>, amount: i64, entry: Option<i64>) {
        if amount != 0 && self.is_in_range(account) {
            self.facts.add(account, fact, amount, entry);
        }
    }

    fn is_in_future(&self, at: i64) -> bool {
        at > self.now.plus_seconds(AHEAD_SECONDS_MAX).micros()
    }
}
