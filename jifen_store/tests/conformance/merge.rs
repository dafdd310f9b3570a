//! Two records of one person become one: what names the younger names the older from then on.

use jifen_domain::key::Spending;
use jifen_domain::ledger::{HoldState, Refused};
use jifen_domain::order::{Channel, Order, OrderState};
use jifen_domain::session::Session;
use jifen_domain::user::User;
use jifen_domain::{AccountId, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{EmailConfirmation, Error, Holdings, KeySpending};

use crate::samples::{
    account, add_users, api_key, at, call, change, charge, findings, gift, give, merge, order,
    payment, points, settle, user,
};

on_both_engines! {
    whoever_asks_for_the_younger_finds_the_older,
    a_chain_of_merges_ends_at_the_oldest,
    what_names_a_merged_record_late_finds_the_older,
    of_an_order_both_have_open_the_younger_s_is_closed,
    a_payment_of_the_order_that_was_closed_still_counts,
    the_points_of_both_are_in_one_account,
    an_open_hold_goes_on_in_the_older_account,
    what_keys_with_a_cap_have_spent_goes_along,
    a_record_is_merged_once,
}

async fn whoever_asks_for_the_younger_finds_the_older(store: &TestStore) {
    add_users(store, &[1, 3]).await;
    let mut tx = store.begin().await.unwrap();
    let younger = User {
        unionid: Some("union".to_owned()),
        ..user(2)
    };
    assert!(tx.insert_user(&younger).await.unwrap());
    for (app, openid, id) in [("mini", "m", 1), ("web", "w", 2), ("web", "x", 3)] {
        let inserted = tx.insert_identity(app, openid, UserId(id), at(0)).await;
        assert!(inserted.unwrap());
    }
    let session = Session {
        chain: "c".to_owned(),
        user: UserId(2),
        expires_at: at(7_200),
        replaced_at: None,
    };
    tx.insert_session(b"s", &session).await.unwrap();
    tx.insert_api_key(&api_key("k", 2), b"k").await.unwrap();
    tx.insert_api_key(&api_key("l", 3), b"l").await.unwrap();
    assert!(tx.insert_qr_login("t", b"b", at(600)).await.unwrap());
    assert!(tx.scan_qr_login("t", "w", UserId(2), at(0)).await.unwrap());
    let confirmation = EmailConfirmation {
        email: "a@b.example".to_owned(),
        code_hash: vec![1],
        expires_at: at(600),
        sent_at: at(0),
        attempts_left: 5,
    };
    tx.put_email_confirmation(UserId(2), &confirmation)
        .await
        .unwrap();

    assert!(merge(&mut tx, 2, 1, at(10)).await);
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    let older = Some(user(1));
    assert_eq!(tx.user(UserId(2)).await.unwrap(), older);
    assert_eq!(tx.lock_user(UserId(2)).await.unwrap(), older);
    assert_eq!(tx.user_by_openid("web", "w").await.unwrap(), older);
    assert_eq!(tx.user_by_any_openid("w").await.unwrap(), older);
    let openid = tx.openid_of("web", UserId(1)).await.unwrap();
    assert_eq!(openid.as_deref(), Some("w"));
    assert_eq!(tx.merged_into(UserId(1)).await.unwrap(), [UserId(2)]);
    let summaries = tx.list_users(UserId(0), 10).await.unwrap();
    let listed: Vec<_> = summaries.iter().map(|summary| summary.user.id.0).collect();
    assert_eq!(listed, [1, 3]);
    let moved = Session {
        user: UserId(1),
        ..session
    };
    assert_eq!(tx.session(b"s").await.unwrap(), Some(moved.clone()));
    assert_eq!(tx.lock_session(b"s").await.unwrap(), Some(moved));
    assert_eq!(tx.api_keys(UserId(1)).await.unwrap(), [api_key("k", 1)]);
    assert_eq!(tx.api_keys(UserId(2)).await.unwrap(), []);
    assert_eq!(tx.api_keys(UserId(3)).await.unwrap(), [api_key("l", 3)]);
    let login = tx.qr_login("t").await.unwrap().unwrap();
    assert_eq!(login.scanned_by, Some(("w".to_owned(), UserId(1))));
    assert_eq!(tx.lock_email_confirmation(UserId(2)).await.unwrap(), None);
    // The unionid is free for the older record to take.
    assert_eq!(tx.user_by_unionid("union").await.unwrap(), None);
    let taken = User {
        unionid: Some("union".to_owned()),
        ..user(1)
    };
    tx.update_user(&taken).await.unwrap();
    assert_eq!(tx.user(UserId(2)).await.unwrap(), Some(taken));
    assert_eq!(tx.user(UserId(3)).await.unwrap(), Some(user(3)));
}

async fn a_chain_of_merges_ends_at_the_oldest(store: &TestStore) {
    add_users(store, &[1, 2, 3, 4]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(
        tx.insert_identity("app", "o", UserId(4), at(0))
            .await
            .unwrap()
    );
    assert!(merge(&mut tx, 4, 3, at(1)).await);
    assert!(merge(&mut tx, 3, 2, at(2)).await);
    // The records that were merged before come along, whichever of them is named.
    assert!(merge(&mut tx, 4, 1, at(3)).await);
    for id in 1..=4 {
        assert_eq!(tx.user(UserId(id)).await.unwrap(), Some(user(1)), "{id}");
        assert_eq!(
            tx.lock_user(UserId(id)).await.unwrap(),
            Some(user(1)),
            "{id}"
        );
    }
    assert_eq!(
        tx.merged_into(UserId(1)).await.unwrap(),
        [UserId(2), UserId(3), UserId(4)]
    );
    assert_eq!(tx.merged_into(UserId(2)).await.unwrap(), []);
    assert_eq!(tx.user_by_openid("app", "o").await.unwrap(), Some(user(1)));
    assert!(!merge(&mut tx, 3, 4, at(4)).await);
}

async fn what_names_a_merged_record_late_finds_the_older(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 2, at(1)).await);
    // A login that was under way during the merge.
    let session = Session {
        chain: "c".to_owned(),
        user: UserId(2),
        expires_at: at(7_200),
        replaced_at: None,
    };
    tx.insert_session(b"s", &session).await.unwrap();
    assert!(
        tx.insert_identity("app", "o", UserId(2), at(2))
            .await
            .unwrap()
    );
    for found in [
        tx.session(b"s").await.unwrap(),
        tx.lock_session(b"s").await.unwrap(),
    ] {
        assert_eq!(found.map(|session| session.user), Some(UserId(1)));
    }
    assert_eq!(tx.user_by_openid("app", "o").await.unwrap(), Some(user(1)));
    assert_eq!(tx.user_by_any_openid("o").await.unwrap(), Some(user(1)));
}

async fn of_an_order_both_have_open_the_younger_s_is_closed(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let other_channel = Order {
        channel: Channel::AlipayPage,
        ..order("other-channel", 2)
    };
    let other_package = Order {
        package_id: "q".to_owned(),
        ..order("other-package", 2)
    };
    let closed_before = Order {
        state: OrderState::Closed,
        ..order("closed-before", 2)
    };
    let mut waiting = order("waiting", 2);
    waiting.wait_for_payment(Some("wx".to_owned())).unwrap();
    let mut tx = store.begin().await.unwrap();
    for order in [
        &order("older", 1),
        &waiting,
        &other_channel,
        &other_package,
        &closed_before,
    ] {
        assert!(tx.insert_order(order).await.unwrap(), "{}", order.id);
    }
    assert!(merge(&mut tx, 1, 2, at(10)).await);
    let (total, orders) = tx.orders_of(UserId(1), 0, 10).await.unwrap();
    assert_eq!((total, orders.len()), (5, 5));
    assert_eq!(
        tx.orders_of(UserId(2), 0, 10).await.unwrap(),
        (0, Vec::new())
    );
    let expected = [
        order("older", 1),
        Order {
            state: OrderState::Closed,
            closed_at: Some(at(10)),
            ..waiting
        },
        other_channel,
        other_package,
        closed_before,
    ];
    for order in expected {
        let moved = Order {
            user: UserId(1),
            ..order
        };
        assert_eq!(
            tx.order(&moved.id).await.unwrap().as_ref(),
            Some(&moved),
            "{}",
            moved.id
        );
    }
    let open = tx.open_order(UserId(1), "p", Channel::WechatJsapi).await;
    assert_eq!(open.unwrap(), Some(order("older", 1)));
}

async fn a_payment_of_the_order_that_was_closed_still_counts(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("older", 1)).await.unwrap());
    assert!(tx.insert_order(&order("younger", 2)).await.unwrap());
    assert!(merge(&mut tx, 1, 2, at(10)).await);
    settle(&mut tx, "younger", payment("t", at(20)), at(20)).await;
    settle(&mut tx, "older", payment("u", at(21)), at(21)).await;
    let paid = tx.order("younger").await.unwrap().unwrap();
    assert!(paid.paid_after_close);
    let holdings = tx.holdings(AccountId(1), at(30)).await.unwrap();
    assert_eq!(holdings.available, points(200));
    tx.commit().await.unwrap();
    assert_eq!(findings(store).await, []);
}

async fn the_points_of_both_are_in_one_account(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 1, gift("a", 10, None), at(0)).await;
    give(store, 2, gift("b", 20, Some(at(500))), at(0)).await;
    give(store, 2, gift("c", 30, Some(at(5))), at(0)).await;
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 2, at(10)).await);
    tx.commit().await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert_eq!(
        tx.holdings(AccountId(1), at(10)).await.unwrap(),
        Holdings {
            available: points(30),
            next_expiry: Some(at(500)),
        }
    );
    assert_eq!(
        tx.holdings(AccountId(2), at(0)).await.unwrap(),
        Holdings::default()
    );
    // The gift stays where it was given.
    assert_eq!(tx.gift("b").await.unwrap(), Some((AccountId(2), 20)));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn an_open_hold_goes_on_in_the_older_account(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    give(store, 3, gift("a", 10, Some(at(50))), at(0)).await;
    give(store, 3, gift("b", 20, None), at(0)).await;
    give(store, 2, gift("c", 5, None), at(0)).await;
    let hold = change(store, 3, |account| {
        let hold = account.hold(points(12), call("k"), at(500), None, at(1));
        hold.unwrap().number
    })
    .await;
    let mut place = (AccountId(3), hold);
    for (older, younger, now) in [(2, 3, 100), (1, 2, 101)] {
        let mut tx = store.begin().await.unwrap();
        assert!(merge(&mut tx, older, younger, at(now)).await);
        tx.commit().await.unwrap();
        assert_eq!(findings(store).await, []);
        let mut tx = store.read().await.unwrap();
        let left = tx.hold(place.0, place.1).await.unwrap().unwrap();
        assert_eq!(left.state, HoldState::Moved);
        place = tx.moved_hold(place.0, place.1).await.unwrap().unwrap();
        let there = tx.hold(place.0, place.1).await.unwrap().unwrap();
        assert_eq!(place.0, AccountId(older));
        let told = (
            there.state,
            there.points,
            there.created_at,
            there.expires_at,
        );
        assert_eq!(told, (HoldState::Held, points(12), at(1), at(500)));
        let mut tx = store.begin().await.unwrap();
        let from = account(&mut tx, younger).await;
        assert_eq!((from.balance(), from.held()), (points(0), points(0)));
        assert_eq!(from.merged_into(), Some(AccountId(older)));
        assert_eq!(account(&mut tx, older).await.merged_into(), None);
    }
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.moved_hold(place.0, place.1).await.unwrap(), None);
    drop(tx);
    // What was held of the lot that has expired meanwhile is gone when it is free.
    change(store, 1, |account| {
        account.release(place.1, None, at(102)).unwrap();
    })
    .await;
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(102)).await.unwrap();
    assert_eq!(holdings.available, points(25));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn what_keys_with_a_cap_have_spent_goes_along(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    for (id, is_test) in [("live", false), ("test", true)] {
        let mut key = api_key(id, 2);
        key.is_test = is_test;
        key.caps.total = Some(points(100));
        tx.insert_api_key(&key, id.as_bytes()).await.unwrap();
        if is_test {
            tx.ensure_test_account(UserId(2)).await.unwrap();
        }
        tx.start_key_spending(&KeySpending {
            key_id: id.to_owned(),
            account: key.account(),
            spending: Spending::none(at(0)),
        })
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    give(store, 2, gift("a", 50, None), at(0)).await;
    give(store, -2, gift("b", 50, None), at(0)).await;
    charge(store, 2, 30, call("live"), at(1)).await.unwrap();
    charge(store, -2, 20, call("test"), at(1)).await.unwrap();
    assert_eq!(findings(store).await, []);
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 2, at(2)).await);
    tx.commit().await.unwrap();
    assert_eq!(findings(store).await, []);

    let mut tx = store.begin().await.unwrap();
    let spent = tx.key_spending(&["live", "test"]).await.unwrap();
    let totals: Vec<_> = spent
        .iter()
        .map(|spent| (spent.account.0, spent.spending.total_points.get()))
        .collect();
    assert_eq!(totals, [(1, 30), (-1, 20)]);
    // Counted anew, it is the same: the charges of before are those of the same person.
    let anew = tx.spent_by_key(AccountId(1), "live", 0, (0, 0)).await;
    assert_eq!(anew.unwrap(), (0, 0, 30));
    let mut account = account(&mut tx, 1).await;
    let refused = account.charge(points(71), call("live"), None, at(3));
    assert!(matches!(
        refused,
        Err(Refused::Insufficient { .. } | Refused::CapReached(_))
    ));
    account
        .charge(points(20), call("live"), None, at(3))
        .unwrap();
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(findings(store).await, []);
}

async fn a_record_is_merged_once(store: &TestStore) {
    add_users(store, &[1, 2, 3]).await;
    let mut tx = store.begin().await.unwrap();
    tx.redirect_user(UserId(3), UserId(2), "the same unionid", at(1))
        .await
        .unwrap();
    assert_eq!(
        tx.redirect_user(UserId(3), UserId(1), "the same unionid", at(2))
            .await,
        Err(Error::Unique {
            constraint: "merges_pkey".to_owned()
        })
    );
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(
        tx.redirect_user(UserId(3), UserId(9), "the same unionid", at(2))
            .await,
        Err(Error::ForeignKey)
    );
}
