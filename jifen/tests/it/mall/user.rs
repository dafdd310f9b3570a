//! `/api/v1/user`: what the mall knows of the caller, and what they bind to it.

use jifen_app::operator::Gift;
use jifen_domain::UserId;
use serde_json::{Value, json};

use super::{assert_refused, assert_success, received, text};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

const BIND_PHONE: &str = "/api/v1/user/bind-phone";
const BIND_EMAIL: &str = "/api/v1/user/bind-email";
const CONFIRM_EMAIL: &str = "/api/v1/user/confirm-email";

on_both_engines!(
    the_earliest_expiry_among_unspent_points_is_told,
    expired_points_do_not_count_even_before_they_are_swept,
    a_mailed_code_binds_the_address_once,
    five_wrong_codes_spend_the_mail,
);

on_sqlite!(
    a_new_user_has_nothing_and_nothing_expires,
    a_phone_code_binds_once_and_only_its_owner,
    a_phone_cannot_be_bound_while_wechat_is_down,
    somebody_from_the_web_binds_a_phone_too,
    a_mailed_code_is_good_for_fifteen_minutes_and_for_its_user,
    mails_are_a_minute_apart_and_the_last_one_counts,
    what_is_not_an_address_is_not_mailed,
);

async fn info(world: &World, token: &Token) -> Answer {
    world.get("/api/v1/user/info").token(token).send().await
}

async fn user_id(world: &World, token: &Token) -> UserId {
    UserId::parse(&text(
        &info(world, token).await.body["data"]["userInfo"]["userId"],
    ))
    .unwrap()
}

async fn give(world: &World, user: UserId, points: i64, validity_days: Option<i64>) {
    let gift = Gift {
        user,
        points,
        validity_days,
        reason: "test".to_owned(),
        key: None,
    };
    world.app.give_points(&gift).await.unwrap();
}

async fn a_new_user_has_nothing_and_nothing_expires(world: World) {
    let login = world.log_in_answer("xiaoming").await;
    let token = Token(text(&login["data"]["token"]));
    assert_success(
        &info(&world, &token).await,
        &json!({
            "userInfo": {
                "userId": login["data"]["userInfo"]["userId"],
                "nickName": "微信用户",
                "avatarUrl": "",
                "bindingStatus": { "phone": false, "email": false },
            },
            "points": 0,
            "pointsExpiryDate": null,
        }),
    );
}

async fn the_earliest_expiry_among_unspent_points_is_told(world: World) {
    let token = world.log_in("xiaoming").await;
    let user = user_id(&world, &token).await;
    let told = async || {
        let data = info(&world, &token).await.body["data"].clone();
        (
            data["points"].as_i64().unwrap(),
            data["pointsExpiryDate"].clone(),
        )
    };
    give(&world, user, 5, None).await;
    assert_eq!(told().await, (5, json!(null)), "these never expire");
    give(&world, user, 10, Some(365)).await;
    assert_eq!(told().await, (15, json!("2027-01-15T04:00:00Z")));
    give(&world, user, 20, Some(1)).await;
    assert_eq!(told().await, (35, json!("2026-01-16T04:00:00Z")));

    // What expires first is spent first.
    let (_, key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    assert_eq!(world.charge(&gateway, "1", &key, 19).await.status, 200);
    assert_eq!(told().await, (16, json!("2026-01-16T04:00:00Z")));
    assert_eq!(world.charge(&gateway, "2", &key, 1).await.status, 200);
    assert_eq!(told().await, (15, json!("2027-01-15T04:00:00Z")));
    assert_eq!(world.charge(&gateway, "3", &key, 10).await.status, 200);
    assert_eq!(told().await, (5, json!(null)));
    world.assert_audit_is_clean().await;
}

async fn expired_points_do_not_count_even_before_they_are_swept(world: World) {
    let token = world.log_in("xiaoming").await;
    let user = user_id(&world, &token).await;
    give(&world, user, 7, None).await;
    give(&world, user, 100, Some(1)).await;
    let (_, key) = world.api_key(&token, "key").await;

    world.clock.advance_seconds(86_399);
    assert_eq!(world.log_in_answer("xiaoming").await["data"]["points"], 107);
    world.clock.advance_seconds(1);
    // No job has run.
    let login = world.log_in_answer("xiaoming").await;
    assert_eq!(login["data"]["points"], 7);
    let token = Token(text(&login["data"]["token"]));
    let shown = info(&world, &token).await.body["data"].clone();
    assert_eq!(
        (&shown["points"], &shown["pointsExpiryDate"]),
        (&json!(7), &json!(null))
    );
    let gateway = world.gateway().await;
    assert_eq!(world.charge(&gateway, "1", &key, 8).await.status, 402);
    assert_eq!(world.charge(&gateway, "2", &key, 7).await.status, 200);

    world.app.ensure_recurring_jobs().await.unwrap();
    world.do_jobs().await;
    assert_eq!(world.points(&token).await, 0);
    let spent = world
        .get("/api/v1/points/consumption-history")
        .token(&token)
        .send()
        .await;
    assert_eq!(
        (
            &spent.body["data"]["total"],
            &spent.body["data"]["list"][0]["points"]
        ),
        (&json!(1), &json!(7)),
        "what expired was not consumed"
    );
    world.assert_audit_is_clean().await;
}

async fn a_phone_code_binds_once_and_only_its_owner(world: World) {
    const NEW_CODE: &str = "code: code 无效或已使用，请重新获取";
    let token = world.log_in("xiaoming").await;
    let bind = async |code: &Value| {
        world
            .post(BIND_PHONE, &json!({ "code": code }))
            .token(&token)
            .send()
            .await
    };
    let is_bound = async || {
        info(&world, &token).await.body["data"]["userInfo"]["bindingStatus"]["phone"].clone()
    };

    assert_refused(&bind(&json!("no-such-code")).await, 422, NEW_CODE);
    assert_refused(&bind(&json!("🔑\u{1}")).await, 422, NEW_CODE);
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    assert_refused(&bind(&login["code"]).await, 422, NEW_CODE);
    let foreign = world
        .sandbox_post("/people/xiaohong/phone-code", &json!({}))
        .await;
    assert_refused(&bind(&foreign["code"]).await, 422, "code: 属于另一个用户");
    let late = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    world.clock.advance_seconds(301);
    assert_refused(&bind(&late["code"]).await, 422, NEW_CODE);
    assert_eq!(is_bound().await, json!(false));

    let code = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    assert_success(&bind(&code["code"]).await, &json!(null));
    assert_eq!(is_bound().await, json!(true));
    assert_refused(&bind(&code["code"]).await, 422, NEW_CODE);
    assert_eq!(is_bound().await, json!(true));
    let user = user_id(&world, &token).await;
    assert_eq!(
        world.app.profile(user).await.unwrap().user.phone.as_deref(),
        Some("13800138000")
    );
}

async fn a_phone_cannot_be_bound_while_wechat_is_down(world: World) {
    let token = world.log_in("xiaoming").await;
    let code = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    let bind = async || {
        world
            .post(BIND_PHONE, &json!({ "code": code["code"] }))
            .token(&token)
            .send()
            .await
    };
    world
        .sandbox_post("/faults", &json!({ "kind": "provider_down" }))
        .await;
    assert_refused(&bind().await, 500, "微信暂时不可用，请稍后重试");
    world.sandbox_delete("/faults").await;
    assert_success(&bind().await, &json!(null));
    // The access token that WeChat revokes is fetched again, unnoticed.
    world.sandbox_delete("/access-tokens").await;
    let code = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    let again = world
        .post(BIND_PHONE, &json!({ "code": code["code"] }))
        .token(&token)
        .send()
        .await;
    assert_success(&again, &json!(null));
    let asked = received(&world, "mini_program", |request| {
        request == "POST /wxa/business/getuserphonenumber"
    })
    .await;
    assert!(asked >= 3, "{asked}");
}

async fn somebody_from_the_web_binds_a_phone_too(world: World) {
    let token = world.log_in_on_the_web("laowang").await;
    let code = world
        .sandbox_post("/people/laowang/phone-code", &json!({}))
        .await;
    let answer = world
        .post(BIND_PHONE, &json!({ "code": code["code"] }))
        .token(&token)
        .send()
        .await;
    assert_success(&answer, &json!(null));
}

/// Asks for a mail, and returns the code in it.
async fn mailed_code(world: &World, token: &Token, address: &str) -> String {
    let answer = world
        .post(BIND_EMAIL, &json!({ "email": address }))
        .token(token)
        .send()
        .await;
    assert_success(&answer, &json!(null));
    world.do_jobs().await;
    let mails = world.sandbox_get("/mails").await;
    assert_eq!(mails[0]["to"], address);
    text(&mails[0]["subject"])
        .chars()
        .filter(char::is_ascii_digit)
        .take(6)
        .collect()
}

async fn confirm(world: &World, token: &Token, code: &str) -> Answer {
    world
        .post(CONFIRM_EMAIL, &json!({ "code": code }))
        .token(token)
        .send()
        .await
}

/// Six digits that are not these.
fn another(code: &str) -> &'static str {
    if code == "123456" { "654321" } else { "123456" }
}

async fn a_mailed_code_binds_the_address_once(world: World) {
    let token = world.log_in("xiaoming").await;
    let code = mailed_code(&world, &token, "Li.Lei+x@example.com").await;
    assert_refused(
        &confirm(&world, &token, another(&code)).await,
        422,
        "code: 验证码不正确",
    );
    assert_success(
        &confirm(&world, &token, &format!(" {code} ")).await,
        &json!(null),
    );
    assert_refused(
        &confirm(&world, &token, &code).await,
        422,
        "code: 验证码已失效，请重新发送",
    );
    let user = user_id(&world, &token).await;
    assert_eq!(
        world.app.profile(user).await.unwrap().user.email.as_deref(),
        Some("Li.Lei+x@example.com")
    );
    let status = info(&world, &token).await.body["data"]["userInfo"]["bindingStatus"].clone();
    assert_eq!(status, json!({ "phone": false, "email": true }));
}

async fn five_wrong_codes_spend_the_mail(world: World) {
    let token = world.log_in("xiaoming").await;
    let code = mailed_code(&world, &token, "li@example.com").await;
    for _ in 0..5 {
        assert_refused(
            &confirm(&world, &token, another(&code)).await,
            422,
            "code: 验证码不正确",
        );
    }
    assert_refused(
        &confirm(&world, &token, &code).await,
        422,
        "code: 验证码已失效，请重新发送",
    );
    let status = info(&world, &token).await.body["data"]["userInfo"]["bindingStatus"].clone();
    assert_eq!(status["email"], false);
}

async fn a_mailed_code_is_good_for_fifteen_minutes_and_for_its_user(world: World) {
    let token = world.log_in("xiaoming").await;
    let stranger = world.log_in("xiaohong").await;
    let code = mailed_code(&world, &token, "li@example.com").await;
    assert_refused(
        &confirm(&world, &stranger, &code).await,
        422,
        "code: 验证码已失效，请重新发送",
    );
    world.clock.advance_seconds(15 * 60);
    assert_refused(
        &confirm(&world, &token, &code).await,
        422,
        "code: 验证码已失效，请重新发送",
    );
    let code = mailed_code(&world, &token, "li@example.com").await;
    world.clock.advance_seconds(15 * 60 - 1);
    assert_success(&confirm(&world, &token, &code).await, &json!(null));
}

async fn mails_are_a_minute_apart_and_the_last_one_counts(world: World) {
    let token = world.log_in("xiaoming").await;
    let first = mailed_code(&world, &token, "first@example.com").await;
    world.clock.advance_seconds(18);
    let soon = world
        .post(BIND_EMAIL, &json!({ "email": "second@example.com" }))
        .token(&token)
        .send()
        .await;
    assert_refused(&soon, 429, "请求过于频繁，请 42 秒后重试");
    assert_eq!(soon.header("retry-after"), "42");
    assert_eq!(
        world.sandbox_get("/mails").await.as_array().unwrap().len(),
        1
    );

    world.clock.advance_seconds(42);
    let second = mailed_code(&world, &token, "second@example.com").await;
    if first != second {
        assert_refused(
            &confirm(&world, &token, &first).await,
            422,
            "code: 验证码不正确",
        );
    }
    assert_success(&confirm(&world, &token, &second).await, &json!(null));
    let user = user_id(&world, &token).await;
    assert_eq!(
        world.app.profile(user).await.unwrap().user.email.as_deref(),
        Some("second@example.com")
    );
}

async fn what_is_not_an_address_is_not_mailed(world: World) {
    let token = world.log_in("xiaoming").await;
    for email in [
        "li",
        "li@",
        "@example.com",
        "li@localhost",
        "li @example.com",
        "li@example..com",
        "好@example.com",
        "🔑@example.com",
        "li@example.com\r\nBcc: x@example.com",
        "<li@example.com>",
        "li@example.com,x@example.com",
    ] {
        let answer = world
            .post(BIND_EMAIL, &json!({ "email": email }))
            .token(&token)
            .send()
            .await;
        assert_refused(&answer, 422, "email: 不是有效的邮箱地址");
    }
    world.do_jobs().await;
    assert_eq!(world.sandbox_get("/mails").await, json!([]));
}
