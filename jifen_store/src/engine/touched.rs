//! Which accounts have changed, for those on this node who remember what one holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jifen_domain::AccountId;

use super::{Shared, Store, Tx};

/// Accounts that count as changed together. A power of two.
const SLOTS: usize = 4_096;

/// How often the accounts of each slot were touched.
pub(super) struct Touched(Box<[AtomicU64]>);

impl Touched {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn touch_all(&self) {
        for slot in &self.0 {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn of(&self, account: AccountId) -> &AtomicU64 {
        let place = account.0.unsigned_abs() % (SLOTS as u64);
        // Below the length by the line before.
        &self.0[usize::try_from(place).unwrap_or(0)]
    }
}

impl Store {
    /// A number that is another one after each transaction of this store and its clones that changed the account and, while
    /// [`Store::listen`] runs on SQLite, soon after one of another process. Read it before the account: what was read then
    /// is what the account still holds while the number stays, as far as this node knows.
    pub fn account_version(&self, account: AccountId) -> u64 {
        self.shared.touched.of(account).load(Ordering::SeqCst)
    }
}

impl Tx {
    /// Notes that this transaction changes an account.
    pub(crate) fn touch_account(&mut self, account: AccountId) {
        self.touching.accounts.push(account);
    }
}

/// The accounts a transaction changes; dropped when its outcome is there, whatever it is.
pub(super) struct Touching {
    shared: Arc<Shared>,
    accounts: Vec<AccountId>,
}

impl Touching {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            accounts: Vec::new(),
        }
    }
}

impl Drop for Touching {
    fn drop(&mut self) {
        for account in &self.accounts {
            self.shared
                .touched
                .of(*account)
                .fetch_add(1, Ordering::SeqCst);
        }
    }
}
