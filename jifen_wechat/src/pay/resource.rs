//! `AEAD_AES_256_GCM` with the API v3 key: the content of notifications and downloaded certificates.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use serde::Deserialize;

use crate::crypto;
use crate::keys::SettingError;

/// The merchant's API v3 key.
pub struct ApiV3Key(Zeroizing<[u8; 32]>);

impl ApiV3Key {
    /// Exactly 32 bytes, as set in the merchant console.
    pub fn new(key: &SecretString) -> Result<Self, SettingError> {
        let bytes = key.expose_secret().as_bytes();
        bytes
            .try_into()
            .map(|key| Self(Zeroizing::new(key)))
            .map_err(|_| SettingError {
                setting: "API v3 key",
                expected: "exactly 32 characters, as set in the merchant console",
                found: format!("{} bytes", bytes.len()),
            })
    }

    /// Decrypts; `None` when it was not encrypted with this key or has been changed.
    pub fn decrypt(&self, resource: &EncryptedResource) -> Option<Vec<u8>> {
        if resource.algorithm != "AEAD_AES_256_GCM" {
            return None;
        }
        crypto::gcm_open(
            &self.0,
            resource.nonce.as_bytes(),
            resource.associated_data.as_deref().unwrap_or("").as_bytes(),
            crypto::base64_decode(&resource.ciphertext)?,
        )
    }
}

impl fmt::Debug for ApiV3Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiV3Key(..)")
    }
}

/// An encrypted object as it stands in WeChat Pay's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EncryptedResource {
    /// `AEAD_AES_256_GCM`.
    pub algorithm: String,
    /// Twelve ASCII characters.
    pub nonce: String,
    /// Authenticated beside the ciphertext; may be empty or absent.
    pub associated_data: Option<String>,
    /// Base64 of ciphertext and tag.
    pub ciphertext: String,
}
