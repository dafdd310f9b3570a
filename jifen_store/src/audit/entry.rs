//! A row of `entries`, as it is stored: nothing about it is taken for granted.

use std::borrow::Cow;

use jifen_domain::Time;
use jifen_domain::key::china_day;

use super::fact::{Call, Usage};
use crate::Result;
use crate::engine::Row;
use crate::ledger::{Fingerprint, fingerprint};

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Grant,
    Charge,
    Refund,
    Hold,
    Extend,
    Release,
    Expiry,
    MergeOut,
    Unknown,
}

impl Kind {
    fn parse(text: &str) -> Self {
        match text {
            "grant" => Self::Grant,
            "charge" => Self::Charge,
            "refund" => Self::Refund,
            "hold" => Self::Hold,
            "extend" => Self::Extend,
            "release" => Self::Release,
            "expiry" => Self::Expiry,
            "merge_out" => Self::MergeOut,
            _ => Self::Unknown,
        }
    }
}

/// A row of `entries`.
pub(super) struct EntryRow {
    pub(super) position: i64,
    pub(super) account: i64,
    pub(super) number: i64,
    pub(super) kind: Kind,
    pub(super) points: i64,
    pub(super) balance_after: i64,
    pub(super) held_after: i64,
    pub(super) at: i64,
    pub(super) charge_number: Option<i64>,
    pub(super) lot: Option<i64>,
    pub(super) origin_account: Option<i64>,
    pub(super) origin_entry: Option<i64>,
    pub(super) hold_points: Option<i64>,
    pub(super) hold_expires_at: Option<i64>,
    pub(super) key: Option<String>,
    pub(super) tariff: Option<i64>,
    pub(super) units: Option<i64>,
    pub(super) title: String,
    pub(super) description: Option<String>,
    pub(super) request_key: Option<Vec<u8>>,
    pub(super) request_hash: Option<Vec<u8>>,
}

impl EntryRow {
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            position: row.get(0)?,
            account: row.get(1)?,
            number: row.get(2)?,
            kind: Kind::parse(&row.get::<String>(3)?),
            points: row.get(4)?,
            balance_after: row.get(5)?,
            held_after: row.get(6)?,
            at: row.get(7)?,
            charge_number: row.get(8)?,
            lot: row.get(9)?,
            origin_account: row.get(10)?,
            origin_entry: row.get(11)?,
            hold_points: row.get(12)?,
            hold_expires_at: row.get(13)?,
            key: row.get(14)?,
            tariff: row.get(15)?,
            units: row.get(16)?,
            title: row.get(17)?,
            description: row.get(18)?,
            request_key: row.get(19)?,
            request_hash: row.get(20)?,
        })
    }

    /// The lot it adds: a grant's, or that of a refund of a charge that another account paid.
    pub(super) fn granted_lot(&self) -> Option<i64> {
        let grants = match self.kind {
            Kind::Grant => true,
            Kind::Refund => self.origin_account != Some(self.account),
            _ => false,
        };
        self.lot.filter(|_| grants)
    }

    /// Whether draws say from which lots its points came or to which they went.
    pub(super) fn has_draws(&self) -> bool {
        let moves_on_lots = match self.kind {
            Kind::Charge | Kind::Expiry | Kind::MergeOut => true,
            Kind::Refund => self.origin_account == Some(self.account),
            _ => false,
        };
        moves_on_lots && self.lot.is_none() && self.points != 0
    }

    /// The hold it changes or ends.
    pub(super) fn hold(&self) -> Option<i64> {
        match self.kind {
            Kind::Extend | Kind::Release | Kind::Charge => self.origin_entry,
            _ => None,
        }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            key: Cow::Borrowed(self.key.as_deref().unwrap_or_default()),
            title: Cow::Borrowed(&self.title),
            description: self.description.as_deref().map(Cow::Borrowed),
        }
    }

    pub(super) fn usage(&self) -> Usage<'_> {
        Usage {
            day: china_day(Time::from_micros(self.at)),
            key: Cow::Borrowed(self.key.as_deref().unwrap_or_default()),
            title: Cow::Borrowed(&self.title),
        }
    }

    /// Of the request it answers; none when the key is not whole, which is told of the row.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let key = self.request_key.as_deref()?.try_into().ok()?;
        Some(fingerprint(key))
    }

    pub(super) fn row(&self) -> String {
        format!("entry {} at position {}", self.number, self.position)
    }

    /// Whether it adds or takes away as its kind does.
    pub(super) fn has_fitting_points(&self) -> bool {
        match self.kind {
            Kind::Grant | Kind::Refund => self.points > 0,
            Kind::Hold | Kind::Extend | Kind::Release => self.points == 0,
            Kind::Charge => self.points < 0 || (self.points == 0 && self.origin_entry.is_some()),
            Kind::Expiry | Kind::MergeOut => self.points < 0,
            Kind::Unknown => true,
        }
    }

    /// Whether it names a lot if its kind demands it.
    pub(super) fn has_fitting_lot(&self) -> bool {
        match self.kind {
            Kind::Grant | Kind::Expiry => self.lot.is_some(),
            Kind::Hold | Kind::Extend | Kind::Release => self.lot.is_none(),
            Kind::Refund => self.lot.is_some() || self.origin_account == Some(self.account),
            _ => self.lot.is_none() || self.points != 0,
        }
    }
}
