//! RSA keys and certificates in PEM, parsed once.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use webpki::EndEntityCert;

use crate::crypto;

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

/// The merchant's RSA private key (`apiclient_key.pem`).
pub struct MerchantKey {
    pair: KeyPair,
}

impl MerchantKey {
    const SETTING: &'static str = "merchant private key";
    const EXPECTED: &'static str = "an RSA private key of at least 2048 bits in PEM, PKCS#8 \
         (BEGIN PRIVATE KEY, the file apiclient_key.pem) or PKCS#1 (BEGIN RSA PRIVATE KEY)";

    /// Parses PKCS#8 or PKCS#1 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, SettingError> {
        let refuse = |found: String| SettingError {
            setting: Self::SETTING,
            expected: Self::EXPECTED,
            found,
        };
        let (kind, der) = pem_section(pem).map_err(refuse)?;
        let pair = match kind {
            SectionKind::PrivateKey => KeyPair::from_pkcs8(&der),
            SectionKind::RsaPrivateKey => KeyPair::from_der(&der),
            other => return Err(refuse(format!("the PEM section {other:?}"))),
        };
        pair.map(|pair| Self { pair })
            .map_err(|error| refuse(format!("a key that is not usable ({error})")))
    }

    /// `base64(RSASSA-PKCS1-v1_5(SHA-256, message))`. `None` only when aws-lc fails inside.
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .ok()?;
        Some(crypto::base64_encode(&signature))
    }
}

impl fmt::Debug for MerchantKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MerchantKey(..)")
    }
}

/// A key WeChat Pay signs with, and the serial it is named by in `Wechatpay-Serial`.
pub struct PlatformKey {
    serial: String,
    key: ParsedPublicKey,
    is_certificate: bool,
}

impl PlatformKey {
    /// Public-key mode: `id` is `PUB_KEY_ID_…` as the merchant console shows it, `pem` the SPKI PEM beside it.
    pub fn from_public_key_pem(id: &str, pem: &str) -> Result<Self, SettingError> {
        let refuse = |found: String| SettingError {
            setting: "WeChat Pay public key",
            expected: "an RSA public key in PEM (BEGIN PUBLIC KEY, the file pub_key.pem) and its id PUB_KEY_ID_…",
            found,
        };
        if !id.starts_with("PUB_KEY_ID_") {
            return Err(refuse("an id that does not begin with PUB_KEY_ID_".into()));
        }
        let (kind, der) = pem_section(pem).map_err(refuse)?;
        if kind != SectionKind::PublicKey {
            return Err(refuse(format!("the PEM section {kind:?}")));
        }
        Ok(Self {
            serial: id.to_owned(),
            key: parse_public_key(&der).map_err(refuse)?,
            is_certificate: false,
        })
    }

    /// Certificate mode: the serial is taken from the certificate.
    pub fn from_certificate_pem(pem: &str) -> Result<Self, SettingError> {
        let refuse = |found: String| SettingError {
            setting: "WeChat Pay platform certificate",
            expected: "an X.509 certificate with an RSA key in PEM (BEGIN CERTIFICATE)",
            found,
        };
        let (serial, spki) = certificate_parts(pem).map_err(refuse)?;
        Ok(Self {
            serial,
            key: parse_public_key(&spki).map_err(refuse)?,
            is_certificate: true,
        })
    }

    /// `PUB_KEY_ID_…`, or the certificate's serial number in upper-case hex.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Whether it came from a certificate (and so may be replaced by downloading newer ones).
    pub fn is_certificate(&self) -> bool {
        self.is_certificate
    }

    /// Whether `signature` (raw bytes) is RSASSA-PKCS1-v1_5 with SHA-256 over `message` by this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PlatformKey")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// The serial number of a certificate in upper-case hex, as `serial_no` wants it
/// (for the merchant certificate `apiclient_cert.pem`).
pub fn certificate_serial(pem: &str) -> Result<String, SettingError> {
    let parts = certificate_parts(pem).map_err(|found| SettingError {
        setting: "certificate",
        expected: "an X.509 certificate in PEM (BEGIN CERTIFICATE)",
        found,
    })?;
    Ok(parts.0)
}

fn certificate_parts(pem: &str) -> Result<(String, Vec<u8>), String> {
    let (kind, der) = pem_section(pem)?;
    if kind != SectionKind::Certificate {
        return Err(format!("the PEM section {kind:?}"));
    }
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der)
        .map_err(|error| format!("a certificate that cannot be read ({error})"))?;
    // DER puts a zero before a number whose first bit is set; WeChat's spelling has none.
    let serial = certificate.serial();
    let serial = serial
        .split_first()
        .filter(|(first, rest)| **first == 0 && !rest.is_empty())
        .map_or(serial, |(_, rest)| rest);
    Ok((
        crypto::hex(serial).to_ascii_uppercase(),
        certificate.subject_public_key_info().to_vec(),
    ))
}

fn parse_public_key(spki: &[u8]) -> Result<ParsedPublicKey, String> {
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
        .map_err(|error| format!("a key that is not usable ({error})"))
}

fn pem_section(pem: &str) -> Result<(SectionKind, Vec<u8>), String> {
    <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes())
        .map_err(|_| "no complete PEM section (-----BEGIN … to -----END …)".to_owned())
}
