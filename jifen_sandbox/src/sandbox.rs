//! The sandbox itself: its configuration, its state, its server.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum::{
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
};
use tokio::net::TcpListener;

use crate::{
    access_token::AccessTokens,
    alipay::Alipay,
    environment::{Environment, SystemEnvironment},
    exchanges::ExchangeLog,
    faults::Faults,
    kit::Kit,
    mails::MailBox,
    mini_program::MiniProgram,
    observe::{observe, unknown_url},
    official_account::OfficialAccount,
    outbox::Outbox,
    people::People,
    same_origin::same_origin,
    wechat_pay::WechatPay,
};

/// How a sandbox is set up.
#[derive(Clone)]
pub struct Config {
    /// Where integrators and browsers reach the sandbox, e.g. `http://127.0.0.1:8090`, without a slash at its end. It stands in
    /// QR codes and in the links the provider answers with.
    pub public_base_url: String,
    /// Where the official account pushes messages to. Changeable while running.
    pub official_account_push_url: Option<String>,
    /// The providers' retry schedules are divided by this: 1 is real time, 60 makes minutes of hours. At least 1.
    pub time_compression: u32,
    /// Whether notifications are sent by themselves. Without, only `POST /sandbox/api/outbox/flush` and `/deliver-due` send: for
    /// tests that want to decide when.
    pub automatic_delivery: bool,
    /// The bounds of everything that grows.
    pub limits: Limits,
    /// Clock and randomness.
    pub environment: Arc<dyn Environment>,
    /// Sends the notifications. It must not follow redirects; [`outgoing_client`] makes one.
    pub client: reqwest::Client,
}

impl Config {
    /// Real time, sixty-fold retry schedules, notifications by themselves, ordinary limits, no push URL.
    pub fn new(public_base_url: impl Into<String>, client: reqwest::Client) -> Self {
        Self {
            public_base_url: public_base_url.into().trim_end_matches('/').to_owned(),
            official_account_push_url: None,
            time_compression: 60,
            automatic_delivery: true,
            limits: Limits::default(),
            environment: Arc::new(SystemEnvironment),
            client,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("public_base_url", &self.public_base_url)
            .field("official_account_push_url", &self.official_account_push_url)
            .field("time_compression", &self.time_compression)
            .field("automatic_delivery", &self.automatic_delivery)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The bounds of everything that grows. Where one is reached the oldest gives way, or the request is refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// People.
    pub people_max: usize,
    /// Exchanges in the log.
    pub exchanges_max: usize,
    /// Bytes of a body the log keeps.
    pub exchange_body_bytes_max: usize,
    /// Faults in force.
    pub faults_max: usize,
    /// Notifications remembered, waiting and finished.
    pub notifications_max: usize,
    /// Mails kept.
    pub mails_max: usize,
    /// Payments remembered per provider.
    pub payments_max: usize,
    /// Codes (`wx.login`, phone) and QR codes remembered, each.
    pub codes_max: usize,
    /// Messages in one person's chat.
    pub chat_messages_max: usize,
    /// Bytes of a request's body, and of an answer to a notification.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            people_max: 200,
            exchanges_max: 500,
            exchange_body_bytes_max: 16 * 1024,
            faults_max: 50,
            notifications_max: 1_000,
            mails_max: 200,
            payments_max: 2_000,
            codes_max: 2_000,
            chat_messages_max: 200,
            body_bytes_max: 64 * 1024,
        }
    }
}

/// An HTTP client fit for notifications: no redirects, no proxy, a bounded wait for the connection.
pub fn outgoing_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .build()
}

/// A running stand-in for WeChat and Alipay. Clones share one state.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    config: Config,
    people: People,
    exchanges: ExchangeLog,
    faults: Faults,
    outbox: Outbox,
    mails: MailBox,
    access_tokens: AccessTokens,
    mini_program: MiniProgram,
    official_account: OfficialAccount,
    wechat_pay: WechatPay,
    alipay: Alipay,
}

impl Sandbox {
    /// A sandbox with the demo people and nothing else.
    pub fn new(config: Config) -> Self {
        let limits = config.limits;
        Self(Arc::new(Inner {
            people: People::new(limits.people_max, config.environment.now()),
            exchanges: ExchangeLog::new(limits.exchanges_max),
            faults: Faults::new(limits.faults_max),
            outbox: Outbox::new(limits.notifications_max),
            mails: MailBox::new(limits.mails_max),
            access_tokens: AccessTokens::default(),
            mini_program: MiniProgram::new(limits.codes_max),
            official_account: OfficialAccount::new(&config),
            wechat_pay: WechatPay::new(&config),
            alipay: Alipay::new(&config),
            config,
        }))
    }

    /// Every URL of the sandbox. Without [`Sandbox::serve`] nothing sends notifications by itself.
    pub fn router(&self) -> axum::Router {
        let protocols = axum::Router::new()
            .merge(crate::access_token::router())
            .merge(crate::mini_program::router())
            .merge(crate::official_account::router())
            .merge(crate::wechat_pay::protocol_router(self))
            .merge(crate::alipay::protocol_router())
            .fallback(unknown_url)
            .layer(from_fn_with_state(self.clone(), observe));
        let pages = axum::Router::new()
            .merge(crate::control::router())
            .merge(crate::pages::router())
            .merge(crate::wechat_pay::control_router())
            .merge(crate::alipay::control_router())
            .merge(crate::wechat_pay::page_router())
            .merge(crate::alipay::page_router())
            .layer(DefaultBodyLimit::max(self.config().limits.body_bytes_max))
            .layer(from_fn(same_origin))
            .layer(from_fn(crate::pages::face));
        protocols.merge(pages).with_state(self.clone())
    }

    /// Serves and delivers notifications until `shutdown` resolves.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        crate::serve::serve(self, listener, shutdown).await;
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn environment(&self) -> &dyn Environment {
        &*self.0.config.environment
    }

    #[expect(
        clippy::unused_self,
        reason = "read like the rest of the state; the kit happens to be fixed"
    )]
    pub(crate) fn kit(&self) -> &'static Kit {
        Kit::builtin()
    }

    /// `path` (with its leading slash) at the sandbox's public address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.config.public_base_url)
    }

    pub(crate) fn people(&self) -> &People {
        &self.0.people
    }

    pub(crate) fn exchanges(&self) -> &ExchangeLog {
        &self.0.exchanges
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    pub(crate) fn mails(&self) -> &MailBox {
        &self.0.mails
    }

    pub(crate) fn access_tokens(&self) -> &AccessTokens {
        &self.0.access_tokens
    }

    pub(crate) fn mini_program(&self) -> &MiniProgram {
        &self.0.mini_program
    }

    pub(crate) fn official_account(&self) -> &OfficialAccount {
        &self.0.official_account
    }

    pub(crate) fn wechat_pay(&self) -> &WechatPay {
        &self.0.wechat_pay
    }

    pub(crate) fn alipay(&self) -> &Alipay {
        &self.0.alipay
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sandbox")
            .field("config", self.config())
            .finish_non_exhaustive()
    }
}
