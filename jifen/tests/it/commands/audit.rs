//! `jifen audit`.

use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(a_ledger_that_adds_up_is_told_apart_from_one_that_does_not);

async fn a_ledger_that_adds_up_is_told_apart_from_one_that_does_not(world: World) {
    world
        .jifen_json(&["users", "grant", "10001", "50", "--reason", "x"])
        .await;
    let clean = world.jifen_json(&["audit"]).await;
    assert_eq!(clean["findings"], json!([]));
    assert!(
        clean["entries"] == 1 && clean["accounts"].as_i64().unwrap() >= 1,
        "{clean}"
    );
    let words = world.jifen(&["audit"]).await;
    assert!(
        words.text().ends_with("1 entries: 0 differences\n"),
        "{}",
        words.stdout
    );

    world
        .raw("UPDATE accounts SET balance = 51 WHERE id = 10001")
        .await;
    let corrupted = world.jifen(&["audit"]).await;
    assert_eq!((corrupted.code, corrupted.stderr.as_str()), (1, ""));
    assert!(
        corrupted.stdout.contains("  - account 10001: "),
        "{}",
        corrupted.stdout
    );
    let corrupted = world.jifen(&["audit", "--json"]).await;
    assert_eq!(corrupted.code, 1);
    let report: serde_json::Value = serde_json::from_str(&corrupted.stdout).unwrap();
    assert!(
        report["findings"][0]
            .as_str()
            .unwrap()
            .starts_with("account 10001: "),
        "{report}"
    );
}
