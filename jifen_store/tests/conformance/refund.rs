//! Charges that are taken back.

use jifen_domain::AccountId;
use jifen_domain::ledger::{Draw, Entry, LotSource, Refund, RefundSource, Refused};
use jifen_store::testing::TestStore;
use jifen_store::{Holdings, StoredCharge, Tx};

use crate::samples::{
    account, add_users, at, call, change, charge, charge_fast, findings, gift, give, merge, points,
    request,
};

on_both_engines! {
    a_charge_reads_back_with_its_lots,
    a_refund_goes_back_to_an_open_lot,
    a_refund_opens_an_emptied_lot_again,
    a_refund_gives_an_expired_lot_the_grace,
    the_parts_of_a_charge_come_back_once_each,
    the_parts_come_back_once_each_also_when_a_lot_got_the_grace_between,
    a_charge_of_before_a_merge_comes_back_as_a_new_lot,
}

/// Gives back so many points of a charge, all that is left of it without a number.
pub(crate) async fn refund(
    store: &TestStore,
    id: i64,
    charged: (i64, i64),
    number: Option<i64>,
    second: i64,
) -> Result<i64, Refused> {
    let mut tx = store.begin().await.unwrap();
    let mut account = account(&mut tx, id).await;
    let charge_account = AccountId(charged.0);
    let charge = tx.charge(charge_account, charged.1).await.unwrap().unwrap();
    let refund = of_charge(&mut tx, charged, &charge, number, second).await;
    let refunded = account
        .refund(&refund, Some(request(second, 0)), at(second))
        .map(Entry::signed_points);
    if let Ok(refunded) = refunded {
        let sum = charge.refunded.checked_add(points(refunded)).unwrap();
        tx.put_refunded(charge_account, charged.1, charge.points, sum)
            .await
            .unwrap();
    }
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    refunded
}

/// The grace ends 1,000 seconds after the refund.
async fn of_charge(
    tx: &mut Tx,
    charged: (i64, i64),
    charge: &StoredCharge,
    number: Option<i64>,
    second: i64,
) -> Refund {
    let numbers: Vec<i64> = charge.draws.iter().map(|draw| draw.lot).collect();
    Refund {
        source: RefundSource {
            account: AccountId(charged.0),
            charge: charged.1,
            api_key_id: charge.api_key_id.clone(),
            title: charge.title.clone(),
        },
        draws: charge.draws.clone(),
        lots: tx.lots(AccountId(charged.0), &numbers).await.unwrap(),
        charged_at: charge.at,
        refunded: charge.refunded,
        points: number.map(points),
        grace_until: at(second + 1_000),
    }
}

async fn remainders(store: &TestStore, id: i64) -> Vec<(i64, i64)> {
    let mut tx = store.begin().await.unwrap();
    let account = account(&mut tx, id).await;
    let mut lots: Vec<(i64, i64)> = account
        .open_lots()
        .iter()
        .map(|lot| (lot.number, lot.remaining.get()))
        .collect();
    lots.sort_unstable();
    lots
}

async fn holdings(store: &TestStore, id: i64, second: i64) -> (i64, Option<i64>) {
    let mut tx = store.read().await.unwrap();
    let Holdings {
        available,
        next_expiry,
    } = tx.holdings(AccountId(id), at(second)).await.unwrap();
    let seconds = next_expiry.map(|expiry| (expiry.micros() - at(0).micros()) / 1_000_000);
    (available.get(), seconds)
}

async fn a_charge_reads_back_with_its_lots(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 1, gift("a", 10, Some(at(500))), at(0)).await;
    give(store, 1, gift("b", 50, None), at(0)).await;
    charge(store, 1, 4, call("k"), at(1)).await.unwrap();
    charge(store, 1, 26, call("l"), at(2)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let one = tx.charge(AccountId(1), 3).await.unwrap().unwrap();
    let draw = |lot, number| Draw {
        lot,
        points: points(number),
    };
    let expected = StoredCharge {
        points: points(4),
        at: at(1),
        api_key_id: "k".to_owned(),
        title: "OCR".to_owned(),
        draws: vec![draw(1, 4)],
        refunded: points(0),
    };
    assert_eq!(one, expected);
    let several = tx.charge(AccountId(1), 4).await.unwrap().unwrap();
    assert_eq!(several.draws, [draw(1, 6), draw(2, 20)]);
    // A grant, an entry there is not, an account there is not.
    for (id, entry) in [
        (1, 1),
        (1, 0),
        (1, -1),
        (1, 5),
        (1, i64::MAX),
        (2, 3),
        (9, 3),
    ] {
        let none = tx.charge(AccountId(id), entry).await.unwrap();
        assert_eq!(none, None, "{id}-{entry}");
    }
    let lots = tx.lots(AccountId(1), &[2, 1, 7]).await.unwrap();
    let mut numbers: Vec<_> = lots.iter().map(|lot| lot.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

async fn a_refund_goes_back_to_an_open_lot(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, Some(at(500))), at(0)).await;
    for number in 0..40 {
        charge_fast(store, 1, 2, call("k"), Some(request(number, 0)), at(1))
            .await
            .unwrap();
    }
    assert_eq!(remainders(store, 1).await, [(1, 20)]);
    // One in a block, one in the tail.
    for charge in [5, 40] {
        assert_eq!(refund(store, 1, (1, charge), None, 2).await, Ok(2));
        let nothing = refund(store, 1, (1, charge), None, 3).await;
        let left = points(0);
        assert_eq!(nothing, Err(Refused::MoreThanCharged { left }));
    }
    assert_eq!(holdings(store, 1, 3).await, (24, Some(500)));
    charge_fast(store, 1, 23, call("k"), None, at(4))
        .await
        .unwrap();
    assert_eq!(remainders(store, 1).await, [(1, 1)]);
    assert_eq!(findings(store).await, []);
}

async fn a_refund_opens_an_emptied_lot_again(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, Some(at(500))), at(0)).await;
    charge(store, 1, 10, call("k"), at(1)).await.unwrap();
    assert_eq!(remainders(store, 1).await, []);
    assert_eq!(refund(store, 1, (1, 2), Some(7), 2).await, Ok(7));
    assert_eq!(holdings(store, 1, 2).await, (7, Some(500)));
    charge_fast(store, 1, 3, call("k"), None, at(3))
        .await
        .unwrap();
    assert_eq!(remainders(store, 1).await, [(1, 4)]);
    assert_eq!(findings(store).await, []);
}

async fn a_refund_gives_an_expired_lot_the_grace(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, Some(at(500))), at(0)).await;
    charge(store, 1, 4, call("k"), at(1)).await.unwrap();
    assert_eq!(refund(store, 1, (1, 2), None, 700).await, Ok(4));
    // The 6 that were left have expired; the 4 are good until the end of the grace.
    assert_eq!(holdings(store, 1, 700).await, (4, Some(1_700)));
    assert_eq!(holdings(store, 1, 1_700).await, (0, None));
    change(store, 1, |account| account.expire(at(1_700)).unwrap()).await;
    assert_eq!(remainders(store, 1).await, []);
    assert_eq!(findings(store).await, []);
}

async fn the_parts_of_a_charge_come_back_once_each(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, Some(at(500))), at(0)).await;
    give(store, 1, gift("b", 10, Some(at(600))), at(0)).await;
    give(store, 1, gift("c", 10, None), at(0)).await;
    charge(store, 1, 27, call("k"), at(1)).await.unwrap();
    assert_eq!(remainders(store, 1).await, [(3, 3)]);
    assert_eq!(refund(store, 1, (1, 4), Some(9), 2).await, Ok(9));
    assert_eq!(remainders(store, 1).await, [(2, 2), (3, 10)]);
    let left = points(18);
    let too_many = refund(store, 1, (1, 4), Some(19), 3).await;
    assert_eq!(too_many, Err(Refused::MoreThanCharged { left }));
    assert_eq!(refund(store, 1, (1, 4), Some(10), 4).await, Ok(10));
    assert_eq!(remainders(store, 1).await, [(1, 2), (2, 10), (3, 10)]);
    assert_eq!(refund(store, 1, (1, 4), None, 5).await, Ok(8));
    assert_eq!(remainders(store, 1).await, [(1, 10), (2, 10), (3, 10)]);
    assert_eq!(findings(store).await, []);
}

async fn the_parts_come_back_once_each_also_when_a_lot_got_the_grace_between(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 10, Some(at(500))), at(0)).await;
    give(store, 1, gift("b", 30, Some(at(600))), at(0)).await;
    charge(store, 1, 20, call("k"), at(1)).await.unwrap();
    // 10 of each lot were drawn. The first has expired when its points come back, and lasts longer than the other then.
    assert_eq!(refund(store, 1, (1, 3), Some(15), 550).await, Ok(15));
    assert_eq!(remainders(store, 1).await, [(1, 5), (2, 30)]);
    assert_eq!(refund(store, 1, (1, 3), None, 551).await, Ok(5));
    assert_eq!(remainders(store, 1).await, [(1, 10), (2, 30)]);
    assert_eq!(findings(store).await, []);
}

async fn a_charge_of_before_a_merge_comes_back_as_a_new_lot(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 2, gift("a", 10, Some(at(500))), at(0)).await;
    give(store, 2, gift("b", 50, Some(at(5_000))), at(0)).await;
    charge(store, 2, 30, call("k"), at(1)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(merge(&mut tx, 1, 2, at(2)).await);
    tx.commit().await.unwrap();
    assert_eq!(holdings(store, 1, 3).await, (30, Some(5_000)));
    assert_eq!(refund(store, 1, (2, 3), Some(25), 600).await, Ok(25));
    // It lasts as long as the longest of the lots it came from.
    assert_eq!(holdings(store, 1, 600).await, (55, Some(5_000)));
    assert_eq!(refund(store, 1, (2, 3), None, 601).await, Ok(5));
    assert_eq!(holdings(store, 1, 601).await, (60, Some(1_601)));
    let left = points(0);
    let nothing = refund(store, 1, (2, 3), None, 602).await;
    assert_eq!(nothing, Err(Refused::MoreThanCharged { left }));
    let mut tx = store.begin().await.unwrap();
    let lots = tx.lots(AccountId(1), &[2]).await.unwrap();
    assert_eq!(
        lots[0].source,
        LotSource::Refund {
            account: AccountId(2),
            charge: 3,
        }
    );
    drop(tx);
    assert_eq!(findings(store).await, []);
}
