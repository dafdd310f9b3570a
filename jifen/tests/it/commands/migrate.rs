//! `jifen migrate`.

use jifen_store::Engine;
use jifen_store::testing::bare;
use serde_json::json;

use super::shell::jifen;
use crate::world::database_url;

#[tokio::test]
async fn an_empty_database_is_brought_up_to_date_and_then_left_alone() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let store = bare(engine).await;
        let url = database_url(store.config());
        let settings = [("JIFEN__DATABASE__URL", url.as_str())];
        for _ in 0..2 {
            let ran = jifen(&settings, &["migrate"]).await;
            assert!(ran.text().ends_with("is up to date\n"), "{}", ran.stdout);
        }
        assert_eq!(
            jifen(&settings, &["audit", "--json"]).await.json()["findings"],
            json!([])
        );
        assert!(
            jifen(&settings, &["migrate", "--json"])
                .await
                .json()
                .is_object(),
            "programs are answered in JSON"
        );
    }
}

#[tokio::test]
async fn two_nodes_that_start_at_once_do_not_migrate_against_each_other() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let store = bare(engine).await;
        let url = database_url(store.config());
        let settings = [("JIFEN__DATABASE__URL", url.as_str())];
        let (first, second, third) = tokio::join!(
            jifen(&settings, &["migrate"]),
            jifen(&settings, &["migrate"]),
            jifen(&settings, &["migrate"])
        );
        for ran in [first, second, third] {
            assert!(ran.text().ends_with("is up to date\n"), "{}", ran.stdout);
        }
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_without_its_password() {
    let settings = [(
        "JIFEN__DATABASE__URL",
        "postgres://mall:hunter2hunter2@127.0.0.1:9/mall",
    )];
    let ran = jifen(&settings, &["migrate"]).await;
    assert!(
        ran.error()
            .contains("database.url: PostgreSQL 127.0.0.1/mall"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let ran = jifen(
        &[("JIFEN__DATABASE__URL", "/proc/nowhere/jifen.db")],
        &["migrate"],
    )
    .await;
    assert!(ran.error().contains("/proc/nowhere"), "{}", ran.stderr);
}
