//! What several nodes do at once happens as if they had taken turns.

use std::sync::Arc;

use jifen_domain::order::{Channel, Settled};
use jifen_domain::{AccountId, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{PaymentIncident, Store};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::samples::{
    account, add_users, at, call, findings, gift, give, merge, order, payment, points, request,
    settle, state_of, user,
};

on_both_engines! {
    parallel_orders_of_one_package_are_one_order,
    parallel_settlements_credit_once,
    parallel_merges_of_one_pair_merge_once,
    parallel_merges_of_a_chain_end_at_the_oldest,
    a_merge_and_settlements_of_both_records_lose_nothing,
    parallel_charges_add_up_and_never_go_below_zero,
    parallel_charges_under_one_key_are_one_charge,
    a_locked_account_is_waited_for,
    parallel_claims_never_take_the_same_work,
    what_is_claimed_in_parallel_is_claimed_once,
    parallel_incidents_are_all_counted,
    parallel_inserts_of_one_person_make_one,
}

/// Runs the same work so many times at once, and collects what each came to, in the order of their numbers.
async fn in_parallel<T, F>(store: &TestStore, times: i64, work: impl Fn(Store, i64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(usize::try_from(times).unwrap()));
    let mut tasks = JoinSet::new();
    for number in 0..times {
        let (start, work) = (Arc::clone(&start), work(store.store(), number));
        tasks.spawn(async move {
            start.wait().await;
            (number, work.await)
        });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn count(outcomes: &[bool]) -> usize {
    outcomes.iter().filter(|outcome| **outcome).count()
}

async fn parallel_orders_of_one_package_are_one_order(store: &TestStore) {
    add_users(store, &[1]).await;
    let inserted = in_parallel(store, 50, |store, number| async move {
        let mut tx = store.begin().await.unwrap();
        let inserted = tx.insert_order(&order(&format!("o{number}"), 1)).await;
        tx.commit().await.unwrap();
        inserted.unwrap()
    })
    .await;
    assert_eq!(count(&inserted), 1);
    let winner = inserted.iter().position(|inserted| *inserted).unwrap();
    let mut tx = store.read().await.unwrap();
    let open = tx.open_order(UserId(1), "p", Channel::WechatJsapi).await;
    assert_eq!(open.unwrap(), Some(order(&format!("o{winner}"), 1)));
    assert_eq!(tx.orders_of(UserId(1), 0, 100).await.unwrap().0, 1);
}

async fn parallel_settlements_credit_once(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("o", 1)).await.unwrap());
    tx.commit().await.unwrap();
    let settled = in_parallel(store, 20, |store, _| async move {
        let mut tx = store.begin().await.unwrap();
        let settled = settle(&mut tx, "o", payment("t", at(1)), at(1)).await;
        tx.commit().await.unwrap();
        settled == Settled::Now
    })
    .await;
    assert_eq!(count(&settled), 1);
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(2)).await.unwrap();
    assert_eq!(holdings.available, points(100));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn merge_in_parallel(store: &TestStore, pairs: &'static [(i64, i64)]) -> Vec<bool> {
    let times = i64::try_from(pairs.len()).unwrap();
    in_parallel(store, times, |store, number| async move {
        let (one, other) = pairs[usize::try_from(number).unwrap()];
        let mut tx = store.begin().await.unwrap();
        let merged = merge(&mut tx, one, other, at(100)).await;
        tx.commit().await.unwrap();
        merged
    })
    .await
}

async fn parallel_merges_of_one_pair_merge_once(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 1, gift("a", 10, None), at(0)).await;
    give(store, 2, gift("b", 20, None), at(0)).await;
    let mut tx = store.begin().await.unwrap();
    for (id, user) in [("a", 1), ("b", 2)] {
        assert!(tx.insert_order(&order(id, user)).await.unwrap());
    }
    tx.commit().await.unwrap();
    let merged = merge_in_parallel(store, &[(1, 2), (2, 1), (1, 2), (2, 1)]).await;
    assert_eq!(count(&merged), 1);
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.user(UserId(2)).await.unwrap(), Some(user(1)));
    let holdings = tx.holdings(AccountId(1), at(200)).await.unwrap();
    assert_eq!(holdings.available, points(30));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn parallel_merges_of_a_chain_end_at_the_oldest(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
        give(store, id, gift(key, 10, None), at(0)).await;
    }
    let merged = merge_in_parallel(store, &[(1, 2), (2, 3)]).await;
    assert_eq!(count(&merged), 2);
    let mut tx = store.read().await.unwrap();
    for id in [2, 3] {
        assert_eq!(tx.user(UserId(id)).await.unwrap(), Some(user(1)), "{id}");
    }
    let holdings = tx.holdings(AccountId(1), at(200)).await.unwrap();
    assert_eq!(holdings.available, points(30));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn a_merge_and_settlements_of_both_records_lose_nothing(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    for (id, user) in [("o1", 1), ("o2", 2)] {
        assert!(tx.insert_order(&order(id, user)).await.unwrap());
    }
    tx.commit().await.unwrap();
    in_parallel(store, 5, |store, number| async move {
        let mut tx = store.begin().await.unwrap();
        if number == 2 {
            merge(&mut tx, 1, 2, at(10)).await;
        } else {
            let order_id = format!("o{}", 1 + number % 2);
            let claim = payment(&format!("t-{order_id}"), at(10));
            settle(&mut tx, &order_id, claim, at(10)).await;
        }
        tx.commit().await.unwrap();
    })
    .await;
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(20)).await.unwrap();
    assert_eq!(holdings.available, points(200));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn parallel_charges_add_up_and_never_go_below_zero(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 60, Some(at(100))), at(0)).await;
    give(store, 1, gift("b", 40, None), at(0)).await;
    let charged = in_parallel(store, 40, |store, _| async move {
        let mut tx = store.begin().await.unwrap();
        let mut account = account(&mut tx, 1).await;
        let charged = account.charge(points(7), call("k"), None, at(1)).is_ok();
        tx.append_journal(&account).await.unwrap();
        tx.commit().await.unwrap();
        charged
    })
    .await;
    assert_eq!(count(&charged), 14);
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(2)).await.unwrap();
    assert_eq!(holdings.available, points(2));
    let (total, history) = tx.consumption(UserId(1), 0, 100).await.unwrap();
    assert_eq!((total, history.len()), (14, 14));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn parallel_charges_under_one_key_are_one_charge(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    let request = request(1, 7);
    let charged = in_parallel(store, 10, move |store, _| async move {
        let mut tx = store.begin().await.unwrap();
        let mut accounts = tx.lock_accounts(&[AccountId(1)]).await.unwrap();
        let before = tx.recorded_requests(&accounts, &[(0, request)]).await;
        let is_first = before.unwrap() == [None];
        if is_first {
            let account = &mut accounts[0];
            account
                .charge(points(7), call("k"), Some(request), at(1))
                .unwrap();
        }
        tx.append_journals(&accounts).await.unwrap();
        tx.commit().await.unwrap();
        is_first
    })
    .await;
    assert_eq!(count(&charged), 1);
    let mut tx = store.begin().await.unwrap();
    let accounts = tx.lock_accounts(&[AccountId(1)]).await.unwrap();
    let recorded = tx.recorded_requests(&accounts, &[(0, request)]).await;
    let recorded = recorded.unwrap().remove(0).unwrap();
    assert_eq!((recorded.entry, recorded.balance_after), (2, points(93)));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

/// Two transactions that change one account: the second waits until the first is done, and then finds what that did.
async fn a_locked_account_is_waited_for(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    let mut first = store.begin().await.unwrap();
    let mut held = state_of(&mut first, 1).await;
    held.charge(points(30), call("k"), None, at(1)).unwrap();
    first.append_journal(&held).await.unwrap();

    let second = tokio::spawn({
        let store = store.store();
        async move {
            let mut tx = store.begin().await.unwrap();
            let mut accounts = tx.lock_accounts(&[AccountId(1)]).await.unwrap();
            let found = accounts[0].balance();
            accounts[0]
                .charge(points(30), call("k"), None, at(2))
                .unwrap();
            tx.append_journals(&accounts).await.unwrap();
            tx.commit().await.unwrap();
            found
        }
    });
    // However long the second is given, it cannot pass before the first has committed.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), points(70));
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(3)).await.unwrap();
    assert_eq!(holdings.available, points(40));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn parallel_claims_never_take_the_same_work(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for number in 0..24 {
        let subject = format!("{number:02}");
        tx.enqueue("k", &subject, "", at(0)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let claims = in_parallel(store, 6, |store, _| async move {
        let mut subjects = Vec::new();
        // A claimer passes over what another has in hand, so it may find nothing and is to ask again.
        while subjects.len() < 4 {
            let mut tx = store.begin().await.unwrap();
            let wanted = 4 - i64::try_from(subjects.len()).unwrap();
            let jobs = tx.claim_jobs(at(0), at(60), wanted).await.unwrap();
            tx.commit().await.unwrap();
            subjects.extend(jobs.into_iter().map(|job| job.subject));
        }
        subjects
    })
    .await;
    let mut claimed: Vec<String> = claims.into_iter().flatten().collect();
    claimed.sort();
    let all: Vec<String> = (0..24).map(|number| format!("{number:02}")).collect();
    assert_eq!(claimed, all);
}

async fn what_is_claimed_in_parallel_is_claimed_once(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("o", 1)).await.unwrap());
    assert!(tx.insert_qr_login("t", b"b", at(600)).await.unwrap());
    tx.commit().await.unwrap();

    macro_rules! wins_once {
        ($(|$tx:ident, $number:ident| $claim:expr,)+) => {
            $(
                let won = in_parallel(store, 10, |store, $number| async move {
                    let mut $tx = store.begin().await.unwrap();
                    let won = $claim;
                    $tx.commit().await.unwrap();
                    won
                })
                .await;
                assert_eq!(count(&won), 1, "{}", stringify!($claim));
            )+
        };
    }
    wins_once! {
        |tx, _number| tx.claim_order_query("o", at(1), at(-2)).await.unwrap(),
        |tx, number| tx.scan_qr_login("t", &format!("o{number}"), UserId(1), at(1)).await.unwrap(),
        |tx, _number| tx.claim_qr_session("t").await.unwrap(),
        |tx, number| tx.claim_message("m", &number.to_string(), at(1)).await.unwrap().is_none(),
        |tx, _number| tx.lease_access_token("app", at(1), at(31)).await.unwrap(),
        |tx, _number| tx.replace_access_token("app", 0, None).await.unwrap(),
        |tx, number| tx.insert_identity("app", "o", UserId(1), at(number)).await.unwrap(),
    }
}

async fn parallel_incidents_are_all_counted(store: &TestStore) {
    let first = in_parallel(store, 10, |store, number| async move {
        let incident = PaymentIncident {
            channel: Channel::WechatJsapi,
            transaction_id: "t".to_owned(),
            order_id: "o".to_owned(),
            reason: "there is no such order".to_owned(),
            first_at: at(number),
            last_at: at(number),
            times: 1,
        };
        let mut tx = store.begin().await.unwrap();
        let is_first = tx.record_incident(&incident).await.unwrap();
        tx.commit().await.unwrap();
        is_first
    })
    .await;
    assert_eq!(count(&first), 1);
    let mut tx = store.read().await.unwrap();
    let incidents = tx.incidents(10).await.unwrap();
    let times: Vec<_> = incidents.iter().map(|incident| incident.times).collect();
    assert_eq!(times, [10]);
}

async fn parallel_inserts_of_one_person_make_one(store: &TestStore) {
    let inserted = in_parallel(store, 10, |store, _| async move {
        let mut tx = store.begin().await.unwrap();
        let inserted = tx.insert_user(&user(1)).await.unwrap();
        tx.commit().await.unwrap();
        inserted
    })
    .await;
    assert_eq!(count(&inserted), 1);
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.list_users(UserId(0), 10).await.unwrap().len(), 1);
}
