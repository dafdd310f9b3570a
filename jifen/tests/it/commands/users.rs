//! `jifen users`.

use jifen_store::Engine;
use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(points_are_given_once_a_key);

async fn points_are_given_once_a_key(world: World) {
    let grant = [
        "users",
        "grant",
        "10001",
        "50",
        "--reason",
        "赔偿 故障",
        "--key",
        "outage-1",
    ];
    for _ in 0..3 {
        assert_eq!(
            world.jifen_json(&grant).await,
            json!({ "user": "10001", "balance": 50 })
        );
    }
    let more = world
        .jifen(&[
            "users", "grant", "10001", "10", "--reason", "thanks", "--days", "30",
        ])
        .await;
    assert_eq!(more.text(), "given; user 10001 can spend 60 points\n");
    world
        .jifen_json(&[
            "users", "grant", "10001", "10", "--reason", "thanks", "--days", "30",
        ])
        .await;

    let shown = world.jifen_json(&["users", "show", "10001"]).await;
    assert_eq!(
        (&shown["id"], &shown["nickname"], &shown["points"]),
        (&json!("10001"), &json!("小明"), &json!(70))
    );
    assert!(
        shown["next_expiry"].is_string()
            && shown["phone_bound"] == false
            && shown["merged"] == json!([]),
        "{shown}"
    );
    for (arguments, reason) in [
        (
            vec![
                "users", "grant", "10001", "51", "--reason", "x", "--key", "outage-1",
            ],
            "another gift",
        ),
        (
            vec![
                "users", "grant", "10002", "50", "--reason", "x", "--key", "outage-1",
            ],
            "another gift",
        ),
        (
            vec!["users", "grant", "99999", "50", "--reason", "x"],
            "no such user",
        ),
        (
            vec!["users", "grant", "somebody", "50", "--reason", "x"],
            "\"somebody\" is not a user id",
        ),
        (
            vec!["users", "grant", "10001", "0", "--reason", "x"],
            "points",
        ),
        (
            vec!["users", "grant", "10001", "1000000000001", "--reason", "x"],
            "points",
        ),
        (vec!["users", "grant", "10001", "-5", "--reason", "x"], "-5"),
        (
            vec!["users", "grant", "10001", "5", "--reason", " "],
            "reason",
        ),
        (vec!["users", "grant", "10001", "5"], "--reason"),
        (
            vec![
                "users", "grant", "10001", "5", "--reason", "x", "--days", "0",
            ],
            "days",
        ),
        (
            vec!["users", "grant", "10001", "5", "--reason", "x", "--key", ""],
            "key",
        ),
        (vec!["users", "show", "99999"], "no such user"),
        (vec!["users", "show", "abc"], "is not a user id"),
    ] {
        let ran = world.jifen(&arguments).await;
        assert!(
            ran.error().contains(reason),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    assert_eq!(
        world.jifen_json(&["users", "show", "10001"]).await["points"],
        70
    );
    assert_eq!(world.jifen_json(&["audit"]).await["findings"], json!([]));
}

#[tokio::test]
async fn users_are_listed_page_by_page_and_shown_with_their_orders() {
    let world = World::start(Engine::Sqlite).await;
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let listed = world.jifen_json(&["users", "list"]).await;
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["id"].as_str().unwrap())
        .collect();
    assert_eq!((ids.len(), &ids[..2]), (3, &["10001", "10002"][..]));
    let second = world
        .jifen_json(&["users", "list", "--after", "10001", "--most", "1"])
        .await;
    assert_eq!(
        (second[0]["id"].as_str(), second.as_array().unwrap().len()),
        (Some("10002"), 1)
    );
    let table = world.jifen(&["users", "list"]).await;
    assert!(
        table.text().starts_with("USER ") && table.stdout.contains("小红"),
        "{}",
        table.stdout
    );

    let shown = world.jifen(&["users", "show", ids[2]]).await;
    assert!(
        shown.text().contains("nickname")
            && shown.stdout.contains(order["orderId"].as_str().unwrap()),
        "{}",
        shown.stdout
    );
    let person = world.sandbox_get("/people/xiaoming").await;
    for secret in ["mini_program_openid", "unionid", "phone"] {
        assert!(
            !shown.stdout.contains(person[secret].as_str().unwrap()),
            "{secret} is shown: {}",
            shown.stdout
        );
    }
}
