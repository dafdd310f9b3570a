//! An account as a database keeps it: rows, read back with the state alone or with the lots.

use std::collections::BTreeMap;

use jifen_domain::key::{Caps, Spending};
use jifen_domain::ledger::{Account, Draw, Entry, Hold, HoldState, Lot, Movement, State};
use jifen_domain::{AccountId, Time};

use super::at;

/// The rows of one account.
pub(crate) struct Shelf {
    id: AccountId,
    caps: Caps,
    state: State,
    lots: BTreeMap<i64, Lot>,
    holds: BTreeMap<i64, Hold>,
    pub(crate) entries: Vec<Entry>,
    /// By the one key of the account.
    pub(crate) spent: Spending,
}

impl Shelf {
    pub(crate) fn new(id: AccountId, caps: Caps) -> Self {
        Self {
            id,
            caps,
            state: State::default(),
            lots: BTreeMap::new(),
            holds: BTreeMap::new(),
            entries: Vec::new(),
            spent: Spending::none(at(1_000)),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn state_alone(&self) -> Account {
        let mut account = Account::from_state(self.id, self.state);
        account.load_spending("k".to_owned(), self.caps, self.spent);
        account
    }

    pub(crate) fn whole(&self) -> Account {
        let mut account = self.state_alone();
        self.load_into(&mut account);
        account
    }

    /// Adds the stored lots and holds to an account that may have moved since; the last first, for their order is no
    /// promise of a database.
    pub(crate) fn load_into(&self, account: &mut Account) {
        let lots = self.lots.values().rev();
        let lots = lots
            .filter(|lot| lot.remaining.get() > 0)
            .cloned()
            .collect();
        account.load_lots(lots, self.open_holds()).unwrap();
    }

    pub(crate) fn open_holds(&self) -> Vec<Hold> {
        let open = self.holds.values().rev();
        let mut open: Vec<Hold> = open
            .filter(|hold| hold.state == HoldState::Held)
            .cloned()
            .collect();
        for hold in &mut open {
            hold.lots = self.in_draw_order(&hold.lots);
        }
        open
    }

    /// As a database reads them: in the order in which the lots would be drawn on now, not in that of the time.
    pub(crate) fn in_draw_order(&self, draws: &[Draw]) -> Vec<Draw> {
        let mut draws = draws.to_vec();
        draws.sort_by_key(|draw| {
            let lot = &self.lots[&draw.lot];
            let expiry = lot.expires_at.unwrap_or(Time::from_micros(i64::MAX));
            (expiry, lot.granted_at, lot.number)
        });
        draws
    }

    pub(crate) fn lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.values()
    }

    /// Writes what was moved since the account was read.
    pub(crate) fn store(&mut self, account: &Account) {
        for entry in account.journal() {
            if let Movement::Grant { lot, .. } | Movement::Refund { lot: Some(lot), .. } =
                &entry.movement
            {
                assert!(self.lots.insert(lot.number, lot.clone()).is_none());
            }
        }
        for lot in account.changed_lots() {
            let row = self.lots.get_mut(&lot.number).expect("it was granted");
            (row.remaining, row.held, row.expires_at) = (lot.remaining, lot.held, lot.expires_at);
        }
        for hold in account.changed_holds() {
            self.holds.insert(hold.entry, hold.clone());
        }
        for (_, spent) in account.changed_spending() {
            self.spent = *spent;
        }
        self.entries.extend_from_slice(account.journal());
        self.state = account.state();
    }
}
