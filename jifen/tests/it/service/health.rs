//! `/healthz` and `/readyz`.

use crate::world::{World, on_both_engines};

on_both_engines!(
    a_node_is_ready_as_long_as_its_database_answers,
    health_is_told_in_maintenance_too
);

async fn a_node_is_ready_as_long_as_its_database_answers(world: World) {
    let ask = async |path: &str| {
        let answer = world.get(path).send().await;
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        (answer.status, answer.text)
    };
    assert_eq!(ask("/healthz").await, (200, "alive".to_owned()));
    assert_eq!(ask("/readyz").await, (200, "ready".to_owned()));
    world.raw("ALTER TABLE jobs RENAME TO lost").await;
    let (status, text) = ask("/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(
        text.contains("database") && !text.contains("jobs"),
        "what failed is for the log: {text}"
    );
    assert_eq!(
        ask("/healthz").await,
        (200, "alive".to_owned()),
        "restarting the process would not help"
    );
    world.raw("ALTER TABLE lost RENAME TO jobs").await;
    assert_eq!(ask("/readyz").await, (200, "ready".to_owned()));
}

async fn health_is_told_in_maintenance_too(world: World) {
    let maintenance = jifen_app::Maintenance {
        message: "升级".to_owned(),
        ends_at: None,
        charges_stopped: true,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/",
    ] {
        assert_eq!(world.get(path).send().await.status, 200, "{path}");
    }
}
