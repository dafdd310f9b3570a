//! Movements of an account, numbered.

use super::Lot;
use super::refund::RefundSource;
use crate::{AccountId, Points, Time};

/// One movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1, 2, 3 … within the account.
    pub number: i64,
    /// What moved, and why.
    pub movement: Movement,
    /// The account's balance after it.
    pub balance_after: Points,
    /// Of the balance, what open holds have set aside after it.
    pub held_after: Points,
    /// When.
    pub at: Time,
    /// The request it answers, if it is the first entry to do so.
    pub request: Option<Request>,
}

impl Entry {
    /// What the entry adds to the balance; negative when it takes away.
    pub fn signed_points(&self) -> i64 {
        // Each draw is at most what a lot held, and lots add up to a balance that fits.
        let sum = |draws: &[Draw]| draws.iter().map(|draw| draw.points.get()).sum::<i64>();
        match &self.movement {
            Movement::Grant { lot, .. } => lot.points.get(),
            Movement::Refund { returns, lot, .. } => {
                sum(returns) + lot.as_ref().map_or(0, |lot| lot.points.get())
            }
            Movement::Hold { .. } | Movement::Extend { .. } | Movement::Release { .. } => 0,
            Movement::Charge { draws, .. } | Movement::MergeOut { draws } => -sum(draws),
            Movement::Expiry { draw } => -draw.points.get(),
        }
    }

    /// The lots whose remainders the entry changes: taken from, or, by a refund, given back to.
    pub fn draws(&self) -> &[Draw] {
        match &self.movement {
            Movement::Grant { .. }
            | Movement::Hold { .. }
            | Movement::Extend { .. }
            | Movement::Release { .. } => &[],
            Movement::Charge { draws, .. } | Movement::MergeOut { draws } => draws,
            Movement::Refund { returns, .. } => returns,
            Movement::Expiry { draw } => std::slice::from_ref(draw),
        }
    }

    /// What can be spent after it, as far as it was known then.
    pub fn available_after(&self) -> Points {
        self.balance_after
            .checked_sub(self.held_after)
            .unwrap_or_default()
    }
}

/// What an entry moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Points come in as a new lot.
    Grant {
        /// The new lot, still whole.
        lot: Lot,
        /// Why, for people: the package's name, the operator's reason.
        title: String,
    },
    /// An API call is paid for.
    Charge {
        /// 1, 2, 3 … among the account's charges.
        number: i64,
        /// What it was for.
        detail: ChargeDetail,
        /// Which lots paid.
        draws: Vec<Draw>,
        /// The entry of the hold it captured.
        hold: Option<i64>,
    },
    /// A charge is taken back, in part or whole.
    Refund {
        /// Which one.
        source: RefundSource,
        /// The lots of the same account that get their points back.
        returns: Vec<Draw>,
        /// The lot that is granted instead, when the charge was in an account merged into this one.
        lot: Option<Lot>,
    },
    /// Points are set aside.
    Hold {
        /// What for.
        detail: ChargeDetail,
        /// How many, until when.
        until: HeldUntil,
        /// The hold it was in an account merged into this one: that account, and the hold's entry there.
        origin: Option<(AccountId, i64)>,
    },
    /// A hold gets more points or more time.
    Extend {
        /// The hold's entry.
        hold: i64,
        /// How many it has then, until when.
        until: HeldUntil,
    },
    /// A hold ends without a charge, or goes on in another account.
    Release {
        /// The hold's entry.
        hold: i64,
    },
    /// A lot's time was over.
    Expiry {
        /// All that was left of it and not held.
        draw: Draw,
    },
    /// Everything goes to the account of the same person that this one is merged into.
    MergeOut {
        /// What was left of each lot.
        draws: Vec<Draw>,
    },
}

/// How many points a hold has set aside, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUntil {
    /// All of them.
    pub points: Points,
    /// When it ends by itself.
    pub expires_at: Time,
}

/// Points of one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The lot's number in the same account.
    pub lot: i64,
    /// How many.
    pub points: Points,
}

/// What a charge or a hold is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeDetail {
    /// The API key that was used.
    pub api_key_id: String,
    /// Shown in the consumption history.
    pub title: String,
    /// Shown below it.
    pub description: Option<String>,
    /// The tariff that set the price; `None` when the gateway named the points.
    pub tariff: Option<TariffUse>,
}

/// What was priced by a tariff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TariffUse {
    /// The tariff's version, which never changes.
    pub id: i64,
    /// Units of the call.
    pub units: i64,
}

/// Names a request within an account, so that a repetition is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// A hash of the service credential and its idempotency key.
    pub key: [u8; 16],
    /// A hash of what was asked for.
    pub input: [u8; 8],
}
