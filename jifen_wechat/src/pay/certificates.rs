//! Platform certificates: downloaded when a message names an unknown one, or when the caller wants to.

use std::sync::atomic::Ordering;

use serde::Deserialize;

use crate::keys::PlatformKey;
use crate::pay::Pay;
use crate::pay::error::{PayError, PayRefusal};
use crate::pay::exchange::{Exchange, request_id};
use crate::pay::resource::EncryptedResource;
use crate::pay::signature::{self, SignatureHeaders, SignatureRefusal};

const CERTIFICATES_MAX: usize = 32;

#[derive(Deserialize)]
struct CertificateList {
    #[serde(default)]
    data: Vec<ListedCertificate>,
}

#[derive(Deserialize)]
struct ListedCertificate {
    serial_no: String,
    expire_time: jiff::Timestamp,
    encrypt_certificate: EncryptedResource,
}

impl Pay {
    /// Downloads the platform certificates and keeps those still valid; returns how many were listed. Merchants in public-key
    /// mode get an empty list or an error. In certificate mode, call this at least every twelve hours.
    pub async fn refresh_certificates(&self) -> Result<usize, PayError> {
        let exchange = Exchange::get(self.url("/v3/certificates", ""));
        let limits = &self.config.limits;
        let answer = self
            .send_signed(&exchange, limits.timeout, limits.answer_bytes_max)
            .await?;
        let request_id = request_id(&answer.headers);
        if answer.status != 200 {
            return Err(PayError::Refused(PayRefusal::read(
                answer.status,
                &answer.body,
                request_id,
                false,
            )));
        }
        let unverified = |reason| PayError::Unverified {
            reason,
            request_id: request_id.clone(),
        };
        let unusable = |what| PayError::Answer {
            what,
            request_id: request_id.clone(),
        };
        let headers = SignatureHeaders::from_headers(&answer.headers).map_err(unverified)?;
        let now = self.environment.unix_seconds();
        // Known keys decide. For the very first download the key is inside: only WeChat Pay and the merchant can
        // have encrypted it.
        let verified = self.platform_keys.verify(&headers, &answer.body, now);
        if !matches!(
            verified,
            Ok(()) | Err(SignatureRefusal::UnknownSerial { .. })
        ) {
            return verified.map(|()| 0).map_err(unverified);
        }
        let list: CertificateList =
            serde_json::from_slice(&answer.body).map_err(|_| unusable("certificate list"))?;
        if list.data.len() > CERTIFICATES_MAX {
            return Err(unusable("certificate list of bounded length"));
        }
        let certificates = list
            .data
            .iter()
            .map(|listed| self.open_certificate(listed))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| unusable("certificate for this API v3 key"))?;
        if verified.is_err() {
            signature::verify_with_candidates(&certificates, &headers, &answer.body, now)
                .map_err(unverified)?;
        }
        let count = certificates.len();
        self.platform_keys.learn(certificates, now);
        tracing::info!(count, "WeChat Pay platform certificates downloaded");
        Ok(count)
    }

    fn open_certificate(&self, listed: &ListedCertificate) -> Option<(PlatformKey, i64)> {
        let pem = self.api_v3_key.decrypt(&listed.encrypt_certificate)?;
        let key = PlatformKey::from_certificate_pem(std::str::from_utf8(&pem).ok()?).ok()?;
        (key.serial() == listed.serial_no).then(|| (key, listed.expire_time.as_second()))
    }

    /// Returns whether it is worth verifying again. One download at a time, and not more often than configured, whatever
    /// serials strangers send.
    pub(crate) async fn download_for_unknown_serial(&self, headers: &SignatureHeaders<'_>) -> bool {
        if !self.config.certificates_downloaded {
            return false;
        }
        let _guard = self.downloading.lock().await;
        let now = self.environment.unix_seconds();
        if self.platform_keys.knows(headers.serial(), now) {
            return true;
        }
        if now
            < self
                .download_not_before_unix_seconds
                .load(Ordering::Relaxed)
        {
            return false;
        }
        let interval = i64::from(self.config.certificate_download_interval_seconds);
        self.download_not_before_unix_seconds
            .store(now.saturating_add(interval), Ordering::Relaxed);
        match self.refresh_certificates().await {
            Ok(_) => self.platform_keys.knows(headers.serial(), now),
            Err(error) => {
                tracing::warn!(%error, "WeChat Pay platform certificates not downloaded");
                false
            }
        }
    }
}
