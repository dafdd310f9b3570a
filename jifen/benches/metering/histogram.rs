//! Latencies, counted in steps of under two percent.

/// Steps in each doubling of the value.
const STEPS: usize = 64;
/// The last step begins at about a minute; what takes longer is counted there.
const BUCKETS: usize = STEPS * 21;

/// How often each latency was met.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
        }
    }

    pub(crate) fn add(&mut self, micros: u64) {
        self.counts[bucket(micros)] += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }

    /// The latency that this share of the requests did not exceed.
    pub(crate) fn millis_at(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil();
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return micros_of(index) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// Single microseconds up to [`STEPS`], from there on [`STEPS`] to a doubling.
fn bucket(micros: u64) -> usize {
    let doublings = (micros / STEPS as u64).checked_ilog2().map_or(0, |n| n + 1) as usize;
    let step = (micros >> doublings.saturating_sub(1)) as usize % STEPS;
    (doublings * STEPS + step).min(BUCKETS - 1)
}

/// The largest latency in a bucket.
fn micros_of(bucket: usize) -> u64 {
    let (doublings, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    match doublings {
        0 => step,
        _ => ((STEPS as u64 + step + 1) << (doublings - 1)) - 1,
    }
}
