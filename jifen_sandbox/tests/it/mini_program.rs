//! `jscode2session` and `getuserphonenumber`.

use aws_lc_rs::{
    cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    iv::FixedLength,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jifen_sandbox::Kit;
use serde_json::{Value, json};

use crate::harness::{TestSandbox, sha1};

async fn login_code(sandbox: &TestSandbox, body: Value) -> Value {
    sandbox
        .post("/sandbox/api/people/xiaoming/login-code", body)
        .await
        .json()
}

async fn exchange(sandbox: &TestSandbox, code: &Value) -> Value {
    let kit = Kit::builtin();
    let (appid, secret) = (kit.mini_program_appid, kit.mini_program_secret);
    let code = code.as_str().unwrap();
    let query =
        format!("appid={appid}&secret={secret}&js_code={code}&grant_type=authorization_code");
    let answer = sandbox.get(&format!("/sns/jscode2session?{query}")).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

#[tokio::test]
async fn a_login_code_is_good_once() {
    let sandbox = TestSandbox::start().await;
    let login = login_code(&sandbox, json!({})).await;
    let session = exchange(&sandbox, &login["code"]).await;
    assert_eq!(session["openid"].as_str().unwrap().len(), 28);
    assert_eq!(session["session_key"].as_str().unwrap().len(), 24);
    assert!(session["unionid"].is_string());
    assert_eq!(exchange(&sandbox, &login["code"]).await["errcode"], 40163);
    assert_eq!(sandbox.newest_refusal().await["code"], "40163");
}

#[tokio::test]
async fn what_the_mini_program_sends_belongs_to_the_session_key_of_its_code() {
    let sandbox = TestSandbox::start().await;
    let login = login_code(&sandbox, json!({"real_profile": true})).await;
    let session = exchange(&sandbox, &login["code"]).await;
    let session_key = session["session_key"].as_str().unwrap();
    let signed = format!("{}{session_key}", login["rawData"].as_str().unwrap());
    assert_eq!(login["signature"], sha1(&signed));

    let decode = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let iv: [u8; 16] = decode(&login["iv"]).try_into().unwrap();
    let key = UnboundCipherKey::new(&AES_128, &decode(&session["session_key"])).unwrap();
    let mut data = decode(&login["encryptedData"]);
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).unwrap();
    let plaintext = key
        .decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from(iv)))
        .unwrap();
    let profile: Value = serde_json::from_slice(plaintext).unwrap();
    assert_eq!(profile["openId"], session["openid"]);
    assert_eq!(profile["nickName"], "小明");
    assert_eq!(
        profile["watermark"]["appid"],
        Kit::builtin().mini_program_appid
    );
}

#[tokio::test]
async fn a_login_code_lives_five_minutes() {
    let sandbox = TestSandbox::start().await;
    let (early, late) = (
        login_code(&sandbox, json!({})).await,
        login_code(&sandbox, json!({})).await,
    );
    sandbox.clock.advance(299);
    assert!(exchange(&sandbox, &early["code"]).await["openid"].is_string());
    sandbox.clock.advance(1);
    assert_eq!(exchange(&sandbox, &late["code"]).await["errcode"], 40029);
}

#[tokio::test]
async fn a_login_code_of_another_app_is_refused_and_the_log_names_both_apps() {
    let sandbox = TestSandbox::start().await;
    let login = login_code(&sandbox, json!({"appid": "wx0000000000000000"})).await;
    assert_eq!(exchange(&sandbox, &login["code"]).await["errcode"], 40029);
    let refusal = sandbox.newest_refusal().await;
    let ours = Kit::builtin().mini_program_appid;
    assert_eq!(
        TestSandbox::compared(&refusal, "appid"),
        ("wx0000000000000000", ours)
    );
}

#[tokio::test]
async fn every_wrong_parameter_has_its_error_code() {
    let sandbox = TestSandbox::start().await;
    let kit = Kit::builtin();
    let (id, secret) = (kit.mini_program_appid, kit.mini_program_secret);
    let (oa_id, oa_secret) = (kit.official_account_appid, kit.official_account_secret);
    let grant = "grant_type=authorization_code";
    let cases = [
        (format!("secret={secret}&js_code=c&{grant}"), 41002),
        (format!("appid={id}&js_code=c&{grant}"), 41004),
        (format!("appid={id}&secret={secret}&{grant}"), 41008),
        (
            format!("appid=wx1&secret={secret}&js_code=c&{grant}"),
            40013,
        ),
        (
            format!("appid={id}&secret={oa_secret}&js_code=c&{grant}"),
            40125,
        ),
        (
            format!("appid={oa_id}&secret={oa_secret}&js_code=c&{grant}"),
            40013,
        ),
        (format!("appid={id}&secret={secret}&js_code=c"), 40002),
        (
            format!("appid={id}&secret={secret}&js_code=c&{grant}"),
            40029,
        ),
    ];
    for (query, errcode) in cases {
        let answer = sandbox.get(&format!("/sns/jscode2session?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json()["errcode"]),
            (200, &json!(errcode)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_log_shows_neither_secrets_nor_session_keys() {
    let sandbox = TestSandbox::start().await;
    let login = login_code(&sandbox, json!({})).await;
    let session = exchange(&sandbox, &login["code"]).await;
    let token = sandbox.account_token().await;
    let log = sandbox.get("/sandbox/api/exchanges").await.text();
    assert!(log.contains("jscode2session") && log.contains("stable_token"));
    let kit = Kit::builtin();
    for secret in [
        kit.mini_program_secret,
        kit.official_account_secret,
        &token,
        session["session_key"].as_str().unwrap(),
    ] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_unionid_can_appear_later() {
    let sandbox = TestSandbox::start().await;
    let login = sandbox
        .post("/sandbox/api/people/laowang/login-code", json!({}))
        .await
        .json();
    let before = exchange(&sandbox, &login["code"]).await;
    assert!(before["unionid"].is_null());
    let change = json!({"unionid_shared": true});
    sandbox
        .send_json(http::Method::PATCH, "/sandbox/api/people/laowang", &change)
        .await;
    let login = sandbox
        .post("/sandbox/api/people/laowang/login-code", json!({}))
        .await
        .json();
    let after = exchange(&sandbox, &login["code"]).await;
    assert!(after["unionid"].is_string());
    assert_eq!(before["openid"], after["openid"]);
}

#[tokio::test]
async fn a_blocked_person_and_a_hasty_one_are_refused() {
    let sandbox = TestSandbox::start().await;
    for _ in 0..100 {
        let login = login_code(&sandbox, json!({})).await;
        assert!(exchange(&sandbox, &login["code"]).await["openid"].is_string());
    }
    let login = login_code(&sandbox, json!({})).await;
    assert_eq!(exchange(&sandbox, &login["code"]).await["errcode"], 45011);
    sandbox.clock.advance(60);
    let change = json!({"login_blocked": true});
    sandbox
        .send_json(http::Method::PATCH, "/sandbox/api/people/xiaoming", &change)
        .await;
    let login = login_code(&sandbox, json!({})).await;
    assert_eq!(exchange(&sandbox, &login["code"]).await["errcode"], 40226);
}

#[tokio::test]
async fn a_phone_number_is_read_once_with_a_token_of_the_mini_program() {
    let sandbox = TestSandbox::start().await;
    let kit = Kit::builtin();
    let token = sandbox
        .access_token(kit.mini_program_appid, kit.mini_program_secret)
        .await;
    let foreign = sandbox.account_token().await;
    let phone = sandbox
        .post("/sandbox/api/people/xiaoming/phone-code", json!({}))
        .await
        .json();
    let code = phone["code"].as_str().unwrap();
    let path = |token: &str| format!("/wxa/business/getuserphonenumber?access_token={token}");

    let in_query = sandbox
        .post(&format!("{}&code={code}", path(&token)), json!({}))
        .await
        .json();
    assert_eq!(in_query["errcode"], 40029);
    assert_eq!(
        sandbox
            .post(&path(&foreign), json!({"code": code}))
            .await
            .json()["errcode"],
        40013
    );
    assert_eq!(
        sandbox
            .post(&path("nonsense"), json!({"code": code}))
            .await
            .json()["errcode"],
        40014
    );
    let other = json!({"code": code, "openid": "oSomebodyElse"});
    assert_eq!(
        sandbox.post(&path(&token), other).await.json()["errcode"],
        40003
    );
    let read = sandbox
        .post(&path(&token), json!({"code": code}))
        .await
        .json();
    assert_eq!(
        (&read["errcode"], &read["phone_info"]["purePhoneNumber"]),
        (&json!(0), &json!("13800138000"))
    );
    assert_eq!(
        sandbox
            .post(&path(&token), json!({"code": code}))
            .await
            .json()["errcode"],
        40029
    );
}
