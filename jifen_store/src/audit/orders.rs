//! Orders and merges.

use jifen_domain::AccountId;

use super::table::ROWS;
use super::{Audit, AuditScope, Finding};
use crate::engine::Row;
use crate::{Result, Tx};

const DAY_MICROS: i64 = 86_400_000_000;

/// An order with the lot it granted.
struct OrderRow {
    id: String,
    user: i64,
    state: String,
    points: i64,
    validity_days: Option<i64>,
    lot: Option<GrantedLot>,
}

struct GrantedLot {
    account: i64,
    points: i64,
    granted_at: i64,
    expires_at: Option<i64>,
    /// The person whose account it is.
    owner: Option<i64>,
}

impl OrderRow {
    fn read(row: &Row<'_>) -> Result<Self> {
        let lot = match row.get::<Option<i64>>(5)? {
            Some(account) => Some(GrantedLot {
                account,
                points: row.get(6)?,
                granted_at: row.get(7)?,
                expires_at: row.get(8)?,
                owner: row.get(9)?,
            }),
            None => None,
        };
        Ok(Self {
            id: row.get(0)?,
            user: row.get(1)?,
            state: row.get(2)?,
            points: row.get(3)?,
            validity_days: row.get(4)?,
            lot,
        })
    }

    fn problem(&self) -> Option<String> {
        let Some(lot) = &self.lot else {
            let is_delivered = self.state == "delivered";
            return is_delivered.then(|| "it is delivered without its points".to_owned());
        };
        // A refund may have given the lot more time since.
        let lasts = match self.validity_days {
            None => lot.expires_at.is_none(),
            Some(days) => {
                let until = lot
                    .granted_at
                    .saturating_add(days.saturating_mul(DAY_MICROS));
                lot.expires_at.is_some_and(|at| at >= until)
            }
        };
        let problem = if self.state != "delivered" {
            format!("it granted {} points and is not delivered", lot.points)
        } else if lot.points != self.points {
            format!("it is of {} points and granted {}", self.points, lot.points)
        } else if lot.owner != Some(self.user) {
            format!(
                "its points are in account {}, which is somebody else's",
                lot.account
            )
        } else if !lasts {
            "its points do not last as long as was bought".to_owned()
        } else {
            return None;
        };
        Some(problem)
    }
}

impl Audit<'_> {
    /// Every delivered order granted exactly its points, once, to its buyer. Others granted none.
    pub(super) async fn check_orders(&mut self, tx: &mut Tx) -> Result<()> {
        let mut after = String::new();
        loop {
            let rows = match self.scope {
                AuditScope::All => tx.orders_with_lots(&after).await?,
                AuditScope::Account(id) => tx.orders_with_lots_of(id, &after).await?,
            };
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after.clone_from(&last.id);
            for row in rows {
                if let Some(problem) = row.problem() {
                    self.tell(Finding {
                        account: AccountId(row.lot.as_ref().map_or(row.user, |lot| lot.account)),
                        table: "orders",
                        row: format!("order {}", row.id),
                        problem,
                    });
                }
            }
        }
    }

    /// Who was merged into somebody is recorded so, and the other way round.
    pub(super) async fn check_merges(&mut self, tx: &mut Tx) -> Result<()> {
        if self.scope != AuditScope::All {
            return Ok(());
        }
        let mut after = i64::MIN;
        loop {
            let merges = tx.merges_with_users(after).await?;
            let Some(last) = merges.last() else {
                return Ok(());
            };
            after = last.0;
            for (younger, recorded, is_now, merged_at) in merges {
                let problem = if recorded.is_none() || recorded != is_now {
                    format!(
                        "user {younger} is merged into {is_now:?}, the record says {recorded:?}"
                    )
                } else if merged_at.is_none_or(|at| self.is_in_future(at)) {
                    "it lies in the future".to_owned()
                } else {
                    continue;
                };
                self.tell(Finding {
                    account: AccountId(younger),
                    table: "merges",
                    row: format!("user {younger}"),
                    problem,
                });
            }
        }
    }
}

/// A user who was merged into another, or is said to have been: the user, whom the record leads to, whom the user's row
/// leads to, and when.
type Merge = (i64, Option<i64>, Option<i64>, Option<i64>);

impl Tx {
    async fn orders_with_lots(&mut self, after: &str) -> Result<Vec<OrderRow>> {
        self.fetch_all(
            "SELECT o.id, o.user_id, o.state, o.points, o.validity_days, l.account_id, l.points, l.granted_at, l.expires_at, \
             COALESCE(u.merged_into, u.id) FROM orders o LEFT JOIN lots l ON l.order_id = o.id \
             LEFT JOIN accounts a ON a.id = l.account_id LEFT JOIN users u ON u.id = a.user_id \
             WHERE o.id > $1 ORDER BY o.id LIMIT $2",
            &[after.into(), ROWS.into()],
            OrderRow::read,
        )
        .await
    }

    /// Those of the person who has an account.
    async fn orders_with_lots_of(&mut self, id: AccountId, after: &str) -> Result<Vec<OrderRow>> {
        self.fetch_all(
            "SELECT o.id, o.user_id, o.state, o.points, o.validity_days, l.account_id, l.points, l.granted_at, l.expires_at, \
             COALESCE(u.merged_into, u.id) FROM orders o LEFT JOIN lots l ON l.order_id = o.id \
             LEFT JOIN accounts a ON a.id = l.account_id LEFT JOIN users u ON u.id = a.user_id \
             WHERE o.user_id = (SELECT COALESCE(merged_into, id) FROM users WHERE id = $1) AND o.id > $2 ORDER BY o.id LIMIT $3",
            &[id.0.into(), after.into(), ROWS.into()],
            OrderRow::read,
        )
        .await
    }

    async fn merges_with_users(&mut self, after: i64) -> Result<Vec<Merge>> {
        self.fetch_all(
            "SELECT y.id, COALESCE(o.merged_into, o.id), y.merged_into, m.merged_at FROM users y \
             LEFT JOIN merges m ON m.younger_id = y.id LEFT JOIN users o ON o.id = m.older_id \
             WHERE (m.younger_id IS NOT NULL OR y.merged_into IS NOT NULL) AND y.id > $1 ORDER BY y.id LIMIT $2",
            &[after.into(), ROWS.into()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .await
    }
}
