//! The official account's signatures and its message encryption.

use aws_lc_rs::{
    cipher::{
        AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
        UnboundCipherKey,
    },
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    iv::FixedLength,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};

/// Padding fills up to a multiple of this.
const PADDING_BLOCK: usize = 32;
/// The 43rd character of an `EncodingAESKey` may carry bits that belong to no byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// SHA-1, in hexadecimal, of the parts sorted by their bytes and joined without separator: `signature` of token, timestamp and
/// nonce; `msg_signature` of those and the encrypted text.
pub(crate) fn signature(parts: &[&str]) -> String {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, sorted.concat().as_bytes()).as_ref())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// The key of the encrypted modes.
pub(crate) struct MessageKey([u8; 32]);

/// Why an encrypted message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecryptError {
    #[error("Encrypt is not base64 of a positive multiple of 16 bytes")]
    Ciphertext,
    #[error("the padding is wrong: another EncodingAESKey, or padding to 16 instead of 32 bytes")]
    Padding,
    #[error("the length inside the message does not fit")]
    Length,
    #[error("the message is not UTF-8")]
    Text,
}

impl MessageKey {
    /// `None` if this is not an `EncodingAESKey`.
    pub(crate) fn new(encoding_aes_key: &str) -> Option<Self> {
        LENIENT
            .decode(format!("{encoding_aes_key}="))
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }

    /// `base64(AES-256-CBC(random16 ‖ length ‖ message ‖ appid))`.
    pub(crate) fn encrypt(&self, message: &str, appid: &str, random16: [u8; 16]) -> Option<String> {
        let length = u32::try_from(message.len()).ok()?;
        let mut data = random16.to_vec();
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(message.as_bytes());
        data.extend_from_slice(appid.as_bytes());
        let padding = PADDING_BLOCK - data.len() % PADDING_BLOCK;
        data.resize(data.len() + padding, u8::try_from(padding).ok()?);
        let key = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, &self.0).ok()?).ok()?;
        key.less_safe_encrypt(
            &mut data,
            EncryptionContext::Iv128(FixedLength::from(self.iv())),
        )
        .ok()?;
        Some(BASE64_STANDARD.encode(data))
    }

    /// The message and the appid inside.
    pub(crate) fn decrypt(&self, encrypted: &str) -> Result<(String, String), DecryptError> {
        let mut data = BASE64_STANDARD
            .decode(encrypted)
            .map_err(|_| DecryptError::Ciphertext)?;
        if data.is_empty() || data.len() % 16 != 0 {
            return Err(DecryptError::Ciphertext);
        }
        let key = UnboundCipherKey::new(&AES_256, &self.0).map_err(|_| DecryptError::Padding)?;
        let key = DecryptingKey::cbc(key).map_err(|_| DecryptError::Padding)?;
        let iv = DecryptionContext::Iv128(FixedLength::from(self.iv()));
        let opened = key
            .decrypt(&mut data, iv)
            .map_err(|_| DecryptError::Padding)?;
        let padding = opened.last().map_or(0, |last| usize::from(*last));
        let end = opened
            .len()
            .checked_sub(padding)
            .ok_or(DecryptError::Padding)?;
        let (content, filling) = opened.split_at(end);
        let right = (1..=PADDING_BLOCK).contains(&padding)
            && filling.iter().all(|byte| usize::from(*byte) == padding);
        if !right {
            return Err(DecryptError::Padding);
        }
        let (_, rest) = content.split_at_checked(16).ok_or(DecryptError::Length)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecryptError::Length)?;
        let length =
            usize::try_from(u32::from_be_bytes(*length)).map_err(|_| DecryptError::Length)?;
        let (message, appid) = rest.split_at_checked(length).ok_or(DecryptError::Length)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| DecryptError::Text);
        Ok((text(message)?, text(appid)?))
    }

    fn iv(&self) -> [u8; 16] {
        self.0.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/vectors/wechat_oa_callbacks.json")).unwrap()
    }

    fn text<'a>(value: &'a Value, name: &str) -> &'a str {
        value[name].as_str().unwrap()
    }

    fn random16(value: &Value) -> [u8; 16] {
        text(value, "random16").as_bytes().try_into().unwrap()
    }

    #[test]
    fn server_verification_signatures_match_the_foreign_vectors() {
        for case in vectors()["server_verification_cases"].as_array().unwrap() {
            let made = signature(&[
                text(case, "token"),
                text(case, "timestamp"),
                text(case, "nonce"),
            ]);
            assert_eq!(
                made == text(case, "signature"),
                case["expect"] == "accept",
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn inbound_messages_of_the_foreign_vectors_are_decrypted_and_made_again() {
        let vectors = vectors();
        let key = MessageKey::new(text(&vectors, "encoding_aes_key")).unwrap();
        let mut accepted = 0;
        for case in vectors["secure_mode_inbound_cases"].as_array().unwrap() {
            let body = text(case, "body");
            let encrypted = super::super::xml::parse(body)
                .unwrap()
                .get("Encrypt")
                .to_owned();
            let (message, appid) = key.decrypt(&encrypted).unwrap();
            if case["expect"] != "accept" {
                continue;
            }
            accepted += 1;
            assert_eq!(
                (message.as_str(), appid.as_str()),
                (text(case, "plaintext"), text(&vectors, "appid"))
            );
            let query = &case["query"];
            let parts = [
                text(&vectors, "token"),
                text(query, "timestamp"),
                text(query, "nonce"),
                &encrypted,
            ];
            assert_eq!(signature(&parts), text(query, "msg_signature"));
        }
        assert!(accepted >= 6);
    }

    #[test]
    fn replies_are_encrypted_as_in_the_foreign_vectors() {
        let vectors = vectors();
        let reply = &vectors["secure_mode_reply_case"];
        let key = MessageKey::new(text(&vectors, "encoding_aes_key")).unwrap();
        let encrypted = key
            .encrypt(
                text(reply, "plaintext_reply"),
                text(&vectors, "appid"),
                random16(reply),
            )
            .unwrap();
        assert_eq!(encrypted, text(reply, "encrypt"));
        let parts = [
            text(&vectors, "token"),
            text(reply, "timestamp"),
            text(reply, "nonce"),
            &encrypted,
        ];
        assert_eq!(signature(&parts), text(reply, "msg_signature"));
    }

    #[test]
    fn the_official_documentation_and_wxjava_samples_come_out_the_same() {
        let vectors = vectors();
        let official = &vectors["official_documentation_samples"];
        let key = MessageKey::new(text(official, "encoding_aes_key")).unwrap();
        for sample in [&official["inbound"], &official["reply"]] {
            let (message, appid) = key.decrypt(text(sample, "encrypt")).unwrap();
            assert_eq!(
                (message.as_str(), appid.as_str()),
                (text(sample, "plaintext"), text(official, "appid"))
            );
            let made = key.encrypt(&message, &appid, random16(sample)).unwrap();
            assert_eq!(made, text(sample, "encrypt"));
        }
        let wxjava = &vectors["wxjava_samples"];
        let key = MessageKey::new(text(wxjava, "encoding_aes_key")).unwrap();
        for case in wxjava["cases"].as_array().unwrap() {
            let made = key
                .encrypt(
                    text(case, "plaintext"),
                    text(wxjava, "appid"),
                    random16(wxjava),
                )
                .unwrap();
            assert_eq!(made, text(case, "encrypt"));
        }
    }

    #[test]
    fn a_message_under_another_key_is_refused() {
        let one = MessageKey::new(&"A".repeat(43)).unwrap();
        let other = MessageKey::new(&"B".repeat(43)).unwrap();
        let encrypted = one.encrypt("<xml/>", "wx1", [7; 16]).unwrap();
        assert_eq!(other.decrypt(&encrypted), Err(DecryptError::Padding));
        assert_eq!(one.decrypt("AAAA"), Err(DecryptError::Ciphertext));
        assert_eq!(one.decrypt(""), Err(DecryptError::Ciphertext));
    }
}
