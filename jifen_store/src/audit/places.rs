//! Where the entries of whole blocks are: blocks and request keys.

use std::borrow::Cow;

use super::Audit;
use super::fact::Fact;
use super::table::{Key, ROWS, Table};
use crate::engine::Row;
use crate::ledger::{BLOCK_BYTES, BLOCK_ENTRIES_I64, REQUEST_KEY_BYTES, Tail, block_positions};
use crate::{Result, Tx};

/// A row of `entry_blocks`.
pub(super) struct BlockRow {
    account: i64,
    block: i64,
    charges_before: i64,
    positions: Vec<u8>,
}

impl Table for BlockRow {
    const NAME: &'static str = "entry_blocks";
    const SQL: &'static str = "SELECT account_id, block, charges_before, positions FROM entry_blocks \
         WHERE (account_id, block) > ($1, $2) AND account_id <= $3 ORDER BY account_id, block LIMIT $4";

    fn before(account: i64) -> Key {
        Key::Two(account, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            block: row.get(1)?,
            charges_before: row.get(2)?,
            positions: row.get(3)?,
        })
    }

    fn key(&self) -> Key {
        Key::Two(self.account, self.block)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let (account, block, charges) = (self.account, self.block, self.charges_before);
        audit.require(
            account,
            Self::NAME,
            &format!("block {block}"),
            &[
                (block >= 0, "its number is negative"),
                (self.positions.len() == BLOCK_BYTES, "it is not whole"),
            ],
        );
        let first = block.saturating_mul(BLOCK_ENTRIES_I64).saturating_add(1);
        for (position, entry) in block_positions(&self.positions).into_iter().zip(first..) {
            audit.fact(account, Fact::Place { entry, position }, -1, None);
        }
        audit.fact(account, Fact::ChargesBefore { block, charges }, -1, None);
    }
}

/// A row of `request_keys`.
pub(super) struct RequestKeyRow {
    account: i64,
    key: Vec<u8>,
    position: i64,
}

impl Table for RequestKeyRow {
    const NAME: &'static str = "request_keys";
    const SQL: &'static str = "SELECT account_id, request_key, position FROM request_keys \
         WHERE (account_id, request_key) > ($1, $2) AND account_id <= $3 ORDER BY account_id, request_key LIMIT $4";

    fn before(account: i64) -> Key {
        Key::Request(account, Vec::new())
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            key: row.get(1)?,
            position: row.get(2)?,
        })
    }

    fn key(&self) -> Key {
        Key::Request(self.account, self.key.clone())
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let whole = self.key.len() == REQUEST_KEY_BYTES;
        let row = format!("the request at position {}", self.position);
        audit.require(
            self.account,
            Self::NAME,
            &row,
            &[(whole, "its key is not whole")],
        );
        let fact = Fact::Request {
            key: Cow::Borrowed(&self.key),
            position: self.position,
        };
        audit.fact(self.account, fact, -1, None);
    }
}

impl Audit<'_> {
    /// The requests an account has adopted from those that were merged into it: entries of another account say so.
    pub(super) async fn read_adopted_requests(&mut self, tx: &mut Tx) -> Result<()> {
        for older in tx.merged_accounts(self.range).await? {
            let mut after = Vec::new();
            loop {
                let adopted = tx.adopted_requests(older, &after).await?;
                let Some((last, _)) = adopted.last() else {
                    break;
                };
                after.clone_from(last);
                for (key, position) in adopted {
                    let key = Cow::Owned(key);
                    self.fact(older, Fact::Request { key, position }, 1, None);
                }
            }
        }
        Ok(())
    }
}

impl Tx {
    /// Accounts of a range that others were merged into.
    async fn merged_accounts(&mut self, range: (i64, i64)) -> Result<Vec<i64>> {
        self.fetch_all(
            "SELECT older_id FROM merges WHERE older_id >= $1 AND older_id <= $2 \
             UNION SELECT -older_id FROM merges WHERE -older_id >= $1 AND -older_id <= $2",
            &[range.0.into(), range.1.into()],
            |row| row.get(0),
        )
        .await
    }

    /// Requests of an account that entries of other accounts of the same person answered.
    async fn adopted_requests(
        &mut self,
        account: i64,
        after: &[u8],
    ) -> Result<Vec<(Vec<u8>, i64)>> {
        self.fetch_all(
            "SELECT k.request_key, k.position FROM request_keys k \
             JOIN entries e ON e.position = k.position AND e.request_key = k.request_key AND e.account_id <> k.account_id \
             JOIN accounts a ON a.id = e.account_id JOIN users u ON u.id = a.user_id JOIN users p ON p.id = ABS(k.account_id) \
             WHERE k.account_id = $1 AND k.request_key > $2 AND (e.account_id < 0) = (k.account_id < 0) AND COALESCE(u.merged_into, u.id) = COALESCE(p.merged_into, p.id) \
             ORDER BY k.request_key LIMIT $3",
            &[account.into(), after.into(), ROWS.into()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await
    }

    /// Blocks of an account behind one, with the places of their entries.
    pub(super) async fn positions_of_blocks(
        &mut self,
        account: i64,
        after: i64,
        rows_max: i64,
    ) -> Result<Vec<(i64, Vec<i64>)>> {
        self.fetch_all(
            "SELECT block, positions FROM entry_blocks WHERE account_id = $1 AND block > $2 ORDER BY block LIMIT $3",
            &[account.into(), after.into(), rows_max.into()],
            |row| Ok((row.get(0)?, block_positions(&row.get::<Vec<u8>>(1)?))),
        )
        .await
    }

    /// Where the latest entries of an account are; none when its tail cannot be read, which is told of its row.
    pub(super) async fn positions_of_tail(&mut self, account: i64) -> Result<Vec<i64>> {
        let positions = self
            .fetch_optional(
                "SELECT entry_count, tail FROM accounts WHERE id = $1",
                &[account.into()],
                |row| {
                    let tail = Tail::read(row.get(1)?, row.get(0)?);
                    Ok(tail.map_or(Vec::new(), |tail| tail.positions().collect()))
                },
            )
            .await?;
        Ok(positions.unwrap_or_default())
    }
}
