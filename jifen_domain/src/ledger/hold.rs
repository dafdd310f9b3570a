//! Points set aside for a call whose price is known only afterwards.

use super::account::Account;
use super::state::Refused;
use super::{ChargeDetail, Draw, Entry, Movement, OPEN_HOLDS_MAX, Request, TariffUse};
use crate::{Points, Time};

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
            end_entry: None,
            shortfall: None,
        };
        let known = self.lots_mut()?;
        known.holds.push(hold);
        known.changed_holds.insert(entry);
        self.find_front();
        Ok(self.append(Movement::Hold { detail }, now, request))
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
        let points = known.points.checked_add(more);
        let points = points.filter(|points| points.is_movable());
        let points = points.ok_or(Refused::OutOfRange)?;
        self.check_cap(&api_key_id, more, now)?;
        let lots = self.plan(more)?;
        self.set_aside(&lots);
        self.count_spending(&api_key_id, |spent| spent.add(more, now));
        self.change_hold(hold, |hold| {
            hold.points = points;
            hold.expires_at = hold.expires_at.max(expires_at);
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
        Ok(self.append(Movement::Extend { hold }, now, request))
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

    /// Gives back what a hold has set aside; the caller appends the entry and calls [`Account::note_end`].
    pub(super) fn end_hold(&mut self, hold: i64, state: HoldState, now: Time) {
        let Ok(open) = self.open_hold(hold) else {
            return;
        };
        let (points, made_at, lots) = (open.points, open.created_at, open.lots.clone());
        let api_key_id = open.detail.api_key_id.clone();
        self.count_spending(&api_key_id, |spent| {
            spent.take_back(points, made_at, now);
        });
        self.held = self.held.checked_sub(points).unwrap_or_default();
        let Some(known) = &mut self.lots else { return };
        for pinned in lots {
            known.change(pinned.lot, |lot| {
                lot.held = lot.held.checked_sub(pinned.points).unwrap_or_default();
            });
        }
        self.change_hold(hold, |hold| hold.state = state);
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
