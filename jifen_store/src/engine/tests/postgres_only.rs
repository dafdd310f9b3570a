//! What PostgreSQL alone does: its pool, locks that others hold, a server that is not there.

use super::*;

/// The same database through a pool of this many connections.
async fn with_pool(store: &TestStore, size: usize) -> Store {
    let StoreConfig::Postgres { url, .. } = store.config() else {
        panic!("PostgreSQL was asked for");
    };
    Store::open(&StoreConfig::Postgres {
        url: url.clone(),
        pool_size_max: size,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_connection_never_comes_back_inside_a_transaction() {
    let test_store = scratch(Engine::Postgres).await;
    let store = with_pool(&test_store, 1).await;
    for id in 1..=5 {
        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, id, "dropped").await.unwrap();
        drop(tx);
        assert_eq!(bodies(&store).await, Vec::<String>::new());
        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, 1, "a").await.unwrap();
        assert!(insert(&mut tx, 1, "b").await.is_err());
        drop(tx);
        assert_eq!(bodies(&store).await, Vec::<String>::new());
    }
    let process = "SELECT CAST(pg_backend_pid() AS BIGINT)";
    let mut pids = BTreeSet::new();
    for _ in 0..3 {
        let mut tx = store.begin().await.unwrap();
        let pid = tx
            .fetch_optional(process, &[], |row| row.get::<i64>(0))
            .await;
        pids.insert(pid.unwrap());
    }
    assert_eq!(pids.len(), 1, "a clean connection is used again");
}

#[tokio::test]
async fn a_transaction_abandoned_while_it_waits_lets_go_of_its_connection() {
    let test_store = scratch(Engine::Postgres).await;
    write(&test_store, 1, "a").await.unwrap();
    let store = with_pool(&test_store, 1).await;
    let lock = "SELECT id FROM notes WHERE id = 1";
    let mut holder = test_store.begin().await.unwrap();
    holder
        .lock_all(lock, &[], |row| row.get::<i64>(0))
        .await
        .unwrap();
    let mut abandoned = Box::pin(async {
        let mut tx = store.begin().await?;
        insert(&mut tx, 2, "abandoned").await?;
        tx.lock_all(lock, &[], |row| row.get::<i64>(0)).await
    });
    // Until the server says that it waits for the lock.
    let blocked = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted";
    let mut observer = test_store.read().await.unwrap();
    loop {
        assert_eq!(start(abandoned.as_mut()).await, None);
        let count = observer
            .fetch_optional(blocked, &[], |row| row.get::<i64>(0))
            .await;
        if count.unwrap() > Some(0) {
            break;
        }
    }
    drop(abandoned);
    // The lock is still held; only the cancelled connection can serve this.
    assert_eq!(bodies(&store).await, ["a"]);
    drop(holder);
}

#[tokio::test]
async fn rows_others_have_locked_are_passed_over() {
    let store = scratch(Engine::Postgres).await;
    for id in 1..=3 {
        write(&store, id, "job").await.unwrap();
    }
    let mut first = store.begin().await.unwrap();
    let taken = first
        .lock_all_skipping("SELECT id FROM notes ORDER BY id LIMIT 2", &[], |row| {
            row.get::<i64>(0)
        })
        .await;
    assert_eq!(taken, Ok(vec![1, 2]));
    let mut second = store.begin().await.unwrap();
    let taken = second
        .lock_all_skipping("SELECT id FROM notes ORDER BY id LIMIT 2", &[], |row| {
            row.get::<i64>(0)
        })
        .await;
    assert_eq!(taken, Ok(vec![3]));
}

#[tokio::test]
async fn a_deadlock_ends_for_one_with_busy() {
    let store = scratch(Engine::Postgres).await;
    write(&store, 1, "a").await.unwrap();
    write(&store, 2, "b").await.unwrap();
    let lock = "SELECT id FROM notes WHERE id = $1";
    let both = async |first: i64, second: i64, met: &tokio::sync::Barrier| {
        let mut tx = store.begin().await.unwrap();
        let locked = tx
            .lock_all(lock, &[first.into()], |row| row.get::<i64>(0))
            .await;
        assert_eq!(locked, Ok(vec![first]));
        met.wait().await;
        tx.lock_all(lock, &[second.into()], |row| row.get::<i64>(0))
            .await
    };
    let met = tokio::sync::Barrier::new(2);
    let outcomes = tokio::join!(both(1, 2, &met), both(2, 1, &met));
    assert!(
        matches!(
            outcomes,
            (Err(Error::Busy), Ok(_)) | (Ok(_), Err(Error::Busy))
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_unavailable() {
    let test_store = scratch(Engine::Postgres).await;
    let store = with_pool(&test_store, 1).await;
    let held = store.begin().await.unwrap();
    tokio::time::pause();
    let refused = store.begin().await;
    tokio::time::resume();
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    drop(held);
    write(&store, 1, "after").await.unwrap();
}

#[tokio::test]
async fn a_transaction_costs_the_server_nothing_until_its_first_statement() {
    let store = scratch(Engine::Postgres).await;
    let idle = "SELECT COUNT(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let mut observer = store.read().await.unwrap();
    let mut transactions = async || {
        let count = observer
            .fetch_optional(idle, &[], |row| row.get::<i64>(0))
            .await;
        count.unwrap().unwrap()
    };
    let unused = store.begin().await.unwrap();
    let mut used = store.begin().await.unwrap();
    assert_eq!(transactions().await, 0);
    insert(&mut used, 1, "a").await.unwrap();
    assert_eq!(transactions().await, 1);
    unused.commit().await.unwrap();
    used.commit().await.unwrap();
    assert_eq!(transactions().await, 0);
}

#[tokio::test]
async fn nothing_is_written_when_a_transaction_did_not_begin() {
    let store = scratch(Engine::Postgres).await;
    let Database::Postgres(database) = &store.database else {
        panic!("PostgreSQL was asked for");
    };
    // What the server sees when it has refused the BEGIN sent before.
    let mut session = database.read().await.unwrap();
    let refused = session.execute(INSERT, &[1.into(), Value::Text("a")]).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(bodies(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_schema_costs_one_retry() {
    let store = scratch(Engine::Postgres).await;
    let mut reader = store.read().await.unwrap();
    let all = "SELECT * FROM notes";
    reader
        .fetch_all(all, &[], |row| row.get::<i64>(0))
        .await
        .unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.execute("ALTER TABLE notes ADD COLUMN extra BIGINT", &[])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let stale = reader.fetch_all(all, &[], |row| row.get::<i64>(0)).await;
    assert_eq!(stale, Err(Error::Busy));
    drop(reader);
    let mut reader = store.read().await.unwrap();
    assert_eq!(
        reader.fetch_all(all, &[], |row| row.get::<i64>(0)).await,
        Ok(vec![])
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let config = StoreConfig::Postgres {
        url: SecretString::from("postgresql://user:hunter2@/mall?host=/nowhere/at/all"),
        pool_size_max: 1,
    };
    let error = Store::open(&config).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}
