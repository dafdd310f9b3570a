//! Official account: login QR codes, what WeChat pushes, template messages, followers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::api::{Api, ApiError, Call, Repeat};
use crate::environment::Environment;
use crate::keys::SettingError;
use crate::private::Private;
use crate::token::{TokenSettings, TokenSource, TokenStore};
use crate::transport::{self, CallLimits};

mod crypto;
mod push;
mod xml;

pub use crypto::{MessageCrypto, OpenedMessage, SealedMessage};
pub use push::{Push, PushContent, PushQuery, PushRefusal};
pub use xml::XmlRefusal;

/// The body that acknowledges a push without answering the user.
pub const ACKNOWLEDGEMENT: &str = "success";

/// What an [`OfficialAccount`] needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OfficialAccountConfig {
    /// `AppID` of the account.
    pub app_id: String,
    /// `AppSecret` of the account.
    pub app_secret: SecretString,
    /// The token of the account's server settings, with which pushes are signed.
    pub push_token: SecretString,
    /// `EncodingAESKey`: the current one, then the previous one while a change is under way. None for plain mode.
    pub encoding_aes_keys: Vec<SecretString>,
    /// Accept messages that are not encrypted. Their signature does not cover the body: whoever has seen one signed request
    /// can forge others, so this is only for accounts in plain mode.
    pub plain_pushes_accepted: bool,
    /// Refuse pushes that were signed longer ago, or further in the future. The signature stands in the URL, which proxies
    /// log, and in plain mode it does not cover the body: without a limit, one logged URL would forge messages for ever.
    pub push_age_seconds_max: u32,
    /// The largest push that is read.
    pub push_bytes_max: usize,
    /// Where WeChat's interfaces are; `https://api.weixin.qq.com`.
    pub api_base: Url,
    /// Where QR code images are; `https://mp.weixin.qq.com`.
    pub image_base: Url,
    /// Limits of each call.
    pub limits: CallLimits,
    /// How long before its end the access token is renewed.
    pub token_margin_seconds: u32,
}

impl OfficialAccountConfig {
    /// The real WeChat with default limits, in plain mode.
    pub fn new(
        app_id: impl Into<String>,
        app_secret: SecretString,
        push_token: SecretString,
    ) -> Self {
        Self {
            app_id: app_id.into(),
            app_secret,
            push_token,
            encoding_aes_keys: Vec::new(),
            plain_pushes_accepted: true,
            push_age_seconds_max: 300,
            push_bytes_max: 64 * 1024,
            api_base: transport::constant_url("https://api.weixin.qq.com"),
            image_base: transport::constant_url("https://mp.weixin.qq.com"),
            limits: CallLimits::default(),
            token_margin_seconds: 300,
        }
    }

    /// Compatible or secure mode: encrypted messages only. `previous` is the key before a change.
    #[must_use]
    pub fn encrypted(mut self, current: SecretString, previous: Option<SecretString>) -> Self {
        self.encoding_aes_keys = std::iter::once(current).chain(previous).collect();
        self.plain_pushes_accepted = false;
        self
    }
}

/// A QR code to log in with.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct LoginQr {
    /// Names the code in pushes and in the image's URL. Whoever knows it can wait for its scan: keep it from others.
    pub ticket: String,
    /// How long it can be scanned.
    #[serde(rename = "expire_seconds")]
    pub expires_in_seconds: u32,
    /// The content of the code, for drawing it oneself.
    #[serde(rename = "url")]
    pub content: String,
}

/// What WeChat tells about a user of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// Whether the user follows the account; if not, nothing else is known.
    pub is_following: bool,
    /// The user within this account.
    pub openid: Private,
    /// The user across the apps of one Open Platform account, if this account is bound to one.
    pub unionid: Option<Private>,
    /// When the user began to follow, in seconds since 1970.
    pub followed_at_unix_seconds: Option<i64>,
}

/// A template message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateMessage {
    /// Which template, of this account.
    pub template_id: String,
    /// Where a tap leads.
    pub url: Option<String>,
    /// `AppID` and page of a mini program, preferred over `url`.
    pub miniprogram: Option<(String, String)>,
    /// Key of the template → text.
    pub data: BTreeMap<String, String>,
    /// WeChat sends the same id to the same user only once within ten minutes. Without it, a call whose answer is lost is
    /// not repeated.
    pub client_msg_id: Option<String>,
}

/// A client of one official account.
pub struct OfficialAccount {
    config: OfficialAccountConfig,
    crypto: MessageCrypto,
    environment: Arc<dyn Environment>,
    tokens: Arc<TokenSource>,
}

impl OfficialAccount {
    /// `http` should not follow redirects; its TLS is the caller's choice. Fails on an unusable `EncodingAESKey`.
    pub fn new(
        config: OfficialAccountConfig,
        http: reqwest::Client,
        environment: Arc<dyn Environment>,
        token_store: Arc<dyn TokenStore>,
    ) -> Result<Self, SettingError> {
        let crypto = MessageCrypto::new(
            config.app_id.clone(),
            config.push_token.clone(),
            &config.encoding_aes_keys,
        )?;
        let tokens = TokenSource::new(
            TokenSettings {
                app_id: config.app_id.clone(),
                app_secret: config.app_secret.clone(),
                margin_seconds: config.token_margin_seconds,
            },
            Api {
                http,
                base: config.api_base.clone(),
                limits: config.limits.clone(),
            },
            Arc::clone(&environment),
            token_store,
        );
        Ok(Self {
            config,
            crypto,
            environment,
            tokens,
        })
    }

    /// Makes a temporary QR code. `scene` (1 to 64 characters) comes back in the push when it is scanned;
    /// `expire_seconds` is 1 to 2,592,000 (30 days).
    pub async fn create_login_qr(
        &self,
        scene: &str,
        expire_seconds: u32,
    ) -> Result<LoginQr, ApiError> {
        const EXPIRE_SECONDS_MAX: u32 = 2_592_000;
        if scene.is_empty() || scene.chars().count() > 64 {
            return Err(ApiError::Argument {
                argument: "scene",
                expected: "1 to 64 characters",
            });
        }
        if !(1..=EXPIRE_SECONDS_MAX).contains(&expire_seconds) {
            return Err(ApiError::Argument {
                argument: "expire_seconds",
                expected: "1 to 2592000 (30 days)",
            });
        }
        let body = json!({
            "expire_seconds": expire_seconds,
            "action_name": "QR_STR_SCENE",
            // Not nested, WeChat takes it without complaint and the pushes carry no scene.
            "action_info": { "scene": { "scene_str": scene } },
        });
        let code: LoginQr = self
            .tokens
            .call(Call {
                name: "qrcode/create",
                path: "/cgi-bin/qrcode/create",
                query: Vec::new(),
                body: Some(body.to_string().into_bytes()),
                repeat: Repeat::Always,
            })
            .await?;
        if code.ticket.is_empty() {
            return Err(ApiError::Incomplete("ticket"));
        }
        Ok(code)
    }

    /// Where a browser gets the image of the code; needs no access token.
    pub fn qr_image_url(&self, ticket: &str) -> Url {
        let mut url = transport::endpoint(&self.config.image_base, "/cgi-bin/showqrcode");
        // Tickets contain + and =, which have to be encoded.
        url.query_pairs_mut().append_pair("ticket", ticket);
        url
    }

    /// What WeChat knows about a user.
    pub async fn user_info(&self, openid: &Private) -> Result<UserInfo, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            subscribe: u8,
            openid: Private,
            unionid: Option<Private>,
            subscribe_time: Option<i64>,
        }
        let answer: Answer = self
            .tokens
            .call(Call {
                name: "user/info",
                path: "/cgi-bin/user/info",
                query: vec![("openid", openid.as_str()), ("lang", "zh_CN")],
                body: None,
                repeat: Repeat::Always,
            })
            .await?;
        Ok(UserInfo {
            is_following: answer.subscribe != 0,
            openid: answer.openid,
            unionid: answer.unionid.and_then(Private::non_empty),
            followed_at_unix_seconds: answer.subscribe_time.filter(|seconds| *seconds > 0),
        })
    }

    /// Sends a template message to a follower and returns its `msgid`; whether it arrives is pushed later
    /// ([`PushContent::TemplateSent`]).
    pub async fn send_template(
        &self,
        openid: &Private,
        message: &TemplateMessage,
    ) -> Result<u64, ApiError> {
        #[derive(Serialize)]
        struct Body<'a> {
            touser: &'a Private,
            template_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            url: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            miniprogram: Option<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_msg_id: Option<&'a str>,
            data: BTreeMap<&'a str, serde_json::Value>,
        }
        #[derive(Deserialize)]
        struct Answer {
            msgid: u64,
        }
        let body = Body {
            touser: openid,
            template_id: &message.template_id,
            url: message.url.as_deref(),
            miniprogram: message
                .miniprogram
                .as_ref()
                .map(|(app_id, page)| json!({ "appid": app_id, "pagepath": page })),
            client_msg_id: message.client_msg_id.as_deref(),
            data: message
                .data
                .iter()
                .map(|(key, value)| (key.as_str(), json!({ "value": value })))
                .collect(),
        };
        let answer: Answer = self
            .tokens
            .call(Call {
                name: "message/template/send",
                path: "/cgi-bin/message/template/send",
                query: Vec::new(),
                body: Some(transport::json_bytes(&body)),
                repeat: if message.client_msg_id.is_some() {
                    Repeat::Always
                } else {
                    Repeat::OnlyUnprocessed
                },
            })
            .await?;
        Ok(answer.msgid)
    }

    /// The GET with which WeChat checks the server: returns what to answer as `text/plain`.
    pub fn verify_server<'q>(&self, query: &'q PushQuery) -> Result<&'q str, PushRefusal> {
        self.verify_plain(query)?;
        query
            .echostr
            .as_deref()
            .ok_or(PushRefusal::Element("echostr"))
    }

    /// Verifies, decrypts where necessary, and reads a pushed message. Answer within five seconds, or WeChat sends it again;
    /// [`Push::dedupe_key`] recognises that.
    pub fn receive(&self, query: &PushQuery, body: &[u8]) -> Result<Push, PushRefusal> {
        let is_encrypted = query.encrypt_type.as_deref() == Some("aes");
        if is_encrypted && self.crypto.has_keys() {
            return self.receive_encrypted(query, body);
        }
        if !self.config.plain_pushes_accepted {
            return Err(PushRefusal::NotEncrypted);
        }
        self.verify_plain(query)?;
        self.check_age(query)?;
        let elements = xml::parse(body, self.config.push_bytes_max)?;
        // Compatible mode carries the plain elements beside the encrypted ones, secure mode does not.
        if elements.get("Encrypt").is_some() && elements.get("MsgType").is_none() {
            return Err(PushRefusal::NoKey);
        }
        Push::from_elements(&elements, None)
    }

    fn receive_encrypted(&self, query: &PushQuery, body: &[u8]) -> Result<Push, PushRefusal> {
        let signature = query
            .msg_signature
            .as_deref()
            .ok_or(PushRefusal::Signature)?;
        let envelope = xml::parse(body, self.config.push_bytes_max)?;
        let encrypt = envelope
            .get("Encrypt")
            .ok_or(PushRefusal::Element("Encrypt"))?;
        let opened = self
            .crypto
            .open(&query.timestamp, &query.nonce, signature, encrypt)?;
        self.check_age(query)?;
        let elements = xml::parse(&opened.plaintext, self.config.push_bytes_max)?;
        Push::from_elements(&elements, Some((opened.key_index, query.nonce.clone())))
    }

    /// The body (`application/xml`) that answers a push with a text, sealed if the push was. The empty answer is
    /// [`ACKNOWLEDGEMENT`], never sealed. Fails only for a push that another client received, whose key this one lacks.
    pub fn reply_text(&self, push: &Push, text: &str) -> Result<Vec<u8>, PushRefusal> {
        let now = self.environment.unix_seconds().to_string();
        let reply = format!(
            "<xml>\n<ToUserName>{}</ToUserName>\n<FromUserName>{}</FromUserName>\n<CreateTime>{now}</CreateTime>\n\
             <MsgType><![CDATA[text]]></MsgType>\n<Content>{}</Content>\n</xml>",
            xml::cdata(push.openid.as_str()),
            xml::cdata(&push.account),
            xml::cdata(text),
        );
        let Some((key_index, nonce)) = &push.sealed_with else {
            return Ok(reply.into_bytes());
        };
        let mut random = [0; 16];
        self.environment.fill_random(&mut random);
        let sealed = self
            .crypto
            .seal(*key_index, random, (&now, nonce), reply.as_bytes())
            .ok_or(PushRefusal::NoKey)?;
        Ok(format!(
            "<xml>\n<Encrypt>{}</Encrypt>\n<MsgSignature>{}</MsgSignature>\n<TimeStamp>{now}</TimeStamp>\n<Nonce>{}</Nonce>\n</xml>",
            xml::cdata(&sealed.encrypt),
            xml::cdata(&sealed.msg_signature),
            xml::cdata(nonce),
        )
        .into_bytes())
    }

    /// Asks WeChat for an access token: whether `AppID`, `AppSecret` and the list of allowed IP addresses are right.
    pub async fn probe(&self) -> Result<(), ApiError> {
        self.tokens.probe().await
    }

    fn check_age(&self, query: &PushQuery) -> Result<(), PushRefusal> {
        let signed_at: i64 = query
            .timestamp
            .parse()
            .map_err(|_| PushRefusal::Element("timestamp"))?;
        let age = self.environment.unix_seconds().abs_diff(signed_at);
        if age > u64::from(self.config.push_age_seconds_max) {
            return Err(PushRefusal::Age);
        }
        Ok(())
    }

    fn verify_plain(&self, query: &PushQuery) -> Result<(), PushRefusal> {
        if self
            .crypto
            .verify(&query.timestamp, &query.nonce, &query.signature)
        {
            Ok(())
        } else {
            Err(PushRefusal::Signature)
        }
    }
}

impl fmt::Debug for OfficialAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OfficialAccount")
            .field("app_id", &self.config.app_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginQr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginQr")
            .field("expires_in_seconds", &self.expires_in_seconds)
            .finish_non_exhaustive()
    }
}
