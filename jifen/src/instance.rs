//! A running mall, put together from its configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jifen_alipay::Alipay;
use jifen_app::{
    App, Environment, Mailer, PipelineSettings, ProviderEnvironment, Providers, Settings,
    SharedTokens,
};
use jifen_store::Store;
use jifen_wechat::miniprogram::{MiniProgram, MiniProgramConfig};
use jifen_wechat::official::{OfficialAccount, OfficialAccountConfig};
use jifen_wechat::pay::{Merchant, Pay, PayConfig, PlatformKeyPem};
use jifen_wechat::token::TokenStore;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use url::Url;

use crate::config::{Config, RequireLogin, SandboxMode, text_or_file};
use crate::development;

/// The longest silence of a provider before a connection to it counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the database, brings its schema up to date, and connects the providers.
pub async fn open(config: &Config, environment: Arc<dyn Environment>) -> anyhow::Result<App> {
    let store = Store::open(&config.store())
        .await
        .with_context(|| format!("database.url: {}", config.store_for_people()))?;
    for migration in store
        .migrate()
        .await
        .context("the database could not be brought up to date")?
    {
        tracing::info!(migration, "database migrated");
    }
    app(config, environment, store)
}

/// The mall on a database that is up to date.
pub fn app(
    config: &Config,
    environment: Arc<dyn Environment>,
    store: Store,
) -> anyhow::Result<App> {
    let http = outgoing_client()?;
    let providers = providers(config, &http, &environment, &store)?;
    let mailer = mailer(config, http)?;
    let secret = if config.server.secret.is_empty() {
        development::SECRET
    } else {
        &config.server.secret
    };
    Ok(App::new(
        store,
        environment,
        settings(config),
        secret.as_bytes(),
        providers,
        mailer,
    ))
}

/// An HTTP client for calls to providers: TLS by aws-lc with built-in roots, no redirects, no proxy.
pub fn outgoing_client() -> anyhow::Result<reqwest::Client> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()?)
}

fn settings(config: &Config) -> Settings {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Settings {
        public_base_url: config.public_base_url(),
        mini_program_app_id: some(&config.mini_program.app_id),
        wechat_pay_mch_id: some(&config.wechat_pay.mch_id),
        official_account_app_id: some(&config.official_account.app_id),
        login_template_id: some(&config.official_account.login_template_id),
        login_qr_seconds: config.official_account.login_qr_seconds,
        alipay_app_id: some(&config.alipay.app_id),
        alipay_seller_id: some(&config.alipay.seller_id),
        alipay_return_url: some(&config.alipay.return_url),
        refund_grace_days: config.metering.refund_grace_days.into(),
        pipeline: PipelineSettings {
            group_max: config.metering.group_max,
            waiting_max: config.metering.queue_max,
            workers: config.metering.connections,
        },
        alipay_require_login: match config.alipay.require_login {
            RequireLogin::Auto => !config.is_development(),
            RequireLogin::Yes => true,
            RequireLogin::No => false,
        },
    }
}

fn providers(
    config: &Config,
    http: &reqwest::Client,
    environment: &Arc<dyn Environment>,
    store: &Store,
) -> anyhow::Result<Providers> {
    let environment = Arc::new(ProviderEnvironment(Arc::clone(environment)));
    let tokens: Arc<dyn TokenStore> = Arc::new(SharedTokens(store.clone()));
    let mut providers = Providers::default();
    if !config.mini_program.app_id.is_empty() {
        let mini_program = mini_program_config(config)?;
        let client = MiniProgram::new(
            mini_program,
            http.clone(),
            environment.clone(),
            Arc::clone(&tokens),
        );
        providers.mini_program = Some(client);
    }
    if !config.official_account.app_id.is_empty() {
        let account = official_account_config(config)?;
        let client = OfficialAccount::new(account, http.clone(), environment.clone(), tokens);
        providers.official_account = Some(client.context("official_account")?);
    }
    if !config.wechat_pay.mch_id.is_empty() {
        let client = Pay::new(
            wechat_pay_config(config)?,
            http.clone(),
            environment.clone(),
        );
        providers.wechat_pay = Some(client.context("wechat_pay")?);
    }
    if !config.alipay.app_id.is_empty() {
        let client = Alipay::new(alipay_config(config)?, http.clone(), environment);
        providers.alipay = Some(client.context("alipay")?);
    }
    Ok(providers)
}

fn mini_program_config(config: &Config) -> anyhow::Result<MiniProgramConfig> {
    let section = &config.mini_program;
    let mut client = MiniProgramConfig::new(&section.app_id, section.app_secret.clone().into());
    client.api_base = url("mini_program.api_base", &section.api_base)?;
    Ok(client)
}

fn official_account_config(config: &Config) -> anyhow::Result<OfficialAccountConfig> {
    let section = &config.official_account;
    let mut client = OfficialAccountConfig::new(
        &section.app_id,
        section.app_secret.clone().into(),
        section.token.clone().into(),
    );
    if !section.encoding_aes_key.is_empty() {
        let previous = &section.previous_encoding_aes_key;
        let previous = (!previous.is_empty()).then(|| previous.clone().into());
        client = client.encrypted(section.encoding_aes_key.clone().into(), previous);
        client.plain_pushes_accepted = section.plain_pushes_accepted;
    }
    client.api_base = url("official_account.api_base", &section.api_base)?;
    client.image_base = url("official_account.image_base", &section.image_base)?;
    Ok(client)
}

fn wechat_pay_config(config: &Config) -> anyhow::Result<PayConfig> {
    let section = &config.wechat_pay;
    let merchant = Merchant {
        mch_id: section.mch_id.clone(),
        app_id: config.mini_program.app_id.clone(),
        serial: section.merchant_serial.clone(),
        private_key: text_or_file(&section.private_key, &section.private_key_file)?.into(),
        api_v3_key: section.api_v3_key.clone().into(),
    };
    let mut keys = Vec::new();
    if !section.public_key_id.is_empty() {
        let pem = text_or_file(&section.public_key, &section.public_key_file)?;
        keys.push(PlatformKeyPem::PublicKey {
            id: section.public_key_id.clone(),
            pem,
        });
    }
    let certificate = text_or_file(
        &section.platform_certificate,
        &section.platform_certificate_file,
    )?;
    if !certificate.is_empty() {
        keys.push(PlatformKeyPem::Certificate { pem: certificate });
    }
    let notify_url = format!("{}/api/v1/wechat-pay/notify", config.public_base_url());
    let mut client = PayConfig::new(merchant, url("server.public_base_url", &notify_url)?, keys);
    client.api_base = url("wechat_pay.api_base", &section.api_base)?;
    Ok(client)
}

fn alipay_config(config: &Config) -> anyhow::Result<jifen_alipay::Config> {
    let section = &config.alipay;
    let key_mode = if section.app_certificate_file.is_empty() {
        let alipay_public_key = text_or_file(&section.public_key, &section.public_key_file)?;
        jifen_alipay::KeyMode::PublicKey { alipay_public_key }
    } else {
        jifen_alipay::KeyMode::Certificate {
            app_certificate: text_or_file("", &section.app_certificate_file)?,
            alipay_certificate: text_or_file("", &section.alipay_certificate_file)?,
            alipay_root_certificates: text_or_file("", &section.root_certificate_file)?,
        }
    };
    let gateway = url("alipay.gateway", &section.gateway)?;
    let private_key = text_or_file(&section.private_key, &section.private_key_file)?.into();
    Ok(jifen_alipay::Config::new(
        gateway,
        &section.app_id,
        private_key,
        key_mode,
    ))
}

fn mailer(config: &Config, http: reqwest::Client) -> anyhow::Result<Mailer> {
    let section = &config.mail;
    if !section.smtp_url.is_empty() {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&section.smtp_url)
            .context("mail.smtp_url")?
            .build();
        return Ok(Mailer::Smtp {
            transport,
            from: section.from.parse().context("mail.from")?,
        });
    }
    if !config.is_development() {
        return Ok(Mailer::Disabled);
    }
    let mails = format!("{}/sandbox/api/mails", config.sandbox_base_url());
    let sandbox_mails_url = match config.sandbox.mode {
        SandboxMode::Inside | SandboxMode::Outside => Some(url("sandbox.listen", &mails)?),
        SandboxMode::Off => None,
    };
    Ok(Mailer::Development {
        sandbox_mails_url,
        http,
    })
}

fn url(key: &'static str, text: &str) -> anyhow::Result<Url> {
    Url::parse(text).with_context(|| format!("{key}: {text:?} is not a URL"))
}
