//! Whole fen and whole points. Neither ever becomes a float, and no sum overflows silently.

use std::fmt;

/// An amount of money in fen (1 yuan = 100 fen), CNY. May be zero, never negative by construction through [`Fen::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fen(i64);

impl Fen {
    /// The most a single order may cost: 100,000,000 yuan, Alipay's limit; WeChat Pay's is lower for most merchants.
    pub const ORDER_MAX: Fen = Fen(10_000_000_000);

    /// `None` when negative.
    pub fn new(fen: i64) -> Option<Self> {
        (fen >= 0).then_some(Self(fen))
    }

    /// The amount in fen.
    pub fn get(self) -> i64 {
        self.0
    }

    /// Yuan with two decimals, as Alipay writes amounts: `1.68`.
    pub fn to_yuan(self) -> String {
        format!("{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl fmt::Display for Fen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fen", self.0)
    }
}

/// A number of points, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Points(i64);

impl Points {
    /// No points.
    pub const ZERO: Points = Points(0);

    /// The most a single movement may carry. Far above any sale, far below where sums of movements could overflow.
    pub const MOVEMENT_MAX: Points = Points(1_000_000_000_000);

    /// `None` when negative.
    pub fn new(points: i64) -> Option<Self> {
        (points >= 0).then_some(Self(points))
    }

    /// The number of points.
    pub fn get(self) -> i64 {
        self.0
    }

    /// `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `None` when `other` is more than `self`.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::new)
    }

    /// Whether this is a number one movement may carry: 1 to [`Points::MOVEMENT_MAX`].
    pub fn is_movable(self) -> bool {
        self > Self::ZERO && self <= Self::MOVEMENT_MAX
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} points", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fen_reads_as_yuan_with_two_decimals() {
        let yuan = |fen| Fen::new(fen).map(Fen::to_yuan);
        assert_eq!(yuan(168).as_deref(), Some("1.68"));
        assert_eq!(yuan(5).as_deref(), Some("0.05"));
        assert_eq!(yuan(100_000).as_deref(), Some("1000.00"));
        assert_eq!(yuan(-1), None);
    }

    #[test]
    fn points_never_go_below_zero_and_never_wrap() {
        let three = Points::new(3).unwrap();
        assert_eq!(three.checked_sub(Points::new(4).unwrap()), None);
        assert_eq!(Points::new(i64::MAX).unwrap().checked_add(three), None);
        assert!(!Points::ZERO.is_movable());
        assert!(
            !Points::new(Points::MOVEMENT_MAX.get() + 1)
                .unwrap()
                .is_movable()
        );
    }
}
