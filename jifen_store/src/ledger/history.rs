//! Finding entries by their numbers, and the histories people read.

use jifen_domain::{AccountId, Points, Time, UserId};

use super::points;
use super::tail::{BLOCK_ENTRIES_I64, Tail, block_positions};
use super::tail_usage::TailUsage;
use crate::engine::{Column, Row};
use crate::{Result, Tx};

/// One line of the consumption history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// The account that was charged.
    pub account: AccountId,
    /// The entry's number in it.
    pub entry: i64,
    /// What it was for.
    pub title: String,
    /// More about it.
    pub description: Option<String>,
    /// Points spent, not negative.
    pub points: i64,
    /// When.
    pub at: Time,
    /// The key that was used.
    pub api_key_id: String,
    /// Its name, also when it was deleted.
    pub api_key_name: Option<String>,
}

/// How far an account has come, without a lock.
pub(super) struct Extent {
    entries: i64,
    charges: i64,
    tail: Tail,
    pub(super) tail_usage: TailUsage,
}

impl Extent {
    /// Whole blocks of entries.
    pub(super) fn blocks(&self) -> i64 {
        self.entries / BLOCK_ENTRIES_I64
    }
}

struct StoredBlock {
    number: i64,
    charges_before: i64,
    positions: Vec<i64>,
}

impl Tx {
    /// A user's charges, newest first, and how many there are in all. Charges are found by their numbers, so every page
    /// costs the same; only a user who was merged from several records pays for sorting.
    pub async fn consumption(
        &mut self,
        user: UserId,
        skip: i64,
        rows_max: i64,
    ) -> Result<(i64, Vec<Consumption>)> {
        let merged = self.merged_into(user).await?;
        if merged.is_empty() {
            return self.charges(user.into(), skip, rows_max).await;
        }
        let mut total = 0;
        let mut list = Vec::new();
        for record in merged.into_iter().chain([user]) {
            let (count, charges) = self
                .charges(record.into(), 0, skip.saturating_add(rows_max))
                .await?;
            total += count;
            list.extend(charges);
        }
        list.sort_by_key(|line| std::cmp::Reverse((line.at, line.account, line.entry)));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let rows_max = usize::try_from(rows_max).unwrap_or(0);
        Ok((total, list.into_iter().skip(skip).take(rows_max).collect()))
    }

    /// An account's charges, newest first, and how many there are in all.
    async fn charges(
        &mut self,
        account: AccountId,
        skip: i64,
        rows_max: i64,
    ) -> Result<(i64, Vec<Consumption>)> {
        let Some(extent) = self.extent(account).await? else {
            return Ok((0, Vec::new()));
        };
        let newest = extent.charges.saturating_sub(skip.max(0));
        let oldest = newest.saturating_sub(rows_max).max(0) + 1;
        if newest < oldest {
            return Ok((extent.charges, Vec::new()));
        }
        let positions = self
            .positions_of_charges(account, &extent, oldest, newest)
            .await?;
        let mut list = self
            .fetch_rows(
                "SELECT e.account_id, e.number, e.title, e.description, -e.points, e.at, e.api_key_id, e.name, e.charge_number \
                 FROM {each} (SELECT x.*, k.name FROM entries x LEFT JOIN api_keys k ON k.id = x.api_key_id \
                 WHERE x.position = $1 AND x.account_id = $2 AND x.charge_number >= $3 AND x.charge_number <= $4) e",
                &[
                    Column::ints(positions.iter().copied()),
                    Column::ints(positions.iter().map(|_| account.0)),
                    Column::ints(positions.iter().map(|_| oldest)),
                    Column::ints(positions.iter().map(|_| newest)),
                ],
                read_consumption,
            )
            .await?;
        list.sort_by_key(|line| std::cmp::Reverse(line.entry));
        Ok((extent.charges, list))
    }

    pub(super) async fn extent(&mut self, account: AccountId) -> Result<Option<Extent>> {
        self.fetch_optional(
            "SELECT entry_count, charge_count, tail, tail_usage FROM accounts WHERE id = $1",
            &[account.0.into()],
            |row| {
                let entries = row.get(0)?;
                Ok(Extent {
                    entries,
                    charges: row.get(1)?,
                    tail: Tail::read(row.get(2)?, entries)?,
                    tail_usage: TailUsage::read(row.get(3)?)?,
                })
            },
        )
        .await
    }

    /// Positions among which are those of the charges `oldest` to `newest`: the charges of a block lie as far from its
    /// beginning as their numbers say, and at most as many places further as the block has other entries.
    async fn positions_of_charges(
        &mut self,
        account: AccountId,
        extent: &Extent,
        oldest: i64,
        newest: i64,
    ) -> Result<Vec<i64>> {
        let blocks = self.blocks_of_charges(account, oldest, newest).await?;
        let last = extent.blocks() - 1;
        let mut positions = Vec::new();
        if blocks.first().is_none_or(|block| block.number == last) {
            // The tail's charges are the account's last, so those after `newest` are at its very end.
            let after = usize::try_from(extent.charges - newest).unwrap_or(usize::MAX);
            positions.extend(extent.tail.positions().rev().skip(after));
        }
        let mut charges_after = None;
        for block in &blocks {
            let others = charges_after.map_or(BLOCK_ENTRIES_I64, |after: i64| {
                BLOCK_ENTRIES_I64 - (after - block.charges_before)
            });
            let first = (oldest - block.charges_before - 1).max(0);
            let last = newest - block.charges_before - 1 + others;
            let inside = block.positions.iter().zip(0_i64..);
            positions.extend(
                inside
                    .filter(|(_, place)| (first..=last).contains(place))
                    .map(|(position, _)| *position),
            );
            charges_after = Some(block.charges_before);
        }
        Ok(positions)
    }

    /// The blocks in which those charges are, and at most one more; the last first.
    async fn blocks_of_charges(
        &mut self,
        account: AccountId,
        oldest: i64,
        newest: i64,
    ) -> Result<Vec<StoredBlock>> {
        let mut blocks: Vec<StoredBlock> = Vec::new();
        let mut below = (newest, i64::MAX);
        loop {
            let found = self
                .fetch_all(
                    "SELECT block, charges_before, positions FROM entry_blocks WHERE account_id = $1 AND charges_before < $2 \
                     AND block < $3 ORDER BY charges_before DESC, block DESC LIMIT $4",
                    &[
                        account.0.into(),
                        below.0.into(),
                        below.1.into(),
                        ((newest - oldest) / BLOCK_ENTRIES_I64 + 2).into(),
                    ],
                    |row| {
                        Ok(StoredBlock {
                            number: row.get(0)?,
                            charges_before: row.get(1)?,
                            positions: block_positions(&row.get::<Vec<u8>>(2)?),
                        })
                    },
                )
                .await?;
            let Some(last) = found.last() else {
                return Ok(blocks);
            };
            below = (newest, last.number);
            for block in found {
                let is_enough = block.charges_before < oldest;
                blocks.push(block);
                if is_enough {
                    return Ok(blocks);
                }
            }
        }
    }

    /// What could be spent after an entry and the expiries it caused: they follow it and were written at the same moment.
    pub async fn settled_after(
        &mut self,
        account: AccountId,
        entry: i64,
    ) -> Result<Option<Points>> {
        let mut settled: Option<(i64, Points)> = None;
        for number in entry.. {
            let Some(position) = self.position(account, number).await? else {
                break;
            };
            let read = self
                .fetch_optional(
                    "SELECT kind, at, balance_after - held_after FROM entries WHERE position = $1 AND account_id = $2",
                    &[position.into(), account.0.into()],
                    |row| Ok((row.get::<String>(0)?, row.get::<i64>(1)?, points(row.get(2)?)?)),
                )
                .await?;
            let Some((kind, at, free)) = read else { break };
            if settled.is_some_and(|(first_at, _)| kind != "expiry" || at != first_at) {
                break;
            }
            settled = Some((at, free));
        }
        Ok(settled.map(|(_, free)| free))
    }

    /// Where an entry is.
    pub(super) async fn position(&mut self, account: AccountId, entry: i64) -> Result<Option<i64>> {
        let Some(extent) = self.extent(account).await? else {
            return Ok(None);
        };
        if entry < 1 || entry > extent.entries {
            return Ok(None);
        }
        let block = (entry - 1) / BLOCK_ENTRIES_I64;
        let place = usize::try_from((entry - 1) % BLOCK_ENTRIES_I64).unwrap_or(usize::MAX);
        if block == extent.blocks() {
            return Ok(extent.tail.positions().nth(place));
        }
        self.fetch_optional(
            "SELECT positions FROM entry_blocks WHERE account_id = $1 AND block = $2",
            &[account.0.into(), block.into()],
            |row| Ok(block_positions(&row.get::<Vec<u8>>(0)?).get(place).copied()),
        )
        .await
        .map(Option::flatten)
    }
}

fn read_consumption(row: &Row<'_>) -> Result<Consumption> {
    Ok(Consumption {
        account: AccountId(row.get(0)?),
        entry: row.get(1)?,
        title: row.get(2)?,
        description: row.get(3)?,
        points: row.get(4)?,
        at: Time::from_micros(row.get(5)?),
        api_key_id: row.get(6)?,
        api_key_name: row.get(7)?,
    })
}
