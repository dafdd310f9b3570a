//! Mini program: login, phone number, and the data the client sends encrypted.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::api::{Api, ApiError, Call, Repeat};
use crate::environment::Environment;
use crate::private::Private;
use crate::token::{TokenSettings, TokenSource, TokenStore};
use crate::transport::{self, CallLimits};

mod open_data;

pub use open_data::{OpenDataRefusal, UserProfile, Watermark};

/// What a [`MiniProgram`] needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MiniProgramConfig {
    /// `AppID` of the mini program.
    pub app_id: String,
    /// `AppSecret` of the mini program.
    pub app_secret: SecretString,
    /// Where WeChat's interfaces are; `https://api.weixin.qq.com`.
    pub api_base: Url,
    /// Limits of each call.
    pub limits: CallLimits,
    /// How long before its end the access token is renewed.
    pub token_margin_seconds: u32,
    /// Refuse encrypted data whose watermark is older, or lies further in the future. WeChat sets no limit; `None` is none.
    pub open_data_age_seconds_max: Option<u32>,
}

impl MiniProgramConfig {
    /// The real WeChat with default limits.
    pub fn new(app_id: impl Into<String>, app_secret: SecretString) -> Self {
        Self {
            app_id: app_id.into(),
            app_secret,
            api_base: transport::constant_url("https://api.weixin.qq.com"),
            limits: CallLimits::default(),
            token_margin_seconds: 300,
            open_data_age_seconds_max: None,
        }
    }
}

/// Who has logged in.
#[derive(Debug, Clone)]
pub struct Session {
    /// The user within this mini program.
    pub openid: Private,
    /// The user across the apps of one Open Platform account, if the mini program is bound to one.
    pub unionid: Option<Private>,
    /// Decrypts what the client of this same login sends. Must not leave the server.
    pub session_key: SecretString,
}

/// A phone number confirmed by WeChat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneNumber {
    /// As WeChat writes it: foreign numbers carry their country code.
    pub phone_number: Private,
    /// Without country code.
    pub pure_phone_number: Private,
    /// Digits, `86` for China.
    pub country_code: String,
}

/// A client of one mini program.
pub struct MiniProgram {
    config: MiniProgramConfig,
    api: Api,
    environment: Arc<dyn Environment>,
    tokens: Arc<TokenSource>,
}

impl MiniProgram {
    /// `http` should not follow redirects; its TLS is the caller's choice.
    pub fn new(
        config: MiniProgramConfig,
        http: reqwest::Client,
        environment: Arc<dyn Environment>,
        token_store: Arc<dyn TokenStore>,
    ) -> Self {
        let api = Api {
            http,
            base: config.api_base.clone(),
            limits: config.limits.clone(),
        };
        let tokens = TokenSource::new(
            TokenSettings {
                app_id: config.app_id.clone(),
                app_secret: config.app_secret.clone(),
                margin_seconds: config.token_margin_seconds,
            },
            api.clone(),
            Arc::clone(&environment),
            token_store,
        );
        Self {
            config,
            api,
            environment,
            tokens,
        }
    }

    /// code2Session: exchanges the code of `wx.login()`, which works once and for five minutes.
    pub async fn login(&self, code: &str) -> Result<Session, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            openid: Private,
            #[serde(default)]
            session_key: String,
            unionid: Option<Private>,
        }
        require_code(code)?;
        let answer: Answer = self
            .api
            .call(&Call {
                name: "jscode2session",
                path: "/sns/jscode2session",
                query: vec![
                    ("appid", &self.config.app_id),
                    ("secret", self.config.app_secret.expose_secret()),
                    ("js_code", code),
                    ("grant_type", "authorization_code"),
                ],
                body: None,
                // If the first attempt was executed after all, the second says "code used": nothing is lost but the code.
                repeat: Repeat::Always,
            })
            .await?;
        if answer.session_key.is_empty() {
            return Err(ApiError::Incomplete("session_key"));
        }
        Ok(Session {
            openid: answer
                .openid
                .non_empty()
                .ok_or(ApiError::Incomplete("openid"))?,
            unionid: answer.unionid.and_then(Private::non_empty),
            session_key: answer.session_key.into(),
        })
    }

    /// Exchanges the code of the phone number button (not the one of `wx.login()`). With `openid`, WeChat checks that both
    /// belong together.
    pub async fn phone_number(
        &self,
        code: &str,
        openid: Option<&Private>,
    ) -> Result<PhoneNumber, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            phone_info: open_data::PhoneData,
        }
        require_code(code)?;
        let mut body = json!({ "code": code });
        if let (Some(openid), Some(object)) = (openid, body.as_object_mut()) {
            object.insert("openid".into(), openid.as_str().into());
        }
        let answer: Answer = self
            .tokens
            .call(Call {
                name: "getuserphonenumber",
                path: "/wxa/business/getuserphonenumber",
                query: Vec::new(),
                body: Some(body.to_string().into_bytes()),
                repeat: Repeat::Always,
            })
            .await?;
        if answer.phone_info.watermark.app_id != self.config.app_id {
            return Err(ApiError::Incomplete("a watermark of this mini program"));
        }
        let phone_number = PhoneNumber::from(answer.phone_info);
        if phone_number.phone_number.as_str().is_empty() {
            return Err(ApiError::Incomplete("phoneNumber"));
        }
        Ok(phone_number)
    }

    /// Whether `signature` proves that `raw_data` (the exact text from the client) comes from WeChat for this session.
    pub fn verify_raw_data(
        &self,
        session_key: &SecretString,
        raw_data: &str,
        signature: &str,
    ) -> bool {
        open_data::verify_raw_data(session_key, raw_data, signature)
    }

    /// Decrypts `encryptedData` of `wx.getUserProfile`. `openid` is the one [`MiniProgram::login`] returned together with
    /// `session_key`: data of another user is refused.
    pub fn decrypt_user_profile(
        &self,
        session_key: &SecretString,
        encrypted_data: &str,
        iv: &str,
        openid: &Private,
    ) -> Result<UserProfile, OpenDataRefusal> {
        let plaintext = open_data::decrypt(session_key, encrypted_data, iv)?;
        let profile: UserProfile = open_data::parse(&plaintext)?;
        self.check_watermark(&profile.watermark)?;
        match &profile.openid {
            Some(inner) if inner != openid => Err(OpenDataRefusal::OtherUser),
            _ => Ok(profile),
        }
    }

    /// Decrypts `encryptedData` of the phone number button of old clients.
    pub fn decrypt_phone_number(
        &self,
        session_key: &SecretString,
        encrypted_data: &str,
        iv: &str,
    ) -> Result<PhoneNumber, OpenDataRefusal> {
        let plaintext = open_data::decrypt(session_key, encrypted_data, iv)?;
        let data: open_data::PhoneData = open_data::parse(&plaintext)?;
        self.check_watermark(&data.watermark)?;
        Ok(data.into())
    }

    /// Asks WeChat for an access token: whether `AppID`, `AppSecret` and the list of allowed IP addresses are right.
    pub async fn probe(&self) -> Result<(), ApiError> {
        self.tokens.probe().await
    }

    fn check_watermark(&self, watermark: &Watermark) -> Result<(), OpenDataRefusal> {
        open_data::check_watermark(
            watermark,
            &self.config.app_id,
            self.environment.unix_seconds(),
            self.config.open_data_age_seconds_max,
        )
    }
}

impl fmt::Debug for MiniProgram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MiniProgram")
            .field("app_id", &self.config.app_id)
            .finish_non_exhaustive()
    }
}

fn require_code(code: &str) -> Result<(), ApiError> {
    const CODE_BYTES_MAX: usize = 512;
    if code.is_empty() || code.len() > CODE_BYTES_MAX {
        return Err(ApiError::Argument {
            argument: "code",
            expected: "1 to 512 bytes",
        });
    }
    Ok(())
}
