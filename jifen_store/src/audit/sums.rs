//! Facts added up.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use jifen_domain::AccountId;

use super::Finding;
use super::fact::Fact;

/// The sums all facts are spread over: the high bits of a fact's hash say which is its.
const SUMS: usize = 1 << SUM_BITS;
const SUM_BITS: u32 = 18;
/// Sums looked into, of those in which something differs.
pub(super) const NAMED_MAX: usize = 1_000;
/// Entries remembered for a fact.
const ENTRIES_MAX: usize = 256;

/// The facts of a pass.
pub(super) struct Facts {
    /// Seeded anew each time, so that nobody can make two differences that cancel each other.
    hasher: RandomState,
    stage: Stage,
}

enum Stage {
    /// What differs is not known yet. A sum is that of its facts' amounts, each times its hash: 64 bits times 64, which
    /// cannot be nothing for a single difference, and is for several with a chance of one in some 2^46.
    Sums(Vec<i128>),
    Naming {
        /// Which sums differ.
        wanted: Vec<bool>,
        left: BTreeMap<(i64, Fact<'static>), Left>,
    },
}

/// What is left of a fact.
#[derive(Default)]
pub(super) struct Left {
    /// More than nothing when the entries say more than the other side.
    pub(super) amount: i64,
    /// The entries that spoke of it and what they said, oldest first; those beyond [`ENTRIES_MAX`] are left out.
    pub(super) entries: Vec<(i64, i64)>,
}

impl Facts {
    pub(super) fn sums() -> Self {
        Self {
            hasher: RandomState::new(),
            stage: Stage::Sums(vec![0; SUMS]),
        }
    }

    pub(super) fn is_naming(&self) -> bool {
        matches!(self.stage, Stage::Naming { .. })
    }

    pub(super) fn add(&mut self, account: i64, fact: Fact<'_>, amount: i64, entry: Option<i64>) {
        let hash = self.hasher.hash_one((account, &fact));
        let place = usize::try_from(hash >> (u64::BITS - SUM_BITS)).unwrap_or(0);
        match &mut self.stage {
            Stage::Sums(sums) => {
                let weighted = i128::from(hash | 1).wrapping_mul(i128::from(amount));
                sums[place] = sums[place].wrapping_add(weighted);
            }
            Stage::Naming { wanted, left } => {
                if !wanted[place] {
                    return;
                }
                let known = left.entry((account, fact.into_owned())).or_default();
                known.amount = known.amount.saturating_add(amount);
                if let Some(entry) = entry
                    && known.entries.len() < ENTRIES_MAX
                {
                    known.entries.push((entry, amount));
                }
            }
        }
    }

    /// From here on collects the facts of the sums in which something differs, and returns how many of these it passes
    /// over; `None` when there are none.
    pub(super) fn look_into(&mut self) -> Option<i64> {
        let Stage::Sums(sums) = &self.stage else {
            return None;
        };
        let mut differing = 0;
        let wanted: Vec<bool> = sums
            .iter()
            .map(|sum| {
                differing += usize::from(*sum != 0);
                *sum != 0 && differing <= NAMED_MAX
            })
            .collect();
        if differing == 0 {
            return None;
        }
        self.stage = Stage::Naming {
            wanted,
            left: BTreeMap::new(),
        };
        Some(i64::try_from(differing.saturating_sub(NAMED_MAX)).unwrap_or(i64::MAX))
    }

    /// What is left over, in words.
    pub(super) fn leftovers(&mut self) -> Vec<Finding> {
        let Stage::Naming { left, .. } = &mut self.stage else {
            return Vec::new();
        };
        let mut told = None;
        let mut findings: Vec<Finding> = std::mem::take(left)
            .into_iter()
            .filter(|((account, fact), left)| {
                // Of a block, each side is told once.
                let block = fact.block().map(|block| (*account, block, left.amount > 0));
                let is_told = block.is_some() && block == told;
                told = block.or(told);
                left.amount != 0 && !is_told
            })
            .map(|((account, fact), left)| fact.finding(AccountId(account), &left))
            .collect();
        findings.sort();
        findings
    }
}
