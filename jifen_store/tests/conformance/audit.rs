use jifen_domain::AccountId;
use jifen_domain::order::{Order, OrderState, Payment};
use jifen_store::Audited;
use jifen_store::testing::TestStore;

use crate::samples::{
    add_users, at, call, charge, findings, gift, give, merge, order, payment, points, settle,
};

on_both_engines! {
    a_sound_ledger_of_every_kind_of_movement_has_no_findings,
    every_kind_of_corruption_names_the_account_and_the_problem,
    an_order_delivered_without_its_points_is_found,
    accounts_are_read_in_order_and_counted,
}

/// Grants, charges over several lots, an expiry, a purchase and a merge: accounts 1, 2 (merged into 1) and 3.
async fn rich_ledger(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    give(store, 1, gift("a", 50, None), at(0)).await;
    give(store, 1, gift("b", 30, Some(at(100))), at(1)).await;
    charge(store, 1, 40, call("k"), at(2)).await.unwrap();
    give(store, 2, gift("c", 25, Some(at(1_000))), at(0)).await;
    give(store, 2, gift("d", 7, Some(at(5))), at(0)).await;
    charge(store, 2, 3, call("k"), at(3)).await.unwrap();
    give(store, 3, gift("e", 60, None), at(0)).await;
    charge(store, 3, 10, call("k"), at(1)).await.unwrap();
    charge(store, 3, 10, call("k"), at(2)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("o", 1)).await.unwrap());
    settle(&mut tx, "o", payment("t", at(4)), at(4)).await;
    assert!(merge(&mut tx, 1, 2, at(10)).await);
    tx.commit().await.unwrap();
    charge(store, 1, 120, call("k"), at(11)).await.unwrap();
}

async fn a_sound_ledger_of_every_kind_of_movement_has_no_findings(store: &TestStore) {
    rich_ledger(store).await;
    assert_eq!(findings(store).await, []);
    let mut tx = store.begin().await.unwrap();
    let nobody = tx.audit_account(AccountId(9), at(0)).await.unwrap();
    assert_eq!(nobody, []);
}

/// A statement that breaks one row, one that mends it, whose account is broken, and a part of what must be said.
const CORRUPTIONS: &[(&str, &str, i64, &str)] = &[
    (
        "UPDATE accounts SET balance = balance + 1 WHERE id = 3",
        "UPDATE accounts SET balance = balance - 1 WHERE id = 3",
        3,
        "its lots hold 40 points, its balance is 41",
    ),
    (
        "UPDATE accounts SET entry_count = 4 WHERE id = 3",
        "UPDATE accounts SET entry_count = 3 WHERE id = 3",
        3,
        "it is stored with a balance of 40, 4 entries, 2 charges, 1 lots, its entries make a balance of 40, 3 entries",
    ),
    (
        "UPDATE accounts SET charge_count = 1 WHERE id = 3",
        "UPDATE accounts SET charge_count = 2 WHERE id = 3",
        3,
        "its entries make a balance of 40, 3 entries, 2 charges, 1 lots",
    ),
    (
        "UPDATE accounts SET lot_count = 0 WHERE id = 3",
        "UPDATE accounts SET lot_count = 1 WHERE id = 3",
        3,
        "its entries make a balance of 40, 3 entries, 2 charges, 1 lots",
    ),
    (
        "UPDATE entries SET points = -11 WHERE account_id = 3 AND number = 2",
        "UPDATE entries SET points = -10 WHERE account_id = 3 AND number = 2",
        3,
        "entry 2 moves -11 points, its draws add up to 10",
    ),
    (
        "UPDATE entries SET points = 61 WHERE account_id = 3 AND number = 1",
        "UPDATE entries SET points = 60 WHERE account_id = 3 AND number = 1",
        3,
        "entry 1 grants 61 points, its lot Some(1) was granted Some(60)",
    ),
    (
        "UPDATE entries SET balance_after = 51 WHERE account_id = 3 AND number = 2",
        "UPDATE entries SET balance_after = 50 WHERE account_id = 3 AND number = 2",
        3,
        "entry 2 says balance 51, the entries so far add up to 50",
    ),
    (
        "UPDATE entries SET number = 9 WHERE account_id = 1 AND number = 2",
        "UPDATE entries SET number = 2 WHERE account_id = 1 AND number = 9",
        1,
        "entry 1 is followed by entry 3",
    ),
    (
        "UPDATE entries SET charge_number = 7 WHERE account_id = 3 AND number = 3",
        "UPDATE entries SET charge_number = 2 WHERE account_id = 3 AND number = 3",
        3,
        "entry 3 is charge 7, expected charge 2",
    ),
    (
        "UPDATE entries SET lot_number = 5 WHERE account_id = 3 AND number = 1",
        "UPDATE entries SET lot_number = 1 WHERE account_id = 3 AND number = 1",
        3,
        "entry 1 grants 60 points, its lot Some(5) was granted None",
    ),
    (
        "UPDATE entries SET at = 9000000000000000 WHERE account_id = 3 AND number = 3",
        "UPDATE entries SET at = 1700000002000000 WHERE account_id = 3 AND number = 3",
        3,
        "entry 3 lies in the future",
    ),
    (
        "UPDATE draws SET points = 9 WHERE account_id = 3 AND entry_number = 2",
        "UPDATE draws SET points = 10 WHERE account_id = 3 AND entry_number = 2",
        3,
        "entry 2 moves -10 points, its draws add up to 9",
    ),
    (
        "DELETE FROM draws WHERE account_id = 3 AND entry_number = 3",
        "INSERT INTO draws (account_id, entry_number, lot_number, points) VALUES (3, 3, 1, 10)",
        3,
        "lot 1 of 60 points has 40 left, 10 were drawn",
    ),
    (
        "UPDATE lots SET remaining = 39 WHERE account_id = 3 AND number = 1",
        "UPDATE lots SET remaining = 40 WHERE account_id = 3 AND number = 1",
        3,
        "lot 1 of 60 points has 39 left, 20 were drawn",
    ),
    (
        "UPDATE lots SET points = 61 WHERE account_id = 3 AND number = 1",
        "UPDATE lots SET points = 60 WHERE account_id = 3 AND number = 1",
        3,
        "entry 1 grants 60 points, its lot Some(1) was granted Some(61)",
    ),
    (
        "UPDATE orders SET points = 99 WHERE id = 'o'",
        "UPDATE orders SET points = 100 WHERE id = 'o'",
        1,
        "order o is delivered without its points",
    ),
    (
        "UPDATE orders SET state = 'closed', transaction_id = NULL, paid_at = NULL WHERE id = 'o'",
        "UPDATE orders SET state = 'delivered', transaction_id = 't', paid_at = 1700000004000000 WHERE id = 'o'",
        1,
        "lot 3 was granted for order o, which is not delivered",
    ),
    (
        "UPDATE lots SET order_id = 'ghost' WHERE order_id = 'o'",
        "UPDATE lots SET order_id = 'o' WHERE order_id = 'ghost'",
        1,
        "lot 3 was granted for order ghost, which is not delivered",
    ),
    (
        "UPDATE lots SET origin_lot = 2 WHERE source = 'merge'",
        "UPDATE lots SET origin_lot = 1 WHERE source = 'merge'",
        1,
        "lot 4 brought 25 points, which did not leave lot 2 of account 2",
    ),
];

async fn every_kind_of_corruption_names_the_account_and_the_problem(store: &TestStore) {
    rich_ledger(store).await;
    for (breaks, mends, account, problem) in CORRUPTIONS {
        assert_eq!(store.raw(breaks).await, 1, "{breaks}");
        let found = findings(store).await;
        assert!(
            found
                .iter()
                .any(|(id, text)| id == account && text.contains(problem)),
            "{breaks}: {found:#?}"
        );
        // A merge has two sides, and both are told; anything else is told of its account alone.
        let is_merge = breaks.contains("origin_lot");
        assert!(
            is_merge || found.iter().all(|(id, _)| id == account),
            "{breaks}: {found:#?}"
        );
        if is_merge {
            let left = "25 points of lot 1 left in a merge and did not come in elsewhere";
            assert!(found.contains(&(2, left.to_owned())), "{found:#?}");
        }
        assert_eq!(store.raw(mends).await, 1, "{mends}");
        assert_eq!(findings(store).await, [], "after {mends}");
    }
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
    let problem = "order missing is delivered without its points".to_owned();
    assert_eq!(findings(store).await, [(2, problem)]);
}

async fn accounts_are_read_in_order_and_counted(store: &TestStore) {
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.ledger_size().await.unwrap(), Audited::default());
    assert_eq!(tx.accounts_after(AccountId(0), 10).await.unwrap(), []);
    drop(tx);
    add_users(store, &[30, 10, 20]).await;
    give(store, 20, gift("a", points(5).get(), None), at(0)).await;
    charge(store, 20, 1, call("k"), at(0)).await.unwrap();
    give(store, 30, gift("b", 5, None), at(0)).await;
    let mut tx = store.read().await.unwrap();
    assert_eq!(
        tx.ledger_size().await.unwrap(),
        Audited {
            accounts: 3,
            entries: 3
        }
    );
    for (after, rows_max, page) in [(0, 2, vec![10, 20]), (20, 2, vec![30]), (30, 2, Vec::new())] {
        let ids = tx.accounts_after(AccountId(after), rows_max).await.unwrap();
        assert_eq!(ids, page.into_iter().map(AccountId).collect::<Vec<_>>());
    }
}
