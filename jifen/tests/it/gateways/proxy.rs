//! The real nginx, Caddy and `HAProxy`, with the files of `deploy/gateways` as they are, and addresses of the test.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use super::wire::free_address;

/// How long a proxy may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two looks whether it does.
const START_POLL: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Caddy,
    Haproxy,
}

/// What stands behind a proxy.
pub(super) struct Wiring<'a> {
    /// Nodes of Jifen, the first one first.
    pub(super) jifen: [SocketAddr; 2],
    pub(super) api: SocketAddr,
    pub(super) credential: &'a str,
    /// Whether calls pass while Jifen is down; unless said so, they do not.
    pub(super) is_open: bool,
}

/// A running proxy; killed when dropped.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Proxy {
    pub(super) async fn start(kind: Kind, wiring: &Wiring<'_>) -> Self {
        let address = free_address();
        let name = format!("gateway-{}-{}", address.ip(), address.port());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = match kind {
            Kind::Nginx => nginx(address, wiring, &folder),
            Kind::Caddy => caddy(address, wiring, &folder),
            Kind::Haproxy => haproxy(address, wiring),
        };
        let log = File::create(folder.join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; scripts/test installs what is missing")
        });
        let mut proxy = Self {
            address,
            child,
            folder,
        };
        proxy.wait_until_it_listens().await;
        proxy
    }

    async fn wait_until_it_listens(&mut self) {
        let address = self.address;
        let listening = async {
            let mut looks = tokio::time::interval(START_POLL);
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("the proxy ended: {status}\n{}", self.log());
                }
                looks.tick().await;
            }
        };
        if tokio::time::timeout(START_TIMEOUT, listening)
            .await
            .is_err()
        {
            panic!("the proxy does not listen\n{}", self.log());
        }
    }

    /// Everything it has written.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Where the ready configurations lie.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/gateways")
        .join(path)
}

/// nginx knows no environment: what an operator edits is edited here. The rest of nginx.conf is the test's: one process, and
/// nothing outside its folder.
fn nginx(address: SocketAddr, wiring: &Wiring<'_>, folder: &Path) -> Command {
    let credential = folder.join("jifen_credential.conf");
    let line = format!(
        "proxy_set_header X-Jifen-Credential \"{}\";",
        wiring.credential
    );
    std::fs::write(&credential, line).unwrap();
    let mut config = std::fs::read_to_string(shipped("nginx/jifen.conf")).unwrap();
    let [first, second] = wiring.jifen;
    for (old, new) in [
        (
            "server 127.0.0.1:8080;",
            format!("server {first}; server {second};"),
        ),
        ("server 127.0.0.1:9000;", format!("server {};", wiring.api)),
        ("listen 80;", format!("listen {address};")),
        ("default closed;", format!("default {};", when_down(wiring))),
    ] {
        assert_eq!(config.matches(old).count(), 1, "{old} in nginx/jifen.conf");
        config = config.replace(old, &new);
    }
    let include = "include /etc/nginx/jifen_credential.conf;";
    assert_eq!(config.matches(include).count(), 2, "nginx/jifen.conf");
    config = config.replace(include, &format!("include {};", credential.display()));
    std::fs::write(folder.join("jifen.conf"), config).unwrap();
    let frame = "daemon off; master_process off; pid nginx.pid; error_log stderr;
        events {}
        http {
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            include jifen.conf;
        }";
    std::fs::write(folder.join("nginx.conf"), frame).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder);
    command.args(["-c", "nginx.conf", "-e", "stderr"]);
    command
}

fn caddy(address: SocketAddr, wiring: &Wiring<'_>, folder: &Path) -> Command {
    let [first, second] = wiring.jifen;
    let mut command = Command::new("caddy");
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(shipped("caddy/Caddyfile"))
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        .env("XDG_DATA_HOME", folder)
        .env("CADDY_ADMIN", "off")
        .env("SITE_ADDRESS", format!("http://{address}"))
        .env("API_ADDRESS", wiring.api.to_string())
        .env("JIFEN_ADDRESS", format!("{first} {second}"))
        .env("JIFEN_CREDENTIAL", wiring.credential);
    choose(&mut command, wiring);
    command
}

fn haproxy(address: SocketAddr, wiring: &Wiring<'_>) -> Command {
    let mut command = Command::new("haproxy");
    command
        .arg("-db")
        .arg("-f")
        .arg(shipped("haproxy/jifen.cfg"))
        .env("JIFEN_LUA", shipped("haproxy/jifen.lua"))
        .env("JIFEN_SOCKET", format!("jifen-{address}"))
        .env("LISTEN_ADDRESS", address.to_string())
        .env("API_ADDRESS", wiring.api.to_string())
        .env("JIFEN_ADDRESS", wiring.jifen[0].to_string())
        .env("JIFEN_CREDENTIAL", wiring.credential);
    choose(&mut command, wiring);
    command
}

/// Closed is what a configuration does that was told nothing.
fn choose(command: &mut Command, wiring: &Wiring<'_>) {
    command.env_remove("JIFEN_WHEN_DOWN");
    if wiring.is_open {
        command.env("JIFEN_WHEN_DOWN", "open");
    }
}

fn when_down(wiring: &Wiring<'_>) -> &'static str {
    if wiring.is_open { "open" } else { "closed" }
}
