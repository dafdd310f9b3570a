//! `/api/v1/auth/wechat-login`.

use jifen_domain::UserId;
use serde_json::json;

use super::{all_at_once, assert_refused, assert_success, everything, received, text};
use crate::world::{World, on_both_engines, on_sqlite};

const LOGIN: &str = "/api/v1/auth/wechat-login";
const NEW_CODE: &str = "code: code 无效或已使用，请重新获取";

on_both_engines!(
    a_login_says_who_somebody_is_and_what_they_have,
    ten_first_logins_at_once_make_one_user,
    a_login_that_wechat_refuses_changes_nothing,
);

on_sqlite!(
    a_code_is_good_for_five_minutes,
    a_login_survives_a_wechat_that_fails_once,
    a_wechat_that_stays_away_is_named_and_asked_a_few_times_only,
    a_code_spent_by_a_broken_connection_must_be_renewed,
    too_many_logins_at_wechat_are_told_when_to_come_back,
    what_the_mall_gives_out_is_not_in_its_database,
);

async fn a_login_says_who_somebody_is_and_what_they_have(world: World) {
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    let first = world
        .post(LOGIN, &json!({ "code": login["code"] }))
        .send()
        .await;
    let (token, user_id) = (
        text(&first.body["data"]["token"]),
        text(&first.body["data"]["userInfo"]["userId"]),
    );
    assert_success(
        &first,
        &json!({
            "token": token,
            "expiresIn": 7200,
            "userInfo": { "userId": user_id, "nickName": "微信用户", "avatarUrl": "" },
            "points": 0,
            "isNewUser": true,
        }),
    );
    assert!(
        token.len() == 43
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{token}"
    );

    super::buy(&world, "xiaoming", "starter-1000").await;
    let again = world.log_in_answer("xiaoming").await;
    assert_ne!(
        again["data"]["token"],
        json!(token),
        "each login has a token of its own"
    );
    assert_eq!(
        again["data"],
        json!({
            "token": again["data"]["token"],
            "expiresIn": 7200,
            "userInfo": { "userId": user_id, "nickName": "微信用户", "avatarUrl": "" },
            "points": 1_000,
            "isNewUser": false,
        })
    );
}

async fn ten_first_logins_at_once_make_one_user(world: World) {
    let before = world.app.list_users(UserId(0), 100).await.unwrap().len();
    let mut logins = Vec::new();
    for _ in 0..10 {
        let login = world
            .sandbox_post("/people/xiaoming/login-code", &json!({}))
            .await;
        logins.push(world.post(LOGIN, &json!({ "code": login["code"] })));
    }
    let answers = all_at_once(logins).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(
            answer.body["data"]["userInfo"],
            answers[0].body["data"]["userInfo"]
        );
    }
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.body["data"]["isNewUser"] == true)
            .count(),
        1
    );
    assert_eq!(
        world.app.list_users(UserId(0), 100).await.unwrap().len(),
        before + 1
    );
}

async fn a_login_that_wechat_refuses_changes_nothing(world: World) {
    let token = world.log_in("xiaohong").await;
    let before = everything(&world, &token).await;
    let log_in =
        async |code: &serde_json::Value| world.post(LOGIN, &json!({ "code": code })).send().await;

    assert_refused(&log_in(&json!("0no-such-code")).await, 422, NEW_CODE);
    assert_refused(&log_in(&json!("🔑")).await, 422, NEW_CODE);
    let appid = jifen_sandbox::Kit::builtin().official_account_appid;
    let foreign = world
        .sandbox_post("/people/xiaoming/login-code", &json!({ "appid": appid }))
        .await;
    assert_refused(&log_in(&foreign["code"]).await, 422, NEW_CODE);
    let phone = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    assert_refused(&log_in(&phone["code"]).await, 422, NEW_CODE);

    world
        .sandbox_patch("/people/xiaoming", &json!({ "login_blocked": true }))
        .await;
    let blocked = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    assert_refused(&log_in(&blocked["code"]).await, 403, "微信已限制该用户登录");
    assert_eq!(everything(&world, &token).await, before);

    let used = world
        .sandbox_post("/people/xiaohong/login-code", &json!({}))
        .await;
    assert_eq!(log_in(&used["code"]).await.status, 200);
    assert_refused(&log_in(&used["code"]).await, 422, NEW_CODE);
    assert_eq!(everything(&world, &token).await, before);
}

async fn a_code_is_good_for_five_minutes(world: World) {
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    world.clock.advance_seconds(301);
    assert_refused(
        &world
            .post(LOGIN, &json!({ "code": login["code"] }))
            .send()
            .await,
        422,
        NEW_CODE,
    );
}

async fn a_login_survives_a_wechat_that_fails_once(world: World) {
    let fault = json!({ "kind": "provider_down", "provider": "mini_program", "count": 1 });
    world.sandbox_post("/faults", &fault).await;
    world.log_in("xiaoming").await;
    assert_eq!(
        received(&world, "mini_program", |request| request
            == "GET /sns/jscode2session")
        .await,
        2
    );
}

async fn a_wechat_that_stays_away_is_named_and_asked_a_few_times_only(world: World) {
    for kind in ["provider_down", "provider_nonsense"] {
        let login = world
            .sandbox_post("/people/xiaoming/login-code", &json!({}))
            .await;
        world.sandbox_delete("/exchanges").await;
        world
            .sandbox_post(
                "/faults",
                &json!({ "kind": kind, "provider": "mini_program" }),
            )
            .await;
        let refused = world
            .post(LOGIN, &json!({ "code": login["code"] }))
            .send()
            .await;
        assert_refused(&refused, 500, "微信暂时不可用，请稍后重试");
        assert_eq!(
            received(&world, "mini_program", |request| request
                == "GET /sns/jscode2session")
            .await,
            3,
            "{kind}"
        );
        world.sandbox_delete("/faults").await;
    }
    assert_eq!(
        world
            .app
            .list_users(UserId(10_002), 100)
            .await
            .unwrap()
            .len(),
        0,
        "nobody was let in"
    );
}

async fn a_code_spent_by_a_broken_connection_must_be_renewed(world: World) {
    let fault =
        json!({ "kind": "provider_closes_connection", "provider": "mini_program", "count": 1 });
    world.sandbox_post("/faults", &fault).await;
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    assert_refused(
        &world
            .post(LOGIN, &json!({ "code": login["code"] }))
            .send()
            .await,
        422,
        NEW_CODE,
    );
    world.log_in("xiaoming").await;
}

async fn too_many_logins_at_wechat_are_told_when_to_come_back(world: World) {
    for _ in 0..100 {
        world.log_in("xiaoming").await;
    }
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    let refused = world
        .post(LOGIN, &json!({ "code": login["code"] }))
        .send()
        .await;
    assert_refused(&refused, 429, "请求过于频繁，请 60 秒后重试");
    assert_eq!(refused.header("retry-after"), "60");
    world.clock.advance_seconds(60);
    world.log_in("xiaoming").await;
}

async fn what_the_mall_gives_out_is_not_in_its_database(world: World) {
    let token = world.log_in("xiaoming").await;
    let refreshed = world
        .post("/api/v1/auth/refresh-token", &json!({}))
        .token(&token)
        .send()
        .await;
    let (id, key) = world.api_key(&token, "a name to be found").await;
    let gateway = world.gateway().await;

    let path = world.database_url();
    let mut stored = Vec::new();
    for file in [path.clone(), format!("{path}-wal")] {
        stored.extend(std::fs::read(file).unwrap_or_default());
    }
    let is_stored = |text: &str| {
        stored
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        is_stored("a name to be found") && is_stored(&id),
        "this is where everything is kept"
    );
    for secret in [
        &token.0,
        &text(&refreshed.body["data"]["token"]),
        &key,
        &gateway.0,
    ] {
        // A prefix may stand there to be shown; half of a secret must not.
        assert!(
            !is_stored(&secret[secret.len() / 2..]),
            "a secret stands in the database"
        );
    }
}
