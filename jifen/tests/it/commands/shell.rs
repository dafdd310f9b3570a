//! Runs `jifen` as an operator types it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::World;

/// What a command did.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// The JSON on standard output, of a command that succeeded.
    pub(super) fn json(&self) -> Value {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The words of a command that succeeded.
    pub(super) fn text(&self) -> &str {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        &self.stdout
    }

    /// The error of a command that failed.
    pub(super) fn error(&self) -> &str {
        assert!(
            self.code == 1 || self.code == 2,
            "{}: {}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        &self.stderr
    }
}

/// Runs it with the default configuration and these settings of the environment.
pub(super) async fn jifen(settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jifen"));
    command
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .stdin(Stdio::null());
    command
        .args(arguments)
        .env_remove("JIFEN_CONFIG")
        .envs(settings.iter().copied());
    // The sandbox that a command calls lives on this thread.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl World {
    /// Runs a command of the operator of this mall.
    pub(super) async fn jifen(&self, arguments: &[&str]) -> Ran {
        self.jifen_with(&[], arguments).await
    }

    /// The same with more settings.
    pub(super) async fn jifen_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let (listen, sandbox) = (
            self.config.server.listen.to_string(),
            self.config.sandbox.listen.to_string(),
        );
        let database = self.database_url();
        let mut all = vec![
            ("JIFEN__SERVER__LISTEN", listen.as_str()),
            ("JIFEN__SANDBOX__MODE", "outside"),
            ("JIFEN__SANDBOX__LISTEN", sandbox.as_str()),
            ("JIFEN__DATABASE__URL", database.as_str()),
        ];
        all.extend(settings);
        jifen(&all, arguments).await
    }

    /// Runs a command with `--json`, which must succeed.
    pub(super) async fn jifen_json(&self, arguments: &[&str]) -> Value {
        self.jifen(&[arguments, &["--json"]].concat()).await.json()
    }
}
