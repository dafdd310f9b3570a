//! `/api/v1/api-keys`.

use std::time::Duration;

use jifen_store::Engine;
use serde_json::{Value, json};

use super::{all_at_once, assert_refused, assert_success, buy, everything, text};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

const CREATE: &str = "/api/v1/api-keys/create";
const DELETE: &str = "/api/v1/api-keys/delete";
const UPDATE: &str = "/api/v1/api-keys/update-status";
const NO_SUCH_KEY: &str = "没有这个 API Key";

on_both_engines!(
    a_key_is_told_once_and_listed_without_its_secret,
    months_are_calendar_months_and_six_without_a_wish,
    fifty_keys_are_the_limit_also_for_parallel_calls,
    a_status_counts_at_once,
    an_expired_key_reads_inactive_and_cannot_be_activated,
    deleting_is_final,
);

on_sqlite!(
    a_name_is_trimmed_and_has_one_to_sixty_four_characters,
    the_last_use_is_told
);

async fn send(world: &World, token: &Token, path: &str, body: Value) -> Answer {
    world.post(path, &body).token(token).send().await
}

async fn list(world: &World, token: &Token) -> Value {
    let answer = world.get("/api/v1/api-keys").token(token).send().await;
    assert_success(&answer, &json!({ "list": answer.body["data"]["list"] }));
    answer.body["data"]["list"].clone()
}

async fn a_key_is_told_once_and_listed_without_its_secret(world: World) {
    let token = world.log_in("xiaoming").await;
    assert_eq!(list(&world, &token).await, json!([]));
    let answer = send(
        &world,
        &token,
        CREATE,
        json!({ "name": "production", "expiryMonths": 12 }),
    )
    .await;
    let (id, key) = (
        text(&answer.body["data"]["id"]),
        text(&answer.body["data"]["key"]),
    );
    let mut created = json!({
        "id": id, "name": "production", "status": "active", "createdAt": "2026-01-15T04:00:00Z",
        "expiresAt": "2027-01-15T04:00:00Z", "key": key,
    });
    assert_success(&answer, &created);
    assert!(
        key.starts_with("jf_live_") && key.len() == 42 && !key.contains(&id),
        "{key}"
    );

    world.clock.advance_seconds(1);
    let (second, _) = world.api_key(&token, "test").await;
    created.as_object_mut().unwrap().remove("key");
    created["lastUsedAt"] = json!(null);
    let newest = json!({
        "id": second, "name": "test", "status": "active", "createdAt": "2026-01-15T04:00:01Z",
        "expiresAt": "2026-07-15T04:00:01Z", "lastUsedAt": null,
    });
    assert_eq!(list(&world, &token).await, json!([newest, created]));
    assert_eq!(
        list(&world, &world.log_in("xiaohong").await).await,
        json!([])
    );
}

async fn months_are_calendar_months_and_six_without_a_wish(world: World) {
    world.clock.advance_seconds(16 * 86_400);
    let token = world.log_in("xiaoming").await;
    for (wish, expires_at) in [
        (
            json!({ "name": "k", "expiryMonths": 1 }),
            "2026-02-28T04:00:00Z",
        ),
        (
            json!({ "name": "k", "expiryMonths": 3 }),
            "2026-04-30T04:00:00Z",
        ),
        (
            json!({ "name": "k", "expiryMonths": 6 }),
            "2026-07-31T04:00:00Z",
        ),
        (
            json!({ "name": "k", "expiryMonths": 12 }),
            "2027-01-31T04:00:00Z",
        ),
        (json!({ "name": "k" }), "2026-07-31T04:00:00Z"),
        (
            json!({ "name": "k", "expiryMonths": null }),
            "2026-07-31T04:00:00Z",
        ),
    ] {
        let answer = send(&world, &token, CREATE, wish.clone()).await;
        let data = &answer.body["data"];
        assert_eq!(
            (&data["createdAt"], &data["expiresAt"]),
            (&json!("2026-01-31T04:00:00Z"), &json!(expires_at)),
            "{wish}"
        );
    }
}

async fn a_name_is_trimmed_and_has_one_to_sixty_four_characters(world: World) {
    let token = world.log_in("xiaoming").await;
    let emoji = "🔑".repeat(64);
    let family = "👨‍👩‍👧".repeat(12);
    let padded = format!(" \t{}\u{3000}\n ", "x".repeat(64));
    for (sent, kept) in [
        ("k", "k"),
        ("  我的 钥匙 ", "我的 钥匙"),
        (emoji.as_str(), emoji.as_str()),
        (family.as_str(), family.as_str()),
        (padded.as_str(), &"x".repeat(64)),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("'; DROP TABLE api_keys; --", "'; DROP TABLE api_keys; --"),
    ] {
        let answer = send(&world, &token, CREATE, json!({ "name": sent })).await;
        assert_eq!(
            (answer.status, &answer.body["data"]["name"]),
            (200, &json!(kept)),
            "{}",
            answer.text
        );
    }
    // Two keys may have one name.
    assert_eq!(
        send(&world, &token, CREATE, json!({ "name": "k" }))
            .await
            .status,
        200
    );
    let before = everything(&world, &token).await;
    for (name, message) in [
        ("x".repeat(65), "name: 不能超过 64 个字符"),
        ("🔑".repeat(65), "name: 不能超过 64 个字符"),
        ("a\nb".to_owned(), "name: 不能包含控制字符"),
        ("a\u{7f}b".to_owned(), "name: 不能包含控制字符"),
        ("a\u{85}b".to_owned(), "name: 不能包含控制字符"),
        ("\u{1b}[31m".to_owned(), "name: 不能包含控制字符"),
        (" \u{3000}\u{a0} ".to_owned(), "name: 不能为空"),
    ] {
        assert_refused(
            &send(&world, &token, CREATE, json!({ "name": name })).await,
            422,
            message,
        );
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn fifty_keys_are_the_limit_also_for_parallel_calls(world: World) {
    const TOO_MANY: &str = "name: 最多 50 个 API Key，请先删除不用的";
    let token = world.log_in("xiaoming").await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(world.api_key(&token, &number.to_string()).await.0);
    }
    let body = json!({ "name": "parallel" });
    let answers = all_at_once((0..20).map(|_| world.post(CREATE, &body).token(&token))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        10
    );
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_refused(refused, 422, TOO_MANY);
    }
    assert_eq!(list(&world, &token).await.as_array().unwrap().len(), 50);
    // A key that is off, or expired, is still there; a deleted one makes room.
    send(
        &world,
        &token,
        UPDATE,
        json!({ "id": ids[0], "status": "inactive" }),
    )
    .await;
    assert_refused(
        &send(&world, &token, CREATE, body.clone()).await,
        422,
        TOO_MANY,
    );
    send(&world, &token, DELETE, json!({ "id": ids[0] })).await;
    assert_eq!(send(&world, &token, CREATE, body.clone()).await.status, 200);
    assert_refused(
        &send(&world, &token, CREATE, body.clone()).await,
        422,
        TOO_MANY,
    );
    // Everybody has fifty of their own.
    assert_eq!(
        send(&world, &world.log_in("xiaohong").await, CREATE, body)
            .await
            .status,
        200
    );
}

async fn a_status_counts_at_once(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (id, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    let mut number = 0;
    for (status, charged) in [
        ("inactive", 403),
        ("inactive", 403),
        ("active", 200),
        ("active", 200),
        ("inactive", 403),
        ("active", 200),
    ] {
        assert_success(
            &send(
                &world,
                &token,
                UPDATE,
                json!({ "id": id, "status": status }),
            )
            .await,
            &json!(null),
        );
        assert_eq!(list(&world, &token).await[0]["status"], status);
        number += 1;
        let answer = world.charge(&gateway, &number.to_string(), &key, 1).await;
        assert_eq!(answer.status, charged, "{status}: {}", answer.text);
    }
    assert_eq!(world.points(&token).await, 97);
}

#[tokio::test]
async fn a_status_counts_on_every_node_as_soon_as_it_is_heard_of() {
    let world = World::start(Engine::Postgres).await;
    let node = world.another_node().await;
    let token = world.log_in("xiaoming").await;
    let (id, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    let body = json!({ "apiKey": key, "points": 1, "title": "OCR" }).to_string();
    let charge_there = async || {
        let request = world
            .request_at(&node, "POST", "/api/v2/metering/charges")
            .body(&body);
        let request = request.token(&gateway).header("idempotency-key", "1");
        request.send().await.status
    };
    assert_eq!(charge_there().await, 402, "there are no points");
    for (path, body, expected) in [
        (UPDATE, json!({ "id": id, "status": "inactive" }), 403),
        (UPDATE, json!({ "id": id, "status": "active" }), 402),
        (DELETE, json!({ "id": id }), 422),
    ] {
        assert_success(&send(&world, &token, path, body).await, &json!(null));
        // The clock stands still, so that only the announcement can bring the news.
        tokio::time::timeout(Duration::from_mins(1), async {
            while charge_there().await != expected {}
        })
        .await
        .unwrap();
    }
}

async fn an_expired_key_reads_inactive_and_cannot_be_activated(world: World) {
    let token = world.log_in("xiaoming").await;
    let answer = send(
        &world,
        &token,
        CREATE,
        json!({ "name": "k", "expiryMonths": 1 }),
    )
    .await;
    let (id, key) = (
        text(&answer.body["data"]["id"]),
        text(&answer.body["data"]["key"]),
    );
    world.clock.advance_seconds(31 * 86_400 - 1);
    let token = world.log_in("xiaoming").await;
    assert_eq!(list(&world, &token).await[0]["status"], "active");
    world.clock.advance_seconds(1);
    let token = world.log_in("xiaoming").await;
    assert_eq!(list(&world, &token).await[0]["status"], "inactive");

    let refused = send(
        &world,
        &token,
        UPDATE,
        json!({ "id": id, "status": "active" }),
    )
    .await;
    assert_refused(&refused, 422, "status: API Key 已过期，无法启用");
    assert_eq!(
        world
            .charge(&world.gateway().await, "1", &key, 1)
            .await
            .status,
        403
    );
    assert_success(
        &send(
            &world,
            &token,
            UPDATE,
            json!({ "id": id, "status": "inactive" }),
        )
        .await,
        &json!(null),
    );
    assert_eq!(list(&world, &token).await[0]["status"], "inactive");
    assert_success(
        &send(&world, &token, DELETE, json!({ "id": id })).await,
        &json!(null),
    );
    assert_eq!(list(&world, &token).await, json!([]));
}

async fn deleting_is_final(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (id, key) = world.api_key(&token, "gone").await;
    let (kept, _) = world.api_key(&token, "kept").await;
    assert_success(
        &send(&world, &token, DELETE, json!({ "id": id })).await,
        &json!(null),
    );
    for (path, body) in [
        (DELETE, json!({ "id": id })),
        (UPDATE, json!({ "id": id, "status": "active" })),
        (UPDATE, json!({ "id": id, "status": "inactive" })),
    ] {
        assert_refused(&send(&world, &token, path, body).await, 404, NO_SUCH_KEY);
    }
    let keys = list(&world, &token).await;
    assert_eq!(
        (keys.as_array().unwrap().len(), &keys[0]["id"]),
        (1, &json!(kept))
    );
    assert_eq!(
        world
            .charge(&world.gateway().await, "1", &key, 1)
            .await
            .status,
        422
    );
    assert_eq!(world.points(&token).await, 100);
}

async fn the_last_use_is_told(world: World) {
    let (token, _) = buy(&world, "xiaoming", "100001").await;
    let (id, key) = world.api_key(&token, "used").await;
    world.clock.advance_seconds(1);
    world.api_key(&token, "unused").await;
    let gateway = world.gateway().await;
    let last_used = async || {
        world.do_jobs().await;
        let keys = list(&world, &token).await;
        assert_eq!(
            (&keys[1]["id"], &keys[0]["lastUsedAt"]),
            (&json!(id), &json!(null))
        );
        keys[1]["lastUsedAt"].clone()
    };
    assert_eq!(last_used().await, json!(null));
    assert_eq!(world.charge(&gateway, "1", &key, 1).await.status, 200);
    assert_eq!(last_used().await, json!("2026-01-15T04:00:01Z"));
    world.clock.advance_seconds(60);
    assert_eq!(world.charge(&gateway, "2", &key, 100).await.status, 402);
    assert_eq!(
        last_used().await,
        json!("2026-01-15T04:00:01Z"),
        "a refused charge is no use"
    );
    assert_eq!(world.charge(&gateway, "3", &key, 1).await.status, 200);
    assert_eq!(last_used().await, json!("2026-01-15T04:01:01Z"));
}
