//! The official account: tickets and QR codes, followers, template messages, pushed messages and the chats they belong to.

use std::collections::{HashMap, VecDeque};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::Response,
    routing::{get, post},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access_token::Query,
    locked::Locked,
    people::Person,
    sandbox::{Config, Limits, Sandbox},
    wechat_errcode::{Errcode, answer},
};

mod person;
mod png;
mod push;
mod qr_code;
mod reply;
mod secure;
mod template;
mod verification;
mod xml;

pub(crate) use person::Pushed;
pub(crate) use qr_code::QrCode;
pub(crate) use secure::hex;
pub(crate) use verification::{Verification, verify_server};

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/cgi-bin/qrcode/create", post(qr_code::create))
        .route("/cgi-bin/showqrcode", get(qr_code::show))
        .route("/cgi-bin/user/info", get(user_info))
        .route("/cgi-bin/message/template/send", post(template::send))
}

/// How pushed messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PushMode {
    /// In clear.
    #[default]
    Plain,
    /// In clear and encrypted.
    Compatible,
    /// Encrypted only.
    Secure,
}

impl PushMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Compatible => "compatible",
            Self::Secure => "secure",
        }
    }
}

/// What an operator sets on the account's page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Where messages are pushed to; without, none are.
    #[serde(default)]
    pub(crate) push_url: Option<String>,
    #[serde(default)]
    pub(crate) mode: PushMode,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Author {
    Person,
    /// A passive reply.
    Account,
    /// A template message.
    Template,
    /// WeChat itself: "this account cannot provide service now", follow and unfollow.
    Wechat,
}

/// A line of a person's chat with the account.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChatMessage {
    pub(crate) at: Timestamp,
    pub(crate) from: Author,
    pub(crate) text: String,
    /// Where a template message leads.
    pub(crate) url: Option<String>,
}

/// The account's state.
pub(crate) struct OfficialAccount {
    limits: Limits,
    state: Locked<AccountState>,
}

#[derive(Default)]
struct AccountState {
    settings: Settings,
    qr_codes: VecDeque<QrCode>,
    chats: HashMap<String, VecDeque<ChatMessage>>,
    /// `(openid, client_msg_id)`, when, and the msgid answered.
    sent_templates: VecDeque<(String, String, Timestamp, u64)>,
    last_msg_id: u64,
}

impl OfficialAccount {
    pub(crate) fn new(config: &Config) -> Self {
        let settings = Settings {
            push_url: config.official_account_push_url.clone(),
            mode: PushMode::Plain,
        };
        let state = AccountState {
            settings,
            last_msg_id: 200_000_000,
            ..AccountState::default()
        };
        Self {
            limits: config.limits,
            state: Locked::new(state),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.state.lock().settings.clone()
    }

    /// Takes new settings; `Err` is a sentence about the URL.
    pub(crate) fn set(&self, settings: Settings) -> Result<Settings, String> {
        if let Some(push_url) = &settings.push_url {
            let url = url::Url::parse(push_url).map_err(|error| format!("push_url: {error}"))?;
            if !matches!(url.scheme(), "http" | "https")
                || url.query().is_some()
                || push_url.len() > 500
            {
                return Err("push_url must be an http(s) URL without a query".into());
            }
        }
        self.state.lock().settings = settings.clone();
        Ok(settings)
    }

    /// A person's chat, oldest first.
    pub(crate) fn chat(&self, person_id: &str) -> Vec<ChatMessage> {
        self.state
            .lock()
            .chats
            .get(person_id)
            .map(|chat| chat.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn write(&self, person_id: &str, message: ChatMessage) {
        let mut state = self.state.lock();
        let chat = state.chats.entry(person_id.to_owned()).or_default();
        while chat.len() >= self.limits.chat_messages_max.max(1) {
            chat.pop_front();
        }
        chat.push_back(message);
    }

    fn next_msg_id(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_msg_id += 1;
        state.last_msg_id
    }
}

/// Checks the token of a call to the account's API.
fn check_token(sandbox: &Sandbox, query: &Query) -> Result<(), Errcode> {
    let now = sandbox.environment().now();
    let appid = sandbox
        .access_tokens()
        .check(query.get("access_token"), now)?;
    let right = sandbox.kit().official_account_appid;
    if appid == right {
        return Ok(());
    }
    Err(
        Errcode::new(48001, "api unauthorized", "the token is the mini program's")
            .compare("appid", right, appid),
    )
}

async fn user_info(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    match check_token(&sandbox, &query).and_then(|()| find_person(&sandbox, query.get("openid"))) {
        Ok(person) => answer(&describe(&person, sandbox.kit().official_account_appid)),
        Err(error) => error.respond(sandbox.environment()),
    }
}

fn describe(person: &Person, appid: &str) -> serde_json::Value {
    let openid = person.openid(appid);
    let Some(since) = person.follows_since else {
        return json!({"subscribe": 0, "openid": openid});
    };
    let mut info = json!({
        "subscribe": 1, "openid": openid, "nickname": "", "sex": 0, "language": "zh_CN", "city": "", "province": "",
        "country": "", "headimgurl": "", "subscribe_time": since.as_second(), "remark": "", "groupid": 0,
        "tagid_list": [], "subscribe_scene": "ADD_SCENE_QR_CODE", "qr_scene": 0, "qr_scene_str": "",
    });
    if let (Some(unionid), Some(object)) = (person.unionid(), info.as_object_mut()) {
        object.insert("unionid".into(), unionid.into());
    }
    info
}

fn find_person(sandbox: &Sandbox, openid: &str) -> Result<Person, Errcode> {
    let kit = sandbox.kit();
    sandbox
        .people()
        .find_by_openid(kit.official_account_appid, openid)
        .ok_or_else(|| {
            let of_mini_program = sandbox
                .people()
                .find_by_openid(kit.mini_program_appid, openid)
                .is_some();
            let reason = if of_mini_program {
                "this is an openid of the mini program; every app has its own"
            } else {
                "nobody has this openid in the official account"
            };
            Errcode::new(40003, "invalid openid", reason).compare(
                "openid",
                "one of the official account",
                openid,
            )
        })
}
