//! What the pipeline counts, for the metrics: a few additions for each group.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::operation::{Declined, Outcome};

/// Upper bounds of the sizes of groups, in operations.
const SIZES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Upper bounds of the times of groups, in microseconds.
const TIMES_MICROS: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// What the charge pipeline has done since the start, and what waits in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineCounts {
    /// Operations that wait for a group to take them.
    pub waiting: usize,
    /// How operations ended: `done`, `repeated` (done before, for the same request), `refused` (by the rules, or the request
    /// was wrong), `turned_away` (the queue was full), `busy` (the database was away) and `broken` (a mistake of ours).
    pub operations: [(&'static str, u64); 6],
    /// How many operations each committed group had.
    pub group_operations: Distribution,
    /// How many microseconds each committed group took, from asking for a transaction to the end of its commit.
    pub group_micros: Distribution,
    /// Groups that were not committed, or perhaps were, because the database was away or busy.
    pub database_failures: u64,
}

/// Numbers by size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, each with how many numbers are up to it and above the one before; the last bound is the largest number
    /// there is.
    pub buckets: Vec<(u64, u64)>,
    /// All of them added up.
    pub sum: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    done: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    turned_away: AtomicU64,
    busy: AtomicU64,
    broken: AtomicU64,
    sizes: Counted<{ SIZES.len() + 1 }>,
    times: Counted<{ TIMES_MICROS.len() + 1 }>,
    database_failures: AtomicU64,
}

impl Counters {
    pub(super) fn turned_away(&self, operations: usize) {
        add(&self.turned_away, operations as u64);
    }

    pub(super) fn committed(&self, operations: usize, time: Duration) {
        self.sizes.add(&SIZES, operations as u64);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.times.add(&TIMES_MICROS, micros);
    }

    pub(super) fn database_failed(&self) {
        add(&self.database_failures, 1);
    }

    pub(super) fn ended(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let counter = match outcome {
                Ok(answer) if answer.is_replay => &self.repeated,
                Ok(_) => &self.done,
                Err(Declined::Busy(_)) => &self.busy,
                Err(Declined::Broken(_)) => &self.broken,
                // It is asked again where it belongs, and counted there.
                Err(Declined::Moved(_)) => continue,
                Err(
                    Declined::Refused(..)
                    | Declined::Reused
                    | Declined::NoAccount
                    | Declined::NoSuchCharge,
                ) => &self.refused,
            };
            add(counter, 1);
        }
    }

    pub(super) fn read(&self, waiting: usize) -> PipelineCounts {
        PipelineCounts {
            waiting,
            operations: [
                ("done", read(&self.done)),
                ("repeated", read(&self.repeated)),
                ("refused", read(&self.refused)),
                ("turned_away", read(&self.turned_away)),
                ("busy", read(&self.busy)),
                ("broken", read(&self.broken)),
            ],
            group_operations: self.sizes.read(&SIZES),
            group_micros: self.times.read(&TIMES_MICROS),
            database_failures: read(&self.database_failures),
        }
    }
}

/// A distribution as it grows; the last counter is of what is above all bounds.
struct Counted<const N: usize> {
    counts: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Default for Counted<N> {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; N],
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Counted<N> {
    fn add(&self, bounds: &[u64], number: u64) {
        let place = bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get(place) {
            add(count, 1);
        }
        add(&self.sum, number);
    }

    fn read(&self, bounds: &[u64]) -> Distribution {
        let bounds = bounds.iter().copied().chain([u64::MAX]);
        Distribution {
            buckets: bounds.zip(self.counts.iter().map(read)).collect(),
            sum: read(&self.sum),
        }
    }
}

/// Nothing hangs on the order in which counters move.
fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_counted_under_the_smallest_bound_that_holds_it() {
        let counters = Counters::default();
        for size in [1, 2, 3, 4, 512, 513] {
            counters.committed(size, Duration::from_micros(500));
        }
        counters.committed(1, Duration::from_mins(1));
        let counts = counters.read(0);
        let expected = [2, 1, 2, 0, 0, 0, 0, 0, 0, 1, 1];
        let found: Vec<u64> = counts
            .group_operations
            .buckets
            .iter()
            .map(|(_, count)| *count)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(counts.group_operations.sum, 1_036);
        assert_eq!(counts.group_micros.buckets[0], (500, 6));
        assert_eq!(counts.group_micros.buckets.last(), Some(&(u64::MAX, 1)));
        assert_eq!(counts.group_micros.sum, 60_003_000);
    }
}
