//! Migrations are applied once, in order, and only when what was applied before is known.

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
