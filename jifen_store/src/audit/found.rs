//! Rows of other tables that entries are about.

use std::collections::HashMap;

use super::entry::{EntryRow, Kind};
use crate::engine::Column;
use crate::{Result, Tx};

/// Rows of other tables that some of the entries are about.
pub(super) struct Found {
    /// By account and number.
    pub(super) lots: HashMap<(i64, i64), FoundLot>,
    /// By account and entry: lots and points.
    pub(super) draws: HashMap<(i64, i64), Vec<(i64, i64)>>,
    /// By account and entry: state and end.
    pub(super) holds: HashMap<(i64, i64), (String, i64)>,
}

/// A lot as its row tells of it.
#[derive(Debug)]
pub(super) struct FoundLot {
    pub(super) source: String,
    pub(super) points: i64,
    pub(super) granted_at: i64,
    pub(super) origin_account: Option<i64>,
    pub(super) origin_charge: Option<i64>,
}

impl Found {
    /// Looked up for some thousand entries at once, by primary keys.
    pub(super) async fn look_up(tx: &mut Tx, rows: &[EntryRow], range: (i64, i64)) -> Result<Self> {
        let rows = || {
            rows.iter()
                .filter(|row| (range.0..=range.1).contains(&row.account))
        };
        let draws = tx.found_draws(rows()).await?;
        let granted = rows().filter_map(|row| Some((row.account, row.granted_lot()?)));
        let moved = rows()
            .filter(|row| row.kind == Kind::MergeOut)
            .flat_map(|row| {
                let several = draws.get(&(row.account, row.number)).into_iter().flatten();
                let lots = several.map(|(lot, _)| *lot).chain(row.lot);
                lots.map(|lot| (row.account, lot))
            });
        let lots = tx
            .found_lots(&granted.chain(moved).collect::<Vec<_>>())
            .await?;
        let released = rows().filter(|row| row.kind == Kind::Release);
        let released = released.filter_map(|row| Some((row.account, row.hold()?)));
        let holds = tx.found_holds(&released.collect::<Vec<_>>()).await?;
        Ok(Self { lots, draws, holds })
    }
}

fn columns(keys: &[(i64, i64)]) -> [Column<'static>; 2] {
    [
        Column::ints(keys.iter().map(|key| key.0)),
        Column::ints(keys.iter().map(|key| key.1)),
    ]
}

impl Tx {
    /// The draws of refunds and merges; those of charges need no looking up.
    async fn found_draws(
        &mut self,
        rows: impl Iterator<Item = &EntryRow>,
    ) -> Result<HashMap<(i64, i64), Vec<(i64, i64)>>> {
        let keys: Vec<(i64, i64)> = rows
            .filter(|row| matches!(row.kind, Kind::Refund | Kind::MergeOut) && row.has_draws())
            .map(|row| (row.account, row.number))
            .collect();
        let found = self
            .fetch_rows(
                "SELECT d.account_id, d.entry_number, d.lot_number, d.points FROM {each} (SELECT * FROM draws \
                 WHERE account_id = $1 AND entry_number = $2) d",
                &columns(&keys),
                |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))),
            )
            .await?;
        let mut draws: HashMap<_, Vec<_>> = HashMap::new();
        for (key, draw) in found {
            draws.entry(key).or_default().push(draw);
        }
        Ok(draws)
    }

    async fn found_lots(&mut self, keys: &[(i64, i64)]) -> Result<HashMap<(i64, i64), FoundLot>> {
        let found = self
            .fetch_rows(
                "SELECT l.account_id, l.number, l.source, l.points, l.granted_at, l.origin_account, l.origin_charge \
                 FROM {each} (SELECT * FROM lots WHERE account_id = $1 AND number = $2) l",
                &columns(keys),
                |row| {
                    let lot = FoundLot {
                        source: row.get(2)?,
                        points: row.get(3)?,
                        granted_at: row.get(4)?,
                        origin_account: row.get(5)?,
                        origin_charge: row.get(6)?,
                    };
                    Ok(((row.get(0)?, row.get(1)?), lot))
                },
            )
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn found_holds(
        &mut self,
        keys: &[(i64, i64)],
    ) -> Result<HashMap<(i64, i64), (String, i64)>> {
        let found = self
            .fetch_rows(
                "SELECT h.account_id, h.entry_number, h.state, h.expires_at FROM {each} (SELECT * FROM holds \
                 WHERE account_id = $1 AND entry_number = $2) h",
                &columns(keys),
                |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))),
            )
            .await?;
        Ok(found.into_iter().collect())
    }
}
