//! A charge as it is needed to take it back.

use jifen_domain::ledger::Draw;
use jifen_domain::{AccountId, Points};

use super::points;
use crate::engine::Row;
use crate::{Result, Tx};

/// A charge with what was refunded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCharge {
    /// What it took.
    pub points: Points,
    /// When, in microseconds since 1970.
    pub at: jifen_domain::Time,
    /// The key that was charged.
    pub api_key_id: String,
    /// What it was for.
    pub title: String,
    /// The lots that paid, in an order that never changes.
    pub draws: Vec<Draw>,
    /// What was refunded so far.
    pub refunded: Points,
}

impl Tx {
    /// A charge by its entry. Lock its account before, so that nobody refunds it meanwhile.
    pub async fn charge(&mut self, account: AccountId, entry: i64) -> Result<Option<StoredCharge>> {
        let Some(position) = self.position(account, entry).await? else {
            return Ok(None);
        };
        let charge = self
            .fetch_optional(
                "SELECT e.lot_number, -e.points, e.at, e.api_key_id, e.title, COALESCE(r.refunded, 0) FROM entries e \
                 LEFT JOIN charge_refunds r ON r.account_id = e.account_id AND r.entry_number = e.number \
                 WHERE e.position = $1 AND e.account_id = $2 AND e.kind = 'charge'",
                &[position.into(), account.0.into()],
                |row| {
                    let lot: Option<i64> = row.get(0)?;
                    let points = points(row.get(1)?)?;
                    Ok(StoredCharge {
                        points,
                        at: jifen_domain::Time::from_micros(row.get(2)?),
                        api_key_id: row.get(3)?,
                        title: row.get(4)?,
                        draws: lot.map(|lot| Draw { lot, points }).into_iter().collect(),
                        refunded: super::points(row.get(5)?)?,
                    })
                },
            )
            .await?;
        let Some(mut charge) = charge else {
            return Ok(None);
        };
        if charge.draws.is_empty() {
            charge.draws = self
                .fetch_all(
                    // By number: a refund may move the expiry of a lot, and with it the order of drawing.
                    "SELECT lot_number, points FROM draws WHERE account_id = $1 AND entry_number = $2 ORDER BY lot_number",
                    &[account.0.into(), entry.into()],
                    read_draw,
                )
                .await?;
        }
        Ok(Some(charge))
    }

    /// Notes that so much of a charge is refunded now in all.
    pub async fn put_refunded(
        &mut self,
        account: AccountId,
        entry: i64,
        charged: Points,
        refunded: Points,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO charge_refunds (account_id, entry_number, charged, refunded) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (account_id, entry_number) DO UPDATE SET refunded = excluded.refunded",
            &[
                account.0.into(),
                entry.into(),
                charged.get().into(),
                refunded.get().into(),
            ],
        )
        .await
        .map(drop)
    }
}

fn read_draw(row: &Row<'_>) -> Result<Draw> {
    Ok(Draw {
        lot: row.get(0)?,
        points: points(row.get(1)?)?,
    })
}
