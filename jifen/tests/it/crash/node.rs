//! A mall as a process of its own, without the sandbox, that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers the log files of this process.
static NODES: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Node {
    pub(crate) url: String,
    child: Child,
    /// Kept open: what the node prints must go somewhere.
    _stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// The program on a database.
fn jifen(database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jifen"));
    command
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .env("JIFEN__SERVER__LISTEN", "127.0.0.1:0")
        .env("JIFEN__SANDBOX__MODE", "off")
        .env("JIFEN__LOG__LEVEL", "error")
        .env("JIFEN__DATABASE__URL", database_url)
        .stdin(Stdio::null());
    command
}

/// Holds the whole ledger against its rules, as an operator does: it must be clean.
pub(crate) fn audit(database_url: &str) {
    let output = tokio::task::block_in_place(|| jifen(database_url).arg("audit").output().unwrap());
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Node {
    pub(crate) fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[])
    }

    /// Starts it and waits until it says where it is.
    pub(crate) fn start_with(database_url: &str, settings: &[(&str, &str)]) -> Self {
        tokio::task::block_in_place(|| {
            let number = NODES.fetch_add(1, Ordering::Relaxed);
            let log = format!("node_{}_{number}.log", std::process::id());
            let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(log);
            let mut child = jifen(database_url)
                .envs(settings.iter().copied())
                .stdout(Stdio::piped())
                .stderr(std::fs::File::create(&log).unwrap())
                .spawn()
                .unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut printed = String::new();
            while !printed.contains("Stop with Ctrl-C.") {
                let read = stdout.read_line(&mut printed).unwrap();
                let logged = || std::fs::read_to_string(&log).unwrap();
                assert_ne!(read, 0, "it did not start: {printed}{}", logged());
            }
            let mall = printed
                .lines()
                .find(|line| line.trim_start().starts_with("mall"));
            let url = mall.unwrap().split_whitespace().nth(1).unwrap();
            Self {
                url: url.trim_end_matches('/').to_owned(),
                child,
                _stdout: stdout,
                log,
            }
        })
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Node {
    /// Nothing is left behind, whatever happened.
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            #[expect(
                clippy::print_stdout,
                reason = "a failed test shows what the node said"
            )]
            {
                println!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
            }
        }
        drop(std::fs::remove_file(&self.log));
    }
}
