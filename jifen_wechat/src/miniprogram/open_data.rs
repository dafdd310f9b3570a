//! What the client hands over: `rawData` with its signature, and `encryptedData` with its `iv`.

use aws_lc_rs::cipher::AES_128;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::crypto::{self, AES_BLOCK_BYTES};
use crate::miniprogram::PhoneNumber;
use crate::private::Private;

const ENCRYPTED_CHARACTERS_MAX: usize = 64 * 1024;

/// Why encrypted data was refused. For all but [`OpenDataRefusal::SessionKey`] the client should log in again and
/// send data made after that login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenDataRefusal {
    /// The session key is not the base64 of 16 bytes: it does not come from code2Session.
    #[error("the session key is not the base64 of 16 bytes")]
    SessionKey,
    /// `iv` is not the base64 of 16 bytes.
    #[error("iv is not the base64 of 16 bytes")]
    Iv,
    /// `encryptedData` is not base64, not a whole number of blocks, or too long.
    #[error("encryptedData is not the base64 of AES blocks")]
    Ciphertext,
    /// It does not decrypt with this session key, most often because it was made with an earlier one.
    #[error("encryptedData does not decrypt with the session key of this login")]
    Decrypt,
    /// It decrypts to something else than the data asked for.
    #[error("encryptedData holds other data than expected")]
    Content,
    /// The data was made for another mini program.
    #[error("encryptedData was made for another mini program")]
    OtherApp,
    /// The data belongs to another user than the one who logged in.
    #[error("encryptedData belongs to another user")]
    OtherUser,
    /// The data is older than the configured limit, or from the future.
    #[error("encryptedData is too old")]
    Age,
}

/// Which app the data was made for, and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Watermark {
    /// `AppID` of the mini program.
    #[serde(rename = "appid")]
    pub app_id: String,
    /// Seconds since 1970.
    #[serde(rename = "timestamp")]
    pub unix_seconds: i64,
}

/// What `wx.getUserProfile` tells. Since late 2022 WeChat fills it with a placeholder for most clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserProfile {
    /// The user within this mini program.
    #[serde(rename = "openId")]
    pub openid: Option<Private>,
    /// The user across the apps of one Open Platform account.
    #[serde(rename = "unionId")]
    pub unionid: Option<Private>,
    /// Nickname, possibly WeChat's placeholder.
    #[serde(rename = "nickName", default)]
    pub nickname: Private,
    /// URL of the avatar, possibly WeChat's grey one.
    #[serde(default)]
    pub avatar_url: Private,
    /// Which app it was made for, and when.
    pub watermark: Watermark,
}

impl UserProfile {
    /// Whether this is the anonymous profile ("WeChat user" with a grey avatar), which must not overwrite what the
    /// user has chosen.
    pub fn is_placeholder(&self) -> bool {
        const PLACEHOLDER_NICKNAME: &str = "微信用户";
        self.nickname.as_str().is_empty() || self.nickname.as_str() == PLACEHOLDER_NICKNAME
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PhoneData {
    phone_number: Private,
    pure_phone_number: Private,
    // Documented as text, shown as a number.
    #[serde(deserialize_with = "text_or_number")]
    country_code: String,
    pub(super) watermark: Watermark,
}

impl From<PhoneData> for PhoneNumber {
    fn from(data: PhoneData) -> Self {
        Self {
            phone_number: data.phone_number,
            pure_phone_number: data.pure_phone_number,
            country_code: data.country_code,
        }
    }
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrNumber {
        Text(String),
        Number(u32),
    }
    Ok(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    })
}

/// `signature == lowercase_hex(SHA1(rawData || session_key))`, the session key as its base64 text.
pub(super) fn verify_raw_data(session_key: &SecretString, raw_data: &str, signature: &str) -> bool {
    let expected = crypto::sha1_hex(&[raw_data.as_bytes(), session_key.expose_secret().as_bytes()]);
    crypto::equal_in_constant_time(expected.as_bytes(), signature.as_bytes())
}

/// AES-128-CBC with PKCS#7.
pub(super) fn decrypt(
    session_key: &SecretString,
    encrypted_data: &str,
    iv: &str,
) -> Result<Vec<u8>, OpenDataRefusal> {
    let key = crypto::base64_decode(session_key.expose_secret())
        .filter(|key| key.len() == AES_BLOCK_BYTES)
        .ok_or(OpenDataRefusal::SessionKey)?;
    let iv: [u8; AES_BLOCK_BYTES] = crypto::base64_decode(iv)
        .and_then(|iv| iv.try_into().ok())
        .ok_or(OpenDataRefusal::Iv)?;
    let ciphertext = Some(encrypted_data)
        .filter(|text| text.len() <= ENCRYPTED_CHARACTERS_MAX)
        .and_then(crypto::base64_decode)
        .filter(|data| !data.is_empty() && data.len().is_multiple_of(AES_BLOCK_BYTES))
        .ok_or(OpenDataRefusal::Ciphertext)?;
    crypto::cbc_decrypt(&AES_128, &key, iv, ciphertext)
        .and_then(|padded| crypto::unpad(padded, AES_BLOCK_BYTES))
        .ok_or(OpenDataRefusal::Decrypt)
}

/// A wrong key leaves valid padding once in about 256 times: then it is the UTF-8 or the JSON that shows it.
pub(super) fn parse<T: DeserializeOwned>(plaintext: &[u8]) -> Result<T, OpenDataRefusal> {
    let text = std::str::from_utf8(plaintext).map_err(|_| OpenDataRefusal::Decrypt)?;
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| OpenDataRefusal::Decrypt)?;
    serde_json::from_value(value).map_err(|_| OpenDataRefusal::Content)
}

pub(super) fn check_watermark(
    watermark: &Watermark,
    app_id: &str,
    now_unix_seconds: i64,
    age_seconds_max: Option<u32>,
) -> Result<(), OpenDataRefusal> {
    if watermark.app_id != app_id {
        return Err(OpenDataRefusal::OtherApp);
    }
    let age_seconds = now_unix_seconds.abs_diff(watermark.unix_seconds);
    if age_seconds_max.is_some_and(|max| age_seconds > u64::from(max)) {
        return Err(OpenDataRefusal::Age);
    }
    Ok(())
}
