//! What makes a statement mean the same on both engines: how parameters are numbered, and where rows come in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// Where the rows come in: after what is inserted or set, before a table of a FROM, or behind a column.
const FROM_EACH: &str = "{from each}";
const EACH: &str = "{each}";
pub(super) const IN_EACH: &str = "{in each}";

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
    for (_, number) in scan(sql) {
        if number == 0 || number > highest + 1 {
            return Err(format!("${number} stands where ${} was due", highest + 1));
        }
        highest = highest.max(number);
    }
    Ok(highest)
}

/// How many columns a statement for many rows takes.
///
/// # Errors
/// What is wrong with its parameters or its marker.
pub(super) fn columns(sql: &str) -> Result<usize, String> {
    let markers = [FROM_EACH, EACH, IN_EACH].map(|marker| sql.matches(marker).count());
    match (markers, parameters(sql)?) {
        ([0, 0, 1], 0) => Ok(1),
        ([0, 0, _], number @ 1..) => Err(format!("${number} beside or without a marker")),
        ([1, 0, 0] | [0, 1, 0], number) => Ok(number),
        _ => Err("one marker was due".to_owned()),
    }
}

/// What a statement for many rows is rewritten for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One row at a time; its values are the parameters.
    OneRow,
    /// All rows at once; the parameters are arrays, one for each column.
    AllRows,
}

impl Form {
    fn rewrite(self, sql: &str) -> String {
        match self {
            Self::OneRow => one_row(sql),
            Self::AllRows if sql.contains(IN_EACH) => sql.replace(IN_EACH, "= ANY($1)"),
            Self::AllRows => all_rows(sql),
        }
    }
}

/// The texts of statements for many rows, rewritten once for one engine. They are parts of the program, which bounds
/// their number.
pub(super) struct Texts {
    form: Form,
    rewritten: RwLock<HashMap<&'static str, Arc<str>>>,
}

impl Texts {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            rewritten: RwLock::default(),
        }
    }

    pub(super) fn get(&self, sql: &'static str) -> Arc<str> {
        // Nothing under this lock can leave the map half changed.
        let known = self
            .rewritten
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known.get(sql) {
            return Arc::clone(text);
        }
        drop(known);
        let text: Arc<str> = self.form.rewrite(sql).into();
        let mut known = self
            .rewritten
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(sql).or_insert(text))
    }
}

/// The statement for one row, which PostgreSQL understands as well.
///
/// SQLite keeps a copy of every page that an `INSERT … SELECT` changes until the statement has ended; of `VALUES` it knows
/// that there is one row.
pub(crate) fn one_row(sql: &str) -> String {
    if let Some((head, tail)) = sql.split_once(FROM_EACH)
        && let Some((target, values)) = head.split_once("SELECT ")
        && target.starts_with("INSERT INTO ")
    {
        let tail = tail.trim_start();
        let tail = tail.strip_prefix("WHERE true").unwrap_or(tail);
        return format!(
            "{target}VALUES ({}) {}",
            values.trim_end(),
            tail.trim_start()
        );
    }
    sql.replace(FROM_EACH, "")
        .replace(EACH, "")
        .replace(IN_EACH, "= $1")
}

fn all_rows(sql: &str) -> String {
    let mut rewritten = String::with_capacity(2 * sql.len());
    let mut columns = 0;
    let mut end = 0;
    for (place, number) in scan(sql) {
        rewritten.push_str(sql.get(end..place.start).unwrap_or_default());
        rewritten.push_str("each.c");
        rewritten.push_str(&number.to_string());
        columns = columns.max(number);
        end = place.end;
    }
    rewritten.push_str(sql.get(end..).unwrap_or_default());
    let list = |prefix: &str| {
        let names: Vec<String> = (1..=columns)
            .map(|number| format!("{prefix}{number}"))
            .collect();
        names.join(", ")
    };
    let each = format!("unnest({}) AS each({})", list("$"), list("c"));
    rewritten
        .replace(FROM_EACH, &format!("FROM {each}"))
        .replace(EACH, &format!("{each} CROSS JOIN LATERAL"))
}

/// The parameters of a text and where they stand, as far as they are not in literals, quoted names and comments. A `$`
/// without a number has number 0.
fn scan(sql: &str) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut characters = sql.char_indices().peekable();
    std::iter::from_fn(move || {
        while let Some((start, character)) = characters.next() {
            match character {
                '\'' | '"' => while characters.next().is_some_and(|(_, next)| next != character) {},
                '-' if characters.peek().is_some_and(|(_, next)| *next == '-') => {
                    while characters.next().is_some_and(|(_, next)| next != '\n') {}
                }
                '$' => {
                    let mut number = 0_usize;
                    let mut end = start + 1;
                    while let Some(digit) =
                        characters.peek().and_then(|(_, next)| next.to_digit(10))
                    {
                        number = number.saturating_mul(10).saturating_add(digit as usize);
                        end += 1;
                        characters.next();
                    }
                    return Some((start..end, number));
                }
                _ => {}
            }
        }
        None
    })
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
    fn the_columns_of_a_statement_for_many_rows_are_counted() {
        assert_eq!(
            columns("INSERT INTO t (a, b) SELECT $1, $2 {from each}"),
            Ok(2)
        );
        assert_eq!(columns("SELECT e.x FROM {each} (SELECT $1 AS x) e"), Ok(1));
        assert_eq!(
            columns("SELECT x FROM t WHERE a {in each} ORDER BY x"),
            Ok(1)
        );
        for wrong in [
            "SELECT x FROM t WHERE a {in each} AND b = $1",
            "INSERT INTO t (a, b) SELECT $1, $2",
            "INSERT INTO t (a, b) SELECT $2, $1 {from each}",
            "SELECT $1 {from each} {from each}",
            "SELECT 1",
        ] {
            assert!(columns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_statement_for_many_rows_is_rewritten_for_one_and_for_all() {
        let cases = [
            (
                "UPDATE t SET x = $1, y = '$1' {from each} WHERE t.a = $2 AND t.b > $1",
                "UPDATE t SET x = $1, y = '$1'  WHERE t.a = $2 AND t.b > $1",
                "UPDATE t SET x = each.c1, y = '$1' FROM unnest($1, $2) AS each(c1, c2) WHERE t.a = each.c2 AND t.b > each.c1",
            ),
            (
                "INSERT INTO t (a, b) SELECT $1, $2 {from each}",
                "INSERT INTO t (a, b) VALUES ($1, $2) ",
                "INSERT INTO t (a, b) SELECT each.c1, each.c2 FROM unnest($1, $2) AS each(c1, c2)",
            ),
            (
                "INSERT INTO t (a) SELECT $1 {from each} WHERE true ON CONFLICT DO NOTHING",
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING",
                "INSERT INTO t (a) SELECT each.c1 FROM unnest($1) AS each(c1) WHERE true ON CONFLICT DO NOTHING",
            ),
            (
                "SELECT e.x FROM {each} (SELECT x FROM t WHERE a = $1) e",
                "SELECT e.x FROM  (SELECT x FROM t WHERE a = $1) e",
                "SELECT e.x FROM unnest($1) AS each(c1) CROSS JOIN LATERAL (SELECT x FROM t WHERE a = each.c1) e",
            ),
            (
                "SELECT x FROM t WHERE a {in each}",
                "SELECT x FROM t WHERE a = $1",
                "SELECT x FROM t WHERE a = ANY($1)",
            ),
        ];
        for (sql, one, all) in cases {
            for (form, expected) in [(Form::OneRow, one), (Form::AllRows, all)] {
                let texts = Texts::new(form);
                assert_eq!(&*texts.get(sql), expected);
                assert!(Arc::ptr_eq(&texts.get(sql), &texts.get(sql)));
            }
        }
    }

    #[test]
    fn the_first_word_tells_whether_a_statement_only_reads() {
        assert!(only_reads("\n  select 1"));
        assert!(only_reads("WITH x AS (SELECT 1 AS one) SELECT one FROM x"));
        assert!(!only_reads("INSERT INTO t VALUES (1) RETURNING a"));
    }
}
