//! Holds: written, read back, ended in every way.

use jifen_domain::AccountId;
use jifen_domain::ledger::{Capture, ChargeDetail, Draw, Hold, HoldState, Refused, TariffUse};
use jifen_store::testing::TestStore;
use jifen_store::{Holdings, LockedAccount};

use crate::samples::{
    account, add_users, at, call, change, charge_fast, findings, gift, give, points, request,
    state_of,
};

on_both_engines! {
    a_hold_reads_back_as_it_was_made,
    a_capture_takes_what_the_call_cost,
    a_capture_beyond_the_balance_names_the_shortfall,
    a_released_and_an_expired_hold_give_everything_back,
    a_hold_that_has_ended_stays_ended,
    held_points_do_not_expire_until_the_hold_ends,
    what_is_held_is_not_spent_by_charges_on_the_state_alone,
}

/// 10 points until second 1,000 and 50 for ever.
async fn two_lots(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, Some(at(1_000))), at(0)).await;
    give(store, 1, gift("b", 50, None), at(0)).await;
}

fn draw(lot: i64, number: i64) -> Draw {
    Draw {
        lot,
        points: points(number),
    }
}

async fn open_hold(store: &TestStore, number: i64) -> i64 {
    change(store, 1, |account| {
        let (until, request) = (at(500), Some(request(number, number)));
        let hold = account.hold(points(number), call("k"), until, request, at(1));
        hold.unwrap().number
    })
    .await
}

async fn stored(store: &TestStore, entry: i64) -> Option<Hold> {
    let mut tx = store.read().await.unwrap();
    tx.hold(AccountId(1), entry).await.unwrap()
}

async fn locked(store: &TestStore) -> LockedAccount {
    let mut tx = store.begin().await.unwrap();
    account(&mut tx, 1).await
}

async fn available(store: &TestStore, second: i64) -> i64 {
    let mut tx = store.read().await.unwrap();
    let holdings = tx.holdings(AccountId(1), at(second)).await.unwrap();
    holdings.available.get()
}

async fn a_hold_reads_back_as_it_was_made(store: &TestStore) {
    two_lots(store).await;
    let detail = ChargeDetail {
        description: Some("两页".to_owned()),
        tariff: Some(TariffUse { id: 4, units: 9 }),
        ..call("k")
    };
    let entry = change(store, 1, |account| {
        let hold = account.hold(points(25), detail.clone(), at(500), None, at(1));
        hold.unwrap().number
    })
    .await;
    let mut expected = Hold {
        entry,
        points: points(25),
        lots: Vec::new(),
        created_at: at(1),
        expires_at: at(500),
        // Of the tariff only the id is kept.
        detail: ChargeDetail {
            tariff: Some(TariffUse { id: 4, units: 0 }),
            ..detail
        },
        state: HoldState::Held,
        origin: None,
        end_entry: None,
        shortfall: None,
    };
    assert_eq!(stored(store, entry).await, Some(expected.clone()));
    assert_eq!(stored(store, entry + 1).await, None);
    let account = locked(store).await;
    assert_eq!(
        (account.balance(), account.held()),
        (points(60), points(25))
    );
    let held: Vec<_> = account
        .open_lots()
        .iter()
        .map(|lot| lot.held.get())
        .collect();
    assert_eq!(held, [10, 15]);
    assert_eq!(available(store, 2).await, 35);

    // More points come from the same lot; time is never taken back.
    for (more, until, held_until) in [(5, 400, 500), (0, 900, 900), (30, 100, 900)] {
        change(store, 1, |account| {
            let extended = account.extend(entry, points(more), at(until), None, at(3));
            extended.unwrap();
        })
        .await;
        expected.points = expected.points.checked_add(points(more)).unwrap();
        expected.expires_at = at(held_until);
        assert_eq!(stored(store, entry).await, Some(expected.clone()));
    }
    assert_eq!(available(store, 4).await, 0);
    assert_eq!(findings(store).await, []);
    // As it was loaded it can be captured whole, lot by lot.
    let captured = change(store, 1, |account| {
        let capture = Capture {
            hold: entry,
            cost: points(60),
            tariff: None,
        };
        account.capture(capture, None, at(5)).unwrap()
    })
    .await;
    assert_eq!(captured.entry.draws(), [draw(1, 10), draw(2, 50)]);
    assert_eq!(findings(store).await, []);
}

async fn a_capture_takes_what_the_call_cost(store: &TestStore) {
    for (cost, taken, left) in [(0, vec![], 60), (4, vec![draw(1, 4)], 56)] {
        check_capture(&fresh_like(store).await, cost, &taken, left).await;
    }
    let exact = vec![draw(1, 10), draw(2, 15)];
    check_capture(&fresh_like(store).await, 25, &exact, 35).await;
    let above = vec![draw(1, 10), draw(2, 30)];
    check_capture(&fresh_like(store).await, 40, &above, 20).await;
}

async fn fresh_like(store: &TestStore) -> TestStore {
    let fresh = jifen_store::testing::fresh(store.engine()).await;
    two_lots(&fresh).await;
    fresh
}

async fn check_capture(store: &TestStore, cost: i64, taken: &[Draw], left: i64) {
    let hold = open_hold(store, 25).await;
    let capture = Capture {
        hold,
        cost: points(cost),
        tariff: Some(TariffUse { id: 2, units: 8 }),
    };
    let captured = change(store, 1, |account| {
        let request = Some(request(99, cost));
        account.capture(capture, request, at(7)).unwrap()
    })
    .await;
    assert_eq!(captured.entry.draws(), taken);
    let kept = stored(store, hold).await.unwrap();
    assert_eq!(kept.state, HoldState::Captured);
    assert_eq!(kept.end_entry, Some(captured.entry.number));
    assert_eq!(kept.shortfall, Some(points(0)));
    let account = locked(store).await;
    assert_eq!((account.balance().get(), account.held().get()), (left, 0));
    assert_eq!(available(store, 8).await, left);
    let mut tx = store.begin().await.unwrap();
    let charge = tx.charge(AccountId(1), captured.entry.number).await;
    let charge = charge.unwrap().unwrap();
    assert_eq!(
        (charge.points.get(), charge.draws.len()),
        (cost, taken.len())
    );
    let accounts = tx.lock_accounts(&[AccountId(1)]).await.unwrap();
    let found = tx
        .recorded_requests(&accounts, &[(0, request(99, cost))])
        .await;
    let found = found.unwrap().remove(0).unwrap();
    assert_eq!((found.origin_entry, found.tariff_id), (Some(hold), Some(2)));
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn a_capture_beyond_the_balance_names_the_shortfall(store: &TestStore) {
    two_lots(store).await;
    let hold = open_hold(store, 25).await;
    let other = open_hold(store, 5).await;
    let captured = change(store, 1, |account| {
        let capture = Capture {
            hold,
            cost: points(100),
            tariff: None,
        };
        account.capture(capture, None, at(7)).unwrap()
    })
    .await;
    // What the other hold has set aside is not touched.
    assert_eq!(captured.shortfall, points(45));
    let kept = stored(store, hold).await.unwrap();
    assert_eq!(kept.shortfall, Some(points(45)));
    let account = locked(store).await;
    assert_eq!((account.balance(), account.held()), (points(5), points(5)));
    let refused = change(store, 1, |account| {
        account.charge(points(1), call("k"), None, at(8)).map(drop)
    })
    .await;
    let available = points(0);
    assert_eq!(refused, Err(Refused::Insufficient { available }));
    change(store, 1, |account| {
        account.release(other, None, at(9)).unwrap();
    })
    .await;
    assert_eq!(self::available(store, 9).await, 5);
    assert_eq!(findings(store).await, []);
}

async fn a_released_and_an_expired_hold_give_everything_back(store: &TestStore) {
    two_lots(store).await;
    let released = open_hold(store, 30).await;
    let expired = open_hold(store, 20).await;
    assert_eq!(available(store, 2).await, 10);
    let end = change(store, 1, |account| {
        let request = Some(request(7, 0));
        account.release(released, request, at(3)).unwrap().number
    })
    .await;
    let kept = stored(store, released).await.unwrap();
    assert_eq!(
        (kept.state, kept.end_entry),
        (HoldState::Released, Some(end))
    );
    assert_eq!(kept.shortfall, None);
    assert_eq!(available(store, 3).await, 40);

    let to_sweep = async |second: i64| {
        let mut tx = store.read().await.unwrap();
        tx.accounts_to_sweep(at(second), 10).await.unwrap()
    };
    assert_eq!(to_sweep(499).await, []);
    assert_eq!(to_sweep(500).await, [AccountId(1)]);
    change(store, 1, |account| account.expire(at(500)).unwrap()).await;
    assert_eq!(to_sweep(500).await, []);
    let kept = stored(store, expired).await.unwrap();
    assert_eq!(
        (kept.state, kept.end_entry),
        (HoldState::Expired, Some(end + 1))
    );
    assert_eq!(available(store, 500).await, 60);
    assert_eq!(findings(store).await, []);
}

async fn a_hold_that_has_ended_stays_ended(store: &TestStore) {
    two_lots(store).await;
    let hold = open_hold(store, 20).await;
    change(store, 1, |account| {
        account.release(hold, None, at(3)).unwrap();
    })
    .await;
    let before = stored(store, hold).await;
    let capture = Capture {
        hold,
        cost: points(1),
        tariff: None,
    };
    change(store, 1, |account| {
        let captured = account.capture(capture, None, at(4)).map(drop);
        assert_eq!(captured, Err(Refused::NoSuchHold));
        let released = account.release(hold, None, at(4)).map(drop);
        assert_eq!(released, Err(Refused::NoSuchHold));
        let extended = account.extend(hold, points(1), at(900), None, at(4));
        assert_eq!(extended.map(drop), Err(Refused::NoSuchHold));
    })
    .await;
    assert_eq!(stored(store, hold).await, before);
    assert_eq!(findings(store).await, []);
}

async fn held_points_do_not_expire_until_the_hold_ends(store: &TestStore) {
    two_lots(store).await;
    let hold = change(store, 1, |account| {
        let held = account.hold(points(6), call("k"), at(3_000), None, at(1));
        held.unwrap().number
    })
    .await;
    let holdings = async |second: i64| {
        let mut tx = store.read().await.unwrap();
        tx.holdings(AccountId(1), at(second)).await.unwrap()
    };
    let spendable = |number: i64, expiry: Option<i64>| Holdings {
        available: points(number),
        next_expiry: expiry.map(at),
    };
    assert_eq!(holdings(2).await, spendable(54, Some(1_000)));
    change(store, 1, |account| account.expire(at(1_500)).unwrap()).await;
    assert_eq!(holdings(1_500).await, spendable(50, None));
    let account = locked(store).await;
    assert_eq!((account.balance(), account.held()), (points(56), points(6)));
    let to_sweep = async || {
        let mut tx = store.read().await.unwrap();
        tx.accounts_to_sweep(at(1_600), 10).await.unwrap()
    };
    assert_eq!(to_sweep().await, []);
    // Of the expired lot the capture takes what it needs; the rest goes.
    change(store, 1, |account| {
        let capture = Capture {
            hold,
            cost: points(4),
            tariff: None,
        };
        account.capture(capture, None, at(1_600)).unwrap();
    })
    .await;
    assert_eq!(holdings(1_600).await, spendable(50, None));
    assert_eq!(locked(store).await.balance(), points(50));
    assert_eq!(findings(store).await, []);
}

async fn what_is_held_is_not_spent_by_charges_on_the_state_alone(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    let hold = open_hold(store, 60).await;
    for number in 0..39 {
        charge_fast(store, 1, 1, call("k"), Some(request(number, 1)), at(2))
            .await
            .unwrap();
    }
    let mut tx = store.begin().await.unwrap();
    let state = state_of(&mut tx, 1).await.state();
    drop(tx);
    assert_eq!((state.balance, state.held), (points(61), points(60)));
    assert_eq!(available(store, 2).await, 1);
    let charged = charge_fast(store, 1, 2, call("k"), None, at(2)).await;
    let available = points(1);
    assert_eq!(charged, Err(Refused::Insufficient { available }));
    change(store, 1, |account| {
        let capture = Capture {
            hold,
            cost: points(61),
            tariff: None,
        };
        let captured = account.capture(capture, None, at(3)).unwrap();
        assert_eq!(captured.shortfall, points(0));
    })
    .await;
    let mut reader = store.read().await.unwrap();
    let mut settled = async |entry| reader.settled_after(AccountId(1), entry).await.unwrap();
    assert_eq!(settled(2).await, Some(points(40)), "after the hold");
    assert_eq!(settled(42).await, Some(points(0)), "after the capture");
    assert_eq!(settled(43).await, None);
    assert_eq!(locked(store).await.balance(), points(0));
    assert_eq!(findings(store).await, []);
}
