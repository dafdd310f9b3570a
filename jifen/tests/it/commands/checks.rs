//! `jifen config`, and what holds for every command line.

use std::path::PathBuf;

use jifen_sandbox::Kit;
use serde_json::json;

use super::shell::{Ran, jifen};

/// A configuration file that is removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test that failed may have left nothing.
        drop(std::fs::remove_file(&self.0));
    }
}

async fn check(file: &File) -> Ran {
    jifen(&[], &["config", "check", "--config", file.path()]).await
}

#[tokio::test]
async fn the_defaults_are_right_and_document_themselves() {
    let ran = jifen(&[], &["config", "check"]).await;
    assert!(
        ran.text()
            .starts_with("the configuration is right (profile Development, SQLite "),
        "{}",
        ran.stdout
    );
    assert_eq!(
        jifen(&[], &["config", "check", "--json"]).await.json(),
        json!({ "mistakes": [] })
    );
    let defaults = jifen(&[], &["config", "defaults"]).await;
    let file = File::new("defaults", defaults.text());
    assert_eq!(
        check(&file).await.code,
        0,
        "the defaults are a file of their own"
    );
}

#[tokio::test]
async fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = File::new("wins", "[database]\nurl = \"from-the-file.db\"\n");
    let told = async |settings: &[(&str, &str)], arguments: &[&str]| {
        jifen(settings, arguments).await.text().to_owned()
    };
    let arguments = ["--config", file.path(), "config", "check"];
    assert!(
        told(&[], &arguments)
            .await
            .contains("SQLite from-the-file.db")
    );
    assert!(
        told(&[("JIFEN_CONFIG", file.path())], &["config", "check"])
            .await
            .contains("SQLite from-the-file.db")
    );
    let environment = [("JIFEN__DATABASE__URL", "from-the-environment.db")];
    assert!(
        told(&environment, &arguments)
            .await
            .contains("SQLite from-the-environment.db")
    );
    let secret = [(
        "JIFEN__DATABASE__URL",
        "postgres://mall:hunter2@db.example/mall",
    )];
    let words = told(&secret, &arguments).await;
    assert!(
        words.contains("PostgreSQL db.example/mall") && !words.contains("hunter2"),
        "{words}"
    );
}

#[tokio::test]
async fn every_mistake_is_told_at_once() {
    let file = File::new(
        "mistakes",
        "[server]\nbody_bytes_max = 1\nrequest_timeout_seconds = 0\ncors_origins = [\"https://www.example.com/\"]\nsecret = \"short\"\n\
         [log]\nlevel = \"loud\"\n[database]\npool_size_max = 0\n[official_account]\nlogin_qr_seconds = 1\n\
         [wechat_pay]\nmch_id = \"1900000109\"\nprivate_key_file = \"/nowhere/apiclient_key.pem\"\n\
         [alipay]\napp_id = \"2021000000000000\"\ngateway = \"openapi.alipay.com\"\n[mail]\nfrom = \"nobody\"\n",
    );
    let ran = check(&file).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let keys = [
        "server.body_bytes_max: must be 1024 to 16777216",
        "server.request_timeout_seconds: must be 1 to 600",
        "server.cors_origins: `https://www.example.com/` is not an origin",
        "server.secret: must have at least 32 characters",
        "log.level: must be error, warn, info, debug or trace",
        "database.pool_size_max: must be 1 to 1000",
        "official_account.login_qr_seconds: must be 60 to 2592000",
        "wechat_pay.private_key_file: the file /nowhere/apiclient_key.pem cannot be read",
        "wechat_pay.merchant_serial: is missing",
        "wechat_pay.api_v3_key: is missing",
        "mini_program.app_id: is needed for WeChat Pay",
        "alipay.private_key_file: is missing",
        "alipay.public_key_file: is missing",
        "alipay.gateway: \"openapi.alipay.com\" is not a URL",
        "mail.smtp_url: is missing",
        "mail.from: is not an address",
    ];
    for key in keys {
        assert!(
            ran.stdout.contains(key),
            "{key:?} is not in:\n{}",
            ran.stdout
        );
    }
    let listed = jifen(&[], &["config", "check", "--json", "--config", file.path()]).await;
    assert_eq!(listed.code, 1);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert!(
        listed["mistakes"].as_array().unwrap().len() >= keys.len(),
        "{listed}"
    );

    let serve = jifen(&[], &["--config", file.path()]).await;
    for key in keys {
        assert!(
            serve.error().contains(key),
            "the mall does not start either, and says why: {}",
            serve.stderr
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    for (name, text, reason) in [
        ("unknown-key", "[server]\nport = 8080\n", "port"),
        (
            "unknown-section",
            "[sever]\nlisten = \"127.0.0.1:8080\"\n",
            "sever",
        ),
        ("not-toml", "[server\n", "not-toml"),
        (
            "type",
            "[server]\nbody_bytes_max = \"many\"\n",
            "body_bytes_max",
        ),
        ("profile", "profile = \"staging\"\n", "staging"),
        ("address", "[server]\nlisten = \"localhost\"\n", "listen"),
    ] {
        let file = File::new(name, text);
        let ran = check(&file).await;
        assert!(ran.error().contains(reason), "{name}: {}", ran.stderr);
    }
    let missing = jifen(&[], &["--config", "/nowhere/jifen.toml", "config", "check"]).await;
    assert!(
        missing
            .error()
            .contains("there is no configuration file /nowhere/jifen.toml"),
        "{}",
        missing.stderr
    );
    for (variable, value, reason) in [
        ("JIFEN__SERVER__PORT", "1", "port"),
        ("JIFEN__SERVER__BODY_BYTES_MAX", "many", "body_bytes_max"),
        ("JIFEN__SERVER__LISTEN", "8080", "listen"),
        ("JIFEN__LOG__FORMAT", "xml", "xml"),
    ] {
        let ran = jifen(&[(variable, value)], &["config", "check"]).await;
        assert!(ran.error().contains(reason), "{variable}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn production_refuses_to_start_with_what_is_for_development_and_lists_it_all() {
    let kit = Kit::builtin();
    let settings = [
        ("JIFEN__PROFILE", "production"),
        ("JIFEN__ALIPAY__REQUIRE_LOGIN", "no"),
        ("JIFEN__MINI_PROGRAM__APP_ID", kit.mini_program_appid),
        ("JIFEN__MINI_PROGRAM__APP_SECRET", kit.mini_program_secret),
        ("JIFEN__ALIPAY__APP_ID", kit.alipay_app_id),
        ("JIFEN__ALIPAY__PRIVATE_KEY", kit.alipay_app_private_key),
        ("JIFEN__ALIPAY__PUBLIC_KEY", kit.alipay_public_key),
    ];
    for command in [&["serve"][..], &[], &["users", "list"]] {
        let ran = jifen(&settings, command).await;
        for key in [
            "server.secret",
            "server.cors_origins",
            "server.public_base_url",
            "sandbox.mode",
            "alipay.require_login",
            "mini_program.app_id",
            "mini_program.app_secret",
            "alipay.app_id",
            "alipay.private_key_file",
            "alipay.public_key_file",
        ] {
            assert!(
                ran.error().contains(&format!("\n  - {key}: ")),
                "{command:?}: {key} is not in {}",
                ran.stderr
            );
        }
        assert!(
            !ran.stderr.contains(kit.mini_program_secret),
            "{}",
            ran.stderr
        );
    }
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_explained() {
    for arguments in [
        &["nonsense"][..],
        &["serve", "--nonsense"],
        &["users"],
        &["config", "check", "extra"],
    ] {
        let ran = jifen(&[], arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(
            ran.stderr.contains("Usage: jifen"),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    let help = jifen(&[], &["--help"]).await;
    for command in [
        "serve",
        "demo",
        "sandbox",
        "migrate",
        "config",
        "audit",
        "doctor",
        "packages",
        "notices",
        "maintenance",
        "credentials",
        "orders",
        "users",
        "jobs",
    ] {
        assert!(
            help.text()
                .lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} is not in {}",
            help.stdout
        );
    }
    assert_eq!(
        jifen(&[], &["--version"]).await.text(),
        format!("jifen {}\n", env!("CARGO_PKG_VERSION"))
    );
}
