//! Tables for people, JSON for programs.

use serde::Serialize;

/// How to answer.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

/// Something with a row in a table.
pub(super) trait Row: Serialize {
    /// The head of the table.
    const HEAD: &'static [&'static str];

    /// The cells, in the order of the head.
    fn cells(&self) -> Vec<String>;
}

impl Output {
    /// A list: a table, or a JSON array.
    pub(super) fn list<R: Row>(self, rows: &[R]) -> anyhow::Result<()> {
        if self.json {
            return print_json(rows);
        }
        if rows.is_empty() {
            println!("none");
            return Ok(());
        }
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.cells().iter().map(|cell| printable(cell)).collect())
            .collect();
        let width = |column: usize| {
            let widest = cells
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| columns(cell))
                .max();
            widest.unwrap_or(0).max(R::HEAD[column].len())
        };
        let widths: Vec<usize> = (0..R::HEAD.len()).map(width).collect();
        print_line(
            R::HEAD.iter().map(|head| (*head).to_owned()).collect(),
            &widths,
        );
        for row in cells {
            print_line(row, &widths);
        }
        Ok(())
    }

    /// One thing: its fields below each other, or a JSON object.
    pub(super) fn one<R: Row>(self, row: &R) -> anyhow::Result<()> {
        if self.json {
            return print_json(row);
        }
        let width = R::HEAD.iter().map(|head| head.len()).max().unwrap_or(0);
        for (head, cell) in R::HEAD.iter().zip(row.cells()) {
            println!("{head:width$}  {}", printable(&cell));
        }
        Ok(())
    }

    /// A sentence for people; programs get the object.
    pub(super) fn done(self, sentence: &str, object: &serde_json::Value) -> anyhow::Result<()> {
        if self.json {
            return print_json(object);
        }
        println!("{}", printable(sentence));
        Ok(())
    }
}

fn print_json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn print_line(cells: Vec<String>, widths: &[usize]) {
    let last = widths.len().saturating_sub(1);
    let mut line = String::new();
    for (column, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
        line.push_str(&cell);
        if column < last {
            line.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(columns(&cell)) + 2,
            ));
        }
    }
    println!("{line}");
}

/// Names come from users: a control character must not steer the operator's terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Columns of a terminal a text takes: Chinese characters and emoji take two.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| if u32::from(c) >= 0x1100 { 2 } else { 1 })
        .sum()
}
