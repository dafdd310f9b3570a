//! The verbs that promise a lock ask for one: without a transaction, where nothing could hold it, they are refused. What
//! locks are good for is in [`crate::concurrency`].

use jifen_domain::{AccountId, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Error, Result};

use crate::samples::{add_users, api_key, at, order, package};

on_both_engines! {
    verbs_that_lock_need_a_transaction,
}

fn is_refused<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Database(_)))
}

async fn verbs_that_lock_need_a_transaction(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&api_key("k", 1), b"k").await.unwrap();
    assert!(tx.insert_package(&package("p")).await.unwrap());
    assert!(tx.insert_order(&order("o", 1)).await.unwrap());
    tx.enqueue("k", "s", "", at(0)).await.unwrap();
    tx.commit().await.unwrap();

    macro_rules! refuses {
        ($($verb:ident($($argument:expr),*),)+) => {
            $({
                let mut reader = store.read().await.unwrap();
                assert!(is_refused(&reader.$verb($($argument),*).await), stringify!($verb));
            })+
        };
    }
    refuses! {
        lock_user(UserId(1)),
        lock_orders_of(UserId(1), UserId(2)),
        lock_email_confirmation(UserId(1)),
        lock_session(b"t"),
        lock_account(AccountId(1)),
        lock_accounts(&[AccountId(1)]),
        lock_order("o"),
        lock_package("p"),
        lock_api_key("k"),
        claim_jobs(at(0), at(1), 1),
    }
}
