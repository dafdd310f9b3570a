//! What the schema itself refuses, whoever writes.

use jifen_domain::{AccountId, UserId};
use jifen_store::Error;
use jifen_store::testing::TestStore;

use crate::samples::{account, add_users, at, call, charge, gift, give, points};

on_both_engines! {
    an_account_that_cannot_be_is_refused,
    a_test_account_is_made_once_and_stands_beside_the_other,
}

/// A statement, and a part of the name of the constraint that refuses it.
const REFUSED: &[(&str, &str)] = &[
    ("UPDATE accounts SET balance = -1, held = -2", "accounts_"),
    (
        "UPDATE accounts SET held = 10",
        "accounts_held_within_balance",
    ),
    (
        "UPDATE accounts SET held = -1",
        "accounts_held_within_balance",
    ),
    (
        "UPDATE accounts SET tail = substr(tail, 1, 31)",
        "accounts_tail_whole",
    ),
    (
        "UPDATE accounts SET tail = substr(tail, 1, 16)",
        "accounts_tail_whole",
    ),
    ("UPDATE accounts SET entry_count = 3", "accounts_tail_whole"),
    (
        "UPDATE accounts SET tail = substr(tail, 33), entry_count = 32",
        "accounts_tail_usage_of_tail",
    ),
    (
        "INSERT INTO request_keys SELECT id, substr(tail, 1, 7), 1 FROM accounts",
        "request_keys_fingerprint_whole",
    ),
    (
        "UPDATE accounts SET charge_count = 3",
        "accounts_charge_count_within_entries",
    ),
    (
        "UPDATE accounts SET user_id = 1, id = 2",
        "accounts_number_of_user",
    ),
    (
        "UPDATE accounts SET front_remaining = NULL",
        "accounts_front_whole",
    ),
    (
        "UPDATE accounts SET front_remaining = 10",
        "accounts_front_within_balance",
    ),
    (
        "UPDATE lots SET remaining = 11",
        "lots_remaining_within_points",
    ),
    ("UPDATE lots SET held = 10", "lots_held_within_remaining"),
    (
        "UPDATE entries SET balance_after = -1, held_after = -1",
        "entries_",
    ),
    (
        "UPDATE entries SET held_after = 100",
        "entries_held_within_balance",
    ),
    ("UPDATE entries SET points = -1", "entries_points_sign"),
    (
        "UPDATE entries SET charge_number = 1",
        "entries_number_of_charge",
    ),
    (
        "UPDATE entries SET api_key_id = NULL",
        "entries_key_of_charge",
    ),
];

async fn an_account_that_cannot_be_is_refused(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, None), at(0)).await;
    charge(store, 1, 1, call("k"), at(1)).await.unwrap();
    for (statement, constraint) in REFUSED {
        let error = store.raw_error(statement).await;
        assert!(
            error
                .as_deref()
                .is_some_and(|error| error.contains(constraint)),
            "{statement}: {error:?}"
        );
    }
}

async fn a_test_account_is_made_once_and_stands_beside_the_other(store: &TestStore) {
    add_users(store, &[7]).await;
    give(store, 7, gift("a", 10, None), at(0)).await;
    let mut tx = store.begin().await.unwrap();
    for _ in 0..2 {
        let tests = tx.ensure_test_account(UserId(7)).await.unwrap();
        assert_eq!(tests, AccountId(-7));
    }
    let mut tests = account(&mut tx, -7).await;
    tests.grant(gift("b", 5, None), at(1)).unwrap();
    tests.charge(points(2), call("t"), None, at(2)).unwrap();
    tx.append_journal(&tests).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(-7), at(3)).await.unwrap();
    assert_eq!(holdings.available, points(3));
    let holdings = tx.holdings(AccountId(7), at(3)).await.unwrap();
    assert_eq!(holdings.available, points(10));
    let listed = tx.list_users(UserId(0), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].balance, 10);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let nobody = tx.ensure_test_account(UserId(8)).await;
    assert_eq!(nobody, Err(Error::ForeignKey));
}
