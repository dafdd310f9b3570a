//! Writing what was moved: the entries at the end of the one list, the rows of their accounts, and what else changed.

use jifen_domain::key::Spending;
use jifen_domain::ledger::{ChargeDetail, Draw, Entry, HeldUntil, Lot, LotSource, Movement, State};
use jifen_domain::{AccountId, Time};

use super::account::{LockedAccount, hold_state_name};
use super::fold::Folding;
use super::tail::Tail;
use super::tail_usage::TailUsage;
use crate::engine::{Column, RowStatement};
use crate::{Error, Result, Tx};

impl Tx {
    /// Appends what was moved in an account since it was locked.
    pub async fn append_journal(&mut self, account: &LockedAccount) -> Result<()> {
        self.append_journals(std::slice::from_ref(account)).await
    }

    /// Appends what was moved in several accounts since they were locked. Those in which nothing moved are left alone.
    pub async fn append_journals(&mut self, accounts: &[LockedAccount]) -> Result<()> {
        let moved: Vec<&LockedAccount> = accounts
            .iter()
            .filter(|account| !account.journal().is_empty())
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        for account in &moved {
            self.touch_account(account.id());
        }
        let entry_count: usize = moved.iter().map(|account| account.journal().len()).sum();
        let positions = self
            .next_positions(i64::try_from(entry_count).unwrap_or(i64::MAX))
            .await?;
        let folding = Folding::of(&moved, &positions)?;
        let statements = [
            update_accounts(&moved, &folding.tails),
            insert_entries(&moved, &positions),
            // Draws and holds refer to lots, which may have been granted a moment before.
            insert_lots(&moved),
            update_lots(&moved),
            insert_draws(&moved),
            write_holds(&moved),
            write_hold_lots(&moved),
            write_spending(&moved),
            folding.insert_blocks(),
            folding.insert_requests(),
            folding.add_usage()?,
        ];
        let changed = self.execute_all(&statements).await?;
        if changed.first().copied() != u64::try_from(moved.len()).ok() {
            let problem = "an account was changed by somebody else although it was locked";
            return Err(Error::Corrupt(problem.to_owned()));
        }
        Ok(())
    }
}

fn insert_entries<'a>(accounts: &[&'a LockedAccount], positions: &[i64]) -> RowStatement<'a> {
    let rows: Vec<EntryRow<'_>> = accounts
        .iter()
        .flat_map(|account| {
            let id = account.id();
            account
                .journal()
                .iter()
                .map(move |entry| EntryRow::new(id, entry))
        })
        .collect();
    let ints = |of: fn(&EntryRow<'_>) -> Option<i64>| Column::ints(rows.iter().map(of));
    RowStatement {
        sql: "INSERT INTO entries (position, account_id, number, kind, points, balance_after, held_after, at, charge_number, \
             lot_number, origin_account, origin_entry, hold_points, hold_expires_at, api_key_id, tariff_id, units, title, description, \
             request_key, request_hash) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21 {from each}",
        columns: vec![
            Column::ints(positions.iter().copied()),
            ints(|row| Some(row.account.0)),
            ints(|row| Some(row.entry.number)),
            Column::texts(rows.iter().map(|row| Some(row.kind))),
            ints(|row| Some(row.entry.signed_points())),
            ints(|row| Some(row.entry.balance_after.get())),
            ints(|row| Some(row.entry.held_after.get())),
            ints(|row| Some(row.entry.at.micros())),
            ints(|row| row.charge_number),
            ints(|row| row.lot_number),
            ints(|row| row.origin.map(|(account, _)| account.0)),
            ints(|row| row.origin.map(|(_, entry)| entry)),
            ints(|row| row.until.map(|until| until.points.get())),
            ints(|row| row.until.map(|until| until.expires_at.micros())),
            Column::texts(rows.iter().map(|row| row.api_key_id)),
            ints(|row| {
                row.detail
                    .and_then(|detail| detail.tariff)
                    .map(|tariff| tariff.id)
            }),
            ints(|row| {
                row.detail
                    .and_then(|detail| detail.tariff)
                    .map(|tariff| tariff.units)
            }),
            Column::texts(rows.iter().map(|row| Some(row.title))),
            Column::texts(rows.iter().map(|row| row.detail?.description.as_deref())),
            Column::blobs(
                rows.iter()
                    .map(|row| Some(row.entry.request.as_ref()?.key.as_slice())),
            ),
            Column::blobs(
                rows.iter()
                    .map(|row| Some(row.entry.request.as_ref()?.input.as_slice())),
            ),
        ],
    }
}

/// The draws of entries that changed several lots; of one, the entry names it.
fn insert_draws<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let rows: Vec<(i64, i64, Draw)> = accounts
        .iter()
        .flat_map(|account| {
            let id = account.id().0;
            let several = account
                .journal()
                .iter()
                .filter(|entry| entry.draws().len() > 1);
            several.flat_map(move |entry| {
                entry
                    .draws()
                    .iter()
                    .map(move |draw| (id, entry.number, *draw))
            })
        })
        .collect();
    RowStatement {
        sql: "INSERT INTO draws (account_id, entry_number, lot_number, points) SELECT $1, $2, $3, $4 {from each}",
        columns: draw_columns(&rows),
    }
}

/// Account, entry, lot and points.
fn draw_columns(draws: &[(i64, i64, Draw)]) -> Vec<Column<'static>> {
    vec![
        Column::ints(draws.iter().map(|(account, _, _)| *account)),
        Column::ints(draws.iter().map(|(_, entry, _)| *entry)),
        Column::ints(draws.iter().map(|(_, _, draw)| draw.lot)),
        Column::ints(draws.iter().map(|(_, _, draw)| draw.points.get())),
    ]
}

fn insert_lots<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let granted: Vec<(AccountId, &Lot)> = accounts
        .iter()
        .flat_map(|account| {
            let id = account.id();
            account
                .journal()
                .iter()
                .filter_map(move |entry| Some((id, granted_lot(entry)?)))
        })
        .collect();
    let ints = |of: fn(&Lot) -> Option<i64>| Column::ints(granted.iter().map(|(_, lot)| of(lot)));
    RowStatement {
        sql: "INSERT INTO lots (account_id, number, source, order_id, gift_key, origin_account, origin_lot, origin_charge, points, \
             remaining, held, expires_at, granted_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12 {from each}",
        columns: vec![
            Column::ints(granted.iter().map(|(account, _)| account.0)),
            ints(|lot| Some(lot.number)),
            Column::texts(
                granted
                    .iter()
                    .map(|(_, lot)| Some(source_name(&lot.source))),
            ),
            Column::texts(granted.iter().map(|(_, lot)| order_id(&lot.source))),
            Column::texts(granted.iter().map(|(_, lot)| gift_key(&lot.source))),
            ints(|lot| origin(&lot.source).0),
            ints(|lot| origin(&lot.source).1),
            ints(|lot| origin(&lot.source).2),
            ints(|lot| Some(lot.points.get())),
            ints(|lot| Some(lot.remaining.get())),
            ints(|lot| lot.expires_at.map(Time::micros)),
            ints(|lot| Some(lot.granted_at.micros())),
        ],
    }
}

fn update_lots<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let changed: Vec<(AccountId, &Lot)> = accounts
        .iter()
        .flat_map(|account| account.changed_lots().map(|lot| (account.id(), lot)))
        .collect();
    RowStatement {
        sql: "UPDATE lots SET remaining = $1, held = $2, expires_at = $3 {from each} WHERE lots.account_id = $4 AND lots.number = $5",
        columns: vec![
            Column::ints(changed.iter().map(|(_, lot)| lot.remaining.get())),
            Column::ints(changed.iter().map(|(_, lot)| lot.held.get())),
            Column::ints(
                changed
                    .iter()
                    .map(|(_, lot)| lot.expires_at.map(Time::micros)),
            ),
            Column::ints(changed.iter().map(|(account, _)| account.0)),
            Column::ints(changed.iter().map(|(_, lot)| lot.number)),
        ],
    }
}

fn update_accounts<'a>(
    accounts: &[&LockedAccount],
    tails: &'a [(Tail, TailUsage)],
) -> RowStatement<'a> {
    let states: Vec<_> = accounts.iter().map(|account| account.state()).collect();
    let ints = |of: fn(&State) -> Option<i64>| Column::ints(states.iter().map(of));
    RowStatement {
        sql: "UPDATE accounts SET balance = $1, held = $2, entry_count = $3, charge_count = $4, lot_count = $5, front_lot = $6, \
                 front_remaining = $7, front_held = $8, front_expires_at = $9, tail = $10, tail_usage = $11 {from each} \
                 WHERE accounts.id = $12 AND accounts.entry_count = $13",
        columns: vec![
            ints(|state| Some(state.balance.get())),
            ints(|state| Some(state.held.get())),
            ints(|state| Some(state.counts.entries)),
            ints(|state| Some(state.counts.charges)),
            ints(|state| Some(state.counts.lots)),
            ints(|state| Some(state.front?.lot)),
            ints(|state| Some(state.front?.remaining.get())),
            ints(|state| Some(state.front?.held.get())),
            ints(|state| state.front?.expires_at.map(Time::micros)),
            Column::blobs(tails.iter().map(|(tail, _)| Some(tail.bytes()))),
            Column::blobs(tails.iter().map(|(_, usage)| Some(usage.bytes()))),
            Column::ints(accounts.iter().map(|account| account.id().0)),
            Column::ints(
                accounts
                    .iter()
                    .map(|account| account.as_locked.counts().entries),
            ),
        ],
    }
}

fn write_holds<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let changed: Vec<_> = accounts
        .iter()
        .flat_map(|account| account.changed_holds().map(|hold| (account.id().0, hold)))
        .collect();
    RowStatement {
        sql: "INSERT INTO holds (account_id, entry_number, points, state, expires_at, api_key_id, tariff_id, title, description, \
             end_entry, shortfall, created_at, origin_account, origin_entry) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 {from each} WHERE true \
             ON CONFLICT (account_id, entry_number) DO UPDATE SET points = excluded.points, state = excluded.state, \
             expires_at = excluded.expires_at, end_entry = excluded.end_entry, shortfall = excluded.shortfall",
        columns: vec![
            Column::ints(changed.iter().map(|(account, _)| *account)),
            Column::ints(changed.iter().map(|(_, hold)| hold.entry)),
            Column::ints(changed.iter().map(|(_, hold)| hold.points.get())),
            Column::texts(
                changed
                    .iter()
                    .map(|(_, hold)| Some(hold_state_name(hold.state))),
            ),
            Column::ints(changed.iter().map(|(_, hold)| hold.expires_at.micros())),
            Column::texts(
                changed
                    .iter()
                    .map(|(_, hold)| Some(hold.detail.api_key_id.as_str())),
            ),
            Column::ints(changed.iter().map(|(_, hold)| Some(hold.detail.tariff?.id))),
            Column::texts(
                changed
                    .iter()
                    .map(|(_, hold)| Some(hold.detail.title.as_str())),
            ),
            Column::texts(
                changed
                    .iter()
                    .map(|(_, hold)| hold.detail.description.as_deref()),
            ),
            Column::ints(changed.iter().map(|(_, hold)| hold.end_entry)),
            Column::ints(changed.iter().map(|(_, hold)| Some(hold.shortfall?.get()))),
            Column::ints(changed.iter().map(|(_, hold)| hold.created_at.micros())),
            Column::ints(changed.iter().map(|(_, hold)| Some(hold.origin?.0.0))),
            Column::ints(changed.iter().map(|(_, hold)| Some(hold.origin?.1))),
        ],
    }
}

fn write_hold_lots<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let lots: Vec<(i64, i64, Draw)> = accounts
        .iter()
        .flat_map(|account| {
            let id = account.id().0;
            let changed = account.changed_holds();
            changed.flat_map(move |hold| hold.lots.iter().map(move |draw| (id, hold.entry, *draw)))
        })
        .collect();
    RowStatement {
        sql: "INSERT INTO hold_lots (account_id, entry_number, lot_number, points) SELECT $1, $2, $3, $4 {from each} WHERE true \
             ON CONFLICT (account_id, entry_number, lot_number) DO UPDATE SET points = excluded.points",
        columns: draw_columns(&lots),
    }
}

fn write_spending<'a>(accounts: &[&'a LockedAccount]) -> RowStatement<'a> {
    let changed: Vec<(&str, &Spending)> = accounts
        .iter()
        .flat_map(|account| account.changed_spending())
        .collect();
    let ints = |of: fn(&Spending) -> i64| Column::ints(changed.iter().map(|(_, spent)| of(spent)));
    RowStatement {
        sql: "UPDATE key_spending SET day = $1, day_points = $2, month = $3, month_points = $4, total_points = $5 {from each} \
             WHERE key_spending.api_key_id = $6",
        columns: vec![
            ints(|spent| spent.day),
            ints(|spent| spent.day_points.get()),
            ints(|spent| spent.month),
            ints(|spent| spent.month_points.get()),
            ints(|spent| spent.total_points.get()),
            Column::texts(changed.iter().map(|(id, _)| *id)),
        ],
    }
}

/// An entry as its columns need it.
struct EntryRow<'a> {
    account: AccountId,
    entry: &'a Entry,
    kind: &'static str,
    charge_number: Option<i64>,
    lot_number: Option<i64>,
    origin: Option<(AccountId, i64)>,
    until: Option<HeldUntil>,
    detail: Option<&'a ChargeDetail>,
    api_key_id: Option<&'a str>,
    title: &'a str,
}

impl<'a> EntryRow<'a> {
    fn new(account: AccountId, entry: &'a Entry) -> Self {
        let mut row = Self {
            account,
            entry,
            kind: "",
            charge_number: None,
            lot_number: granted_lot(entry).map(|lot| lot.number),
            origin: None,
            until: None,
            detail: None,
            api_key_id: None,
            title: "",
        };
        if let [draw] = entry.draws() {
            row.lot_number = Some(draw.lot);
        }
        match &entry.movement {
            Movement::Grant { title, .. } => (row.kind, row.title) = ("grant", title),
            Movement::Charge {
                number,
                detail,
                hold,
                ..
            } => {
                row.kind = "charge";
                row.charge_number = Some(*number);
                row.origin = hold.map(|hold| (account, hold));
                row.describe(detail);
            }
            Movement::Refund { source, .. } => {
                row.kind = "refund";
                row.origin = Some((source.account, source.charge));
                row.api_key_id = Some(&source.api_key_id);
                row.title = &source.title;
            }
            Movement::Hold {
                detail,
                until,
                origin,
            } => {
                (row.kind, row.origin, row.until) = ("hold", *origin, Some(*until));
                row.describe(detail);
            }
            Movement::Extend { hold, until } => {
                (row.kind, row.origin) = ("extend", Some((account, *hold)));
                row.until = Some(*until);
            }
            Movement::Release { hold } => {
                (row.kind, row.origin) = ("release", Some((account, *hold)));
            }
            Movement::Expiry { .. } => row.kind = "expiry",
            Movement::MergeOut { .. } => row.kind = "merge_out",
        }
        row
    }

    fn describe(&mut self, detail: &'a ChargeDetail) {
        self.detail = Some(detail);
        self.api_key_id = Some(&detail.api_key_id);
        self.title = &detail.title;
    }
}

fn granted_lot(entry: &Entry) -> Option<&Lot> {
    match &entry.movement {
        Movement::Grant { lot, .. } => Some(lot),
        Movement::Refund { lot, .. } => lot.as_ref(),
        _ => None,
    }
}

fn source_name(source: &LotSource) -> &'static str {
    match source {
        LotSource::Purchase { .. } => "purchase",
        LotSource::Gift { .. } => "gift",
        LotSource::Merge { .. } => "merge",
        LotSource::Refund { .. } => "refund",
    }
}

fn order_id(source: &LotSource) -> Option<&str> {
    match source {
        LotSource::Purchase { order_id } => Some(order_id),
        _ => None,
    }
}

fn gift_key(source: &LotSource) -> Option<&str> {
    match source {
        LotSource::Gift { key } => Some(key),
        _ => None,
    }
}

/// The account, the lot and the charge it came from.
fn origin(source: &LotSource) -> (Option<i64>, Option<i64>, Option<i64>) {
    match source {
        LotSource::Merge { account, lot } => (Some(account.0), Some(*lot), None),
        LotSource::Refund { account, charge } => (Some(account.0), None, Some(*charge)),
        _ => (None, None, None),
    }
}
