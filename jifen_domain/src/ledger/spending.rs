//! What the account's keys with caps may spend.

use super::account::Account;
use super::state::Refused;
use crate::key::{Caps, Spending};
use crate::{Points, Time};

/// What a key with a cap has spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySpending {
    caps: Caps,
    spent: Spending,
    is_changed: bool,
}

impl Account {
    /// Adds what one of its keys with a cap may spend and has spent. Without that a key's caps are not known here.
    pub fn load_spending(&mut self, api_key_id: String, caps: Caps, spent: Spending) {
        let spending = KeySpending {
            caps,
            spent,
            is_changed: false,
        };
        self.spending.insert(api_key_id, spending);
    }

    /// What keys with a cap have spent, as far as that has changed.
    pub fn changed_spending(&self) -> impl Iterator<Item = (&str, &Spending)> {
        let changed = self.spending.iter().filter(|(_, key)| key.is_changed);
        changed.map(|(id, key)| (id.as_str(), &key.spent))
    }

    pub(super) fn check_cap(
        &self,
        api_key_id: &str,
        points: Points,
        now: Time,
    ) -> Result<(), Refused> {
        match self.spending.get(api_key_id) {
            Some(key) => key
                .spent
                .check(&key.caps, points, now)
                .map_err(Refused::CapReached),
            None => Ok(()),
        }
    }

    pub(super) fn count_spending(&mut self, api_key_id: &str, change: impl FnOnce(&mut Spending)) {
        if let Some(key) = self.spending.get_mut(api_key_id) {
            change(&mut key.spent);
            key.is_changed = true;
        }
    }
}
