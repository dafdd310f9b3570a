//! Taking a charge back.

use super::account::{Account, Lots};
use super::state::Refused;
use super::{Draw, Entry, Grant, Lot, LotSource, Movement, Request};
use crate::{AccountId, Points, Time};

/// Which charge is refunded, and what has to be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The charge.
    pub source: RefundSource,
    /// What it took, lot by lot.
    pub draws: Vec<Draw>,
    /// Those lots as stored, whatever is left of them.
    pub lots: Vec<Lot>,
    /// When it was made.
    pub charged_at: Time,
    /// What was refunded of it before.
    pub refunded: Points,
    /// How much now; `None` for all that is left.
    pub points: Option<Points>,
    /// Until when points of expired lots are good again.
    pub grace_until: Time,
}

/// Names a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundSource {
    /// The account that was charged.
    pub account: AccountId,
    /// The charge's entry there.
    pub charge: i64,
    /// The key that was charged.
    pub api_key_id: String,
    /// What the charge was for.
    pub title: String,
}

impl Refund {
    /// What is refunded now.
    ///
    /// # Errors
    /// [`Refused::MoreThanCharged`], [`Refused::OutOfRange`].
    fn points_now(&self) -> Result<Points, Refused> {
        let charged = self
            .draws
            .iter()
            .try_fold(Points::ZERO, |sum, draw| sum.checked_add(draw.points));
        let left = charged.and_then(|charged| charged.checked_sub(self.refunded));
        let left = left.ok_or(Refused::OutOfRange)?;
        let points = self.points.unwrap_or(left);
        if points > left || left == Points::ZERO {
            return Err(Refused::MoreThanCharged { left });
        }
        if points.is_movable() {
            Ok(points)
        } else {
            Err(Refused::OutOfRange)
        }
    }

    /// Which lots get back how much: the newest first. The order of drawing would not do, for a refund that makes an expired
    /// lot good again changes it, and then the next part would come back to a lot that has it already.
    fn returns(&self, points: Points) -> Vec<Draw> {
        let (mut skip, mut missing) = (self.refunded, points);
        let mut returns = Vec::new();
        let mut draws = self.draws.clone();
        draws.sort_by_key(|draw| std::cmp::Reverse(draw.lot));
        for draw in draws {
            let skipped = skip.min(draw.points);
            skip = skip.checked_sub(skipped).unwrap_or_default();
            let left = draw.points.checked_sub(skipped).unwrap_or_default();
            let given = missing.min(left);
            missing = missing.checked_sub(given).unwrap_or_default();
            if given > Points::ZERO {
                returns.push(Draw {
                    lot: draw.lot,
                    points: given,
                });
            }
        }
        returns
    }
}

impl Account {
    /// Gives points of a charge back to the lots they came from; those that have expired since are good until the end of
    /// the grace. When the charge was made in an account that was merged into this one, they come as a new lot that lasts
    /// as long as the longest of them.
    ///
    /// # Errors
    /// [`Refused::MoreThanCharged`], [`Refused::OutOfRange`], [`Refused::LotsNeeded`].
    pub fn refund(
        &mut self,
        refund: &Refund,
        request: Option<Request>,
        now: Time,
    ) -> Result<&Entry, Refused> {
        let points = refund.points_now()?;
        self.expire(now)?;
        let balance = self.balance.checked_add(points);
        let balance = balance.ok_or(Refused::OutOfRange)?;
        let returns = refund.returns(points);
        let source = refund.source.clone();
        let movement = if source.account == self.id {
            let mut lots = self.lots_mut()?.clone();
            for back in &returns {
                lots.give_back(*back, refund, now)?;
            }
            (self.lots, self.balance) = (Some(lots), balance);
            Movement::Refund {
                source,
                returns,
                lot: None,
            }
        } else {
            let grant = Grant {
                source: LotSource::Refund {
                    account: source.account,
                    charge: source.charge,
                },
                points,
                expires_at: longest(refund, &returns, now),
                title: String::new(),
            };
            let lot = Some(self.add_lot(grant, now)?);
            Movement::Refund {
                source,
                returns: Vec::new(),
                lot,
            }
        };
        self.count_spending(&refund.source.api_key_id, |spent| {
            spent.take_back(points, refund.charged_at, now);
        });
        self.find_front();
        Ok(self.append(movement, now, request))
    }
}

impl Lots {
    fn give_back(&mut self, back: Draw, refund: &Refund, now: Time) -> Result<(), Refused> {
        // A lot that is known here is known better than by what was read of it.
        let is_it = |lot: &Lot| lot.number == back.lot;
        let mut lot = if let Some(place) = self.open.iter().position(is_it) {
            self.open.remove(place)
        } else if let Some(place) = self.emptied.iter().position(is_it) {
            self.emptied.remove(place)
        } else {
            let stored = refund.lots.iter().find(|lot| is_it(lot));
            stored.cloned().ok_or(Refused::OutOfRange)?
        };
        let remaining = lot.remaining.checked_add(back.points);
        let remaining = remaining.filter(|remaining| *remaining <= lot.points);
        lot.remaining = remaining.ok_or(Refused::OutOfRange)?;
        if lot.is_expired(now) {
            lot.expires_at = Some(refund.grace_until);
        }
        self.changed.insert(lot.number);
        self.insert(lot);
        Ok(())
    }
}

fn longest(refund: &Refund, returns: &[Draw], now: Time) -> Option<Time> {
    let lots = refund
        .lots
        .iter()
        .filter(|lot| returns.iter().any(|back| back.lot == lot.number));
    let mut until = refund.grace_until;
    for lot in lots {
        match lot.expires_at {
            None => return None,
            Some(at) if at > now => until = until.max(at),
            Some(_) => {}
        }
    }
    Some(until)
}
