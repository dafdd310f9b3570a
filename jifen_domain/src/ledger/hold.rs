//! Points set aside for a call whose price is known only afterwards.

use std::collections::BTreeMap;

use super::account::Account;
use super::state::Refused;
use super::{ChargeDetail, Draw, Entry, HeldUntil, Movement, OPEN_HOLDS_MAX, Request, TariffUse};
use crate::{AccountId, Points, Time};

/// A hold. Its points stay in their lots, where they are neither spent nor expire until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The number of the entry that made it, which names it within the account.
    pub entry: i64,
    /// How many points.
    pub points: Points,
    /// In which lots.
    pub lots: Vec<Draw>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends by itself.
    pub expires_at: Time,
    /// What for. Of the tariff only the id is kept.
    pub detail: ChargeDetail,
    /// How it stands.
    pub state: HoldState,
    /// The hold it was before its account was merged into this one: that account, and the hold's entry there.
    pub origin: Option<(AccountId, i64)>,
    /// The entry that ended it.
    pub end_entry: Option<i64>,
    /// What was asked for beyond what could be taken, when it was captured.
    pub shortfall: Option<Points>,
}

/// How a hold stands. All but the first are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Its points are set aside.
    Held,
    /// The call was charged.
    Captured,
    /// Given up by the gateway.
    Released,
    /// Its time was over.
    Expired,
    /// Its account was merged into another, where it goes on.
    Moved,
}

/// What to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The hold's entry.
    pub hold: i64,
    /// What the call cost; zero is allowed, more than the hold too.
    pub cost: Points,
    /// Under which tariff, when the cost was set by one.
    pub tariff: Option<TariffUse>,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The charge.
    pub entry: Entry,
    /// How much of the cost could not be taken.
    pub shortfall: Points,
}

impl Account {
    /// Sets points aside until `expires_at`.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`], [`Refused::CapReached`], [`Refused::Insufficient`], [`Refused::TooManyHolds`],
    /// [`Refused::LotsNeeded`].
    pub fn hold(
        &mut self,
        points: Points,
        detail: ChargeDetail,
        expires_at: Time,
        request: Option<Request>,
        now: Time,
    ) -> Result<&Entry, Refused> {
        if !points.is_movable() {
            return Err(Refused::OutOfRange);
        }
        self.expire(now)?;
        self.check_cap(&detail.api_key_id, points, now)?;
        let open = self.lots_mut()?.holds.iter();
        let open = open.filter(|hold| hold.state == HoldState::Held).count();
        if open >= OPEN_HOLDS_MAX {
            return Err(Refused::TooManyHolds);
        }
        let lots = self.plan(points)?;
        self.set_aside(&lots);
        self.count_spending(&detail.api_key_id, |spent| spent.add(points, now));
        let entry = self.counts.entries + 1;
        let hold = Hold {
            entry,
            points,
            lots,
            created_at: now,
            expires_at,
            detail: detail.clone(),
            state: HoldState::Held,
            origin: None,
            end_entry: None,
            shortfall: None,
        };
        self.add_hold(hold);
        self.find_front();
        let movement = Movement::Hold {
            detail,
            until: HeldUntil { points, expires_at },
            origin: None,
        };
        Ok(self.append(movement, now, request))
    }

    /// Gives an open hold more points, more time, or both.
    ///
    /// # Errors
    /// [`Refused::NoSuchHold`] also when it has ended, [`Refused::OutOfRange`], [`Refused::CapReached`],
    /// [`Refused::Insufficient`], [`Refused::LotsNeeded`].
    pub fn extend(
        &mut self,
        hold: i64,
        more: Points,
        expires_at: Time,
        request: Option<Request>,
        now: Time,
    ) -> Result<&Entry, Refused> {
        self.expire(now)?;
        let known = self.open_hold(hold)?;
        let api_key_id = known.detail.api_key_id.clone();
        let expires_at = known.expires_at.max(expires_at);
        let points = known.points.checked_add(more);
        let points = points.filter(|points| points.is_movable());
        let points = points.ok_or(Refused::OutOfRange)?;
        self.check_cap(&api_key_id, more, now)?;
        let lots = self.plan(more)?;
        self.set_aside(&lots);
        self.count_spending(&api_key_id, |spent| spent.add(more, now));
        self.change_hold(hold, |hold| {
            (hold.points, hold.expires_at) = (points, expires_at);
            for added in lots {
                match hold.lots.iter_mut().find(|known| known.lot == added.lot) {
                    Some(known) => {
                        known.points = known.points.checked_add(added.points).unwrap_or(points);
                    }
                    None => hold.lots.push(added),
                }
            }
        });
        self.find_front();
        let until = HeldUntil { points, expires_at };
        Ok(self.append(Movement::Extend { hold, until }, now, request))
    }

    /// Charges what a held call cost. What the hold does not cover is taken from what is free, as far as that goes.
    ///
    /// # Errors
    /// [`Refused::NoSuchHold`] also when it has ended, [`Refused::OutOfRange`], [`Refused::LotsNeeded`].
    pub fn capture(
        &mut self,
        capture: Capture,
        request: Option<Request>,
        now: Time,
    ) -> Result<Captured, Refused> {
        if capture.cost > Points::MOVEMENT_MAX {
            return Err(Refused::OutOfRange);
        }
        self.expire(now)?;
        let hold = self.open_hold(capture.hold)?.clone();
        let beyond = capture.cost.checked_sub(hold.points).unwrap_or_default();
        let free = self.balance.checked_sub(self.held).unwrap_or_default();
        let extra = beyond.min(free);
        let shortfall = beyond.checked_sub(extra).unwrap_or_default();

        let mut missing = capture.cost.min(hold.points);
        let mut draws = Vec::new();
        for pinned in self.lots_mut()?.in_draw_order(&hold.lots) {
            let taken = missing.min(pinned.points);
            missing = missing.checked_sub(taken).unwrap_or_default();
            if taken > Points::ZERO {
                draws.push(Draw {
                    lot: pinned.lot,
                    points: taken,
                });
            }
        }
        self.end_hold(hold.entry, HoldState::Captured, now);
        self.take(&draws);
        for more in self.plan(extra)? {
            self.take(&[more]);
            match draws.iter_mut().find(|draw| draw.lot == more.lot) {
                Some(draw) => {
                    draw.points = draw.points.checked_add(more.points).unwrap_or(draw.points);
                }
                None => draws.push(more),
            }
        }
        let taken = capture.cost.checked_sub(shortfall).unwrap_or_default();
        self.count_spending(&hold.detail.api_key_id, |spent| spent.add(taken, now));
        let detail = ChargeDetail {
            tariff: capture.tariff,
            ..hold.detail
        };
        let entry = self
            .append_charge(detail, draws, Some(hold.entry), request, now)
            .clone();
        self.note_end(hold.entry);
        self.change_hold(hold.entry, |hold| hold.shortfall = Some(shortfall));
        // What was not taken may have expired meanwhile.
        self.expire(now)?;
        Ok(Captured { entry, shortfall })
    }

    /// Ends a hold without a charge.
    ///
    /// # Errors
    /// [`Refused::NoSuchHold`] also when it has ended, [`Refused::LotsNeeded`].
    pub fn release(
        &mut self,
        hold: i64,
        request: Option<Request>,
        now: Time,
    ) -> Result<Entry, Refused> {
        self.expire(now)?;
        self.open_hold(hold)?;
        self.end_hold(hold, HoldState::Released, now);
        let entry = self
            .append(Movement::Release { hold }, now, request)
            .clone();
        self.note_end(hold);
        self.expire(now)?;
        Ok(entry)
    }

    pub(super) fn due_holds(&self, now: Time) -> Vec<i64> {
        let holds = self.lots.iter().flat_map(|lots| &lots.holds);
        holds
            .filter(|hold| hold.state == HoldState::Held && hold.expires_at <= now)
            .map(|hold| hold.entry)
            .collect()
    }

    /// Takes the open holds out for a merge. What their keys have spent moves by itself: it is counted by key.
    pub(super) fn move_holds_out(&mut self, now: Time) -> Vec<Hold> {
        let known = self.lots.iter().flat_map(|lots| &lots.holds);
        let open: Vec<Hold> = known
            .filter(|hold| hold.state == HoldState::Held)
            .cloned()
            .collect();
        for hold in &open {
            self.set_free(hold, HoldState::Moved);
            self.append(Movement::Release { hold: hold.entry }, now, None);
            self.note_end(hold.entry);
        }
        open
    }

    /// Lets a hold of a merged account go on here. `numbers` says what its lots are called here.
    pub(super) fn move_hold_in(
        &mut self,
        from: AccountId,
        hold: Hold,
        numbers: &BTreeMap<i64, i64>,
        now: Time,
    ) -> Result<(), Refused> {
        let lots = hold.lots.iter().map(|pinned| {
            let lot = *numbers.get(&pinned.lot)?;
            Some(Draw { lot, ..*pinned })
        });
        let lots: Vec<Draw> = lots.collect::<Option<_>>().ok_or(Refused::LotsNeeded)?;
        self.set_aside(&lots);
        let origin = Some((from, hold.entry));
        let movement = Movement::Hold {
            detail: hold.detail.clone(),
            until: HeldUntil {
                points: hold.points,
                expires_at: hold.expires_at,
            },
            origin,
        };
        self.add_hold(Hold {
            entry: self.counts.entries + 1,
            lots,
            origin,
            ..hold
        });
        self.append(movement, now, None);
        Ok(())
    }

    fn add_hold(&mut self, hold: Hold) {
        let Some(known) = &mut self.lots else { return };
        known.changed_holds.insert(hold.entry);
        known.holds.push(hold);
    }

    /// Gives back what a hold has set aside; the caller appends the entry and calls [`Account::note_end`].
    pub(super) fn end_hold(&mut self, hold: i64, state: HoldState, now: Time) {
        let Ok(open) = self.open_hold(hold).cloned() else {
            return;
        };
        self.count_spending(&open.detail.api_key_id, |spent| {
            spent.take_back(open.points, open.created_at, now);
        });
        self.set_free(&open, state);
    }

    fn set_free(&mut self, open: &Hold, state: HoldState) {
        self.held = self.held.checked_sub(open.points).unwrap_or_default();
        let Some(known) = &mut self.lots else { return };
        for pinned in &open.lots {
            known.change(pinned.lot, |lot| {
                lot.held = lot.held.checked_sub(pinned.points).unwrap_or_default();
            });
        }
        self.change_hold(open.entry, |hold| hold.state = state);
    }

    /// Notes the last entry as the one that ended a hold.
    pub(super) fn note_end(&mut self, hold: i64) {
        let last = self.counts.entries;
        self.change_hold(hold, |hold| hold.end_entry = Some(last));
    }

    fn open_hold(&mut self, hold: i64) -> Result<&Hold, Refused> {
        let mut holds = self.lots_mut()?.holds.iter();
        holds
            .find(|known| known.entry == hold && known.state == HoldState::Held)
            .ok_or(Refused::NoSuchHold)
    }

    fn change_hold(&mut self, hold: i64, change: impl FnOnce(&mut Hold)) {
        let Some(lots) = &mut self.lots else { return };
        if let Some(known) = lots.holds.iter_mut().find(|known| known.entry == hold) {
            change(known);
            lots.changed_holds.insert(hold);
        }
    }

    fn set_aside(&mut self, draws: &[Draw]) {
        let Some(lots) = &mut self.lots else { return };
        for draw in draws {
            lots.change(draw.lot, |lot| {
                lot.held = lot.held.checked_add(draw.points).unwrap_or(lot.remaining);
            });
            self.held = self.held.checked_add(draw.points).unwrap_or(self.balance);
        }
    }
}
