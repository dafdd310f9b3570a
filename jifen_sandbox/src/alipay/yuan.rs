//! Amounts as Alipay writes them: yuan as text with at most two decimals.

/// The largest amount of one trade: a hundred million yuan.
const FEN_MAX: i64 = 10_000_000_000;

/// `"1.68"` is 168. Between `0.01` and `100000000`, no sign, no exponent, at most two decimals.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (whole, decimals) = text
        .split_once('.')
        .map_or((text, None), |(whole, decimals)| (whole, Some(decimals)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || whole.len() > 9 {
        return None;
    }
    let cents = match decimals {
        None => 0,
        Some(one) if one.len() == 1 && digits(one) => one.parse::<i64>().ok()? * 10,
        Some(two) if two.len() == 2 && digits(two) => two.parse::<i64>().ok()?,
        Some(_) => return None,
    };
    let fen = whole.parse::<i64>().ok()? * 100 + cents;
    (1..=FEN_MAX).contains(&fen).then_some(fen)
}

/// 168 is `"1.68"`.
pub(crate) fn format(fen: i64) -> String {
    format!(
        "{}{}.{:02}",
        if fen < 0 { "-" } else { "" },
        fen.abs() / 100,
        fen.abs() % 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_are_read_exactly_or_not_at_all() {
        for (text, fen) in [
            ("1.68", 168),
            ("0.01", 1),
            ("1", 100),
            ("1.6", 160),
            ("100000000", FEN_MAX),
            ("0019.90", 1990),
        ] {
            assert_eq!(parse(text), Some(fen), "{text}");
        }
        for text in [
            "0",
            "0.00",
            "0.001",
            "-1",
            "+1",
            "1e2",
            "1.",
            ".5",
            "",
            "100000000.01",
            "1,00",
            " 1",
            "9999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(format(168), "1.68");
        assert_eq!(format(-5), "-0.05");
    }
}
