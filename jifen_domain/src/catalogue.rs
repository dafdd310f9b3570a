//! What is for sale.

use crate::{Fen, Points, Time};

/// A package of points: the mall document's package and the pay document's product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Opaque; `packageId` and `productId`.
    pub id: String,
    /// Shown to the buyer and sent to the provider as the subject.
    pub name: String,
    /// Points granted.
    pub points: Points,
    /// What the buyer pays.
    pub price: Fen,
    /// The price before the discount; equal to `price` when there is none.
    pub original_price: Fen,
    /// Marked as selling well.
    pub is_hot: bool,
    /// Shown below the name; may be empty.
    pub description: String,
    /// Off sale packages are neither listed nor sold; orders that exist go on.
    pub on_sale: bool,
    /// The operator's order, smallest first.
    pub position: i64,
    /// Days the points live after payment; `None` when they do not expire.
    pub validity_days: Option<i64>,
}

impl Package {
    /// The percentage taken off, `round(100 × (1 − price / original_price))`, 0 when there is none.
    pub fn discount_percent(&self) -> i64 {
        let (price, original) = (self.price.get(), self.original_price.get());
        if original <= price {
            return 0;
        }
        // Half up, in integers: both are at most Fen::ORDER_MAX, so 200 × neither overflows.
        (200 * (original - price) + original) / (2 * original)
    }

    /// When points bought now expire.
    pub fn points_expire_at(&self, now: Time) -> Option<Time> {
        self.validity_days.map(|days| now.plus_days(days))
    }

    /// Whether the figures can be sold: a price providers accept, points a ledger movement may carry, a sane life.
    ///
    /// # Errors
    /// Names the first figure that is out of range.
    pub fn check(&self) -> Result<(), PackageError> {
        if self.price.get() < 1 || self.price > Fen::ORDER_MAX {
            return Err(PackageError::Price);
        }
        if self.original_price < self.price || self.original_price > Fen::ORDER_MAX {
            return Err(PackageError::OriginalPrice);
        }
        if !self.points.is_movable() {
            return Err(PackageError::Points);
        }
        if self
            .validity_days
            .is_some_and(|days| !(1..=VALIDITY_DAYS_MAX).contains(&days))
        {
            return Err(PackageError::ValidityDays);
        }
        Ok(())
    }
}

/// The longest life of points that can be asked for: a hundred years.
pub const VALIDITY_DAYS_MAX: i64 = 36_500;

/// Which figure of a package cannot be sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Below 1 fen or above [`Fen::ORDER_MAX`].
    #[error("price must be 1 to {} fen", Fen::ORDER_MAX.get())]
    Price,
    /// Below the price or above [`Fen::ORDER_MAX`].
    #[error("original price must not be below the price, and at most {} fen", Fen::ORDER_MAX.get())]
    OriginalPrice,
    /// Below 1 or above [`Points::MOVEMENT_MAX`].
    #[error("points must be 1 to {}", Points::MOVEMENT_MAX.get())]
    Points,
    /// Below 1 or above [`VALIDITY_DAYS_MAX`].
    #[error("validity must be 1 to {VALIDITY_DAYS_MAX} days, or none")]
    ValidityDays,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priced(price: i64, original: i64) -> Package {
        Package {
            id: "p".into(),
            name: "p".into(),
            points: Points::new(1).unwrap(),
            price: Fen::new(price).unwrap(),
            original_price: Fen::new(original).unwrap(),
            is_hot: false,
            description: String::new(),
            on_sale: true,
            position: 0,
            validity_days: None,
        }
    }

    #[test]
    fn discount_is_the_rounded_percentage_taken_off() {
        for (price, original, percent) in [
            (168, 168, 0),
            (168, 200, 16),
            (1, 3, 67),
            (199, 200, 1),
            (995, 1000, 1),
            (996, 1000, 0),
            (1, 1_000_000, 100),
        ] {
            assert_eq!(
                priced(price, original).discount_percent(),
                percent,
                "{price} of {original}"
            );
        }
    }

    #[test]
    fn figures_out_of_range_are_named() {
        assert_eq!(priced(0, 1).check(), Err(PackageError::Price));
        assert_eq!(priced(2, 1).check(), Err(PackageError::OriginalPrice));
        assert_eq!(
            Package {
                points: Points::ZERO,
                ..priced(1, 1)
            }
            .check(),
            Err(PackageError::Points)
        );
        assert_eq!(
            Package {
                validity_days: Some(0),
                ..priced(1, 1)
            }
            .check(),
            Err(PackageError::ValidityDays)
        );
        assert_eq!(priced(168, 200).check(), Ok(()));
    }
}
