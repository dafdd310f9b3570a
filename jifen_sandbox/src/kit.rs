//! The fixed throw-away merchant the sandbox knows: every identifier, secret, key and certificate of both sides.

use serde::Serialize;
use subtle::ConstantTimeEq;

/// Everything an integrator configures to talk to the sandbox, and the platforms' own keys with which the sandbox signs.
///
/// Nothing in it opens anything at WeChat or Alipay. Serialized, it is what `GET /sandbox/api/kit` prints: the integrator's side
/// only, never the platforms' private keys.
#[derive(Clone, Copy, Serialize)]
pub struct Kit {
    /// `AppID` of the mini program.
    pub mini_program_appid: &'static str,
    /// `AppSecret` of the mini program.
    pub mini_program_secret: &'static str,
    /// `AppID` of the official account.
    pub official_account_appid: &'static str,
    /// `AppSecret` of the official account.
    pub official_account_secret: &'static str,
    /// The token that signs the official account's pushes.
    pub official_account_token: &'static str,
    /// `EncodingAESKey` of the official account, 43 characters.
    pub official_account_encoding_aes_key: &'static str,
    /// The account's original id, `ToUserName` of its pushes.
    pub official_account_original_id: &'static str,
    /// Id of the template the account may send: "login succeeded", with the key `user`.
    pub official_account_template_id: &'static str,
    /// Merchant number at WeChat Pay.
    pub mchid: &'static str,
    /// The merchant's private key, PKCS#8 PEM.
    pub merchant_private_key: &'static str,
    /// Serial number of the merchant's certificate, 40 hexadecimal digits.
    pub merchant_certificate_serial: &'static str,
    /// The merchant's certificate, PEM.
    pub merchant_certificate: &'static str,
    /// `APIv3` key, 32 ASCII characters.
    pub api_v3_key: &'static str,
    /// WeChat Pay's public key, SPKI PEM.
    pub wechat_pay_public_key: &'static str,
    /// Its id, `PUB_KEY_ID_…`.
    pub wechat_pay_public_key_id: &'static str,
    /// WeChat Pay's platform certificate, PEM.
    pub wechat_pay_platform_certificate: &'static str,
    /// Its serial number, 40 hexadecimal digits.
    pub wechat_pay_platform_certificate_serial: &'static str,
    /// Alipay's `app_id`.
    pub alipay_app_id: &'static str,
    /// The application's private key, PKCS#8 PEM.
    pub alipay_app_private_key: &'static str,
    /// The application's public key, SPKI PEM.
    pub alipay_app_public_key: &'static str,
    /// Alipay's public key, SPKI PEM.
    pub alipay_public_key: &'static str,
    /// The merchant's account at Alipay, `2088` and 12 digits.
    pub alipay_seller_id: &'static str,
    /// The merchant's log-in name at Alipay.
    pub alipay_seller_email: &'static str,
    /// The application's certificate, PEM.
    pub alipay_app_certificate: &'static str,
    /// Alipay's certificate, PEM.
    pub alipay_certificate: &'static str,
    /// Alipay's root certificates, PEM; one of them is not RSA.
    pub alipay_root_certificates: &'static str,
    #[serde(skip)]
    pub(crate) wechat_pay_private_key: &'static str,
    #[serde(skip)]
    pub(crate) wechat_pay_platform_private_key: &'static str,
    #[serde(skip)]
    pub(crate) alipay_private_key: &'static str,
}

static BUILTIN: Kit = Kit {
    mini_program_appid: "wx73616e64626f7801",
    mini_program_secret: "5e0d1f7a3c9b48e6a2d4f81b6c70935e",
    official_account_appid: "wx73616e64626f7802",
    official_account_secret: "c41b7e92d05f4a38b6e13f9a7d28c064",
    official_account_token: "JifenSandboxToken",
    official_account_encoding_aes_key: "SandboxKeySandboxKeySandboxKeySandboxKey123",
    official_account_original_id: "gh_73616e64626f",
    official_account_template_id: "SandboxLoginTemplate_0123456789-abcdefghijk",
    mchid: "1900736100",
    merchant_private_key: include_str!("../keys/merchant_key.pem"),
    merchant_certificate_serial: include_str!("../keys/merchant_certificate_serial.txt")
        .trim_ascii_end(),
    merchant_certificate: include_str!("../keys/merchant_certificate.pem"),
    api_v3_key: "JifenSandboxApiV3Key000000000001",
    wechat_pay_public_key: include_str!("../keys/wechat_pay_public_key.pem"),
    wechat_pay_public_key_id: "PUB_KEY_ID_0119007361002024010100000000",
    wechat_pay_platform_certificate: include_str!("../keys/wechat_pay_platform_certificate.pem"),
    wechat_pay_platform_certificate_serial: include_str!(
        "../keys/wechat_pay_platform_certificate_serial.txt"
    )
    .trim_ascii_end(),
    alipay_app_id: "9021000100736100",
    alipay_app_private_key: include_str!("../keys/alipay_app_key.pem"),
    alipay_app_public_key: include_str!("../keys/alipay_app_public_key.pem"),
    alipay_public_key: include_str!("../keys/alipay_public_key.pem"),
    alipay_seller_id: "2088721000736100",
    alipay_seller_email: "merchant@sandbox.example",
    alipay_app_certificate: include_str!("../keys/alipay_app_certificate.pem"),
    alipay_certificate: include_str!("../keys/alipay_certificate.pem"),
    alipay_root_certificates: include_str!("../keys/alipay_root_certificates.pem"),
    wechat_pay_private_key: include_str!("../keys/wechat_pay_key.pem"),
    wechat_pay_platform_private_key: include_str!("../keys/wechat_pay_platform_key.pem"),
    alipay_private_key: include_str!("../keys/alipay_key.pem"),
};

impl Kit {
    /// The one kit there is. It never changes between runs of a release.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Whether `value` is one of the sandbox's identifiers, secrets, keys or certificates: a production configuration that holds
    /// one must be refused. PEM is compared without its header and line breaks, as keys are handed around in both forms.
    pub fn recognizes(value: &str) -> bool {
        let asked = bare(value);
        let kit = Self::builtin();
        let known = [
            kit.mini_program_appid,
            kit.mini_program_secret,
            kit.official_account_appid,
            kit.official_account_secret,
            kit.official_account_token,
            kit.official_account_encoding_aes_key,
            kit.official_account_original_id,
            kit.official_account_template_id,
            kit.mchid,
            kit.merchant_private_key,
            kit.merchant_certificate_serial,
            kit.merchant_certificate,
            kit.api_v3_key,
            kit.wechat_pay_public_key,
            kit.wechat_pay_public_key_id,
            kit.wechat_pay_platform_certificate,
            kit.wechat_pay_platform_certificate_serial,
            kit.alipay_app_id,
            kit.alipay_app_private_key,
            kit.alipay_app_public_key,
            kit.alipay_public_key,
            kit.alipay_seller_id,
            kit.alipay_seller_email,
            kit.alipay_app_certificate,
            kit.alipay_certificate,
            kit.alipay_root_certificates,
        ];
        known
            .iter()
            .any(|known| bool::from(bare(known).as_bytes().ct_eq(asked.as_bytes())))
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kit").finish_non_exhaustive()
    }
}

/// Text without PEM header lines and white space.
fn bare(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_key_is_recognized_with_and_without_its_pem_header() {
        let kit = Kit::builtin();
        assert!(Kit::recognizes(kit.merchant_private_key));
        assert!(Kit::recognizes(&bare(kit.alipay_app_private_key)));
        assert!(Kit::recognizes(kit.mini_program_appid));
        assert!(!Kit::recognizes("wxd678efh567hg6787"));
        assert!(!Kit::recognizes(""));
    }

    #[test]
    fn identifiers_have_the_shapes_of_the_real_ones() {
        let kit = Kit::builtin();
        assert_eq!(kit.official_account_encoding_aes_key.len(), 43);
        assert_eq!(kit.official_account_template_id.len(), 43);
        assert_eq!(kit.api_v3_key.len(), 32);
        assert_eq!(kit.merchant_certificate_serial.len(), 40);
        assert_eq!(kit.wechat_pay_platform_certificate_serial.len(), 40);
        assert_eq!(kit.alipay_seller_id.len(), 16);
        assert_eq!(kit.mini_program_appid.len(), 18);
    }
}
