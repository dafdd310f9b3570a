//! What was found out.

use std::time::Duration;

use crate::Part;
use crate::growth::Growth;
use crate::histogram::Histogram;
use crate::load::{Load, Outcome};
use crate::nodes::Nodes;
use crate::process::Mall;
use crate::rounds::Rounds;
use crate::soak::Soak;

/// On one engine.
pub(crate) struct Measured {
    pub(crate) engine: crate::Engine,
    pub(crate) version: String,
    pub(crate) rounds: Rounds,
    pub(crate) soak: Option<Soak>,
    pub(crate) nodes: Option<Nodes>,
    pub(crate) growth: Option<Growth>,
}

/// One kind of request over several rounds.
pub(crate) struct Line {
    pub(crate) part: Part,
    /// Charges in one request, where it is a batch.
    per_request: u64,
    rates: Vec<f64>,
    pub(crate) latencies: Histogram,
    acknowledged: u64,
    cpu: Duration,
}

impl Line {
    pub(crate) fn new(part: Part, per_request: u64) -> Self {
        Self {
            part,
            per_request,
            rates: Vec::new(),
            latencies: Histogram::new(),
            acknowledged: 0,
            cpu: Duration::ZERO,
        }
    }

    /// One more round against a mall.
    pub(crate) async fn measure(&mut self, mall: &Mall, load: &Load) -> Outcome {
        let cpu = mall.cpu_time();
        let outcome = load.send(&[mall.address]).await;
        self.cpu += mall.cpu_time().saturating_sub(cpu);
        self.add(&outcome);
        outcome
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.rates
            .push(outcome.per_second() * self.per_request as f64);
        self.acknowledged += outcome.acknowledged * self.per_request;
        self.latencies.merge(&outcome.latencies);
    }

    /// Charges, or requests, acknowledged in all rounds.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Charges, or requests, in the middle one of the rounds.
    pub(crate) fn per_second(&self) -> f64 {
        median(&self.rates)
    }

    /// The slowest and the fastest round.
    pub(crate) fn range(&self) -> (f64, f64) {
        self.rates
            .iter()
            .fold((f64::INFINITY, 0.0), |(low, high), rate| {
                (rate.min(low), rate.max(high))
            })
    }

    /// Of the mall's process, for each charge or request.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.acknowledged as f64
    }
}

/// The middle one; of an even number, the lower of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}
