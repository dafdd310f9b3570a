//! Throughput and latency of each kind of request, taken in turns, so that a slow minute of the machine meets all of them.

use std::sync::Arc;

use crate::database::Database;
use crate::load::Load;
use crate::measured::{Line, median};
use crate::postgres::Server;
use crate::process::Mall;
use crate::progress::tell;
use crate::requests::{self, Requests};
use crate::{Bench, Part, Scale, prepare, start_mall, start_mall_with};

/// Charges in a batch.
const BATCH: u64 = 100;

/// What the rounds found.
#[derive(Default)]
pub(crate) struct Rounds {
    /// In the order they were taken.
    pub(crate) lines: Vec<Line>,
    /// Spread charges at half their rate.
    pub(crate) half: Option<Line>,
    /// Spread charges, each in a transaction of its own.
    pub(crate) single: Option<Line>,
    /// Transactions a second.
    pub(crate) pgbench: Option<f64>,
    /// Of the mall when all was over.
    pub(crate) memory_bytes: u64,
}

impl Rounds {
    pub(crate) fn line(&self, part: Part) -> Option<&Line> {
        self.lines.iter().find(|line| line.part == part)
    }

    pub(crate) fn rate(&self, part: Part) -> Option<f64> {
        self.line(part).map(Line::per_second)
    }
}

/// One kind of request, and what came of it so far.
struct Kind {
    line: Line,
    requests: Arc<dyn Requests>,
}

pub(crate) async fn measure(bench: &Bench) -> Rounds {
    let parts = [
        Part::Echo,
        Part::Verify,
        Part::Spread,
        Part::One,
        Part::Batch,
        Part::BatchOne,
        Part::Pgbench,
    ];
    if !parts.into_iter().any(|part| bench.wants(part)) {
        return Rounds::default();
    }
    let database = bench.database("rounds");
    let mut kinds = prepare(bench, &database).await;
    let points = database.points();
    let mall = start_mall(&database).await;
    let mut pgbench = Vec::new();
    for round in 1..=bench.scale.rounds {
        for kind in &mut kinds {
            let name = format!("round {round}, {:?}", kind.line.part);
            let load = load(bench.scale, &kind.requests);
            let outcome = bench.step(&name, kind.line.measure(&mall, &load)).await;
            tell(&format!("{:.0} requests/s", outcome.per_second()));
        }
        if let Some(server) = pgbench_server(bench) {
            let name = format!("round {round}, pgbench");
            let running = async { server.pgbench(bench.scale.duration) };
            let rate = bench.step(&name, running).await;
            tell(&format!("{rate:.0} transactions/s"));
            pgbench.push(rate);
        }
    }
    let half = half_load(bench, &mall, &kinds).await;
    let memory_bytes = mall.memory_bytes();
    mall.stop().await;
    let single = one_by_one(bench, &database, &kinds).await;
    let lines: Vec<Line> = kinds.into_iter().map(|kind| kind.line).collect();
    let charged: u64 = lines
        .iter()
        .chain(&half)
        .chain(&single)
        .filter(|line| !matches!(line.part, Part::Echo | Part::Verify))
        .map(Line::acknowledged)
        .sum();
    assert_eq!(
        points - database.points(),
        charged as i64,
        "what was taken is not what was acknowledged"
    );
    Rounds {
        lines,
        half,
        single,
        pgbench: (!pgbench.is_empty()).then(|| median(&pgbench)),
        memory_bytes,
    }
}

/// Fills the database and makes the requests that are wanted.
async fn prepare(bench: &Bench, database: &Database) -> Vec<Kind> {
    let accounts = bench.scale.accounts;
    let writing = prepare::small_ledger(database, accounts);
    bench.step("a ledger of few entries", writing).await;
    let charging = [
        Part::Verify,
        Part::Spread,
        Part::One,
        Part::Batch,
        Part::BatchOne,
    ];
    let (gateway, keys) = if charging.into_iter().any(|part| bench.wants(part)) {
        let making = prepare::gateway_and_keys(database, 1..=accounts);
        bench.step("keys", making).await
    } else {
        (prepare::unknown_gateway(), prepare::unknown_keys(accounts))
    };
    if let Some(server) = pgbench_server(bench) {
        let making = async { server.prepare_pgbench() };
        bench.step("pgbench's tables", making).await;
    }
    let kind = |part, per_request, requests| Kind {
        line: Line::new(part, per_request),
        requests,
    };
    let mut kinds = vec![
        kind(Part::Echo, 1, requests::echoes(&gateway, &keys)),
        kind(Part::Verify, 1, requests::verifications(&gateway, &keys)),
        kind(Part::Spread, 1, requests::charges(&gateway, &keys)),
        kind(Part::One, 1, requests::charges(&gateway, &keys[..1])),
        kind(
            Part::Batch,
            BATCH,
            requests::batches(&gateway, &keys, BATCH, BATCH),
        ),
        kind(
            Part::BatchOne,
            BATCH,
            requests::batches(&gateway, &keys, BATCH, 1),
        ),
    ];
    kinds.retain(|kind| bench.wants(kind.line.part));
    kinds
}

/// Spread charges once more, at half the rate that was found.
async fn half_load(bench: &Bench, mall: &Mall, kinds: &[Kind]) -> Option<Line> {
    let spread = kinds.iter().find(|kind| kind.line.part == Part::Spread);
    let spread = spread.filter(|_| bench.wants(Part::Half))?;
    let mut line = Line::new(Part::Half, 1);
    let load = Load {
        pace: Some(spread.line.per_second() / 2.0),
        ..load(bench.scale, &spread.requests)
    };
    bench.step("half load", line.measure(mall, &load)).await;
    Some(line)
}

/// Spread charges through the same code, but for a transaction each, on as many connections as the pool has.
async fn one_by_one(bench: &Bench, database: &Database, kinds: &[Kind]) -> Option<Line> {
    let spread = kinds.iter().find(|kind| kind.line.part == Part::Spread);
    let spread = spread.filter(|_| bench.wants(Part::Single))?;
    let settings = [
        ("JIFEN__METERING__GROUP_MAX", "1"),
        ("JIFEN__METERING__CONNECTIONS", "14"),
    ];
    let mall = start_mall_with(database, &settings).await;
    let mut line = Line::new(Part::Single, 1);
    let load = load(bench.scale, &spread.requests);
    bench.step("one by one", line.measure(&mall, &load)).await;
    mall.stop().await;
    Some(line)
}

fn load(scale: Scale, requests: &Arc<dyn Requests>) -> Load {
    Load {
        requests: Arc::clone(requests),
        connections: scale.connections,
        warm_up: scale.warm_up,
        duration: scale.duration,
        pace: None,
    }
}

fn pgbench_server(bench: &Bench) -> Option<&Server> {
    let server = bench.server.as_deref();
    server.filter(|_| bench.wants(Part::Pgbench))
}
