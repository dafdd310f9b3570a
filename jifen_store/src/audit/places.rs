//! Where the entries of whole blocks are: blocks and request keys.

use super::Audit;
use super::fact::Fact;
use super::table::{Key, ROWS, Table};
use crate::engine::Row;
use crate::ledger::{
    BLOCK_BYTES, BLOCK_ENTRIES_I64, Fingerprint, Tail, block_positions, fingerprint,
};
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
    fingerprint: Vec<u8>,
    position: i64,
}

impl Table for RequestKeyRow {
    const NAME: &'static str = "request_keys";
    const SQL: &'static str = "SELECT account_id, fingerprint, position FROM request_keys \
         WHERE (account_id, fingerprint, position) > ($1, $2, $3) AND account_id <= $4 \
         ORDER BY account_id, fingerprint, position LIMIT $5";

    fn before(account: i64) -> Key {
        Key::Request(account, Vec::new(), i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            fingerprint: row.get(1)?,
            position: row.get(2)?,
        })
    }

    fn key(&self) -> Key {
        Key::Request(self.account, self.fingerprint.clone(), self.position)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let position = self.position;
        let Ok(fingerprint) = Fingerprint::try_from(self.fingerprint.as_slice()) else {
            let row = format!("the request at position {position}");
            let problem = "its fingerprint is not whole".to_owned();
            return audit.find(self.account, Self::NAME, row, problem);
        };
        let fact = Fact::Request {
            fingerprint,
            position,
        };
        audit.fact(self.account, fact, -1, None);
    }
}

impl Audit<'_> {
    /// The requests an account has adopted from those that were merged into it: entries of another account say so.
    pub(super) async fn read_adopted_requests(&mut self, tx: &mut Tx) -> Result<()> {
        for older in tx.merged_accounts(self.range).await? {
            let mut after = (Vec::new(), i64::MIN);
            loop {
                let adopted = tx.adopted_requests(older, &after).await?;
                let Some(last) = adopted.last() else {
                    break;
                };
                after = (last.fingerprint.clone(), last.position);
                for request in adopted {
                    let position = request.position;
                    let key = request.request_key.as_slice().try_into();
                    let Ok(fingerprint) = key.map(fingerprint) else {
                        continue;
                    };
                    let fact = Fact::Request {
                        fingerprint,
                        position,
                    };
                    self.fact(older, fact, 1, None);
                }
            }
        }
        Ok(())
    }
}

/// A request of an account that an entry of another account of the same person answered.
struct Adopted {
    fingerprint: Vec<u8>,
    position: i64,
    /// As the entry says.
    request_key: Vec<u8>,
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

    async fn adopted_requests(
        &mut self,
        account: i64,
        after: &(Vec<u8>, i64),
    ) -> Result<Vec<Adopted>> {
        self.fetch_all(
            "SELECT k.fingerprint, k.position, e.request_key FROM request_keys k \
             JOIN entries e ON e.position = k.position AND e.request_key IS NOT NULL AND e.account_id <> k.account_id \
             JOIN accounts a ON a.id = e.account_id JOIN users u ON u.id = a.user_id JOIN users p ON p.id = ABS(k.account_id) \
             WHERE k.account_id = $1 AND (k.fingerprint, k.position) > ($2, $3) AND (e.account_id < 0) = (k.account_id < 0) \
             AND COALESCE(u.merged_into, u.id) = COALESCE(p.merged_into, p.id) ORDER BY k.fingerprint, k.position LIMIT $4",
            &[account.into(), after.0.as_slice().into(), after.1.into(), ROWS.into()],
            |row| {
                Ok(Adopted {
                    fingerprint: row.get(0)?,
                    position: row.get(1)?,
                    request_key: row.get(2)?,
                })
            },
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
