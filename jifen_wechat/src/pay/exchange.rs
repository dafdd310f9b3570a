//! One request to WeChat Pay: signed, sent, its answer verified, repeated with the same bytes where that may help.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::pay::Pay;
use crate::pay::error::{PayError, PayRefusal};
use crate::pay::signature::{SignatureHeaders, SignatureRefusal};
use crate::transport::{self, Answer, TransportError};

const WECHATPAY_SERIAL: HeaderName = HeaderName::from_static("wechatpay-serial");
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A request before it is signed.
pub(crate) struct Exchange {
    method: Method,
    url: Url,
    /// Serialised once: what is signed is what is sent, also when it is sent again.
    body: Option<Bytes>,
}

/// A verified answer.
pub(crate) struct Verified {
    body: Bytes,
    pub(crate) request_id: String,
}

impl Verified {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, PayError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            tracing::warn!(
                request_id = self.request_id,
                line = error.line(),
                column = error.column(),
                "WeChat Pay's answer cannot be read"
            );
            self.unusable("content")
        })
    }

    pub(crate) fn unusable(&self, what: &'static str) -> PayError {
        PayError::Answer {
            what,
            request_id: self.request_id.clone(),
        }
    }
}

impl Exchange {
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            body: None,
        }
    }

    pub(crate) fn post(url: Url, body: &impl Serialize) -> Self {
        Self {
            method: Method::POST,
            url,
            body: Some(transport::json_bytes(body).into()),
        }
    }
}

impl Pay {
    /// `path` under the base URL; `{}` stands for `segment`, encoded.
    pub(crate) fn url(&self, path: &str, segment: &str) -> Url {
        let segment = utf8_percent_encode(segment, PATH_SEGMENT).to_string();
        transport::endpoint(&self.config.api_base, &path.replace("{}", &segment))
    }

    /// Until an answer is verified and positive, or repeating does not help, or the attempts are used up.
    pub(crate) async fn exchange(&self, exchange: &Exchange) -> Result<Verified, PayError> {
        let mut attempt = 1;
        loop {
            let error = match self.exchange_once(exchange).await {
                Ok(verified) => return Ok(verified),
                Err(error) => error,
            };
            if attempt >= self.config.limits.attempts_max || !error.may_repeat_now() {
                return Err(error);
            }
            tracing::info!(attempt, %error, "WeChat Pay call is repeated with the same bytes");
            tokio::time::sleep(self.config.limits.delay_after(attempt)).await;
            attempt += 1;
        }
    }

    async fn exchange_once(&self, exchange: &Exchange) -> Result<Verified, PayError> {
        let limits = &self.config.limits;
        let answer = self
            .send_signed(exchange, limits.timeout, limits.answer_bytes_max)
            .await?;
        let request_id = request_id(&answer.headers);
        let is_success = matches!(answer.status, 200 | 204);
        let is_authentic = if SignatureHeaders::are_present(&answer.headers) {
            match self.verify_or_refresh(&answer.headers, &answer.body).await {
                Ok(()) => true,
                Err(reason) => {
                    return Err(PayError::Unverified { reason, request_id });
                }
            }
        } else {
            // Not every error is signed. It decides nothing about an order (see `PayRefusal::kind`).
            false
        };
        if !is_success {
            return Err(PayError::Refused(PayRefusal::read(
                answer.status,
                &answer.body,
                request_id,
                is_authentic,
            )));
        }
        if !is_authentic {
            return Err(PayError::Unverified {
                reason: SignatureRefusal::HeaderMissing("Wechatpay-Signature"),
                request_id,
            });
        }
        Ok(Verified {
            body: answer.body,
            request_id,
        })
    }

    /// Verifies, and once more after downloading certificates if the key is unknown.
    pub(crate) async fn verify_or_refresh(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), SignatureRefusal> {
        let headers = SignatureHeaders::from_headers(headers)?;
        let result = self
            .platform_keys
            .verify(&headers, body, self.environment.unix_seconds());
        match result {
            Err(SignatureRefusal::UnknownSerial { .. })
                if self.download_for_unknown_serial(&headers).await =>
            {
                self.platform_keys
                    .verify(&headers, body, self.environment.unix_seconds())
            }
            other => other,
        }
    }

    /// Signs with a fresh time and nonce and sends once. The answer is not verified.
    pub(crate) async fn send_signed(
        &self,
        exchange: &Exchange,
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Result<Answer, PayError> {
        let body = exchange.body.as_deref().unwrap_or_default();
        let target = match exchange.url.query() {
            Some(query) => format!("{}?{query}", exchange.url.path()),
            None => exchange.url.path().to_owned(),
        };
        let authorization = self
            .signer
            .authorization(
                (exchange.method.as_str(), &target),
                self.environment.unix_seconds(),
                &self.nonce(),
                body,
            )
            .and_then(|authorization| HeaderValue::from_str(&authorization).ok())
            .ok_or(PayError::Signing)?;
        let mut request = reqwest::Request::new(exchange.method.clone(), exchange.url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("jifen_wechat/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(serial) = &self.asked_serial
            && let Ok(serial) = HeaderValue::from_str(serial)
        {
            headers.insert(WECHATPAY_SERIAL, serial);
        }
        if let Some(body) = &exchange.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        transport::send(&self.http, request, timeout, answer_bytes_max)
            .await
            .map_err(PayError::Transport)
    }
}

/// What WeChat's support asks for, fit for a log.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get("Request-ID")
        .and_then(|value| value.to_str().ok())
        .map(crate::api::loggable)
        .unwrap_or_default()
}

/// The status of an exchange whose answer is never signed.
pub(crate) fn require_ok(answer: &Answer) -> Result<(), PayError> {
    if answer.status == 200 {
        return Ok(());
    }
    if answer.status >= 500 {
        return Err(PayError::Transport(TransportError::Status {
            status: answer.status,
        }));
    }
    Err(PayError::Refused(PayRefusal::read(
        answer.status,
        &answer.body,
        request_id(&answer.headers),
        false,
    )))
}
