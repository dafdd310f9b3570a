use std::collections::BTreeSet;
use std::sync::Arc;

use jifen_domain::Points;
use jifen_domain::tariff::{Rates, RoutePattern, Tariff, UnitPrice};
use jifen_store::testing::TestStore;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::samples::{at, points};

on_both_engines! {
    a_tariff_reads_back_exactly_as_put,
    a_new_version_takes_the_place_of_the_one_in_force,
    a_retired_tariff_is_kept_and_can_be_followed_by_another,
    a_tariff_that_is_not_committed_leaves_no_trace,
    versions_are_listed_from_the_newest_up_to_a_limit,
    a_tariff_that_nobody_could_have_put_is_corrupt,
    parallel_tariffs_of_one_pattern_are_one_line_of_versions,
    parallel_tariffs_of_many_patterns_have_ids_without_a_gap,
}

fn pattern(text: &str) -> RoutePattern {
    RoutePattern::parse(text).unwrap()
}

fn per_call(number: i64) -> Rates {
    Rates::new(points(number), None, Points::ZERO).unwrap()
}

/// Puts a tariff in a transaction of its own.
async fn put(store: &TestStore, text: &str, rates: Rates, seconds: i64) -> Tariff {
    let mut tx = store.begin().await.unwrap();
    let pattern = pattern(text);
    let tariff = tx.put_tariff(&pattern, "OCR", rates, at(seconds)).await;
    tx.commit().await.unwrap();
    tariff.unwrap()
}

async fn in_force(store: &TestStore) -> Vec<Tariff> {
    let mut tx = store.read().await.unwrap();
    tx.tariffs_in_force().await.unwrap()
}

async fn a_tariff_reads_back_exactly_as_put(store: &TestStore) {
    assert_eq!(in_force(store).await, []);
    let dear = UnitPrice::new(UnitPrice::MICROPOINTS_MAX, UnitPrice::UNITS_MAX);
    let mut expected = Vec::new();
    for (id, text, title, rates) in [
        (1, "POST /v1/ocr", "文字识别 🔎", per_call(5)),
        (
            2,
            "* /v1/chat",
            "chat",
            Rates::new(Points::ZERO, UnitPrice::new(800_000, 1_000), points(1)).unwrap(),
        ),
        (
            3,
            "GET /v1/*/files/*",
            "both",
            Rates::new(Points::MOVEMENT_MAX, dear, Points::MOVEMENT_MAX).unwrap(),
        ),
        (
            4,
            "* /*",
            "a millionth each",
            Rates::new(points(2), UnitPrice::new(1, 1), points(3)).unwrap(),
        ),
    ] {
        let tariff = Tariff {
            id,
            pattern: pattern(text),
            version: 1,
            title: title.to_owned(),
            rates,
            created_at: at(id),
            retired_at: None,
        };
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.tariff(id).await.unwrap(), None);
        let put = tx.put_tariff(&tariff.pattern, title, rates, at(id)).await;
        assert_eq!(put.unwrap(), tariff);
        assert_eq!(tx.tariff(id).await.unwrap().as_ref(), Some(&tariff));
        tx.commit().await.unwrap();
        expected.push(tariff);
    }
    assert_eq!(in_force(store).await, expected);
}

async fn a_new_version_takes_the_place_of_the_one_in_force(store: &TestStore) {
    let first = put(store, "POST /v1/ocr", per_call(5), 0).await;
    let other = put(store, "* /v1/ocr", per_call(9), 1).await;
    let second = put(store, "POST /v1/ocr", per_call(6), 2).await;
    assert_eq!((second.id, second.version), (3, 2));
    assert_eq!((other.id, other.version), (2, 1));
    assert_eq!(in_force(store).await, [other, second.clone()]);
    let first = Tariff {
        retired_at: Some(at(2)),
        ..first
    };
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.tariff(1).await.unwrap().as_ref(), Some(&first));
    let versions = tx.tariff_versions(&first.pattern, 10).await.unwrap();
    assert_eq!(versions, [second, first]);
}

async fn a_retired_tariff_is_kept_and_can_be_followed_by_another(store: &TestStore) {
    let ocr = pattern("POST /v1/ocr");
    let mut tx = store.begin().await.unwrap();
    assert!(
        !tx.retire_tariff(&ocr, at(0)).await.unwrap(),
        "there is none"
    );
    tx.commit().await.unwrap();
    put(store, "POST /v1/ocr", per_call(5), 0).await;
    let kept = put(store, "* /v1/ocr", per_call(5), 0).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.retire_tariff(&ocr, at(7)).await.unwrap());
    assert!(!tx.retire_tariff(&ocr, at(8)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(in_force(store).await, [kept]);
    let mut tx = store.read().await.unwrap();
    let retired = tx.tariff(1).await.unwrap().unwrap();
    assert_eq!(retired.retired_at, Some(at(7)));
    drop(tx);
    let next = put(store, "POST /v1/ocr", per_call(5), 9).await;
    assert_eq!((next.id, next.version), (3, 2));
}

async fn a_tariff_that_is_not_committed_leaves_no_trace(store: &TestStore) {
    let first = put(store, "POST /v1/ocr", per_call(5), 0).await;
    let mut tx = store.begin().await.unwrap();
    let second = tx.put_tariff(&first.pattern, "OCR", per_call(6), at(1));
    assert_eq!(second.await.unwrap().version, 2);
    drop(tx);
    assert_eq!(in_force(store).await, [first]);
    assert_eq!(put(store, "POST /v1/ocr", per_call(7), 2).await.id, 2);
}

async fn versions_are_listed_from_the_newest_up_to_a_limit(store: &TestStore) {
    for number in 1..=3 {
        put(store, "POST /v1/ocr", per_call(number), number).await;
        put(store, "* /v1/chat", per_call(number), number).await;
    }
    let mut tx = store.read().await.unwrap();
    let ids =
        |tariffs: Vec<Tariff>| -> Vec<i64> { tariffs.iter().map(|tariff| tariff.id).collect() };
    assert_eq!(ids(tx.latest_tariffs(4).await.unwrap()), [6, 5, 4, 3]);
    assert_eq!(ids(tx.latest_tariffs(100).await.unwrap()).len(), 6);
    let ocr = pattern("POST /v1/ocr");
    assert_eq!(ids(tx.tariff_versions(&ocr, 2).await.unwrap()), [5, 3]);
    assert_eq!(ids(tx.tariff_versions(&ocr, 100).await.unwrap()), [5, 3, 1]);
    let unknown = pattern("* /v1/ocr");
    assert_eq!(tx.tariff_versions(&unknown, 100).await.unwrap(), []);
}

async fn a_tariff_that_nobody_could_have_put_is_corrupt(store: &TestStore) {
    put(store, "POST /v1/ocr", per_call(5), 0).await;
    for (break_it, repair) in [
        ("path = '/v1//ocr'", "path = '/v1/ocr'"),
        ("method = 'p0st'", "method = 'POST'"),
        ("unit_micropoints = 0, units_priced = 2", "units_priced = 1"),
        ("points_per_call = 1000000000001", "points_per_call = 5"),
    ] {
        store.raw(&format!("UPDATE tariffs SET {break_it}")).await;
        let mut tx = store.read().await.unwrap();
        let error = tx.tariffs_in_force().await.unwrap_err().to_string();
        assert!(error.contains("tariff 1"), "{break_it}: {error}");
        drop(tx);
        store.raw(&format!("UPDATE tariffs SET {repair}")).await;
        assert_eq!(in_force(store).await.len(), 1, "{repair}");
    }
}

/// Puts so many tariffs at once, the pattern of each by its number.
async fn put_in_parallel(store: &TestStore, times: i64, text: fn(i64) -> String) -> Vec<Tariff> {
    let start = Arc::new(Barrier::new(usize::try_from(times).unwrap()));
    let mut tasks = JoinSet::new();
    for number in 0..times {
        let (store, start) = (store.store(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            let mut tx = store.begin().await.unwrap();
            let (pattern, rates) = (pattern(&text(number)), per_call(number + 1));
            let tariff = tx.put_tariff(&pattern, "OCR", rates, at(number)).await;
            tx.commit().await.unwrap();
            tariff.unwrap()
        });
    }
    tasks.join_all().await
}

async fn parallel_tariffs_of_one_pattern_are_one_line_of_versions(store: &TestStore) {
    let put = put_in_parallel(store, 12, |_| "POST /v1/ocr".to_owned()).await;
    let numbers: BTreeSet<(i64, i64)> = put.iter().map(|put| (put.id, put.version)).collect();
    assert_eq!(numbers, (1..=12).map(|number| (number, number)).collect());
    let last = put.into_iter().find(|tariff| tariff.id == 12);
    assert_eq!(in_force(store).await, last.as_slice());
}

async fn parallel_tariffs_of_many_patterns_have_ids_without_a_gap(store: &TestStore) {
    let put = put_in_parallel(store, 12, |number| format!("POST /v1/{number}")).await;
    let ids: BTreeSet<i64> = put.iter().map(|put| put.id).collect();
    assert_eq!(ids, (1..=12).collect());
    assert!(put.iter().all(|tariff| tariff.version == 1), "{put:?}");
    assert_eq!(in_force(store).await.len(), 12);
}
