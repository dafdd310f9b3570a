//! What was spent by day, key and title.

use std::collections::BTreeMap;

use jifen_domain::key::china_day;
use jifen_domain::ledger::{Capture, ChargeDetail, Refund, RefundSource};
use jifen_domain::{AccountId, Time};
use jifen_store::UsageLine;
use jifen_store::testing::TestStore;

use crate::samples::{
    account, add_users, at, call, change, charge_fast, findings, gift, give, points, request,
};

on_both_engines! {
    usage_is_exact_across_folds_with_refunds,
    what_a_key_holds_counts_as_spent,
    days_are_those_of_china,
}

type Sums = BTreeMap<(i64, String, String), (i64, i64)>;

fn lines(sums: &Sums, days: std::ops::RangeInclusive<i64>) -> Vec<UsageLine> {
    let inside = sums.iter().filter(|((day, ..), _)| days.contains(day));
    inside
        .map(|((day, key, title), (charges, points))| UsageLine {
            day: *day,
            api_key_id: key.clone(),
            title: title.clone(),
            charges: *charges,
            points: *points,
        })
        .collect()
}

/// Gives a charge back whole and returns its points.
async fn refund(store: &TestStore, entry: i64, now: Time) -> i64 {
    let mut tx = store.begin().await.unwrap();
    let mut account = account(&mut tx, 1).await;
    let charge = tx.charge(AccountId(1), entry).await.unwrap().unwrap();
    let numbers: Vec<i64> = charge.draws.iter().map(|draw| draw.lot).collect();
    let refund = Refund {
        source: RefundSource {
            account: AccountId(1),
            charge: entry,
            api_key_id: charge.api_key_id.clone(),
            title: charge.title.clone(),
        },
        draws: charge.draws.clone(),
        lots: tx.lots(AccountId(1), &numbers).await.unwrap(),
        charged_at: charge.at,
        refunded: charge.refunded,
        points: None,
        grace_until: now.plus_days(7),
    };
    account.refund(&refund, None, now).unwrap();
    tx.put_refunded(AccountId(1), entry, charge.points, charge.points)
        .await
        .unwrap();
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    charge.points.get()
}

async fn usage_is_exact_across_folds_with_refunds(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    give(store, 1, gift("a", 100_000, None), at(0)).await;
    give(store, 2, gift("b", 100, None), at(0)).await;
    charge_fast(store, 2, 1, call("k0"), None, at(0))
        .await
        .unwrap();
    let mut sums = Sums::new();
    for number in 1..=140_i64 {
        let now = at(7_200 * number);
        let (key, title) = (format!("k{}", number % 3), format!("t{}", number % 2));
        let sum = |sums: &mut Sums, charges, points| {
            let line = (china_day(now), key.clone(), title.clone());
            let sum = sums.entry(line).or_default();
            *sum = (sum.0 + charges, sum.1 + points);
        };
        if number % 10 == 0 {
            // The charge of 6 steps ago was made with the same key and title.
            let points = refund(store, number - 6 + 1, now).await;
            sum(&mut sums, 0, -points);
        } else {
            let detail = ChargeDetail {
                title: title.clone(),
                ..call(&key)
            };
            charge_fast(store, 1, number, detail, Some(request(number, 0)), now)
                .await
                .unwrap();
            sum(&mut sums, 1, number);
        }
        if number % 9 != 0 && number < 130 {
            continue;
        }
        let (first, last) = (china_day(at(0)), china_day(now));
        let mut tx = store.begin().await.unwrap();
        for days in [
            i64::MIN..=i64::MAX,
            first + 1..=last - 1,
            last..=last,
            0..=1,
        ] {
            let usage = tx
                .usage(AccountId(1), *days.start(), *days.end(), 10_000)
                .await;
            assert_eq!(usage.unwrap(), lines(&sums, days), "after {number}");
        }
        let (from, to) = (last - 3, last + 10);
        let spent = tx.spent_by_key(AccountId(1), "k1", last, (from, to)).await;
        let of_key = |days: std::ops::RangeInclusive<i64>| -> i64 {
            let lines = lines(&sums, days);
            let of_key = lines.iter().filter(|line| line.api_key_id == "k1");
            of_key.map(|line| line.points).sum()
        };
        let expected = (
            of_key(last..=last),
            of_key(from..=to),
            of_key(i64::MIN..=i64::MAX),
        );
        assert_eq!(spent.unwrap(), expected, "after {number}");
    }
    let mut tx = store.read().await.unwrap();
    let nobody = tx.usage(AccountId(9), i64::MIN, i64::MAX, 10).await;
    assert_eq!(nobody.unwrap(), []);
    drop(tx);
    assert_eq!(findings(store).await, []);
}

async fn what_a_key_holds_counts_as_spent(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    let (yesterday, today) = (at(0), at(86_400));
    let spent = async || {
        let mut tx = store.read().await.unwrap();
        let day = china_day(today);
        tx.spent_by_key(AccountId(1), "k", day, (day - 1, day))
            .await
            .unwrap()
    };
    let (first, second) = change(store, 1, |account| {
        let until = at(1_000_000);
        let first = account.hold(points(7), call("k"), until, None, yesterday);
        let first = first.unwrap().number;
        let second = account.hold(points(5), call("k"), until, None, today);
        (first, second.unwrap().number)
    })
    .await;
    assert_eq!(spent().await, (5, 12, 12));
    change(store, 1, |account| {
        account.release(first, None, today).unwrap();
        let capture = Capture {
            hold: second,
            cost: points(2),
            tariff: None,
        };
        account.capture(capture, None, today).unwrap();
    })
    .await;
    assert_eq!(spent().await, (2, 2, 2));
}

async fn days_are_those_of_china(store: &TestStore) {
    add_users(store, &[1]).await;
    give(store, 1, gift("a", 100, None), at(0)).await;
    // 2023-11-15 00:00 in Shanghai is 16:00 the day before in UTC.
    let midnight = Time::from_seconds(1_699_977_600).unwrap();
    let before = Time::from_micros(midnight.micros() - 1);
    for (now, number) in [(before, 1), (midnight, 2)] {
        charge_fast(store, 1, number, call("k"), None, now)
            .await
            .unwrap();
    }
    let mut tx = store.read().await.unwrap();
    let usage = tx.usage(AccountId(1), 0, 100_000, 10).await.unwrap();
    let days: Vec<_> = usage.iter().map(|line| (line.day, line.points)).collect();
    assert_eq!(days, [(19_675, 1), (19_676, 2)]);
    assert_eq!(points(3).get(), usage.iter().map(|line| line.points).sum());
}
