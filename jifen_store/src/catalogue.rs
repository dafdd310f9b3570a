//! Packages.

use jifen_domain::catalogue::Package;
use jifen_domain::{Fen, Points};

use crate::engine::Row;
use crate::{Error, Result, Tx};

impl Tx {
    /// Adds a package. `false` when its id is taken.
    pub async fn insert_package(&mut self, package: &Package) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO packages (id, name, points, price_fen, original_price_fen, is_hot, description, on_sale, \
                 position, validity_days) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
                &[
                    (&package.id).into(),
                    (&package.name).into(),
                    package.points.get().into(),
                    package.price.get().into(),
                    package.original_price.get().into(),
                    package.is_hot.into(),
                    (&package.description).into(),
                    package.on_sale.into(),
                    package.position.into(),
                    package.validity_days.into(),
                ],
            )
            .await?;
        Ok(inserted == 1)
    }

    /// Writes everything about a package; orders keep what they were made with.
    pub async fn update_package(&mut self, package: &Package) -> Result<()> {
        self.execute(
            "UPDATE packages SET name = $1, points = $2, price_fen = $3, original_price_fen = $4, is_hot = $5, \
             description = $6, on_sale = $7, position = $8, validity_days = $9 WHERE id = $10",
            &[
                (&package.name).into(),
                package.points.get().into(),
                package.price.get().into(),
                package.original_price.get().into(),
                package.is_hot.into(),
                (&package.description).into(),
                package.on_sale.into(),
                package.position.into(),
                package.validity_days.into(),
                (&package.id).into(),
            ],
        )
        .await
        .map(drop)
    }

    /// A package, on sale or not.
    pub async fn package(&mut self, id: &str) -> Result<Option<Package>> {
        self.fetch_optional(
            "SELECT id, name, points, price_fen, original_price_fen, is_hot, description, on_sale, position, validity_days \
             FROM packages WHERE id = $1",
            &[id.into()],
            read_package,
        )
        .await
    }

    /// A package, locked until the transaction ends.
    pub async fn lock_package(&mut self, id: &str) -> Result<Option<Package>> {
        self.lock_optional(
            "SELECT id, name, points, price_fen, original_price_fen, is_hot, description, on_sale, position, validity_days \
             FROM packages WHERE id = $1",
            &[id.into()],
            read_package,
        )
        .await
    }

    /// Packages in the operator's order; those off sale too when `with_off_sale`.
    pub async fn packages(&mut self, with_off_sale: bool) -> Result<Vec<Package>> {
        self.fetch_all(
            "SELECT id, name, points, price_fen, original_price_fen, is_hot, description, on_sale, position, validity_days \
             FROM packages WHERE on_sale = 1 OR CAST($1 AS BIGINT) = 1 ORDER BY position, id",
            &[with_off_sale.into()],
            read_package,
        )
        .await
    }
}

fn read_package(row: &Row<'_>) -> Result<Package> {
    let id: String = row.get(0)?;
    let broken = || Error::Corrupt(format!("package {id}: a negative figure"));
    Ok(Package {
        name: row.get(1)?,
        points: Points::new(row.get(2)?).ok_or_else(broken)?,
        price: Fen::new(row.get(3)?).ok_or_else(broken)?,
        original_price: Fen::new(row.get(4)?).ok_or_else(broken)?,
        is_hot: row.get(5)?,
        description: row.get(6)?,
        on_sale: row.get(7)?,
        position: row.get(8)?,
        validity_days: row.get(9)?,
        id,
    })
}
