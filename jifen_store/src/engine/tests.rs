//! The engine's promises, on both engines over a scratch table.

mod changes;
mod rows;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::migrate::Migration;
use super::sqlite::{self, GroupLimits};
use super::*;
use crate::testing::{TestStore, bare};

const INSERT: &str = "INSERT INTO notes (id, body) VALUES ($1, $2)";
const BODIES: &str = "SELECT body FROM notes ORDER BY id";
/// A whole note, and whether its size is missing.
type Note = (i64, String, Option<i64>, Option<Vec<u8>>, Option<i64>, bool);

const SCRATCH: [&str; 3] = [
    "CREATE TABLE parents (id BIGINT NOT NULL PRIMARY KEY)",
    "CREATE TABLE notes (
         id BIGINT NOT NULL PRIMARY KEY,
         body TEXT NOT NULL,
         size BIGINT CONSTRAINT notes_size_positive CHECK (size > 0),
         raw BYTEA,
         parent BIGINT REFERENCES parents (id),
         UNIQUE (body, size)
     )",
    "CREATE UNIQUE INDEX notes_once_per_raw ON notes (raw) WHERE raw IS NOT NULL",
];

async fn on_each_engine(test: impl AsyncFn(TestStore)) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        println!("on {engine:?}");
        test(scratch(engine).await).await;
    }
}

async fn scratch(engine: Engine) -> TestStore {
    let store = bare(engine).await;
    create_scratch(&store).await;
    store
}

async fn create_scratch(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    for statement in SCRATCH {
        tx.execute(statement, &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// SQLite with other limits; the test store keeps the file.
async fn scratch_with(limits: GroupLimits) -> (TestStore, Store) {
    let test_store = scratch(Engine::Sqlite).await;
    let StoreConfig::Sqlite { path } = test_store.config() else {
        panic!("SQLite was asked for");
    };
    let database = Database::Sqlite(Arc::new(sqlite::Database::open(path, limits).unwrap()));
    (test_store, Store::over(database))
}

async fn insert(tx: &mut Tx, id: i64, body: &str) -> Result<u64> {
    tx.execute(INSERT, &[id.into(), body.into()]).await
}

async fn bodies(store: &Store) -> Vec<String> {
    let mut tx = store.read().await.unwrap();
    tx.fetch_all(BODIES, &[], |row| row.get(0)).await.unwrap()
}

async fn write(store: &Store, id: i64, body: &str) -> Result<()> {
    let mut tx = store.begin().await?;
    insert(&mut tx, id, body).await?;
    tx.commit().await
}

/// Runs a future until it waits for something.
async fn start<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn what_is_committed_is_seen_by_readers_and_what_is_dropped_is_not() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(insert(&mut tx, 1, "kept").await, Ok(1));
        assert_eq!(bodies(&store).await, Vec::<String>::new());
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["kept"]);

        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, 2, "dropped").await.unwrap();
        let own: Vec<String> = tx.fetch_all(BODIES, &[], |row| row.get(0)).await.unwrap();
        assert_eq!(own, ["kept", "dropped"]);
        drop(tx);
        assert_eq!(bodies(&store).await, ["kept"]);
        write(&store, 2, "again").await.unwrap();
        assert_eq!(bodies(&store).await, ["kept", "again"]);
    })
    .await;
}

#[tokio::test]
async fn each_statement_of_a_reader_sees_what_is_committed_when_it_starts() {
    on_each_engine(async |store| {
        let count = "SELECT COUNT(*) FROM notes";
        let mut reader = store.read().await.unwrap();
        let before: Option<i64> = reader
            .fetch_optional(count, &[], |row| row.get(0))
            .await
            .unwrap();
        write(&store, 1, "new").await.unwrap();
        let after: Option<i64> = reader
            .fetch_optional(count, &[], |row| row.get(0))
            .await
            .unwrap();
        assert_eq!((before, after), (Some(0), Some(1)));
        reader.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_reader_refuses_to_write_and_to_lock() {
    on_each_engine(async |store| {
        let mut reader = store.read().await.unwrap();
        assert!(matches!(
            insert(&mut reader, 1, "no").await,
            Err(Error::Database(_))
        ));
        let returning = reader
            .fetch_optional(
                "INSERT INTO notes (id, body) VALUES ($1, $2) RETURNING id",
                &[1.into(), "no".into()],
                |row| row.get::<i64>(0),
            )
            .await;
        assert!(matches!(returning, Err(Error::Database(_))));
        let locked = reader
            .lock_all(BODIES, &[], |row| row.get::<String>(0))
            .await;
        assert!(matches!(locked, Err(Error::Database(_))));
        let found = reader
            .fetch_all(BODIES, &[], |row| row.get::<String>(0))
            .await;
        assert_eq!(found, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn values_of_every_kind_come_back_as_they_were() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        let raw: &[u8] = &[0, 255, 39];
        for (id, size, raw) in [(1, Some(i64::MAX), Some(raw)), (2, None, None)] {
            tx.execute(
                "INSERT INTO notes (id, body, size, raw, parent) VALUES ($1, $2, $3, $4, $5)",
                &[
                    id.into(),
                    "积分 ' $1".into(),
                    size.into(),
                    raw.into(),
                    Value::Null,
                ],
            )
            .await
            .unwrap();
        }
        let read: Vec<Note> = tx
            .fetch_all(
                "SELECT id, body, size, raw, parent, size IS NULL FROM notes ORDER BY id",
                &[],
                |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                    ))
                },
            )
            .await
            .unwrap();
        let body = "积分 ' $1".to_owned();
        assert_eq!(
            read,
            [
                (
                    1,
                    body.clone(),
                    Some(i64::MAX),
                    Some(raw.to_vec()),
                    None,
                    false
                ),
                (2, body, None, None, None, true),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn an_integer_parameter_is_64_bits_wide_wherever_it_stands() {
    on_each_engine(async |store| {
        let mut tx = store.read().await.unwrap();
        let big = i64::from(i32::MAX) + 1;
        let sum = tx
            .fetch_optional("SELECT $1 + 1", &[big.into()], |row| row.get::<i64>(0))
            .await;
        assert_eq!(sum, Ok(Some(big + 1)));
        let optional = "SELECT 1 WHERE $1 IS NULL OR $1 = 2";
        for (filter, found) in [(None, true), (Some(2), true), (Some(3), false)] {
            let rows = tx
                .fetch_all(optional, &[filter.into()], |row| row.get::<i64>(0))
                .await
                .unwrap();
            assert_eq!(!rows.is_empty(), found, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_column_of_another_kind_is_corrupt_and_not_quoted() {
    on_each_engine(async |store| {
        write(&store, 7, "secret").await.unwrap();
        let mut tx = store.read().await.unwrap();
        let read = tx.fetch_all(BODIES, &[], |row| row.get::<i64>(0)).await;
        assert_eq!(
            read,
            Err(Error::Corrupt("column 0 is not an integer".to_owned()))
        );
        let mut tx = store.read().await.unwrap();
        let read = tx
            .fetch_all("SELECT size FROM notes", &[], |row| row.get::<i64>(0))
            .await;
        assert_eq!(
            read,
            Err(Error::Corrupt("column 0 is not an integer".to_owned()))
        );
        let mut tx = store.read().await.unwrap();
        let read = tx
            .fetch_all("SELECT id FROM notes", &[], |row| row.get::<bool>(0))
            .await;
        assert_eq!(
            read,
            Err(Error::Corrupt("column 0 is not 0 or 1".to_owned()))
        );
        let mut tx = store.read().await.unwrap();
        let read = tx.fetch_all(BODIES, &[], |row| row.get::<i64>(1)).await;
        assert!(matches!(read, Err(Error::Corrupt(_))));
    })
    .await;
}

#[tokio::test]
async fn more_than_one_row_is_an_error_where_at_most_one_is_expected() {
    on_each_engine(async |store| {
        write(&store, 1, "a").await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let one = tx
            .lock_optional(BODIES, &[], |row| row.get::<String>(0))
            .await;
        assert_eq!(one, Ok(Some("a".to_owned())));
        insert(&mut tx, 2, "b").await.unwrap();
        let two = tx
            .fetch_optional(BODIES, &[], |row| row.get::<String>(0))
            .await;
        assert!(matches!(two, Err(Error::Corrupt(_))));
    })
    .await;
}

#[tokio::test]
async fn violated_constraints_have_the_same_names_on_both_engines() {
    let unique = |constraint: &str| Error::Unique {
        constraint: constraint.to_owned(),
    };
    let check = |constraint: &str| Error::Check {
        constraint: constraint.to_owned(),
    };
    let cases = [
        (
            "INSERT INTO notes (id, body) VALUES (1, 'b')",
            unique("notes_pkey"),
        ),
        (
            "INSERT INTO notes (id, body, size) VALUES (2, 'a', 5)",
            unique("notes_body_size_key"),
        ),
        (
            "INSERT INTO notes (id, body, raw) SELECT 2, 'b', raw FROM notes",
            unique("notes_once_per_raw"),
        ),
        (
            "INSERT INTO notes (id, body, size) VALUES (2, 'b', 0)",
            check("notes_size_positive"),
        ),
        (
            "INSERT INTO notes (id, body) VALUES (2, NULL)",
            check("notes_body_not_null"),
        ),
        (
            "INSERT INTO notes (id, body, parent) VALUES (2, 'b', 9)",
            Error::ForeignKey,
        ),
    ];
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        tx.execute(
            "INSERT INTO notes (id, body, size, raw) VALUES (1, 'a', 5, $1)",
            &[b"raw".as_slice().into()],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        for (statement, expected) in &cases {
            let mut tx = store.begin().await.unwrap();
            assert_eq!(
                tx.execute(statement, &[]).await.as_ref(),
                Err(expected),
                "{statement}"
            );
        }
        assert_eq!(bodies(&store).await, ["a"]);
    })
    .await;
}

#[tokio::test]
async fn a_conflict_that_is_expected_changes_nothing_and_fails_nothing() {
    on_each_engine(async |store| {
        write(&store, 1, "first").await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let again =
            "INSERT INTO notes (id, body) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id";
        let inserted = tx
            .fetch_optional(again, &[1.into(), "second".into()], |row| row.get::<i64>(0))
            .await;
        assert_eq!(inserted, Ok(None));
        insert(&mut tx, 2, "third").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["first", "third"]);
    })
    .await;
}

#[tokio::test]
async fn after_a_failed_statement_a_transaction_can_only_be_dropped() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        insert(&mut tx, 1, "a").await.unwrap();
        assert!(matches!(
            insert(&mut tx, 1, "b").await,
            Err(Error::Unique { .. })
        ));
        assert_eq!(insert(&mut tx, 2, "c").await, Err(Error::Aborted));
        assert_eq!(tx.commit().await, Err(Error::Aborted));

        let mut tx = store.begin().await.unwrap();
        assert!(matches!(
            tx.execute("NO SQL AT ALL", &[]).await,
            Err(Error::Database(_))
        ));
        drop(tx);
        assert_eq!(bodies(&store).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_parallel_writers_lose_and_mix_nothing() {
    on_each_engine(async |store| {
        write(&store, 0, "counter").await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for id in 1..=200 {
            let store = store.store();
            writers.spawn(async move {
                let mut tx = store.begin().await?;
                let size = tx
                    .lock_optional(
                        "SELECT COALESCE(size, 0) FROM notes WHERE id = 0",
                        &[],
                        |row| row.get::<i64>(0),
                    )
                    .await?
                    .unwrap();
                insert(&mut tx, id, "writer").await?;
                tx.execute(
                    "UPDATE notes SET size = $1 WHERE id = 0",
                    &[(size + 1).into()],
                )
                .await?;
                // Every third changes its mind, every fifth goes wrong.
                if id % 3 == 0 {
                    return Ok(None);
                }
                if id % 5 == 0 {
                    assert!(insert(&mut tx, 0, "taken").await.is_err());
                    assert_eq!(tx.commit().await, Err(Error::Aborted));
                    return Ok(None);
                }
                tx.commit().await?;
                Ok::<_, Error>(Some(id))
            });
        }
        let acknowledged: BTreeSet<i64> = writers
            .join_all()
            .await
            .into_iter()
            .filter_map(Result::unwrap)
            .collect();
        let mut tx = store.read().await.unwrap();
        let found = tx
            .fetch_all("SELECT id FROM notes WHERE id > 0", &[], |row| row.get(0))
            .await
            .unwrap();
        assert_eq!(acknowledged, found.into_iter().collect());
        let counted = tx
            .fetch_optional("SELECT size FROM notes WHERE id = 0", &[], |row| {
                row.get::<i64>(0)
            })
            .await
            .unwrap();
        assert_eq!(counted, i64::try_from(acknowledged.len()).ok());
        assert_eq!(acknowledged.len(), 107);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_cancelled_at_any_point_neither_block_nor_leave_a_trace() {
    on_each_engine(async |store| {
        write(&store, 1, "kept").await.unwrap();
        for polls in 0..12 {
            let mut cancelled = Box::pin(async {
                let mut tx = store.begin().await?;
                tx.execute("UPDATE notes SET size = 1 WHERE id = 1", &[])
                    .await?;
                insert(&mut tx, 2, "trace").await?;
                tokio::task::yield_now().await;
                std::future::pending::<()>().await;
                tx.commit().await
            });
            for _ in 0..=polls {
                assert_eq!(start(cancelled.as_mut()).await, None);
                tokio::task::yield_now().await;
            }
            drop(cancelled);
        }
        write(&store, 3, "after").await.unwrap();
        assert_eq!(bodies(&store).await, ["kept", "after"]);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_commit_is_done_or_not_and_blocks_nobody() {
    on_each_engine(async |store| {
        for id in 1..=20 {
            let mut tx = store.begin().await.unwrap();
            insert(&mut tx, id, "cancelled").await.unwrap();
            let mut commit = Box::pin(tx.commit());
            for _ in 0..id % 4 {
                if start(commit.as_mut()).await.is_some() {
                    break;
                }
            }
        }
        write(&store, 21, "after").await.unwrap();
        assert_eq!(
            bodies(&store).await.last().map(String::as_str),
            Some("after")
        );
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_statement_ends_its_transaction() {
    let store = scratch(Engine::Postgres).await;
    write(&store, 1, "a").await.unwrap();
    let lock = "SELECT id FROM notes WHERE id = 1";
    let mut holder = store.begin().await.unwrap();
    holder
        .lock_all(lock, &[], |row| row.get::<i64>(0))
        .await
        .unwrap();
    let mut waiting = store.begin().await.unwrap();
    {
        let mut statement = pin!(waiting.lock_all(lock, &[], |row| row.get::<i64>(0)));
        assert_eq!(start(statement.as_mut()).await, None);
    }
    assert_eq!(insert(&mut waiting, 2, "b").await, Err(Error::Aborted));
    assert_eq!(waiting.commit().await, Err(Error::Aborted));
    insert(&mut holder, 2, "c").await.unwrap();
    holder.commit().await.unwrap();
    assert_eq!(bodies(&store).await, ["a", "c"]);
}

#[tokio::test]
#[should_panic(expected = "numbered in order of first use")]
async fn a_statement_with_parameters_out_of_order_is_found_in_tests() {
    let store = scratch(Engine::Sqlite).await;
    let mut tx = store.begin().await.unwrap();
    let sql = "INSERT INTO notes (body, id) VALUES ($2, $1)";
    tx.execute(sql, &[1.into(), "a".into()]).await.unwrap();
}

mod sqlite_only {
    use super::*;

    /// Nothing but the test decides when a group ends.
    const PATIENT: GroupLimits = GroupLimits {
        members_max: 1_000,
        open_milliseconds_max: 3_600_000,
    };

    #[tokio::test]
    async fn a_commit_is_acknowledged_only_when_its_group_is_on_the_disk() {
        let (_file, store) = scratch_with(PATIENT).await;
        let mut first = store.begin().await.unwrap();
        insert(&mut first, 1, "first").await.unwrap();
        let mut second = pin!(store.begin());
        assert!(start(second.as_mut()).await.is_none());
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
            let mut first = store.begin().await.unwrap();
            insert(&mut first, 1, "first").await.unwrap();
            let mut second = pin!(store.begin());
            assert!(start(second.as_mut()).await.is_none());
            let mut first_commit = pin!(first.commit());
            let second = second.as_mut();
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

        let mut first = store.begin().await.unwrap();
        insert(&mut first, 2, "first").await.unwrap();
        let mut second = pin!(store.begin());
        assert!(start(second.as_mut()).await.is_none());
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
        let mut first = store.begin().await.unwrap();
        insert(&mut first, 1, "first").await.unwrap();
        let mut second = pin!(store.begin());
        assert!(start(second.as_mut()).await.is_none());
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
            sqlite: "CREATE TABLE hashes (body TEXT, raw BLOB);
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
}

mod postgres_only {
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
}

mod migrations {
    use super::*;

    const fn migration(name: &'static str, text: &'static str) -> Migration {
        Migration {
            name,
            sqlite: text,
            postgres: text,
        }
    }

    const ONE: Migration = migration(
        "0001_one",
        "CREATE TABLE one (id BIGINT); INSERT INTO one VALUES (1);",
    );
    const TWO: Migration = migration("0002_two", "CREATE TABLE two (id BIGINT);");
    const ONE_AND_TWO: &[Migration] = &[ONE, TWO];

    #[tokio::test]
    async fn the_malls_own_schema_is_applied_once() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let store = bare(engine).await;
            let names: Vec<&str> = migrate::MIGRATIONS.iter().map(|known| known.name).collect();
            assert_eq!(store.migrate().await.unwrap(), names);
            assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn only_what_is_missing_is_applied() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let store = bare(engine).await;
            assert_eq!(store.apply(&[ONE]).await.unwrap(), ["0001_one"]);
            assert_eq!(store.apply(ONE_AND_TWO).await.unwrap(), ["0002_two"]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nodes_that_start_at_once_apply_each_migration_once() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let store = bare(engine).await;
            let mut nodes = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let config = store.config().clone();
                nodes.spawn(async move {
                    let node = Store::open(&config).await?;
                    node.apply(ONE_AND_TWO).await
                });
            }
            let mut names: Vec<String> = nodes
                .join_all()
                .await
                .into_iter()
                .flat_map(Result::unwrap)
                .collect();
            names.sort();
            assert_eq!(names, ["0001_one", "0002_two"], "{engine:?}");
        }
    }

    #[tokio::test]
    async fn a_changed_or_unknown_migration_is_refused() {
        const CHANGED: Migration = migration("0001_one", "CREATE TABLE one (id TEXT);");
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let store = bare(engine).await;
            store.apply(ONE_AND_TWO).await.unwrap();
            for known in [&[CHANGED, TWO][..], &[ONE], &[TWO, ONE], &[]] {
                let refused = store.apply(known).await;
                assert!(matches!(refused, Err(Error::Migration(_))), "{refused:?}");
            }
            assert_eq!(store.apply(ONE_AND_TWO).await, Ok(vec![]));
        }
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_nothing() {
        const BROKEN: Migration = migration(
            "0002_two",
            "CREATE TABLE two (id BIGINT); INSERT INTO nothing VALUES (1);",
        );
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let store = bare(engine).await;
            let refused = store.apply(&[ONE, BROKEN]).await;
            let Err(Error::Migration(why)) = refused else {
                panic!("{refused:?}");
            };
            assert!(why.contains("0002_two"), "{why}");
            assert_eq!(store.apply(ONE_AND_TWO).await.unwrap(), ["0002_two"]);
        }
    }
}
