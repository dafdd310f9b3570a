//! Moments, as microseconds since the Unix epoch: the form they have in the database.

use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch; `None` when out of range.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000).map(Self)
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Later by so many seconds (earlier when negative), at most until the end of time.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Later by whole days of 24 hours.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        self.plus_seconds(days.saturating_mul(86_400))
    }

    /// Later by calendar months in UTC: 31 January plus one month is the last day of February.
    #[must_use]
    pub fn plus_months(self, months: i32) -> Self {
        Timestamp::from_microsecond(self.0)
            .ok()
            .and_then(|at| at.to_zoned(TimeZone::UTC).checked_add(months.months()).ok())
            .map_or(Self(i64::MAX), |at| Self(at.timestamp().as_microsecond()))
    }

    /// RFC 3339 in UTC with whole seconds: `2024-12-31T23:59:59Z`.
    pub fn to_rfc3339(self) -> String {
        Timestamp::from_second(self.seconds())
            .unwrap_or(Timestamp::MAX)
            .to_string()
    }

    /// From RFC 3339 with any offset; `None` when it is not a moment.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<Timestamp>()
            .ok()
            .map(|at| Self(at.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn months_are_calendar_months() {
        assert_eq!(
            at("2024-01-31T10:00:00Z").plus_months(1),
            at("2024-02-29T10:00:00Z")
        );
        assert_eq!(
            at("2024-08-31T10:00:00Z").plus_months(6),
            at("2025-02-28T10:00:00Z")
        );
        assert_eq!(
            at("2024-03-15T10:00:00Z").plus_months(12),
            at("2025-03-15T10:00:00Z")
        );
        assert_eq!(
            Time::from_micros(i64::MAX).plus_months(1),
            Time::from_micros(i64::MAX)
        );
    }

    #[test]
    fn dates_out_are_utc_with_whole_seconds() {
        assert_eq!(
            at("2024-12-31T23:59:59.123456Z").to_rfc3339(),
            "2024-12-31T23:59:59Z"
        );
        assert_eq!(
            at("2024-01-01T08:00:00+08:00").to_rfc3339(),
            "2024-01-01T00:00:00Z"
        );
        assert_eq!(Time::from_micros(-1).to_rfc3339(), "1969-12-31T23:59:59Z");
    }
}
