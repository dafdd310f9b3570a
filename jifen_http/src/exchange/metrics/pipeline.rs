//! What the charge pipeline counts, read at each scrape.

use std::fmt;
use std::time::Duration;

use jifen_app::{Distribution, PipelineCounts};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Asks for the counts.
pub(super) struct Pipeline<F>(pub(super) F);

impl<F> fmt::Debug for Pipeline<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

impl<F: Fn() -> PipelineCounts + Send + Sync + 'static> Collector for Pipeline<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = (self.0)();
        let waiting = ConstGauge::new(i64::try_from(counts.waiting).unwrap_or(i64::MAX));
        waiting.encode(encoder.encode_descriptor(
            "charges_waiting",
            "Charges, holds, refunds and the like that wait to be taken into a commit",
            None,
            MetricType::Gauge,
        )?)?;
        let mut operations = encoder.encode_descriptor(
            "charge_operations",
            "Charges, holds, refunds and the like by how they ended: done, repeated, refused, turned_away (the queue was \
             full), busy (the database was away), broken (a bug)",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count) in counts.operations {
            let label = [("outcome", outcome)];
            ConstCounter::new(count).encode(operations.encode_family(&label)?)?;
        }
        encode_distribution(
            &mut encoder,
            ("charge_group_operations", None),
            "Charges, holds, refunds and the like in each commit",
            &counts.group_operations,
            float,
        )?;
        encode_distribution(
            &mut encoder,
            ("charge_commit_duration", Some(&Unit::Seconds)),
            "Time of a commit of charges, from asking for a transaction to its end",
            &counts.group_micros,
            |micros| Duration::from_micros(micros).as_secs_f64(),
        )?;
        ConstCounter::new(counts.database_failures).encode(encoder.encode_descriptor(
            "charge_database_failures",
            "Commits of charges that failed because the database was away or busy",
            None,
            MetricType::Counter,
        )?)
    }
}

fn encode_distribution(
    encoder: &mut DescriptorEncoder<'_>,
    (name, unit): (&str, Option<&Unit>),
    help: &str,
    distribution: &Distribution,
    float: impl Fn(u64) -> f64,
) -> Result<(), fmt::Error> {
    let last = distribution.buckets.len().saturating_sub(1);
    let bounds = distribution.buckets.iter().enumerate();
    let buckets: Vec<(f64, u64)> = bounds
        .map(|(place, (bound, count))| {
            // Which is how the library knows "+Inf".
            let bound = if place == last {
                f64::INFINITY
            } else {
                float(*bound)
            };
            (bound, *count)
        })
        .collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(float(distribution.sum), count, &buckets, None)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric; exact up to nine thousand million millions"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_scrape_tells_what_the_pipeline_counts() {
        let distribution = |bound: u64, sum: u64| Distribution {
            buckets: vec![(bound, 3), (u64::MAX, 1)],
            sum,
        };
        let counts = PipelineCounts {
            waiting: 7,
            operations: [
                ("done", 1),
                ("repeated", 2),
                ("refused", 3),
                ("turned_away", 4),
                ("busy", 5),
                ("broken", 6),
            ],
            group_operations: distribution(2, 9),
            group_micros: distribution(2_500, 1_250_000),
            database_failures: 8,
        };
        let mut registry = Registry::with_prefix("jifen");
        registry.register_collector(Box::new(Pipeline(move || counts.clone())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "jifen_charges_waiting 7",
            "jifen_charge_operations_total{outcome=\"done\"} 1",
            "jifen_charge_operations_total{outcome=\"broken\"} 6",
            "jifen_charge_group_operations_bucket{le=\"2.0\"} 3",
            "jifen_charge_group_operations_bucket{le=\"+Inf\"} 4",
            "jifen_charge_group_operations_sum 9.0",
            "jifen_charge_group_operations_count 4",
            "jifen_charge_commit_duration_seconds_bucket{le=\"0.0025\"} 3",
            "jifen_charge_commit_duration_seconds_sum 1.25",
            "jifen_charge_database_failures_total 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
