//! The engine's promises, on both engines over a scratch table.

mod changes;
mod migrations;
mod postgres_only;
mod rows;
mod sqlite_only;

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
