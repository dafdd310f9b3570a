//! What the operator sets.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// The gateway of the real Alipay.
pub const GATEWAY_PRODUCTION: &str = "https://openapi.alipay.com/gateway.do";

/// The gateway of Alipay's own sandbox.
pub const GATEWAY_SANDBOX: &str = "https://openapi-sandbox.dl.alipaydev.com/gateway.do";

/// Settings of one app at Alipay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where requests go and buyers are sent: [`GATEWAY_PRODUCTION`], [`GATEWAY_SANDBOX`] or a stand-in. Without a
    /// query.
    pub gateway: Url,
    /// The app's number, digits.
    pub app_id: String,
    /// The app's RSA private key, bare base64 or PEM, PKCS#8 or PKCS#1.
    pub app_private_key: SecretString,
    /// How Alipay's signatures are checked.
    pub key_mode: KeyMode,
    /// Time-outs, retries and sizes.
    pub limits: Limits,
}

impl Config {
    /// Settings with the default [`Limits`].
    pub fn new(
        gateway: Url,
        app_id: impl Into<String>,
        app_private_key: SecretString,
        key_mode: KeyMode,
    ) -> Self {
        Self {
            gateway,
            app_id: app_id.into(),
            app_private_key,
            key_mode,
            limits: Limits::default(),
        }
    }
}

/// How an app and Alipay know each other's keys. Chosen in Alipay's console.
#[derive(Debug, Clone)]
pub enum KeyMode {
    /// Plain public keys.
    PublicKey {
        /// Alipay's public key (not the app's own), bare base64 or PEM.
        alipay_public_key: String,
    },
    /// Certificates, all three as PEM.
    Certificate {
        /// `appCertPublicKey_<app_id>.crt`.
        app_certificate: String,
        /// `alipayCertPublicKey_RSA2.crt`.
        alipay_certificate: String,
        /// `alipayRootCert.crt`, the whole bundle.
        alipay_root_certificates: String,
    },
}

/// Limits of the calls of one client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// From sending to the last byte of the answer, for each attempt.
    pub timeout: Duration,
    /// How often a request is sent at most; 0 counts as 1. Every call of this crate is safe to repeat unchanged.
    pub attempts_max: u32,
    /// The pause before the second attempt; it doubles for each later one, up to 64 times.
    pub retry_delay: Duration,
    /// The largest answer of the gateway that is read.
    pub answer_bytes_max: usize,
    /// From the request for a bill's file to its last byte.
    pub bill_timeout: Duration,
    /// The largest bill file (ZIP) that is read.
    pub bill_zip_bytes_max: usize,
    /// The largest bill after unpacking, all its files together.
    pub bill_unpacked_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            attempts_max: 3,
            retry_delay: Duration::from_millis(200),
            answer_bytes_max: 1 << 20,
            bill_timeout: Duration::from_mins(1),
            bill_zip_bytes_max: 32 << 20,
            bill_unpacked_bytes_max: 256 << 20,
        }
    }
}

impl Limits {
    /// The pause after attempt number `attempt` (counted from 1).
    pub(crate) fn delay_after(&self, attempt: u32) -> Duration {
        self.retry_delay
            .saturating_mul(1 << attempt.saturating_sub(1).min(6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_stay_bounded() {
        let limits = Limits::default();
        assert_eq!(limits.delay_after(1), Duration::from_millis(200));
        assert_eq!(limits.delay_after(3), Duration::from_millis(800));
        assert_eq!(limits.delay_after(40), limits.delay_after(7));
    }

    #[test]
    fn debug_does_not_show_the_private_key() {
        let config = Config::new(
            Url::parse(GATEWAY_SANDBOX).unwrap(),
            "2021000000000000",
            SecretString::from("MIIEsecret"),
            KeyMode::PublicKey {
                alipay_public_key: "MIIB".into(),
            },
        );
        assert!(!format!("{config:?}").contains("MIIEsecret"));
    }
}
