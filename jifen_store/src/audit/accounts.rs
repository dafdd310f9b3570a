//! Accounts: what their entries make of them, and what their rows say.

use std::borrow::Cow;

use super::Audit;
use super::entry::{EntryRow, Kind};
use super::fact::{Fact, Usage};
use super::table::{Key, ROWS, Table};
use crate::engine::Row;
use crate::ledger::{BLOCK_ENTRIES_I64, Tail, TailUsage};
use crate::{Result, Tx};

/// An account as far as its entries were read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    pub(super) id: i64,
    /// As its row says: tells entries of whole blocks from those of the tail.
    pub(super) entry_count: i64,
    pub(super) entries: i64,
    pub(super) charges: i64,
    pub(super) lots: i64,
    pub(super) balance: i64,
    pub(super) held: i64,
}

impl Running {
    /// The number of the last entry in a whole block.
    pub(super) fn folded(&self) -> i64 {
        self.entry_count.div_euclid(BLOCK_ENTRIES_I64) * BLOCK_ENTRIES_I64
    }

    /// As an entry leaves it. What the entry says counts, so that one that is wrong does not make all that follow wrong.
    pub(super) fn after(self, entry: &EntryRow) -> Self {
        Self {
            entries: entry.number,
            charges: entry.charge_number.unwrap_or(self.charges),
            lots: match entry.granted_lot() {
                Some(lot) => lot,
                None if entry.kind == Kind::Grant => self.lots + 1,
                None => self.lots,
            },
            balance: entry.balance_after,
            held: entry.held_after,
            ..self
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self {
            id: self.id,
            entry_count: self.entry_count,
            ..Self::default()
        };
    }
}

impl Tx {
    /// The accounts of a range in the order of their ids, at most `accounts_max`.
    pub(super) async fn running_accounts(
        &mut self,
        range: (i64, i64),
        accounts_max: usize,
    ) -> Result<Vec<Running>> {
        let mut accounts: Vec<Running> = Vec::new();
        let mut after = range.0.saturating_sub(1);
        while accounts.len() < accounts_max {
            let room = i64::try_from(accounts_max - accounts.len()).unwrap_or(i64::MAX);
            let rows = room.min(ROWS);
            let read = self
                .fetch_all(
                    "SELECT id, entry_count FROM accounts WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3",
                    &[after.into(), range.1.into(), rows.into()],
                    |row| {
                        Ok(Running {
                            id: row.get(0)?,
                            entry_count: row.get(1)?,
                            ..Running::default()
                        })
                    },
                )
                .await?;
            let is_end = i64::try_from(read.len()).unwrap_or(i64::MAX) < rows;
            after = read.last().map_or(after, |account| account.id);
            accounts.extend(read);
            if is_end {
                break;
            }
        }
        Ok(accounts)
    }
}

/// A row of `accounts`.
pub(super) struct AccountRow {
    id: i64,
    user: i64,
    balance: i64,
    held: i64,
    entry_count: i64,
    charge_count: i64,
    lot_count: i64,
    front: [Option<i64>; 3],
    /// None when it is not as long as the number of entries demands.
    tail: Option<Tail>,
    /// None when it cannot be read.
    tail_usage: Option<TailUsage>,
    has_capped_keys: i64,
    counts_spending: i64,
    /// Of the lot that is the front.
    front_exists: i64,
    merged_into: Option<i64>,
    /// Into whom its user was merged.
    older_user: Option<i64>,
}

impl Table for AccountRow {
    const NAME: &'static str = "accounts";
    const SQL: &'static str = "SELECT a.id, a.user_id, a.balance, a.held, a.entry_count, a.charge_count, a.lot_count, a.front_lot, \
         a.front_remaining, a.front_held, a.tail, a.tail_usage, a.has_capped_keys, \
         CASE WHEN EXISTS (SELECT 1 FROM key_spending s WHERE s.account_id = a.id) THEN 1 ELSE 0 END, \
         CASE WHEN EXISTS (SELECT 1 FROM lots l WHERE l.account_id = a.id AND l.number = a.front_lot) THEN 1 ELSE 0 END, \
         a.merged_into, (SELECT m.older_id FROM merges m WHERE m.younger_id = a.user_id) FROM accounts a WHERE a.id > $1 AND a.id <= $2 ORDER BY a.id LIMIT $3";

    fn before(account: i64) -> Key {
        Key::One(account.saturating_sub(1))
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            user: row.get(1)?,
            balance: row.get(2)?,
            held: row.get(3)?,
            entry_count: row.get(4)?,
            charge_count: row.get(5)?,
            lot_count: row.get(6)?,
            front: [row.get(7)?, row.get(8)?, row.get(9)?],
            tail: Tail::read(row.get(10)?, row.get(4)?).ok(),
            tail_usage: TailUsage::read(row.get(11)?).ok(),
            has_capped_keys: row.get(12)?,
            counts_spending: row.get(13)?,
            front_exists: row.get(14)?,
            merged_into: row.get(15)?,
            older_user: row.get(16)?,
        })
    }

    fn key(&self) -> Key {
        Key::One(self.id)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        self.check_against_entries(audit);
        let whole = [
            self.front.iter().all(Option::is_some),
            self.front.iter().all(Option::is_none),
        ];
        let [_, front_remaining, front_held] = self.front.map(Option::unwrap_or_default);
        audit.require(
            self.id,
            Self::NAME,
            "the row",
            &[
                (
                    self.id == self.user || self.id.checked_neg() == Some(self.user),
                    "its number is not that of its user",
                ),
                (
                    0 <= self.held && self.held <= self.balance,
                    "what is held is not a part of the balance",
                ),
                (whole.contains(&true), "its front is not told as a whole"),
                (
                    0 <= front_held
                        && front_held <= front_remaining
                        && front_remaining <= self.balance,
                    "its front is not a part of the balance",
                ),
                (
                    whole[1] || self.front_exists == 1,
                    "its front is a lot that does not exist",
                ),
                (
                    self.tail.is_some(),
                    "its tail is not as long as the number of entries demands",
                ),
                (
                    self.tail_usage.is_some(),
                    "the usage of its tail cannot be read",
                ),
                (
                    self.has_capped_keys == self.counts_spending,
                    "whether it has keys with a cap is not what key_spending says",
                ),
            ],
        );
        self.check_merged(audit);
        self.tell_tail(audit);
    }
}

impl AccountRow {
    /// What it says of its latest entries.
    fn tell_tail(&self, audit: &mut Audit<'_>) {
        let folded = self.entry_count.div_euclid(BLOCK_ENTRIES_I64) * BLOCK_ENTRIES_I64;
        let items = self.tail.iter().flat_map(Tail::items);
        for ((position, fingerprint), entry) in items.zip(folded + 1..) {
            audit.fact(self.id, Fact::Place { entry, position }, -1, None);
            let request = Fact::TailRequest { entry, fingerprint };
            audit.fact(self.id, request, -1, None);
        }
        for line in self.tail_usage.iter().flat_map(TailUsage::lines) {
            let usage = || Usage {
                day: line.day,
                key: Cow::Borrowed(line.api_key_id),
                title: Cow::Borrowed(line.title),
            };
            let (charges, points) = (-line.charges, line.points.saturating_neg());
            audit.fact(self.id, Fact::UsageCharges(usage()), charges, None);
            audit.fact(self.id, Fact::UsagePoints(usage()), points, None);
        }
    }

    /// What was merged into another account is empty, and is of somebody who was merged into somebody else.
    fn check_merged(&self, audit: &mut Audit<'_>) {
        let older = self.older_user.map(|user| user * self.id.signum());
        let rules = [
            (
                self.merged_into == older,
                "it does not say into which account it was merged",
            ),
            (
                self.merged_into.is_none() || self.balance == 0,
                "it was merged into another and is not empty",
            ),
        ];
        audit.require(self.id, Self::NAME, "the row", &rules);
    }

    fn check_against_entries(&self, audit: &mut Audit<'_>) {
        let found = audit
            .accounts
            .binary_search_by_key(&self.id, |account| account.id);
        let Some(running) = found.ok().map(|place| audit.accounts[place]) else {
            return;
        };
        for (what, stored, made) in [
            ("a balance of", self.balance, running.balance),
            ("held points of", self.held, running.held),
            ("a number of entries of", self.entry_count, running.entries),
            ("a number of charges of", self.charge_count, running.charges),
            ("a number of lots of", self.lot_count, running.lots),
        ] {
            if stored != made {
                let problem = format!("it says {what} {stored}, its entries make it {made}");
                audit.find(self.id, Self::NAME, "the row".to_owned(), problem);
            }
        }
    }
}
