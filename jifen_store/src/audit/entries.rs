//! The list of entries, followed account by account.

use std::collections::HashMap;

use super::accounts::Running;
use super::entry::{EntryRow, Kind};
use super::fact::{Ended, Fact, HeldFor};
use super::found::Found;
use super::holds::Until;
use super::table::ROWS;
use super::{Audit, AuditProgress, AuditScope};
use crate::engine::Column;
use crate::ledger::{BLOCK_ENTRIES_I64, REQUEST_HASH_BYTES, REQUEST_KEY_BYTES};
use crate::{Result, Tx};

const TABLE: &str = "entries";

impl Audit<'_> {
    pub(super) async fn read_entries(&mut self, tx: &mut Tx) -> Result<()> {
        self.open_holds.clear();
        match self.scope {
            AuditScope::All => self.read_all_entries(tx).await?,
            AuditScope::Account(id) => self.read_entries_of(tx, id.0).await?,
        }
        for ((account, hold), until) in std::mem::take(&mut self.open_holds) {
            self.held_until(account, hold, until, None);
        }
        Ok(())
    }

    async fn read_all_entries(&mut self, tx: &mut Tx) -> Result<()> {
        let last: Option<i64> = tx
            .fetch_optional(
                "SELECT COALESCE(MAX(position), 0) FROM entries",
                &[],
                |row| row.get(0),
            )
            .await?;
        let last = last.unwrap_or(0).max(1);
        let mut after = (i64::MIN, i64::MIN);
        let mut read = 0;
        loop {
            let rows = tx
                .fetch_all(
                    "SELECT position, account_id, number, kind, points, balance_after, held_after, at, charge_number, lot_number, \
                     origin_account, origin_entry, hold_points, hold_expires_at, api_key_id, tariff_id, units, title, description, \
                     request_key, request_hash \
                     FROM entries WHERE (position, account_id) > ($1, $2) ORDER BY position, account_id LIMIT $3",
                    &[after.0.into(), after.1.into(), ROWS.into()],
                    EntryRow::read,
                )
                .await?;
            let Some(end) = rows.last() else {
                return Ok(());
            };
            after = (end.position, end.account);
            read += i64::try_from(rows.len()).unwrap_or(i64::MAX);
            self.check_entries(tx, &rows).await?;
            let permille = i128::from(after.0) * 1_000 / i128::from(last);
            self.observer.progress(AuditProgress {
                table: TABLE,
                rows: read,
                permille: i64::try_from(permille).ok(),
            });
            // Others on this thread have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// The entries of one account, where its blocks and its tail say they are.
    async fn read_entries_of(&mut self, tx: &mut Tx, account: i64) -> Result<()> {
        const BLOCKS: i64 = 500;
        let mut after = -1;
        loop {
            let blocks = tx.positions_of_blocks(account, after, BLOCKS).await?;
            let is_end = i64::try_from(blocks.len()).unwrap_or(i64::MAX) < BLOCKS;
            after = blocks.last().map_or(after, |(block, _)| *block);
            let mut positions: Vec<i64> = blocks
                .into_iter()
                .flat_map(|(_, positions)| positions)
                .collect();
            if is_end {
                positions.extend(tx.positions_of_tail(account).await?);
            }
            let rows = tx.entries_at(account, &positions).await?;
            self.check_entries(tx, &rows).await?;
            if is_end {
                return Ok(());
            }
        }
    }

    async fn check_entries(&mut self, tx: &mut Tx, rows: &[EntryRow]) -> Result<()> {
        let found = Found::look_up(tx, rows, self.range).await?;
        let (first, last) = self.range;
        for row in rows
            .iter()
            .filter(|row| (first..=last).contains(&row.account))
        {
            let place = self
                .accounts
                .binary_search_by_key(&row.account, |account| account.id);
            let Ok(place) = place else {
                let problem = "it is of an account that does not exist".to_owned();
                self.find(row.account, TABLE, row.row(), problem);
                continue;
            };
            let before = self.accounts[place];
            self.accounts[place] = before.after(row);
            if !self.is_naming() {
                self.audited.entries += 1;
                self.follow(row, &before);
                self.check_shape(row);
                self.check_origin(row);
                self.check_found(row, &found);
            }
            self.place_facts(row, &before);
            self.point_facts(row, &found);
            self.hold_facts(row, &before);
        }
        Ok(())
    }

    /// It comes after the entry before it.
    fn follow(&mut self, row: &EntryRow, before: &Running) {
        let mut find = |problem| self.find(row.account, TABLE, row.row(), problem);
        if row.number != before.entries + 1 {
            find(format!("it follows entry {}", before.entries));
        }
        let balance = before.balance.saturating_add(row.points);
        if row.balance_after != balance {
            find(format!(
                "it moves {} points and says balance {}, the entries so far make it {balance}",
                row.points, row.balance_after
            ));
        }
        let held_fits = match row.kind {
            Kind::Hold => row.held_after > before.held,
            Kind::Extend => row.held_after >= before.held,
            Kind::Release => row.held_after < before.held,
            Kind::Charge if row.origin_entry.is_some() => row.held_after < before.held,
            _ => row.held_after == before.held,
        };
        if !held_fits {
            find(format!(
                "it says that {} are held, {} were before it",
                row.held_after, before.held
            ));
        }
        if let Some(number) = row.charge_number
            && number != before.charges + 1
        {
            find(format!(
                "it is charge {number} and follows charge {}",
                before.charges
            ));
        }
        if let Some(lot) = row.granted_lot()
            && lot != before.lots + 1
        {
            find(format!(
                "it grants lot {lot} and follows lot {}",
                before.lots
            ));
        }
    }

    /// It has what an entry of its kind has, and nothing else.
    fn check_shape(&mut self, row: &EntryRow) {
        use Kind::{Charge, Expiry, Extend, Grant, Hold, MergeOut, Refund};
        let is = |kinds: &[Kind]| kinds.contains(&row.kind);
        let key_bytes = row.request_key.as_ref().map(Vec::len);
        let hash_bytes = row.request_hash.as_ref().map(Vec::len);
        self.require(
            row.account,
            TABLE,
            &row.row(),
            &[
                (row.position > 0, "its position is not positive"),
                (row.number > 0, "its number is not positive"),
                (row.kind != Kind::Unknown, "there is no such kind of entry"),
                (row.has_fitting_points(), "its points do not fit its kind"),
                (
                    row.has_fitting_lot(),
                    "whether it names a lot does not fit its kind",
                ),
                (row.balance_after >= 0, "the balance after it is negative"),
                (
                    0 <= row.held_after && row.held_after <= row.balance_after,
                    "what is held after it is not a part of the balance",
                ),
                (
                    is(&[Charge]) == row.charge_number.is_some(),
                    "a charge, and nothing else, is numbered as one",
                ),
                (
                    is(&[Charge, Refund, Hold]) == row.key.is_some(),
                    "a charge, a refund or a hold, and nothing else, names a key",
                ),
                (
                    is(&[Charge, Hold]) || row.tariff.is_none(),
                    "only a charge or a hold has a tariff",
                ),
                (
                    row.tariff.is_some() == row.units.is_some(),
                    "a tariff comes with units",
                ),
                (
                    is(&[Charge, Hold]) || row.description.is_none(),
                    "only a charge or a hold has a description",
                ),
                (
                    is(&[Hold, Extend]) == row.hold_points.is_some()
                        && is(&[Hold, Extend]) == row.hold_expires_at.is_some(),
                    "a hold or its extension, and nothing else, says how much is held until when",
                ),
                (
                    !is(&[Grant, Expiry, MergeOut]) || key_bytes.is_none(),
                    "no request asks for it",
                ),
                (
                    key_bytes.is_none_or(|bytes| bytes == REQUEST_KEY_BYTES),
                    "its request key is not whole",
                ),
                (
                    hash_bytes.is_none_or(|bytes| bytes == REQUEST_HASH_BYTES),
                    "its request hash is not whole",
                ),
                (
                    key_bytes.is_some() == hash_bytes.is_some(),
                    "a request has a key and a hash",
                ),
                (!self.is_in_future(row.at), "it lies in the future"),
            ],
        );
    }

    /// It names the hold or the charge it is about.
    fn check_origin(&mut self, row: &EntryRow) {
        let own = row.origin_account == Some(row.account)
            && row
                .origin_entry
                .is_some_and(|entry| 0 < entry && entry < row.number);
        let none = row.origin_account.is_none() && row.origin_entry.is_none();
        let foreign = row
            .origin_account
            .is_some_and(|account| account != row.account)
            && row.origin_entry.is_some_and(|entry| entry > 0);
        let fits = match row.kind {
            Kind::Extend | Kind::Release => own,
            Kind::Charge => own || none,
            Kind::Refund => own || foreign,
            Kind::Hold => none || foreign,
            Kind::Unknown => true,
            Kind::Grant | Kind::Expiry | Kind::MergeOut => none,
        };
        if !fits {
            let problem = "it does not name an entry before it, or no entry, as its kind demands";
            self.find(row.account, TABLE, row.row(), problem.to_owned());
        }
    }

    /// The lot it grants, or the hold it ends, was what it says.
    fn check_found(&mut self, row: &EntryRow, found: &Found) {
        if let Some(number) = row.granted_lot() {
            let lot = found.lots.get(&(row.account, number));
            let fits = lot.is_some_and(|lot| {
                let source_fits = match row.kind {
                    Kind::Refund => {
                        lot.source == "refund"
                            && (lot.origin_account, lot.origin_charge)
                                == (row.origin_account, row.origin_entry)
                    }
                    _ => lot.source != "refund",
                };
                // A moved lot keeps its age, and the clock may have been put back since.
                let time_fits = lot.source == "merge" || lot.granted_at == row.at;
                source_fits && time_fits && lot.points == row.points
            });
            if !fits {
                let problem = format!("lot {number} was not granted as it says: {lot:?}");
                self.find(row.account, TABLE, row.row(), problem);
            }
        }
        if row.kind == Kind::Release
            && let Some(hold) = row.hold()
        {
            let due = found.holds.get(&(row.account, hold));
            let fits = due.is_some_and(|(state, expires_at)| match state.as_str() {
                "released" => row.at < *expires_at,
                "expired" => row.at >= *expires_at,
                "moved" => true,
                _ => false,
            });
            if !fits {
                let problem = format!("hold {hold} did not end as it says: {due:?}");
                self.find(row.account, TABLE, row.row(), problem);
            }
        }
    }

    /// Where it is, how it is found, and what it counts for.
    fn place_facts(&mut self, row: &EntryRow, before: &Running) {
        let (account, entry, position) = (row.account, row.number, row.position);
        self.fact(account, Fact::Place { entry, position }, 1, Some(entry));
        if matches!(row.kind, Kind::Charge | Kind::Refund) {
            let charges = i64::from(row.kind == Kind::Charge);
            let fact = Fact::UsageCharges(row.usage());
            self.fact(account, fact, charges, Some(entry));
            let points = row.points.saturating_neg();
            self.fact(account, Fact::UsagePoints(row.usage()), points, Some(entry));
        }
        let request = row.fingerprint();
        if entry > before.folded() {
            let fingerprint = request.unwrap_or_default();
            let fact = Fact::TailRequest { entry, fingerprint };
            self.fact(account, fact, 1, Some(entry));
            return;
        }
        if let Some(fingerprint) = request {
            let fact = Fact::Request {
                fingerprint,
                position,
            };
            self.fact(account, fact, 1, Some(entry));
        }
        if (entry - 1).rem_euclid(BLOCK_ENTRIES_I64) == 0 {
            let (block, charges) = ((entry - 1).div_euclid(BLOCK_ENTRIES_I64), before.charges);
            let fact = Fact::ChargesBefore { block, charges };
            self.fact(account, fact, 1, Some(entry));
        }
    }

    /// Which lots its points came from or went to.
    fn point_facts(&mut self, row: &EntryRow, found: &Found) {
        let (account, entry) = (row.account, Some(row.number));
        let no_draws = Vec::new();
        let draws = found.draws.get(&(account, row.number)).unwrap_or(&no_draws);
        if row.has_draws() {
            let points = row.points.saturating_abs();
            self.fact(account, Fact::Drawn { entry: row.number }, points, entry);
        }
        if let Some(lot) = row.lot {
            self.fact(account, Fact::Left { lot }, row.points, entry);
        }
        if let Some(lot) = row.granted_lot() {
            self.fact(account, Fact::Granted { lot }, 1, entry);
        }
        if row.kind == Kind::Refund && row.origin_account == Some(account) {
            if let Some(charge) = row.origin_entry {
                let fact = Fact::Refunded { entry: charge };
                self.fact(account, fact, row.points, entry);
            }
            // The draws themselves count as taken away.
            for (lot, points) in draws {
                let fact = Fact::Left { lot: *lot };
                self.fact(account, fact, points.saturating_mul(2), entry);
            }
        }
        if row.kind == Kind::MergeOut {
            let single = row.lot.map(|lot| (lot, row.points.saturating_neg()));
            for (lot, points) in single.iter().chain(draws) {
                let granted_at = found
                    .lots
                    .get(&(account, *lot))
                    .map_or(0, |lot| lot.granted_at);
                let fact = Fact::Moved {
                    lot: *lot,
                    points: *points,
                    granted_at,
                };
                self.fact(account, fact, 1, entry);
            }
        }
    }

    fn hold_facts(&mut self, row: &EntryRow, before: &Running) {
        let (account, entry) = (row.account, Some(row.number));
        let set_aside = row.held_after.saturating_sub(before.held);
        let until = Until {
            points: row.hold_points.unwrap_or_default(),
            expires_at: row.hold_expires_at.unwrap_or_default(),
        };
        if row.kind == Kind::Hold {
            self.open_holds.insert((account, row.number), until);
            if until.points != set_aside {
                let problem = format!(
                    "it says that it holds {} points, it sets {set_aside} aside",
                    until.points
                );
                self.find(account, TABLE, row.row(), problem);
            }
            let held = HeldFor {
                hold: row.number,
                // One that came by a merge is as old as it was there.
                at: row.origin_account.is_none().then_some(row.at),
                tariff: row.tariff,
                call: row.call(),
            };
            self.fact(account, Fact::Held(Box::new(held)), 1, entry);
            self.fact(
                account,
                Fact::HeldPoints { hold: row.number },
                set_aside,
                entry,
            );
        }
        let Some(hold) = row.hold() else { return };
        if row.kind == Kind::Extend {
            self.fact(account, Fact::HeldPoints { hold }, set_aside, entry);
            if let Some(known) = self.open_holds.insert((account, hold), until)
                && (until.points != known.points.saturating_add(set_aside)
                    || until.expires_at < known.expires_at)
            {
                let problem = format!("it says {until:?}, and follows {known:?}");
                self.find(account, TABLE, row.row(), problem);
            }
            return;
        }
        if let Some(until) = self.open_holds.remove(&(account, hold)) {
            self.held_until(account, hold, until, entry);
        }
        let ended = Ended {
            hold,
            entry: row.number,
            captured: (row.kind == Kind::Charge).then(|| row.call()),
        };
        self.fact(account, Fact::Ended(Box::new(ended)), 1, entry);
        let freed = set_aside.saturating_neg();
        self.fact(account, Fact::Freed { hold }, freed, entry);
    }
}

impl Audit<'_> {
    fn held_until(&mut self, account: i64, hold: i64, until: Until, entry: Option<i64>) {
        let expires_at = until.expires_at;
        self.fact(account, Fact::HeldUntil { hold, expires_at }, 1, entry);
    }
}

impl Tx {
    /// The entries of an account that are at these places, in the order asked.
    async fn entries_at(&mut self, account: i64, positions: &[i64]) -> Result<Vec<EntryRow>> {
        let order: HashMap<i64, usize> = positions
            .iter()
            .enumerate()
            .map(|(place, position)| (*position, place))
            .collect();
        let mut rows = self
            .fetch_rows(
                "SELECT e.position, e.account_id, e.number, e.kind, e.points, e.balance_after, e.held_after, e.at, e.charge_number, \
                 e.lot_number, e.origin_account, e.origin_entry, e.hold_points, e.hold_expires_at, e.api_key_id, e.tariff_id, \
                 e.units, e.title, e.description, e.request_key, e.request_hash FROM {each} (SELECT * FROM entries WHERE position = $1 AND account_id = $2) e",
                &[
                    Column::ints(positions.iter().copied()),
                    Column::ints(positions.iter().map(|_| account)),
                ],
                EntryRow::read,
            )
            .await?;
        rows.sort_by_key(|row| order.get(&row.position).copied());
        Ok(rows)
    }
}
