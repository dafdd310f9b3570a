//! Holds, and the lots they are on.

use std::borrow::Cow;

use super::Audit;
use super::fact::{Call, Ended, Fact, HeldFor};
use super::table::{Key, ROWS_WITH_OTHERS, Table};
use crate::engine::Row;
use crate::{Result, Tx};

/// How a hold stands, as an entry tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) points: i64,
    pub(super) expires_at: i64,
}

/// A row of `holds`.
pub(super) struct HoldRow {
    account: i64,
    entry: i64,
    points: i64,
    created_at: i64,
    expires_at: i64,
    state: String,
    key: String,
    tariff: Option<i64>,
    title: String,
    description: Option<String>,
    end_entry: Option<i64>,
    shortfall: Option<i64>,
    origin: [Option<i64>; 2],
    /// The person it belongs to, and the one it came from.
    owner: Option<i64>,
    origin_owner: Option<i64>,
}

impl Table for HoldRow {
    const NAME: &'static str = "holds";
    const ROWS: i64 = ROWS_WITH_OTHERS;
    const SQL: &'static str = "SELECT h.account_id, h.entry_number, h.points, h.created_at, h.expires_at, h.state, h.api_key_id, \
         h.tariff_id, h.title, h.description, h.end_entry, h.shortfall, h.origin_account, h.origin_entry, \
         COALESCE(u.merged_into, u.id), COALESCE(w.merged_into, w.id) FROM (SELECT * FROM holds \
         WHERE (account_id, entry_number) > ($1, $2) AND account_id <= $3 ORDER BY account_id, entry_number LIMIT $4) h \
         LEFT JOIN users u ON u.id = ABS(h.account_id) LEFT JOIN users w ON w.id = ABS(h.origin_account) \
         ORDER BY h.account_id, h.entry_number";

    fn before(account: i64) -> Key {
        Key::Two(account, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            entry: row.get(1)?,
            points: row.get(2)?,
            created_at: row.get(3)?,
            expires_at: row.get(4)?,
            state: row.get(5)?,
            key: row.get(6)?,
            tariff: row.get(7)?,
            title: row.get(8)?,
            description: row.get(9)?,
            end_entry: row.get(10)?,
            shortfall: row.get(11)?,
            origin: [row.get(12)?, row.get(13)?],
            owner: row.get(14)?,
            origin_owner: row.get(15)?,
        })
    }

    fn key(&self) -> Key {
        Key::Two(self.account, self.entry)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let is = |state: &str| self.state == state;
        audit.require(
            self.account,
            Self::NAME,
            &format!("hold {}", self.entry),
            &[
                (self.points > 0, "its points are not positive"),
                (
                    ["held", "captured", "released", "expired", "moved"]
                        .contains(&self.state.as_str()),
                    "there is no such state",
                ),
                (
                    is("held") == self.end_entry.is_none(),
                    "a hold that has ended, and no other, names the entry that ended it",
                ),
                (
                    is("captured") == self.shortfall.is_some(),
                    "what was captured, and nothing else, has a shortfall",
                ),
                (
                    self.shortfall.is_none_or(|points| points >= 0),
                    "its shortfall is negative",
                ),
                (
                    self.origin[0].is_some() == self.origin[1].is_some(),
                    "where it came from is not told as a whole",
                ),
                (
                    self.origin[0].is_none() || self.owner == self.origin_owner,
                    "it came from an account of somebody else",
                ),
            ],
        );
        let (account, hold) = (self.account, self.entry);
        let made = |hold: i64, at: Option<i64>| {
            Box::new(HeldFor {
                hold,
                at,
                tariff: self.tariff,
                call: self.call(),
            })
        };
        let created_at = Some(self.created_at);
        let own_time = created_at.filter(|_| self.origin[0].is_none());
        audit.fact(account, Fact::Held(made(hold, own_time)), -1, None);
        if is("moved") {
            audit.fact(account, Fact::MovedHold(made(hold, created_at)), 1, None);
        }
        if let [Some(younger), Some(entry)] = self.origin {
            let moved = Fact::MovedHold(made(entry, created_at));
            audit.fact(younger, moved, -1, None);
        }
        let expires_at = self.expires_at;
        audit.fact(account, Fact::HeldUntil { hold, expires_at }, -1, None);
        let points = self.points.saturating_neg();
        audit.fact(account, Fact::HeldPoints { hold }, points, None);
        audit.fact(account, Fact::Pinned { hold }, self.points, None);
        if let Some(entry) = self.end_entry {
            let ended = Ended {
                hold,
                entry,
                captured: is("captured").then(|| self.call()),
            };
            audit.fact(account, Fact::Ended(Box::new(ended)), -1, None);
            audit.fact(account, Fact::Freed { hold }, points, None);
        }
    }
}

impl Audit<'_> {
    /// All holds that tell of the accounts of this pass: their own, and those that came from them.
    pub(super) async fn read_holds(&mut self, tx: &mut Tx) -> Result<()> {
        for range in self.ranges_with_origins(tx).await? {
            self.read_table::<HoldRow>(tx, range).await?;
        }
        Ok(())
    }
}

impl HoldRow {
    fn call(&self) -> Call<'_> {
        Call {
            key: Cow::Borrowed(&self.key),
            title: Cow::Borrowed(&self.title),
            description: self.description.as_deref().map(Cow::Borrowed),
        }
    }
}

/// A row of `hold_lots`.
pub(super) struct HoldLotRow {
    account: i64,
    entry: i64,
    lot: i64,
    points: i64,
    /// Of its hold.
    state: Option<String>,
}

impl Table for HoldLotRow {
    const NAME: &'static str = "hold_lots";
    const ROWS: i64 = ROWS_WITH_OTHERS;
    const SQL: &'static str = "SELECT x.account_id, x.entry_number, x.lot_number, x.points, h.state FROM (SELECT * FROM hold_lots \
         WHERE (account_id, entry_number, lot_number) > ($1, $2, $3) AND account_id <= $4 \
         ORDER BY account_id, entry_number, lot_number LIMIT $5) x \
         LEFT JOIN holds h ON h.account_id = x.account_id AND h.entry_number = x.entry_number \
         ORDER BY x.account_id, x.entry_number, x.lot_number";

    fn before(account: i64) -> Key {
        Key::Three(account, i64::MIN, i64::MIN)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            account: row.get(0)?,
            entry: row.get(1)?,
            lot: row.get(2)?,
            points: row.get(3)?,
            state: row.get(4)?,
        })
    }

    fn key(&self) -> Key {
        Key::Three(self.account, self.entry, self.lot)
    }

    fn check(&self, audit: &mut Audit<'_>) {
        let (hold, lot) = (self.entry, self.lot);
        audit.require(
            self.account,
            Self::NAME,
            &format!("hold {hold}, lot {lot}"),
            &[
                (self.points > 0, "its points are not positive"),
                (self.state.is_some(), "there is no such hold"),
            ],
        );
        let pinned = self.points.saturating_neg();
        audit.fact(self.account, Fact::Pinned { hold }, pinned, None);
        if self.state.as_deref() == Some("held") {
            audit.fact(
                self.account,
                Fact::HeldOfLot { lot },
                self.points,
                Some(hold),
            );
        }
    }
}
