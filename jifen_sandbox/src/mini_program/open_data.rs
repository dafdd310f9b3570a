//! What the mini program is told about its user: in clear with a signature, and encrypted with the session key.

use aws_lc_rs::{
    cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    iv::FixedLength,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{official_account::hex, people::Person, sandbox::Sandbox};

/// The nickname and the avatar every user has had since November 2022.
const GREY_NICKNAME: &str = "微信用户";
const GREY_AVATAR: &str = "https://thirdwx.qlogo.cn/mmopen/vi_32/POgEwh4mIHO4nibH0KlMECNjjGxQUq24ZEaGT4poC6icRiccVGKSyXwibcPq4BWmiaIGuG1icwxaQX6grC9VemZoJ8rg/132";

/// What `wx.getUserProfile` tells of a person.
pub(super) struct Profile<'a> {
    person: &'a Person,
    nickname: &'a str,
    avatar_url: String,
}

impl<'a> Profile<'a> {
    pub(super) fn of(sandbox: &Sandbox, person: &'a Person, real: bool) -> Self {
        if real {
            let avatar_url = sandbox.url(&format!("/sandbox/people/{}/avatar.svg", person.id));
            Self {
                person,
                nickname: &person.nickname,
                avatar_url,
            }
        } else {
            Self {
                person,
                nickname: GREY_NICKNAME,
                avatar_url: GREY_AVATAR.to_owned(),
            }
        }
    }

    /// The text `rawData`.
    pub(super) fn raw_data(&self) -> String {
        self.fields().to_string()
    }

    /// The text inside `encryptedData`.
    pub(super) fn plaintext(&self, appid: &str, now: Timestamp) -> String {
        let mut fields = self.fields();
        if let Some(object) = fields.as_object_mut() {
            object.insert("openId".into(), self.person.openid(appid).into());
            if let Some(unionid) = self.person.unionid() {
                object.insert("unionId".into(), unionid.into());
            }
            object.insert(
                "watermark".into(),
                json!({"timestamp": now.as_second(), "appid": appid}),
            );
        }
        fields.to_string()
    }

    fn fields(&self) -> Value {
        json!({
            "nickName": self.nickname, "gender": 0, "language": "", "city": "", "province": "", "country": "",
            "avatarUrl": self.avatar_url,
        })
    }
}

/// `signature`: SHA-1 of `rawData` and the base64 text of the session key.
pub(super) fn signature(raw_data: &str, session_key: &str) -> String {
    let signed = format!("{raw_data}{session_key}");
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.as_bytes()).as_ref())
}

/// AES-128-CBC with PKCS#7 padding; everything in base64. `None` where key or iv are not 16 bytes in base64.
pub(super) fn encrypt(plaintext: &str, session_key: &str, iv: &str) -> Option<String> {
    let key = BASE64_STANDARD.decode(session_key).ok()?;
    let iv: [u8; 16] = BASE64_STANDARD.decode(iv).ok()?.try_into().ok()?;
    let key =
        PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, &key).ok()?).ok()?;
    let mut data = plaintext.as_bytes().to_vec();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .ok()?;
    Some(BASE64_STANDARD.encode(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!(
            "../../tests/vectors/wechat_miniprogram_open_data.json"
        ))
        .unwrap()
    }

    #[test]
    fn raw_data_is_signed_as_in_the_foreign_vectors() {
        for case in vectors()["raw_data_signature_cases"].as_array().unwrap() {
            let made = signature(
                case["rawData"].as_str().unwrap(),
                case["session_key"].as_str().unwrap(),
            );
            assert_eq!(
                made == case["signature"].as_str().unwrap(),
                case["expect"] == "accept",
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn open_data_is_encrypted_as_in_the_foreign_vectors() {
        let vectors = vectors();
        let accepted = vectors["encrypted_data_cases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|case| case["expect"] == "accept");
        let mut cases = 0;
        for case in accepted {
            let text = |name: &str| case[name].as_str().unwrap();
            let made = encrypt(text("plaintext"), text("session_key"), text("iv"));
            assert_eq!(
                made.as_deref(),
                Some(text("encryptedData")),
                "{}",
                case["name"]
            );
            cases += 1;
        }
        assert!(cases >= 4);
    }

    #[test]
    fn an_iv_of_fifteen_bytes_encrypts_nothing() {
        assert_eq!(
            encrypt("{}", "rhRiMZwNd+s0tzDjgL3ynA==", "sPfvgbCKSor5KNKLwuTb"),
            None
        );
    }
}
