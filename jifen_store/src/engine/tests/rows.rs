//! Statements for many rows do the same on both engines.

use super::*;

const INSERT_ALL: &str =
    "INSERT INTO notes (id, body, size, raw) SELECT $1, $2, $3, $4 {from each}";
const ALL: &str = "SELECT id, body, size, raw FROM notes ORDER BY id";
const LOCK: &str = "SELECT n.id, n.body FROM notes n WHERE n.id {in each} ORDER BY n.id";

type Whole = (i64, String, Option<i64>, Option<Vec<u8>>);

fn whole(row: &Row<'_>) -> Result<Whole> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// Notes with these numbers; every second has neither size nor bytes.
async fn insert_notes(tx: &mut Tx, ids: &[i64]) -> Result<u64> {
    let texts: Vec<String> = ids.iter().map(i64::to_string).collect();
    let columns = [
        Column::ints(ids.iter().copied()),
        Column::texts(texts.iter().map(String::as_str)),
        Column::ints(ids.iter().map(|id| (id % 2 == 0).then_some(id + 1))),
        Column::blobs(
            ids.iter()
                .zip(&texts)
                .map(|(id, text)| (id % 2 == 0).then_some(text.as_bytes())),
        ),
    ];
    tx.execute_rows(INSERT_ALL, &columns).await
}

async fn first_notes(store: &Store, count: i64) {
    let ids: Vec<i64> = (1..=count).collect();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(
        insert_notes(&mut tx, &ids).await,
        Ok(count.unsigned_abs()),
        "{count} rows"
    );
    tx.commit().await.unwrap();
}

async fn lock(tx: &mut Tx, ids: &[i64]) -> Result<Vec<i64>> {
    tx.lock_rows(LOCK, &[Column::ints(ids.iter().copied())], |row| row.get(0))
        .await
}

#[tokio::test]
async fn no_row_one_row_and_a_thousand_are_inserted() {
    for count in [0, 1, 1_000] {
        on_each_engine(async |store| {
            first_notes(&store, count).await;
            let mut tx = store.read().await.unwrap();
            let found = tx.fetch_all(ALL, &[], whole).await.unwrap();
            let expected: Vec<Whole> = (1..=count)
                .map(|id| {
                    let even = id % 2 == 0;
                    let raw = id.to_string().into_bytes();
                    let size = even.then_some(id + 1);
                    (id, id.to_string(), size, even.then_some(raw))
                })
                .collect();
            assert_eq!(found, expected);
        })
        .await;
    }
}

#[tokio::test]
async fn values_missing_in_every_row_keep_their_kind() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        let columns = [
            Column::ints([1, 2]),
            Column::texts(["积分 ' $1 {each}", ""]),
            Column::ints([None::<i64>, None]),
            Column::blobs([None::<&[u8]>, None]),
        ];
        assert_eq!(tx.execute_rows(INSERT_ALL, &columns).await, Ok(2));
        let missing = tx
            .fetch_rows(
                "SELECT $1, $2, $3 FROM {each} (SELECT 1) one",
                &[
                    Column::ints([None::<i64>, Some(7)]),
                    Column::texts([None::<&str>, Some("seven")]),
                    Column::blobs([None::<&[u8]>, Some(&[7])]),
                ],
                |row| {
                    Ok((
                        row.get::<Option<i64>>(0)?,
                        row.get::<Option<String>>(1)?,
                        row.get::<Option<Vec<u8>>>(2)?,
                    ))
                },
            )
            .await
            .unwrap();
        let seven = (Some(7), Some("seven".to_owned()), Some(vec![7]));
        assert_eq!(missing, [(None, None, None), seven]);
        let notes = tx.fetch_all(ALL, &[], whole).await.unwrap();
        let body = "积分 ' $1 {each}".to_owned();
        assert_eq!(
            notes,
            [(1, body, None, None), (2, String::new(), None, None)]
        );
    })
    .await;
}

const RENAME: &str = "UPDATE notes SET body = $1 {from each} WHERE notes.id = $2";

fn rename<'a>(body: &'a str, ids: &[i64]) -> RowStatement<'a> {
    RowStatement {
        sql: RENAME,
        columns: vec![
            Column::texts(ids.iter().map(|_| body)),
            Column::ints(ids.iter().copied()),
        ],
    }
}

fn new_note(id: i64) -> RowStatement<'static> {
    RowStatement {
        sql: INSERT_ALL,
        columns: vec![
            Column::ints([id]),
            Column::texts(["new"]),
            Column::ints([None::<i64>]),
            Column::blobs([None::<&[u8]>]),
        ],
    }
}

#[tokio::test]
async fn statements_in_one_round_trip_see_what_those_before_them_did() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        let statements = [
            new_note(1),
            rename("nobody", &[]),
            rename("one", &[1, 2]),
            new_note(2),
            rename("both", &[1, 2]),
        ];
        assert_eq!(tx.execute_all(&statements).await, Ok(vec![1, 0, 1, 1, 2]));
        assert_eq!(tx.execute_all(&[]).await, Ok(vec![]));
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["both", "both"]);
    })
    .await;
}

#[tokio::test]
async fn of_statements_in_one_round_trip_the_first_that_fails_is_told() {
    on_each_engine(async |store| {
        first_notes(&store, 2).await;
        let mut tx = store.begin().await.unwrap();
        let statements = [rename("one", &[1]), new_note(2), rename("two", &[2])];
        let taken = Error::Unique {
            constraint: "notes_pkey".to_owned(),
        };
        assert_eq!(tx.execute_all(&statements).await, Err(taken));
        assert_eq!(tx.execute_all(&statements).await, Err(Error::Aborted));
        drop(tx);
        assert_eq!(bodies(&store).await, ["1", "2"]);
    })
    .await;
}

#[tokio::test]
async fn each_row_updates_its_own() {
    on_each_engine(async |store| {
        first_notes(&store, 4).await;
        let mut tx = store.begin().await.unwrap();
        let changed = tx
            .execute_rows(
                "UPDATE notes SET body = $1, size = COALESCE(notes.size, 0) + $2 {from each} WHERE notes.id = $3",
                &[
                    Column::texts(["one", "four", "nobody"]),
                    Column::ints([10, 40, 90]),
                    Column::ints([1, 4, 9]),
                ],
            )
            .await;
        assert_eq!(changed, Ok(2));
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["one", "2", "3", "four"]);
        let mut tx = store.read().await.unwrap();
        let sizes = tx
            .fetch_all("SELECT size FROM notes WHERE size > 9 ORDER BY id", &[], |row| {
                row.get::<i64>(0)
            })
            .await;
        assert_eq!(sizes, Ok(vec![10, 45]));
    })
    .await;
}

#[tokio::test]
async fn what_exists_already_is_passed_over_where_the_statement_says_so() {
    on_each_engine(async |store| {
        first_notes(&store, 2).await;
        let mut tx = store.begin().await.unwrap();
        let inserted = tx
            .fetch_rows(
                "INSERT INTO notes (id, body) SELECT $1, $2 {from each} WHERE true
                 ON CONFLICT (id) DO NOTHING RETURNING id",
                &[
                    Column::ints([2, 3, 1, 4]),
                    Column::texts(["b", "c", "a", "d"]),
                ],
                |row| row.get::<i64>(0),
            )
            .await;
        assert_eq!(inserted, Ok(vec![3, 4]));
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["1", "2", "c", "d"]);
    })
    .await;
}

#[tokio::test]
async fn a_query_is_answered_for_each_row() {
    on_each_engine(async |store| {
        first_notes(&store, 6).await;
        let mut tx = store.read().await.unwrap();
        let below = tx
            .fetch_rows(
                "SELECT $1, e.id FROM {each}
                     (SELECT n.id FROM notes n WHERE n.id < $2 ORDER BY n.id DESC LIMIT 2) e
                 ORDER BY 1, 2",
                &[Column::texts(["a", "b", "c"]), Column::ints([3, 1, 6])],
                |row| Ok((row.get::<String>(0)?, row.get::<i64>(1)?)),
            )
            .await
            .unwrap();
        let below: Vec<(&str, i64)> = below.iter().map(|(name, id)| (&**name, *id)).collect();
        assert_eq!(below, [("a", 1), ("a", 2), ("c", 4), ("c", 5)]);
        let listed = tx
            .fetch_rows(LOCK, &[Column::ints([2, 5, 7])], |row| row.get::<i64>(0))
            .await;
        assert_eq!(listed, Ok(vec![2, 5]));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_asked_of_the_database_for_no_rows() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        let none = || [Column::ints([None::<i64>; 0])];
        let nowhere = "UPDATE nowhere SET x = $1 {from each}";
        assert_eq!(tx.execute_rows(nowhere, &none()).await, Ok(0));
        let fetched = tx
            .fetch_rows("SELECT x FROM nowhere WHERE x {in each}", &none(), |row| {
                row.get::<i64>(0)
            })
            .await;
        assert_eq!(fetched, Ok(vec![]));
        assert_eq!(lock(&mut tx, &[]).await, Ok(vec![]));
        assert_eq!(insert(&mut tx, 1, "usable").await, Ok(1));
        tx.commit().await.unwrap();
        assert_eq!(bodies(&store).await, ["usable"]);
    })
    .await;
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_fails_all_of_them() {
    on_each_engine(async |store| {
        first_notes(&store, 1).await;
        for (ids, sizes, expected) in [
            (
                [2, 1, 3],
                [1, 1, 1],
                Error::Unique {
                    constraint: "notes_pkey".to_owned(),
                },
            ),
            (
                [2, 3, 4],
                [1, 1, 0],
                Error::Check {
                    constraint: "notes_size_positive".to_owned(),
                },
            ),
        ] {
            let mut tx = store.begin().await.unwrap();
            insert(&mut tx, 9, "before").await.unwrap();
            let failed = tx
                .execute_rows(
                    "INSERT INTO notes (id, body, size) SELECT $1, 'x' || $2, $3 {from each}",
                    &[
                        Column::ints(ids),
                        Column::texts(["a", "b", "c"]),
                        Column::ints(sizes),
                    ],
                )
                .await;
            assert_eq!(failed, Err(expected));
            assert_eq!(insert_notes(&mut tx, &[5]).await, Err(Error::Aborted));
            assert_eq!(insert_notes(&mut tx, &[]).await, Err(Error::Aborted));
            assert_eq!(tx.commit().await, Err(Error::Aborted));
            assert_eq!(bodies(&store).await, ["1"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_mapping_that_fails_ends_the_transaction() {
    on_each_engine(async |store| {
        first_notes(&store, 3).await;
        let mut tx = store.begin().await.unwrap();
        let read = tx
            .fetch_rows(LOCK, &[Column::ints([1, 2, 3])], |row| row.get::<i64>(1))
            .await;
        assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
        assert_eq!(insert(&mut tx, 9, "late").await, Err(Error::Aborted));
        drop(tx);
        write(&store, 4, "after").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn columns_of_different_lengths_are_refused() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        let refused = tx
            .execute_rows(
                "INSERT INTO notes (id, body) SELECT $1, $2 {from each}",
                &[Column::ints([1, 2]), Column::texts(["a"])],
            )
            .await;
        assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_reader_refuses_to_write_and_to_lock_rows() {
    on_each_engine(async |store| {
        let mut reader = store.read().await.unwrap();
        let written = insert_notes(&mut reader, &[1]).await;
        assert!(matches!(written, Err(Error::Database(_))), "{written:?}");
        let locked = lock(&mut reader, &[1]).await;
        assert!(matches!(locked, Err(Error::Database(_))), "{locked:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_locked_in_order_never_deadlock() {
    on_each_engine(async |store| {
        first_notes(&store, 20).await;
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..4_i64 {
            let store = store.store();
            workers.spawn(async move {
                for round in 0..25 {
                    // PostgreSQL orders what it locks, whatever the order of the numbers.
                    let mut ids: Vec<i64> = (1..=20).filter(|id| (id + round) % 3 > 0).collect();
                    if store.engine() == Engine::Postgres && worker % 2 == 0 {
                        ids.reverse();
                    }
                    let mut tx = store.begin().await?;
                    let locked = lock(&mut tx, &ids).await?;
                    assert!(locked.is_sorted());
                    assert_eq!(locked.len(), ids.len());
                    tx.execute_rows(
                        "UPDATE notes SET size = COALESCE(notes.size, 0) + $1 {from each} WHERE notes.id = $2",
                        &[Column::ints(ids.iter().map(|_| 1)), Column::ints(ids.iter().copied())],
                    )
                    .await?;
                    tx.commit().await?;
                }
                Ok::<_, Error>(())
            });
        }
        for outcome in workers.join_all().await {
            assert_eq!(outcome, Ok(()));
        }
        let mut tx = store.read().await.unwrap();
        let total = tx
            .fetch_optional(
                "SELECT CAST(SUM(size) AS BIGINT) FROM notes",
                &[],
                |row| row.get::<i64>(0),
            )
            .await
            .unwrap();
        // Sizes were 3, 5 … 21 for the even ones; two thirds of the notes grew in every round.
        let rounds: i64 = (0..25)
            .map(|round| (1..=20).filter(|id| (id + round) % 3 > 0).count())
            .sum::<usize>()
            .try_into()
            .unwrap();
        assert_eq!(total, Some(120 + 4 * rounds));
    })
    .await;
}

#[tokio::test]
async fn a_row_that_is_locked_is_waited_for() {
    let store = scratch(Engine::Postgres).await;
    first_notes(&store, 3).await;
    let mut first = store.begin().await.unwrap();
    assert_eq!(lock(&mut first, &[1, 3]).await, Ok(vec![1, 3]));
    let mut second = store.begin().await.unwrap();
    {
        let mut waiting = pin!(lock(&mut second, &[2, 3]));
        // Until the server says that it waits for the lock.
        let blocked = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted";
        let mut observer = store.read().await.unwrap();
        loop {
            assert_eq!(start(waiting.as_mut()).await, None);
            let count = observer
                .fetch_optional(blocked, &[], |row| row.get::<i64>(0))
                .await;
            if count.unwrap() > Some(0) {
                break;
            }
        }
        first.commit().await.unwrap();
        assert_eq!(waiting.await, Ok(vec![2, 3]));
    }
    second.commit().await.unwrap();
}

#[tokio::test]
async fn positions_rise_and_are_never_given_twice() {
    on_each_engine(async |store| {
        let mut tx = store.begin().await.unwrap();
        tx.execute("CREATE TABLE entries (position BIGINT NOT NULL)", &[])
            .await
            .unwrap();
        if store.engine() == Engine::Postgres {
            tx.execute("CREATE SEQUENCE entry_positions", &[])
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let mut given = Vec::new();
        for count in [3, 0, 1_000, 1] {
            let mut tx = store.begin().await.unwrap();
            for _ in 0..2 {
                let positions = tx.next_positions(count).await.unwrap();
                assert_eq!(i64::try_from(positions.len()), Ok(count));
                given.extend(&positions);
            }
            tx.execute_rows(
                "INSERT INTO entries (position) SELECT $1 {from each}",
                &[Column::ints(given.last().copied())],
            )
            .await
            .unwrap();
            tx.commit().await.unwrap();
        }
        assert!(given.is_sorted_by(|a, b| a < b));
        assert_eq!(given.first(), Some(&1));
        assert_eq!(given.len(), 2_008);
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "numbered in order of first use")]
async fn a_statement_with_columns_out_of_order_is_found_in_tests() {
    let store = scratch(Engine::Sqlite).await;
    let mut tx = store.begin().await.unwrap();
    let sql = "INSERT INTO notes (body, id) SELECT $2, $1 {from each}";
    let columns = [Column::ints([1]), Column::texts(["a"])];
    tx.execute_rows(sql, &columns).await.unwrap();
}
