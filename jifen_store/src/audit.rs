//! Recomputes the ledger from its entries and names every difference.

use jifen_domain::{AccountId, Time};

use crate::{Result, Tx};

/// One rule the stored ledger breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub account: AccountId,
    /// What does not add up, in words.
    pub problem: String,
}

/// What was audited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Accounts read.
    pub accounts: i64,
    /// Entries read.
    pub entries: i64,
}

impl Tx {
    /// How much there is to audit.
    pub async fn ledger_size(&mut self) -> Result<Audited> {
        let size = self
            .fetch_optional(
                "SELECT COUNT(*), CAST(COALESCE(SUM(entry_count), 0) AS BIGINT) FROM accounts",
                &[],
                |row| {
                    Ok(Audited {
                        accounts: row.get(0)?,
                        entries: row.get(1)?,
                    })
                },
            )
            .await?;
        Ok(size.unwrap_or_default())
    }

    /// The ids of the accounts after `after`, in order.
    pub async fn accounts_after(
        &mut self,
        after: AccountId,
        rows_max: i64,
    ) -> Result<Vec<AccountId>> {
        self.fetch_all(
            "SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
            &[after.0.into(), rows_max.into()],
            |row| row.get(0).map(AccountId),
        )
        .await
    }

    /// Holds one account against the rules of the ledger, in one snapshot of it: call it inside [`crate::Store::begin`].
    pub async fn audit_account(&mut self, id: AccountId, now: Time) -> Result<Vec<Finding>> {
        let mut problems = Vec::new();
        let Some(stored) = self.stored_account(id).await? else {
            return Ok(Vec::new());
        };
        let replayed = self.replay_entries(id, &mut problems).await?;
        if replayed != stored {
            problems.push(format!(
                "it is stored with {stored}, its entries make {replayed}"
            ));
        }
        let open: i64 = self
            .fetch_optional(
                "SELECT CAST(COALESCE(SUM(remaining), 0) AS BIGINT) FROM lots WHERE account_id = $1",
                &[id.0.into()],
                |row| row.get(0),
            )
            .await?
            .unwrap_or(0);
        if open != stored.balance {
            problems.push(format!(
                "its lots hold {open} points, its balance is {}",
                stored.balance
            ));
        }
        self.audit_lots(id, &mut problems).await?;
        self.audit_merges(id, &mut problems).await?;
        self.audit_orders(id, now, &mut problems).await?;
        Ok(problems
            .into_iter()
            .map(|problem| Finding {
                account: id,
                problem,
            })
            .collect())
    }

    async fn stored_account(&mut self, id: AccountId) -> Result<Option<Totals>> {
        self.lock_optional(
            "SELECT balance, entry_count, charge_count, lot_count FROM accounts WHERE id = $1",
            &[id.0.into()],
            |row| {
                Ok(Totals {
                    balance: row.get(0)?,
                    entries: row.get(1)?,
                    charges: row.get(2)?,
                    lots: row.get(3)?,
                })
            },
        )
        .await
    }

    async fn replay_entries(
        &mut self,
        id: AccountId,
        problems: &mut Vec<String>,
    ) -> Result<Totals> {
        let mut sum = Totals::default();
        self.fetch_all(
            "SELECT e.number, e.points, e.balance_after, e.charge_number, e.lot_number, \
             CAST((SELECT COALESCE(SUM(d.points), 0) FROM draws d WHERE d.account_id = e.account_id \
             AND d.entry_number = e.number) AS BIGINT), \
             (SELECT l.points FROM lots l WHERE l.account_id = e.account_id AND l.number = e.lot_number) \
             FROM entries e WHERE e.account_id = $1 ORDER BY e.number",
            &[id.0.into()],
            |row| {
                let (number, points, after): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (charge, lot): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
                let (drawn, granted): (i64, Option<i64>) = (row.get(5)?, row.get(6)?);
                sum.entries += 1;
                if number != sum.entries {
                    problems.push(format!("entry {} is followed by entry {number}", sum.entries - 1));
                    sum.entries = number;
                }
                sum.balance = sum.balance.saturating_add(points);
                if after != sum.balance || after < 0 {
                    problems.push(format!("entry {number} says balance {after}, the entries so far add up to {}", sum.balance));
                    sum.balance = after;
                }
                if let Some(charge) = charge {
                    sum.charges += 1;
                    if charge != sum.charges {
                        problems.push(format!("entry {number} is charge {charge}, expected charge {}", sum.charges));
                        sum.charges = charge;
                    }
                }
                if points < 0 && points.checked_neg() != Some(drawn) {
                    problems.push(format!("entry {number} moves {points} points, its draws add up to {drawn}"));
                }
                if points > 0 && (granted != Some(points) || drawn != 0) {
                    problems.push(format!("entry {number} grants {points} points, its lot {lot:?} was granted {granted:?}"));
                }
                sum.lots += i64::from(lot.is_some());
                Ok(())
            },
        )
        .await?;
        Ok(sum)
    }

    async fn audit_lots(&mut self, id: AccountId, problems: &mut Vec<String>) -> Result<()> {
        let wrong = self
            .fetch_all(
                "SELECT l.number, l.points, l.remaining, CAST(COALESCE(d.points, 0) AS BIGINT) FROM lots l LEFT JOIN \
                 (SELECT lot_number, SUM(points) AS points FROM draws WHERE account_id = $1 GROUP BY lot_number) d \
                 ON d.lot_number = l.number WHERE l.account_id = $1 ORDER BY l.number",
                &[id.0.into()],
                |row| {
                    let (number, points, remaining, drawn): (i64, i64, i64, i64) =
                        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                    let fits = remaining >= 0 && points.checked_sub(drawn) == Some(remaining);
                    Ok((!fits).then(|| format!("lot {number} of {points} points has {remaining} left, {drawn} were drawn")))
                },
            )
            .await?;
        problems.extend(wrong.into_iter().flatten());
        Ok(())
    }

    /// What left one account in a merge came in as it was in the other.
    async fn audit_merges(&mut self, id: AccountId, problems: &mut Vec<String>) -> Result<()> {
        let left = self
            .fetch_all(
                "SELECT d.lot_number, d.points FROM entries e \
                 JOIN draws d ON d.account_id = e.account_id AND d.entry_number = e.number \
                 LEFT JOIN lots l ON l.origin_account = d.account_id AND l.origin_lot = d.lot_number \
                 WHERE e.account_id = $1 AND e.kind = 'merge_out' AND (l.points IS NULL OR l.points <> d.points) \
                 ORDER BY d.lot_number",
                &[id.0.into()],
                |row| {
                    let (lot, points): (i64, i64) = (row.get(0)?, row.get(1)?);
                    Ok(format!("{points} points of lot {lot} left in a merge and did not come in elsewhere"))
                },
            )
            .await?;
        problems.extend(left);
        let arrived = self
            .fetch_all(
                "SELECT l.number, l.points, l.origin_account, l.origin_lot FROM lots l \
                 WHERE l.account_id = $1 AND l.source = 'merge' AND NOT EXISTS (SELECT 1 FROM draws d \
                 JOIN entries e ON e.account_id = d.account_id AND e.number = d.entry_number \
                 WHERE d.account_id = l.origin_account AND d.lot_number = l.origin_lot AND d.points = l.points \
                 AND e.kind = 'merge_out') ORDER BY l.number",
                &[id.0.into()],
                |row| {
                    let (lot, points): (i64, i64) = (row.get(0)?, row.get(1)?);
                    let (account, origin): (i64, i64) = (row.get(2)?, row.get(3)?);
                    Ok(format!("lot {lot} brought {points} points, which did not leave lot {origin} of account {account}"))
                },
            )
            .await?;
        problems.extend(arrived);
        Ok(())
    }

    /// Every delivered order granted exactly its points, and nothing else was granted for an order. The order may be
    /// the user's own or, after a merge, one whose points were granted to the younger record.
    async fn audit_orders(
        &mut self,
        id: AccountId,
        now: Time,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let ungranted = self
            .fetch_all(
                "SELECT o.id FROM orders o LEFT JOIN lots l ON l.order_id = o.id \
                 WHERE o.user_id = $1 AND o.state = 'delivered' AND (l.order_id IS NULL OR l.points <> o.points)",
                &[id.0.into()],
                |row| row.get::<String>(0),
            )
            .await?;
        problems.extend(
            ungranted
                .into_iter()
                .map(|order| format!("order {order} is delivered without its points")),
        );
        let unpaid = self
            .fetch_all(
                "SELECT l.number, l.order_id FROM lots l LEFT JOIN orders o ON o.id = l.order_id \
                 WHERE l.account_id = $1 AND l.order_id IS NOT NULL AND COALESCE(o.state, '') <> 'delivered'",
                &[id.0.into()],
                |row| Ok(format!("lot {} was granted for order {}, which is not delivered", row.get::<i64>(0)?, row.get::<String>(1)?)),
            )
            .await?;
        problems.extend(unpaid);
        let early = self
            .fetch_all(
                "SELECT number FROM entries WHERE account_id = $1 AND at > $2 ORDER BY number LIMIT 1",
                &[id.0.into(), now.plus_days(1).micros().into()],
                |row| row.get::<i64>(0),
            )
            .await?;
        problems.extend(
            early
                .into_iter()
                .map(|entry| format!("entry {entry} lies in the future")),
        );
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    balance: i64,
    entries: i64,
    charges: i64,
    lots: i64,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            balance,
            entries,
            charges,
            lots,
        } = self;
        write!(
            f,
            "a balance of {balance}, {entries} entries, {charges} charges, {lots} lots"
        )
    }
}
