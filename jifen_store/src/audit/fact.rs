//! What two tables say of the same thing.

use std::borrow::Cow;

use jifen_domain::AccountId;

use super::Finding;
use super::sums::Left;
use crate::ledger::{BLOCK_ENTRIES_I64, Fingerprint};

/// Something of an account that is told twice. The entries add, the table named in [`Fact::place`] takes away; where neither
/// side is the entries, the first one named adds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fact<'a> {
    /// Where an entry is: entries; `entry_blocks`, or the account's tail.
    Place { entry: i64, position: i64 },
    /// The fingerprint of a request, zeros without: entries; the account's tail.
    TailRequest {
        entry: i64,
        fingerprint: Fingerprint,
    },
    /// Charges before a block: entries; `entry_blocks`.
    ChargesBefore { block: i64, charges: i64 },
    /// A request: entries of whole blocks; `request_keys`.
    Request {
        fingerprint: Fingerprint,
        position: i64,
    },
    /// Charges of a day: entries; `usage_days` and the account's tail.
    UsageCharges(Usage<'a>),
    /// Points of a day: entries; `usage_days` and the account's tail.
    UsagePoints(Usage<'a>),
    /// That a lot was granted: entries; lots.
    Granted { lot: i64 },
    /// Points left of a lot: entries and draws; lots, or the account for its front.
    Left { lot: i64 },
    /// Points moved on several lots: entries; draws.
    Drawn { entry: i64 },
    /// A lot that was moved in a merge: the entry and the lot of the younger account; the lot of the older.
    Moved {
        lot: i64,
        points: i64,
        granted_at: i64,
    },
    /// Points of a charge that were given back: entries, or lots of the older account; `charge_refunds`.
    Refunded { entry: i64 },
    /// A hold as it was made: entries; holds.
    Held(Box<HeldFor<'a>>),
    /// A hold as it was made, in an account that was merged: holds of the younger account; holds of the older.
    MovedHold(Box<HeldFor<'a>>),
    /// When a hold ends by itself: entries; holds.
    HeldUntil { hold: i64, expires_at: i64 },
    /// Points of a hold: entries; holds.
    HeldPoints { hold: i64 },
    /// How a hold ended: entries; holds.
    Ended(Box<Ended<'a>>),
    /// Points a hold's end set free: entries; holds.
    Freed { hold: i64 },
    /// Points of a hold by lot: holds; `hold_lots`.
    Pinned { hold: i64 },
    /// Points held of a lot: `hold_lots` of open holds; lots, or the account for its front.
    HeldOfLot { lot: i64 },
}

/// A line of the usage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Usage<'a> {
    pub(super) day: i64,
    pub(super) key: Cow<'a, str>,
    pub(super) title: Cow<'a, str>,
}

/// What a hold was made for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HeldFor<'a> {
    pub(super) hold: i64,
    pub(super) at: Option<i64>,
    pub(super) tariff: Option<i64>,
    pub(super) call: Call<'a>,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ended<'a> {
    pub(super) hold: i64,
    pub(super) entry: i64,
    /// When it was captured: the call.
    pub(super) captured: Option<Call<'a>>,
}

/// What was called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Call<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) title: Cow<'a, str>,
    pub(super) description: Option<Cow<'a, str>>,
}

impl Fact<'_> {
    /// In words: which row of the other side it is about, and which entries may be the wrong ones.
    pub(super) fn finding(&self, account: AccountId, left: &Left) -> Finding {
        let (table, row, problem) = self.place(left);
        let suspects = left.suspects();
        let problem = if suspects.is_empty() {
            problem
        } else {
            format!("{problem} (see {suspects})")
        };
        Finding {
            account,
            table,
            row,
            problem,
        }
    }

    /// Table, row, problem.
    fn place(&self, left: &Left) -> (&'static str, String, String) {
        let amount = left.amount;
        let is_missing = amount > 0;
        match self {
            Self::Place { entry, position } => {
                let problem = if is_missing {
                    format!(
                        "does not say that entry {entry} is at position {position}, or the tail of accounts, if the block is not whole"
                    )
                } else {
                    format!(
                        "it, or the tail of accounts, says that entry {entry} is at position {position}, which it is not"
                    )
                };
                let block = self.block().unwrap_or_default();
                ("entry_blocks", format!("block {block}"), problem)
            }
            Self::TailRequest { entry, .. } => (
                "accounts",
                format!("tail of entry {entry}"),
                "the fingerprint of its request is not that of the entry's".to_owned(),
            ),
            Self::ChargesBefore { block, charges } => (
                "entry_blocks",
                format!("block {block}"),
                if is_missing {
                    format!("there are {charges} charges before it")
                } else {
                    format!("it says that there are {charges} charges before it")
                },
            ),
            Self::Request {
                fingerprint,
                position,
            } => (
                "request_keys",
                format!(
                    "request {} at position {position}",
                    hexadecimal(fingerprint)
                ),
                if is_missing {
                    "the request of this entry is not among them".to_owned()
                } else {
                    "no entry of a whole block has this request there".to_owned()
                },
            ),
            Self::UsageCharges(usage) => {
                ("usage_days", usage.row(), usage_problem("charges", amount))
            }
            Self::UsagePoints(usage) => {
                ("usage_days", usage.row(), usage_problem("points", amount))
            }
            _ => self.place_of_points(amount),
        }
    }

    fn place_of_points(&self, amount: i64) -> (&'static str, String, String) {
        let is_missing = amount > 0;
        let points = format!("{} points {}", amount.abs(), too_many_or_few(amount));
        match self {
            Self::Granted { lot } => (
                "lots",
                format!("lot {lot}"),
                if is_missing {
                    "it was granted and is not there".to_owned()
                } else {
                    "no entry granted it".to_owned()
                },
            ),
            Self::Left { lot } => (
                "lots",
                format!("lot {lot}"),
                format!(
                    "its row, or that of the account whose front it is, has {points} of what its entries leave"
                ),
            ),
            Self::Drawn { entry } => (
                "draws",
                format!("entry {entry}"),
                format!("they add up to {points}"),
            ),
            Self::Moved { lot, points, .. } => (
                "lots",
                format!("lot {lot}"),
                if is_missing {
                    format!(
                        "{points} points of it left in a merge and did not come in as they were"
                    )
                } else {
                    format!(
                        "{points} points of it came in elsewhere by a merge and did not leave as they were"
                    )
                },
            ),
            Self::Refunded { entry } => (
                "charge_refunds",
                format!("entry {entry}"),
                format!("it has {points} of what was refunded"),
            ),
            Self::HeldOfLot { lot } => (
                "lots",
                format!("lot {lot}"),
                format!(
                    "its row, or that of the account whose front it is, has {points} of what is held of it"
                ),
            ),
            _ => self.place_of_hold(amount),
        }
    }

    fn place_of_hold(&self, amount: i64) -> (&'static str, String, String) {
        let is_missing = amount > 0;
        let points = format!("{} points {}", amount.abs(), too_many_or_few(amount));
        match self {
            Self::Held(held) => ("holds", format!("hold {}", held.hold), {
                let side = if is_missing { "entry" } else { "row" };
                format!("its {side} alone says that it was made {}", held.words())
            }),
            Self::MovedHold(held) => ("holds", format!("hold {}", held.hold), {
                let (said, other) = if is_missing {
                    ("left", "come in")
                } else {
                    ("came in elsewhere", "leave")
                };
                let made = held.words();
                format!("it {said} in a merge, made {made}, and did not {other} so")
            }),
            Self::HeldUntil { hold, expires_at } => ("holds", format!("hold {hold}"), {
                let side = if is_missing { "entry" } else { "row" };
                format!("its {side} alone says that it ends at {expires_at}")
            }),
            Self::Ended(ended) => ("holds", format!("hold {}", ended.hold), {
                let (side, entry) = (if is_missing { "entry" } else { "row" }, ended.entry);
                let captured = ended.captured.as_ref();
                let call = captured.map_or(String::new(), |call| {
                    format!(" and captured {}", call.words())
                });
                format!("its {side} alone says that entry {entry} ended it{call}")
            }),
            Self::HeldPoints { hold } => (
                "holds",
                format!("hold {hold}"),
                format!("its row has {points} of what its entries have set aside"),
            ),
            Self::Freed { hold } => (
                "holds",
                format!("hold {hold}"),
                format!("its row has {points} of what its end set free"),
            ),
            Self::Pinned { hold } => (
                "hold_lots",
                format!("hold {hold}"),
                format!("they add up to {points}"),
            ),
            _ => ("entries", String::new(), points),
        }
    }

    /// The block whose entries' places this is about.
    pub(super) fn block(&self) -> Option<i64> {
        match self {
            Self::Place { entry, .. } => Some((entry - 1).div_euclid(BLOCK_ENTRIES_I64)),
            _ => None,
        }
    }

    pub(super) fn into_owned(self) -> Fact<'static> {
        match self {
            Self::Request {
                fingerprint,
                position,
            } => Fact::Request {
                fingerprint,
                position,
            },
            Self::UsageCharges(usage) => Fact::UsageCharges(usage.into_owned()),
            Self::UsagePoints(usage) => Fact::UsagePoints(usage.into_owned()),
            Self::Held(held) => Fact::Held(Box::new(held.into_owned())),
            Self::MovedHold(held) => Fact::MovedHold(Box::new(held.into_owned())),
            Self::HeldUntil { hold, expires_at } => Fact::HeldUntil { hold, expires_at },
            Self::Ended(ended) => Fact::Ended(Box::new(Ended {
                hold: ended.hold,
                entry: ended.entry,
                captured: ended.captured.map(Call::into_owned),
            })),
            Self::Place { entry, position } => Fact::Place { entry, position },
            Self::TailRequest { entry, fingerprint } => Fact::TailRequest { entry, fingerprint },
            Self::ChargesBefore { block, charges } => Fact::ChargesBefore { block, charges },
            Self::Granted { lot } => Fact::Granted { lot },
            Self::Left { lot } => Fact::Left { lot },
            Self::Drawn { entry } => Fact::Drawn { entry },
            Self::Moved {
                lot,
                points,
                granted_at,
            } => Fact::Moved {
                lot,
                points,
                granted_at,
            },
            Self::Refunded { entry } => Fact::Refunded { entry },
            Self::HeldPoints { hold } => Fact::HeldPoints { hold },
            Self::Freed { hold } => Fact::Freed { hold },
            Self::Pinned { hold } => Fact::Pinned { hold },
            Self::HeldOfLot { lot } => Fact::HeldOfLot { lot },
        }
    }
}

impl Usage<'_> {
    fn row(&self) -> String {
        let Self { day, key, title } = self;
        format!("day {day}, key {key}, title {title}")
    }

    fn into_owned(self) -> Usage<'static> {
        Usage {
            day: self.day,
            key: Cow::Owned(self.key.into_owned()),
            title: Cow::Owned(self.title.into_owned()),
        }
    }
}

impl HeldFor<'_> {
    fn words(&self) -> String {
        let (at, tariff) = (self.at, self.tariff);
        format!("at {at:?} for {}, tariff {tariff:?}", self.call.words())
    }

    fn into_owned(self) -> HeldFor<'static> {
        HeldFor {
            hold: self.hold,
            at: self.at,
            tariff: self.tariff,
            call: self.call.into_owned(),
        }
    }
}

impl Call<'_> {
    fn words(&self) -> String {
        let Self {
            key,
            title,
            description,
        } = self;
        let description = description.as_deref().unwrap_or_default();
        format!("key {key}, {title} {description}")
    }

    fn into_owned(self) -> Call<'static> {
        Call {
            key: Cow::Owned(self.key.into_owned()),
            title: Cow::Owned(self.title.into_owned()),
            description: self.description.map(|text| Cow::Owned(text.into_owned())),
        }
    }
}

impl Left {
    /// The entries that say as much as is left over: if one row too many was written, it is among them. Without such, all that
    /// spoke of it. None when they are too many to help.
    fn suspects(&self) -> String {
        const NAMED_MAX: usize = 8;
        let names = |of: &dyn Fn(i64) -> bool| -> Vec<String> {
            let entries = self.entries.iter().filter(|(_, said)| of(*said));
            entries.map(|(entry, _)| format!("entry {entry}")).collect()
        };
        let mut names = match names(&|said| said == self.amount) {
            exact if exact.is_empty() => names(&|_| true),
            exact => exact,
        };
        names.dedup();
        if names.len() > NAMED_MAX {
            return String::new();
        }
        names.join(", ")
    }
}

fn usage_problem(what: &str, amount: i64) -> String {
    let (count, wrong) = (amount.abs(), too_many_or_few(amount));
    format!("{count} {what} {wrong}, with those that the tail of accounts counts")
}

fn too_many_or_few(missing: i64) -> &'static str {
    if missing > 0 { "too few" } else { "too many" }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
