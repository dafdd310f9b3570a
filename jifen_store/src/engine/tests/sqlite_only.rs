//! What SQLite alone does: groups of commits, its file, its functions for migrations.

use std::pin::Pin;

use super::*;

/// Nothing but the test decides when a group ends.
const PATIENT: GroupLimits = GroupLimits {
    members_max: 1_000,
    open_milliseconds_max: 3_600_000,
};

/// A transaction that has written a note, and another that waits for its turn.
async fn first_and_next(
    store: &Store,
    id: i64,
) -> (Tx, Pin<Box<impl Future<Output = Result<Tx>>>>) {
    let mut first = store.begin().await.unwrap();
    insert(&mut first, id, "first").await.unwrap();
    let mut second = Box::pin(store.begin());
    assert!(start(second.as_mut()).await.is_none());
    (first, second)
}

#[tokio::test]
async fn a_commit_is_acknowledged_only_when_its_group_is_on_the_disk() {
    let (_file, store) = scratch_with(PATIENT).await;
    let (first, second) = first_and_next(&store, 1).await;
    let mut first_commit = pin!(first.commit());
    assert_eq!(start(first_commit.as_mut()).await, None);
    // The writer has passed to the second; the first is finished, but neither told nor visible.
    let mut second = second.await.unwrap();
    insert(&mut second, 2, "second").await.unwrap();
    assert_eq!(start(first_commit.as_mut()).await, None);
    assert_eq!(bodies(&store).await, Vec::<String>::new());
    // The second goes back on it, which ends the group.
    drop(second);
    assert_eq!(first_commit.await, Ok(()));
    assert_eq!(bodies(&store).await, ["first"]);
}

#[tokio::test]
async fn a_full_group_is_committed_although_somebody_is_next() {
    for limits in [
        GroupLimits {
            members_max: 1,
            ..PATIENT
        },
        GroupLimits {
            open_milliseconds_max: 0,
            ..PATIENT
        },
    ] {
        let (_file, store) = scratch_with(limits).await;
        let (first, second) = first_and_next(&store, 1).await;
        let mut first_commit = pin!(first.commit());
        let (second, ()) = tokio::join!(second, async {
            assert_eq!(first_commit.as_mut().await, Ok(()));
        });
        assert_eq!(bodies(&store).await, ["first"]);
        drop(second);
    }
}

#[tokio::test]
async fn a_thread_that_may_wait_for_the_disk_commits_at_once_unless_somebody_is_next() {
    let (_file, store) = scratch_with(PATIENT).await;
    let mut alone = store.begin().await.unwrap();
    insert(&mut alone, 1, "alone").await.unwrap();
    let mut commit = pin!(alone.commit_on_this_thread());
    assert_eq!(start(commit.as_mut()).await, Some(Ok(())));
    assert_eq!(bodies(&store).await, ["alone"]);

    let (first, second) = first_and_next(&store, 2).await;
    let mut first_commit = pin!(first.commit_on_this_thread());
    assert_eq!(start(first_commit.as_mut()).await, None);
    let mut second = second.await.unwrap();
    insert(&mut second, 3, "second").await.unwrap();
    second.commit_on_this_thread().await.unwrap();
    assert_eq!(first_commit.await, Ok(()));
    assert_eq!(bodies(&store).await, ["alone", "first", "second"]);
}

#[tokio::test]
async fn the_log_is_moved_into_the_file_while_others_write() {
    const LARGE_COMMITS: i64 = 200;
    const COMMITS_MAX: i64 = 20_000;
    let store = scratch(Engine::Sqlite).await;
    let StoreConfig::Sqlite { path } = store.config() else {
        panic!("SQLite was asked for");
    };
    let other = rusqlite::Connection::open(path).unwrap();
    let moved = || {
        let log = other.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(2));
        log.unwrap_or(0_i64)
    };
    // More than is worth the moving, less than at which SQLite would do it itself.
    let large = "x".repeat(400_000);
    for id in 1..=LARGE_COMMITS {
        write(&store, id, &large).await.unwrap();
    }
    let mut commits = LARGE_COMMITS;
    while moved() == 0 {
        assert!(commits < COMMITS_MAX, "nothing was moved");
        commits += 1;
        write(&store, commits, "small").await.unwrap();
    }
    let mut tx = store.read().await.unwrap();
    let written = tx
        .fetch_optional("SELECT COUNT(*) FROM notes", &[], |row| row.get::<i64>(0))
        .await;
    assert_eq!(written, Ok(Some(commits)));
}

#[tokio::test]
async fn a_caller_that_goes_away_loses_its_turn_to_the_next() {
    let (_file, store) = scratch_with(PATIENT).await;
    let first = store.begin().await.unwrap();
    let mut impatient = Box::pin(store.begin());
    let mut late = Box::pin(store.begin());
    let mut patient = pin!(store.begin());
    assert!(start(impatient.as_mut()).await.is_none());
    assert!(start(late.as_mut()).await.is_none());
    assert!(start(patient.as_mut()).await.is_none());
    drop(impatient);
    drop(first);
    // The turn is already on its way to this one.
    drop(late);
    let mut tx = patient.await.unwrap();
    insert(&mut tx, 1, "patient").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bodies(&store).await, ["patient"]);
}

#[tokio::test]
async fn a_disk_that_is_full_fails_the_whole_group() {
    let (_file, store) = scratch_with(PATIENT).await;
    let (first, second) = first_and_next(&store, 1).await;
    let mut first_commit = pin!(first.commit());
    assert_eq!(start(first_commit.as_mut()).await, None);

    let mut second = second.await.unwrap();
    limit_pages(&mut second, "PRAGMA max_page_count = 1").await;
    let large = "x".repeat(100_000);
    let full = insert(&mut second, 2, &large).await;
    assert!(matches!(full, Err(Error::Unavailable(_))), "{full:?}");
    assert!(matches!(first_commit.await, Err(Error::Unavailable(_))));
    assert_eq!(second.commit().await, Err(Error::Aborted));
    assert_eq!(bodies(&store).await, Vec::<String>::new());

    let mut third = store.begin().await.unwrap();
    limit_pages(&mut third, "PRAGMA max_page_count = 100000").await;
    insert(&mut third, 3, &large).await.unwrap();
    third.commit().await.unwrap();
    assert_eq!(bodies(&store).await, [large]);
}

async fn limit_pages(tx: &mut Tx, pragma: &'static str) {
    let limit = tx
        .fetch_optional(pragma, &[], |row| row.get::<i64>(0))
        .await;
    assert!(matches!(limit, Ok(Some(_))));
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for() {
    let store = scratch(Engine::Sqlite).await;
    let StoreConfig::Sqlite { path } = store.config() else {
        panic!("SQLite was asked for");
    };
    let other = rusqlite::Connection::open(path).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO notes (id, body) VALUES (1, 'other')")
        .unwrap();
    let mut waiting = pin!(write(&store, 2, "ours"));
    assert_eq!(start(waiting.as_mut()).await, None);
    assert_eq!(start(waiting.as_mut()).await, None);
    other.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap();
    assert_eq!(bodies(&store).await, ["other", "ours"]);
}

#[tokio::test]
async fn the_queue_is_bounded_and_those_who_left_do_not_count() {
    let (_file, store) = scratch_with(PATIENT).await;
    let first = store.begin().await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..sqlite::WAITING_MAX {
        let mut begin = Box::pin(store.begin());
        assert!(start(begin.as_mut()).await.is_none());
        waiting.push(begin);
    }
    assert!(matches!(store.begin().await, Err(Error::Unavailable(_))));
    drop(waiting.split_off(1));
    let mut last = pin!(store.begin());
    assert!(start(last.as_mut()).await.is_none());
    drop(waiting);
    drop(first);
    last.await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let store = scratch(Engine::Sqlite).await;
    let StoreConfig::Sqlite { path } = store.config() else {
        panic!("SQLite was asked for");
    };
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn migrations_know_the_function_sha256() {
    const MIGRATION: Migration = Migration {
        name: "0001_hash",
        sqlite:
            "CREATE TABLE hashes (body TEXT, raw BLOB);
                 INSERT INTO hashes VALUES ('known', sha256(x'616263')), ('missing', sha256(NULL));",
        postgres: "",
    };
    let store = bare(Engine::Sqlite).await;
    store.apply(&[MIGRATION]).await.unwrap();
    let mut tx = store.read().await.unwrap();
    let hashes = tx
        .fetch_all(
            "SELECT lower(hex(raw)) FROM hashes ORDER BY body",
            &[],
            |row| row.get::<String>(0),
        )
        .await;
    // FIPS 180-4's example for "abc".
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hashes, Ok(vec![abc.to_owned(), String::new()]));
}

#[test]
fn no_migration_checks_a_foreign_key_late() {
    for migration in migrate::MIGRATIONS {
        let text = migration.sqlite.to_uppercase();
        assert!(!text.contains("DEFERR"), "{}", migration.name);
    }
}
