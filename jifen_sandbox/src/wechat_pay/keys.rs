//! The keys of the played WeChat Pay, which of them signs, and the certificates it hands out.

use axum::extract::State;
use serde_json::{Value, json};

use super::{answer::Refused, refusal::Refusal, sealed, verified::Verified};
use crate::{
    kit::Kit,
    rsa::{PrivateKey, PublicKey},
    sandbox::Sandbox,
};

const NEXT_CERTIFICATE: &str = include_str!("../../keys/wechat_pay_next_platform_certificate.pem");
const NEXT_SERIAL: &str =
    include_str!("../../keys/wechat_pay_next_platform_certificate_serial.txt").trim_ascii_end();
const NEXT_PRIVATE_KEY: &str = include_str!("../../keys/wechat_pay_next_platform_key.pem");

/// A platform's key under the name that stands in `Wechatpay-Serial`.
pub(crate) struct PlatformKey {
    pub(crate) serial: &'static str,
    pub(crate) key: PrivateKey,
}

/// All keys, parsed once.
pub(crate) struct Keys {
    pub(crate) merchant: PublicKey,
    pub(crate) public_key: PlatformKey,
    pub(crate) certificate: PlatformKey,
    /// The certificate that succeeds the current one; in use only while a rotation is on.
    pub(crate) next_certificate: PlatformKey,
}

impl Keys {
    pub(crate) fn builtin() -> Self {
        let kit = Kit::builtin();
        let platform = |serial, pem| PlatformKey {
            serial,
            key: PrivateKey::from_pem(pem).expect("the key files of the crate are well formed"),
        };
        Self {
            merchant: PublicKey::from_certificate_pem(kit.merchant_certificate)
                .expect("the key files of the crate are well formed"),
            public_key: platform(kit.wechat_pay_public_key_id, kit.wechat_pay_private_key),
            certificate: platform(
                kit.wechat_pay_platform_certificate_serial,
                kit.wechat_pay_platform_private_key,
            ),
            next_certificate: platform(NEXT_SERIAL, NEXT_PRIVATE_KEY),
        }
    }

    /// The key a caller wants an answer signed with. Without a wish it is the current platform certificate, even where a public
    /// key exists; an unknown serial is nobody's.
    pub(crate) fn for_answer(&self, wanted: Option<&str>, rotating: bool) -> Option<&PlatformKey> {
        let Some(wanted) = wanted else {
            return Some(&self.certificate);
        };
        let next = rotating.then_some(&self.next_certificate);
        [&self.public_key, &self.certificate]
            .into_iter()
            .chain(next)
            .find(|key| key.serial == wanted)
    }

    /// Any key by its serial.
    pub(crate) fn by_serial(&self, serial: &str) -> Option<&PlatformKey> {
        self.for_answer(Some(serial), true)
    }
}

/// `GET /v3/certificates`: every platform certificate that is valid, sealed with the merchant's `APIv3` key.
pub(crate) async fn certificates(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<axum::Json<Value>, Refused> {
    let algorithm = call.query("algorithm_type");
    if algorithm
        .as_deref()
        .is_some_and(|algorithm| !matches!(algorithm, "RSA" | "ALL"))
    {
        let refusal =
            Refusal::parameter_in("uri", "algorithm_type", Value::from(algorithm), "仅支持RSA");
        return Err(refusal.into());
    }
    let kit = sandbox.kit();
    let rotating = sandbox.wechat_pay().settings.lock().rotating_certificates;
    let current = (
        kit.wechat_pay_platform_certificate_serial,
        kit.wechat_pay_platform_certificate,
    );
    let next = rotating.then_some((NEXT_SERIAL, NEXT_CERTIFICATE));
    let entries = std::iter::once(current).chain(next).map(|(serial, pem)| {
        let nonce = sandbox.environment().hex(sealed::NONCE_BYTES);
        let ciphertext = sealed::seal(
            kit.api_v3_key.as_bytes(),
            &nonce,
            "certificate",
            pem.as_bytes(),
        )
        .expect("the kit's key has 32 bytes and the nonce 12");
        json!({
            "serial_no": serial,
            // Those of every certificate of the kit.
            "effective_time": "2024-01-01T08:00:00+08:00",
            "expire_time": "2124-01-01T07:59:59+08:00",
            "encrypt_certificate": {
                "algorithm": "AEAD_AES_256_GCM",
                "nonce": nonce,
                "associated_data": "certificate",
                "ciphertext": ciphertext,
            },
        })
    });
    Ok(axum::Json(json!({"data": entries.collect::<Vec<_>>()})))
}
