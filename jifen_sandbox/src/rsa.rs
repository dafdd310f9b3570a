//! RSASSA-PKCS1-v1_5 with SHA-256, the one signature of WeChat Pay and Alipay, over keys and certificates in PEM.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::certificate::Certificate;

/// A key the sandbox signs with.
pub(crate) struct PrivateKey(KeyPair);

impl PrivateKey {
    /// From PKCS#8 PEM.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        KeyPair::from_pkcs8(&der(pem)?).ok().map(Self)
    }

    /// The signature in base64.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .expect("the buffer has the length of the modulus and the digest fits into it");
        STANDARD.encode(signature)
    }
}

/// A key the sandbox verifies with.
pub(crate) struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// From SPKI PEM, or from the same base64 without header lines.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der(pem)?)
            .ok()
            .map(Self)
    }

    /// From an X.509 certificate in PEM.
    pub(crate) fn from_certificate_pem(pem: &str) -> Option<Self> {
        let certificates = Certificate::all_from_pem(pem)?;
        let spki = &certificates.first()?.public_key;
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
            .ok()
            .map(Self)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }

    /// As `verifies`, over a signature in strict base64.
    pub(crate) fn verifies_base64(&self, message: &[u8], signature: &str) -> bool {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| self.verifies(message, &signature))
    }
}

/// The bytes inside one PEM block.
fn der(pem: &str) -> Option<Vec<u8>> {
    let bare: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim().chars())
        .collect();
    STANDARD.decode(bare).ok()
}
