//! The ledger of one account: lots of points with their own expiry, and an append-only list of numbered entries.
//!
//! An [`Account`] is loaded with its open lots, asked for movements, and written back with its [`Account::journal`].
//! Invariant, held by construction and checked after every load:
//! `balance = Σ entries = Σ remainders of the open lots`, and a balance is never below zero.

use crate::{AccountId, Points, Time};

/// Characters of a charge's title.
pub const TITLE_CHARS_MAX: usize = 128;
/// Characters of a charge's description.
pub const DESCRIPTION_CHARS_MAX: usize = 512;

/// An account with the lots that still hold points, and what was moved since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    id: AccountId,
    balance: Points,
    counts: Counts,
    open_lots: Vec<Lot>,
    journal: Vec<Entry>,
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

/// Points that came together and expire together.
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
    /// From then on they are gone; `None` for ever.
    pub expires_at: Option<Time>,
    /// When they were granted.
    pub granted_at: Time,
}

impl Lot {
    /// Whether its points are gone at `now`.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Charges draw on what expires soonest, then on what is oldest.
    fn draw_order(&self) -> (Time, Time, i64) {
        (
            self.expires_at.unwrap_or(Time::from_micros(i64::MAX)),
            self.granted_at,
            self.number,
        )
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
}

/// One movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1, 2, 3 … within the account.
    pub number: i64,
    /// What moved, and why.
    pub movement: Movement,
    /// The account's balance after it.
    pub balance_after: Points,
    /// When.
    pub at: Time,
}

impl Entry {
    /// What the entry adds to the balance; negative when it takes away.
    pub fn signed_points(&self) -> i64 {
        match &self.movement {
            Movement::Grant { lot, .. } => lot.points.get(),
            Movement::Charge { .. } | Movement::Expiry { .. } | Movement::MergeOut { .. } => {
                // Each draw is at most what a lot held, and lots add up to a balance that fits.
                -self
                    .draws()
                    .iter()
                    .map(|draw| draw.points.get())
                    .sum::<i64>()
            }
        }
    }

    /// The lots the entry took from.
    pub fn draws(&self) -> &[Draw] {
        match &self.movement {
            Movement::Grant { .. } => &[],
            Movement::Charge { draws, .. } | Movement::MergeOut { draws } => draws,
            Movement::Expiry { draw } => std::slice::from_ref(draw),
        }
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
    },
    /// A lot's time was over.
    Expiry {
        /// All that was left of it.
        draw: Draw,
    },
    /// Everything left goes to the account of the same person that this one is merged into.
    MergeOut {
        /// All that was left.
        draws: Vec<Draw>,
    },
}

/// Points taken from one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The lot's number in the same account.
    pub lot: i64,
    /// How many.
    pub points: Points,
}

/// What a charge is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeDetail {
    /// The API key that was used.
    pub api_key_id: String,
    /// Shown in the consumption history.
    pub title: String,
    /// Shown below it.
    pub description: Option<String>,
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

/// Why a movement is refused. Nothing has moved then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Fewer unexpired points than asked for.
    #[error("the balance of {available} is too low")]
    Insufficient {
        /// What could be spent.
        available: Points,
    },
    /// Not 1 to [`Points::MOVEMENT_MAX`] points, or the balance would not fit.
    #[error("the number of points is out of range")]
    OutOfRange,
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

impl Account {
    /// An account without history.
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            balance: Points::ZERO,
            counts: Counts::default(),
            open_lots: Vec::new(),
            journal: Vec::new(),
        }
    }

    /// From what is stored: the open lots are all those with something left.
    ///
    /// # Errors
    /// When they do not add up to the balance.
    pub fn load(
        id: AccountId,
        balance: Points,
        counts: Counts,
        mut open_lots: Vec<Lot>,
    ) -> Result<Self, Broken> {
        let total = open_lots
            .iter()
            .try_fold(Points::ZERO, |sum, lot| sum.checked_add(lot.remaining));
        if total != Some(balance) {
            let problem = format!("its open lots hold {total:?}, its balance is {balance}");
            return Err(Broken {
                account: id,
                problem,
            });
        }
        open_lots.sort_by_key(Lot::draw_order);
        Ok(Self {
            id,
            balance,
            counts,
            open_lots,
            journal: Vec::new(),
        })
    }

    /// Whose it is.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// All points in open lots, those that expired but were not yet swept included.
    pub fn balance(&self) -> Points {
        self.balance
    }

    /// The last numbers given out.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was moved since the account was loaded, in order.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// The lots that still hold points, in the order they are drawn on.
    pub fn open_lots(&self) -> &[Lot] {
        &self.open_lots
    }

    /// What can be spent at `now`: expired points never count, swept or not.
    pub fn available(&self, now: Time) -> Points {
        let unexpired = self.open_lots.iter().filter(|lot| !lot.is_expired(now));
        // A part of the balance, which fits.
        unexpired.fold(Points::ZERO, |sum, lot| {
            sum.checked_add(lot.remaining).unwrap_or(self.balance)
        })
    }

    /// Takes expired lots out of the balance, an entry each.
    pub fn expire(&mut self, now: Time) {
        let (expired, open) = std::mem::take(&mut self.open_lots)
            .into_iter()
            .partition::<Vec<_>, _>(|lot| lot.is_expired(now));
        self.open_lots = open;
        for lot in expired {
            let draw = Draw {
                lot: lot.number,
                points: lot.remaining,
            };
            self.take_away(lot.remaining, Movement::Expiry { draw }, now);
        }
    }

    /// Adds a lot.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`].
    pub fn grant(&mut self, grant: Grant, now: Time) -> Result<(), Refused> {
        let balance = self
            .balance
            .checked_add(grant.points)
            .ok_or(Refused::OutOfRange)?;
        if !grant.points.is_movable() {
            return Err(Refused::OutOfRange);
        }
        self.add_lot(grant, balance, now, now);
        Ok(())
    }

    /// Spends points, those that expire soonest first. Expired lots are swept on the way, also when the charge is refused.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`] or [`Refused::Insufficient`].
    pub fn charge(
        &mut self,
        points: Points,
        detail: ChargeDetail,
        now: Time,
    ) -> Result<&Entry, Refused> {
        if !points.is_movable() {
            return Err(Refused::OutOfRange);
        }
        self.expire(now);
        if points > self.balance {
            return Err(Refused::Insufficient {
                available: self.balance,
            });
        }
        let draws = self.draw(points);
        self.counts.charges += 1;
        let number = self.counts.charges;
        Ok(self.take_away(
            points,
            Movement::Charge {
                number,
                detail,
                draws,
            },
            now,
        ))
    }

    /// Moves everything left into the account of the same person: lots keep their expiry and age.
    ///
    /// # Errors
    /// [`Refused::OutOfRange`] when the two together would not fit.
    pub fn merge_into(&mut self, older: &mut Account, now: Time) -> Result<(), Refused> {
        self.expire(now);
        older.expire(now);
        if older.balance.checked_add(self.balance).is_none() {
            return Err(Refused::OutOfRange);
        }
        let moved = std::mem::take(&mut self.open_lots);
        if moved.is_empty() {
            return Ok(());
        }
        let draws = moved
            .iter()
            .map(|lot| Draw {
                lot: lot.number,
                points: lot.remaining,
            })
            .collect();
        self.take_away(self.balance, Movement::MergeOut { draws }, now);
        for lot in moved {
            let balance = older
                .balance
                .checked_add(lot.remaining)
                .ok_or(Refused::OutOfRange)?;
            let grant = Grant {
                source: LotSource::Merge {
                    account: self.id,
                    lot: lot.number,
                },
                points: lot.remaining,
                expires_at: lot.expires_at,
                title: String::new(),
            };
            older.add_lot(grant, balance, lot.granted_at, now);
        }
        Ok(())
    }

    fn add_lot(&mut self, grant: Grant, balance: Points, granted_at: Time, now: Time) {
        self.counts.lots += 1;
        self.balance = balance;
        let lot = Lot {
            number: self.counts.lots,
            source: grant.source,
            points: grant.points,
            remaining: grant.points,
            expires_at: grant.expires_at,
            granted_at,
        };
        let place = self
            .open_lots
            .partition_point(|other| other.draw_order() <= lot.draw_order());
        self.open_lots.insert(place, lot.clone());
        self.append(
            Movement::Grant {
                lot,
                title: grant.title,
            },
            now,
        );
    }

    /// Takes `points`, at most the balance, from the open lots in their order.
    fn draw(&mut self, points: Points) -> Vec<Draw> {
        let mut missing = points;
        let mut draws = Vec::new();
        for lot in &mut self.open_lots {
            if missing == Points::ZERO {
                break;
            }
            let taken = missing.min(lot.remaining);
            lot.remaining = lot.remaining.checked_sub(taken).unwrap_or_default();
            missing = missing.checked_sub(taken).unwrap_or_default();
            draws.push(Draw {
                lot: lot.number,
                points: taken,
            });
        }
        self.open_lots.retain(|lot| lot.remaining > Points::ZERO);
        draws
    }

    fn take_away(&mut self, points: Points, movement: Movement, now: Time) -> &Entry {
        debug_assert!(points <= self.balance, "callers take at most what is there");
        self.balance = self.balance.checked_sub(points).unwrap_or_default();
        self.append(movement, now)
    }

    fn append(&mut self, movement: Movement, at: Time) -> &Entry {
        self.counts.entries += 1;
        let place = self.journal.len();
        self.journal.push(Entry {
            number: self.counts.entries,
            movement,
            balance_after: self.balance,
            at,
        });
        &self.journal[place]
    }
}
