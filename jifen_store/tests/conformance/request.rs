//! A request is found again by its key, wherever its entry has gone meanwhile.

use jifen_domain::AccountId;
use jifen_domain::ledger::{ChargeDetail, Request, TariffUse};
use jifen_store::testing::TestStore;
use jifen_store::{LockedAccount, Recorded, Tx};

use crate::samples::{
    add_users, at, call, charge_fast, findings, gift, give, merge, points, request,
};

on_both_engines! {
    a_request_is_found_in_the_tail_and_in_blocks,
    requests_with_the_same_fingerprint_are_told_apart,
    requests_of_several_accounts_are_found_in_one_go,
    requests_of_a_merged_account_are_found_in_the_older,
}

async fn locked(tx: &mut Tx, ids: &[i64]) -> Vec<LockedAccount> {
    let ids: Vec<AccountId> = ids.iter().copied().map(AccountId).collect();
    tx.lock_accounts(&ids).await.unwrap()
}

async fn a_request_is_found_in_the_tail_and_in_blocks(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10_000, None), at(0)).await;
    let detail = ChargeDetail {
        tariff: Some(TariffUse { id: 7, units: 3 }),
        ..call("k")
    };
    for number in 1..=70 {
        let request = request(number, 2 * number);
        charge_fast(store, 1, number, detail.clone(), Some(request), at(number))
            .await
            .unwrap();
        let mut tx = store.begin().await.unwrap();
        let accounts = locked(&mut tx, &[1]).await;
        let asked: Vec<(usize, Request)> = (1..=number + 1)
            .map(|number| (0, self::request(number, 0)))
            .collect();
        let found = tx.recorded_requests(&accounts, &asked).await.unwrap();
        assert_eq!(found.last(), Some(&None), "it was never made");
        let mut balance = 10_000;
        for (number, found) in (1..=number).zip(found) {
            balance -= number;
            let expected = Recorded {
                account: AccountId(1),
                entry: number + 1,
                input: (2 * number).to_be_bytes(),
                signed_points: -number,
                balance_after: points(balance),
                held_after: points(0),
                at: at(number),
                api_key_id: Some("k".to_owned()),
                title: "OCR".to_owned(),
                tariff_id: Some(7),
                origin_entry: None,
                until: None,
            };
            assert_eq!(found, Some(expected));
        }
    }
    assert_eq!(findings(store).await, []);
}

async fn requests_with_the_same_fingerprint_are_told_apart(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 1_000, None), at(0)).await;
    // Both halves change alike, so what they are together does not. The second of each pair has equal halves.
    let twin = |number: u8| {
        let mut twin = request(1, 1);
        if number % 2 == 1 {
            twin.key = [0; 16];
        }
        (twin.key[7], twin.key[15]) = (twin.key[7] ^ number, twin.key[15] ^ number);
        twin
    };
    // One without a key of its own, whose place in the tail is all zeros.
    let zeros = Request {
        key: [0; 16],
        input: [0; 8],
    };
    charge_fast(store, 1, 1, call("k"), None, at(1))
        .await
        .unwrap();
    for number in 0..80 {
        let mut tx = store.begin().await.unwrap();
        let accounts = locked(&mut tx, &[1]).await;
        let asked = [(0, twin(number)), (0, zeros), (0, twin(number / 2))];
        let found = tx.recorded_requests(&accounts, &asked).await.unwrap();
        let entries: Vec<Option<i64>> = found
            .iter()
            .map(|found| Some(found.as_ref()?.entry))
            .collect();
        let before = (number > 0).then_some(i64::from(number / 2) + 3);
        assert_eq!(entries, [None, None, before], "{number}");
        drop(tx);
        charge_fast(store, 1, 1, call("k"), Some(twin(number)), at(2))
            .await
            .unwrap();
    }
    assert_eq!(findings(store).await, []);
}

async fn requests_of_several_accounts_are_found_in_one_go(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    for (id, charges) in [(1, 5), (2, 40)] {
        give(store, id, gift(&id.to_string(), 1_000, None), at(0)).await;
        for number in 1..=charges {
            let request = request(number, id);
            charge_fast(store, id, 1, call("k"), Some(request), at(1))
                .await
                .unwrap();
        }
    }
    let mut tx = store.begin().await.unwrap();
    let accounts = locked(&mut tx, &[1, 2, 3]).await;
    let asked = [
        (2, request(1, 0)),
        (1, request(39, 0)),
        (0, request(5, 0)),
        (0, request(6, 0)),
        (1, request(5, 0)),
    ];
    let found = tx.recorded_requests(&accounts, &asked).await.unwrap();
    let entries: Vec<Option<(i64, i64)>> = found
        .iter()
        .map(|found| found.as_ref().map(|found| (found.account.0, found.entry)))
        .collect();
    assert_eq!(
        entries,
        [None, Some((2, 40)), Some((1, 6)), None, Some((2, 6))]
    );
    let nothing = tx.recorded_requests(&accounts, &[]).await.unwrap();
    assert_eq!(nothing, []);
}

async fn requests_of_a_merged_account_are_found_in_the_older(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    for id in [1, 2, 3] {
        give(store, id, gift(&id.to_string(), 1_000, None), at(0)).await;
        for number in 0..20 * id {
            let request = Some(request(1_000 * id + number, id));
            charge_fast(store, id, 1, call("k"), request, at(1))
                .await
                .unwrap();
        }
    }
    // All three have made a charge for this one, which then is each one's own.
    for id in [1, 2, 3] {
        charge_fast(store, id, 1, call("k"), Some(request(7, id)), at(1))
            .await
            .unwrap();
    }
    for (older, younger) in [(2, 3), (1, 2)] {
        let mut tx = store.begin().await.unwrap();
        assert!(merge(&mut tx, older, younger, at(2)).await);
        tx.commit().await.unwrap();
        assert_eq!(findings(store).await, []);
    }
    let found = async |number: i64| {
        let mut tx = store.read().await.unwrap();
        let found = tx.recorded_request(AccountId(1), request(number, 0)).await;
        found.unwrap().map(|found| (found.account.0, found.input))
    };
    for id in [1, 2, 3] {
        for number in 0..20 * id {
            let input = i64::to_be_bytes(id);
            assert_eq!(found(1_000 * id + number).await, Some((id, input)));
        }
    }
    assert_eq!(found(7).await, Some((1, 1_i64.to_be_bytes())));
    // Each one's own is found by what it asked for, whichever account of the person is named.
    for (named, asked) in [(1, 1), (1, 2), (3, 1), (1, 3), (1, 9)] {
        let mut tx = store.read().await.unwrap();
        let found = tx
            .recorded_request_of_person(AccountId(named), request(7, asked))
            .await;
        let found = found.unwrap().map(|found| found.account.0);
        assert_eq!(found, (asked < 9).then_some(asked));
    }
    assert_eq!(found(8).await, None);
    let mut tx = store.read().await.unwrap();
    let nobody = tx.recorded_request(AccountId(9), request(7, 0)).await;
    assert_eq!(nobody.unwrap(), None);
    drop(tx);
    // The older goes on, and folds what it has.
    for number in 0..40 {
        charge_fast(store, 1, 1, call("k"), Some(request(number + 50, 9)), at(3))
            .await
            .unwrap();
    }
    assert_eq!(found(7).await, Some((1, 1_i64.to_be_bytes())));
    assert_eq!(findings(store).await, []);
}
