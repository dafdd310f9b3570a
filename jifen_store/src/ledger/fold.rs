//! Whole blocks: with its 32nd entry the tail of an account becomes a row of `entry_blocks`, its requests rows of
//! `request_keys`, and what was spent is added to `usage_days`. The account's row has all that is needed for it, so no entry is
//! read back.

use std::collections::BTreeMap;

use super::account::LockedAccount;
use super::tail::{BLOCK_ENTRIES_I64, Fingerprint, Tail, block_bytes, fingerprint};
use super::tail_usage::{TailUsage, too_large};
use crate::Result;
use crate::engine::{Column, RowStatement};

/// What becomes of the tails of accounts in which something was moved.
pub(super) struct Folding {
    /// What is left of each account's.
    pub(super) tails: Vec<(Tail, TailUsage)>,
    /// Those that have become whole.
    blocks: Vec<Block>,
}

/// A block that has become whole.
struct Block {
    account: i64,
    number: i64,
    charges_before: i64,
    /// As the column has them.
    positions: Vec<u8>,
    requests: Vec<(i64, Fingerprint)>,
    usage: TailUsage,
}

impl Folding {
    /// `positions` are those of the entries, account by account.
    pub(super) fn of(moved: &[&LockedAccount], positions: &[i64]) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut tails = Vec::with_capacity(moved.len());
        let mut next = positions.iter();
        for account in moved {
            let (mut tail, mut usage) = (account.tail.clone(), account.tail_usage.clone());
            let mut charges_before = account.as_locked.counts().charges - usage.charges();
            for (entry, position) in account.journal().iter().zip(&mut next) {
                usage.add(entry)?;
                let request = entry.request.as_ref();
                tail.push(*position, request.map(|request| fingerprint(&request.key)));
                if tail.is_whole() {
                    let (tail, usage) = (std::mem::take(&mut tail), std::mem::take(&mut usage));
                    let charges_after = charges_before + usage.charges();
                    blocks.push(Block {
                        account: account.id().0,
                        number: (entry.number - 1) / BLOCK_ENTRIES_I64,
                        charges_before,
                        positions: block_bytes(tail.positions()),
                        requests: tail.requests().collect(),
                        usage,
                    });
                    charges_before = charges_after;
                }
            }
            tails.push((tail, usage));
        }
        Ok(Self { tails, blocks })
    }

    /// Where the entries of whole blocks are.
    pub(super) fn insert_blocks(&self) -> RowStatement<'_> {
        let blocks = &self.blocks;
        RowStatement {
            sql: "INSERT INTO entry_blocks (account_id, block, charges_before, positions) SELECT $1, $2, $3, $4 {from each}",
            columns: vec![
                Column::ints(blocks.iter().map(|block| block.account)),
                Column::ints(blocks.iter().map(|block| block.number)),
                Column::ints(blocks.iter().map(|block| block.charges_before)),
                Column::blobs(blocks.iter().map(|block| Some(block.positions.as_slice()))),
            ],
        }
    }

    /// Their requests.
    pub(super) fn insert_requests(&self) -> RowStatement<'_> {
        let mut requests: Vec<(i64, &Fingerprint, i64)> = self
            .blocks
            .iter()
            .flat_map(|block| {
                let requests = block.requests.iter();
                requests.map(|(position, fingerprint)| (block.account, fingerprint, *position))
            })
            .collect();
        // In the order of the table, whose pages are then changed once each.
        requests.sort_unstable();
        RowStatement {
            sql: "INSERT INTO request_keys (account_id, fingerprint, position) SELECT $1, $2, $3 {from each}",
            columns: vec![
                Column::ints(requests.iter().map(|request| request.0)),
                Column::blobs(requests.iter().map(|request| Some(request.1.as_slice()))),
                Column::ints(requests.iter().map(|request| request.2)),
            ],
        }
    }

    /// What was spent by them.
    pub(super) fn add_usage(&self) -> Result<RowStatement<'_>> {
        let mut usage: BTreeMap<(i64, i64, &str, &str), (i64, i64)> = BTreeMap::new();
        for block in &self.blocks {
            for line in block.usage.lines() {
                let key = (block.account, line.day, line.api_key_id, line.title);
                let sum = usage.entry(key).or_default();
                sum.0 += line.charges;
                sum.1 = sum.1.checked_add(line.points).ok_or_else(too_large)?;
            }
        }
        Ok(RowStatement {
            sql: "INSERT INTO usage_days (account_id, day, api_key_id, title, charges, points) SELECT $1, $2, $3, $4, $5, $6 {from each} \
                 WHERE true ON CONFLICT (account_id, day, api_key_id, title) DO UPDATE SET charges = usage_days.charges + excluded.charges, \
                 points = usage_days.points + excluded.points",
            columns: vec![
                Column::ints(usage.keys().map(|key| key.0)),
                Column::ints(usage.keys().map(|key| key.1)),
                Column::texts(usage.keys().map(|key| Some(key.2))),
                Column::texts(usage.keys().map(|key| Some(key.3))),
                Column::ints(usage.values().map(|sum| sum.0)),
                Column::ints(usage.values().map(|sum| sum.1)),
            ],
        })
    }
}
