//! WeChat Pay API v3 for a merchant of its own: prepay, query, close, refund, bill, notifications.
//!
//! Every answer and notification is verified; an answer that is not signed is not believed. Requests are repeated only with
//! the same bytes, which WeChat Pay executes once: order and refund numbers are the idempotency keys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;

use crate::crypto;
use crate::environment::Environment;
use crate::keys::{MerchantKey, PlatformKey, SettingError};
use crate::transport::{self, CallLimits};

mod bill;
mod certificates;
mod error;
mod exchange;
mod notification;
mod order;
mod refund;
mod resource;
mod signature;

pub use bill::{BillError, BillKind, BillRow, TradeBill};
pub use error::{PayError, PayRefusal, PayRefusalKind};
pub use notification::{Notification, NotificationRefusal};
pub use order::{
    Closed, OrderExpectation, OrderMismatch, Prepay, Promotion, TradeAmount, TradeState,
    Transaction, without_supplementary,
};
pub use refund::{Refund, RefundAmount, RefundNotice, RefundRequest, RefundStatus, RefundedOrder};
pub use resource::{ApiV3Key, EncryptedResource};
pub use signature::{PlatformKeys, RequestSigner, SignatureHeaders, SignatureRefusal};

/// A key WeChat Pay signs with, as configured.
#[derive(Debug, Clone)]
pub enum PlatformKeyPem {
    /// Public-key mode.
    PublicKey {
        /// `PUB_KEY_ID_…` as the merchant console shows it.
        id: String,
        /// The file `pub_key.pem`.
        pem: String,
    },
    /// A platform certificate.
    Certificate {
        /// The certificate; its serial is read from it.
        pem: String,
    },
}

/// What a [`Pay`] client needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PayConfig {
    /// Merchant number, digits.
    pub mch_id: String,
    /// `AppID` bound to the merchant; the payer's openid belongs to it.
    pub app_id: String,
    /// Serial number of the merchant certificate ([`crate::certificate_serial`] reads it from `apiclient_cert.pem`).
    pub merchant_serial: String,
    /// The file `apiclient_key.pem`.
    pub merchant_private_key: SecretString,
    /// 32 characters.
    pub api_v3_key: SecretString,
    /// The keys WeChat Pay signs with. With a public key among them, the first one is what answers are asked to be signed with.
    /// Without any, certificates are downloaded.
    pub platform_keys: Vec<PlatformKeyPem>,
    /// Whether to download platform certificates when something is signed with an unknown key.
    pub certificates_downloaded: bool,
    /// How long after a download the next may begin.
    pub certificate_download_interval_seconds: u32,
    /// Where WeChat Pay reports payments: public, https, without a query.
    pub notify_url: Url,
    /// Where it reports refunds; `None` leaves it to the merchant console.
    pub refund_notify_url: Option<Url>,
    /// Where WeChat Pay is; `https://api.mch.weixin.qq.com`.
    pub api_base: Url,
    /// Limits of each call.
    pub limits: CallLimits,
    /// The largest bill that is read, unpacked.
    pub bill_bytes_max: usize,
    /// Time-out of the download of a bill.
    pub bill_timeout: Duration,
}

/// Who the merchant is: the part of [`PayConfig`] that has no default.
#[derive(Debug, Clone)]
pub struct Merchant {
    /// Merchant number, digits.
    pub mch_id: String,
    /// `AppID` bound to the merchant.
    pub app_id: String,
    /// Serial number of the merchant certificate.
    pub serial: String,
    /// The file `apiclient_key.pem`.
    pub private_key: SecretString,
    /// 32 characters.
    pub api_v3_key: SecretString,
}

impl PayConfig {
    /// The real WeChat Pay with default limits.
    pub fn new(merchant: Merchant, notify_url: Url, platform_keys: Vec<PlatformKeyPem>) -> Self {
        Self {
            mch_id: merchant.mch_id,
            app_id: merchant.app_id,
            merchant_serial: merchant.serial,
            merchant_private_key: merchant.private_key,
            api_v3_key: merchant.api_v3_key,
            platform_keys,
            certificates_downloaded: true,
            certificate_download_interval_seconds: 300,
            notify_url,
            refund_notify_url: None,
            api_base: transport::constant_url("https://api.mch.weixin.qq.com"),
            limits: CallLimits::default(),
            bill_bytes_max: 64 << 20,
            bill_timeout: Duration::from_mins(1),
        }
    }
}

/// What `wx.requestPayment` takes, with the names it wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestPayment {
    /// Seconds since 1970, as text.
    pub time_stamp: String,
    /// Random text.
    pub nonce_str: String,
    /// `prepay_id=…`.
    pub package: String,
    /// `RSA`.
    pub sign_type: &'static str,
    /// Signature over `AppID` and the three first ones.
    pub pay_sign: String,
}

/// A client of one merchant.
pub struct Pay {
    config: PayConfig,
    http: reqwest::Client,
    environment: Arc<dyn Environment>,
    signer: RequestSigner,
    api_v3_key: ApiV3Key,
    platform_keys: PlatformKeys,
    /// The public key answers are asked to be signed with.
    asked_serial: Option<String>,
    downloading: tokio::sync::Mutex<()>,
    download_not_before_unix_seconds: AtomicI64,
}

impl Pay {
    /// Parses all keys. `http` should not follow redirects; its TLS is the caller's choice.
    pub fn new(
        config: PayConfig,
        http: reqwest::Client,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, SettingError> {
        check_settings(&config)?;
        let key = MerchantKey::from_pem(config.merchant_private_key.expose_secret())?;
        let platform_keys = config
            .platform_keys
            .iter()
            .map(|key| match key {
                PlatformKeyPem::PublicKey { id, pem } => PlatformKey::from_public_key_pem(id, pem),
                PlatformKeyPem::Certificate { pem } => PlatformKey::from_certificate_pem(pem),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            signer: RequestSigner::new(&*config.mch_id, &*config.merchant_serial, key),
            api_v3_key: ApiV3Key::new(&config.api_v3_key)?,
            asked_serial: platform_keys
                .iter()
                .find(|key| !key.is_certificate())
                .map(|key| key.serial().to_owned()),
            platform_keys: PlatformKeys::new(platform_keys),
            http,
            environment,
            config,
            downloading: tokio::sync::Mutex::default(),
            download_not_before_unix_seconds: AtomicI64::new(i64::MIN),
        })
    }

    /// What the client passes to `wx.requestPayment` for a prepaid order.
    pub fn request_payment_params(&self, prepay_id: &str) -> Result<RequestPayment, PayError> {
        let timestamp = self.environment.unix_seconds();
        let nonce_str = self.nonce();
        let package = format!("prepay_id={prepay_id}");
        let pay_sign = self
            .signer
            .pay_sign(&self.config.app_id, timestamp, &nonce_str, &package)
            .ok_or(PayError::Signing)?;
        Ok(RequestPayment {
            time_stamp: timestamp.to_string(),
            nonce_str,
            package,
            sign_type: "RSA",
            pay_sign,
        })
    }

    /// Queries an order that cannot exist: proves that merchant number, key, serial, clock and WeChat Pay's key are right,
    /// without touching anything.
    pub async fn probe(&self) -> Result<(), PayError> {
        let mut random = [0; 13];
        self.environment.fill_random(&mut random);
        let out_trade_no = format!("PROBE-{}", crypto::hex(&random));
        match self.query(&out_trade_no).await {
            Err(error) if error.refusal_kind() == Some(PayRefusalKind::NotExist) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(PayError::Answer {
                what: "ORDER_NOT_EXIST for an order that was never made",
                request_id: String::new(),
            }),
        }
    }

    /// The keys known at the moment, configured and downloaded.
    pub fn platform_keys(&self) -> &PlatformKeys {
        &self.platform_keys
    }

    /// 32 random characters.
    fn nonce(&self) -> String {
        let mut random = [0; 16];
        self.environment.fill_random(&mut random);
        crypto::hex(&random)
    }
}

impl fmt::Debug for Pay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pay")
            .field("mch_id", &self.config.mch_id)
            .field("app_id", &self.config.app_id)
            .field("platform_keys", &self.platform_keys)
            .finish_non_exhaustive()
    }
}

fn check_settings(config: &PayConfig) -> Result<(), SettingError> {
    let refuse = |setting, expected, found: &str| {
        Err(SettingError {
            setting,
            expected,
            found: found.to_owned(),
        })
    };
    if config.mch_id.is_empty() || !config.mch_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse("merchant number", "digits", "something else");
    }
    if config.merchant_serial.is_empty()
        || !config
            .merchant_serial
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
    {
        return refuse(
            "merchant certificate serial number",
            "hex digits",
            "something else",
        );
    }
    for url in [Some(&config.notify_url), config.refund_notify_url.as_ref()]
        .into_iter()
        .flatten()
    {
        if url.query().is_some() || url.as_str().len() > 255 {
            return refuse(
                "notification URL",
                "at most 255 characters without a query",
                "a longer one or one with a query",
            );
        }
    }
    Ok(())
}
