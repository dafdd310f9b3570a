//! `wechat_miniprogram_open_data.json`.

use std::sync::Arc;

use jifen_wechat::Private;
use jifen_wechat::miniprogram::{MiniProgram, MiniProgramConfig, OpenDataRefusal};
use jifen_wechat::token::MemoryTokenStore;
use serde_json::Value;

use crate::environment::{FixedEnvironment, http_client};
use crate::text;

fn client(app_id: &str, now: i64, age_seconds_max: Option<u32>) -> MiniProgram {
    let mut config = MiniProgramConfig::new(app_id, "unused".into());
    config.open_data_age_seconds_max = age_seconds_max;
    MiniProgram::new(
        config,
        http_client(),
        Arc::new(FixedEnvironment::at(now)),
        Arc::new(MemoryTokenStore::default()),
    )
}

pub(crate) fn raw_data(_: &Value, case: &Value) {
    let is_accepted = client("wx", 0, None).verify_raw_data(
        &text(case, "session_key").into(),
        text(case, "rawData"),
        text(case, "signature"),
    );
    match text(case, "expect") {
        "accept" => assert!(is_accepted),
        "reject" => assert!(!is_accepted),
        other => panic!("unknown expectation {other}"),
    }
}

pub(crate) fn encrypted_data(_: &Value, case: &Value) {
    let expect = text(case, "expect");
    let plaintext: Value = case["plaintext"]
        .as_str()
        .map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    if plaintext.get("phoneNumber").is_some() {
        return phone_number(case, &plaintext);
    }
    let openid = Private::from(plaintext["openId"].as_str().unwrap_or("nobody"));
    let decrypt = |age_seconds_max, openid: &Private| {
        let now = case["now_unix"].as_i64().unwrap();
        client(text(case, "expected_appid"), now, age_seconds_max).decrypt_user_profile(
            &text(case, "session_key").into(),
            text(case, "encryptedData"),
            text(case, "iv"),
            openid,
        )
    };
    let outcome = decrypt(Some(600), &openid);
    match expect {
        "accept" => {
            let profile = outcome.unwrap();
            assert_eq!(profile.openid.as_ref(), Some(&openid));
            assert_eq!(profile.nickname.as_str(), plaintext["nickName"]);
            assert_eq!(profile.avatar_url.as_str(), plaintext["avatarUrl"]);
            assert_eq!(
                profile.unionid.as_ref().map(Private::as_str),
                plaintext["unionId"].as_str()
            );
            assert_eq!(
                profile.is_placeholder(),
                text(case, "name").starts_with("grey")
            );
            assert_eq!(
                decrypt(Some(600), &"somebody else".into()),
                Err(OpenDataRefusal::OtherUser)
            );
        }
        "reject_watermark_appid" => assert_eq!(outcome, Err(OpenDataRefusal::OtherApp)),
        "reject_watermark_timestamp_if_a_limit_is_enforced" => {
            assert_eq!(outcome, Err(OpenDataRefusal::Age));
            assert!(decrypt(None, &openid).is_ok());
        }
        "reject_iv_length" => assert_eq!(outcome, Err(OpenDataRefusal::Iv)),
        "reject_decrypt" => assert!(matches!(
            outcome,
            Err(OpenDataRefusal::Decrypt | OpenDataRefusal::Ciphertext)
        )),
        other => panic!("unknown expectation {other}"),
    }
}

fn phone_number(case: &Value, plaintext: &Value) {
    assert_eq!(text(case, "expect"), "accept");
    let now = case["now_unix"].as_i64().unwrap();
    let number = client(text(case, "expected_appid"), now, Some(600))
        .decrypt_phone_number(
            &text(case, "session_key").into(),
            text(case, "encryptedData"),
            text(case, "iv"),
        )
        .unwrap();
    assert_eq!(number.phone_number.as_str(), plaintext["phoneNumber"]);
    assert_eq!(
        number.pure_phone_number.as_str(),
        plaintext["purePhoneNumber"]
    );
    assert_eq!(number.country_code, text(plaintext, "countryCode"));
}
