//! The use cases of the mall, one a file: load, decide (in `jifen_domain`), write, enqueue what follows, all in one
//! transaction. No call to a provider is ever made inside a transaction.

mod access_tokens;
mod alipay_notification;
mod api_keys;
mod audit;
mod buy;
mod call;
mod catalogue;
mod charge;
mod check_payment;
mod doctor;
mod environment;
mod error;
mod history;
mod hold;
mod identity;
mod jobs;
mod key_cache;
mod mail;
mod official_account;
pub mod operator;
mod pipeline;
mod profile;
mod provider_orders;
mod qr_login;
mod rate_limits;
mod refund_charge;
mod remembered_balances;
mod secret;
mod session;
mod settle;
mod sign_in;
mod system;
mod tariffs;
mod usage;
mod verify;
mod wechat_pay_notification;

use std::sync::Arc;

use jifen_alipay::Alipay;
use jifen_domain::Time;
use jifen_store::Store;
use jifen_wechat::miniprogram::MiniProgram;
use jifen_wechat::official::OfficialAccount;
use jifen_wechat::pay::Pay;
use tokio::sync::Notify;

use pipeline::Pipeline;

pub use access_tokens::SharedTokens;
pub use alipay_notification::AlipayAnswer;
pub use api_keys::{Change, CreatedKey, KeyChange, NewKey, RotatedKey};
pub use audit::AuditReport;
pub use buy::WechatOrder;
pub use call::{ChargeRequest, Cost};
pub use charge::{BATCH_MAX, Charged, charge_id};
pub use check_payment::PaymentStatus;
pub use doctor::{Diagnosis, Health};
pub use environment::{Environment, ProviderEnvironment, SystemEnvironment};
pub use error::{Error, Language, Limit, Result, Text};
pub use history::{Page, Paging};
pub use hold::{Ended, Held};
pub use mail::Mailer;
pub use official_account::{PushAnswer, PushQuery};
pub use pipeline::{Distribution, PipelineCounts, PipelineSettings};
pub use profile::Profile;
pub use qr_login::{CheckedLogin, QrTicket};
pub use rate_limits::{Limited, RateState, Rates};
pub use refund_charge::RefundedCharge;
pub use session::IssuedToken;
pub use sign_in::{EncryptedProfile, SignedIn};
pub use tariffs::Priced;
pub use usage::{Balance, Grouping};
pub use verify::{KnownKey, Question, Refusal, Verified};
pub use wechat_pay_notification::WechatPayAnswer;

pub use jifen_store::{
    Consumption, Expiring, Maintenance, Notice, PaymentIncident, ServiceCredential, UsageLine,
};

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
    /// Days for which points of an expired lot are good again when they are refunded, 1 to 36,500.
    pub refund_grace_days: i64,
    /// How much the charge pipeline does at once.
    pub pipeline: PipelineSettings,
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
    tariff_cache: tariffs::TariffCache,
    api_keys: key_cache::SecretCache<jifen_domain::key::ApiKey>,
    credentials: key_cache::SecretCache<ServiceCredential>,
    rate_limits: rate_limits::RateLimits,
    noted_uses: call::NotedUses,
    remembered_balances: remembered_balances::RememberedBalances,
    pipeline: Pipeline,
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
        let pipeline = Pipeline::new(store.clone(), Arc::clone(&environment), settings.pipeline);
        Self(Arc::new(Parts {
            store,
            environment,
            settings,
            providers,
            mailer,
            hasher: secret::Hasher::new(server_secret),
            maintenance_cache: system::MaintenanceCache::default(),
            tariff_cache: tariffs::TariffCache::default(),
            api_keys: key_cache::SecretCache::of_api_keys(),
            credentials: key_cache::SecretCache::of_credentials(),
            rate_limits: rate_limits::RateLimits::default(),
            noted_uses: call::NotedUses::default(),
            remembered_balances: remembered_balances::RememberedBalances::default(),
            pipeline,
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

    /// What the charge pipeline has done since the start, and what waits in it.
    pub fn pipeline_counts(&self) -> PipelineCounts {
        self.pipeline.counts()
    }

    /// The database, for health checks.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
