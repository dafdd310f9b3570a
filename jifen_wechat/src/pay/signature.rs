//! Signatures of API v3: ours on requests, WeChat Pay's on answers and notifications.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::header::HeaderMap;

use crate::crypto;
use crate::keys::{MerchantKey, PlatformKey};

/// The algorithm, as both sides name it.
pub(crate) const SIGNATURE_TYPE: &str = "WECHATPAY2-SHA256-RSA2048";
/// Signed messages older or younger than this are refused.
const WINDOW_SECONDS: u64 = 300;
const PROBE_PREFIX: &str = "WECHATPAY/SIGNTEST/";
const KEYS_MAX: usize = 64;

/// Signs requests in the name of a merchant.
#[derive(Debug)]
pub struct RequestSigner {
    mch_id: String,
    serial: String,
    key: MerchantKey,
}

impl RequestSigner {
    /// `serial` is the serial number of the merchant certificate that belongs to `key`.
    pub fn new(mch_id: impl Into<String>, serial: impl Into<String>, key: MerchantKey) -> Self {
        Self {
            mch_id: mch_id.into(),
            serial: serial.into(),
            key,
        }
    }

    /// The `Authorization` header for a request. `target` is path and query exactly as sent, `body` the bytes sent.
    /// `None` only when aws-lc fails inside.
    pub fn authorization(
        &self,
        (method, target): (&str, &str),
        timestamp: i64,
        nonce: &str,
        body: &[u8],
    ) -> Option<String> {
        let head = format!("{method}\n{target}\n{timestamp}\n{nonce}\n");
        let message = [head.as_bytes(), body, b"\n"].concat();
        let signature = self.key.sign(&message)?;
        Some(format!(
            "{SIGNATURE_TYPE} mchid=\"{}\",nonce_str=\"{nonce}\",timestamp=\"{timestamp}\",serial_no=\"{}\",signature=\"{signature}\"",
            self.mch_id, self.serial
        ))
    }

    /// `paySign`: over `AppID`, timestamp, nonce and package, a line each. `None` only when aws-lc fails inside.
    pub fn pay_sign(
        &self,
        app_id: &str,
        timestamp: i64,
        nonce: &str,
        package: &str,
    ) -> Option<String> {
        self.key
            .sign(format!("{app_id}\n{timestamp}\n{nonce}\n{package}\n").as_bytes())
    }
}

/// Why a signature of WeChat Pay is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureRefusal {
    /// A signature header is missing: not from WeChat Pay, or a proxy dropped it.
    #[error("the header {0} is missing")]
    HeaderMissing(&'static str),
    /// A signature header is not what it has to be.
    #[error("the header {0} is malformed")]
    HeaderMalformed(&'static str),
    /// WeChat Pay tests on purpose whether wrong signatures are refused. Not an attack.
    #[error("the signature is a probe of WeChat Pay's")]
    Probe,
    /// More than five minutes from our clock: replayed, or one of the clocks is wrong.
    #[error("the timestamp is {difference_seconds} s from our clock")]
    Timestamp {
        /// Distance, in either direction.
        difference_seconds: u64,
    },
    /// Signed with a key that is not known here.
    #[error("the key {serial} is not known")]
    UnknownSerial {
        /// `Wechatpay-Serial`, shortened.
        serial: String,
    },
    /// The key is known, the signature is not its.
    #[error("the signature does not match")]
    Mismatch,
}

/// The signature headers of an answer or a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureHeaders<'a> {
    timestamp: &'a str,
    nonce: &'a str,
    serial: &'a str,
    signature: &'a str,
}

impl<'a> SignatureHeaders<'a> {
    /// Takes the headers out; all four must be there.
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Self, SignatureRefusal> {
        let required = |name: &'static str| {
            headers
                .get(name)
                .ok_or(SignatureRefusal::HeaderMissing(name))?
                .to_str()
                .map_err(|_| SignatureRefusal::HeaderMalformed(name))
        };
        // Not every sender names the type; whoever names another is not understood.
        if let Some(signature_type) = headers.get("Wechatpay-Signature-Type")
            && signature_type != SIGNATURE_TYPE
        {
            return Err(SignatureRefusal::HeaderMalformed(
                "Wechatpay-Signature-Type",
            ));
        }
        Ok(Self {
            timestamp: required("Wechatpay-Timestamp")?,
            nonce: required("Wechatpay-Nonce")?,
            serial: required("Wechatpay-Serial")?,
            signature: required("Wechatpay-Signature")?,
        })
    }

    /// `Wechatpay-Serial`.
    pub(crate) fn serial(&self) -> &'a str {
        self.serial
    }

    /// Whether there is any signature header, so that the message claims to be signed.
    pub(crate) fn are_present(headers: &HeaderMap) -> bool {
        headers.contains_key("Wechatpay-Signature")
    }
}

/// The keys WeChat Pay may sign with, by serial. Several are valid at once while keys change.
#[derive(Default)]
pub struct PlatformKeys {
    keys: RwLock<HashMap<String, Entry>>,
}

struct Entry {
    key: Arc<PlatformKey>,
    /// Of downloaded certificates; configured keys stay.
    expires_at_unix_seconds: Option<i64>,
}

impl PlatformKeys {
    /// The keys the operator configured.
    pub fn new(keys: impl IntoIterator<Item = PlatformKey>) -> Self {
        let entries = keys
            .into_iter()
            .map(|key| {
                let entry = Entry {
                    key: Arc::new(key),
                    expires_at_unix_seconds: None,
                };
                (entry.key.serial().to_owned(), entry)
            })
            .collect();
        Self {
            keys: RwLock::new(entries),
        }
    }

    /// Whether `serial` can be verified at this time.
    pub fn knows(&self, serial: &str, now_unix_seconds: i64) -> bool {
        self.find(serial, now_unix_seconds).is_some()
    }

    /// The serials known, for a status page.
    pub fn serials(&self) -> Vec<String> {
        let mut serials: Vec<String> = self.read().keys().cloned().collect();
        serials.sort_unstable();
        serials
    }

    /// Checks, in this order: probe, clock, key, signature over `timestamp\nnonce\nbody\n`.
    pub fn verify(
        &self,
        headers: &SignatureHeaders<'_>,
        body: &[u8],
        now_unix_seconds: i64,
    ) -> Result<(), SignatureRefusal> {
        check_freshness(headers, now_unix_seconds)?;
        let key = self.find(headers.serial, now_unix_seconds).ok_or_else(|| {
            SignatureRefusal::UnknownSerial {
                serial: crate::api::loggable(headers.serial),
            }
        })?;
        verify_with(&key, headers, body)
    }

    /// Adds downloaded certificates and drops those that have expired.
    pub(crate) fn learn(&self, certificates: Vec<(PlatformKey, i64)>, now_unix_seconds: i64) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, entry| !entry.is_expired(now_unix_seconds));
        for (key, expires_at_unix_seconds) in certificates {
            if keys.len() >= KEYS_MAX {
                tracing::warn!(KEYS_MAX, "too many WeChat Pay keys, the rest is ignored");
                break;
            }
            keys.entry(key.serial().to_owned()).or_insert(Entry {
                key: Arc::new(key),
                expires_at_unix_seconds: Some(expires_at_unix_seconds),
            });
        }
    }

    fn find(&self, serial: &str, now_unix_seconds: i64) -> Option<Arc<PlatformKey>> {
        self.read()
            .get(serial)
            .filter(|entry| !entry.is_expired(now_unix_seconds))
            .map(|entry| Arc::clone(&entry.key))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Entry>> {
        // Every change is a single insert or retain, so a panic elsewhere leaves nothing half-done.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_expired(&self, now_unix_seconds: i64) -> bool {
        self.expires_at_unix_seconds
            .is_some_and(|expires_at| expires_at <= now_unix_seconds)
    }
}

impl fmt::Debug for PlatformKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.serials()).finish()
    }
}

fn check_freshness(
    headers: &SignatureHeaders<'_>,
    now_unix_seconds: i64,
) -> Result<(), SignatureRefusal> {
    if headers.signature.starts_with(PROBE_PREFIX) {
        return Err(SignatureRefusal::Probe);
    }
    let timestamp: i64 = headers
        .timestamp
        .parse()
        .map_err(|_| SignatureRefusal::HeaderMalformed("Wechatpay-Timestamp"))?;
    let difference_seconds = now_unix_seconds.abs_diff(timestamp);
    if difference_seconds >= WINDOW_SECONDS {
        return Err(SignatureRefusal::Timestamp { difference_seconds });
    }
    Ok(())
}

/// Verifies a message whose key is part of the message itself (the first download of certificates).
pub(crate) fn verify_with_candidates(
    candidates: &[(PlatformKey, i64)],
    headers: &SignatureHeaders<'_>,
    body: &[u8],
    now_unix_seconds: i64,
) -> Result<(), SignatureRefusal> {
    check_freshness(headers, now_unix_seconds)?;
    let (key, _) = candidates
        .iter()
        .find(|(key, expires_at)| key.serial() == headers.serial && *expires_at > now_unix_seconds)
        .ok_or_else(|| SignatureRefusal::UnknownSerial {
            serial: crate::api::loggable(headers.serial),
        })?;
    verify_with(key, headers, body)
}

fn verify_with(
    key: &PlatformKey,
    headers: &SignatureHeaders<'_>,
    body: &[u8],
) -> Result<(), SignatureRefusal> {
    let signature = crypto::base64_decode(headers.signature)
        .ok_or(SignatureRefusal::HeaderMalformed("Wechatpay-Signature"))?;
    let head = format!("{}\n{}\n", headers.timestamp, headers.nonce);
    let message = [head.as_bytes(), body, b"\n"].concat();
    if key.verify(&message, &signature) {
        Ok(())
    } else {
        Err(SignatureRefusal::Mismatch)
    }
}
