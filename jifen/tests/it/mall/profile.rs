//! `/api/v1/auth/wechat-login` with `encryptedData` and `iv`: the profile, decrypted on the server.

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jifen_sandbox::Kit;
use serde_json::{Value, json};

use super::{assert_refused, everything, text};
use crate::world::{Answer, World, on_both_engines, on_sqlite};

on_both_engines!(a_profile_is_kept_and_no_placeholder_overwrites_it);

on_sqlite!(
    a_profile_made_for_this_login_is_accepted,
    a_profile_of_another_app_person_or_login_is_refused,
    encrypted_data_and_iv_go_together,
);

async fn log_in(world: &World, login: &Value) -> Answer {
    let body = json!({ "code": login["code"], "encryptedData": login["encryptedData"], "iv": login["iv"] });
    world.post("/api/v1/auth/wechat-login", &body).send().await
}

fn name(answer: &Answer) -> (&str, &str) {
    let person = &answer.body["data"]["userInfo"];
    (
        person["nickName"].as_str().unwrap(),
        person["avatarUrl"].as_str().unwrap(),
    )
}

async fn a_profile_is_kept_and_no_placeholder_overwrites_it(world: World) {
    let login_code = "/people/xiaoming/login-code";
    let grey = world.sandbox_post(login_code, &json!({})).await;
    assert_eq!(
        name(&log_in(&world, &grey).await),
        ("微信用户", ""),
        "WeChat's grey face is no profile"
    );
    let real = world
        .sandbox_post(login_code, &json!({ "real_profile": true }))
        .await;
    assert_eq!(name(&log_in(&world, &real).await).0, "小明");
    let grey = world.sandbox_post(login_code, &json!({})).await;
    assert_eq!(name(&log_in(&world, &grey).await).0, "小明");

    let token = world.log_in("xiaoming").await;
    let info = world.get("/api/v1/user/info").token(&token).send().await;
    assert_eq!(info.body["data"]["userInfo"]["nickName"], "小明");
}

async fn a_profile_made_for_this_login_is_accepted(world: World) {
    let session = KnownSession::start(&world, "xiaoming").await;
    let mut profile = session.profile();
    profile["nickName"] = json!("  明\u{0}明🌱 ");
    profile["avatarUrl"] = json!("https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132");
    let answer = log_in(&world, &session.seal(&profile)).await;
    assert_eq!(
        name(&answer),
        ("明明🌱", "https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132")
    );

    let session = KnownSession::start(&world, "xiaoming").await;
    let mut profile = session.profile();
    profile["nickName"] = json!("长".repeat(100));
    profile["avatarUrl"] = json!("javascript:alert(1)");
    let answer = log_in(&world, &session.seal(&profile)).await;
    assert_eq!(
        name(&answer),
        (
            "长".repeat(64).as_str(),
            "https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132"
        )
    );
}

async fn a_profile_of_another_app_person_or_login_is_refused(world: World) {
    let token = world.log_in("xiaohong").await;
    let before = everything(&world, &token).await;
    let foreign = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await["encryptedData"]
        .clone();
    let cases = forged_profiles()
        .into_iter()
        .chain(mangled_profiles(foreign));
    for (make, message) in cases {
        // The login itself is good: its code is spent, but nobody is let in.
        let login = make(&KnownSession::start(&world, "xiaoming").await);
        assert_refused(&log_in(&world, &login).await, 422, message);
        assert_refused(
            &log_in(&world, &login).await,
            422,
            "code: code 无效或已使用，请重新获取",
        );
    }
    assert_eq!(everything(&world, &token).await, before);
}

type Make = Box<dyn FnOnce(&KnownSession) -> Value>;

const LOG_IN_FIRST: &str = "encryptedData: 无法解密，请先调用 wx.login，再调用 wx.getUserProfile";
const NOT_ENCRYPTED: &str = "encryptedData: 须为 wx.getUserProfile 的加密数据（base64）";
const BAD_IV: &str = "iv: 须为 16 字节的 base64";

/// Encrypted well, for something else than this login.
fn forged_profiles() -> Vec<(Make, &'static str)> {
    vec![
        (
            Box::new(|session| {
                let mut profile = session.profile();
                profile["watermark"]["appid"] = json!("wx0000000000000000");
                session.seal(&profile)
            }),
            "encryptedData: 属于另一个小程序",
        ),
        (
            Box::new(|session| {
                let mut profile = session.profile();
                profile["openId"] = json!("oSomebodyElse");
                session.seal(&profile)
            }),
            "encryptedData: 属于另一个用户",
        ),
        (
            Box::new(|session| session.seal(&json!({ "nickName": "没有水印" }))),
            LOG_IN_FIRST,
        ),
        (
            Box::new(|session| session.seal(&json!("not a profile"))),
            LOG_IN_FIRST,
        ),
    ]
}

/// Changed after it was encrypted; `foreign` was encrypted in another login.
fn mangled_profiles(foreign: Value) -> Vec<(Make, &'static str)> {
    let changed = |field: &'static str, value: Value| {
        move |session: &KnownSession| {
            let mut login = session.seal(&session.profile());
            login[field] = value;
            login
        }
    };
    vec![
        (Box::new(changed("encryptedData", foreign)), LOG_IN_FIRST),
        (
            Box::new(changed("iv", json!("AAAAAAAAAAAAAAAAAAAAAA=="))),
            LOG_IN_FIRST,
        ),
        (
            Box::new(changed("iv", json!("AAAAAAAAAAAAAAAAAAAA"))),
            BAD_IV,
        ),
        (Box::new(changed("iv", json!("not base64 at all!"))), BAD_IV),
        (
            Box::new(changed("encryptedData", json!("not base64 at all!"))),
            NOT_ENCRYPTED,
        ),
        (
            Box::new(changed("encryptedData", json!("AAAA"))),
            NOT_ENCRYPTED,
        ),
        (
            Box::new(changed("encryptedData", json!("A".repeat(64 * 1024)))),
            LOG_IN_FIRST,
        ),
    ]
}

async fn encrypted_data_and_iv_go_together(world: World) {
    const TOGETHER: &str = "encryptedData 与 iv 须一起提供";
    let login = world
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    for (missing, other) in [("iv", "encryptedData"), ("encryptedData", "iv")] {
        for absent in [false, true] {
            let mut body = json!({ "code": login["code"], other: login[other], missing: null });
            if absent {
                body.as_object_mut().unwrap().remove(missing);
            }
            let answer = world.post("/api/v1/auth/wechat-login", &body).send().await;
            assert_refused(&answer, 422, &format!("{missing}: {TOGETHER}"));
        }
    }
    // Nothing was asked of WeChat: the code is still good.
    let body = json!({ "code": login["code"], "encryptedData": null, "iv": null });
    assert_eq!(
        world
            .post("/api/v1/auth/wechat-login", &body)
            .send()
            .await
            .status,
        200
    );
}

/// A login whose session key the test has seen, as only WeChat and the mall do.
struct KnownSession {
    code: Value,
    session_key: String,
    openid: String,
}

impl KnownSession {
    async fn start(world: &World, person: &str) -> Self {
        let login_code = format!("/people/{person}/login-code");
        let spent = world.sandbox_post(&login_code, &json!({})).await;
        let kit = Kit::builtin();
        let url = format!(
            "{}/sns/jscode2session?appid={}&secret={}&js_code={}&grant_type=authorization_code",
            world.sandbox,
            kit.mini_program_appid,
            kit.mini_program_secret,
            text(&spent["code"]),
        );
        let answer = jifen::instance::outgoing_client()
            .unwrap()
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let login = world
            .sandbox_post(&login_code, &json!({ "keep_session_key": true }))
            .await;
        Self {
            code: login["code"].clone(),
            session_key: text(&answer["session_key"]),
            openid: text(&answer["openid"]),
        }
    }

    /// What WeChat would encrypt.
    fn profile(&self) -> Value {
        let appid = Kit::builtin().mini_program_appid;
        json!({ "openId": self.openid, "nickName": "明明", "avatarUrl": "", "watermark": { "appid": appid, "timestamp": 0 } })
    }

    /// AES-128-CBC with PKCS#7, as WeChat does it.
    fn seal(&self, profile: &Value) -> Value {
        let key = BASE64_STANDARD.decode(&self.session_key).unwrap();
        let key =
            PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, &key).unwrap())
                .unwrap();
        let iv = [7; 16];
        let mut data = profile.to_string().into_bytes();
        key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(iv)))
            .unwrap();
        json!({ "code": self.code, "encryptedData": BASE64_STANDARD.encode(data), "iv": BASE64_STANDARD.encode(iv) })
    }
}
