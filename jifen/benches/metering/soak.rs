//! A long load: whether memory grows, and what a charge takes up on the disk.

use std::time::Instant;

use crate::database::Database;
use crate::load::Load;
use crate::progress::tell;
use crate::{Bench, Part, prepare, requests, start_mall};

/// What a long load showed.
pub(crate) struct Soak {
    pub(crate) samples: Vec<Sample>,
    pub(crate) charges: u64,
    /// By how much the database grew.
    pub(crate) bytes: i64,
    pub(crate) audit: Option<Audit>,
}

/// The whole ledger, held against its rules afterwards.
pub(crate) struct Audit {
    pub(crate) entries: i64,
    pub(crate) seconds: f64,
}

/// The mall at one moment.
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) memory_bytes: u64,
    /// Requests since the sample before.
    pub(crate) per_second: f64,
}

pub(crate) async fn measure(bench: &Bench) -> Soak {
    let scale = bench.scale;
    let database = bench.database("soak");
    let preparing = prepare::small_ledger(&database, scale.accounts);
    bench.step("a ledger to soak", preparing).await;
    let making = prepare::gateway_and_keys(&database, 1..=scale.accounts);
    let (gateway, keys) = bench.step("keys", making).await;
    let load = Load {
        requests: requests::charges(&gateway, &keys),
        connections: scale.connections,
        warm_up: scale.warm_up,
        duration: scale.soak,
        pace: None,
    };
    let (points, bytes) = (database.points(), database.bytes());
    let mall = start_mall(&database).await;
    let mut samples = Vec::new();
    let sampling = async {
        let started = Instant::now();
        let (mut seconds, mut sent) = (0.0, requests::sent());
        loop {
            tokio::time::sleep(scale.soak_sample).await;
            let (now, requests) = (started.elapsed().as_secs_f64(), requests::sent());
            samples.push(Sample {
                seconds: now,
                memory_bytes: mall.memory_bytes(),
                per_second: (requests - sent) as f64 / (now - seconds),
            });
            (seconds, sent) = (now, requests);
        }
    };
    let addresses = [mall.address];
    let soaking = async {
        tokio::select! {
            outcome = load.send(&addresses) => outcome,
            () = sampling => unreachable!("sampling goes on"),
        }
    };
    let outcome = bench.step("soak", soaking).await;
    mall.stop().await;
    assert_eq!(
        points - database.points(),
        outcome.acknowledged as i64,
        "what was taken is not what was acknowledged"
    );
    let bytes = database.bytes() - bytes;
    tell(&format!(
        "{} bytes a charge",
        bytes / outcome.acknowledged as i64
    ));

    let audit = if bench.wants(Part::Audit) {
        Some(bench.step("audit", audit(&database)).await)
    } else {
        None
    };
    Soak {
        samples,
        charges: outcome.acknowledged,
        bytes,
        audit,
    }
}

async fn audit(database: &Database) -> Audit {
    let app = prepare::open(database).await;
    let started = Instant::now();
    let report = app.audit(|_, _| {}).await.unwrap();
    let first = report.findings.first();
    assert!(first.is_none(), "the audit found {first:?} and others");
    Audit {
        entries: report.audited.entries,
        seconds: started.elapsed().as_secs_f64(),
    }
}
