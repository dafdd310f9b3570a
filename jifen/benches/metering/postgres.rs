//! A PostgreSQL server that is thrown away: its settings are the defaults, its data lie on the real disk.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::process::Folder;

/// Connections, threads and size of `pgbench`.
const CLIENTS: &str = "64";
const THREADS: &str = "2";
const SCALE: &str = "10";

/// A running server; it and its data end with this value.
pub(crate) struct Server {
    programs: PathBuf,
    /// Of its socket, whose path must be short.
    sockets: PathBuf,
    process: Child,
    _data: Folder,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let programs = programs();
        let data = Folder::new("jifen-bench-postgres");
        let sockets =
            std::env::temp_dir().join(format!("jifen-bench-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&sockets).unwrap();
        let is_root = output(Command::new("id").arg("-u")).trim() == "0";
        if is_root {
            // The server refuses to run as root.
            output(
                Command::new("chown")
                    .arg("postgres:")
                    .args([&data.0, &sockets]),
            );
        }
        let program = |name: &str| {
            let mut command = Command::new(if is_root { "setpriv" } else { "env" });
            if is_root {
                command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            }
            command.arg(programs.join(name)).current_dir(&data.0);
            command
        };
        output(
            program("initdb")
                .arg("--pgdata")
                .arg(data.0.join("data"))
                .args([
                    "--username=postgres",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                ]),
        );
        let log = std::fs::File::create(data.0.join("server.log")).unwrap();
        let process = program("postgres")
            .arg("-D")
            .arg(data.0.join("data"))
            .args(["-c", "listen_addresses="])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", sockets.display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            programs,
            sockets,
            process,
            _data: data,
        };
        while !server
            .client("psql")
            .arg("-c")
            .arg(";")
            .output()
            .unwrap()
            .status
            .success()
        {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL did not start: {ended:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    pub(crate) fn version(&self) -> String {
        // "postgres (PostgreSQL) 15.18 (Debian …)"
        let words = output(Command::new(self.programs.join("postgres")).arg("--version"));
        let number = words.split(' ').nth(2).unwrap_or_default().trim();
        format!("PostgreSQL {number}")
    }

    pub(crate) fn create_database(&self, name: &str) {
        output(self.client("createdb").arg(name));
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let host = self.sockets.display();
        format!("postgresql:///{database}?host={host}&user=postgres&sslmode=disable")
    }

    /// The first value that statements answer. Each is a transaction of its own.
    pub(crate) fn run(&self, database: &str, sql: &str) -> String {
        let mut client = self.client("psql");
        client.args(["-qAt", "-v", "ON_ERROR_STOP=1", "-d", database]);
        for statement in sql.split_inclusive(';') {
            client.args(["-c", statement.trim()]);
        }
        let answer = output(&mut client);
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Copies into a table what `write` writes.
    pub(crate) fn copy(&self, database: &str, sql: &str, write: impl FnOnce(&mut ChildStdin)) {
        let mut client = self
            .client("psql")
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write(&mut client.stdin.take().unwrap());
        assert!(client.wait().unwrap().success(), "{sql}");
    }

    /// Makes the tables of `pgbench`.
    pub(crate) fn prepare_pgbench(&self) {
        self.create_database("pgbench");
        output(
            self.client("pgbench")
                .args(["-i", "-q", "-s", SCALE, "pgbench"]),
        );
    }

    /// Simple updates a second, by PostgreSQL's own measure.
    pub(crate) fn pgbench(&self, duration: Duration) -> f64 {
        let seconds = duration.as_secs().max(1).to_string();
        let mut client = self.client("pgbench");
        client.args([
            "-N", "-M", "prepared", "-c", CLIENTS, "-j", THREADS, "-T", &seconds, "pgbench",
        ]);
        let report = output(&mut client);
        let line = report.lines().find(|line| line.starts_with("tps = "));
        line.and_then(|line| line.split(' ').nth(2)?.parse().ok())
            .unwrap_or_else(|| panic!("pgbench said no rate:\n{report}"))
    }

    /// A program of PostgreSQL that talks to this server.
    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .arg("--host")
            .arg(&self.sockets)
            .arg("--username=postgres")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut kill = Command::new("kill");
        let _ = kill.args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

/// Where PostgreSQL's programs are: Debian's newest, or what is in PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = versions
        .filter_map(|version| version.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    if let Some(version) = newest {
        return Path::new("/usr/lib/postgresql")
            .join(version.to_string())
            .join("bin");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .expect("PostgreSQL's server is needed: on Debian or Ubuntu, apt-get install postgresql")
}

/// What a program says; it must succeed.
fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
