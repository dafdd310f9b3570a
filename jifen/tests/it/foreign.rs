//! The mall and the sandbox against the providers' SDKs, which share no code and no author with them: what the mall sends is
//! what an SDK would send, what an SDK makes the mall accepts, and the sandbox answers an SDK as its provider would.
//! The scripts stand in `tests/foreign/`, which also installs the SDKs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

mod alipay_sdk;
mod wechatpayv3;
mod wechatpy;

/// What `tests/foreign/prepare` has installed last must be this.
const INSTALLED: [(&str, &str); 2] = [
    (
        "package-lock.json",
        include_str!("../foreign/package-lock.json"),
    ),
    (
        "requirements.txt",
        include_str!("../foreign/requirements.txt"),
    ),
];

/// Does a task of `alipay_sdk.mjs`.
async fn node(task: &str, input: Value) -> Value {
    let mut command = Command::new("node");
    command
        .arg(script("alipay_sdk.mjs"))
        .arg(task)
        .arg(installed());
    outcome(command, input).await
}

/// Does a task of a Python script.
async fn python(script_name: &str, task: &str, input: Value) -> Value {
    let mut command = Command::new(installed().join("python/bin/python"));
    command
        .arg(script(script_name))
        .arg(task)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    outcome(command, input).await
}

/// The integrator's side of the sandbox's merchant.
fn kit() -> Value {
    json!(jifen_sandbox::Kit::builtin())
}

/// Runs a script to its end while the mall and the sandbox go on serving. It must succeed; its output is in the panic if not.
async fn outcome(mut command: Command, input: Value) -> Value {
    // A proxy of the machine is of no use for addresses of this machine.
    for proxy in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(proxy);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let name = format!("{command:?}");
    let run = move || {
        let mut child = command.spawn()?;
        // A script that fails early does not read its input; its exit status says more than the broken pipe.
        let _ = child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(input.to_string().as_bytes());
        child.wait_with_output()
    };
    let output = tokio::task::spawn_blocking(run)
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{err}\n{out}",
        output.status
    );
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{name}: {error}\n{err}\n{out}"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/foreign")
        .join(name)
}

/// The folder with the SDKs.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("foreign");
    for (list, expected) in INSTALLED {
        let found = std::fs::read_to_string(folder.join(list)).unwrap_or_default();
        assert!(
            found == expected,
            "the software of others for this test is not installed, or not in the pinned versions: run jifen/tests/foreign/prepare"
        );
    }
    folder
}
