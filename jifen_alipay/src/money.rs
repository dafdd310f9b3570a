//! Yuan as text, which is what Alipay sends, and fen as integers, which is what is reckoned with.

/// Longest text that [`parse_yuan`] looks at; `i64` needs 20.
const YUAN_CHARACTERS_MAX: usize = 32;

/// The text is not an amount of yuan with whole fen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an amount in yuan: digits, then at most two decimals")]
pub struct AmountError;

/// Fen of an amount such as `1.68`, `1.6` or `2`.
///
/// Zeros after the second decimal change nothing and are accepted (`1.680`); any other third decimal, a sign, an
/// exponent, a missing digit before or after the point, and what does not fit `i64` are refused.
pub fn parse_yuan(text: &str) -> Result<i64, AmountError> {
    if text.len() > YUAN_CHARACTERS_MAX {
        return Err(AmountError);
    }
    let (whole, decimals) = match text.split_once('.') {
        Some((_, "")) => return Err(AmountError),
        Some((whole, decimals)) => (whole, decimals),
        None => (text, ""),
    };
    if whole.is_empty() {
        return Err(AmountError);
    }
    let mut fen = 0_i64;
    let mut append = |digit: u8| {
        if !digit.is_ascii_digit() {
            return Err(AmountError);
        }
        fen = fen
            .checked_mul(10)
            .and_then(|fen| fen.checked_add(i64::from(digit - b'0')))
            .ok_or(AmountError)?;
        Ok(())
    };
    for digit in whole.bytes() {
        append(digit)?;
    }
    let decimals = decimals.as_bytes();
    for place in 0..2 {
        append(decimals.get(place).copied().unwrap_or(b'0'))?;
    }
    if decimals.iter().skip(2).any(|digit| *digit != b'0') {
        return Err(AmountError);
    }
    Ok(fen)
}

/// [`parse_yuan`] with an optional minus, as the refund rows of a bill have it.
pub(crate) fn parse_signed_yuan(text: &str) -> Result<i64, AmountError> {
    match text.strip_prefix('-') {
        Some(text) => parse_yuan(text).map(|fen| -fen),
        None => parse_yuan(text),
    }
}

/// `168` as `1.68`: always two decimals.
pub fn format_yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    format!("{sign}{}.{:02}", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, fen) in [
            ("1.68", 168),
            ("1.6", 160),
            ("2", 200),
            ("0.01", 1),
            ("0", 0),
            ("1.680", 168),
            ("100000000.00", 10_000_000_000),
            ("92233720368547758.07", i64::MAX),
        ] {
            assert_eq!(parse_yuan(text), Ok(fen), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1.00",
            "+1.00",
            "1e2",
            "1,00",
            "1.005",
            "1.68 ",
            " 1.68",
            "１.68",
            "1.6.8",
            "0x1",
            "NaN",
            "1.-5",
            "92233720368547758.08",
            "99999999999999999999",
            "1.6800000000000000000000000000000000",
        ] {
            assert_eq!(parse_yuan(text), Err(AmountError), "{text}");
        }
    }

    #[test]
    fn formatting_keeps_two_decimals() {
        assert_eq!(format_yuan(168), "1.68");
        assert_eq!(format_yuan(5), "0.05");
        assert_eq!(format_yuan(-68), "-0.68");
        assert_eq!(format_yuan(10_000_000_000), "100000000.00");
        assert_eq!(format_yuan(i64::MIN), "-92233720368547758.08");
        for fen in [0, 1, 99, 100, 101, i64::MAX] {
            assert_eq!(parse_yuan(&format_yuan(fen)), Ok(fen));
        }
    }

    #[test]
    fn bills_have_negative_amounts() {
        assert_eq!(parse_signed_yuan("-0.68"), Ok(-68));
        assert_eq!(parse_signed_yuan("--0.68"), Err(AmountError));
    }
}
