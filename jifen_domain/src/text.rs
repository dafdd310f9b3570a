//! What a line of text given by a person or a program may be.

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Nothing but white space.
    Blank,
    /// More characters than the limit given here.
    TooLong {
        /// The most characters allowed.
        chars_max: usize,
    },
    /// A control character, a line break included.
    Control,
}

/// One line, trimmed: 1 to `chars_max` characters, none of them a control character. Emoji are fine.
///
/// # Errors
/// Says which rule the text breaks.
pub fn line(text: &str, chars_max: usize) -> Result<&str, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::Blank);
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if text.chars().nth(chars_max).is_some() {
        return Err(TextError::TooLong { chars_max });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_counted_in_characters_after_trimming() {
        assert_eq!(line("  我的钥匙🔑 ", 5), Ok("我的钥匙🔑"));
        assert_eq!(
            line("我的钥匙🔑!", 5),
            Err(TextError::TooLong { chars_max: 5 })
        );
        assert_eq!(line(" \u{3000}\t", 5), Err(TextError::Blank));
        assert_eq!(line("a\0b", 5), Err(TextError::Control));
        assert_eq!(line("a\nb", 5), Err(TextError::Control));
    }
}
