//! What a key has spent, and whether its caps leave room for more.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use super::Caps;
use crate::{Points, Time};

/// What a key has spent and holds: on its last day, in its last month, and ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The day of `day_points`, see [`china_day`].
    pub day: i64,
    /// Spent on that day.
    pub day_points: Points,
    /// The month of `month_points`, see [`china_month`].
    pub month: i64,
    /// Spent in that month.
    pub month_points: Points,
    /// Spent ever.
    pub total_points: Points,
}

impl Spending {
    /// Nothing spent yet.
    pub fn none(now: Time) -> Self {
        Self {
            day: china_day(now),
            day_points: Points::ZERO,
            month: china_month(now),
            month_points: Points::ZERO,
            total_points: Points::ZERO,
        }
    }

    /// Whether the caps leave room for so many points more.
    ///
    /// # Errors
    /// Names the cap that leaves least; of several that leave the same, the one that lasts longest.
    pub fn check(&self, caps: &Caps, points: Points, now: Time) -> Result<(), CapReached> {
        match self.tightest(caps, now) {
            Some(reached) if reached.left < points => Err(reached),
            _ => Ok(()),
        }
    }

    /// What the caps leave now; `None` without a cap.
    pub fn left(&self, caps: &Caps, now: Time) -> Option<Points> {
        self.tightest(caps, now).map(|reached| reached.left)
    }

    /// Counts what was spent or held.
    pub fn add(&mut self, points: Points, now: Time) {
        *self = self.at(now);
        // Movements are so small against 64 bits that no counter gets near their end; it would stop there.
        let more = |counter: Points| counter.checked_add(points).unwrap_or(counter);
        self.day_points = more(self.day_points);
        self.month_points = more(self.month_points);
        self.total_points = more(self.total_points);
    }

    /// Counts no longer what was spent or held `at` that moment and is given back now: on that day and in that month, if
    /// they last still. Never below nothing, as when something was spent before there was a cap.
    pub fn take_back(&mut self, points: Points, at: Time, now: Time) {
        *self = self.at(now);
        let less = |counter: Points| counter.checked_sub(points).unwrap_or(Points::ZERO);
        if china_day(at) == self.day {
            self.day_points = less(self.day_points);
        }
        if china_month(at) == self.month {
            self.month_points = less(self.month_points);
        }
        self.total_points = less(self.total_points);
    }

    fn tightest(&self, caps: &Caps, now: Time) -> Option<CapReached> {
        let spent = self.at(now);
        let counters = [
            (Cap::Total, caps.total, spent.total_points),
            (Cap::Monthly, caps.monthly, spent.month_points),
            (Cap::Daily, caps.daily, spent.day_points),
        ];
        counters
            .into_iter()
            .filter_map(|(which, cap, spent)| {
                let left = cap?.checked_sub(spent).unwrap_or(Points::ZERO);
                Some(CapReached { which, left })
            })
            .min_by_key(|reached| reached.left)
    }

    /// With the counters of a day and a month that are over begun again. A clock that was set back changes nothing.
    fn at(self, now: Time) -> Self {
        let (day, month) = (china_day(now), china_month(now));
        let mut spent = self;
        if day > self.day {
            spent.day = day;
            spent.day_points = Points::ZERO;
        }
        if month > self.month {
            spent.month = month;
            spent.month_points = Points::ZERO;
        }
        spent
    }
}

/// One of a key's caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cap {
    /// Of a day.
    Daily,
    /// Of a calendar month.
    Monthly,
    /// Of the key's life.
    Total,
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daily => "daily",
            Self::Monthly => "monthly",
            Self::Total => "total",
        })
    }
}

/// A cap leaves too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {which} cap of the key leaves {left}")]
pub struct CapReached {
    /// Which one.
    pub which: Cap,
    /// Points it still leaves.
    pub left: Points,
}

/// China's time is UTC+8 all year, since 1991 without summer time.
const CHINA: Offset = Offset::constant(8);
const DAY_MICROS: i64 = 86_400_000_000;

/// The number of China's day at a moment; 0 is 1 January 1970.
pub fn china_day(at: Time) -> i64 {
    const AHEAD_MICROS: i64 = 8 * 3_600_000_000;
    at.micros()
        .saturating_add(AHEAD_MICROS)
        .div_euclid(DAY_MICROS)
}

/// The number of China's month at a moment: year × 12 + month − 1.
pub fn china_month(at: Time) -> i64 {
    let date = date_in_china(at);
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// The moment at which a day in China begins, written `2024-06-30`. `None` for any other text.
pub fn china_day_start(date: &str) -> Option<Time> {
    let is_plain = date.len() == 10
        && date
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date: Date = date.parse().ok().filter(|_| is_plain)?;
    let start = CHINA.to_timestamp(date.into()).ok()?;
    Some(Time::from_micros(start.as_microsecond()))
}

/// A day numbered by [`china_day`], written `2024-06-30`.
pub fn china_date(day: i64) -> String {
    let epoch = Date::constant(1970, 1, 1);
    let days = i32::try_from(day).unwrap_or(i32::MAX);
    let date = epoch.checked_add(jiff::Span::new().try_days(days).unwrap_or_default());
    date.unwrap_or(Date::MAX).to_string()
}

/// The first and the last day of China's month at a moment, as [`china_day`] numbers them.
pub fn china_month_days(at: Time) -> (i64, i64) {
    let date = date_in_china(at);
    let first = china_day(at) - i64::from(date.day()) + 1;
    (first, first + i64::from(date.days_in_month()) - 1)
}

fn date_in_china(at: Time) -> Date {
    let at = Timestamp::from_microsecond(at.micros()).unwrap_or(Timestamp::MAX);
    CHINA.to_datetime(at).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse_rfc3339(text).unwrap()
    }

    fn points(number: i64) -> Points {
        Points::new(number).unwrap()
    }

    /// Without those that are 0.
    fn caps(daily: i64, monthly: i64, total: i64) -> Caps {
        let cap = |number: i64| (number > 0).then(|| points(number));
        Caps {
            daily: cap(daily),
            monthly: cap(monthly),
            total: cap(total),
        }
    }

    fn spent(spending: &Spending) -> (i64, i64, i64) {
        (
            spending.day_points.get(),
            spending.month_points.get(),
            spending.total_points.get(),
        )
    }

    #[test]
    fn days_and_months_begin_at_midnight_in_china() {
        for (last, first) in [
            ("2026-01-15T15:59:59.999999Z", "2026-01-15T16:00:00Z"),
            ("1969-12-31T15:59:59Z", "1969-12-31T16:00:00Z"),
        ] {
            assert_eq!(china_day(at(last)) + 1, china_day(at(first)), "{first}");
        }
        assert_eq!(china_day(at("1970-01-01T00:00:00+08:00")), 0);
        assert_eq!(china_month(at("2025-12-31T15:59:59Z")), 2025 * 12 + 11);
        assert_eq!(china_month(at("2025-12-31T16:00:00Z")), 2026 * 12);
        let february = (
            china_day(at("2024-01-31T16:00:00Z")),
            china_day(at("2024-02-29T15:59:59Z")),
        );
        assert_eq!(february.1 - february.0, 28, "of a leap year");
        for within in [
            "2024-01-31T16:00:00Z",
            "2024-02-14T12:00:00Z",
            "2024-02-29T15:59:59Z",
        ] {
            assert_eq!(china_month_days(at(within)), february, "{within}");
        }
        for end in [i64::MIN, i64::MAX] {
            let end = Time::from_micros(end);
            assert!(china_day(end) != 0 && china_month(end) != 0);
        }
    }

    #[test]
    fn a_cap_leaves_exactly_what_is_under_it() {
        let now = at("2026-01-15T04:00:00Z");
        let mut spending = Spending::none(now);
        let daily = caps(10, 0, 0);
        assert_eq!(spending.check(&daily, points(10), now), Ok(()));
        spending.add(points(7), now);
        assert_eq!(spending.check(&daily, points(3), now), Ok(()));
        let reached = |which, left| {
            Err(CapReached {
                which,
                left: points(left),
            })
        };
        for (caps, refused) in [
            (daily, reached(Cap::Daily, 3)),
            (caps(10, 9, 100), reached(Cap::Monthly, 2)),
            (caps(10, 10, 10), reached(Cap::Total, 3)),
            // Set below what is spent.
            (caps(5, 0, 0), reached(Cap::Daily, 0)),
        ] {
            assert_eq!(spending.check(&caps, points(4), now), refused, "{caps:?}");
        }
        assert_eq!(spending.check(&Caps::NONE, points(i64::MAX), now), Ok(()));
        assert_eq!(spending.left(&Caps::NONE, now), None);
        assert_eq!(spending.left(&caps(10, 0, 8), now), Some(points(1)));
    }

    #[test]
    fn a_new_day_and_a_new_month_begin_at_nothing() {
        let mut spending = Spending::none(at("2026-01-30T04:00:00Z"));
        spending.add(points(5), at("2026-01-30T04:00:00Z"));
        spending.add(points(1), at("2026-01-30T16:00:00Z"));
        assert_eq!(spent(&spending), (1, 6, 6));
        let february = at("2026-01-31T16:00:00Z");
        assert_eq!(spending.check(&caps(9, 9, 0), points(9), february), Ok(()));
        spending.add(points(2), february);
        assert_eq!(spent(&spending), (2, 2, 8));
        spending.add(points(3), at("2026-01-30T04:00:00Z"));
        assert_eq!(spent(&spending), (5, 5, 11), "the clock was set back");
    }

    #[test]
    fn what_is_given_back_makes_room_where_it_was_spent() {
        let (first, second) = (at("2026-01-30T04:00:00Z"), at("2026-01-31T04:00:00Z"));
        let february = at("2026-01-31T16:00:00Z");
        let mut spending = Spending::none(first);
        spending.add(points(5), first);
        spending.add(points(3), second);
        spending.take_back(points(1), second, second);
        assert_eq!(spent(&spending), (2, 7, 7));
        spending.take_back(points(4), first, second);
        assert_eq!(spent(&spending), (2, 3, 3), "of another day, same month");
        spending.take_back(points(1), second, february);
        assert_eq!(spent(&spending), (0, 0, 2), "of a month that is over");
        spending.take_back(points(9), february, february);
        assert_eq!(spent(&spending), (0, 0, 0), "never below nothing");
    }
}
