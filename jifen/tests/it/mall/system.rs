//! `/api/v1/system`, and what maintenance closes.

use jifen_app::Maintenance;
use jifen_domain::Time;
use serde_json::{Value, json};

use super::{NEEDS_SESSION, assert_refused, assert_success, buy};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(
    the_status_is_told_to_everybody,
    maintenance_closes_the_mall_but_not_to_money_and_charges,
    a_notice_is_shown_in_its_time,
);

on_sqlite!(
    maintenance_without_an_end_and_with_charges_stopped,
    maintenance_is_noticed_by_every_node_within_a_second,
    a_broken_database_shows_in_the_status_and_is_not_told_in_detail,
    neither_asks_for_a_token_nor_minds_one,
);

async fn get(world: &World, path: &str) -> Answer {
    world.get(&format!("/api/v1/system/{path}")).send().await
}

fn at(text: &str) -> Time {
    Time::parse_rfc3339(text).unwrap()
}

fn open() -> Value {
    json!({ "apiStatus": "normal", "message": "服务正常", "maintenance": false, "maintenanceEndTime": null })
}

async fn the_status_is_told_to_everybody(world: World) {
    assert_success(&get(&world, "status").await, &open());
    let maintenance = Maintenance {
        message: "数据库升级".to_owned(),
        ends_at: Some(at("2026-01-15T05:30:00Z")),
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    let closed = json!({
        "apiStatus": "normal", "message": "数据库升级", "maintenance": true, "maintenanceEndTime": "2026-01-15T05:30:00Z",
    });
    assert_success(&get(&world, "status").await, &closed);
    assert!(world.app.end_maintenance().await.unwrap());
    assert_success(&get(&world, "status").await, &open());
}

async fn maintenance_closes_the_mall_but_not_to_money_and_charges(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (_, key) = world.api_key(&token, "key").await;
    let order = world.create_order(&token, "100001").await;
    let gateway = world.gateway().await;
    let maintenance = Maintenance {
        message: "数据库升级".to_owned(),
        ends_at: Some(at("2026-01-15T05:30:00Z")),
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();

    let login = ("POST", "/api/v1/auth/wechat-login", r#"{"code":"x"}"#);
    let refresh = ("POST", "/api/v1/auth/refresh-token", "");
    let logout = ("POST", "/api/v1/auth/logout", "");
    for (method, path, body) in NEEDS_SESSION.into_iter().chain([login, refresh, logout]) {
        for request in [
            world.request(method, path).body(body),
            world.request(method, path).body(body).token(&token),
        ] {
            let answer = request.send().await;
            assert_refused(
                &answer,
                503,
                "系统维护中：数据库升级（预计 2026-01-15T05:30:00Z 结束）",
            );
            assert_eq!(answer.header("retry-after"), "5400", "{path}");
        }
    }
    let english = world
        .get("/api/v1/user/info")
        .header("accept-language", "en")
        .send()
        .await;
    assert_refused(
        &english,
        503,
        "in maintenance: 数据库升级 (expected to end at 2026-01-15T05:30:00Z)",
    );

    assert_eq!(
        get(&world, "status").await.body["data"]["maintenance"],
        true
    );
    assert_eq!(get(&world, "notice").await.status, 200);
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;
    assert_eq!(
        world.charge(&gateway, "1", &key, 150).await.body["balance"],
        50
    );
    // Past its expected end it is still closed, until the operator opens it.
    world.clock.advance_seconds(5_400 + 10);
    assert_eq!(
        world
            .get("/api/v1/user/info")
            .token(&token)
            .send()
            .await
            .header("retry-after"),
        "1"
    );

    world.app.end_maintenance().await.unwrap();
    assert_eq!(world.points(&token).await, 50);
    world.assert_audit_is_clean().await;
}

async fn maintenance_without_an_end_and_with_charges_stopped(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (_, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    let maintenance = Maintenance {
        message: "马上回来".to_owned(),
        ends_at: None,
        charges_stopped: true,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    let closed = json!({ "apiStatus": "normal", "message": "马上回来", "maintenance": true, "maintenanceEndTime": null });
    assert_success(&get(&world, "status").await, &closed);
    let answer = world.get("/api/v1/user/info").token(&token).send().await;
    assert_refused(&answer, 503, "系统维护中：马上回来");
    assert_eq!(world.charge(&gateway, "1", &key, 1).await.status, 503);
    world.app.end_maintenance().await.unwrap();
    assert_eq!(
        world.charge(&gateway, "1", &key, 1).await.body["balance"],
        99,
        "the same charge goes through afterwards"
    );
}

async fn maintenance_is_noticed_by_every_node_within_a_second(world: World) {
    let token = world.log_in("xiaoming").await;
    let node = world.another_node().await;
    let status = async || {
        world
            .request_at(&node, "GET", "/api/v1/user/info")
            .token(&token)
            .send()
            .await
            .status
    };
    assert_eq!(status().await, 200);
    let maintenance = Maintenance {
        message: "m".to_owned(),
        ends_at: None,
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    world.clock.advance_seconds(1);
    assert_eq!(status().await, 503);
    world.app.end_maintenance().await.unwrap();
    world.clock.advance_seconds(1);
    assert_eq!(status().await, 200);
}

async fn a_notice_is_shown_in_its_time(world: World) {
    let nothing = json!({ "hasNotice": false, "content": "", "startTime": null, "endTime": null });
    assert_success(&get(&world, "notice").await, &nothing);
    let (starts, ends) = ("2026-01-15T04:00:10Z", "2026-01-15T04:00:20Z");
    let notice = world
        .app
        .add_notice("充值九折 🎉", at(starts), at(ends))
        .await
        .unwrap();
    let shown = json!({ "hasNotice": true, "content": "充值九折 🎉", "startTime": starts, "endTime": ends });
    for (advance_seconds, expected) in [
        (0, &nothing),
        (9, &nothing),
        (1, &shown),
        (9, &shown),
        (1, &nothing),
    ] {
        world.clock.advance_seconds(advance_seconds);
        assert_success(&get(&world, "notice").await, expected);
    }
    let (starts, ends) = ("2026-01-15T04:00:00Z", "2026-01-15T05:00:00Z");
    let long = world
        .app
        .add_notice("第二条", at(starts), at(ends))
        .await
        .unwrap();
    assert_eq!(
        get(&world, "notice").await.body["data"]["content"],
        "第二条"
    );
    world.app.remove_notice(&long.id).await.unwrap();
    world.app.remove_notice(&notice.id).await.unwrap();
    assert_success(&get(&world, "notice").await, &nothing);
}

async fn neither_asks_for_a_token_nor_minds_one(world: World) {
    for path in ["/api/v1/system/status", "/api/v1/system/notice"] {
        for authorization in ["", "Bearer garbage", "Basic abc"] {
            assert_eq!(
                world
                    .get(path)
                    .header("authorization", authorization)
                    .send()
                    .await
                    .status,
                200
            );
        }
    }
    let english = world
        .get("/api/v1/system/status")
        .header("accept-language", "en-US,en;q=0.9")
        .send()
        .await;
    assert_eq!(english.body["data"]["message"], "all is well");
}

async fn a_broken_database_shows_in_the_status_and_is_not_told_in_detail(world: World) {
    let token = world.log_in("xiaoming").await;
    world
        .raw("ALTER TABLE maintenance RENAME TO elsewhere")
        .await;
    world.clock.advance_seconds(1);
    let broken = json!({
        "apiStatus": "error", "message": "服务异常，请稍后重试", "maintenance": false, "maintenanceEndTime": null,
    });
    assert_success(&get(&world, "status").await, &broken);
    assert_refused(
        &world.get("/api/v1/user/info").token(&token).send().await,
        500,
        "服务器内部错误",
    );
    world
        .raw("ALTER TABLE elsewhere RENAME TO maintenance")
        .await;
    world.clock.advance_seconds(1);
    assert_success(&get(&world, "status").await, &open());
    assert_eq!(world.points(&token).await, 0);
}
