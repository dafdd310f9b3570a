//! The use cases of the mall, one a file: load, decide (in `jifen_domain`), write, enqueue what follows, all in one
//! transaction. No call to a provider is ever made inside a transaction.

mod access_tokens;
mod alipay_notification;
mod api_keys;
mod audit;
mod buy;
mod catalogue;
mod charge;
mod check_payment;
mod doctor;
mod environment;
mod error;
mod history;
mod identity;
mod jobs;
mod mail;
mod official_account;
pub mod operator;
mod profile;
mod provider_orders;
mod qr_login;
mod secret;
mod session;
mod settle;
mod sign_in;
mod system;
mod wechat_pay_notification;

use std::sync::Arc;

use jifen_alipay::Alipay;
use jifen_domain::Time;
use jifen_store::Store;
use jifen_wechat::miniprogram::MiniProgram;
use jifen_wechat::official::OfficialAccount;
use jifen_wechat::pay::Pay;
use tokio::sync::Notify;

pub use access_tokens::SharedTokens;
pub use alipay_notification::AlipayAnswer;
pub use api_keys::CreatedKey;
pub use audit::AuditReport;
pub use buy::WechatOrder;
pub use charge::{ChargeRequest, Charged, charge_id};
pub use check_payment::PaymentStatus;
pub use doctor::{Diagnosis, Health};
pub use environment::{Environment, ProviderEnvironment, SystemEnvironment};
pub use error::{Error, Language, Result, Text};
pub use history::{Page, Paging};
pub use mail::Mailer;
pub use official_account::{PushAnswer, PushQuery};
pub use profile::Profile;
pub use qr_login::{CheckedLogin, QrTicket};
pub use session::IssuedToken;
pub use sign_in::{EncryptedProfile, SignedIn};
pub use wechat_pay_notification::WechatPayAnswer;

pub use jifen_store::{Consumption, Maintenance, Notice, PaymentIncident, ServiceCredential};

/// What the mall is told by its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the providers and browsers reach the mall, without a slash at its end: `https://api.example.com`.
    pub public_base_url: String,
    /// The mini program's app id; identities and payers belong to it.
    pub mini_program_app_id: Option<String>,
    /// The merchant number at WeChat Pay.
    pub wechat_pay_mch_id: Option<String>,
    /// The official account's app id.
    pub official_account_app_id: Option<String>,
    /// The template message after a web login; none is sent without.
    pub login_template_id: Option<String>,
    /// Seconds a login QR code lives, 60 to 2,592,000.
    pub login_qr_seconds: u32,
    /// The application's id at Alipay.
    pub alipay_app_id: Option<String>,
    /// The merchant's account at Alipay; notifications for another are refused when it is known.
    pub alipay_seller_id: Option<String>,
    /// Where Alipay sends the buyer's browser after paying.
    pub alipay_return_url: Option<String>,
    /// Whether `create_pay_order` asks for the session of the user it names.
    pub alipay_require_login: bool,
}

/// The providers that are configured.
#[derive(Default)]
pub struct Providers {
    /// Mini program login and phone numbers.
    pub mini_program: Option<MiniProgram>,
    /// Web login by QR code.
    pub official_account: Option<OfficialAccount>,
    /// WeChat Pay.
    pub wechat_pay: Option<Pay>,
    /// Alipay.
    pub alipay: Option<Alipay>,
}

/// The mall without its URLs. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What [`App`] is made of.
pub struct Parts {
    store: Store,
    environment: Arc<dyn Environment>,
    settings: Settings,
    providers: Providers,
    mailer: Mailer,
    hasher: secret::Hasher,
    maintenance_cache: system::MaintenanceCache,
    job_added: Notify,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the mall together. `server_secret` keys the hashes of everything it gives out.
    pub fn new(
        store: Store,
        environment: Arc<dyn Environment>,
        settings: Settings,
        server_secret: &[u8],
        providers: Providers,
        mailer: Mailer,
    ) -> Self {
        Self(Arc::new(Parts {
            store,
            environment,
            settings,
            providers,
            mailer,
            hasher: secret::Hasher::new(server_secret),
            maintenance_cache: system::MaintenanceCache::default(),
            job_added: Notify::new(),
        }))
    }

    /// The current moment.
    pub fn now(&self) -> Time {
        self.environment.now()
    }

    /// A name nobody can guess, for what is not secret.
    pub fn random_id(&self) -> String {
        secret::random_id(&*self.environment)
    }

    /// What the configuration says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The database, for health checks.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
