//! What accounts hold, remembered for a moment: for those who only want to look at a key. Whoever spends asks the ledger.

use jifen_domain::{AccountId, Points, Time};
use jifen_store::{Engine, Holdings};
use quick_cache::sync::Cache;

use crate::App;
use crate::error::Result;

/// Seconds for which an answer of the database is believed. A movement made on this node is seen at once, one of another node
/// within a second; where a file is watched, other processes' are noticed as soon, see [`jifen_store::Store::listen`].
const fn believed_seconds(engine: Engine, is_listening: bool) -> i64 {
    match engine {
        Engine::Sqlite if is_listening => 60,
        _ => 1,
    }
}

/// Accounts remembered; about 100 bytes each.
const ACCOUNTS_MAX: usize = 50_000;

/// See [`App::remembered_spendable`].
pub(crate) struct RememberedBalances(Cache<AccountId, Remembered>);

#[derive(Clone, Copy)]
struct Remembered {
    holdings: Holdings,
    read_at: Time,
    version: u64,
}

impl Default for RememberedBalances {
    fn default() -> Self {
        Self(Cache::new(ACCOUNTS_MAX))
    }
}

impl App {
    /// What can be spent of an account, as it was a moment ago: see [`believed_seconds`].
    pub(crate) async fn remembered_spendable(&self, account: AccountId) -> Result<Points> {
        let now = self.now();
        let version = self.store.account_version(account);
        if let Some(known) = self.remembered_balances.0.get(&account) {
            let seconds = believed_seconds(self.store.engine(), self.store.is_listening());
            let until = known.read_at.plus_seconds(seconds);
            let is_fresh = known.version == version && known.read_at <= now && now < until;
            if is_fresh && known.holdings.next_expiry.is_none_or(|at| now < at) {
                return Ok(known.holdings.available);
            }
        }
        let holdings = self.store.read().await?.holdings(account, now).await?;
        let remembered = Remembered {
            holdings,
            read_at: now,
            version,
        };
        self.remembered_balances.0.insert(account, remembered);
        Ok(holdings.available)
    }
}
