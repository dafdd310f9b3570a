//! Points that came together and expire together.

use super::Draw;
use crate::{AccountId, Points, Time};

/// A grant and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// 1, 2, 3 … within the account.
    pub number: i64,
    /// Where the points came from.
    pub source: LotSource,
    /// As granted.
    pub points: Points,
    /// What is left of them.
    pub remaining: Points,
    /// Of what is left, what open holds have set aside.
    pub held: Points,
    /// From then on they are gone, but for what is held; `None` for ever.
    pub expires_at: Option<Time>,
    /// When they were granted.
    pub granted_at: Time,
}

impl Lot {
    /// Whether its points are gone at `now`.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left and not held.
    pub fn free(&self) -> Points {
        // Held is never more than what remains: checked at loading, kept by every movement.
        self.remaining.checked_sub(self.held).unwrap_or_default()
    }

    /// Charges draw on what expires soonest, then on what is oldest.
    pub(super) fn draw_order(&self) -> (Time, Time, i64) {
        (
            self.expires_at.unwrap_or(Time::from_micros(i64::MAX)),
            self.granted_at,
            self.number,
        )
    }

    pub(super) fn all_that_is_free(&self) -> Draw {
        Draw {
            lot: self.number,
            points: self.free(),
        }
    }
}

/// Where a lot came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LotSource {
    /// A paid order; at most one lot an order.
    Purchase {
        /// The merchant order number.
        order_id: String,
    },
    /// Given by the operator.
    Gift {
        /// Chosen by the operator, unique: a gift repeated under its key is given once.
        key: String,
    },
    /// A lot of an account that was merged into this one.
    Merge {
        /// The account it was in.
        account: AccountId,
        /// Its number there.
        lot: i64,
    },
    /// A charge that was refunded after its account had been merged into this one.
    Refund {
        /// The account that was charged.
        account: AccountId,
        /// The charge's entry there.
        charge: i64,
    },
}

/// What to grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where the points come from.
    pub source: LotSource,
    /// How many.
    pub points: Points,
    /// When they expire.
    pub expires_at: Option<Time>,
    /// Why, for people.
    pub title: String,
}
