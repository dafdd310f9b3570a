//! The mall as a process of its own, with the sandbox inside: real signals, real output.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use jifen::instance;
use jifen_store::testing::TestStore;
use serde_json::Value;

use crate::world::{Answer, Request, database_url};

pub(super) struct Process {
    pub(super) mall: String,
    pub(super) sandbox: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
    printed: String,
    log: PathBuf,
    http: reqwest::Client,
}

/// What a process has left behind.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// Everything on standard output.
    pub(super) printed: String,
    /// Everything on standard error.
    pub(super) logged: String,
}

/// The program, on a database and with free ports.
fn jifen(store: &TestStore) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jifen"));
    command
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .env("JIFEN__SERVER__LISTEN", "127.0.0.1:0")
        .env("JIFEN__SANDBOX__LISTEN", "127.0.0.1:0")
        .env("JIFEN__SANDBOX__TIME_COMPRESSION", "1000")
        .env("JIFEN__DATABASE__URL", database_url(store.config()))
        .stdin(Stdio::null());
    command
}

/// Runs an operator's command beside it, and returns what it says.
pub(super) fn operate(store: &TestStore, arguments: &[&str]) -> Value {
    let output = jifen(store).args(arguments).arg("--json").output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Process {
    /// Starts it and waits until it says where it is.
    pub(super) fn start(store: &TestStore, settings: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let database = database_url(store.config());
        let name: String = database
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let mut command = jifen(store);
        command
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        while !printed.contains("Stop with Ctrl-C.") {
            let read = stdout.read_line(&mut printed).unwrap();
            assert_ne!(
                read,
                0,
                "it did not start: {printed}{}",
                std::fs::read_to_string(&log).unwrap()
            );
        }
        let url = |part: &str| {
            let line = printed
                .lines()
                .find(|line| line.trim_start().starts_with(part))
                .unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .trim_end_matches('/')
                .to_owned()
        };
        let (mall, sandbox) = (url("mall"), url("sandbox"));
        Self {
            mall,
            sandbox,
            child,
            stdout,
            printed,
            log,
            http: instance::outgoing_client().unwrap(),
        }
    }

    /// Where the mall listens.
    pub(super) fn address(&self) -> &str {
        self.mall.trim_start_matches("http://")
    }

    pub(super) fn get(&self, path: &str) -> Request {
        Request(self.http.get(format!("{}{path}", self.mall)))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Request {
        self.post_to(&self.mall, path, body)
    }

    /// A call of the sandbox's control API; it must succeed.
    pub(super) async fn sandbox_post(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .post_to(&self.sandbox, &format!("/sandbox/api{path}"), body)
            .send()
            .await;
        assert!(
            answer.status < 300,
            "sandbox {path}: {} {}",
            answer.status,
            answer.text
        );
        answer.body
    }

    pub(super) async fn sandbox_get(&self, path: &str) -> Value {
        Request(self.http.get(format!("{}/sandbox/api{path}", self.sandbox)))
            .send()
            .await
            .body
    }

    pub(super) async fn sandbox_delete(&self, path: &str) {
        Request(
            self.http
                .delete(format!("{}/sandbox/api{path}", self.sandbox)),
        )
        .send()
        .await;
    }

    fn post_to(&self, base: &str, path: &str, body: &Value) -> Request {
        let request = self
            .http
            .post(format!("{base}{path}"))
            .header("content-type", "application/json");
        Request(request.body(body.to_string()))
    }

    /// Asks again until the answer is as expected.
    pub(super) async fn until(&self, path: &str, is_expected: impl Fn(&Answer) -> bool) -> Answer {
        loop {
            let answer = self.get(path).send().await;
            if is_expected(&answer) {
                return answer;
            }
        }
    }

    /// Asks it to end, as `kill` does.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Ended {
        self.stdout.read_to_string(&mut self.printed).unwrap();
        let status = self.child.wait().unwrap();
        let logged = std::fs::read_to_string(&self.log).unwrap();
        Ended {
            status,
            printed: std::mem::take(&mut self.printed),
            logged,
        }
    }
}

impl Drop for Process {
    /// Nothing is left behind, whatever happened.
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}
