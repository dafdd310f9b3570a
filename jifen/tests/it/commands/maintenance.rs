//! `jifen maintenance`.

use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(the_running_mall_closes_and_opens);

async fn the_running_mall_closes_and_opens(world: World) {
    let status = async || {
        world.clock.advance_seconds(1);
        world
            .get("/api/v1/points/packages")
            .token(&world.log_in_again().await)
            .send()
            .await
            .status
    };
    assert_eq!(status().await, 200);
    assert_eq!(
        world.jifen(&["maintenance", "status"]).await.text(),
        "the mall is open\n"
    );
    assert_eq!(
        world.jifen(&["maintenance", "end"]).await.text(),
        "the mall was open already\n"
    );

    let start = [
        "maintenance",
        "start",
        "--message",
        "升级",
        "--until",
        "2026-01-15T14:00:00+08:00",
        "--stop-charges",
    ];
    assert_eq!(world.jifen(&start).await.text(), "the mall is closed\n");
    assert_eq!(status().await, 503, "within a second");
    let told = world.jifen_json(&["maintenance", "status"]).await;
    assert_eq!(
        told,
        json!({ "maintenance": true, "message": "升级", "until": "2026-01-15T06:00:00Z", "chargesStopped": true })
    );
    let charge = world
        .charge(&world.gateway().await, "1", "jf_live_x", 1)
        .await;
    assert_eq!(charge.body["code"], "maintenance", "{}", charge.text);

    assert_eq!(
        world
            .jifen_json(&["maintenance", "start", "--message", "again"])
            .await,
        json!({ "maintenance": true })
    );
    let words = world.jifen(&["maintenance", "status"]).await;
    assert_eq!(
        words.text(),
        "the mall is closed: again (expected end unknown; charges go on)\n",
        "the last word counts"
    );
    assert_eq!(
        world.jifen(&["maintenance", "end"]).await.text(),
        "the mall is open\n"
    );
    assert_eq!(status().await, 200);

    for (arguments, reason) in [
        (vec!["maintenance", "start"], "--message"),
        (vec!["maintenance", "start", "--message", " "], "message"),
        (
            vec!["maintenance", "start", "--message", "x", "--until", "soon"],
            "is not a moment",
        ),
    ] {
        let ran = world.jifen(&arguments).await;
        assert!(
            ran.error().contains(reason),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    assert_eq!(status().await, 200);
}

impl World {
    /// A session, made without the mall, which may be closed.
    async fn log_in_again(&self) -> crate::world::Token {
        let login = self
            .sandbox_post("/people/xiaoming/login-code", &json!({}))
            .await;
        let signed_in = self
            .app
            .wechat_login(login["code"].as_str().unwrap(), None)
            .await
            .unwrap();
        crate::world::Token(signed_in.token.token)
    }
}
