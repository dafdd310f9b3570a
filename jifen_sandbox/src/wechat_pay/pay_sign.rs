//! What the WeChat client checks before it opens its cashier: the five fields of `wx.requestPayment` and their signature.

use serde::Deserialize;

use crate::rsa::PublicKey;

/// The five fields, named as the client names them, and the app they are used in.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestPayment {
    /// Signed but not passed by a mini program; default: the appid of the order.
    pub(crate) app_id: Option<String>,
    pub(crate) time_stamp: String,
    pub(crate) nonce_str: String,
    /// `prepay_id=wx…`
    pub(crate) package: String,
    pub(crate) sign_type: String,
    pub(crate) pay_sign: String,
}

impl RequestPayment {
    /// The `prepay_id` the package names.
    pub(crate) fn prepay_id(&self) -> Result<&str, String> {
        let id = self
            .package
            .strip_prefix("prepay_id=")
            .filter(|id| !id.is_empty());
        id.ok_or_else(|| "package must be prepay_id= and the id as returned".to_owned())
    }

    /// Checks everything that does not depend on the order, for an order of `appid`.
    pub(crate) fn verify(&self, appid: &str, merchant: &PublicKey) -> Result<(), String> {
        if self.app_id.as_deref().is_some_and(|app_id| app_id != appid) {
            return Err("appId is not the appid of the order".to_owned());
        }
        if self.sign_type != "RSA" {
            return Err("signType must be RSA".to_owned());
        }
        if self.time_stamp.len() > 10 || !self.time_stamp.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err("timeStamp must be seconds in digits, as a string".to_owned());
        }
        if self.nonce_str.is_empty() || self.nonce_str.chars().count() > 32 {
            return Err("nonceStr must have 1..=32 characters".to_owned());
        }
        let message = format!(
            "{appid}\n{}\n{}\n{}\n",
            self.time_stamp, self.nonce_str, self.package
        );
        if merchant.verifies_base64(message.as_bytes(), &self.pay_sign) {
            return Ok(());
        }
        Err(format!(
            "paySign does not verify; the string to sign is {message:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_signed_by_foreign_libraries_verify_and_changed_ones_do_not() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/wechatpay_paysign.json"))
                .unwrap();
        let requests: serde_json::Value = serde_json::from_str(include_str!(
            "../../tests/vectors/wechatpay_request_signing.json"
        ))
        .unwrap();
        let key =
            PublicKey::from_pem(requests["merchant_public_key_pem"].as_str().unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let appid = case["appId"].as_str().unwrap();
            let mut fields: RequestPayment =
                serde_json::from_value(case["paymentInfo"].clone()).unwrap();
            assert_eq!(fields.verify(appid, &key), Ok(()));
            assert!(fields.prepay_id().unwrap().starts_with("wx"));
            assert!(fields.verify("wx0000000000000000", &key).is_err());
            fields.package.push('0');
            assert!(fields.verify(appid, &key).is_err());
        }
    }
}
