//! Alipay's times: `yyyy-MM-dd HH:mm:ss` in Beijing, whatever the zone of the server.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Beijing has had no summer time since 1991, before Alipay existed.
const BEIJING: Offset = Offset::constant(8);

/// `yyyy-MM-dd HH:mm:ss` in Beijing; `None` outside the years -9999 to 9999.
pub fn format_beijing(unix_seconds: i64) -> Option<String> {
    let moment = BEIJING.to_datetime(Timestamp::from_second(unix_seconds).ok()?);
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        moment.year(),
        moment.month(),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second()
    ))
}

/// Unix seconds of `yyyy-MM-dd HH:mm:ss` in Beijing. Milliseconds (`.SSS`, in `gmt_refund`) are dropped.
pub fn parse_beijing(text: &str) -> Option<i64> {
    let (text, fraction) = match text.split_once('.') {
        Some((text, fraction)) => (text, Some(fraction)),
        None => (text, None),
    };
    if let Some(fraction) = fraction
        && (fraction.is_empty()
            || fraction.len() > 9
            || !fraction.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return None;
    }
    let shape = b"dddd-dd-dd dd:dd:dd";
    let fits = text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == *shape,
        });
    if !fits {
        return None;
    }
    let moment: DateTime = text.parse().ok()?;
    Some(BEIJING.to_timestamp(moment).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beijing_is_eight_hours_ahead() {
        assert_eq!(
            format_beijing(1_705_291_200).as_deref(),
            Some("2024-01-15 12:00:00")
        );
        assert_eq!(parse_beijing("2024-01-15 12:00:00"), Some(1_705_291_200));
        assert_eq!(format_beijing(0).as_deref(), Some("1970-01-01 08:00:00"));
        assert_eq!(
            parse_beijing("2024-01-16 10:00:03.123"),
            parse_beijing("2024-01-16 10:00:03")
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "2024-01-15",
            "2024-01-15T12:00:00",
            "2024-01-15 12:00",
            "2024-02-30 12:00:00",
            "2024-01-15 25:00:00",
            "2024-01-15 12:00:00.",
            "2024-01-15 12:00:00.x",
            "2024-01-15 12:00:00Z",
        ] {
            assert_eq!(parse_beijing(text), None, "{text}");
        }
        assert_eq!(format_beijing(i64::MAX), None);
    }
}
