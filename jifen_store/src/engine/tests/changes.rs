//! Subscribers hear what has changed: after the commit, only then, and on every node.

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::*;

fn made(key: &str) -> Change {
    Change::Made {
        topic: "note".to_owned(),
        key: key.to_owned(),
    }
}

async fn announce(store: &Store, key: &str) {
    let mut tx = store.begin().await.unwrap();
    tx.announce("note", key);
    tx.commit().await.unwrap();
}

/// Another node on the same database, listening.
async fn node(store: &TestStore) -> (Store, Receiver<Change>) {
    let node = Store::open(store.config()).await.unwrap();
    let mut changes = node.subscribe();
    node.listen();
    assert_eq!(changes.recv().await, Ok(Change::Missed), "it listens");
    assert!(node.is_listening());
    (node, changes)
}

#[tokio::test]
async fn a_change_is_heard_after_its_commit() {
    on_each_engine(async |store| {
        let mut changes = store.subscribe();
        let mut clone = store.store().subscribe();
        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, 1, "a").await.unwrap();
        tx.announce("note", "1");
        tx.announce("note", "a key with spaces");
        tx.announce("note", "1");
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        tx.commit().await.unwrap();
        for changes in [&mut changes, &mut clone] {
            assert_eq!(changes.try_recv(), Ok(made("1")));
            assert_eq!(changes.try_recv(), Ok(made("a key with spaces")));
            assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_heard_when_it_is_made() {
    on_each_engine(async |store| {
        let mut changes = store.subscribe();
        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, 1, "a").await.unwrap();
        tx.announce("note", "1");
        let (kept, decided) = tokio::sync::oneshot::channel::<()>();
        tx.keep_until_decided(kept);
        let mut committing = Box::pin(tx.commit());
        let outcome = start(committing.as_mut()).await;
        drop(committing);
        if outcome.is_none() {
            assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        }
        assert_eq!(changes.recv().await, Ok(made("1")));
        assert!(decided.await.is_err(), "what was kept is dropped");
        assert_eq!(bodies(&store).await, ["a"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_committed_is_not_heard() {
    on_each_engine(async |store| {
        write(&store, 1, "taken").await.unwrap();
        let mut changes = store.subscribe();
        let mut dropped = store.begin().await.unwrap();
        dropped.announce("note", "dropped");
        drop(dropped);
        let mut failed = store.begin().await.unwrap();
        failed.announce("note", "failed");
        assert!(insert(&mut failed, 1, "again").await.is_err());
        assert_eq!(failed.commit().await, Err(Error::Aborted));
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_announces_too_much_makes_its_subscribers_forget_everything() {
    on_each_engine(async |store| {
        let mut changes = store.subscribe();
        let mut tx = store.begin().await.unwrap();
        for key in 0..1_000 {
            tx.announce("note", &key.to_string());
        }
        tx.commit().await.unwrap();
        announce(&store, &"x".repeat(8_000)).await;
        for _ in 0..2 {
            assert_eq!(changes.try_recv(), Ok(Change::Missed));
        }
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_that_lags_behind_is_told_so() {
    let store = scratch(Engine::Sqlite).await;
    let mut changes = store.subscribe();
    for _ in 0..1_025 {
        announce(&store, "1").await;
    }
    assert_eq!(changes.recv().await, Err(RecvError::Lagged(1)));
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_makes_subscribers_forget_everything() {
    let store = scratch(Engine::Sqlite).await;
    let mut changes = store.subscribe();
    let pending = || Pending::new(&store.shared.changes, vec![made("1")]);
    let unknown = Err(Error::Unavailable("silence".to_owned()));
    pending().settle(&unknown);
    assert_eq!(changes.try_recv(), Ok(Change::Missed));
    // The task in which it was made was stopped.
    drop(pending());
    assert_eq!(changes.try_recv(), Ok(Change::Missed));
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn what_another_process_writes_into_the_file_of_sqlite_is_noticed_and_what_this_one_writes_is_not_taken_for_it()
 {
    let store = scratch(Engine::Sqlite).await;
    let StoreConfig::Sqlite { path } = store.config() else {
        panic!("SQLite was asked for");
    };
    let version = async || {
        let Database::Sqlite(database) = &store.database else {
            panic!("SQLite was asked for");
        };
        database.foreign_version().await.unwrap()
    };
    let before = version().await;
    write(&store, 1, "own").await.unwrap();
    assert_eq!(version().await, before);

    let account = jifen_domain::AccountId(1);
    let mut changes = store.subscribe();
    let listening = store.listen();
    // What was written before is not known to it.
    assert_eq!(changes.recv().await, Ok(Change::Missed));
    let (other, touched) = (
        rusqlite::Connection::open(path).unwrap(),
        store.account_version(account),
    );
    other
        .execute("INSERT INTO notes (id, body) VALUES (2, 'foreign')", [])
        .unwrap();
    assert_eq!(changes.recv().await, Ok(Change::Missed));
    assert_ne!(store.account_version(account), touched);
    assert!(store.is_listening());
    listening.abort();
    assert!(listening.await.unwrap_err().is_cancelled());
    assert!(!store.is_listening());
}

#[tokio::test]
async fn nodes_hear_each_other() {
    let store = scratch(Engine::Postgres).await;
    let (one, mut heard_by_one) = node(&store).await;
    let (two, mut heard_by_two) = node(&store).await;
    let mut dropped = one.begin().await.unwrap();
    dropped.announce("note", "dropped");
    drop(dropped);
    announce(&one, "1").await;
    announce(&two, "2 and more").await;
    // Each hears its own twice: at once, and from the server in the order of the commits.
    for expected in [made("1"), made("1"), made("2 and more")] {
        assert_eq!(heard_by_one.recv().await, Ok(expected));
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(heard_by_two.recv().await.unwrap());
    }
    heard.sort_by_key(|change| change == &made("2 and more"));
    assert_eq!(heard, [made("1"), made("2 and more"), made("2 and more")]);
    announce(&one, &"x".repeat(8_000)).await;
    assert_eq!(heard_by_two.recv().await, Ok(Change::Missed));
}

#[tokio::test]
async fn a_node_that_lost_its_connection_connects_again_and_forgets_everything() {
    let store = scratch(Engine::Postgres).await;
    let (_listening, mut changes) = node(&store).await;
    for round in ["first", "second"] {
        let mut tx = store.read().await.unwrap();
        let killed = tx
            .fetch_all(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database()
                 AND (query LIKE 'LISTEN %' OR query LIKE 'SELECT pg_notify(''jifen_changes'', ''heartbeat%')",
                &[],
                |row| row.get::<bool>(0),
            )
            .await;
        assert_eq!(killed, Ok(vec![true]));
        assert_eq!(changes.recv().await, Ok(Change::Missed));
        announce(&store, round).await;
        assert_eq!(changes.recv().await, Ok(made(round)));
    }
}

#[tokio::test]
async fn listening_ends_with_the_store() {
    let store = scratch(Engine::Postgres).await;
    let node = Store::open(store.config()).await.unwrap();
    let mut changes = node.subscribe();
    let listening = node.listen();
    assert_eq!(changes.recv().await, Ok(Change::Missed));
    drop(node);
    listening.await.unwrap();
    assert_eq!(changes.recv().await, Err(RecvError::Closed));
}
