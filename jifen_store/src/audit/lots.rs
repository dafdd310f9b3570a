//! Lots, what was drawn on them, and what of charges was given back.

use std::collections::HashMap;

use super::fact::Fact;
use super::table::{Key, ROWS_WITH_OTHERS, Table};
use super::{Audit, AuditScope};
use crate::engine::{Column, Row};
use crate::ledger::{BLOCK_ENTRIES_I64, Tail, block_positions};
use crate::{Result, Tx};

/// A row of `lots`.
pub(super) struct LotRow {
    account: i64,
    number: i64,
    source: String,
    order: Option<String>,
    gift_key: Option<String>,
    origin_account: Option<i64>,
    origin_lot: Option<i64>,
    origin_charge: Option<i64>,
    points: i64,
    remaining: i64,
    held: i64,
    expires_at: Option<i64>,
    granted_at: i64,
    /// Of its account: lot, what is left, what is held, expiry.
    front: [Option<i64>; 4],
    /// Of its order.
    order_state: Option<String>,
    /// The person it belongs to, and the one it came from.
    owner: Option<i64>,
    origin_owner: Option<i64>,
}

impl Table for LotRow {
    const NAME: &'static str = "lots";
    const ROWS: i64 = ROWS_WITH_OTHERS;
    const SQL: &'static str = "SELECT l.account_id, l.number, l.source, l.order_id, l.gift_key, l.origin_account, l.origin_lot, \
         l.origin_charge, l.points, l.remaining, l.held, l.expires_at, l.granted_at, a.front_lot, a.front_remaining, a.front_held, \
         a.front_expires_at, o.state, COALESCE(u.merged_into, u.id), COALESCE(w.merged_into, w.id) FROM (SELECT * FROM lots \
         WHERE (account_id, number) > ($1, $2) AND account_id <= $3 ORDER BY account_id, number LIMIT $4) l \
         LEFT JOIN accounts a ON a.id = l.account_id LEFT JOIN orders o ON o.id = l.order_id LEFT JOIN users u ON u.id = a.user_id \
         LEFT JOIN users w ON w.id = ABS(l.origin_account) ORDER BY l.account_id, l.number";

    fn before(account: i64) -> Key {
        Key::Two(account, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            number: row.get(1)?,
            source: row.get(2)?,
            order: row.get(3)?,
            gift_key: row.get(4)?,
            origin_account: row.get(5)?,
            origin_lot: row.get(6)?,
            origin_charge: row.get(7)?,
            points: row.get(8)?,
            remaining: row.get(9)?,
            held: row.get(10)?,
            expires_at: row.get(11)?,
            granted_at: row.get(12)?,
            front: [row.get(13)?, row.get(14)?, row.get(15)?, row.get(16)?],
            order_state: row.get(17)?,
            owner: row.get(18)?,
            origin_owner: row.get(19)?,
        })
    }

    fn key(&self) -> Key {
        Key::Two(self.account, self.number)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        self.check_row(audit);
        self.check_front(audit);
        let (lot, account) = (self.number, self.account);
        let (left, held) = self.true_remainder();
        audit.fact(account, Fact::Granted { lot }, -1, None);
        audit.fact(account, Fact::Left { lot }, left.saturating_neg(), None);
        audit.fact(
            account,
            Fact::HeldOfLot { lot },
            held.saturating_neg(),
            None,
        );
        let Some(origin) = self.origin_account else {
            return;
        };
        if let Some(lot) = self.origin_lot {
            let (points, granted_at) = (self.points, self.granted_at);
            let fact = Fact::Moved {
                lot,
                points,
                granted_at,
            };
            audit.fact(origin, fact, -1, None);
        }
        if let Some(entry) = self.origin_charge {
            audit.fact(origin, Fact::Refunded { entry }, self.points, None);
        }
    }
}

impl LotRow {
    fn is_front(&self) -> bool {
        self.front[0] == Some(self.number)
    }

    /// What is left and what of it is held.
    fn true_remainder(&self) -> (i64, i64) {
        if self.is_front() {
            let [_, left, held, _] = self.front.map(Option::unwrap_or_default);
            (left, held)
        } else {
            (self.remaining, self.held)
        }
    }

    fn check_row(&self, audit: &mut Audit<'_>) {
        let is = |source: &str| self.source == source;
        let is_moved = is("merge") || is("refund");
        let rules = [
            (
                ["purchase", "gift", "merge", "refund"].contains(&self.source.as_str()),
                "there is no such source of points",
            ),
            (
                is("purchase") == self.order.is_some(),
                "what was bought, and nothing else, names an order",
            ),
            (
                is("gift") == self.gift_key.is_some(),
                "a gift, and nothing else, has a key",
            ),
            (
                is_moved == self.origin_account.is_some(),
                "what came from an account, and nothing else, names it",
            ),
            (
                is("merge") == self.origin_lot.is_some(),
                "what came by a merge, and nothing else, names a lot",
            ),
            (
                is("refund") == self.origin_charge.is_some(),
                "what was refunded, and nothing else, names a charge",
            ),
            (
                !is_moved || (self.owner.is_some() && self.owner == self.origin_owner),
                "it came from an account of somebody else",
            ),
            (
                self.order.is_none() || self.order_state.as_deref() == Some("delivered"),
                "its order is not delivered",
            ),
            (
                self.number > 0 && self.points > 0,
                "its number or its points are not positive",
            ),
            (
                0 <= self.held && self.held <= self.remaining && self.remaining <= self.points,
                "what is left or held is not a part of it",
            ),
            (
                !audit.is_in_future(self.granted_at),
                "it was granted in the future",
            ),
        ];
        audit.require(self.account, Self::NAME, &self.row(), &rules);
    }

    /// What the account says of its front fits the row, which may be out of date, and no other lot comes before it.
    fn check_front(&self, audit: &mut Audit<'_>) {
        let [front, left, held, expires_at] = self.front;
        if self.is_front() {
            let rules = [
                (
                    left <= Some(self.remaining),
                    "more is left of it, as its account's front, than its row says",
                ),
                (
                    held == Some(self.held),
                    "its row and its account, whose front it is, do not hold the same",
                ),
                (
                    expires_at == self.expires_at,
                    "its row and its account, whose front it is, do not expire at the same time",
                ),
            ];
            audit.require(self.account, Self::NAME, &self.row(), &rules);
        }
        let (left, held) = self.true_remainder();
        let Some(front) = front.filter(|_| left > held) else {
            return;
        };
        let order = (
            self.expires_at.unwrap_or(i64::MAX),
            self.granted_at,
            self.number,
        );
        match &mut audit.first_lot {
            Some(first) if first.account == self.account => first.order = first.order.min(order),
            _ => {
                audit.check_first_lot();
                audit.first_lot = Some(FirstLot {
                    account: self.account,
                    front,
                    order,
                });
            }
        }
    }

    fn row(&self) -> String {
        format!("lot {}", self.number)
    }
}

/// The first lot in the order of drawing that has something free, of an account that knows its front.
pub(super) struct FirstLot {
    account: i64,
    front: i64,
    /// Expiry, age, number.
    order: (i64, i64, i64),
}

/// A row of `draws`.
pub(super) struct DrawRow {
    account: i64,
    entry: i64,
    lot: i64,
    points: i64,
}

impl Table for DrawRow {
    const NAME: &'static str = "draws";
    const SQL: &'static str = "SELECT account_id, entry_number, lot_number, points FROM draws \
         WHERE (account_id, entry_number, lot_number) > ($1, $2, $3) AND account_id <= $4 \
         ORDER BY account_id, entry_number, lot_number LIMIT $5";

    fn before(account: i64) -> Key {
        Key::Three(account, i64::MIN, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            entry: row.get(1)?,
            lot: row.get(2)?,
            points: row.get(3)?,
        })
    }

    fn key(&self) -> Key {
        Key::Three(self.account, self.entry, self.lot)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let (entry, lot) = (self.entry, self.lot);
        let row = format!("entry {entry}, lot {lot}");
        audit.require(
            self.account,
            Self::NAME,
            &row,
            &[(self.points > 0, "its points are not positive")],
        );
        let taken = self.points.saturating_neg();
        audit.fact(self.account, Fact::Drawn { entry }, taken, Some(entry));
        audit.fact(self.account, Fact::Left { lot }, taken, Some(entry));
    }
}

/// A row of `charge_refunds`.
pub(super) struct RefundedRow {
    account: i64,
    entry: i64,
    charged: i64,
    refunded: i64,
}

impl Table for RefundedRow {
    const NAME: &'static str = "charge_refunds";
    const SQL: &'static str = "SELECT account_id, entry_number, charged, refunded FROM charge_refunds \
         WHERE (account_id, entry_number) > ($1, $2) AND account_id <= $3 ORDER BY account_id, entry_number LIMIT $4";

    fn before(account: i64) -> Key {
        Key::Two(account, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            entry: row.get(1)?,
            charged: row.get(2)?,
            refunded: row.get(3)?,
        })
    }

    fn key(&self) -> Key {
        Key::Two(self.account, self.entry)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let fits = 0 < self.refunded && self.refunded <= self.charged;
        let row = format!("entry {}", self.entry);
        audit.require(
            self.account,
            Self::NAME,
            &row,
            &[(fits, "what was refunded is not a part of the charge")],
        );
        let fact = Fact::Refunded { entry: self.entry };
        audit.fact(self.account, fact, self.refunded.saturating_neg(), None);
    }
}

impl Audit<'_> {
    /// All lots that tell of the accounts of this pass: their own, and those that came from them.
    pub(super) async fn read_lots(&mut self, tx: &mut Tx) -> Result<()> {
        for range in self.ranges_with_origins(tx).await? {
            self.read_table::<LotRow>(tx, range).await?;
            self.check_first_lot();
        }
        Ok(())
    }

    /// The accounts of this pass, and those into which something of them may have gone in a merge.
    pub(super) async fn ranges_with_origins(&self, tx: &mut Tx) -> Result<Vec<(i64, i64)>> {
        Ok(match self.scope {
            AuditScope::All => vec![(i64::MIN, i64::MAX)],
            AuditScope::Account(id) => {
                let mut ids = tx.accounts_of_person(id).await?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
                ids.into_iter().map(|id| (id.0, id.0)).collect()
            }
        })
    }

    fn check_first_lot(&mut self) {
        if let Some(FirstLot {
            account,
            front,
            order,
        }) = self.first_lot.take()
            && order.2 != front
        {
            let problem = format!(
                "lot {} is to be drawn on before its front, lot {front}",
                order.2
            );
            self.find(account, "accounts", "the row".to_owned(), problem);
        }
    }

    /// The charges of which something was given back are charges, of as many points. They are looked up one by one.
    pub(super) async fn check_refunded_charges(&mut self, tx: &mut Tx) -> Result<()> {
        const ROWS: i64 = 2_000;
        let mut after = (self.range.0, i64::MIN);
        loop {
            let refunded = tx.refunded_charges(after, self.range.1, ROWS).await?;
            let Some(last) = refunded.last() else {
                return Ok(());
            };
            after = (last.account, last.entry);
            let charges = tx.charges_of(&refunded).await?;
            for row in &refunded {
                let said = charges.get(&(row.account, row.entry));
                if said != Some(&row.charged) {
                    let problem = format!(
                        "it says that {} points were charged, the entry says {said:?}",
                        row.charged
                    );
                    self.find(
                        row.account,
                        RefundedRow::NAME,
                        format!("entry {}", row.entry),
                        problem,
                    );
                }
            }
        }
    }
}

/// A charge of which something was given back, and where to look for it.
struct RefundedCharge {
    account: i64,
    entry: i64,
    charged: i64,
    entry_count: i64,
    tail: Vec<u8>,
}

impl Tx {
    async fn refunded_charges(
        &mut self,
        after: (i64, i64),
        last_account: i64,
        rows_max: i64,
    ) -> Result<Vec<RefundedCharge>> {
        self.fetch_all(
            "SELECT r.account_id, r.entry_number, r.charged, a.entry_count, a.tail FROM (SELECT * FROM charge_refunds \
             WHERE (account_id, entry_number) > ($1, $2) AND account_id <= $3 ORDER BY account_id, entry_number LIMIT $4) r \
             JOIN accounts a ON a.id = r.account_id ORDER BY r.account_id, r.entry_number",
            &[after.0.into(), after.1.into(), last_account.into(), rows_max.into()],
            |row| {
                Ok(RefundedCharge {
                    account: row.get(0)?,
                    entry: row.get(1)?,
                    charged: row.get(2)?,
                    entry_count: row.get(3)?,
                    tail: row.get(4)?,
                })
            },
        )
        .await
    }

    /// Points of charges by account and entry, as far as they are where blocks and tails say, and are charges.
    async fn charges_of(
        &mut self,
        refunded: &[RefundedCharge],
    ) -> Result<HashMap<(i64, i64), i64>> {
        let block = |row: &RefundedCharge| (row.entry - 1).div_euclid(BLOCK_ENTRIES_I64);
        let folded: Vec<&RefundedCharge> = refunded
            .iter()
            .filter(|row| block(row) < row.entry_count.div_euclid(BLOCK_ENTRIES_I64))
            .collect();
        let blocks: HashMap<(i64, i64), Vec<i64>> = self
            .fetch_rows(
                "SELECT b.account_id, b.block, b.positions FROM {each} (SELECT * FROM entry_blocks \
                 WHERE account_id = $1 AND block = $2) b",
                &[
                    Column::ints(folded.iter().map(|row| row.account)),
                    Column::ints(folded.iter().map(|row| block(row))),
                ],
                |row| {
                    Ok((
                        (row.get(0)?, row.get(1)?),
                        block_positions(&row.get::<Vec<u8>>(2)?),
                    ))
                },
            )
            .await?
            .into_iter()
            .collect();
        let places: Vec<(i64, i64, i64)> = refunded
            .iter()
            .filter_map(|row| {
                let place = usize::try_from((row.entry - 1).rem_euclid(BLOCK_ENTRIES_I64)).ok()?;
                let position = match blocks.get(&(row.account, block(row))) {
                    Some(positions) => positions.get(place).copied(),
                    None => Tail::read(row.tail.clone(), row.entry_count)
                        .ok()?
                        .positions()
                        .nth(place),
                };
                Some((row.account, row.entry, position?))
            })
            .collect();
        let charges = self
            .fetch_rows(
                "SELECT e.account_id, e.number, -e.points FROM {each} (SELECT * FROM entries \
                 WHERE position = $1 AND account_id = $2 AND number = $3 AND kind = 'charge') e",
                &[
                    Column::ints(places.iter().map(|place| place.2)),
                    Column::ints(places.iter().map(|place| place.0)),
                    Column::ints(places.iter().map(|place| place.1)),
                ],
                |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)),
            )
            .await?;
        Ok(charges.into_iter().collect())
    }
}
