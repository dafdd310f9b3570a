//! What was spent by the entries of an account that are not in a whole block yet.

use jifen_domain::key::china_day;
use jifen_domain::ledger::{Entry, Movement};

use crate::{Error, Result};

/// The column `accounts.tail_usage`: a line for each day, key and title. Numbers are big-endian: four bytes the day, one how many
/// charges, eight the points, two each the bytes of key and title; these follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TailUsage(Vec<u8>);

/// What was spent on a day with a key for a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) day: i64,
    pub(crate) api_key_id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) charges: i64,
    /// Less what was given back on that day.
    pub(crate) points: i64,
}

/// Bytes before the key.
const HEAD_BYTES: usize = 4 + 1 + 8 + 2 + 2;

impl TailUsage {
    /// # Errors
    /// [`Error::Corrupt`] when it is not made of lines.
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Self> {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let problem = || Error::Corrupt("the usage of a tail cannot be read".to_owned());
            (_, rest) = split_line(rest).ok_or_else(problem)?;
        }
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// In the order in which they came up.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let line;
            (line, rest) = split_line(rest)?;
            Some(line)
        })
    }

    /// How many of the entries are charges.
    pub(super) fn charges(&self) -> i64 {
        self.lines().map(|line| line.charges).sum()
    }

    /// Counts an entry, if it is a charge or a refund.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the sums of a line become too large to be written.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        let Some((api_key_id, title)) = spent_for(entry) else {
            return Ok(());
        };
        let added = Line {
            day: china_day(entry.at),
            api_key_id,
            title,
            charges: i64::from(matches!(entry.movement, Movement::Charge { .. })),
            points: -entry.signed_points(),
        };
        let mut start = 0;
        while let Some((line, rest)) = split_line(&self.0[start..]) {
            let end = self.0.len() - rest.len();
            if (line.day, line.api_key_id, line.title) == (added.day, api_key_id, title) {
                let charges = line.charges + added.charges;
                let points = line.points.checked_add(added.points);
                let sums = points.and_then(|points| sum_bytes(charges, points));
                self.0[start + 4..start + 13].copy_from_slice(&sums.ok_or_else(too_large)?);
                return Ok(());
            }
            start = end;
        }
        self.0.extend(added.bytes().ok_or_else(too_large)?);
        Ok(())
    }
}

impl Line<'_> {
    fn bytes(&self) -> Option<Vec<u8>> {
        let length = |text: &str| u16::try_from(text.len()).ok().map(u16::to_be_bytes);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.api_key_id.len() + self.title.len());
        bytes.extend(i32::try_from(self.day).ok()?.to_be_bytes());
        bytes.extend(sum_bytes(self.charges, self.points)?);
        bytes.extend(length(self.api_key_id)?);
        bytes.extend(length(self.title)?);
        bytes.extend(self.api_key_id.bytes());
        bytes.extend(self.title.bytes());
        Some(bytes)
    }
}

/// The key and the title of what was charged or given back.
fn spent_for(entry: &Entry) -> Option<(&str, &str)> {
    match &entry.movement {
        Movement::Charge { detail, .. } => Some((&detail.api_key_id, &detail.title)),
        Movement::Refund { source, .. } => Some((&source.api_key_id, &source.title)),
        _ => None,
    }
}

/// The first line, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let (day, rest) = bytes.split_first_chunk()?;
    let (charges, rest) = rest.split_first()?;
    let (points, rest) = rest.split_first_chunk()?;
    let (key_bytes, rest) = rest.split_first_chunk()?;
    let (title_bytes, rest) = rest.split_first_chunk()?;
    let (api_key_id, rest) = rest.split_at_checked(u16::from_be_bytes(*key_bytes).into())?;
    let (title, rest) = rest.split_at_checked(u16::from_be_bytes(*title_bytes).into())?;
    let line = Line {
        day: i32::from_be_bytes(*day).into(),
        api_key_id: std::str::from_utf8(api_key_id).ok()?,
        title: std::str::from_utf8(title).ok()?,
        charges: (*charges).into(),
        points: i64::from_be_bytes(*points),
    };
    Some((line, rest))
}

fn sum_bytes(charges: i64, points: i64) -> Option<[u8; 9]> {
    let mut bytes = [0; 9];
    bytes[0] = u8::try_from(charges).ok()?;
    bytes[1..].copy_from_slice(&points.to_be_bytes());
    Some(bytes)
}

pub(super) fn too_large() -> Error {
    Error::Corrupt("the usage of a tail is too large to be written".to_owned())
}

#[cfg(test)]
mod tests {
    use jifen_domain::ledger::{ChargeDetail, Draw, RefundSource};
    use jifen_domain::{AccountId, Points, Time};

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn entry(at: i64, movement: Movement) -> Entry {
        Entry {
            number: 1,
            movement,
            balance_after: Points::default(),
            held_after: Points::default(),
            at: Time::from_micros(at),
            request: None,
        }
    }

    fn draws(points: i64) -> Vec<Draw> {
        let points = Points::new(points).unwrap();
        vec![Draw { lot: 1, points }]
    }

    fn charge(at: i64, api_key_id: &str, title: &str, points: i64) -> Entry {
        let detail = ChargeDetail {
            api_key_id: api_key_id.to_owned(),
            title: title.to_owned(),
            description: None,
            tariff: None,
        };
        let movement = Movement::Charge {
            number: 1,
            detail,
            draws: draws(points),
            hold: None,
        };
        entry(at, movement)
    }

    fn refund(at: i64, api_key_id: &str, title: &str, points: i64) -> Entry {
        let source = RefundSource {
            account: AccountId(1),
            charge: 1,
            api_key_id: api_key_id.to_owned(),
            title: title.to_owned(),
        };
        let movement = Movement::Refund {
            source,
            returns: draws(points),
            lot: None,
        };
        entry(at, movement)
    }

    fn line<'a>(day: i64, api_key_id: &'a str, title: &'a str, sums: (i64, i64)) -> Line<'a> {
        let (charges, points) = sums;
        Line {
            day,
            api_key_id,
            title,
            charges,
            points,
        }
    }

    #[test]
    fn what_belongs_together_is_one_line() {
        let mut usage = TailUsage::default();
        for entry in [
            charge(0, "k", "翻译", 5),
            charge(0, "k", "OCR", 1),
            refund(DAY, "k", "OCR", 1),
            charge(0, "kO", "CR", 0),
            entry(0, Movement::Release { hold: 3 }),
            charge(0, "k", "OCR", i64::MAX - 1),
            charge(DAY, "k", "OCR", 7),
            charge(-DAY, "", "", 2),
        ] {
            usage.add(&entry).unwrap();
            assert_eq!(TailUsage::read(usage.bytes().to_vec()), Ok(usage.clone()));
        }
        let lines: Vec<_> = usage.lines().collect();
        let expected = [
            line(0, "k", "翻译", (1, 5)),
            line(0, "k", "OCR", (2, i64::MAX)),
            line(1, "k", "OCR", (1, 6)),
            line(0, "kO", "CR", (1, 0)),
            line(-1, "", "", (1, 2)),
        ];
        assert_eq!(lines, expected);
        assert_eq!(usage.charges(), 6);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut usage = TailUsage::default();
        usage.add(&charge(0, "k", "OCR", i64::MAX)).unwrap();
        let before = usage.clone();
        let long = "字".repeat(30_000);
        for entry in [charge(0, "k", "OCR", 1), charge(0, "k", &long, 1)] {
            assert_eq!(usage.add(&entry), Err(too_large()));
            assert_eq!(usage, before);
        }
    }

    #[test]
    fn other_bytes_than_lines_are_refused() {
        let mut usage = TailUsage::default();
        usage.add(&charge(0, "k", "OCR", 1)).unwrap();
        let whole = usage.bytes();
        for length in 1..whole.len() {
            assert!(
                TailUsage::read(whole[..length].to_vec()).is_err(),
                "{length}"
            );
        }
        let mut not_text = whole.to_vec();
        not_text[HEAD_BYTES] = 0xff;
        for more in [not_text, [whole, &[0]].concat(), vec![0xff; 40]] {
            assert!(TailUsage::read(more).is_err());
        }
    }
}
