//! An account's state after its last entry, and why a movement is refused.

use crate::key::CapReached;
use crate::{AccountId, Points, Time};

/// What an account's row says: its state after its last entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// All points in lots, those that expired but were not yet swept included.
    pub balance: Points,
    /// Of them, what open holds have set aside.
    pub held: Points,
    /// The last numbers given out.
    pub counts: Counts,
    /// The lot drawn on next, when there is one and it is known.
    pub front: Option<Front>,
}

/// The last numbers given out in an account; each sequence is 1, 2, 3 … without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of every kind.
    pub entries: i64,
    /// Entries that are charges: the exact total of the consumption history.
    pub charges: i64,
    /// Lots.
    pub lots: i64,
}

/// The first lot in the order of drawing that has something free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Its number.
    pub lot: i64,
    /// What is left of it.
    pub remaining: Points,
    /// What of that is held.
    pub held: Points,
    /// When it expires.
    pub expires_at: Option<Time>,
}

impl Front {
    pub(super) fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Why a movement is refused. Nothing has moved then, but for what had expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Fewer points are free than asked for.
    #[error("the balance of {available} is too low")]
    Insufficient {
        /// What could be spent.
        available: Points,
    },
    /// Not 1 to [`Points::MOVEMENT_MAX`] points, or the balance would not fit.
    #[error("the number of points is out of range")]
    OutOfRange,
    /// The key may not spend so much.
    #[error(transparent)]
    CapReached(CapReached),
    /// There is no such hold.
    #[error("there is no such hold")]
    NoSuchHold,
    /// The hold was captured, released, or its time was over.
    #[error("the hold has ended")]
    HoldEnded,
    /// [`super::OPEN_HOLDS_MAX`] are open.
    #[error("too many holds are open")]
    TooManyHolds,
    /// More than what is left of the charge.
    #[error("only {left} of the charge are left to refund")]
    MoreThanCharged {
        /// What can still be refunded.
        left: Points,
    },
    /// The account was loaded with its state alone, which does not decide this: load its lots and repeat.
    #[error("the lots of the account are needed")]
    LotsNeeded,
}

/// A stored account that breaks the ledger's invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account {account}: {problem}")]
pub struct Broken {
    /// Which account.
    pub account: AccountId,
    /// What does not add up.
    pub problem: String,
}
