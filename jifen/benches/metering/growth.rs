//! A ledger of many entries beside one of few: the same charges on both in turns, and what is read of one account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jifen_domain::AccountId;

use crate::database::Database;
use crate::ledger::{LONG_ACCOUNT, Ledger};
use crate::load::Load;
use crate::measured::{Line, median};
use crate::process::Mall;
use crate::progress::tell;
use crate::requests::Requests;
use crate::{Bench, Part, Scale, prepare, requests, start_mall};

/// Rows of a history's page.
const PAGE_ROWS: u64 = 10;
/// Pages beside the one that is meant, so that it is not always the same.
const PAGES: u64 = 8;

/// What the size of the ledger changes.
pub(crate) struct Growth {
    pub(crate) accounts: u32,
    pub(crate) entries: u64,
    pub(crate) bytes: i64,
    pub(crate) small: Line,
    pub(crate) grown: Line,
    /// Charges in the long history, and the median time of its pages 1, 1,000 and the last.
    pub(crate) long_charges: u64,
    pub(crate) pages_millis: [f64; 3],
    /// Of one account in the small and in the grown ledger.
    pub(crate) balance_millis: [f64; 2],
    pub(crate) audit_millis: Option<[f64; 2]>,
}

/// A mall with a ledger of its own.
struct Side {
    database: Database,
    mall: Mall,
    /// Whose keys are charged.
    users: Vec<u32>,
    charges: Arc<dyn Requests>,
    token: String,
}

pub(crate) async fn measure(bench: &Bench) -> Growth {
    let scale = bench.scale;
    let ledger = Ledger::mixed(scale.grown_accounts, scale.long_entries);
    let few = bench.database("few");
    let writing = prepare::small_ledger(&few, scale.accounts);
    bench.step("a ledger of few entries", writing).await;
    let many = bench.database("many");
    many.migrate().await;
    let name = format!("a ledger of {} entries", ledger.entries);
    bench.step(&name, async { ledger.write(&many) }).await;
    let bytes = many.bytes();
    let small = side(few, (1..=scale.accounts).collect()).await;
    let grown = side(many, scattered(scale).collect()).await;

    let [small_line, grown_line] = charge_in_turns(bench, [&small, &grown]).await;
    let long_charges = u64::from(scale.long_entries) - 1;
    let last = long_charges.div_ceil(PAGE_ROWS);
    let reading = async {
        let mut rounds: [Vec<f64>; 3] = Default::default();
        for _ in 0..scale.rounds {
            for (millis, first) in rounds.iter_mut().zip([1, 1_000, last - PAGES]) {
                millis.push(history_millis(scale, &grown, first).await);
            }
        }
        rounds.map(|millis| median(&millis))
    };
    let pages_millis = bench.step("pages of a long history", reading).await;
    let reading = async {
        [
            balance_millis(scale, &small).await,
            balance_millis(scale, &grown).await,
        ]
    };
    let balance_millis = bench.step("balance of one account", reading).await;
    let audit_millis = if bench.wants(Part::Audit) {
        let reading = async { [audit_millis(&small).await, audit_millis(&grown).await] };
        Some(bench.step("audit of one account", reading).await)
    } else {
        None
    };
    small.mall.stop().await;
    grown.mall.stop().await;
    Growth {
        accounts: ledger.accounts,
        entries: ledger.entries,
        bytes,
        small: small_line,
        grown: grown_line,
        long_charges,
        pages_millis,
        balance_millis,
        audit_millis,
    }
}

/// Spread charges on both sides, one after the other in each round.
async fn charge_in_turns(bench: &Bench, sides: [&Side; 2]) -> [Line; 2] {
    let mut lines = [Line::new(Part::Spread, 1), Line::new(Part::Growth, 1)];
    let points = sides.map(|side| side.database.points());
    for round in 1..=bench.scale.rounds {
        for ((side, line), size) in sides.iter().zip(&mut lines).zip(["small", "large"]) {
            let load = Load {
                requests: Arc::clone(&side.charges),
                connections: bench.scale.connections,
                warm_up: bench.scale.warm_up,
                duration: bench.scale.duration,
                pace: None,
            };
            let name = format!("round {round}, spread in the {size} ledger");
            let outcome = bench.step(&name, line.measure(&side.mall, &load)).await;
            tell(&format!("{:.0} charges/s", outcome.per_second()));
        }
    }
    for ((side, line), points) in sides.iter().zip(&lines).zip(points) {
        assert_eq!(
            points - side.database.points(),
            line.acknowledged() as i64,
            "what was taken is not what was acknowledged"
        );
    }
    lines
}

async fn side(database: Database, users: Vec<u32>) -> Side {
    let (gateway, keys) = prepare::gateway_and_keys(&database, users.iter().copied()).await;
    let token = prepare::session(&database).await;
    Side {
        mall: start_mall(&database).await,
        charges: requests::charges(&gateway, &keys),
        users,
        token,
        database,
    }
}

/// As many accounts as the small ledger has, each somewhere else in the grown one.
fn scattered(scale: Scale) -> impl Iterator<Item = u32> {
    // Has no factor in common with a power of ten.
    const STRIDE: u64 = 618_033;
    let accounts = u64::from(scale.grown_accounts);
    (1..=u64::from(scale.accounts)).map(move |place| 1 + (place * STRIDE % accounts) as u32)
}

/// The median time to read one of the pages from `first` on.
async fn history_millis(scale: Scale, side: &Side, first: u64) -> f64 {
    let url = |page| format!("/api/v1/points/consumption-history?page={page}&size={PAGE_ROWS}");
    let urls: Vec<String> = (first..first + PAGES).map(url).collect();
    read_millis(scale, side, &urls).await
}

async fn balance_millis(scale: Scale, side: &Side) -> f64 {
    read_millis(scale, side, &["/api/v1/user/info".to_owned()]).await
}

async fn read_millis(scale: Scale, side: &Side, urls: &[String]) -> f64 {
    let load = Load {
        requests: requests::pages(urls, &side.token),
        connections: 1,
        warm_up: Duration::from_millis(200),
        duration: scale.duration.min(Duration::from_secs(2)),
        pace: None,
    };
    load.send(&[side.mall.address])
        .await
        .latencies
        .millis_at(0.5)
}

/// The median time to hold one of the charged accounts against the rules of the ledger.
async fn audit_millis(side: &Side) -> f64 {
    const ACCOUNTS: usize = 50;
    let app = prepare::open(&side.database).await;
    let mut millis = Vec::new();
    for user in side
        .users
        .iter()
        .filter(|user| **user != LONG_ACCOUNT)
        .take(ACCOUNTS)
    {
        let account = AccountId(i64::from(*user));
        let started = Instant::now();
        let mut tx = app.store().snapshot().await.unwrap();
        let findings = tx.audit_account(account, app.now()).await.unwrap();
        drop(tx);
        let first = findings.first();
        assert!(first.is_none(), "the audit found {first:?} and others");
        millis.push(started.elapsed().as_secs_f64() * 1e3);
    }
    median(&millis)
}
