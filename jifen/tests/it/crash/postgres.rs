//! A PostgreSQL server of a test's own, which can be killed and started again on the same files. Unlike the one of
//! `scripts/postgres-for-tests` it waits for the disk, as in production.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Including the repair of what was killed.
const START_TIME_MAX: Duration = Duration::from_mins(1);

pub(super) struct Server {
    folder: PathBuf,
    programs: PathBuf,
    postmaster: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        tokio::task::block_in_place(|| {
            let folder = format!("jifen_crash_{}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            // What an earlier process of the same number left behind when it was killed.
            drop(std::fs::remove_dir_all(&folder));
            std::fs::create_dir(&folder).unwrap();
            if is_root() {
                run(Command::new("chown").arg("postgres:").arg(&folder));
            }
            // Others must get through it to the socket.
            run(Command::new("chmod").arg("0711").arg(&folder));
            let programs = programs();
            run(as_server(&programs.join("initdb"), &folder)
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale=C", "--no-sync", "--pgdata"])
                .arg(folder.join("data")));
            let postmaster = start_postmaster(&programs, &folder);
            let server = Self {
                folder,
                programs,
                postmaster,
            };
            server.wait_until_ready();
            server
        })
    }

    pub(super) fn url(&self) -> String {
        let folder = self.folder.display();
        format!("postgresql:///postgres?host={folder}&user=postgres&sslmode=disable")
    }

    /// `kill -9` to every one of its processes, and a start on what they left behind.
    pub(super) fn kill_and_start(&mut self) {
        tokio::task::block_in_place(|| {
            self.kill();
            self.postmaster = start_postmaster(&self.programs, &self.folder);
            self.wait_until_ready();
        });
    }

    fn kill(&mut self) {
        // Stopped first, so that it has no more children than those that are found.
        let postmaster = self.postmaster.id().to_string();
        signal("STOP", &[postmaster]);
        let children = children(self.postmaster.id());
        self.postmaster.kill().unwrap();
        signal("KILL", &children);
        self.postmaster.wait().unwrap();
    }

    fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let ready = Command::new(self.programs.join("pg_isready"))
                .args(["--quiet", "--username=postgres", "--host"])
                .arg(&self.folder)
                .status();
            if ready.unwrap().success() {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.join("server.log")).unwrap();
            assert!(started.elapsed() < START_TIME_MAX, "{}", log());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failed test it may be dead already.
        signal("INT", &[self.postmaster.id().to_string()]);
        drop(self.postmaster.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn start_postmaster(programs: &Path, folder: &Path) -> Child {
    let started = Instant::now();
    loop {
        let log = std::fs::File::create(folder.join("server.log")).unwrap();
        let mut postmaster = as_server(&programs.join("postgres"), folder)
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-c", "listen_addresses=", "-c", "max_connections=60"])
            .args(["-c", "recovery_init_sync_method=syncfs"])
            .args(["-c", "unix_socket_permissions=0777", "-c"])
            .arg(format!("unix_socket_directories={}", folder.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let lock = folder.join("data/postmaster.pid");
        let own = postmaster.id().to_string();
        // It refuses to start while a killed process is not quite gone.
        while postmaster.try_wait().unwrap().is_none() {
            let locked_by = std::fs::read_to_string(&lock).unwrap_or_default();
            if locked_by.lines().next() == Some(own.as_str()) {
                return postmaster;
            }
        }
        let log = || std::fs::read_to_string(folder.join("server.log")).unwrap();
        assert!(started.elapsed() < START_TIME_MAX, "{}", log());
    }
}

/// The newest of Debian's versions; elsewhere, what is in `PATH`.
fn programs() -> PathBuf {
    let version = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = installed
        .map(|entry| entry.unwrap().path())
        .max_by_key(version);
    if let Some(newest) = newest {
        return newest.join("bin");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .expect("no PostgreSQL server found; on Debian: apt-get install postgresql")
}

/// The server refuses to run as root.
fn as_server(program: &Path, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--init-groups",
            "--",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// Some of them may have ended meanwhile.
fn signal(name: &str, pids: &[String]) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(pids);
    kill.stderr(Stdio::null()).status().unwrap();
}

fn children(parent: u32) -> Vec<String> {
    let parent = parent.to_string();
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            // "pid (name) state parent …"; the name may hold anything.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split(' ').nth(1)) == Some(parent.as_str())
        })
        .collect()
}
