//! `jifen audit`.

use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(
    a_ledger_that_adds_up_is_told_apart_from_one_that_does_not,
    one_account_is_audited_by_itself,
);

async fn a_ledger_that_adds_up_is_told_apart_from_one_that_does_not(world: World) {
    world
        .jifen_json(&["users", "grant", "10001", "50", "--reason", "x"])
        .await;
    let clean = world.jifen_json(&["audit"]).await;
    assert_eq!(
        (&clean["findings"], &clean["differences"]),
        (&json!([]), &json!(0))
    );
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
    let line =
        "  - account 10001: accounts, the row: it says a balance of 51, its entries make it 50\n";
    assert!(corrupted.stdout.starts_with(line), "{}", corrupted.stdout);
    assert!(
        corrupted.stdout.ends_with("1 entries: 1 differences\n"),
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
            .starts_with("account 10001: accounts, the row: "),
        "{report}"
    );
}

async fn one_account_is_audited_by_itself(world: World) {
    for user in ["10001", "10002"] {
        world
            .jifen_json(&["users", "grant", user, "50", "--reason", "x"])
            .await;
    }
    world
        .raw("UPDATE lots SET remaining = 49 WHERE account_id = 10002")
        .await;
    let sound = world.jifen(&["audit", "--account", "10001"]).await;
    assert_eq!(
        (sound.code, sound.text()),
        (0, "1 accounts, 1 entries: 0 differences\n")
    );
    let broken = world.jifen(&["audit", "--account", "10002"]).await;
    assert_eq!(broken.code, 1);
    assert!(
        broken.stdout.contains("account 10002: lots, lot 1: "),
        "{}",
        broken.stdout
    );
    let nobody = world.jifen(&["audit", "--account", "-10001"]).await;
    assert_ne!(nobody.code, 0);
    assert!(
        nobody.stderr.contains("there is no account -10001"),
        "{}",
        nobody.stderr
    );
}
