//! An account: its state, its lots, and what it is asked to move.

use std::collections::{BTreeMap, BTreeSet};

use super::spending::KeySpending;
use super::state::{Broken, Counts, Front, Refused, State};
use super::{ChargeDetail, Draw, Entry, Grant, Hold, HoldState, Lot, LotSource, Movement, Request};
use crate::{AccountId, Points, Time};

/// An account as far as it was loaded, and what was moved since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) id: AccountId,
    pub(super) balance: Points,
    pub(super) held: Points,
    pub(super) counts: Counts,
    front: Option<Front>,
    pub(super) lots: Option<Lots>,
    pub(super) spending: BTreeMap<String, KeySpending>,
    journal: Vec<Entry>,
}

/// The lots with something left in the order of drawing, the open holds, and which of them were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lots {
    pub(super) open: Vec<Lot>,
    pub(super) emptied: Vec<Lot>,
    pub(super) changed: BTreeSet<i64>,
    pub(super) holds: Vec<Hold>,
    pub(super) changed_holds: BTreeSet<i64>,
}

impl Account {
    /// An account without history.
    pub fn new(id: AccountId) -> Self {
        let mut account = Self::from_state(id, State::default());
        account.lots = Some(Lots::default());
        account
    }

    /// From its row alone: it can make the charges its front pays for.
    pub fn from_state(id: AccountId, state: State) -> Self {
        Self {
            id,
            balance: state.balance,
            held: state.held,
            counts: state.counts,
            front: state.front,
            lots: None,
            spending: BTreeMap::new(),
            journal: Vec::new(),
        }
    }

    /// Adds all lots with something left, as stored, and all open holds.
    ///
    /// # Errors
    /// When they do not add up to the balance and what is held of it.
    pub fn load_lots(&mut self, mut open: Vec<Lot>, mut holds: Vec<Hold>) -> Result<(), Broken> {
        let mut changed = BTreeSet::new();
        if let Some(front) = self.front {
            for lot in open.iter_mut().filter(|lot| lot.number == front.lot) {
                if lot.remaining != front.remaining || lot.held != front.held {
                    (lot.remaining, lot.held) = (front.remaining, front.held);
                    changed.insert(lot.number);
                }
            }
        }
        let sum = |of: fn(&Lot) -> Points| {
            open.iter()
                .try_fold(Points::ZERO, |sum, lot| sum.checked_add(of(lot)))
        };
        let (left, held) = (sum(|lot| lot.remaining), sum(|lot| lot.held));
        let in_holds = holds
            .iter()
            .try_fold(Points::ZERO, |sum, hold| sum.checked_add(hold.points));
        if left != Some(self.balance) || held != Some(self.held) || in_holds != Some(self.held) {
            let problem = format!(
                "its open lots hold {left:?} with {held:?} set aside for holds of {in_holds:?}, its balance is {} with {} held",
                self.balance, self.held
            );
            return Err(Broken {
                account: self.id,
                problem,
            });
        }
        if open.iter().any(|lot| lot.held > lot.remaining) {
            let problem = "more is held of a lot than is left of it".to_owned();
            return Err(Broken {
                account: self.id,
                problem,
            });
        }
        open.sort_by_key(Lot::draw_order);
        holds.sort_by_key(|hold| hold.entry);
        self.lots = Some(Lots {
            open,
            changed,
            holds,
            ..Lots::default()
        });
        self.find_front();
        Ok(())
    }

    /// Whose it is.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// What its row is to say.
    pub fn state(&self) -> State {
        State {
            balance: self.balance,
            held: self.held,
            counts: self.counts,
            front: self.front,
        }
    }

    /// All points in open lots, those that expired but were not yet swept included.
    pub fn balance(&self) -> Points {
        self.balance
    }

    /// What open holds have set aside.
    pub fn held(&self) -> Points {
        self.held
    }

    /// The last numbers given out.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was moved since the account was loaded, in order.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// Whether its lots and open holds are known.
    pub fn has_lots(&self) -> bool {
        self.lots.is_some()
    }

    /// The lots that still hold points, in the order they are drawn on; none when they were not loaded.
    pub fn open_lots(&self) -> &[Lot] {
        self.lots.as_ref().map_or(&[], |lots| &lots.open)
    }

    /// The lots whose rows have to be written: new ones among them, which the journal grants as they were at first.
    pub fn changed_lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.iter().flat_map(|lots| {
            let all = lots.open.iter().chain(&lots.emptied);
            all.filter(|lot| lots.changed.contains(&lot.number))
        })
    }

    /// The holds whose rows have to be written; a new one has the number of its entry in the journal.
    pub fn changed_holds(&self) -> impl Iterator<Item = &Hold> {
        self.lots.iter().flat_map(|lots| {
            let changed = &lots.changed_holds;
            lots.holds
                .iter()
                .filter(|hold| changed.contains(&hold.entry))
        })
    }

    /// What can be spent at `now`: expired points never count, swept or not, nor do held ones. `None` when that depends on
    /// lots that were not loaded.
    pub fn available(&self, now: Time) -> Option<Points> {
        let free = self.balance.checked_sub(self.held).unwrap_or_default();
        let Some(lots) = &self.lots else {
            // The front expires first of what is free.
            let is_known = match &self.front {
                Some(front) => !front.is_expired(now),
                None => free == Points::ZERO,
            };
            return is_known.then_some(free);
        };
        let unexpired = lots.open.iter().filter(|lot| !lot.is_expired(now));
        // A part of the balance, which fits.
        Some(unexpired.fold(Points::ZERO, |sum, lot| {
            sum.checked_add(lot.free()).unwrap_or(free)
        }))
    }

    /// Ends holds whose time is over, and takes what has expired and is not held out of the balance; an entry each.
    ///
    /// # Errors
    /// [`Refused::LotsNeeded`].
    pub fn expire(&mut self, now: Time) -> Result<(), Refused> {
        self.lots_mut()?;
        for hold in self.due_holds(now) {
            self.end_hold(hold, HoldState::Expired, now);
            self.append(Movement::Release { hold }, now, None);
            self.note_end(hold);
        }
        let lots = self.lots_mut()?;
        let expired: Vec<Draw> = lots
            .open
            .iter()
            .filter(|lot| lot.is_expired(now) && lot.free() > Points::ZERO)
            .map(Lot::all_that_is_free)
            .collect();
        for draw in expired {
            self.take(&[draw]);
            self.append(Movement::Expiry { draw }, now, None);
        }
        self.find_front();
        Ok(())
    }

    /// Adds a lot.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`], [`Refused::LotsNeeded`].
    pub fn grant(&mut self, grant: Grant, now: Time) -> Result<(), Refused> {
        self.lots_mut()?;
        let title = grant.title.clone();
        let lot = self.add_lot(grant, now)?;
        self.append(Movement::Grant { lot, title }, now, None);
        self.find_front();
        Ok(())
    }

    /// Spends points, those that expire soonest first. When the front alone pays for it and stays the front, nothing else is
    /// looked at, whether the lots are known or not; else expired lots are swept on the way, also when the charge is refused.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`], [`Refused::CapReached`], [`Refused::Insufficient`] or [`Refused::LotsNeeded`].
    pub fn charge(
        &mut self,
        points: Points,
        detail: ChargeDetail,
        request: Option<Request>,
        now: Time,
    ) -> Result<&Entry, Refused> {
        if !points.is_movable() {
            return Err(Refused::OutOfRange);
        }
        if let Err(reached) = self.check_cap(&detail.api_key_id, points, now) {
            // A hold whose time is over may have counted.
            if self.held == Points::ZERO {
                return Err(reached);
            }
            self.expire(now)?;
            self.check_cap(&detail.api_key_id, points, now)?;
        }
        let draws = if let Some(draw) = self.draw_on_front(points, now) {
            vec![draw]
        } else {
            self.expire(now)?;
            let draws = self.plan(points)?;
            self.take(&draws);
            self.find_front();
            draws
        };
        self.count_spending(&detail.api_key_id, |spent| spent.add(points, now));
        Ok(self.append_charge(detail, draws, None, request, now))
    }

    pub(super) fn append_charge(
        &mut self,
        detail: ChargeDetail,
        draws: Vec<Draw>,
        hold: Option<i64>,
        request: Option<Request>,
        now: Time,
    ) -> &Entry {
        self.counts.charges += 1;
        let movement = Movement::Charge {
            number: self.counts.charges,
            detail,
            draws,
            hold,
        };
        self.append(movement, now, request)
    }

    /// Moves everything into the account of the same person: lots keep their expiry and age, open holds what they have set
    /// aside, their time and their age.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`] when the two together would not fit, [`Refused::LotsNeeded`].
    pub fn merge_into(&mut self, older: &mut Account, now: Time) -> Result<(), Refused> {
        self.expire(now)?;
        older.expire(now)?;
        if older.balance.checked_add(self.balance).is_none() {
            return Err(Refused::OutOfRange);
        }
        let holds = self.move_holds_out(now);
        let moved = self.open_lots().to_vec();
        if moved.is_empty() {
            return Ok(());
        }
        let draws: Vec<Draw> = moved.iter().map(Lot::all_that_is_free).collect();
        self.take(&draws);
        self.append(Movement::MergeOut { draws }, now, None);
        self.find_front();
        let mut numbers = BTreeMap::new();
        for lot in moved {
            let grant = Grant {
                source: LotSource::Merge {
                    account: self.id,
                    lot: lot.number,
                },
                points: lot.remaining,
                expires_at: lot.expires_at,
                title: String::new(),
            };
            let added = older.add_lot(grant, lot.granted_at)?;
            numbers.insert(lot.number, added.number);
            let (lot, title) = (added, String::new());
            older.append(Movement::Grant { lot, title }, now, None);
        }
        for hold in holds {
            older.move_hold_in(self.id, hold, &numbers, now)?;
        }
        older.find_front();
        Ok(())
    }

    pub(super) fn lots_mut(&mut self) -> Result<&mut Lots, Refused> {
        self.lots.as_mut().ok_or(Refused::LotsNeeded)
    }

    /// Adds a lot and its points; the caller appends the entry.
    pub(super) fn add_lot(&mut self, grant: Grant, granted_at: Time) -> Result<Lot, Refused> {
        let balance = self.balance.checked_add(grant.points);
        let balance = balance.filter(|_| grant.points.is_movable());
        let balance = balance.ok_or(Refused::OutOfRange)?;
        let number = self.counts.lots + 1;
        let lot = Lot {
            number,
            source: grant.source,
            points: grant.points,
            remaining: grant.points,
            held: Points::ZERO,
            expires_at: grant.expires_at,
            granted_at,
        };
        self.lots_mut()?.insert(lot.clone());
        self.counts.lots = number;
        self.balance = balance;
        Ok(lot)
    }

    /// The draw, if the front pays for it and stays the front; then it has been made.
    fn draw_on_front(&mut self, points: Points, now: Time) -> Option<Draw> {
        let front = self.front.as_mut()?;
        let free = front.remaining.checked_sub(front.held)?;
        if front.is_expired(now) || points >= free {
            return None;
        }
        front.remaining = front.remaining.checked_sub(points)?;
        let draw = Draw {
            lot: front.lot,
            points,
        };
        if self.lots.is_some() {
            self.take(&[draw]);
        } else {
            self.balance = self.balance.checked_sub(points).unwrap_or_default();
        }
        Some(draw)
    }

    /// From which lots `points` would be taken.
    pub(super) fn plan(&mut self, points: Points) -> Result<Vec<Draw>, Refused> {
        let available = self.balance.checked_sub(self.held).unwrap_or_default();
        let mut missing = points;
        let mut draws = Vec::new();
        for lot in &self.lots_mut()?.open {
            let taken = missing.min(lot.free());
            if taken > Points::ZERO {
                missing = missing.checked_sub(taken).unwrap_or_default();
                let lot = lot.number;
                draws.push(Draw { lot, points: taken });
            }
        }
        if missing > Points::ZERO {
            return Err(Refused::Insufficient { available });
        }
        Ok(draws)
    }

    /// Takes what was planned out of the lots and the balance.
    pub(super) fn take(&mut self, draws: &[Draw]) {
        let Some(lots) = &mut self.lots else { return };
        for draw in draws {
            lots.change(draw.lot, |lot| {
                lot.remaining = lot.remaining.checked_sub(draw.points).unwrap_or_default();
            });
            self.balance = self.balance.checked_sub(draw.points).unwrap_or_default();
        }
        lots.put_emptied_aside();
    }

    /// Which lot is drawn on next. Its row is written when it stops being the front, so here it only has to be known.
    pub(super) fn find_front(&mut self) {
        let Some(lots) = &self.lots else { return };
        let front = lots.open.iter().find(|lot| lot.free() > Points::ZERO);
        self.front = front.map(|lot| Front {
            lot: lot.number,
            remaining: lot.remaining,
            held: lot.held,
            expires_at: lot.expires_at,
        });
    }

    pub(super) fn append(
        &mut self,
        movement: Movement,
        at: Time,
        request: Option<Request>,
    ) -> &Entry {
        self.counts.entries += 1;
        let place = self.journal.len();
        self.journal.push(Entry {
            number: self.counts.entries,
            movement,
            balance_after: self.balance,
            held_after: self.held,
            at,
            request,
        });
        &self.journal[place]
    }
}

impl Lots {
    pub(super) fn insert(&mut self, lot: Lot) {
        let order = |other: &Lot| other.draw_order() <= lot.draw_order();
        let place = self.open.partition_point(order);
        self.open.insert(place, lot);
    }

    /// Changes an open lot and notes that it was changed.
    pub(super) fn change(&mut self, number: i64, change: impl FnOnce(&mut Lot)) {
        if let Some(lot) = self.open.iter_mut().find(|lot| lot.number == number) {
            change(lot);
            self.changed.insert(number);
        }
    }

    /// Draws on open lots in the order of those.
    pub(super) fn in_draw_order(&self, draws: &[Draw]) -> Vec<Draw> {
        let of = |lot: &Lot| draws.iter().find(|draw| draw.lot == lot.number).copied();
        self.open.iter().filter_map(of).collect()
    }

    pub(super) fn put_emptied_aside(&mut self) {
        let (open, emptied): (Vec<Lot>, Vec<Lot>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|lot| lot.remaining > Points::ZERO);
        self.open = open;
        self.emptied.extend(emptied);
    }
}
