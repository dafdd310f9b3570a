//! Whole stories, told by a person's steps.

use serde_json::json;

use crate::world::{World, on_both_engines};

on_both_engines!(
    a_person_buys_in_the_mini_program_and_spends_through_a_gateway,
    a_person_logs_in_on_the_web_by_scanning_and_pays_with_alipay,
    somebody_who_does_not_follow_the_account_logs_in_by_following_it,
    who_scans_a_code_second_is_told_that_somebody_else_did,
    one_person_is_one_user_on_the_phone_and_on_the_web,
    two_records_become_one_when_the_unionid_is_learnt_later,
    phone_and_mail_address_are_bound_by_their_codes,
);

async fn a_person_buys_in_the_mini_program_and_spends_through_a_gateway(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    world.pay_with_wechat("xiaoming", &order).await;
    world.deliver_notifications().await;

    let id = order["orderId"].as_str().unwrap();
    let paid = world
        .get(&format!("/api/v1/points/check-payment?orderId={id}"))
        .token(&token)
        .send()
        .await;
    assert_eq!(
        paid.body["data"],
        json!({ "isPaid": true, "points": 100, "expiryDate": "2026-02-14T04:00:00Z" })
    );

    let (_, key) = world.api_key(&token, "my program").await;
    let charged = world.charge(&world.gateway().await, "1", &key, 30).await;
    assert_eq!(
        (charged.status, &charged.body["balance"]),
        (200, &json!(70)),
        "{}",
        charged.text
    );
    assert_eq!(world.points(&token).await, 70);
    let spent = world
        .get("/api/v1/points/consumption-history")
        .token(&token)
        .send()
        .await;
    assert_eq!(spent.body["data"]["total"], 1);
    assert_eq!(spent.body["data"]["list"][0]["apiKeyName"], "my program");
    world.assert_audit_is_clean().await;
}

async fn a_person_logs_in_on_the_web_by_scanning_and_pays_with_alipay(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    assert_eq!(
        world.check_login(&ticket).await.body,
        json!({ "code": "0003", "info": "未登录", "data": null })
    );
    world
        .sandbox_post("/people/xiaoming/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;
    let login = world.check_login(&ticket).await;
    assert_eq!(login.body["code"], "0000", "{}", login.text);
    let openid = login.body["data"].as_str().unwrap();

    let form = world.alipay_form(openid, "100010090091").await;
    world.pay_with_alipay(&form).await;
    world.deliver_notifications().await;

    world.do_jobs().await;
    let chat = world.sandbox_get("/people/xiaoming/messages").await;
    assert!(
        chat.to_string().contains("登录成功"),
        "the scan is answered: {chat}"
    );
    let user = world
        .store()
        .read()
        .await
        .unwrap()
        .user_by_any_openid(openid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.app.profile(user.id).await.unwrap().points.get(), 100);
    world.assert_audit_is_clean().await;
}

async fn somebody_who_does_not_follow_the_account_logs_in_by_following_it(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    world
        .sandbox_post("/people/laowang/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;
    assert_eq!(world.check_login(&ticket).await.body["code"], "0000");
}

async fn one_person_is_one_user_on_the_phone_and_on_the_web(world: World) {
    let token = world.log_in("xiaoming").await;
    let (ticket, _) = world.qr_ticket().await;
    world
        .sandbox_post("/people/xiaoming/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;
    let openid = world.check_login(&ticket).await.body["data"]
        .as_str()
        .unwrap()
        .to_owned();

    let form = world.alipay_form(&openid, "100001").await;
    world.pay_with_alipay(&form).await;
    world.deliver_notifications().await;
    assert_eq!(
        world.points(&token).await,
        100,
        "what was bought on the web is there on the phone"
    );
}

async fn two_records_become_one_when_the_unionid_is_learnt_later(world: World) {
    // WeChat does not tell this person's unionid yet, so phone and web look like two people.
    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": false }))
        .await;
    let token = world.log_in("xiaohong").await;
    world.clock.advance_seconds(1);
    let (ticket, _) = world.qr_ticket().await;
    world
        .sandbox_post("/people/xiaohong/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;
    let openid = world.check_login(&ticket).await.body["data"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = world.alipay_form(&openid, "100001").await;
    world.pay_with_alipay(&form).await;
    world.deliver_notifications().await;
    let order = world.create_order(&token, "100010090091").await;
    world.pay_with_wechat("xiaohong", &order).await;
    world.deliver_notifications().await;
    assert_eq!(
        world.points(&token).await,
        100,
        "the web's purchase belongs to the other record"
    );

    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": true }))
        .await;
    let token = world.log_in("xiaohong").await;
    let (ticket, _) = world.qr_ticket().await;
    world
        .sandbox_post("/people/xiaohong/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;

    assert_eq!(world.points(&token).await, 200);
    let bought = world
        .get("/api/v1/points/purchase-history")
        .token(&token)
        .send()
        .await;
    assert_eq!(bought.body["data"]["total"], 2);
    let again = world.log_in_answer("xiaohong").await;
    assert_eq!(
        (&again["data"]["isNewUser"], &again["data"]["points"]),
        (&json!(false), &json!(200))
    );
    world.assert_audit_is_clean().await;
}

async fn phone_and_mail_address_are_bound_by_their_codes(world: World) {
    let token = world.log_in("xiaoming").await;
    let bound = async || {
        world
            .get("/api/v1/user/info")
            .token(&token)
            .send()
            .await
            .body["data"]["userInfo"]["bindingStatus"]
            .clone()
    };
    assert_eq!(bound().await, json!({ "phone": false, "email": false }));

    let code = world
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    let phone = world
        .post("/api/v1/user/bind-phone", &json!({ "code": code["code"] }))
        .token(&token)
        .send()
        .await;
    assert_eq!(phone.body["code"], 0, "{}", phone.text);

    let mail = world
        .post(
            "/api/v1/user/bind-email",
            &json!({ "email": "xiaoming@example.com" }),
        )
        .token(&token)
        .send()
        .await;
    assert_eq!(mail.body["code"], 0, "{}", mail.text);
    world.do_jobs().await;
    let mails = world.sandbox_get("/mails").await;
    let text = mails[0]["subject"].as_str().unwrap();
    let code: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
    let wrong = world
        .post("/api/v1/user/confirm-email", &json!({ "code": "000000" }))
        .token(&token)
        .send()
        .await;
    assert_eq!(wrong.body["code"], 422, "{}", wrong.text);
    let right = world
        .post("/api/v1/user/confirm-email", &json!({ "code": code }))
        .token(&token)
        .send()
        .await;
    assert_eq!(right.body["code"], 0, "{}", right.text);
    assert_eq!(bound().await, json!({ "phone": true, "email": true }));
}

async fn who_scans_a_code_second_is_told_that_somebody_else_did(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    for person in ["xiaoming", "laowang", "xiaoming"] {
        world
            .sandbox_post(
                &format!("/people/{person}/scan"),
                &json!({ "ticket": ticket }),
            )
            .await;
        world.deliver_notifications().await;
        world.clock.advance_seconds(1);
    }
    let chat = async |person: &str| {
        world
            .sandbox_get(&format!("/people/{person}/messages"))
            .await
            .to_string()
    };
    assert!(chat("laowang").await.contains("二维码已被他人扫描"));
    assert!(!chat("laowang").await.contains("登录成功"));
    assert!(!chat("xiaoming").await.contains("二维码已被他人扫描"));
    let openid = world.sandbox_get("/people/xiaoming").await["official_account_openid"].clone();
    assert_eq!(world.check_login(&ticket).await.body["data"], openid);
}
