//! The keys of the played Alipay and the certificate numbers of certificate mode.

use md5::{Digest as _, Md5};

use crate::{
    certificate::Certificate,
    kit::Kit,
    rsa::{PrivateKey, PublicKey},
};

/// All keys, parsed once.
pub(crate) struct Keys {
    pub(crate) app: PublicKey,
    pub(crate) alipay: PrivateKey,
    pub(crate) app_cert_sn: String,
    pub(crate) alipay_cert_sn: String,
    pub(crate) alipay_root_cert_sn: String,
}

impl Keys {
    pub(crate) fn builtin() -> Self {
        let kit = Kit::builtin();
        let formed = "the key files of the crate are well formed";
        Self {
            app: PublicKey::from_pem(kit.alipay_app_public_key).expect(formed),
            alipay: PrivateKey::from_pem(kit.alipay_private_key).expect(formed),
            app_cert_sn: serial_numbers(kit.alipay_app_certificate).expect(formed),
            alipay_cert_sn: serial_numbers(kit.alipay_certificate).expect(formed),
            alipay_root_cert_sn: serial_numbers(kit.alipay_root_certificates).expect(formed),
        }
    }
}

/// The SN of every certificate of a PEM text that is signed with RSA, joined with `_`: the MD5 of issuer and decimal serial.
fn serial_numbers(pem: &str) -> Option<String> {
    let certificates = Certificate::all_from_pem(pem)?;
    let rsa = certificates
        .iter()
        .filter(|certificate| certificate.is_signed_with_rsa);
    let numbers: Vec<String> = rsa
        .map(|certificate| {
            let digest = Md5::digest(format!(
                "{}{}",
                certificate.issuer, certificate.serial_decimal
            ));
            digest
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        })
        .collect();
    (!numbers.is_empty()).then(|| numbers.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_those_of_the_official_sdk() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/alipay_cert_sn.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let expected = case["sn"].as_str().unwrap();
            assert_eq!(
                serial_numbers(case["pem"].as_str().unwrap()).unwrap(),
                expected,
                "{}",
                case["name"]
            );
        }
    }
}
