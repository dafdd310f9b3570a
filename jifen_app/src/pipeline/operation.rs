//! What the pipeline does, and what it answers.

use jifen_domain::ledger::{Capture, ChargeDetail, Entry, HeldUntil, Movement, Refused, Request};
use jifen_domain::{AccountId, Points, Time};
use jifen_store::Recorded;

/// Something that spends points of an account, or gives them back.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// On which account.
    pub(crate) account: AccountId,
    /// Which request it answers: done once, whatever is repeated.
    pub(crate) request: Request,
    /// What to do.
    pub(crate) action: Action,
    /// The key whose use is to be noted, when it was not lately.
    pub(crate) used_key: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Charge {
        points: Points,
        detail: ChargeDetail,
    },
    Hold {
        points: Points,
        detail: ChargeDetail,
        expires_at: Time,
    },
    Extend {
        hold: i64,
        more: Points,
        expires_at: Time,
    },
    Capture(Capture),
    Release {
        hold: i64,
    },
    Refund {
        /// The charge's account; another than the operation's when it was merged into that.
        charged: AccountId,
        charge: i64,
        /// All that is left without.
        points: Option<Points>,
        grace_until: Time,
    },
}

impl Action {
    /// Whether it is about a hold that exists.
    pub(super) fn is_on_hold(&self) -> bool {
        matches!(
            self,
            Self::Extend { .. } | Self::Capture(_) | Self::Release { .. }
        )
    }
}

/// An operation that has been through the pipeline, and how it ended.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) operation: Operation,
    pub(crate) outcome: Outcome,
}

pub(crate) type Outcome = Result<Answer, Declined>;

/// What was done, now or before for the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) account: AccountId,
    /// The entry that did it.
    pub(crate) entry: i64,
    /// Points that moved, not negative.
    pub(crate) points: i64,
    /// What could be spent after it.
    pub(crate) available: Points,
    pub(crate) at: Time,
    pub(crate) tariff_id: Option<i64>,
    /// How a hold stood when it was made or extended.
    pub(crate) until: Option<HeldUntil>,
    /// What a capture could not take; told once, and kept with the hold.
    pub(crate) shortfall: Option<Points>,
    /// What can be spent when a hold has ended and what it freed of expired lots is gone; told once, and to be found in the
    /// entries that follow.
    pub(crate) settled: Option<Points>,
    pub(crate) is_replay: bool,
}

impl Answer {
    pub(super) fn new(account: AccountId, entry: &Entry) -> Self {
        let (tariff, until) = match &entry.movement {
            Movement::Charge { detail, .. } => (detail.tariff, None),
            Movement::Hold { detail, until, .. } => (detail.tariff, Some(*until)),
            Movement::Extend { until, .. } => (None, Some(*until)),
            _ => (None, None),
        };
        Self {
            account,
            entry: entry.number,
            points: entry.signed_points().saturating_abs(),
            available: entry.available_after(),
            at: entry.at,
            tariff_id: tariff.map(|tariff| tariff.id),
            until,
            shortfall: None,
            settled: None,
            is_replay: false,
        }
    }

    pub(crate) fn replayed(recorded: &Recorded) -> Self {
        Self {
            account: recorded.account,
            entry: recorded.entry,
            points: recorded.signed_points.saturating_abs(),
            available: recorded
                .balance_after
                .checked_sub(recorded.held_after)
                .unwrap_or_default(),
            at: recorded.at,
            tariff_id: recorded.tariff_id,
            until: recorded.until,
            shortfall: None,
            settled: None,
            is_replay: true,
        }
    }
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The ledger's rules say no. With what can be spent.
    Refused(Refused, Points),
    /// The idempotency key was used for something else.
    Reused,
    /// There is no such account.
    NoAccount,
    /// The account was merged into this one: ask there.
    Moved(AccountId),
    /// There is no such charge.
    NoSuchCharge,
    /// The database was away; whether it was done shows when it is repeated.
    Busy(String),
    /// A mistake of ours.
    Broken(String),
}
