//! The two ways in which the payment providers write a moment: always in China's time, which has no summer time.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};

const OFFSET: Offset = Offset::constant(8);

/// `2024-01-15T12:05:09+08:00`
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    format(moment, "%Y-%m-%dT%H:%M:%S+08:00")
}

/// `2024-01-15 12:05:09`
pub(crate) fn plain(moment: Timestamp) -> String {
    format(moment, "%Y-%m-%d %H:%M:%S")
}

/// `2024-01-15 12:05:09.123`
pub(crate) fn plain_milliseconds(moment: Timestamp) -> String {
    format(moment, "%Y-%m-%d %H:%M:%S.%3f")
}

/// `20240115120509`, as it begins the providers' own numbers.
pub(crate) fn compact(moment: Timestamp) -> String {
    format(moment, "%Y%m%d%H%M%S")
}

/// The day a moment falls on.
pub(crate) fn date(moment: Timestamp) -> Date {
    OFFSET.to_datetime(moment).date()
}

/// The hour of the day, 0..=23.
pub(crate) fn hour(moment: Timestamp) -> i8 {
    OFFSET.to_datetime(moment).hour()
}

/// Reads `2024-01-15 12:05:09`; anything else is `None`.
pub(crate) fn parse_plain(text: &str) -> Option<Timestamp> {
    if text.len() != 19 {
        return None;
    }
    let local = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
    OFFSET.to_timestamp(local).ok()
}

/// Reads `2024-01-15`; anything else is `None`.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    if text.len() != 10 {
        return None;
    }
    Date::strptime("%Y-%m-%d", text).ok()
}

/// The first moment of the day after `moment`.
pub(crate) fn end_of_day(moment: Timestamp) -> Timestamp {
    date(moment)
        .tomorrow()
        .and_then(|tomorrow| tomorrow.at(0, 0, 0, 0).to_zoned(TimeZone::fixed(OFFSET)))
        .map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

fn format(moment: Timestamp, layout: &str) -> String {
    OFFSET.to_datetime(moment).strftime(layout).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_in_chinese_time() {
        let moment = Timestamp::from_millisecond(1_705_291_509_123).unwrap();
        assert_eq!(rfc3339(moment), "2024-01-15T12:05:09+08:00");
        assert_eq!(plain(moment), "2024-01-15 12:05:09");
        assert_eq!(plain_milliseconds(moment), "2024-01-15 12:05:09.123");
        assert_eq!(compact(moment), "20240115120509");
        assert_eq!(
            parse_plain("2024-01-15 12:05:09").unwrap().as_second(),
            moment.as_second()
        );
        assert_eq!(parse_plain("2024-01-15T12:05:09"), None);
        assert_eq!(plain(end_of_day(moment)), "2024-01-16 00:00:00");
    }
}
