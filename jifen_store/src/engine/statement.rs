//! The one rule that makes a statement mean the same on both engines.

/// How many parameters `sql` has.
///
/// SQLite reads `$2` as a *name* and numbers names by first appearance; PostgreSQL takes the number. The two agree only
/// where `$1, $2, …` appear for the first time in this order, without a gap. Literals, quoted names and comments are
/// skipped.
///
/// # Errors
/// The parameter that stands out of order.
pub(super) fn parameters(sql: &str) -> Result<usize, String> {
    let mut highest = 0;
    let mut characters = sql.char_indices().peekable();
    while let Some((_, character)) = characters.next() {
        match character {
            '\'' | '"' => while characters.next().is_some_and(|(_, next)| next != character) {},
            '-' if characters.peek().is_some_and(|(_, next)| *next == '-') => {
                while characters.next().is_some_and(|(_, next)| next != '\n') {}
            }
            '$' => {
                let mut number = 0_usize;
                while let Some(digit) = characters.peek().and_then(|(_, next)| next.to_digit(10)) {
                    number = number.saturating_mul(10).saturating_add(digit as usize);
                    characters.next();
                }
                if number == 0 || number > highest + 1 {
                    return Err(format!("${number} stands where ${} was due", highest + 1));
                }
                highest = highest.max(number);
            }
            _ => {}
        }
    }
    Ok(highest)
}

/// Whether a statement only reads, by its first word.
pub(super) fn only_reads(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "WITH", "VALUES"]
        .iter()
        .any(|word| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_when_they_appear_in_order() {
        assert_eq!(parameters("SELECT 1"), Ok(0));
        assert_eq!(
            parameters("UPDATE t SET a = $1, b = $2 WHERE a = $1 AND c = $3"),
            Ok(3)
        );
        assert_eq!(
            parameters("INSERT INTO t VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"),
            Ok(11)
        );
    }

    #[test]
    fn a_parameter_out_of_order_is_named() {
        assert_eq!(
            parameters("SELECT $2, $1"),
            Err("$2 stands where $1 was due".to_owned())
        );
        assert_eq!(
            parameters("SELECT $1, $3"),
            Err("$3 stands where $2 was due".to_owned())
        );
        assert_eq!(
            parameters("SELECT $a"),
            Err("$0 stands where $1 was due".to_owned())
        );
    }

    #[test]
    fn literals_quoted_names_and_comments_hold_no_parameters() {
        assert_eq!(
            parameters("SELECT '$9', 'it''s $8', \"$7\" -- $6\n, $1"),
            Ok(1)
        );
    }

    #[test]
    fn the_first_word_tells_whether_a_statement_only_reads() {
        assert!(only_reads("\n  select 1"));
        assert!(only_reads("WITH x AS (SELECT 1 AS one) SELECT one FROM x"));
        assert!(!only_reads("INSERT INTO t VALUES (1) RETURNING a"));
    }
}
