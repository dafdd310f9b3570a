//! Clock and randomness, given by the caller so that tests can fix both.

/// What the client needs from the world besides HTTP.
pub trait Environment: Send + Sync {
    /// Seconds since 1970-01-01T00:00:00Z.
    fn unix_seconds(&self) -> i64;

    /// Fills `bytes` with unpredictable bytes.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// The operating system's clock and the random generator of aws-lc.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that reads the real clock"
    )]
    fn unix_seconds(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| {
                i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
            })
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("aws-lc aborts rather than return without randomness");
    }
}
