//! Configuration: `config.default.toml`, then a file, then the environment. This is the one place that reads any of them.

#![expect(missing_docs, reason = "config.default.toml documents every key, once")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use config::{Environment, File, FileFormat};
use serde::Deserialize;

/// The defaults, which document every key.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What the mall is told.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it runs.
    pub profile: Profile,
    /// HTTP.
    pub server: Server,
    /// Where everything is kept.
    pub database: Database,
    /// What spends points.
    pub metering: Metering,
    /// What is told.
    pub log: Log,
    /// The stand-in for the providers.
    pub sandbox: Sandbox,
    /// Mini program login.
    pub mini_program: MiniProgram,
    /// Web login.
    pub official_account: OfficialAccount,
    /// WeChat Pay.
    pub wechat_pay: WechatPay,
    /// Alipay.
    pub alipay: Alipay,
    /// Mail.
    pub mail: Mail,
}

/// Where the mall runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// On a developer's machine, without any account.
    Development,
    /// In front of customers.
    Production,
}

/// `[server]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub public_base_url: String,
    pub secret: String,
    pub cors_origins: Vec<String>,
    pub body_bytes_max: usize,
    pub request_timeout_seconds: u64,
    pub header_read_timeout_seconds: u64,
    pub concurrency_max: usize,
    pub connections_max: usize,
    pub drain_delay_seconds: u64,
    pub shutdown_timeout_seconds: u64,
}

/// `[database]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub pool_size_max: usize,
}

/// `[metering]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metering {
    pub refund_grace_days: u32,
    pub group_max: usize,
    pub queue_max: usize,
    pub connections: usize,
}

/// `[log]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[sandbox]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    pub mode: SandboxMode,
    pub listen: SocketAddr,
    pub time_compression: u32,
}

/// Where the sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// In this process.
    Inside,
    /// In another one.
    Outside,
    /// Nowhere.
    Off,
}

/// `[mini_program]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniProgram {
    pub app_id: String,
    pub app_secret: String,
    pub api_base: String,
}

/// `[official_account]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficialAccount {
    pub app_id: String,
    pub app_secret: String,
    pub token: String,
    pub encoding_aes_key: String,
    pub previous_encoding_aes_key: String,
    pub plain_pushes_accepted: bool,
    pub login_template_id: String,
    pub login_qr_seconds: u32,
    pub api_base: String,
    pub image_base: String,
}

/// `[wechat_pay]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WechatPay {
    pub mch_id: String,
    pub merchant_serial: String,
    pub private_key_file: String,
    pub private_key: String,
    pub api_v3_key: String,
    pub public_key_id: String,
    pub public_key_file: String,
    pub public_key: String,
    pub platform_certificate_file: String,
    pub platform_certificate: String,
    pub api_base: String,
}

/// `[alipay]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alipay {
    pub app_id: String,
    pub private_key_file: String,
    pub private_key: String,
    pub public_key_file: String,
    pub public_key: String,
    pub app_certificate_file: String,
    pub alipay_certificate_file: String,
    pub root_certificate_file: String,
    pub seller_id: String,
    pub gateway: String,
    pub return_url: String,
    pub require_login: RequireLogin,
}

/// Whether a pay page must show a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireLogin {
    /// In production.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// `[mail]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub smtp_url: String,
    pub from: String,
}

impl Config {
    /// The defaults, over them `file`, over that the environment.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut sources =
            config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            anyhow::ensure!(
                file.exists(),
                "there is no configuration file {}",
                file.display()
            );
            sources = sources.add_source(File::new(&file.to_string_lossy(), FileFormat::Toml));
        }
        let environment = Environment::with_prefix("JIFEN")
            .prefix_separator("__")
            .separator("__")
            .list_separator(",")
            .with_list_parse_key("server.cors_origins")
            .try_parsing(true);
        let settings = sources
            .add_source(environment)
            .build()
            .context("the configuration cannot be read")?;
        settings
            .try_deserialize()
            .context("the configuration is not right (config.default.toml documents every key)")
    }

    /// The development profile as it comes, for instances that are thrown away.
    pub fn development() -> anyhow::Result<Self> {
        let defaults = config::Config::builder()
            .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
            .build()?;
        Ok(defaults.try_deserialize()?)
    }

    /// Whether this is the development profile.
    pub fn is_development(&self) -> bool {
        self.profile == Profile::Development
    }

    /// Where browsers and providers reach the mall.
    pub fn public_base_url(&self) -> String {
        if self.server.public_base_url.is_empty() {
            format!("http://{}", self.server.listen)
        } else {
            self.server.public_base_url.trim_end_matches('/').to_owned()
        }
    }

    /// Where the sandbox is reached.
    pub fn sandbox_base_url(&self) -> String {
        format!("http://{}", self.sandbox.listen)
    }

    /// Where everything is kept.
    pub fn store(&self) -> jifen_store::StoreConfig {
        let url = &self.database.url;
        if is_postgres(url) {
            let url = url.clone().into();
            jifen_store::StoreConfig::Postgres {
                url,
                pool_size_max: self.database.pool_size_max,
            }
        } else {
            jifen_store::StoreConfig::Sqlite {
                path: PathBuf::from(url),
            }
        }
    }

    /// The database for people: without user and password.
    pub fn store_for_people(&self) -> String {
        if !is_postgres(&self.database.url) {
            return format!("SQLite {}", self.database.url);
        }
        let place = url::Url::parse(&self.database.url)
            .ok()
            .and_then(|url| Some(format!("{}{}", url.host_str()?, url.path())))
            .unwrap_or_default();
        format!("PostgreSQL {place}")
    }
}

/// The text of a secret that may stand in the configuration itself or in a file it names.
pub fn text_or_file(text: &str, file: &str) -> anyhow::Result<String> {
    if !text.is_empty() || file.is_empty() {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(file).with_context(|| format!("the file {file} cannot be read"))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
