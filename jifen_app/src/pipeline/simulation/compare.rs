//! At the end of a history: what the database holds, against what the auditor has in the books.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jifen_domain::ledger::HoldState;
use jifen_domain::{AccountId, Points, Time, UserId};
use jifen_store::{Error, Tx};

use super::auditor::{Account, End};
use super::words::{names, time};
use super::world::{Checked, World};

/// A page of the history, small so that there are several.
const PAGE: i64 = 7;

pub(super) fn compare(world: &World) -> Checked {
    for (id, account) in &world.auditor.accounts {
        let result = world.block_on(async {
            let mut tx = world.store().begin().await.map_err(failed)?;
            compare_account(&mut tx, *id, account, world.now()).await?;
            if *id > 0 {
                compare_history(&mut tx, world, *id).await?;
            }
            tx.commit().await.map_err(failed)
        });
        let result = result.and_then(|()| audit(world, *id));
        result.map_err(|problem| format!("account {id}: {problem}"))?;
    }
    Ok(())
}

async fn compare_account(tx: &mut Tx, id: i64, account: &Account, now: i64) -> Checked {
    let id = AccountId(id);
    let stored = tx
        .lock_account(id)
        .await
        .map_err(failed)?
        .ok_or("it is gone")?;
    same("balance", stored.balance().get(), account.balance())?;
    same("held", stored.held().get(), account.held())?;
    let merged_into = stored.merged_into().map(|older| older.0);
    same("into what it was merged", merged_into, account.merged_into)?;
    let counts = stored.counts();
    same("entries", counts.entries, account.entries)?;
    same("charges", counts.charges, count(account.charges.len()))?;
    same("lots", counts.lots, count(account.lots.len()))?;
    let open: Vec<_> = stored
        .open_lots()
        .iter()
        .map(|lot| (lot.number, lot.remaining.get(), lot.held.get()))
        .collect();
    let expected = account.in_order().into_iter().map(|number| {
        let lot = &account.lots[usize::try_from(number - 1).unwrap_or(usize::MAX)];
        (number, lot.left, lot.aside)
    });
    same("open lots", open, expected.collect())?;

    let numbers: Vec<i64> = (1..=counts.lots).collect();
    let mut lots = tx.lots(id, &numbers).await.map_err(failed)?;
    lots.sort_by_key(|lot| lot.number);
    let lots: Vec<_> = lots
        .iter()
        .map(|lot| {
            (
                lot.points.get(),
                lot.expires_at.map(Time::seconds),
                lot.granted_at.seconds(),
            )
        })
        .collect();
    let expected = account
        .lots
        .iter()
        .map(|lot| (lot.points, lot.expires, lot.granted));
    same("all lots", lots, expected.collect())?;

    compare_holds(tx, id, account).await?;
    compare_charges(tx, id, account).await?;
    compare_usage(tx, id, account).await?;
    let holdings = tx.holdings(id, time(now)).await.map_err(failed)?;
    same(
        "what can be spent",
        holdings.available.get(),
        account.spendable(now),
    )
}

async fn compare_holds(tx: &mut Tx, id: AccountId, account: &Account) -> Checked {
    for (entry, hold) in &account.holds {
        let stored = tx
            .hold(id, *entry)
            .await
            .map_err(failed)?
            .ok_or("a hold is gone")?;
        let points = stored.points.get();
        same("a hold's points", points, hold.parts.values().sum())?;
        same("a hold's time", stored.expires_at.seconds(), hold.until)?;
        same("a hold's key", stored.detail.api_key_id, names(hold.what).0)?;
        let end = (
            stored.state,
            stored.end_entry,
            stored.shortfall.map(Points::get),
        );
        let expected = match hold.end {
            None => (HoldState::Held, None, None),
            Some(End::Captured { entry, shortfall }) => {
                (HoldState::Captured, Some(entry), Some(shortfall))
            }
            Some(End::Released { entry }) => (HoldState::Released, Some(entry), None),
            Some(End::Expired { entry }) => (HoldState::Expired, Some(entry), None),
            Some(End::Moved { entry, .. }) => (HoldState::Moved, Some(entry), None),
        };
        same("a hold's end", end, expected)?;
        let moved = tx.moved_hold(id, *entry).await.map_err(failed)?;
        let expected = match hold.end {
            Some(End::Moved { to, .. }) => Some((AccountId(to.0), to.1)),
            _ => None,
        };
        same("where a hold goes on", moved, expected)?;
    }
    Ok(())
}

async fn compare_charges(tx: &mut Tx, id: AccountId, account: &Account) -> Checked {
    for (entry, charge) in &account.charges {
        let stored = tx
            .charge(id, *entry)
            .await
            .map_err(failed)?
            .ok_or("a charge is gone")?;
        let parts: BTreeMap<i64, i64> = stored
            .draws
            .iter()
            .map(|draw| (draw.lot, draw.points.get()))
            .collect();
        same("a charge's lots", &parts, &charge.parts)?;
        same(
            "a charge's lots, each once",
            stored.draws.len(),
            parts.len(),
        )?;
        same(
            "a charge's points",
            stored.points.get(),
            charge.parts.values().sum(),
        )?;
        same("what was refunded", stored.refunded.get(), charge.back)?;
        same(
            "what a charge was for",
            (stored.api_key_id, stored.title),
            names(charge.what),
        )?;
    }
    Ok(())
}

async fn compare_usage(tx: &mut Tx, id: AccountId, account: &Account) -> Checked {
    let usage = tx
        .usage(id, i64::MIN, i64::MAX, i64::MAX)
        .await
        .map_err(failed)?;
    let usage: Vec<_> = usage
        .into_iter()
        .map(|line| {
            (
                (line.day, (line.api_key_id, line.title)),
                (line.charges, line.points),
            )
        })
        .collect();
    let expected = account.usage.iter();
    let expected = expected.map(|((day, what), spent)| ((*day, names(*what)), *spent));
    same("usage", usage, expected.collect())
}

/// The consumption history of a person, page by page: with that of everybody merged into them, which is told as one list
/// in the order of time, so that only a clock that never goes back would make pages of it.
async fn compare_history(tx: &mut Tx, world: &World, id: i64) -> Checked {
    let accounts = &world.auditor.accounts;
    let own = accounts
        .keys()
        .filter(|one| **one == id || world.auditor.today(**one) == id);
    let page = if own.clone().count() > 1 {
        i64::from(u32::MAX)
    } else {
        PAGE
    };
    let mut expected: Vec<(i64, i64, i64)> = own
        .flat_map(|one| {
            let charges = accounts[one].charges.iter();
            charges.map(|(entry, charge)| (*one, *entry, charge.parts.values().sum()))
        })
        .collect();
    let mut heard = Vec::new();
    loop {
        let skip = count(heard.len());
        let (total, lines) = tx
            .consumption(UserId(id), skip, page)
            .await
            .map_err(failed)?;
        same("the history's length", total, count(expected.len()))?;
        if lines.is_empty() {
            break;
        }
        heard.extend(
            lines
                .into_iter()
                .map(|line| (line.account.0, line.entry, line.points)),
        );
    }
    heard.sort_unstable();
    expected.sort_unstable();
    same("the history", heard, expected)
}

/// The store's own audit finds nothing.
fn audit(world: &World, id: i64) -> Checked {
    let findings = world.block_on(async {
        let mut tx = world.store().snapshot().await.map_err(failed)?;
        let findings = tx.audit_account(AccountId(id), time(world.now())).await;
        findings.map_err(failed)
    })?;
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    same("the audit's findings", findings, Vec::new())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better where it is called"
)]
fn same<T: PartialEq + Debug>(what: &str, stored: T, expected: T) -> Checked {
    if stored == expected {
        return Ok(());
    }
    Err(format!(
        "{what}: {stored:?} is stored, expected {expected:?}"
    ))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn failed(error: Error) -> String {
    error.to_string()
}
