//! The audit finds nothing in a sound ledger, and names each row of which one value was changed.

use std::collections::BTreeSet;

use jifen_domain::key::{Caps, Spending};
use jifen_domain::ledger::{Capture, ChargeDetail, TariffUse};
use jifen_domain::order::{Order, OrderState, Payment};
use jifen_domain::{AccountId, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{
    AuditObserver, AuditProgress, AuditScope, Audited, Engine, Finding, KeySpending,
};

use crate::refund::refund;
use crate::samples::{
    account, add_users, api_key, at, audited, call, change, charge, charge_fast, findings, gift,
    give, merge, order, payment, points, request, settle,
};

on_both_engines! {
    a_sound_ledger_of_every_kind_of_movement_has_no_findings,
    each_value_that_is_changed_is_named,
    rows_that_are_gone_or_too_many_are_named,
    an_order_delivered_without_its_points_is_found,
    what_is_written_meanwhile_is_not_seen,
    only_a_thousand_differences_are_told,
}

/// Accounts 1 (with 2 merged into it), 3 with more than two blocks of entries, and -3.
async fn rich_ledger(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    merged_accounts(store).await;

    let mut tx = store.begin().await.unwrap();
    let mut capped = api_key("capped", 3);
    capped.caps = Caps {
        total: Some(points(100_000)),
        ..Caps::NONE
    };
    tx.insert_api_key(&capped, b"capped").await.unwrap();
    tx.start_key_spending(&KeySpending {
        key_id: capped.id.clone(),
        account: AccountId(3),
        spending: Spending::none(at(0)),
    })
    .await
    .unwrap();
    assert!(tx.insert_order(&order("o", 3)).await.unwrap());
    settle(&mut tx, "o", payment("t", at(4)), at(4)).await;
    tx.ensure_test_account(UserId(3)).await.unwrap();
    tx.commit().await.unwrap();
    give(store, -3, gift("test", 9, None), at(5)).await;
    charge(store, -3, 2, call("t"), at(6)).await.unwrap();

    // Entry n + 2 is the charge of n points; that of 14 is drawn on both lots.
    give(store, 3, gift("e", 5_000, None), at(5)).await;
    for number in 1..=36 {
        charge_number(store, number).await;
    }
    holds(store).await;
    for number in 47..=70 {
        charge_number(store, number - 2).await;
    }
    // Entries 71, 72 and 73, then three charges on the front alone.
    assert_eq!(refund(store, 3, (3, 16), None, 300).await, Ok(14));
    assert_eq!(refund(store, 3, (3, 8), Some(2), 301).await, Ok(2));
    assert_eq!(refund(store, 3, (3, 8), Some(1), 302).await, Ok(1));
    for number in [2, 3, 1] {
        charge_number(store, 400 + number).await;
    }
}

/// Account 2 goes into account 1 with an open hold, and a charge of before is refunded after.
async fn merged_accounts(store: &TestStore) {
    give(store, 1, gift("a", 50, None), at(0)).await;
    give(store, 1, gift("b", 30, Some(at(100))), at(1)).await;
    charge(store, 1, 40, call("k"), at(2)).await.unwrap();
    give(store, 2, gift("c", 25, Some(at(1_000))), at(0)).await;
    give(store, 2, gift("d", 9, Some(at(5))), at(0)).await;
    charge_fast(store, 2, 3, call("k"), Some(request(77, 3)), at(3))
        .await
        .unwrap();
    change(store, 2, |account| {
        let made = account.hold(points(4), call("k"), at(5_000_000), None, at(4));
        assert_eq!(made.unwrap().number, 4);
    })
    .await;
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 2, at(10)).await);
    tx.commit().await.unwrap();
    charge(store, 1, 20, call("k"), at(11)).await.unwrap();
    assert_eq!(refund(store, 1, (2, 3), None, 12).await, Ok(3));
}

async fn charge_number(store: &TestStore, number: i64) {
    let key = if number % 2 == 0 { "capped" } else { "k" };
    let (request, points) = (Some(request(number, number)), number % 400);
    charge_fast(store, 3, points, call(key), request, at(number))
        .await
        .unwrap();
}

/// Entries 39 to 46: an open hold, one that was captured, one released, one expired.
async fn holds(store: &TestStore) {
    let detail = ChargeDetail {
        description: Some("open".to_owned()),
        tariff: Some(TariffUse { id: 4, units: 9 }),
        ..call("capped")
    };
    change(store, 3, |account| {
        let made = account.hold(points(20), detail.clone(), at(5_000_000), None, at(50));
        assert_eq!(made.unwrap().number, 39);
        let extended = account.extend(39, points(3), at(5_000_001), None, at(51));
        assert_eq!(extended.unwrap().number, 40);
        let made = account.hold(points(30), detail, at(100), None, at(52));
        assert_eq!(made.unwrap().number, 41);
        let capture = Capture {
            hold: 41,
            cost: points(25),
            tariff: None,
        };
        let asked = Some(request(900, 0));
        account.capture(capture, asked, at(53)).unwrap();
        let made = account.hold(points(5), call("k"), at(100), None, at(54));
        assert_eq!(made.unwrap().number, 43);
        account.release(43, None, at(55)).unwrap();
        let made = account.hold(points(6), call("k"), at(60), None, at(56));
        assert_eq!(made.unwrap().number, 45);
        account.expire(at(60)).unwrap();
        assert_eq!(account.counts().entries, 46);
    })
    .await;
}

async fn a_sound_ledger_of_every_kind_of_movement_has_no_findings(store: &TestStore) {
    assert_eq!(findings(store).await, []);
    rich_ledger(store).await;
    assert_eq!(findings(store).await, []);
    let mut found: Vec<Finding> = Vec::new();
    let mut tx = store.snapshot().await.unwrap();
    let all = tx.audit(AuditScope::All, at(10_000), &mut found).await;
    let expected = Audited {
        accounts: 4,
        entries: 76 + 8 + 7 + 2,
        findings: 0,
        unnamed: 0,
    };
    assert_eq!(all.unwrap(), expected);
    let one = AuditScope::Account(AccountId(3));
    let one = tx.audit(one, at(10_000), &mut found).await.unwrap();
    assert_eq!((one.accounts, one.entries), (1, 76));
    let nobody = tx.audit_account(AccountId(9), at(0)).await.unwrap();
    assert_eq!(nobody, []);
}

/// Table, column, the row, its new value, and what is said of it: all of these in one line.
type Flip = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

#[rustfmt::skip]
const FLIPS: &[Flip] = &[
    ("accounts", "id", "id = 3", "99", &["account 99: accounts, the row"]),
    ("accounts", "user_id", "id = 3", "1", &["account 3: accounts, the row"]),
    ("accounts", "balance", "id = 3", "balance + 1", &["account 3: accounts, the row", "balance"]),
    ("accounts", "held", "id = 3", "held + 1", &["account 3: accounts, the row", "held"]),
    ("accounts", "entry_count", "id = 3", "77", &["account 3: accounts, the row", "entries of 77"]),
    ("accounts", "charge_count", "id = 3", "1", &["account 3: accounts, the row", "charges of 1"]),
    ("accounts", "lot_count", "id = 3", "3", &["account 3: accounts, the row", "lots of 3"]),
    ("accounts", "front_lot", "id = 3", "2", &["account 3: accounts, the row", "lot 1 is to be drawn on before its front, lot 2"]),
    ("accounts", "front_lot", "id = 3", "7", &["account 3: accounts, the row", "does not exist"]),
    ("accounts", "front_remaining", "id = 3", "front_remaining - 1", &["account 3: lots, lot 1", "1 points too few"]),
    ("accounts", "front_held", "id = 3", "1", &["account 3: lots, lot 1", "held"]),
    ("accounts", "front_expires_at", "id = 3", "1", &["account 3: lots, lot 1", "expire"]),
    ("accounts", "merged_into", "id = 3", "1", &["account 3: accounts, the row", "merged"]),
    ("accounts", "merged_into", "id = 2", "NULL", &["account 2: accounts, the row", "merged"]),
    ("accounts", "tail", "id = 3", "BYTE 7", &["account 3: entry_blocks, block 2", "entry 65", "tail"]),
    ("accounts", "tail", "id = 3", "BYTE 15", &["account 3: accounts, tail of entry 65"]),
    ("accounts", "tail_usage", "id = 3", "BYTE 3", &["account 3: usage_days", "too few"]),
    ("accounts", "tail_usage", "id = 3", "BYTE 4", &["account 3: usage_days", "charges too"]),
    ("accounts", "tail_usage", "id = 3", "BYTE 12", &["account 3: usage_days", "points too"]),
    ("accounts", "tail_usage", "id = 3", "BYTE 14", &["account 3: accounts, the row", "usage of its tail cannot be read"]),
    ("accounts", "tail_usage", "id = 3", "BYTE 17", &["account 3: accounts, the row", "usage of its tail cannot be read"]),
    ("accounts", "has_capped_keys", "id = 3", "0", &["account 3: accounts, the row", "cap"]),
    ("lots", "account_id", "account_id = 3 AND number = 2", "-3", &["account -3: lots, lot 2", "no entry granted it"]),
    ("lots", "number", "account_id = 3 AND number = 2", "50", &["account 3: lots, lot 50", "no entry granted it"]),
    ("lots", "source", "account_id = 3 AND number = 2", "'merge'", &["account 3: lots, lot 2"]),
    ("lots", "order_id", "account_id = 3 AND number = 1", "'ghost'", &["account 3: lots, lot 1", "its order is not delivered"]),
    ("lots", "origin_account", "account_id = 1 AND number = 3", "3", &["account 1: lots, lot 3", "somebody else"]),
    ("lots", "origin_lot", "account_id = 1 AND number = 3", "7", &["account 2: lots, lot 7", "came in elsewhere"]),
    ("lots", "origin_charge", "account_id = 1 AND number = 5", "1", &["account 1: entries, entry 8 at", "lot 5 was not granted as it says"]),
    ("lots", "points", "account_id = 3 AND number = 2", "points + 1", &["account 3: entries, entry 2 at", "lot 2 was not granted as it says"]),
    ("lots", "points", "account_id = 1 AND number = 3", "points + 1", &["account 2: lots, lot 2", "came in elsewhere"]),
    ("lots", "remaining", "account_id = 3 AND number = 2", "remaining - 1", &["account 3: lots, lot 2", "1 points too few"]),
    ("lots", "remaining", "account_id = 3 AND number = 1", "5", &["account 3: lots, lot 1", "than its row says"]),
    ("lots", "held", "account_id = 3 AND number = 2", "held + 1", &["account 3: lots, lot 2", "held"]),
    ("lots", "expires_at", "account_id = 3 AND number = 1", "expires_at - 1", &["account 3: lots, lot 1", "expire"]),
    ("lots", "expires_at", "account_id = 3 AND number = 1", "expires_at - 1", &["account 3: orders, order o", "last"]),
    ("lots", "granted_at", "account_id = 3 AND number = 2", "granted_at + 1", &["account 3: entries, entry 2 at", "lot 2 was not granted as it says"]),
    ("lots", "granted_at", "account_id = 1 AND number = 3", "granted_at + 1", &["account 2: lots, lot 2", "came in elsewhere"]),
    ("entries", "position", "account_id = 3 AND number = 5", "90000", &["account 3: entries, entry 5 at position 90000", "follows"]),
    ("entries", "account_id", "account_id = 3 AND number = 6", "1", &["account 1: entries, entry 6 at"]),
    ("entries", "account_id", "account_id = 3 AND number = 76", "98", &["account 98: entries, entry 76 at", "does not exist"]),
    ("entries", "number", "account_id = 3 AND number = 5", "4", &["account 3: entries, entry 4 at", "follows entry 4"]),
    ("entries", "kind", "account_id = 3 AND number = 5", "'expiry'", &["account 3: entries, entry 5 at"]),
    ("entries", "kind", "account_id = 2 AND number = 5", "'merge_out'", &["account 2: lots, lot 2", "entry 5"]),
    ("entries", "kind", "account_id = 2 AND number = 7", "'expiry'", &["account 2: lots, lot 1", "merge"]),
    ("entries", "hold_points", "account_id = 3 AND number = 39", "hold_points + 1", &["account 3: entries, entry 39 at", "it holds 21 points"]),
    ("entries", "hold_points", "account_id = 3 AND number = 40", "hold_points + 1", &["account 3: entries, entry 40 at", "points: 24"]),
    ("entries", "hold_expires_at", "account_id = 3 AND number = 41", "hold_expires_at + 1", &["account 3: holds, hold 41", "ends at"]),
    ("entries", "kind", "account_id = 3 AND number = 44", "'extend'", &["account 3: entries, entry 44 at"]),
    ("entries", "points", "account_id = 3 AND number = 5", "-4", &["account 3: entries, entry 5 at", "it moves -4 points"]),
    ("entries", "balance_after", "account_id = 3 AND number = 5", "balance_after + 1", &["account 3: entries, entry 5 at", "says balance"]),
    ("entries", "held_after", "account_id = 3 AND number = 50", "held_after + 1", &["account 3: entries, entry 50 at", "held"]),
    ("entries", "held_after", "account_id = 3 AND number = 40", "held_after + 1", &["account 3: holds, hold 39", "entry 40"]),
    ("entries", "at", "account_id = 3 AND number = 2", "at + 1", &["account 3: entries, entry 2 at", "lot 2 was not granted as it says"]),
    ("entries", "at", "account_id = 3 AND number = 39", "at + 1", &["account 3: holds, hold 39", "entry 39"]),
    ("entries", "at", "account_id = 3 AND number = 5", "at + 86400000000", &["account 3: usage_days", "entry 5"]),
    ("entries", "at", "account_id = 3 AND number = 46", "at - 1", &["account 3: entries, entry 46 at", "did not end"]),
    ("entries", "at", "account_id = 3 AND number = 5", "9000000000000000", &["account 3: entries, entry 5 at", "future"]),
    ("entries", "charge_number", "account_id = 3 AND number = 5", "7", &["account 3: entries, entry 5 at", "charge 7"]),
    ("entries", "lot_number", "account_id = 3 AND number = 2", "3", &["account 3: entries, entry 2 at", "lot 3"]),
    ("entries", "lot_number", "account_id = 3 AND number = 5", "2", &["account 3: lots, lot 2", "entry 5"]),
    ("entries", "lot_number", "account_id = 3 AND number = 5", "NULL", &["account 3: draws, entry 5"]),
    ("entries", "lot_number", "account_id = 3 AND number = 16", "1", &["account 3: draws, entry 16", "too many"]),
    ("entries", "origin_account", "account_id = 3 AND number = 44", "1", &["account 3: entries, entry 44 at", "does not name"]),
    ("entries", "origin_entry", "account_id = 3 AND number = 44", "39", &["account 3: holds, hold 39", "entry 44"]),
    ("entries", "origin_entry", "account_id = 3 AND number = 40", "41", &["account 3: holds, hold 41", "entry 40"]),
    ("entries", "origin_entry", "account_id = 3 AND number = 72", "9", &["account 3: charge_refunds, entry 9", "entry 72"]),
    ("entries", "api_key_id", "account_id = 3 AND number = 5", "'m'", &["account 3: usage_days", "key m", "entry 5"]),
    ("entries", "api_key_id", "account_id = 3 AND number = 75", "'m'", &["account 3: usage_days", "key m", "entry 75"]),
    ("entries", "api_key_id", "account_id = 3 AND number = 39", "'m'", &["account 3: holds, hold 39"]),
    ("entries", "tariff_id", "account_id = 3 AND number = 39", "5", &["account 3: holds, hold 39"]),
    ("entries", "units", "account_id = 3 AND number = 39", "NULL", &["account 3: entries, entry 39 at", "units"]),
    ("entries", "title", "account_id = 3 AND number = 5", "'m'", &["account 3: usage_days", "title m", "entry 5"]),
    ("entries", "title", "account_id = 3 AND number = 75", "'m'", &["account 3: usage_days", "title m", "entry 75"]),
    ("entries", "title", "account_id = 3 AND number = 42", "'m'", &["account 3: holds, hold 41", "entry 42"]),
    ("entries", "description", "account_id = 3 AND number = 39", "'m'", &["account 3: holds, hold 39"]),
    ("entries", "request_key", "account_id = 3 AND number = 5", "BYTE 15", &["account 3: request_keys", "entry 5"]),
    ("entries", "request_key", "account_id = 3 AND number = 5", "BYTE 7", &["account 3: request_keys", "entry 5"]),
    ("entries", "request_key", "account_id = 3 AND number = 75", "BYTE 15", &["account 3: accounts, tail of entry 75"]),
    ("entries", "request_key", "account_id = 3 AND number = 75", "BYTE 7", &["account 3: accounts, tail of entry 75"]),
    ("entries", "request_hash", "account_id = 3 AND number = 5", "NULL", &["account 3: entries, entry 5 at", "hash"]),
    ("entry_blocks", "account_id", "account_id = 3 AND block = 1", "-3", &["account -3: entry_blocks, block 1"]),
    ("entry_blocks", "block", "account_id = 3 AND block = 1", "5", &["account 3: entry_blocks, block 5"]),
    ("entry_blocks", "charges_before", "account_id = 3 AND block = 1", "31", &["account 3: entry_blocks, block 1", "says that there are 31 charges"]),
    ("entry_blocks", "positions", "account_id = 3 AND block = 1", "BYTE 7", &["account 3: entry_blocks, block 1", "entry 33"]),
    ("request_keys", "account_id", "account_id = 3 AND position = POSITION 5", "-3", &["account -3: request_keys", "no entry"]),
    ("request_keys", "fingerprint", "account_id = 3 AND position = POSITION 5", "BYTE 3", &["account 3: request_keys", "no entry"]),
    ("request_keys", "position", "account_id = 3 AND position = POSITION 5", "3", &["account 3: request_keys", "at position 3"]),
    ("request_keys", "position", "account_id = 1", "1", &["account 1: request_keys", "at position 1"]),
    ("request_keys", "fingerprint", "account_id = 1", "BYTE 3", &["account 1: request_keys", "no entry"]),
    ("usage_days", "account_id", "account_id = 3 AND api_key_id = 'k'", "-3", &["account -3: usage_days", "key k"]),
    ("usage_days", "day", "account_id = 3 AND api_key_id = 'k'", "day + 1", &["account 3: usage_days, day 19677, key k"]),
    ("usage_days", "api_key_id", "account_id = 3 AND api_key_id = 'k'", "'m'", &["account 3: usage_days", "key m"]),
    ("usage_days", "title", "account_id = 3 AND api_key_id = 'k'", "'m'", &["account 3: usage_days", "title m"]),
    ("usage_days", "charges", "account_id = 3 AND api_key_id = 'k'", "charges + 1", &["account 3: usage_days", "1 charges too many"]),
    ("usage_days", "points", "account_id = 3 AND api_key_id = 'k'", "points - 1", &["account 3: usage_days", "1 points too few"]),
    ("draws", "account_id", "account_id = 3 AND entry_number = 16 AND lot_number = 2", "1", &["account 1: draws, entry 16"]),
    ("draws", "entry_number", "account_id = 3 AND entry_number = 16 AND lot_number = 2", "17", &["account 3: draws, entry 17"]),
    ("draws", "lot_number", "account_id = 3 AND entry_number = 16 AND lot_number = 2", "3", &["account 3: lots, lot 3", "entry 16"]),
    ("draws", "points", "account_id = 3 AND entry_number = 16 AND lot_number = 2", "points + 1", &["account 3: draws, entry 16", "1 points too many"]),
    ("draws", "points", "account_id = 3 AND entry_number = 71 AND lot_number = 2", "points + 1", &["account 3: draws, entry 71", "1 points too many"]),
    ("holds", "account_id", "account_id = 3 AND entry_number = 39", "-3", &["account -3: holds, hold 39"]),
    ("holds", "entry_number", "account_id = 3 AND entry_number = 39", "40", &["account 3: holds, hold 40"]),
    ("holds", "points", "account_id = 3 AND entry_number = 39", "points + 1", &["account 3: holds, hold 39", "1 points too many"]),
    ("holds", "created_at", "account_id = 3 AND entry_number = 39", "created_at + 1", &["account 3: holds, hold 39"]),
    ("holds", "state", "account_id = 3 AND entry_number = 39", "'released'", &["account 3: holds, hold 39"]),
    ("holds", "state", "account_id = 3 AND entry_number = 41", "'released'", &["account 3: holds, hold 41"]),
    ("holds", "state", "account_id = 3 AND entry_number = 43", "'expired'", &["account 3: entries, entry 44 at", "hold 43"]),
    ("holds", "state", "account_id = 3 AND entry_number = 45", "'released'", &["account 3: entries, entry 46 at", "hold 45"]),
    ("holds", "expires_at", "account_id = 3 AND entry_number = 43", "1", &["account 3: entries, entry 44 at", "hold 43"]),
    ("holds", "expires_at", "account_id = 3 AND entry_number = 39", "expires_at + 1", &["account 3: holds, hold 39", "ends at"]),
    ("holds", "state", "account_id = 2 AND entry_number = 4", "'released'", &["account 2: holds, hold 4", "came in elsewhere"]),
    ("holds", "origin_account", "account_id = 1", "3", &["account 1: holds, hold 6", "somebody else"]),
    ("holds", "origin_entry", "account_id = 1", "3", &["account 2: holds, hold 4", "it left in a merge"]),
    ("holds", "created_at", "account_id = 1", "created_at + 1", &["account 2: holds, hold 4", "it left in a merge"]),
    ("holds", "api_key_id", "account_id = 3 AND entry_number = 39", "'m'", &["account 3: holds, hold 39"]),
    ("holds", "tariff_id", "account_id = 3 AND entry_number = 39", "5", &["account 3: holds, hold 39"]),
    ("holds", "title", "account_id = 3 AND entry_number = 39", "'m'", &["account 3: holds, hold 39"]),
    ("holds", "description", "account_id = 3 AND entry_number = 39", "'m'", &["account 3: holds, hold 39"]),
    ("holds", "end_entry", "account_id = 3 AND entry_number = 41", "43", &["account 3: holds, hold 41", "entry 43"]),
    ("holds", "shortfall", "account_id = 3 AND entry_number = 41", "NULL", &["account 3: holds, hold 41", "shortfall"]),
    ("hold_lots", "account_id", "account_id = 3 AND entry_number = 39", "1", &["account 1: hold_lots, hold 39"]),
    ("hold_lots", "entry_number", "account_id = 3 AND entry_number = 39", "40", &["account 3: hold_lots, hold 40"]),
    ("hold_lots", "lot_number", "account_id = 3 AND entry_number = 39", "1", &["account 3: lots, lot 1", "entry 39"]),
    ("hold_lots", "points", "account_id = 3 AND entry_number = 39", "points + 1", &["account 3: hold_lots, hold 39", "1 points too many"]),
    ("charge_refunds", "account_id", "account_id = 3 AND entry_number = 8", "1", &["account 1: charge_refunds, entry 8"]),
    ("charge_refunds", "entry_number", "account_id = 3 AND entry_number = 8", "9", &["account 3: charge_refunds, entry 9"]),
    ("charge_refunds", "charged", "account_id = 3 AND entry_number = 8", "charged + 1", &["account 3: charge_refunds, entry 8", "7 points were charged"]),
    ("charge_refunds", "refunded", "account_id = 3 AND entry_number = 8", "refunded + 1", &["account 3: charge_refunds, entry 8", "1 points too many"]),
    ("charge_refunds", "refunded", "account_id = 2 AND entry_number = 3", "refunded - 1", &["account 2: charge_refunds, entry 3", "1 points too few"]),
    ("key_spending", "api_key_id", "api_key_id = 'capped'", "'k'", &["account 3: key_spending, key k"]),
    ("key_spending", "account_id", "api_key_id = 'capped'", "1", &["account 1: key_spending, key capped"]),
    ("key_spending", "total_points", "api_key_id = 'capped'", "total_points + 1", &["account 3: key_spending, key capped"]),
    ("orders", "id", "id = 'o'", "'p'", &["orders, order p", "without its points"]),
    ("orders", "user_id", "id = 'o'", "1", &["account 3: orders, order o", "somebody else"]),
    ("orders", "points", "id = 'o'", "99", &["account 3: orders, order o", "it is of 99 points and granted 100"]),
    ("orders", "validity_days", "id = 'o'", "31", &["account 3: orders, order o", "last"]),
    ("orders", "state", "id = 'o'", "'closed'", &["account 3: orders, order o", "not delivered"]),
    ("merges", "younger_id", "younger_id = 2", "3", &["merges, user 2"]),
    ("merges", "older_id", "younger_id = 2", "3", &["merges, user 2"]),
    ("merges", "merged_at", "younger_id = 2", "9000000000000000", &["merges, user 2", "future"]),
];

/// Columns whose values are told nowhere else: a change is not found, unless it breaks the form of the row.
#[rustfmt::skip]
const TOLD_ONCE: &[(&str, &[&str], &str)] = &[
    ("lots", &["gift_key"], "chosen by the operator, and nothing else keeps it"),
    ("lots", &["expires_at"], "of a gift: the operator's word; a later time could be a refund's grace"),
    ("lots", &["remaining"], "of the front, if it is more than what is left: out of date by design, and not read"),
    ("entries", &["at"], "of a charge, an expiry or a refund on the same day of China"),
    ("entries", &["title"], "of what was granted: for people"),
    ("entries", &["tariff_id", "units", "description"], "of a charge: what the gateway said"),
    ("entries", &["request_hash"], "what was asked for was not kept"),
    ("holds", &["shortfall"], "what the call cost was not kept"),
    ("hold_lots", &["lot_number"], "of a hold that has ended: nothing is held there any more"),
    ("key_spending", &["day", "day_points", "month", "month_points"], "begin anew each day and month"),
    ("orders", &["package_id", "package_name", "price_fen", "channel", "payer_openid"], "as the package was when it was ordered"),
    ("orders", &["created_at", "payable_until", "closed_at", "paid_after_close", "queried_at"], "of the way to the payment"),
    ("orders", &["prepay_id", "transaction_id", "paid_at"], "the provider's; its bill tells"),
    ("request_keys", &["account_id"], "that a merged account's request was adopted: a row that is gone is not missed"),
    ("merges", &["reason", "merged_at"], "for people"),
];

/// What one finding says in all.
fn is_said(found: &[Finding], words: &[&str]) -> bool {
    let mut lines = found.iter().map(ToString::to_string);
    lines.any(|line| words.iter().all(|word| line.contains(word)))
}

/// The value with one byte of it turned around.
fn turned(engine: Engine, column: &str, byte: &str) -> String {
    let byte: usize = byte.parse().unwrap();
    match engine {
        Engine::Sqlite => {
            let (before, there, after) = (2 * byte, 2 * byte + 1, 2 * byte + 3);
            format!(
                "unhex(substr(hex({column}), 1, {before}) || \
                 CASE substr(hex({column}), {there}, 2) WHEN 'EE' THEN '11' ELSE 'EE' END || substr(hex({column}), {after}))"
            )
        }
        Engine::Postgres => format!("set_byte({column}, {byte}, 255 - get_byte({column}, {byte}))"),
    }
}

async fn each_value_that_is_changed_is_named(store: &TestStore) {
    rich_ledger(store).await;
    let tables: BTreeSet<&str> = FLIPS.iter().map(|flip| flip.0).collect();
    for table in &tables {
        store
            .without_constraints(&format!(
                "CREATE TABLE kept_{table} AS SELECT * FROM {table}"
            ))
            .await;
    }
    let mut unsaid = Vec::new();
    for (table, column, row, value, words) in FLIPS {
        let value = match value.strip_prefix("BYTE ") {
            Some(byte) => turned(store.engine(), column, byte),
            None => (*value).to_owned(),
        };
        let row = match row.split_once("POSITION ") {
            Some((row, entry)) => format!(
                "{row} (SELECT position FROM entries WHERE account_id = 3 AND number = {entry})"
            ),
            None => (*row).to_owned(),
        };
        let flip = format!("UPDATE {table} SET {column} = {value} WHERE {row}");
        store.without_constraints(&flip).await;
        let found = audited(store).await;
        if !is_said(&found, words) {
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            unsaid.push(format!("{flip}: {words:?} is not in {lines:#?}"));
        }
        // Each account by itself sees it, too, as far as it is an account's.
        if *table != "merges" && of_each_account(store).await.is_empty() {
            unsaid.push(format!("{flip}: no account by itself has a difference"));
        }
        let mend = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};");
        store.without_constraints(&mend).await;
    }
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
    assert_eq!(findings(store).await, []);
    check_that_no_column_is_left_out(store, &tables).await;
}

async fn of_each_account(store: &TestStore) -> Vec<Finding> {
    let mut tx = store.snapshot().await.unwrap();
    let mut found = Vec::new();
    for id in [1, 2, 3, -3] {
        let audited = tx.audit_account(AccountId(id), at(10_000_000)).await;
        found.extend(audited.unwrap());
    }
    found
}

async fn check_that_no_column_is_left_out(store: &TestStore, tables: &BTreeSet<&str>) {
    let mut left_out: BTreeSet<String> = BTreeSet::new();
    for name in store.schema().await {
        let Some((table, column)) = name
            .strip_prefix("column ")
            .and_then(|name| name.split_once('.'))
        else {
            continue;
        };
        let is_flipped = FLIPS.iter().any(|flip| (flip.0, flip.1) == (table, column));
        let told = TOLD_ONCE.iter().filter(|told| told.0 == table);
        let is_told_once = told.flat_map(|told| told.1).any(|told| *told == column);
        if tables.contains(table) && !is_flipped && !is_told_once {
            left_out.insert(format!("{table}.{column}"));
        }
    }
    assert_eq!(
        left_out,
        BTreeSet::new(),
        "columns that nothing is said about"
    );
}

/// A table, what makes a row of it too few or too many, and what is said of it.
#[rustfmt::skip]
const BREAKS: &[(&str, &str, [&str; 2])] = &[
    ("entries", "DELETE FROM entries WHERE account_id = 3 AND number = 5", ["account 3: entries, entry 6 at", "follows entry 4"]),
    ("entries", "DELETE FROM entries WHERE account_id = 3 AND number = 76", ["account 3: accounts, the row", "entries of 76"]),
    ("lots", "DELETE FROM lots WHERE account_id = 3 AND number = 2", ["account 3: lots, lot 2", "is not there"]),
    ("draws", "DELETE FROM draws WHERE account_id = 3 AND entry_number = 16", ["account 3: draws, entry 16", "14 points too few"]),
    ("entry_blocks", "DELETE FROM entry_blocks WHERE account_id = 3 AND block = 1", ["account 3: entry_blocks, block 1", "position"]),
    ("request_keys", "DELETE FROM request_keys WHERE account_id = 3", ["account 3: request_keys", "is not among them"]),
    ("usage_days", "DELETE FROM usage_days WHERE account_id = 3", ["account 3: usage_days", "too few"]),
    ("usage_days", "INSERT INTO usage_days VALUES (3, 1, 'k', 'OCR', 0, 0)", ["account 3: usage_days, day 1", "counts nothing"]),
    ("holds", "DELETE FROM holds WHERE account_id = 3 AND entry_number = 39", ["account 3: holds, hold 39", "entry alone"]),
    ("hold_lots", "DELETE FROM hold_lots WHERE account_id = 3 AND entry_number = 39", ["account 3: hold_lots, hold 39", "too few"]),
    ("charge_refunds", "DELETE FROM charge_refunds WHERE account_id = 3 AND entry_number = 8", ["account 3: charge_refunds, entry 8", "3 points too few"]),
    ("charge_refunds", "INSERT INTO charge_refunds VALUES (3, 2, 5, 5)", ["account 3: charge_refunds, entry 2", "5 points were charged"]),
    ("key_spending", "DELETE FROM key_spending", ["account 3: accounts, the row", "cap"]),
    ("orders", "DELETE FROM orders", ["account 3: lots, lot 1", "its order is not delivered"]),
    ("merges", "DELETE FROM merges", ["account 2: merges, user 2", "None"]),
];

async fn rows_that_are_gone_or_too_many_are_named(store: &TestStore) {
    rich_ledger(store).await;
    for (table, breaks, words) in BREAKS {
        let keep = format!("CREATE TABLE kept AS SELECT * FROM {table}; {breaks};");
        store.without_constraints(&keep).await;
        let found = audited(store).await;
        assert!(is_said(&found, words), "{breaks} {words:?}: {found:#?}");
        let mend = format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept;"
        );
        store.without_constraints(&mend).await;
    }
    assert_eq!(findings(store).await, []);
}

async fn an_order_delivered_without_its_points_is_found(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    for (id, user) in [("granted", 1), ("missing", 2)] {
        assert!(tx.insert_order(&order(id, user)).await.unwrap());
    }
    settle(&mut tx, "granted", payment("t", at(0)), at(0)).await;
    let missing = Order {
        state: OrderState::Delivered,
        payment: Some(Payment {
            transaction_id: "u".to_owned(),
            paid_at: at(0),
        }),
        ..order("missing", 2)
    };
    tx.update_order(&missing).await.unwrap();
    tx.commit().await.unwrap();
    let expected = Finding {
        account: AccountId(2),
        table: "orders",
        row: "order missing".to_owned(),
        problem: "it is delivered without its points".to_owned(),
    };
    assert_eq!(audited(store).await, std::slice::from_ref(&expected));
    let mut tx = store.snapshot().await.unwrap();
    let own = tx.audit_account(AccountId(2), at(9)).await.unwrap();
    assert_eq!(own, [expected]);
    assert_eq!(tx.audit_account(AccountId(1), at(9)).await.unwrap(), []);
}

/// Writes in the middle of an audit.
struct Writing<'a> {
    store: &'a TestStore,
    tables: Vec<&'static str>,
}

impl AuditObserver for Writing<'_> {
    fn progress(&mut self, progress: AuditProgress) {
        self.tables.push(progress.table);
    }

    fn found(&mut self, finding: Finding) {
        panic!("{finding} in {:?}", self.store);
    }
}

async fn what_is_written_meanwhile_is_not_seen(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let before = snapshot.holdings(AccountId(1), at(1)).await.unwrap();
    charge(store, 1, 30, call("k"), at(1)).await.unwrap();
    let mut writing = Writing {
        store,
        tables: Vec::new(),
    };
    let audited = snapshot.audit(AuditScope::All, at(1), &mut writing).await;
    assert_eq!(audited.unwrap().entries, 1);
    assert_eq!(writing.tables, ["entries"]);
    let still = snapshot.holdings(AccountId(1), at(1)).await.unwrap();
    assert_eq!((before, still.available), (still, points(100)));
    let refused = snapshot.lock_account(AccountId(1)).await;
    assert!(refused.is_err(), "{refused:?}");
    drop(snapshot);
    // The connection can be used again, and sees what is there now.
    let mut tx = store.snapshot().await.unwrap();
    let now = tx.holdings(AccountId(1), at(1)).await.unwrap();
    assert_eq!(now.available, points(70));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(account(&mut tx, 1).await.balance(), points(70));
}

async fn only_a_thousand_differences_are_told(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10_000, None), at(0)).await;
    change(store, 1, |account| {
        for number in 0..1_500 {
            let request = Some(request(number, 1));
            account
                .charge(points(1), call("k"), request, at(1))
                .unwrap();
        }
    })
    .await;
    assert_eq!(findings(store).await, []);
    store.without_constraints("DELETE FROM request_keys").await;
    let mut found: Vec<Finding> = Vec::new();
    let mut tx = store.snapshot().await.unwrap();
    let audited = tx.audit(AuditScope::All, at(2), &mut found).await.unwrap();
    assert_eq!(found.len(), 1_000);
    assert!(audited.unnamed > 400, "{audited:?}");
    // 46 blocks of requests, but for the grant; a few share a sum.
    let told = audited.findings + audited.unnamed;
    assert!((1_440..=46 * 32 - 1).contains(&told), "{audited:?}");
}
