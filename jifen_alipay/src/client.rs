//! The client and how it calls the gateway.

use std::fmt;
use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, root_of, verify_answer};
use crate::beijing::format_beijing;
use crate::certificate::{Certificate, root_bundle_sn};
use crate::config::{Config, KeyMode, Limits};
use crate::environment::Environment;
use crate::error::{AnswerError, Error, RequestError};
use crate::keys::{AlipayKey, AppKey, SettingError, SigningError};
use crate::signing::{append_pair, sign_content};
use crate::transport;

/// One app at Alipay's open platform. Cheap to share behind an `Arc`; keys are parsed once, in [`Alipay::new`].
pub struct Alipay {
    pub(crate) gateway: String,
    pub(crate) app_id: String,
    pub(crate) app_key: AppKey,
    pub(crate) verifying_key: AlipayKey,
    certificates: Option<CertificateNumbers>,
    pub(crate) limits: Limits,
    pub(crate) http: reqwest::Client,
    pub(crate) environment: Arc<dyn Environment>,
}

/// Alipay's serial numbers of the certificates, in certificate mode.
struct CertificateNumbers {
    app: String,
    alipay_root: String,
    alipay: String,
}

impl Alipay {
    /// Checks the settings and parses the keys. Calls nobody.
    pub fn new(
        config: Config,
        http: reqwest::Client,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, SettingError> {
        let Config {
            gateway,
            app_id,
            app_private_key,
            key_mode,
            limits,
        } = config;
        if !matches!(gateway.scheme(), "http" | "https")
            || gateway.query().is_some()
            || gateway.fragment().is_some()
            // It is written into an HTML attribute as it is.
            || gateway.as_str().contains(['&', '"', '\'', '<', '>'])
        {
            return Err(SettingError {
                setting: "gateway",
                expected: "an http or https URL without query, fragment, quotes and &",
                found: "another URL".into(),
            });
        }
        if !(1..=32).contains(&app_id.len()) || !app_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SettingError {
                setting: "app id",
                expected: "1 to 32 digits, as Alipay's console shows them",
                found: "something else".into(),
            });
        }
        let app_key = AppKey::parse(app_private_key.expose_secret())?;
        let (verifying_key, certificates) = match key_mode {
            KeyMode::PublicKey { alipay_public_key } => {
                let key = AlipayKey::parse(&alipay_public_key)?;
                key.refuse_if_of(&app_key)?;
                (key, None)
            }
            KeyMode::Certificate {
                app_certificate,
                alipay_certificate,
                alipay_root_certificates,
            } => {
                let (key, numbers) = read_certificates(
                    &app_key,
                    &app_certificate,
                    &alipay_certificate,
                    &alipay_root_certificates,
                )?;
                (key, Some(numbers))
            }
        };
        Ok(Self {
            gateway: gateway.into(),
            app_id,
            app_key,
            verifying_key,
            certificates,
            limits,
            http,
            environment,
        })
    }

    /// The app's number.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The bare signature of this app over `message`: what every request and form costs at least.
    pub fn sign_raw(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        self.app_key.sign_raw(message)
    }

    /// Checks an answer of the gateway to `method` that came in another way than through this client.
    pub fn verify_answer(&self, method: &str, body: &[u8]) -> Result<Answer, AnswerError> {
        verify_answer(
            body,
            &root_of(method),
            &self.verifying_key,
            self.certificates
                .as_ref()
                .map(|numbers| numbers.alipay.as_str()),
        )
    }

    /// The two parameters of certificate mode; nothing in key mode.
    pub(crate) fn certificate_parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.certificates.iter().flat_map(|numbers| {
            [
                ("app_cert_sn", numbers.app.as_str()),
                ("alipay_root_cert_sn", numbers.alipay_root.as_str()),
            ]
        })
    }

    /// Calls `method`. Repeats the same bytes where that can help: every method of this crate is idempotent, refunds
    /// by their `out_request_no`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        biz_content: &impl Serialize,
    ) -> Result<T, Error> {
        let biz_content = to_json(biz_content)?;
        let url = self.signed_url(method, &biz_content)?;
        let mut body = String::new();
        append_pair(&mut body, "biz_content", &biz_content);

        let mut attempt = 1;
        let text = loop {
            let error = match self.exchange(method, &url, &body).await {
                Ok(text) => break text,
                Err(error) => error,
            };
            if attempt >= self.limits.attempts_max || !error.is_worth_repeating() {
                return Err(error);
            }
            tracing::warn!(method, attempt, %error, "repeating a call to Alipay");
            tokio::time::sleep(self.limits.delay_after(attempt)).await;
            attempt += 1;
        };
        serde_json::from_str(&text)
            .map_err(|_| AnswerError::Malformed("a field of another type than documented").into())
    }

    /// The gateway's URL with all public parameters and the signature; `charset` must stand here and not in the body,
    /// else the gateway may answer in GBK.
    fn signed_url(&self, method: &str, biz_content: &str) -> Result<String, RequestError> {
        let timestamp = format_beijing(self.environment.unix_seconds()).ok_or(TIMESTAMP)?;
        let mut parameters = vec![
            ("app_id", self.app_id.as_str()),
            ("method", method),
            ("charset", "utf-8"),
            ("version", "1.0"),
            ("sign_type", "RSA2"),
            ("timestamp", timestamp.as_str()),
        ];
        parameters.extend(self.certificate_parameters());
        parameters.push(("biz_content", biz_content));
        let sign = self.app_key.sign(sign_content(&parameters).as_bytes())?;
        parameters.pop();
        parameters.push(("sign", &sign));
        let mut url = format!("{}?", self.gateway);
        for (name, value) in parameters {
            append_pair(&mut url, name, value);
        }
        Ok(url)
    }

    async fn exchange(&self, method: &str, url: &str, body: &str) -> Result<String, Error> {
        let request = self
            .http
            .post(url)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded;charset=utf-8"),
            )
            .body(body.to_owned());
        let bytes =
            transport::send(request, self.limits.timeout, self.limits.answer_bytes_max).await?;
        let answer = self.verify_answer(method, &bytes)?;
        Ok(answer.into_result()?)
    }
}

impl fmt::Debug for Alipay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Alipay")
            .field("gateway", &self.gateway)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

pub(crate) const TIMESTAMP: RequestError = RequestError::Field {
    field: "timestamp",
    rule: "a time between the years -9999 and 9999",
};

/// `biz_content` as JSON text.
pub(crate) fn to_json(content: &impl Serialize) -> Result<String, RequestError> {
    serde_json::to_string(content).map_err(|_| RequestError::Field {
        field: "biz_content",
        rule: "writable as JSON",
    })
}

fn read_certificates(
    app_key: &AppKey,
    app_certificate: &str,
    alipay_certificate: &str,
    alipay_root_certificates: &str,
) -> Result<(AlipayKey, CertificateNumbers), SettingError> {
    let unreadable = |setting, expected| SettingError {
        setting,
        expected,
        found: "text in which no certificate can be read".into(),
    };
    let app_expected =
        "the certificate of the app private key in PEM (appCertPublicKey_<app id>.crt)";
    let app_setting = "app certificate";
    let app = Certificate::from_pem(app_certificate)
        .ok_or_else(|| unreadable(app_setting, app_expected))?;
    if !app_key.has_public_half(app.public_key_spki()) {
        return Err(SettingError {
            setting: app_setting,
            expected: app_expected,
            found: "a certificate of another key".into(),
        });
    }
    let alipay = Certificate::from_pem(alipay_certificate).ok_or_else(|| {
        unreadable(
            "Alipay public certificate",
            "Alipay's certificate in PEM (alipayCertPublicKey_RSA2.crt)",
        )
    })?;
    let alipay_key = AlipayKey::from_certificate(&alipay)?;
    alipay_key.refuse_if_of(app_key)?;
    let alipay_root = root_bundle_sn(alipay_root_certificates).ok_or_else(|| {
        unreadable(
            "Alipay root certificates",
            "the bundle of root certificates in PEM, at least one signed with RSA (alipayRootCert.crt)",
        )
    })?;
    Ok((
        alipay_key,
        CertificateNumbers {
            app: app.sn(),
            alipay_root,
            alipay: alipay.sn(),
        },
    ))
}
