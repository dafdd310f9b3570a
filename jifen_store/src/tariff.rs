//! What routes cost. A tariff is never changed: a new version takes its place, so that an entry keeps the one it was
//! charged under.

use jifen_domain::tariff::{Rates, RoutePattern, Tariff, UnitPrice};
use jifen_domain::{Points, Time};

use crate::engine::Row;
use crate::{Error, Result, Tx};

/// Others that put a tariff at the same moment, each of whom makes [`Tx::put_tariff`] try once more.
const RIVALS_MAX: usize = 64;

impl Tx {
    /// Puts a new version of a pattern's tariff in force, and retires the one that was.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many do this at once.
    pub async fn put_tariff(
        &mut self,
        pattern: &RoutePattern,
        title: &str,
        rates: Rates,
        now: Time,
    ) -> Result<Tariff> {
        for _ in 0..=RIVALS_MAX {
            self.retire_tariff(pattern, now).await?;
            if let Some(tariff) = self.insert_tariff(pattern, title, rates, now).await? {
                return Ok(tariff);
            }
        }
        Err(Error::Busy)
    }

    /// The next version with the next id; `None` when another transaction, which has committed since, took either. A later
    /// statement sees what it wrote.
    async fn insert_tariff(
        &mut self,
        pattern: &RoutePattern,
        title: &str,
        rates: Rates,
        now: Time,
    ) -> Result<Option<Tariff>> {
        let (micropoints, units) = rates
            .unit_price()
            .map_or((0, 1), |price| (price.micropoints(), price.units()));
        self.fetch_optional(
            "INSERT INTO tariffs (id, method, path, version, title, points_per_call, unit_micropoints, units_priced, \
             points_min, created_at) \
             VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM tariffs), $1, $2, \
             (SELECT COALESCE(MAX(version), 0) + 1 FROM tariffs WHERE method = $1 AND path = $2), $3, $4, $5, $6, $7, $8) \
             ON CONFLICT DO NOTHING \
             RETURNING id, method, path, version, title, points_per_call, unit_micropoints, units_priced, points_min, \
             created_at, retired_at",
            &[
                pattern.method().into(),
                pattern.path().into(),
                title.into(),
                rates.points_per_call().get().into(),
                micropoints.into(),
                units.into(),
                rates.points_min().get().into(),
                now.micros().into(),
            ],
            read_tariff,
        )
        .await
    }

    /// Ends a pattern's tariff. `false` when none was in force.
    pub async fn retire_tariff(&mut self, pattern: &RoutePattern, now: Time) -> Result<bool> {
        let retired = self
            .execute(
                "UPDATE tariffs SET retired_at = $1 WHERE method = $2 AND path = $3 AND retired_at IS NULL",
                &[
                    now.micros().into(),
                    pattern.method().into(),
                    pattern.path().into(),
                ],
            )
            .await?;
        Ok(retired == 1)
    }

    /// The tariffs in force, oldest first. There is one for each pattern, and whoever puts one limits their number.
    pub async fn tariffs_in_force(&mut self) -> Result<Vec<Tariff>> {
        self.fetch_all(
            "SELECT id, method, path, version, title, points_per_call, unit_micropoints, units_priced, points_min, \
             created_at, retired_at FROM tariffs WHERE retired_at IS NULL ORDER BY id",
            &[],
            read_tariff,
        )
        .await
    }

    /// The latest tariffs of all patterns, retired ones too, newest first.
    pub async fn latest_tariffs(&mut self, rows_max: i64) -> Result<Vec<Tariff>> {
        self.fetch_all(
            "SELECT id, method, path, version, title, points_per_call, unit_micropoints, units_priced, points_min, \
             created_at, retired_at FROM tariffs ORDER BY id DESC LIMIT $1",
            &[rows_max.into()],
            read_tariff,
        )
        .await
    }

    /// The latest versions of a pattern's tariff, newest first.
    pub async fn tariff_versions(
        &mut self,
        pattern: &RoutePattern,
        rows_max: i64,
    ) -> Result<Vec<Tariff>> {
        self.fetch_all(
            "SELECT id, method, path, version, title, points_per_call, unit_micropoints, units_priced, points_min, \
             created_at, retired_at FROM tariffs WHERE method = $1 AND path = $2 ORDER BY version DESC LIMIT $3",
            &[
                pattern.method().into(),
                pattern.path().into(),
                rows_max.into(),
            ],
            read_tariff,
        )
        .await
    }

    /// A tariff, in force or not.
    pub async fn tariff(&mut self, id: i64) -> Result<Option<Tariff>> {
        self.fetch_optional(
            "SELECT id, method, path, version, title, points_per_call, unit_micropoints, units_priced, points_min, \
             created_at, retired_at FROM tariffs WHERE id = $1",
            &[id.into()],
            read_tariff,
        )
        .await
    }
}

fn read_tariff(row: &Row<'_>) -> Result<Tariff> {
    let id: i64 = row.get(0)?;
    let broken = |what: &str| Error::Corrupt(format!("tariff {id}: {what}"));
    let (method, path): (String, String) = (row.get(1)?, row.get(2)?);
    let points = |points: i64| Points::new(points).ok_or_else(|| broken("a negative figure"));
    let unit_price = match (row.get(6)?, row.get(7)?) {
        (0, 1) => None,
        (micropoints, units) => {
            let price = UnitPrice::new(micropoints, units);
            Some(price.ok_or_else(|| broken("its price of units"))?)
        }
    };
    let rates = Rates::new(points(row.get(5)?)?, unit_price, points(row.get(8)?)?);
    Ok(Tariff {
        pattern: RoutePattern::new(&method, &path).map_err(|_| broken("its route"))?,
        version: row.get(3)?,
        title: row.get(4)?,
        rates: rates.map_err(|_| broken("its rates"))?,
        created_at: Time::from_micros(row.get(9)?),
        retired_at: row.get::<Option<i64>>(10)?.map(Time::from_micros),
        id,
    })
}
