//! How fast points are charged, on both engines, in ratios of one run on one machine. `./scripts/bench metering` writes
//! `docs/benchmarks.md`.
//!
//! The mall runs as a process of its own, this binary again with the argument `serve` (release build, the database on the
//! real disk); this process is the client.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::large_futures,
    reason = "a benchmark may panic, prints, and divides"
)]

mod chart;
mod database;
mod growth;
mod histogram;
mod ledger;
mod load;
mod measured;
mod nodes;
mod postgres;
mod prepare;
#[path = "../shared/process.rs"]
mod process;
mod progress;
mod report;
mod requests;
mod rounds;
mod serve;
mod soak;

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use database::Database;
use measured::Measured;
use postgres::Server;
use process::{Folder, Mall};
use progress::step;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How fast points are charged.
#[derive(Parser)]
struct Arguments {
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// Everything small and short, to try it out.
    #[arg(long)]
    quick: bool,
    /// These engines only.
    #[arg(long, value_enum)]
    engine: Vec<Engine>,
    /// These measurements only, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where to write the plots.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// A database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    Sqlite,
    Postgres,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// An empty request of the same size.
    Echo,
    /// Whether a key is good.
    Verify,
    /// Charges spread over many accounts.
    Spread,
    /// Charges all on one account.
    One,
    /// Batches of 100 charges, spread over many accounts.
    Batch,
    /// Batches of 100 charges, each batch on one account.
    BatchOne,
    /// PostgreSQL's own benchmark.
    Pgbench,
    /// Latency of spread charges at half their rate.
    Half,
    /// Spread charges, each in a transaction of its own.
    Single,
    /// Memory and bytes on disk under a long load.
    Soak,
    /// Two nodes on one PostgreSQL.
    Nodes,
    /// A ledger of many entries.
    Growth,
    /// Audits: of all after the long load, of one account in the ledger of many entries.
    Audit,
}

/// How much, and for how long.
#[derive(Clone, Copy)]
struct Scale {
    accounts: u32,
    connections: usize,
    rounds: usize,
    warm_up: Duration,
    duration: Duration,
    soak: Duration,
    soak_sample: Duration,
    grown_accounts: u32,
    /// Entries of one account of them.
    long_entries: u32,
}

impl Scale {
    const FULL: Self = Self {
        accounts: 10_000,
        connections: 128,
        rounds: 3,
        warm_up: Duration::from_secs(2),
        duration: Duration::from_secs(6),
        soak: Duration::from_mins(10),
        soak_sample: Duration::from_secs(5),
        grown_accounts: 1_000_000,
        long_entries: 1_000_000,
    };
    const QUICK: Self = Self {
        accounts: 1_000,
        connections: 128,
        rounds: 1,
        warm_up: Duration::from_millis(300),
        duration: Duration::from_secs(1),
        soak: Duration::from_secs(10),
        soak_sample: Duration::from_millis(500),
        grown_accounts: 10_000,
        long_entries: 20_000,
    };
}

/// One engine, and what is measured on it.
struct Bench {
    engine: Engine,
    scale: Scale,
    only: Vec<Part>,
    server: Option<Rc<Server>>,
    folder: Folder,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        return serve::run();
    }
    // `cargo test --benches` only wants to know that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // One thread: the client is to cost little, and the mall needs the others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&Arguments::parse()));
}

async fn run(arguments: &Arguments) {
    let scale = if arguments.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let mut measured = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        if !arguments.engine.is_empty() && !arguments.engine.contains(&engine) {
            continue;
        }
        let server = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Rc::new(Server::start().await)),
        };
        let bench = Bench {
            engine,
            scale,
            only: arguments.only.clone(),
            server,
            folder: Folder::new("jifen-bench-metering"),
        };
        measured.push(bench.measure().await);
    }
    println!(
        "{}",
        report::markdown(&scale, &measured, arguments.plots.is_some())
    );
    if let Some(folder) = &arguments.plots {
        std::fs::create_dir_all(folder).unwrap();
        for (name, plot) in report::plots(&measured) {
            std::fs::write(folder.join(name), plot).unwrap();
        }
    }
}

impl Bench {
    async fn measure(&self) -> Measured {
        let rounds = rounds::measure(self).await;
        let soak = if self.wants(Part::Soak) {
            Some(soak::measure(self).await)
        } else {
            None
        };
        let nodes = match self.engine {
            Engine::Postgres if self.wants(Part::Nodes) => Some(nodes::measure(self).await),
            _ => None,
        };
        let growth = if self.wants(Part::Growth) {
            Some(growth::measure(self).await)
        } else {
            None
        };
        Measured {
            engine: self.engine,
            version: match &self.server {
                Some(server) => server.version(),
                None => format!("SQLite {}", rusqlite::version()),
            },
            rounds,
            soak,
            nodes,
            growth,
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// A step under the engine's name.
    async fn step<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        step(&format!("{}: {name}", self.engine.name()), work).await
    }

    /// A new database without tables.
    fn database(&self, name: &str) -> Database {
        match &self.server {
            None => Database::Sqlite {
                path: self.folder.0.join(format!("{name}.db")),
            },
            Some(server) => {
                server.create_database(name);
                Database::Postgres {
                    server: Rc::clone(server),
                    name: name.to_owned(),
                }
            }
        }
    }
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A mall on a database.
async fn start_mall(database: &Database) -> Mall {
    start_mall_with(database, &[]).await
}

/// A mall on a database with some settings of its own.
async fn start_mall_with(database: &Database, settings: &[(&str, &str)]) -> Mall {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("serve")
        .env("JIFEN__DATABASE__URL", database.url())
        .env("JIFEN__SANDBOX__MODE", "off")
        .envs(settings.iter().copied());
    Mall::start(command).await
}
