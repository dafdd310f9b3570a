//! `jifen packages`.

use jifen_store::Engine;
use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(what_the_operator_sells_is_what_the_mall_shows);

/// `(id, price, originalPrice)` of what is on sale, as the mall says.
async fn on_sale(world: &World) -> Vec<(String, i64, i64)> {
    let token = world.log_in("xiaoming").await;
    let answer = world
        .get("/api/v1/points/packages")
        .token(&token)
        .send()
        .await;
    let packages = answer.body["data"]["packages"].as_array().unwrap().clone();
    let price = |package: &serde_json::Value, member: &str| package[member].as_i64().unwrap();
    let line = |package: &serde_json::Value| {
        (
            package["id"].as_str().unwrap().to_owned(),
            price(package, "price"),
            price(package, "originalPrice"),
        )
    };
    packages.iter().map(line).collect()
}

async fn what_the_operator_sells_is_what_the_mall_shows(world: World) {
    let before = on_sale(&world).await;
    let listed = world.jifen_json(&["packages", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), before.len());
    assert_eq!(listed[0]["id"], before[0].0);

    let added = world
        .jifen_json(&[
            "packages",
            "add",
            "gift-5",
            "--name",
            "小包",
            "--points",
            "5",
            "--price",
            "50",
            "--position=-1",
            "--days",
            "7",
            "--hot",
            "true",
        ])
        .await;
    assert_eq!(
        added,
        json!({
            "id": "gift-5", "name": "小包", "points": 5, "price_fen": 50, "original_price_fen": 50, "discount_percent": 0,
            "hot": true, "on_sale": true, "position": -1, "days": 7, "description": "",
        })
    );
    assert_eq!(
        on_sale(&world).await[0],
        ("gift-5".to_owned(), 50, 50),
        "first, as its position says"
    );

    let changed = world
        .jifen_json(&[
            "packages",
            "change",
            "gift-5",
            "--original-price",
            "100",
            "--price",
            "60",
            "--days",
            "0",
        ])
        .await;
    assert_eq!(
        (
            &changed["price_fen"],
            &changed["original_price_fen"],
            &changed["discount_percent"]
        ),
        (&json!(60), &json!(100), &json!(40))
    );
    assert_eq!(changed["days"], json!(null), "for ever");
    assert_eq!(on_sale(&world).await[0], ("gift-5".to_owned(), 60, 100));

    world.jifen_json(&["packages", "off-sale", "gift-5"]).await;
    assert_eq!(on_sale(&world).await, before);
    assert!(
        world
            .jifen(&["packages", "list"])
            .await
            .text()
            .contains("gift-5"),
        "the operator still sees it"
    );
    assert_eq!(
        world.jifen_json(&["packages", "on-sale", "gift-5"]).await["on_sale"],
        true
    );
    assert_eq!(on_sale(&world).await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_list_is_a_table_for_people() {
    let world = World::start(Engine::Sqlite).await;
    let listed = world.jifen(&["packages", "list"]).await;
    let lines: Vec<&str> = listed.text().lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("ID") && lines[0].contains("YUAN") && lines[0].ends_with("POSITION"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("100001 ")
            && lines[1].contains(" 1.68 ")
            && lines[1].contains(" 2.00 "),
        "{}",
        lines[1]
    );
    assert!(
        lines[4].contains("for ever") && lines[4].contains("128.00"),
        "{}",
        lines[4]
    );
}

#[tokio::test]
async fn a_package_that_makes_no_sense_is_refused_with_the_reason() {
    let world = World::start(Engine::Sqlite).await;
    let add = [
        "packages", "add", "new", "--name", "n", "--points", "5", "--price", "50",
    ];
    for (arguments, reason) in [
        (
            vec!["packages", "add", "new", "--points", "5", "--price", "50"],
            "name",
        ),
        (
            vec!["packages", "add", "new", "--name", "n", "--price", "50"],
            "points",
        ),
        (
            vec!["packages", "add", "new", "--name", "n", "--points", "5"],
            "price",
        ),
        (
            vec![
                "packages", "add", "100001", "--name", "n", "--points", "5", "--price", "50",
            ],
            "already",
        ),
        (
            vec![
                "packages",
                "add",
                "no spaces",
                "--name",
                "n",
                "--points",
                "5",
                "--price",
                "50",
            ],
            "id",
        ),
        ([&add[..], &["--original-price", "49"]].concat(), "price"),
        ([&add[..], &["--days", "36501"]].concat(), "days"),
        ([&add[..], &["--days=-1"]].concat(), "days"),
        (
            vec![
                "packages",
                "add",
                "new",
                "--name",
                "n",
                "--points=-5",
                "--price",
                "50",
            ],
            "--points",
        ),
        (
            vec![
                "packages",
                "add",
                "new",
                "--name",
                "n",
                "--points",
                "5",
                "--price=-50",
            ],
            "--price",
        ),
        (
            vec![
                "packages", "add", "new", "--name", "n", "--points", "0", "--price", "50",
            ],
            "points",
        ),
        (
            vec![
                "packages", "add", "new", "--name", "n", "--points", "5", "--price", "1.68",
            ],
            "1.68",
        ),
        (
            vec![
                "packages", "add", "new", "--name", " ", "--points", "5", "--price", "50",
            ],
            "name",
        ),
        (
            vec!["packages", "change", "unknown", "--price", "1"],
            "no such package",
        ),
        (vec!["packages", "off-sale", "unknown"], "no such package"),
        (vec!["packages", "on-sale"], "ID"),
        (vec!["packages"], ""),
        (vec!["packages", "remove", "100001"], "remove"),
    ] {
        let ran = world.jifen(&arguments).await;
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert!(
            ran.stderr.contains(reason),
            "{arguments:?} does not say {reason:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    assert_eq!(
        world
            .jifen_json(&["packages", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        4
    );
}
