//! Both databases have the same schema, whatever way it was made.

use jifen_store::Engine;
use jifen_store::testing::fresh;

#[tokio::test]
async fn both_databases_have_the_same_columns_indexes_and_constraints() {
    let sqlite = fresh(Engine::Sqlite).await.schema().await;
    let postgres = fresh(Engine::Postgres).await.schema().await;
    assert!(sqlite.len() > 100, "the schema was not read: {sqlite:?}");
    let differing: Vec<&String> = sqlite.symmetric_difference(&postgres).collect();
    assert!(differing.is_empty(), "only one database has {differing:#?}");
}
