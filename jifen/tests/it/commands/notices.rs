//! `jifen notices`.

use crate::world::{World, on_both_engines};

on_both_engines!(a_notice_is_shown_in_its_time);

async fn shown(world: &World) -> serde_json::Value {
    world.get("/api/v1/system/notice").send().await.body["data"].clone()
}

async fn a_notice_is_shown_in_its_time(world: World) {
    assert_eq!(world.jifen(&["notices", "list"]).await.text(), "none\n");
    let add = [
        "notices",
        "add",
        "今晚升级",
        "--from",
        "2026-01-15T12:30:00+08:00",
        "--until",
        "2026-01-15T13:00:00+08:00",
    ];
    let added = world.jifen_json(&add).await;
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(
        added,
        serde_json::json!({
            "id": id, "from": "2026-01-15T04:30:00Z", "until": "2026-01-15T05:00:00Z", "content": "今晚升级",
        })
    );
    assert!(
        !shown(&world).await.to_string().contains("今晚升级"),
        "not yet"
    );
    world.clock.advance_seconds(1_800);
    assert!(shown(&world).await.to_string().contains("今晚升级"));
    assert_eq!(world.jifen_json(&["notices", "list"]).await[0], added);
    assert!(
        world
            .jifen(&["notices", "list"])
            .await
            .text()
            .contains("今晚升级")
    );
    assert_eq!(
        world.jifen(&["notices", "remove", &id]).await.text(),
        "removed\n"
    );
    assert!(!shown(&world).await.to_string().contains("今晚升级"));

    for (arguments, reason) in [
        (vec!["notices", "remove", id.as_str()], "no such notice"),
        (
            vec!["notices", "add", "x", "--until", "tomorrow"],
            "\"tomorrow\" is not a moment such as 2026-01-31T06:00:00+08:00",
        ),
        (
            vec![
                "notices",
                "add",
                "x",
                "--from",
                "2026-01-16T00:00:00Z",
                "--until",
                "2026-01-15T00:00:00Z",
            ],
            "later than the start",
        ),
        (
            vec!["notices", "add", "x", "--until", "2020-01-01T00:00:00Z"],
            "later than the start",
        ),
        (
            vec!["notices", "add", "", "--until", "2099-01-01T00:00:00Z"],
            "content",
        ),
        (
            vec!["notices", "add", "a\nb", "--until", "2099-01-01T00:00:00Z"],
            "content",
        ),
        (vec!["notices", "add", "x"], "--until"),
    ] {
        let ran = world.jifen(&arguments).await;
        assert!(
            ran.error().contains(reason),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
}
