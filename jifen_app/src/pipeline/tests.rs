//! What a pipeline promises when many come at once, when something is broken, and when somebody does not wait.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::future::{join_all, poll_fn};
use jifen_domain::ledger::{ChargeDetail, Grant, LotSource, Refused, Request};
use jifen_domain::user::User;
use jifen_domain::{AccountId, Points, Time, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Engine, Store};

use super::group::ACCOUNTS_AT_ONCE;
use super::{Action, Answer, Declined, Operation, Outcome, Pipeline, PipelineSettings, Settled};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// Stamps each named test once for each engine, so that a failure names the engine.
macro_rules! on_both_engines {
    ($($test:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&jifen_store::testing::fresh(jifen_store::Engine::Postgres).await).await;
                }
            )+
        }
    };
}

on_both_engines! {
    of_200_concurrent_charges_at_two_nodes_exactly_as_many_succeed_as_there_are_points,
    a_broken_account_fails_alone_and_its_neighbours_are_charged,
    an_account_that_is_healed_can_be_charged_again,
    a_repetition_within_a_batch_is_done_once,
}

/// The moment at which everything happens.
struct Noon;

impl Environment for Noon {
    fn now(&self) -> Time {
        Time::from_seconds(1_800_000_000).expect("a moment of this century")
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn pipeline(store: &Store, settings: PipelineSettings) -> Pipeline {
    Pipeline::new(store.clone(), Arc::new(Noon), settings)
}

/// One worker that takes everything at once.
const ONE_GROUP: PipelineSettings = PipelineSettings {
    group_max: 512,
    waiting_max: 4_096,
    workers: 1,
};

/// Makes a person's account with lots of so many points, of which the first is drawn on first.
async fn open(store: &Store, id: i64, lots: &[i64]) -> AccountId {
    let account_id = AccountId(id);
    let user = User {
        id: UserId(id),
        nickname: String::new(),
        avatar_url: String::new(),
        unionid: None,
        phone: None,
        email: None,
        created_at: Noon.now(),
    };
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_user(&user).await.unwrap());
    let mut account = tx.lock_account(account_id).await.unwrap().unwrap();
    for (place, n) in lots.iter().enumerate() {
        let grant = Grant {
            source: LotSource::Gift {
                key: format!("{id}/{place}"),
            },
            points: points(*n),
            expires_at: None,
            title: String::new(),
        };
        account.grant(grant, Noon.now()).unwrap();
    }
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    account_id
}

fn points(n: i64) -> Points {
    Points::new(n).unwrap()
}

fn charge(account: AccountId, n: i64, request: u64) -> Operation {
    Operation {
        account,
        request: Request {
            key: u128::from(request).to_be_bytes(),
            input: n.to_be_bytes(),
        },
        action: Action::Charge {
            points: points(n),
            detail: ChargeDetail {
                api_key_id: "key".into(),
                title: "OCR".into(),
                description: None,
                tariff: None,
            },
        },
        used_key: None,
    }
}

/// What an account has, and how many charges were made.
async fn state_of(store: &Store, account: AccountId) -> (i64, i64) {
    let mut tx = store.begin().await.unwrap();
    let account = tx.lock_account(account).await.unwrap().unwrap();
    (account.balance().get(), account.counts().charges)
}

fn done(settled: Result<Settled>) -> Answer {
    let outcome = settled.expect("there is room").outcome;
    outcome.expect("it is done")
}

async fn all(pipeline: &Pipeline, operations: Vec<Operation>) -> Vec<Outcome> {
    let settled = pipeline.submit_all(operations).await.unwrap();
    settled.into_iter().map(|one| one.outcome).collect()
}

async fn of_200_concurrent_charges_at_two_nodes_exactly_as_many_succeed_as_there_are_points(
    database: &TestStore,
) {
    const POINTS: i64 = 137;
    let account = open(database, 1, &[90, 40, POINTS - 130]).await;
    // On SQLite, one file has one node: there, two pipelines in it.
    let other = match database.engine() {
        jifen_store::Engine::Sqlite => database.store(),
        jifen_store::Engine::Postgres => Store::open(database.config()).await.unwrap(),
    };
    let settings = PipelineSettings {
        group_max: 7,
        ..ONE_GROUP
    };
    let nodes = [database.store(), other].map(|store| Arc::new(pipeline(&store, settings)));
    let charges = (0..200_u64).map(|request| {
        let node = Arc::clone(&nodes[usize::from(request % 2 == 0)]);
        tokio::spawn(async move { node.submit(charge(account, 1, request)).await })
    });
    let mut left = Vec::new();
    for outcome in join_all(charges).await {
        match outcome.unwrap().unwrap().outcome {
            Ok(answer) => {
                assert_eq!((answer.points, answer.is_replay), (1, false));
                left.push(answer.available.get());
            }
            Err(declined) => {
                let none = Refused::Insufficient {
                    available: Points::ZERO,
                };
                assert_eq!(declined, Declined::Refused(none, Points::ZERO));
            }
        }
    }
    // Each of them took another point.
    left.sort_unstable();
    assert_eq!(left, (0..POINTS).collect::<Vec<i64>>());
    assert_eq!(state_of(database, account).await, (0, POINTS));
}

/// The balance is in the account's row and in its lots; where these differ nobody knows what is true.
async fn damage(database: &TestStore, account: AccountId, points: i64) {
    let sql = format!(
        "UPDATE lots SET points = points + {points}, remaining = remaining + {points} WHERE account_id = {account} AND number = 2"
    );
    assert_eq!(database.raw(&sql).await, 1);
}

async fn a_broken_account_fails_alone_and_its_neighbours_are_charged(database: &TestStore) {
    let pipeline = pipeline(database, ONE_GROUP);
    let mut accounts = Vec::new();
    for id in 1..=3 {
        accounts.push(open(database, id, &[5, 5]).await);
    }
    damage(database, accounts[1], 1).await;

    // More than the first lot has, so that the others are looked at.
    let operations = (0..6).map(|number| {
        let place = usize::try_from(number % 3).unwrap();
        charge(accounts[place], 4, number)
    });
    let operations: Vec<Operation> = operations.collect();
    let outcomes = all(&pipeline, operations.clone()).await;
    for (operation, outcome) in operations.iter().zip(&outcomes) {
        if operation.account == accounts[1] {
            let Err(Declined::Broken(problem)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(problem.contains("account 2"), "{problem}");
        } else {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
    assert_eq!(state_of(database, accounts[0]).await, (2, 2));
    assert_eq!(state_of(database, accounts[2]).await, (2, 2));
    // A repetition finds what was done, and does nothing more.
    let again = all(&pipeline, operations).await;
    for (first, again) in outcomes.into_iter().zip(again) {
        assert_eq!(
            again,
            first.map(|answer| Answer {
                is_replay: true,
                ..answer
            })
        );
    }
    assert_eq!(state_of(database, accounts[0]).await, (2, 2));
}

async fn an_account_that_is_healed_can_be_charged_again(database: &TestStore) {
    let pipeline = pipeline(database, ONE_GROUP);
    let account = open(database, 1, &[5, 5]).await;
    damage(database, account, 1).await;
    let broken = pipeline
        .submit(charge(account, 6, 1))
        .await
        .unwrap()
        .outcome;
    assert!(matches!(broken, Err(Declined::Broken(_))), "{broken:?}");
    damage(database, account, -1).await;
    assert_eq!(state_of(database, account).await, (10, 0));
    let answer = done(pipeline.submit(charge(account, 6, 1)).await);
    assert!(!answer.is_replay);
    assert_eq!(state_of(database, account).await, (4, 1));
}

async fn a_repetition_within_a_batch_is_done_once(database: &TestStore) {
    let pipeline = pipeline(database, ONE_GROUP);
    let account = open(database, 1, &[10]).await;
    let mut other = charge(account, 1, 1);
    other.request.input = [9; 8];
    let twice = [charge(account, 3, 1), charge(account, 3, 1), other];
    let outcomes = all(&pipeline, twice.to_vec()).await;
    let [Ok(first), Ok(second), Err(third)] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(
        *second,
        Answer {
            is_replay: true,
            ..first.clone()
        }
    );
    assert_eq!(*third, Declined::Reused);
    assert_eq!(state_of(database, account).await, (7, 1));
}

/// On one thread, so that all of it is one group.
#[tokio::test]
async fn a_group_over_more_accounts_than_are_written_at_once_is_done_on_each() {
    let settings = PipelineSettings {
        group_max: ACCOUNTS_AT_ONCE + 1,
        ..ONE_GROUP
    };
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = jifen_store::testing::fresh(engine).await;
        let pipeline = pipeline(&database, settings);
        let mut operations = Vec::new();
        for (id, request) in (1..).zip(0..=ACCOUNTS_AT_ONCE as u64) {
            let account = open(&database, id, &[5]).await;
            operations.push(charge(account, 2, request));
        }
        for is_replay in [false, true] {
            for settled in pipeline.submit_all(operations.clone()).await.unwrap() {
                let account = settled.operation.account;
                let answer = done(Ok(settled));
                assert_eq!(
                    (answer.account, answer.available, answer.is_replay),
                    (account, points(3), is_replay),
                    "{engine:?}"
                );
            }
        }
        let groups = pipeline.counts().group_operations.buckets;
        assert_eq!(groups.iter().map(|(_, count)| count).sum::<u64>(), 2);
        for operation in operations {
            assert_eq!(state_of(&database, operation.account).await, (3, 1));
        }
    }
}

/// Whether it is done then is open. What counts is that it is done once.
#[tokio::test]
async fn whoever_leaves_before_it_was_begun_is_charged_once_by_asking_again() {
    let database = jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await;
    let pipeline = pipeline(&database, ONE_GROUP);
    let account = open(&database, 1, &[10]).await;
    let mut leaving = Box::pin(pipeline.submit(charge(account, 2, 1)));
    assert!(poll_once(leaving.as_mut()).await.is_none());
    // On one thread, so no worker has run.
    drop(leaving);
    for _ in 0..2 {
        let again = done(pipeline.submit(charge(account, 2, 1)).await);
        assert_eq!((again.points, again.available), (2, points(8)));
    }
    assert_eq!(state_of(&database, account).await, (8, 1));
}

#[tokio::test]
async fn whoever_leaves_after_it_was_begun_is_charged_once_and_hears_it_when_asking_again() {
    let database = jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await;
    let pipeline = pipeline(&database, ONE_GROUP);
    let account = open(&database, 1, &[10]).await;
    let mut leaving = Box::pin(pipeline.submit(charge(account, 2, 1)));
    assert!(poll_once(leaving.as_mut()).await.is_none());
    while pipeline.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    drop(leaving);
    let again = done(pipeline.submit(charge(account, 2, 1)).await);
    assert_eq!((again.available, again.is_replay), (points(8), true));
    assert_eq!(state_of(&database, account).await, (8, 1));
}

/// On one thread, so that no worker runs before the queue is full.
#[tokio::test]
async fn a_full_queue_says_so_at_once_and_everything_in_it_is_done() {
    let database = jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await;
    let account = open(&database, 1, &[100]).await;
    let settings = PipelineSettings {
        group_max: 2,
        waiting_max: 4,
        ..ONE_GROUP
    };
    let pipeline = pipeline(&database, settings);

    let mut waiting: Vec<_> = (0..3)
        .map(|request| Box::pin(pipeline.submit(charge(account, 1, request))))
        .collect();
    for submitted in &mut waiting {
        assert!(poll_once(submitted.as_mut()).await.is_none());
    }
    // A batch is taken whole or not at all: one place is left.
    let batch = vec![charge(account, 1, 10), charge(account, 1, 11)];
    let refused = poll_once(pipeline.submit_all(batch)).await;
    assert!(matches!(refused, Some(Err(Error::Busy(_)))));
    let mut last = Box::pin(pipeline.submit_all(vec![charge(account, 1, 3)]));
    assert!(poll_once(last.as_mut()).await.is_none());
    let refused = poll_once(pipeline.submit(charge(account, 1, 12))).await;
    assert!(matches!(refused, Some(Err(Error::Busy(_)))));
    assert_eq!(pipeline.waiting(), 4);

    for outcome in join_all(waiting).await {
        assert!(!done(outcome).is_replay);
    }
    assert!(last.await.unwrap()[0].outcome.is_ok());
    assert_eq!(state_of(&database, account).await, (96, 4));
    // What was refused was not done.
    let later = done(pipeline.submit(charge(account, 1, 12)).await);
    assert!(!later.is_replay);
    assert_eq!(
        (pipeline.waiting(), state_of(&database, account).await),
        (0, (95, 5))
    );
}

async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Noon, but for a panic when it is next asked for after a bug was put in.
struct Buggy(AtomicBool);

impl Environment for Buggy {
    fn now(&self) -> Time {
        assert!(!self.0.swap(false, Ordering::SeqCst), "a bug");
        Noon.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        Noon.fill_random(bytes);
    }
}

/// On one thread, so that both operations are one group.
#[tokio::test]
async fn a_panic_ends_neither_the_worker_nor_the_neighbours() {
    let database = jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await;
    let (one, other) = (
        open(&database, 1, &[10]).await,
        open(&database, 2, &[10]).await,
    );
    let bug = Arc::new(Buggy(AtomicBool::new(true)));
    let pipeline = Pipeline::new(database.store(), bug.clone(), ONE_GROUP);
    let broken = pipeline.submit(charge(one, 1, 1)).await.unwrap().outcome;
    assert!(matches!(broken, Err(Declined::Broken(_))), "{broken:?}");
    assert!(!done(pipeline.submit(charge(one, 1, 1)).await).is_replay);

    bug.0.store(true, Ordering::SeqCst);
    let both = vec![charge(one, 2, 2), charge(other, 3, 3)];
    for settled in pipeline.submit_all(both).await.unwrap() {
        assert!(!done(Ok(settled)).is_replay);
    }
    assert_eq!(state_of(&database, one).await, (7, 2));
    assert_eq!(state_of(&database, other).await, (7, 1));
    let counts = pipeline.counts();
    assert_eq!(counts.operations[0], ("done", 3));
    assert_eq!(counts.operations[5], ("broken", 1));
    assert_eq!(counts.group_operations.sum, 3);
    assert_eq!(counts.database_failures, 0);
}
