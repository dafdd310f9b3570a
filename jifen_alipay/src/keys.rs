//! The two RSA keys of a conversation with Alipay, parsed once.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::Certificate;

/// A setting that cannot be used. Names the setting, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: expected {expected}, found {found}")]
pub struct SettingError {
    /// Which setting.
    pub setting: &'static str,
    /// What it has to be.
    pub expected: &'static str,
    /// What it is instead, without its content.
    pub found: String,
}

/// aws-lc failed inside, for example for want of memory. Nothing about the input causes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be computed")]
pub struct SigningError;

/// The app's RSA private key: signs requests.
pub struct AppKey {
    pair: KeyPair,
}

impl AppKey {
    const SETTING: &'static str = "app private key";
    const EXPECTED: &'static str = "an RSA private key of at least 2048 bits, PKCS#8 or PKCS#1, \
         as one line of base64 (what Alipay's key tool writes) or as PEM";

    /// Parses bare base64 or PEM, PKCS#8 (the key tool's "Java" format) or PKCS#1 (its format for other languages).
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let refuse = |found: String| SettingError {
            setting: Self::SETTING,
            expected: Self::EXPECTED,
            found,
        };
        let key_text = KeyText::parse(text).map_err(refuse)?;
        match key_text.label {
            None | Some("PRIVATE KEY" | "RSA PRIVATE KEY") => {}
            Some("PUBLIC KEY" | "RSA PUBLIC KEY") => {
                return Err(refuse(
                    "a public key: the private one stays on this side".into(),
                ));
            }
            Some("ENCRYPTED PRIVATE KEY") => {
                return Err(refuse(
                    "a private key under a password: store it without one".into(),
                ));
            }
            Some("CERTIFICATE") => return Err(refuse("a certificate".into())),
            Some(_) => return Err(refuse("PEM of another kind".into())),
        }
        parse_private(&key_text.der)
            .map(|pair| Self { pair })
            .map_err(|reason| {
                refuse(if parse_public(&key_text.der).is_ok() {
                    "a public key: the private one stays on this side".into()
                } else {
                    format!("a key that is not usable ({reason})")
                })
            })
    }

    /// The raw signature: RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    pub fn sign_raw(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| SigningError)?;
        Ok(signature)
    }

    /// The signature as the parameter `sign` carries it: base64 of [`AppKey::sign_raw`].
    pub fn sign(&self, message: &[u8]) -> Result<String, SigningError> {
        Ok(STANDARD.encode(self.sign_raw(message)?))
    }

    /// Whether `public_key` (DER, SPKI or PKCS#1) is the public half of this key.
    pub(crate) fn has_public_half(&self, public_key: &[u8]) -> bool {
        // An SPKI ends with the PKCS#1 form as the content of its bit string.
        public_key.ends_with(self.pair.public_key().as_ref())
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AppKey(..)")
    }
}

/// Alipay's RSA public key: verifies answers and notifications.
pub struct AlipayKey {
    key: ParsedPublicKey,
    der: Vec<u8>,
}

impl AlipayKey {
    const SETTING: &'static str = "Alipay public key";
    const EXPECTED: &'static str = "the RSA public key that Alipay's console shows after the app public key was uploaded \
         (MIIBIjANBgkqhkiG9w0BAQEF…), as one line of base64 or as PEM";

    /// Parses bare base64 or PEM.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let refuse = |found: String| SettingError {
            setting: Self::SETTING,
            expected: Self::EXPECTED,
            found,
        };
        let key_text = KeyText::parse(text).map_err(refuse)?;
        match key_text.label {
            None | Some("PUBLIC KEY" | "RSA PUBLIC KEY") => {}
            Some("CERTIFICATE") => {
                return Err(refuse(
                    "a certificate: that is what certificate mode takes".into(),
                ));
            }
            Some("PRIVATE KEY" | "RSA PRIVATE KEY") => {
                return Err(refuse("a private key".into()));
            }
            Some(_) => return Err(refuse("PEM of another kind".into())),
        }
        let key = parse_public(&key_text.der).map_err(|reason| {
            refuse(if parse_private(&key_text.der).is_ok() {
                "a private key".into()
            } else {
                format!("a key that is not usable ({reason})")
            })
        })?;
        Ok(Self {
            key,
            der: key_text.der,
        })
    }

    /// The key inside Alipay's public certificate.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, SettingError> {
        let der = certificate.public_key_spki().to_vec();
        let key = parse_public(&der).map_err(|reason| SettingError {
            setting: "Alipay public certificate",
            expected: "a certificate with an RSA key of at least 2048 bits (alipayCertPublicKey_RSA2.crt)",
            found: format!("one with a key that is not usable ({reason})"),
        })?;
        Ok(Self { key, der })
    }

    /// Refuses the commonest mistake: the app's own public key where Alipay's belongs.
    pub(crate) fn refuse_if_of(&self, app_key: &AppKey) -> Result<(), SettingError> {
        if app_key.has_public_half(&self.der) {
            return Err(SettingError {
                setting: Self::SETTING,
                expected: Self::EXPECTED,
                found: "the app's own public key, the one that was uploaded".into(),
            });
        }
        Ok(())
    }

    /// Whether `signature` (raw bytes) is RSASSA-PKCS1-v1_5 with SHA-256 over `message` by this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for AlipayKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AlipayKey(..)")
    }
}

/// A key as people hand it around.
struct KeyText<'a> {
    /// What stands behind `-----BEGIN`; `None` for bare base64.
    label: Option<&'a str>,
    der: Vec<u8>,
}

impl<'a> KeyText<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (label, body) = match text.split_once("-----BEGIN ") {
            None => (None, text),
            Some((_, after)) => {
                let (label, body) = after
                    .split_once("-----")
                    .ok_or("a PEM header that does not end")?;
                let (body, _) = body
                    .split_once("-----END ")
                    .ok_or("PEM without its -----END line")?;
                (Some(label), body)
            }
        };
        let body: Vec<u8> = body
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        if body.is_empty() {
            return Err("nothing".into());
        }
        let der = STANDARD
            .decode(body)
            .map_err(|_| "text that is not base64")?;
        Ok(Self { label, der })
    }
}

fn parse_private(der: &[u8]) -> Result<KeyPair, String> {
    KeyPair::from_pkcs8(der)
        .or_else(|pkcs8| KeyPair::from_der(der).map_err(|_| pkcs8))
        .map_err(|error| error.to_string())
}

fn parse_public(der: &[u8]) -> Result<ParsedPublicKey, String> {
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key_and_the_mistake() {
        for (text, found) in [
            ("", "nothing"),
            ("not a key!", "text that is not base64"),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                "a public key",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA",
                "PEM without its -----END line",
            ),
            ("AAAA", "a key that is not usable"),
        ] {
            let error = AppKey::parse(text).unwrap_err();
            assert_eq!(error.setting, "app private key");
            assert!(error.found.starts_with(found), "{text:?}: {error}");
        }
        let error =
            AlipayKey::parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
                .unwrap_err();
        assert_eq!(error.setting, "Alipay public key");
        assert!(error.found.starts_with("a certificate"), "{error}");
    }
}
