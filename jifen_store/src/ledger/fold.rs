//! Whole blocks: with its 32nd entry the tail of an account becomes a row of `entry_blocks`, its requests rows of
//! `request_keys`, and what was spent is added to `usage_days`.

use std::collections::{BTreeMap, BTreeSet};

use jifen_domain::key::china_day;
use jifen_domain::ledger::{Entry, Movement};
use jifen_domain::{AccountId, Time};

use super::account::LockedAccount;
use super::tail::{BLOCK_ENTRIES_I64, Tail, block_bytes};
use crate::engine::{Column, RowStatement};
use crate::{Error, Result, Tx};

/// A block that has become whole.
pub(super) struct Block {
    account: AccountId,
    number: i64,
    /// The account's charges up to its end.
    charges_after: i64,
    positions: Vec<i64>,
}

/// What becomes of the tails of accounts in which something was moved.
pub(super) struct Folding {
    pub(super) tails: Vec<Tail>,
    /// Those that have become whole.
    pub(super) blocks: Vec<Block>,
}

impl Folding {
    /// `positions` are those of the entries, account by account.
    pub(super) fn of(moved: &[&LockedAccount], positions: &[i64]) -> Self {
        let mut blocks = Vec::new();
        let mut tails = Vec::with_capacity(moved.len());
        let mut next = positions.iter();
        for account in moved {
            let mut tail = account.tail.clone();
            let charges_moved = account
                .journal()
                .iter()
                .filter(|entry| is_charge(entry))
                .count();
            let mut charges =
                account.counts().charges - i64::try_from(charges_moved).unwrap_or(i64::MAX);
            for (entry, position) in account.journal().iter().zip(&mut next) {
                charges += i64::from(is_charge(entry));
                let key = entry.request.as_ref().map(|request| &request.key);
                if let Some(positions) = tail.push(*position, key) {
                    blocks.push(Block {
                        account: account.id(),
                        number: (entry.number - 1) / BLOCK_ENTRIES_I64,
                        charges_after: charges,
                        positions,
                    });
                }
            }
            tails.push(tail);
        }
        Self { tails, blocks }
    }
}

/// An entry of a whole block.
struct Folded {
    account: i64,
    position: i64,
    /// A charge, or what was given back of one.
    spent: bool,
    points: i64,
    day: i64,
    api_key_id: Option<String>,
    title: String,
    request_key: Option<Vec<u8>>,
    charge_number: Option<i64>,
}

impl Tx {
    /// Writes down what whole blocks hold: where their entries are, their requests, what was spent.
    pub(super) async fn fold(&mut self, blocks: &[Block]) -> Result<()> {
        let places = || {
            blocks.iter().flat_map(|block| {
                block
                    .positions
                    .iter()
                    .map(move |position| (block, *position))
            })
        };
        let folded = self
            .fetch_rows(
                "SELECT $1, e.position, e.kind, e.points, e.at, e.api_key_id, e.title, e.request_key, e.charge_number \
                 FROM {each} (SELECT * FROM entries WHERE position = $2 AND account_id = $1) e",
                &[
                    Column::ints(places().map(|(block, _)| block.account.0)),
                    Column::ints(places().map(|(_, position)| position)),
                ],
                |row| {
                    Ok(Folded {
                        account: row.get(0)?,
                        position: row.get(1)?,
                        spent: matches!(row.get::<String>(2)?.as_str(), "charge" | "refund"),
                        points: row.get(3)?,
                        day: china_day(Time::from_micros(row.get(4)?)),
                        api_key_id: row.get(5)?,
                        title: row.get(6)?,
                        request_key: row.get(7)?,
                        charge_number: row.get(8)?,
                    })
                },
            )
            .await?;
        if folded.len() != places().count() {
            let problem = "entries of a block are not where its account says";
            return Err(Error::Corrupt(problem.to_owned()));
        }
        let positions: Vec<Vec<u8>> = blocks
            .iter()
            .map(|block| block_bytes(&block.positions))
            .collect();
        let statements = [
            insert_blocks(blocks, &positions, &folded),
            insert_request_keys(&folded),
            add_usage(&folded),
        ];
        self.execute_all(&statements).await.map(drop)
    }
}

fn insert_blocks<'a>(
    blocks: &[Block],
    positions: &'a [Vec<u8>],
    folded: &[Folded],
) -> RowStatement<'a> {
    let charges: BTreeSet<i64> = folded
        .iter()
        .filter(|entry| entry.charge_number.is_some())
        .map(|entry| entry.position)
        .collect();
    let charges_before = |block: &Block| {
        let inside = block
            .positions
            .iter()
            .filter(|position| charges.contains(position));
        block.charges_after - i64::try_from(inside.count()).unwrap_or(i64::MAX)
    };
    RowStatement {
        sql: "INSERT INTO entry_blocks (account_id, block, charges_before, positions) SELECT $1, $2, $3, $4 {from each}",
        columns: vec![
            Column::ints(blocks.iter().map(|block| block.account.0)),
            Column::ints(blocks.iter().map(|block| block.number)),
            Column::ints(blocks.iter().map(charges_before)),
            Column::blobs(positions.iter().map(|bytes| Some(bytes.as_slice()))),
        ],
    }
}

fn insert_request_keys(folded: &[Folded]) -> RowStatement<'_> {
    let mut keys: Vec<(i64, &[u8], i64)> = folded
        .iter()
        .filter_map(|entry| Some((entry.account, entry.request_key.as_deref()?, entry.position)))
        .collect();
    // In the order of the table, whose pages are then changed once each.
    keys.sort_unstable();
    RowStatement {
        sql: "INSERT INTO request_keys (account_id, request_key, position) SELECT $1, $2, $3 {from each}",
        columns: vec![
            Column::ints(keys.iter().map(|key| key.0)),
            Column::blobs(keys.iter().map(|key| Some(key.1))),
            Column::ints(keys.iter().map(|key| key.2)),
        ],
    }
}

fn add_usage(folded: &[Folded]) -> RowStatement<'_> {
    let mut usage: BTreeMap<(i64, i64, &str, &str), (i64, i64)> = BTreeMap::new();
    for entry in folded.iter().filter(|entry| entry.spent) {
        let key = entry.api_key_id.as_deref().unwrap_or_default();
        let sum = usage
            .entry((entry.account, entry.day, key, &entry.title))
            .or_default();
        sum.0 += i64::from(entry.charge_number.is_some());
        sum.1 = sum.1.saturating_sub(entry.points);
    }
    RowStatement {
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
    }
}

fn is_charge(entry: &Entry) -> bool {
    matches!(entry.movement, Movement::Charge { .. })
}
