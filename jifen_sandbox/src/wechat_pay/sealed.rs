//! `AEAD_AES_256_GCM`, in which notifications and platform certificates travel: the key is the 32 ASCII bytes of the
//! merchant's `APIv3` key, the nonce 12 ASCII bytes, the tag stands after the ciphertext.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    error::Unspecified,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Characters in a nonce.
pub(crate) const NONCE_BYTES: usize = 12;

/// Encrypts a text; the answer is base64. Fails only when `api_v3_key` has not 32 bytes or `nonce` not 12.
pub(crate) fn seal(
    api_v3_key: &[u8],
    nonce: &str,
    associated_data: &str,
    plain: &[u8],
) -> Result<String, Unspecified> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, api_v3_key)?);
    let nonce = Nonce::try_assume_unique_for_key(nonce.as_bytes())?;
    let mut buffer = plain.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(associated_data.as_bytes()), &mut buffer)?;
    Ok(STANDARD.encode(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_java_class_encrypts_the_same() {
        let fixtures: serde_json::Value = serde_json::from_str(include_str!(
            "../../tests/vectors/wechatpay_official_sdk_fixtures.json"
        ))
        .unwrap();
        let case = &fixtures["cases"][1];
        let text = |name: &str| case[name].as_str().unwrap();
        let sealed = seal(
            text("apiv3_key").as_bytes(),
            text("nonce"),
            text("associated_data"),
            text("plaintext").as_bytes(),
        );
        assert_eq!(sealed.unwrap(), text("ciphertext_base64"));
    }
}
