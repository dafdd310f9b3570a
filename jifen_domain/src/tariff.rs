//! What a call costs: the operator prices the routes of the API.

mod decimal;
mod list;
mod route;

use crate::{Points, Time};

pub use decimal::{DecimalError, UnitPrice, UnitPriceError};
pub use list::TariffList;
pub use route::{PATH_BYTES_MAX, Route, RouteError, RoutePattern};

/// Tariffs in force at once.
pub const TARIFFS_MAX: usize = 1_000;

/// The price of the routes that match a pattern, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// Rises by one with every tariff of the mall.
    pub id: i64,
    /// The routes it prices.
    pub pattern: RoutePattern,
    /// 1, 2, 3 … among the tariffs of this pattern.
    pub version: i64,
    /// The title of charges that do not bring their own.
    pub title: String,
    /// How much.
    pub rates: Rates,
    /// In force from then on.
    pub created_at: Time,
    /// In force until then.
    pub retired_at: Option<Time>,
}

impl Tariff {
    /// What a call of so many units costs.
    ///
    /// # Errors
    /// As [`Rates::price`].
    pub fn price(&self, units: i64) -> Result<Points, PriceError> {
        self.rates.price(units)
    }
}

/// So much a call, and so much for what it used: at least 1 point, whatever it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    points_per_call: Points,
    unit_price: Option<UnitPrice>,
    points_min: Points,
}

impl Rates {
    /// `points_min` is charged where the price would be less.
    ///
    /// # Errors
    /// When a call could cost nothing, or no movement could carry one of the figures.
    pub fn new(
        points_per_call: Points,
        unit_price: Option<UnitPrice>,
        points_min: Points,
    ) -> Result<Self, RatesError> {
        if points_per_call > Points::MOVEMENT_MAX {
            return Err(RatesError::PointsPerCall);
        }
        if points_min > Points::MOVEMENT_MAX {
            return Err(RatesError::PointsMin);
        }
        if points_per_call == Points::ZERO && points_min == Points::ZERO {
            return Err(RatesError::Free);
        }
        Ok(Self {
            points_per_call,
            unit_price,
            points_min,
        })
    }

    /// Charged for every call.
    pub fn points_per_call(self) -> Points {
        self.points_per_call
    }

    /// Charged for what a call used; `None` when that does not matter.
    pub fn unit_price(self) -> Option<UnitPrice> {
        self.unit_price
    }

    /// The least a call costs.
    pub fn points_min(self) -> Points {
        self.points_min
    }

    /// What a call of so many units costs: exact, then rounded up to whole points, 1 to [`Points::MOVEMENT_MAX`].
    ///
    /// # Errors
    /// Says what is wrong with the number of units.
    pub fn price(self, units: i64) -> Result<Points, PriceError> {
        let units = u64::try_from(units).map_err(|_| PriceError::UnitsNegative)?;
        // Both are below 2^63 and their product below 2^126, so the sum cannot overflow.
        let used = self
            .unit_price
            .map_or(0, |price| price.points_rounded_up(units));
        let base = u128::from(self.points_per_call.get().unsigned_abs());
        i64::try_from(base + used)
            .ok()
            .and_then(Points::new)
            .map(|points| points.max(self.points_min))
            .filter(|points| points.is_movable())
            .ok_or(PriceError::TooMuch)
    }
}

/// Which figure of a tariff is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// Above [`Points::MOVEMENT_MAX`].
    #[error("a call may cost at most {} points", Points::MOVEMENT_MAX.get())]
    PointsPerCall,
    /// Above [`Points::MOVEMENT_MAX`].
    #[error("the minimum may be at most {} points", Points::MOVEMENT_MAX.get())]
    PointsMin,
    /// Nothing for the call, and no minimum.
    #[error("a call could cost nothing: set points per call, or a minimum of at least 1")]
    Free,
}

/// Why so many units have no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Less than none.
    #[error("units must not be negative")]
    UnitsNegative,
    /// More than one movement may carry.
    #[error("so many units cost more than {} points", Points::MOVEMENT_MAX.get())]
    TooMuch,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(per_call: i64, unit_price: &str, min: i64) -> Rates {
        let unit_price = (!unit_price.is_empty()).then(|| UnitPrice::parse(unit_price).unwrap());
        let points = |number| Points::new(number).unwrap();
        Rates::new(points(per_call), unit_price, points(min)).unwrap()
    }

    fn price(rates: Rates, units: i64) -> Result<i64, PriceError> {
        rates.price(units).map(Points::get)
    }

    #[test]
    fn a_price_is_rounded_up_to_whole_points_and_never_below_the_minimum() {
        for (rates, units, points) in [
            (rates(5, "", 0), 0, 5),
            (rates(5, "", 0), i64::MAX, 5),
            (rates(5, "", 9), 1, 9),
            (rates(0, "0.8/1000", 1), 0, 1),
            (rates(0, "0.8/1000", 1), 1, 1),
            (rates(0, "0.8/1000", 1), 1_250, 1),
            (rates(0, "0.8/1000", 1), 1_251, 2),
            (rates(0, "0.8/1000", 1), 1_500, 2),
            (rates(0, "0.8/1000", 1), 125_000, 100),
            (rates(0, "0.8/1000", 1), 125_001, 101),
            (rates(2, "0.000001/1", 1), 0, 2),
            (rates(2, "0.000001/1", 1), 1, 3),
            (rates(2, "0.000001/1", 1), 1_000_000, 3),
            (rates(2, "0.000001/1", 1), 1_000_001, 4),
            (rates(0, "1/3", 1), 3, 1),
            (rates(0, "1/3", 1), 4, 2),
        ] {
            assert_eq!(price(rates, units), Ok(points), "{rates:?} of {units}");
        }
    }

    #[test]
    fn units_that_cannot_be_priced_are_an_error_of_their_own() {
        let one_each = rates(0, "1/1", 1);
        let max = Points::MOVEMENT_MAX.get();
        assert_eq!(price(one_each, max), Ok(max));
        assert_eq!(price(one_each, max + 1), Err(PriceError::TooMuch));
        assert_eq!(price(one_each, i64::MAX), Err(PriceError::TooMuch));
        assert_eq!(price(one_each, -1), Err(PriceError::UnitsNegative));
        assert_eq!(price(one_each, i64::MIN), Err(PriceError::UnitsNegative));
        assert_eq!(
            price(rates(5, "", 0), -1),
            Err(PriceError::UnitsNegative),
            "also where units do not matter"
        );
        let dearest = rates(max, "1000000000000/1", max);
        assert_eq!(price(dearest, 0), Ok(max));
        assert_eq!(price(dearest, i64::MAX), Err(PriceError::TooMuch));
    }

    #[test]
    fn no_rates_let_a_call_cost_nothing() {
        let points = |number| Points::new(number).unwrap();
        let cheap = UnitPrice::parse("0.8/1000").unwrap();
        let (none, far_too_many) = (Points::ZERO, points(Points::MOVEMENT_MAX.get() + 1));
        for (per_call, unit_price, min, error) in [
            (none, Some(cheap), none, RatesError::Free),
            (none, None, none, RatesError::Free),
            (far_too_many, None, none, RatesError::PointsPerCall),
            (none, None, far_too_many, RatesError::PointsMin),
        ] {
            assert_eq!(Rates::new(per_call, unit_price, min), Err(error));
        }
    }

    fn any_rates() -> impl Strategy<Value = Rates> {
        let max = Points::MOVEMENT_MAX.get();
        let unit_price = (1..=UnitPrice::MICROPOINTS_MAX, 1..=UnitPrice::UNITS_MAX)
            .prop_map(|(micropoints, units)| UnitPrice::new(micropoints, units).unwrap());
        let small = (1..=3_000_000_i64, 1..=2_000_i64)
            .prop_map(|(micropoints, units)| UnitPrice::new(micropoints, units).unwrap());
        let figure = || prop_oneof![0..=20_i64, 0..=max];
        (
            figure(),
            proptest::option::of(prop_oneof![small, unit_price]),
            figure(),
        )
            .prop_filter_map(
                "a call could cost nothing",
                |(per_call, unit_price, min)| {
                    Rates::new(Points::new(per_call)?, unit_price, Points::new(min)?).ok()
                },
            )
    }

    fn any_units() -> impl Strategy<Value = i64> {
        prop_oneof![0..=100_000_i64, 0..=i64::MAX, Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn a_price_is_the_exact_value_rounded_up_or_the_minimum(rates in any_rates(), units in any_units()) {
            // In units of 1 / (1,000,000 × units priced) points, where everything is a whole number.
            let (micropoints, priced) =
                rates.unit_price().map_or((0, 1), |price| (price.micropoints(), price.units()));
            let one = 1_000_000 * i128::from(priced);
            let exact = i128::from(rates.points_per_call().get()) * one + i128::from(units) * i128::from(micropoints);
            match rates.price(units) {
                Ok(points) => {
                    let told = i128::from(points.get()) * one;
                    prop_assert!(points.is_movable());
                    prop_assert!(told >= exact, "below the exact value");
                    prop_assert!(points >= rates.points_min());
                    prop_assert!(told - exact < one || points == rates.points_min(), "a whole point too much");
                }
                Err(error) => {
                    prop_assert_eq!(error, PriceError::TooMuch);
                    prop_assert!(exact > i128::from(Points::MOVEMENT_MAX.get()) * one);
                }
            }
        }

        #[test]
        fn more_units_never_cost_less(rates in any_rates(), one in any_units(), other in any_units()) {
            let (fewer, more) = (one.min(other), one.max(other));
            match (rates.price(fewer), rates.price(more)) {
                (Ok(less), Ok(more)) => prop_assert!(less <= more),
                (Err(_), cheaper) => prop_assert!(cheaper.is_err(), "fewer units had no price: {cheaper:?}"),
                (Ok(_), Err(_)) => {}
            }
        }
    }
}
