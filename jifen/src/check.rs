//! Every mistake in a configuration at once, in the operator's words.

use std::fmt;
use std::ops::RangeInclusive;

use jifen_sandbox::Kit;

use crate::config::{Alipay, Config, Metering, RequireLogin, SandboxMode, text_or_file};
use crate::development;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key in the configuration.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

/// Fewer characters are too easy to guess.
const SECRET_CHARS_MIN: usize = 32;

/// The mistakes that can be found without calling anyone; none when the mall may start.
pub fn mistakes(config: &Config) -> Vec<Mistake> {
    let mut found = Mistakes(Vec::new());
    found.limits(config);
    found.texts(config);
    found.completeness(config);
    found.urls(config);
    if !config.is_development() {
        found.production(config);
    }
    found.0
}

struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, key: &'static str, problem: impl Into<String>) {
        self.0.push(Mistake {
            key,
            problem: problem.into(),
        });
    }

    fn unless(&mut self, holds: bool, key: &'static str, problem: &str) {
        if !holds {
            self.add(key, problem);
        }
    }

    fn metering(&mut self, metering: &Metering) {
        let size = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (key, number, range) in [
            (
                "metering.refund_grace_days",
                metering.refund_grace_days.into(),
                1..=36_500,
            ),
            ("metering.group_max", size(metering.group_max), 1..=10_000),
            ("metering.connections", size(metering.connections), 1..=64),
            (
                "metering.queue_max",
                size(metering.queue_max),
                1_000..=1_000_000,
            ),
        ] {
            self.limit(key, number, range);
        }
    }

    fn limits(&mut self, config: &Config) {
        let server = &config.server;
        let size = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (key, number, range) in [
            (
                "server.body_bytes_max",
                size(server.body_bytes_max),
                1_024..=16 << 20,
            ),
            (
                "server.request_timeout_seconds",
                server.request_timeout_seconds,
                1..=600,
            ),
            (
                "server.header_read_timeout_seconds",
                server.header_read_timeout_seconds,
                1..=600,
            ),
            (
                "server.concurrency_max",
                size(server.concurrency_max),
                1..=100_000,
            ),
            (
                "server.connections_max",
                size(server.connections_max),
                1..=1_000_000,
            ),
            (
                "server.drain_delay_seconds",
                server.drain_delay_seconds,
                0..=600,
            ),
            (
                "server.shutdown_timeout_seconds",
                server.shutdown_timeout_seconds,
                1..=600,
            ),
            (
                "database.pool_size_max",
                size(config.database.pool_size_max),
                1..=1_000,
            ),
            (
                "official_account.login_qr_seconds",
                config.official_account.login_qr_seconds.into(),
                60..=2_592_000,
            ),
            (
                "sandbox.time_compression",
                config.sandbox.time_compression.into(),
                1..=100_000,
            ),
        ] {
            self.limit(key, number, range);
        }
        self.metering(&config.metering);
    }

    fn limit(&mut self, key: &'static str, number: u64, range: RangeInclusive<u64>) {
        if !range.contains(&number) {
            self.add(key, format!("must be {} to {}", range.start(), range.end()));
        }
    }

    fn texts(&mut self, config: &Config) {
        let server = &config.server;
        self.unless(
            !config.database.url.trim().is_empty(),
            "database.url",
            "must name a file or a PostgreSQL server",
        );
        let level = config
            .log
            .level
            .parse::<tracing_subscriber::filter::LevelFilter>();
        self.unless(
            level.is_ok(),
            "log.level",
            "must be error, warn, info, debug or trace",
        );
        if !server.secret.is_empty() {
            let long_enough = server.secret.chars().count() >= SECRET_CHARS_MIN;
            self.unless(
                long_enough,
                "server.secret",
                "must have at least 32 characters: `openssl rand -hex 32` makes one",
            );
        }
    }

    /// A provider is configured wholly or not at all.
    fn completeness(&mut self, config: &Config) {
        let mini_program = &config.mini_program;
        self.whole(&[
            ("mini_program.app_id", &mini_program.app_id),
            ("mini_program.app_secret", &mini_program.app_secret),
        ]);
        let account = &config.official_account;
        self.whole(&[
            ("official_account.app_id", &account.app_id),
            ("official_account.app_secret", &account.app_secret),
            ("official_account.token", &account.token),
        ]);
        let pay = &config.wechat_pay;
        let pay_key = self.read(
            "wechat_pay.private_key_file",
            &pay.private_key,
            &pay.private_key_file,
        );
        self.whole(&[
            ("wechat_pay.mch_id", &pay.mch_id),
            ("wechat_pay.merchant_serial", &pay.merchant_serial),
            ("wechat_pay.private_key_file", &pay_key),
            ("wechat_pay.api_v3_key", &pay.api_v3_key),
        ]);
        let public_key = self.read(
            "wechat_pay.public_key_file",
            &pay.public_key,
            &pay.public_key_file,
        );
        self.whole(&[
            ("wechat_pay.public_key_id", &pay.public_key_id),
            ("wechat_pay.public_key_file", &public_key),
        ]);
        if !pay.mch_id.is_empty() && mini_program.app_id.is_empty() {
            self.add(
                "mini_program.app_id",
                "is needed for WeChat Pay: payments are made in the mini program",
            );
        }
        self.alipay_completeness(&config.alipay);
        let mail = &config.mail;
        self.whole(&[("mail.smtp_url", &mail.smtp_url), ("mail.from", &mail.from)]);
        if !mail.from.is_empty() && mail.from.parse::<lettre::message::Mailbox>().is_err() {
            self.add(
                "mail.from",
                "is not an address such as \"Jifen <noreply@example.com>\"",
            );
        }
    }

    fn alipay_completeness(&mut self, alipay: &Alipay) {
        let alipay_key = self.read(
            "alipay.private_key_file",
            &alipay.private_key,
            &alipay.private_key_file,
        );
        self.whole(&[
            ("alipay.app_id", &alipay.app_id),
            ("alipay.private_key_file", &alipay_key),
        ]);
        let alipay_public_key = self.read(
            "alipay.public_key_file",
            &alipay.public_key,
            &alipay.public_key_file,
        );
        let certificates = [
            ("alipay.app_certificate_file", &alipay.app_certificate_file),
            (
                "alipay.alipay_certificate_file",
                &alipay.alipay_certificate_file,
            ),
            (
                "alipay.root_certificate_file",
                &alipay.root_certificate_file,
            ),
        ];
        self.whole(&certificates.map(|(key, file)| (key, file.as_str())));
        if !alipay.app_id.is_empty() && alipay_public_key.is_empty() && certificates[0].1.is_empty()
        {
            self.add(
                "alipay.public_key_file",
                "is missing: Alipay's public key, or the three certificates instead",
            );
        }
    }

    fn whole(&mut self, settings: &[(&'static str, &str)]) {
        let Some((given, _)) = settings.iter().find(|(_, value)| !value.is_empty()) else {
            return;
        };
        for (key, value) in settings {
            if value.is_empty() {
                self.add(key, format!("is missing, although {given} is set"));
            }
        }
    }

    fn read(&mut self, key: &'static str, text: &str, file: &str) -> String {
        text_or_file(text, file).unwrap_or_else(|error| {
            self.add(key, format!("{error:#}"));
            String::new()
        })
    }

    fn urls(&mut self, config: &Config) {
        let urls = [
            ("mini_program.api_base", &config.mini_program.api_base),
            (
                "official_account.api_base",
                &config.official_account.api_base,
            ),
            (
                "official_account.image_base",
                &config.official_account.image_base,
            ),
            ("wechat_pay.api_base", &config.wechat_pay.api_base),
            ("alipay.gateway", &config.alipay.gateway),
            ("alipay.return_url", &config.alipay.return_url),
            ("server.public_base_url", &config.server.public_base_url),
        ];
        for (key, url) in urls {
            let is_optional = matches!(key, "alipay.return_url" | "server.public_base_url");
            if is_optional && url.is_empty() {
                continue;
            }
            let parsed = url::Url::parse(url)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            match parsed {
                None => self.add(
                    key,
                    format!("{url:?} is not a URL such as https://api.example.com"),
                ),
                Some(url) => self.unless(
                    url.query().is_none(),
                    key,
                    "must have no query: providers refuse it",
                ),
            }
        }
        for origin in config
            .server
            .cors_origins
            .iter()
            .filter(|origin| *origin != "*")
        {
            if let Err(error) = jifen_http::Origin::parse(origin) {
                self.add("server.cors_origins", error.to_string());
            }
        }
    }

    fn production(&mut self, config: &Config) {
        let server = &config.server;
        if server.secret.is_empty() || server.secret == development::SECRET {
            self.add(
                "server.secret",
                "must be a secret of your own in production: `openssl rand -hex 32` makes one",
            );
        }
        self.unless(
            !server.cors_origins.iter().any(|origin| origin == "*"),
            "server.cors_origins",
            "must list your origins in production, not \"*\": [\"https://www.example.com\"]",
        );
        self.unless(
            server.public_base_url.starts_with("https://"),
            "server.public_base_url",
            "must be the https address under which browsers and the providers reach the mall",
        );
        self.unless(
            config.sandbox.mode == SandboxMode::Off,
            "sandbox.mode",
            "must be \"off\" in production",
        );
        let providers = [
            &config.mini_program.app_id,
            &config.official_account.app_id,
            &config.wechat_pay.mch_id,
            &config.alipay.app_id,
        ];
        if providers.iter().all(|id| id.is_empty()) {
            self.add(
                "mini_program",
                "no provider is configured: nobody could log in or pay",
            );
        }
        self.unless(
            config.alipay.require_login != RequireLogin::No,
            "alipay.require_login",
            "must not be \"no\" in production: anyone could order in anyone's name",
        );
        let account = &config.official_account;
        self.unless(
            account.app_id.is_empty()
                || !account.encoding_aes_key.is_empty()
                || account.plain_pushes_accepted,
            "official_account.encoding_aes_key",
            "is missing: choose the secure mode in WeChat's console, or say plain_pushes_accepted = true if you know why not",
        );
        self.sandbox_keys(config);
    }

    fn sandbox_keys(&mut self, config: &Config) {
        let (account, pay, alipay) = (&config.official_account, &config.wechat_pay, &config.alipay);
        let pay_key = text_or_file(&pay.private_key, &pay.private_key_file).unwrap_or_default();
        let public_key = text_or_file(&pay.public_key, &pay.public_key_file).unwrap_or_default();
        let certificate = text_or_file(&pay.platform_certificate, &pay.platform_certificate_file)
            .unwrap_or_default();
        let alipay_key =
            text_or_file(&alipay.private_key, &alipay.private_key_file).unwrap_or_default();
        let alipay_public_key =
            text_or_file(&alipay.public_key, &alipay.public_key_file).unwrap_or_default();
        let alipay_certificate =
            text_or_file("", &alipay.alipay_certificate_file).unwrap_or_default();
        for (key, value) in [
            ("mini_program.app_id", &config.mini_program.app_id),
            ("mini_program.app_secret", &config.mini_program.app_secret),
            ("official_account.app_id", &account.app_id),
            ("official_account.app_secret", &account.app_secret),
            ("official_account.token", &account.token),
            (
                "official_account.encoding_aes_key",
                &account.encoding_aes_key,
            ),
            ("wechat_pay.mch_id", &pay.mch_id),
            ("wechat_pay.private_key_file", &pay_key),
            ("wechat_pay.api_v3_key", &pay.api_v3_key),
            ("wechat_pay.public_key_file", &public_key),
            ("wechat_pay.platform_certificate_file", &certificate),
            ("alipay.app_id", &alipay.app_id),
            ("alipay.private_key_file", &alipay_key),
            ("alipay.public_key_file", &alipay_public_key),
            ("alipay.alipay_certificate_file", &alipay_certificate),
        ] {
            if !value.is_empty() && Kit::recognizes(value) {
                self.add(
                    key,
                    "is the sandbox's, which everyone knows: use the one of your own account",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(config: &Config) -> Vec<String> {
        mistakes(config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_development_profile_is_right_as_it_comes() {
        assert_eq!(told(&Config::development().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn production_refuses_everything_that_is_only_for_development_at_once() {
        let mut config = development::complete(Config::development().unwrap());
        config.profile = crate::config::Profile::Production;
        config.alipay.require_login = RequireLogin::No;
        let told = told(&config).join("\n");
        for key in [
            "server.secret",
            "server.cors_origins",
            "server.public_base_url",
            "sandbox.mode",
            "alipay.require_login",
            "mini_program.app_id",
            "wechat_pay.private_key_file",
            "alipay.public_key_file",
        ] {
            assert!(told.contains(key), "{key} is not named in:\n{told}");
        }
    }

    #[test]
    fn a_provider_is_configured_wholly_or_not_at_all() {
        let mut config = Config::development().unwrap();
        config.wechat_pay.mch_id = "1900000109".into();
        config.alipay.app_id = "2021000000000000".into();
        config.mail.from = "nobody".into();
        let told = told(&config).join("\n");
        for key in [
            "merchant_serial",
            "private_key_file",
            "api_v3_key",
            "mini_program.app_id",
            "alipay.public_key_file",
            "mail.smtp_url",
            "mail.from",
        ] {
            assert!(told.contains(key), "{key} is not named in:\n{told}");
        }
    }
}
