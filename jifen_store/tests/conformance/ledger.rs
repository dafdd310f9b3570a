use jifen_domain::ledger::{Account, ChargeDetail, Grant, LotSource, Movement, Refused};
use jifen_domain::{AccountId, Time, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Consumption, Error, Holdings};

use crate::samples::{
    account, add_users, api_key, at, call, change, charge, charge_fast, findings, gift, give,
    merge, points, user,
};

on_both_engines! {
    an_account_reads_back_as_the_domain_left_it,
    a_long_history_reads_back_as_the_domain_left_it,
    a_journal_is_appended_once,
    an_order_is_granted_once_and_a_gift_given_once,
    holdings_never_count_expired_points,
    a_front_that_was_drawn_on_alone_reads_as_it_is,
    what_expires_when_is_told_of_free_points,
    the_expiry_of_what_an_order_granted_is_told,
    a_gift_is_found_by_its_key,
    accounts_with_expired_points_are_named_until_they_are_swept,
    consumption_is_paged_newest_first_with_an_exact_total,
    consumption_of_a_merged_person_is_one_history,
}

/// The account without what was moved since it was loaded. It has no open holds.
fn settled(account: &Account) -> Account {
    let mut settled = Account::from_state(account.id(), account.state());
    settled
        .load_lots(account.open_lots().to_vec(), Vec::new())
        .unwrap();
    settled
}

async fn an_account_reads_back_as_the_domain_left_it(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_account(AccountId(3)).await.unwrap(), None);
    let mut younger = account(&mut tx, 2).await;
    assert_eq!(*younger, Account::new(AccountId(2)));
    let purchase = Grant {
        source: LotSource::Purchase {
            order_id: "o".to_owned(),
        },
        ..gift("", 50, Some(at(100)))
    };
    younger.grant(gift("g1", 10, None), at(0)).unwrap();
    younger.grant(purchase, at(1)).unwrap();
    younger.grant(gift("g2", 5, Some(at(20))), at(2)).unwrap();
    tx.append_journal(&younger).await.unwrap();
    let mut read = account(&mut tx, 2).await;
    assert_eq!(*read, settled(&younger));

    let detail = ChargeDetail {
        description: Some("两页".to_owned()),
        ..call("k")
    };
    read.charge(points(8), detail, None, at(10)).unwrap();
    read.expire(at(100)).unwrap();
    tx.append_journal(&read).await.unwrap();
    let younger = read;
    let mut read = account(&mut tx, 2).await;
    assert_eq!(*read, settled(&younger));
    assert_eq!(read.balance(), points(10));

    let mut older = account(&mut tx, 1).await;
    read.merge_into(&mut older, at(200)).unwrap();
    tx.append_journal(&read).await.unwrap();
    tx.append_journal(&older).await.unwrap();
    assert_eq!(*account(&mut tx, 2).await, settled(&read));
    assert_eq!(*account(&mut tx, 1).await, settled(&older));
    assert_eq!(older.balance(), points(10));
}

/// The same numbers in every run.
struct Sequence(u64);

impl Sequence {
    /// 0 to `end` - 1.
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 1).unwrap() % end
    }
}

async fn a_long_history_reads_back_as_the_domain_left_it(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    let mut numbers = Sequence(0x006a_6966_656e);
    let mut models = [1, 2, 3].map(|id| Account::new(AccountId(id)));
    let mut seen = [0; 4];
    let mut refusals = 0;
    for step in 0..300 {
        let now = at(step);
        let place = usize::try_from(numbers.below(3)).unwrap();
        let mut tx = store.begin().await.unwrap();
        let mut account = account(&mut tx, models[place].id().0).await;
        assert_eq!(*account, models[place], "before step {step}");
        if numbers.below(3) == 0 {
            let expires_at = (numbers.below(2) == 0).then(|| at(step + numbers.below(40)));
            let grant = gift(&step.to_string(), 1 + numbers.below(50), expires_at);
            account.grant(grant, now).unwrap();
        } else {
            let wanted = points(1 + numbers.below(30));
            // What expired is swept also when the charge is refused.
            refusals += i64::from(account.charge(wanted, call("k"), None, now).is_err());
        }
        for entry in account.journal() {
            seen[match entry.movement {
                Movement::Grant { .. } => 0,
                Movement::Charge { .. } => 1,
                Movement::Expiry { .. } => 2,
                _ => 3,
            }] += 1;
        }
        tx.append_journal(&account).await.unwrap();
        tx.commit().await.unwrap();
        models[place] = settled(&account);
    }
    assert!(seen[..3].iter().all(|times| *times > 10), "{seen:?}");
    assert!(refusals > 10, "{refusals}");
    assert_eq!(findings(store).await, []);
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 3, at(300)).await);
    assert!(merge(&mut tx, 2, 3, at(300)).await);
    tx.commit().await.unwrap();
    assert_eq!(findings(store).await, []);
}

async fn a_journal_is_appended_once(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    let mut account = account(&mut tx, 1).await;
    account.grant(gift("g", 10, None), at(0)).unwrap();
    account.charge(points(1), call("k"), None, at(1)).unwrap();
    tx.append_journal(&account).await.unwrap();
    let again = tx.append_journal(&account).await;
    assert!(matches!(again, Err(Error::Unique { .. })), "{again:?}");
    drop(tx);
    // Nothing of a refused journal stays.
    let mut tx = store.begin().await.unwrap();
    let account = tx.lock_account(AccountId(1)).await.unwrap().unwrap();
    assert_eq!(*account, Account::new(AccountId(1)));
}

async fn an_order_is_granted_once_and_a_gift_given_once(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let purchase = Grant {
        source: LotSource::Purchase {
            order_id: "o".to_owned(),
        },
        ..gift("", 10, None)
    };
    give(store, 1, purchase.clone(), at(0)).await;
    give(store, 1, gift("g", 10, None), at(0)).await;
    for (id, grant, constraint) in [
        (1, purchase.clone(), "lots_one_grant_per_order"),
        (2, purchase, "lots_one_grant_per_order"),
        (1, gift("g", 3, None), "lots_one_gift_per_key"),
        (2, gift("g", 3, None), "lots_one_gift_per_key"),
    ] {
        let mut tx = store.begin().await.unwrap();
        let mut account = account(&mut tx, id).await;
        account.grant(grant, at(1)).unwrap();
        assert_eq!(
            tx.append_journal(&account).await,
            Err(Error::Unique {
                constraint: constraint.to_owned()
            })
        );
    }
}

async fn holdings_never_count_expired_points(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let holds = |available, next_expiry: Option<i64>| Holdings {
        available: points(available),
        next_expiry: next_expiry.map(at),
    };
    let mut tx = store.read().await.unwrap();
    for unknown in [1, 9] {
        let holdings = tx.holdings(AccountId(unknown), at(0)).await.unwrap();
        assert_eq!(holdings, holds(0, None));
    }
    drop(tx);
    give(store, 1, gift("a", 10, Some(at(100))), at(0)).await;
    give(store, 1, gift("b", 20, Some(at(50))), at(0)).await;
    give(store, 1, gift("c", 30, None), at(0)).await;
    give(store, 2, gift("d", 99, Some(at(1))), at(0)).await;
    let mut tx = store.read().await.unwrap();
    for (second, expected) in [
        (0, holds(60, Some(50))),
        (49, holds(60, Some(50))),
        (50, holds(40, Some(100))),
        (100, holds(30, None)),
    ] {
        let holdings = tx.holdings(AccountId(1), at(second)).await.unwrap();
        assert_eq!(holdings, expected, "{second}");
        let person = tx.user_with_holdings(UserId(1), at(second)).await.unwrap();
        assert_eq!(person, Some((user(1), expected)), "{second}");
    }
    let nobody = tx.user_with_holdings(UserId(9), at(0)).await.unwrap();
    assert_eq!(nobody, None);
    drop(tx);
    // A lot that is spent no longer has an expiry.
    charge(store, 1, 20, call("k"), at(0)).await.unwrap();
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(0)).await.unwrap();
    assert_eq!(holdings, holds(40, Some(100)));
}

/// The row of the lot says more then, and nobody is to believe it.
async fn a_front_that_was_drawn_on_alone_reads_as_it_is(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 1, gift("a", 30, Some(at(100))), at(0)).await;
    give(store, 1, gift("b", 50, None), at(0)).await;
    for second in 1..=20 {
        charge_fast(store, 1, 1, call("k"), None, at(second))
            .await
            .unwrap();
    }
    let check = async |left: i64, expiry: Option<i64>| {
        let expected = Holdings {
            available: points(left),
            next_expiry: expiry.map(at),
        };
        let mut tx = store.read().await.unwrap();
        let holdings = tx.holdings(AccountId(1), at(30)).await.unwrap();
        assert_eq!(holdings, expected);
        let person = tx.user_with_holdings(UserId(1), at(30)).await.unwrap();
        assert_eq!(person, Some((user(1), expected)));
        let listed = tx.list_users(UserId(0), 10).await.unwrap();
        assert_eq!(listed[0].balance, left);
        drop(tx);
        assert_eq!(findings(store).await, []);
    };
    check(60, Some(100)).await;
    let mut tx = store.begin().await.unwrap();
    let stored = tx.lots(AccountId(1), &[1]).await.unwrap();
    assert_eq!(
        stored[0].remaining,
        points(30),
        "written when it stops being the front"
    );
    let whole = account(&mut tx, 1).await;
    let left: Vec<_> = whole
        .open_lots()
        .iter()
        .map(|lot| lot.remaining.get())
        .collect();
    assert_eq!(left, [10, 50]);
    drop(tx);
    // The other lot becomes the front.
    charge_fast(store, 1, 15, call("k"), None, at(30))
        .await
        .unwrap();
    charge_fast(store, 1, 1, call("k"), None, at(30))
        .await
        .unwrap();
    check(44, None).await;
    // What is given is drawn on first again.
    give(store, 1, gift("c", 5, Some(at(200))), at(30)).await;
    charge_fast(store, 1, 2, call("k"), None, at(30))
        .await
        .unwrap();
    check(47, Some(200)).await;
}

async fn what_expires_when_is_told_of_free_points(store: &TestStore) {
    add_users(store, &[1]).await;
    let expiring = async |now: i64, rows_max: i64| {
        let mut tx = store.read().await.unwrap();
        let (held, expiring) = tx.expiring(AccountId(1), at(now), rows_max).await.unwrap();
        let second = |time: Time| (time.micros() - at(0).micros()) / 1_000_000;
        let lines = expiring
            .iter()
            .map(|line| (line.points.get(), line.at.map(second)));
        (held.get(), lines.collect::<Vec<_>>())
    };
    assert_eq!(expiring(0, 10).await, (0, Vec::new()));
    give(store, 1, gift("a", 10, None), at(0)).await;
    give(store, 1, gift("b", 20, Some(at(50))), at(0)).await;
    give(store, 1, gift("c", 30, Some(at(90))), at(0)).await;
    give(store, 1, gift("d", 40, Some(at(90))), at(0)).await;
    // On the state alone: the row of the lot is out of date then.
    charge_fast(store, 1, 5, call("k"), None, at(1))
        .await
        .unwrap();
    let all = vec![(15, Some(50)), (70, Some(90)), (10, None)];
    assert_eq!(expiring(1, 10).await, (0, all.clone()));
    assert_eq!(expiring(1, 2).await, (0, all[..2].to_vec()));
    change(store, 1, |account| {
        account
            .hold(points(16), call("k"), at(500), None, at(2))
            .unwrap();
    })
    .await;
    let (held, lines) = expiring(2, 10).await;
    let free: i64 = lines.iter().map(|line| line.0).sum();
    assert_eq!((held, free), (16, 79));
    assert_eq!(expiring(60, 10).await.1, [(69, Some(90)), (10, None)]);
}

async fn the_expiry_of_what_an_order_granted_is_told(store: &TestStore) {
    add_users(store, &[1]).await;
    for (order_id, expires_at) in [("for-ever", None), ("for-a-while", Some(at(9)))] {
        let purchase = Grant {
            source: LotSource::Purchase {
                order_id: order_id.to_owned(),
            },
            ..gift("", 10, expires_at)
        };
        give(store, 1, purchase, at(0)).await;
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.grant_expiry(order_id).await.unwrap(), Some(expires_at));
        assert_eq!(tx.grant_expiry("unknown").await.unwrap(), None);
    }
}

async fn a_gift_is_found_by_its_key(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("g", 10, None), at(0)).await;
    charge(store, 1, 4, call("k"), at(0)).await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.gift("g").await.unwrap(), Some((AccountId(1), 10)));
    assert_eq!(tx.gift("h").await.unwrap(), None);
}

async fn accounts_with_expired_points_are_named_until_they_are_swept(store: &TestStore) {
    add_users(store, &[1, 2, 3, 4]).await;
    give(store, 1, gift("a", 1, Some(at(10))), at(0)).await;
    give(store, 1, gift("b", 1, Some(at(11))), at(0)).await;
    give(store, 2, gift("c", 1, Some(at(12))), at(0)).await;
    give(store, 3, gift("d", 1, None), at(0)).await;
    give(store, 4, gift("e", 1, Some(at(10))), at(0)).await;
    charge(store, 4, 1, call("k"), at(0)).await.unwrap();
    let to_sweep = async |now: i64, rows_max: i64| {
        let mut tx = store.read().await.unwrap();
        let mut accounts = tx.accounts_to_sweep(at(now), rows_max).await.unwrap();
        accounts.sort();
        accounts.iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(to_sweep(9, 10).await, Vec::<i64>::new());
    assert_eq!(to_sweep(10, 10).await, [1]);
    assert_eq!(to_sweep(12, 10).await, [1, 2]);
    assert_eq!(to_sweep(12, 1).await.len(), 1);

    let mut tx = store.begin().await.unwrap();
    let mut account = account(&mut tx, 1).await;
    account.expire(at(12)).unwrap();
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(to_sweep(12, 10).await, [2]);
}

async fn consumption_is_paged_newest_first_with_an_exact_total(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&api_key("live", 1), b"1").await.unwrap();
    let mut deleted = api_key("deleted", 1);
    tx.insert_api_key(&deleted, b"2").await.unwrap();
    deleted.deleted_at = Some(at(1));
    tx.update_api_key(&deleted).await.unwrap();
    tx.commit().await.unwrap();

    give(store, 1, gift("a", 100, None), at(0)).await;
    give(store, 2, gift("b", 100, None), at(0)).await;
    charge(store, 2, 1, call("live"), at(0)).await.unwrap();
    let mut expected = Vec::new();
    for (charge_number, key) in (1..=5).zip(["live", "deleted", "live", "unknown", "live"]) {
        let detail = ChargeDetail {
            description: (charge_number == 2).then(|| "说明".to_owned()),
            ..call(key)
        };
        // A gift between any two charges: entries and charges are numbered apart.
        give(store, 1, gift(&charge_number.to_string(), 1, None), at(0)).await;
        charge(store, 1, charge_number, detail.clone(), at(charge_number))
            .await
            .unwrap();
        expected.insert(
            0,
            Consumption {
                account: AccountId(1),
                entry: 1 + 2 * charge_number,
                title: detail.title,
                description: detail.description,
                points: charge_number,
                at: at(charge_number),
                api_key_id: key.to_owned(),
                api_key_name: (key != "unknown").then(|| format!("key {key}")),
            },
        );
    }
    let refused = charge(store, 1, 1_000, call("live"), at(9)).await;
    assert!(matches!(refused, Err(Refused::Insufficient { .. })));
    check_pages(store, &expected).await;
    let mut tx = store.read().await.unwrap();
    assert_eq!(
        tx.consumption(UserId(9), 0, 10).await.unwrap(),
        (0, Vec::new())
    );
}

/// Every page of every size shows its part of `expected`.
async fn check_pages(store: &TestStore, expected: &[Consumption]) {
    let mut tx = store.read().await.unwrap();
    for rows_max in 1..=expected.len() + 1 {
        for skip in 0..=expected.len() + 1 {
            let (total, page) = tx
                .consumption(
                    UserId(1),
                    i64::try_from(skip).unwrap(),
                    i64::try_from(rows_max).unwrap(),
                )
                .await
                .unwrap();
            let part: Vec<_> = expected.iter().skip(skip).take(rows_max).cloned().collect();
            assert_eq!(total, i64::try_from(expected.len()).unwrap());
            assert_eq!(page, part, "{rows_max} after {skip}");
        }
    }
    let (_, beyond) = tx.consumption(UserId(1), i64::MAX, 100).await.unwrap();
    assert_eq!(beyond, []);
}

async fn consumption_of_a_merged_person_is_one_history(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&api_key("k", 3), b"k").await.unwrap();
    tx.commit().await.unwrap();
    for id in [1, 2, 3] {
        give(store, id, gift(&id.to_string(), 100, None), at(0)).await;
    }
    let mut expected = Vec::new();
    // Two records may be charged at the same moment.
    for (second, id, entry) in [(1, 3, 2), (2, 1, 2), (3, 2, 2), (3, 3, 3), (4, 1, 3)] {
        charge(store, id, second, call("k"), at(second))
            .await
            .unwrap();
        expected.insert(
            0,
            Consumption {
                account: AccountId(id),
                entry,
                title: "OCR".to_owned(),
                description: None,
                points: second,
                at: at(second),
                api_key_id: "k".to_owned(),
                api_key_name: Some("key k".to_owned()),
            },
        );
    }
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 2, 3, at(5)).await);
    assert!(merge(&mut tx, 1, 2, at(6)).await);
    tx.commit().await.unwrap();
    check_pages(store, &expected).await;
}
