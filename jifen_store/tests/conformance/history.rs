//! Accounts with many entries: what is folded into blocks and what is not reads as one history.

use jifen_domain::ledger::{Capture, Entry, Movement, Refund, RefundSource};
use jifen_domain::{AccountId, Points, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Consumption, LockedAccount};

use crate::samples::{account, add_users, at, call, findings, gift, points, request};

on_both_engines! {
    entries_fold_at_the_same_places_in_one_transaction_and_in_many,
    every_page_of_a_long_history_is_exact,
    a_history_that_is_read_while_it_grows_stays_exact,
}

/// What a movement so numbered does: every kind there is, charges mostly.
fn step(account: &mut LockedAccount, number: i64) {
    let now = at(number);
    let request = Some(request(number, number));
    let open = account.journal().iter().rev().find_map(|entry| {
        let is_hold = matches!(entry.movement, Movement::Hold { .. });
        is_hold.then_some(entry.number)
    });
    match (number % 11, open) {
        (0, _) => {
            let gift = gift(&format!("{}-{number}", account.id()), 1_000, None);
            account.grant(gift, now).unwrap();
        }
        (4, _) => {
            let until = now.plus_seconds(1_000);
            account
                .hold(points(30), call("k"), until, request, now)
                .unwrap();
        }
        (5, Some(hold)) => {
            let more = now.plus_seconds(2_000);
            account.extend(hold, points(5), more, request, now).unwrap();
        }
        (6, Some(hold)) if number % 2 == 0 => {
            account.release(hold, request, now).unwrap();
        }
        (6, Some(hold)) => {
            let capture = Capture {
                hold,
                cost: points(33),
                tariff: None,
            };
            account.capture(capture, request, now).unwrap();
        }
        _ => {
            account
                .charge(points(1 + number % 7), call("k"), request, now)
                .unwrap();
        }
    }
}

/// Plays steps, so many in a transaction, and returns the account's charges, newest first.
async fn play(store: &TestStore, id: i64, steps: i64, per_transaction: i64) -> Vec<Consumption> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = 0;
    while next < steps {
        let mut tx = store.begin().await.unwrap();
        let mut account = account(&mut tx, id).await;
        // A hold is opened and ended in one transaction here, so that `step` finds it in the journal.
        let mut end = (next + per_transaction).min(steps);
        while end < steps && (4..=6).contains(&((end - 1) % 11)) {
            end += 1;
        }
        for number in next..end {
            step(&mut account, number);
        }
        next = end;
        entries.extend(account.journal().iter().cloned());
        tx.append_journal(&account).await.unwrap();
        tx.commit().await.unwrap();
    }
    let charges = entries
        .iter()
        .rev()
        .filter_map(|entry| consumption(id, entry));
    charges.collect()
}

fn consumption(id: i64, entry: &Entry) -> Option<Consumption> {
    let Movement::Charge { detail, .. } = &entry.movement else {
        return None;
    };
    Some(Consumption {
        account: AccountId(id),
        entry: entry.number,
        title: detail.title.clone(),
        description: detail.description.clone(),
        points: -entry.signed_points(),
        at: entry.at,
        api_key_id: detail.api_key_id.clone(),
        api_key_name: None,
    })
}

async fn check_page(
    tx: &mut jifen_store::Tx,
    id: i64,
    expected: &[Consumption],
    skip: usize,
    rows_max: usize,
) {
    let (asked, rows) = (
        i64::try_from(skip).unwrap(),
        i64::try_from(rows_max).unwrap(),
    );
    let (total, page) = tx.consumption(UserId(id), asked, rows).await.unwrap();
    let part: Vec<_> = expected.iter().skip(skip).take(rows_max).cloned().collect();
    assert_eq!(total, i64::try_from(expected.len()).unwrap());
    assert_eq!(page, part, "{rows_max} after {skip} of account {id}");
}

async fn entries_fold_at_the_same_places_in_one_transaction_and_in_many(store: &TestStore) {
    let lengths = [1, 31, 32, 33, 63, 64, 65, 100];
    for (place, steps) in (0..).step_by(3).zip(lengths) {
        for (id, per_transaction) in [(place + 1, steps), (place + 2, 1), (place + 3, 7)] {
            add_users(store, &[id]).await;
            let charges = play(store, id, steps, per_transaction).await;
            let mut tx = store.begin().await.unwrap();
            let counts = account(&mut tx, id).await.counts();
            assert_eq!(counts.entries, steps, "{per_transaction} in a transaction");
            let rows_max = charges.len() + 1;
            check_page(&mut tx, id, &charges, 0, rows_max).await;
            for number in (0..steps).filter(|number| number % 11 != 0) {
                let accounts = tx.lock_accounts(&[AccountId(id)]).await.unwrap();
                let asked = [(0, request(number, number))];
                let found = tx.recorded_requests(&accounts, &asked).await.unwrap();
                assert_eq!(found[0].as_ref().unwrap().entry, number + 1);
            }
        }
    }
    assert_eq!(findings(store).await, []);
}

async fn every_page_of_a_long_history_is_exact(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let short = play(store, 2, 48, 5).await;
    let mut tx = store.read().await.unwrap();
    for rows_max in 1..=short.len() + 1 {
        for skip in 0..=short.len() + 1 {
            check_page(&mut tx, 2, &short, skip, rows_max).await;
        }
    }
    drop(tx);
    let long = play(store, 1, 300, 9).await;
    assert!(long.len() > 200);
    let mut tx = store.read().await.unwrap();
    for rows_max in [1, 2, 10, 31, 32, 33, 64, 100, 1_000] {
        for skip in 0..=long.len() + 1 {
            check_page(&mut tx, 1, &long, skip, rows_max).await;
        }
    }
    drop(tx);
    assert_eq!(findings(store).await, []);
}

/// Refunds are no charges: pages and totals stay as they were.
async fn a_history_that_is_read_while_it_grows_stays_exact(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut charges = play(store, 1, 60, 60).await;
    for number in 60..140 {
        let mut tx = store.begin().await.unwrap();
        let mut account = account(&mut tx, 1).await;
        if number % 3 == 0 {
            let oldest_unrefunded = usize::try_from((number - 60) / 3).unwrap();
            let charge = &charges[charges.len() - 1 - oldest_unrefunded];
            let stored = tx
                .charge(AccountId(1), charge.entry)
                .await
                .unwrap()
                .unwrap();
            let numbers: Vec<i64> = stored.draws.iter().map(|draw| draw.lot).collect();
            let refund = Refund {
                source: RefundSource {
                    account: AccountId(1),
                    charge: charge.entry,
                    api_key_id: stored.api_key_id.clone(),
                    title: stored.title.clone(),
                },
                lots: tx.lots(AccountId(1), &numbers).await.unwrap(),
                draws: stored.draws,
                charged_at: stored.at,
                refunded: stored.refunded,
                points: None,
                grace_until: at(1_000_000),
            };
            assert_eq!(refund.refunded, Points::ZERO);
            account.refund(&refund, None, at(number)).unwrap();
            tx.put_refunded(AccountId(1), charge.entry, stored.points, stored.points)
                .await
                .unwrap();
        } else {
            step(&mut account, 11 * number + 1);
            charges.insert(0, consumption(1, &account.journal()[0]).unwrap());
        }
        tx.append_journal(&account).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        for skip in [0, 1, 30, 31, 32, charges.len() - 1, charges.len()] {
            check_page(&mut tx, 1, &charges, skip, 10).await;
        }
    }
    assert_eq!(findings(store).await, []);
}
