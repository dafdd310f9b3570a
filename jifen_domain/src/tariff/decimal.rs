//! Prices with decimals, exact: `0.8/1000` is 0.8 points for every 1,000 units.

use std::fmt;

use crate::Points;

const MICROPOINTS_PER_POINT: i64 = 1_000_000;
const DECIMALS_MAX: usize = 6;

/// So much for so many units, in millionths of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitPrice {
    micropoints: i64,
    units: i64,
}

impl UnitPrice {
    /// The highest price of one step: as many millionths as [`Points::MOVEMENT_MAX`] has.
    pub const MICROPOINTS_MAX: i64 = 1_000_000_000_000 * MICROPOINTS_PER_POINT;
    /// The most units of one step.
    pub const UNITS_MAX: i64 = 1_000_000_000_000;

    /// `None` unless both are at least 1 and at most [`UnitPrice::MICROPOINTS_MAX`] and [`UnitPrice::UNITS_MAX`].
    pub fn new(micropoints: i64, units: i64) -> Option<Self> {
        let fits = (1..=Self::MICROPOINTS_MAX).contains(&micropoints)
            && (1..=Self::UNITS_MAX).contains(&units);
        fits.then_some(Self { micropoints, units })
    }

    /// Reads `0.8/1000`: points with at most six decimals for so many units.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, UnitPriceError> {
        let (price, units) = text.split_once('/').ok_or(UnitPriceError::Form)?;
        let micropoints = micropoints(price)?;
        let is_number = !units.is_empty() && units.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(UnitPriceError::Units);
        }
        // Digits alone that do not fit are too many units.
        let units = units.parse().map_err(|_| UnitPriceError::Units)?;
        if micropoints == 0 {
            return Err(UnitPriceError::Nothing);
        }
        Self::new(micropoints, units).ok_or(UnitPriceError::Units)
    }

    /// Millionths of a point.
    pub fn micropoints(self) -> i64 {
        self.micropoints
    }

    /// For so many units.
    pub fn units(self) -> i64 {
        self.units
    }

    /// What so many units cost, rounded up to whole points.
    pub(super) fn points_rounded_up(self, units: u64) -> u128 {
        // 2^64 × 2^63 at most, divided by at least 1,000,000.
        let millionths = u128::from(units) * u128::from(self.micropoints.unsigned_abs());
        let whole = u128::from(self.units.unsigned_abs())
            * u128::from(MICROPOINTS_PER_POINT.unsigned_abs());
        millionths.div_ceil(whole)
    }
}

impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.micropoints / MICROPOINTS_PER_POINT)?;
        let decimals = format!("{:06}", self.micropoints % MICROPOINTS_PER_POINT);
        let decimals = decimals.trim_end_matches('0');
        if !decimals.is_empty() {
            write!(f, ".{decimals}")?;
        }
        write!(f, "/{}", self.units)
    }
}

/// Why a text is not a price of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitPriceError {
    /// No slash.
    #[error("write points and units with a slash between them, such as 0.8/1000")]
    Form,
    /// What stands before the slash.
    #[error(transparent)]
    Price(#[from] DecimalError),
    /// What stands behind it.
    #[error(
        "behind the slash belongs a whole number of units, 1 to {}, such as 0.8/1000",
        UnitPrice::UNITS_MAX
    )]
    Units,
    /// Zero points.
    #[error("the price of units must be more than 0; leave it out where units do not matter")]
    Nothing,
}

/// Why a text is not a number of points with decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// A sign, an exponent, a space, a comma, digits missing beside the point.
    #[error("points are written with digits and at most one decimal point, such as 0.8")]
    NotDecimal,
    /// More than six.
    #[error("points have at most {DECIMALS_MAX} decimals")]
    TooManyDecimals,
    /// Above [`Points::MOVEMENT_MAX`].
    #[error("points may be at most {}", Points::MOVEMENT_MAX.get())]
    TooMuch,
}

/// The millionths in a decimal number.
fn micropoints(text: &str) -> Result<i64, DecimalError> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) => (whole, decimals),
        None => (text, "0"),
    };
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) {
        return Err(DecimalError::NotDecimal);
    }
    if decimals.len() > DECIMALS_MAX {
        return Err(DecimalError::TooManyDecimals);
    }
    // Only digits are left, so what cannot be read is too much.
    format!("{whole}{decimals:0<DECIMALS_MAX$}")
        .parse()
        .ok()
        .filter(|micropoints| *micropoints <= UnitPrice::MICROPOINTS_MAX)
        .ok_or(DecimalError::TooMuch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_and_written_as_people_do() {
        for (text, micropoints, units, written) in [
            ("0.8/1000", 800_000, 1_000, "0.8/1000"),
            ("00.80/1000", 800_000, 1_000, "0.8/1000"),
            ("3/1", 3_000_000, 1, "3/1"),
            ("3.0/007", 3_000_000, 7, "3/7"),
            ("0.000001/1", 1, 1, "0.000001/1"),
            (
                "10.000010/1000000",
                10_000_010,
                1_000_000,
                "10.00001/1000000",
            ),
            (
                "1000000000000/1000000000000",
                UnitPrice::MICROPOINTS_MAX,
                UnitPrice::UNITS_MAX,
                "1000000000000/1000000000000",
            ),
        ] {
            let price = UnitPrice::parse(text).unwrap();
            assert_eq!((price.micropoints(), price.units()), (micropoints, units));
            assert_eq!(price.to_string(), written);
            assert_eq!(UnitPrice::parse(written), Ok(price));
        }
    }

    #[test]
    fn what_is_not_a_price_is_refused_for_what_is_wrong_with_it() {
        use DecimalError::{NotDecimal, TooManyDecimals, TooMuch};
        use UnitPriceError::{Form, Nothing, Price, Units};
        let long = format!("{}/1", "9".repeat(1_000));
        for (text, error) in [
            ("", Form),
            ("0.8", Form),
            ("/1000", Price(NotDecimal)),
            (".8/1000", Price(NotDecimal)),
            ("1./1000", Price(NotDecimal)),
            ("-0.8/1000", Price(NotDecimal)),
            ("+0.8/1000", Price(NotDecimal)),
            ("8e-1/1000", Price(NotDecimal)),
            ("0,8/1000", Price(NotDecimal)),
            ("0.8.1/1000", Price(NotDecimal)),
            (" 0.8/1000", Price(NotDecimal)),
            ("０.８/1000", Price(NotDecimal)),
            ("0.8000000/1000", Price(TooManyDecimals)),
            ("0.0000001/1000", Price(TooManyDecimals)),
            ("1000000000000.000001/1", Price(TooMuch)),
            (&long, Price(TooMuch)),
            ("0/1000", Nothing),
            ("0.000000/1000", Nothing),
            ("0.8/", Units),
            ("0.8/0", Units),
            ("0.8/-1", Units),
            ("0.8/1k", Units),
            ("0.8/1/1", Units),
            ("0.8/1000000000001", Units),
            ("0.8/99999999999999999999", Units),
        ] {
            assert_eq!(UnitPrice::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_price_out_of_range_is_none() {
        assert!(UnitPrice::new(1, 1).is_some());
        assert_eq!(
            UnitPrice::MICROPOINTS_MAX,
            Points::MOVEMENT_MAX.get() * MICROPOINTS_PER_POINT
        );
        for (micropoints, units) in [
            (0, 1),
            (1, 0),
            (-1, 1),
            (1, -1),
            (UnitPrice::MICROPOINTS_MAX + 1, 1),
            (1, UnitPrice::UNITS_MAX + 1),
        ] {
            assert_eq!(UnitPrice::new(micropoints, units), None);
        }
    }
}
