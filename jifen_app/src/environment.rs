//! Clock and randomness: the only door to both. Tests put a clock they move themselves behind it.

use jifen_domain::Time;

/// What the use cases need from the world besides the database and the providers.
pub trait Environment: Send + Sync {
    /// The current moment.
    fn now(&self) -> Time;

    /// Fills `bytes` with unpredictable bytes.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// The operating system's clock, and the random generator of aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that reads the real clock"
    )]
    fn now(&self) -> Time {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("aws-lc aborts rather than return without randomness");
    }
}

/// Lets the provider clients see the same clock and randomness.
#[derive(Clone)]
pub struct ProviderEnvironment(pub std::sync::Arc<dyn Environment>);

impl jifen_wechat::Environment for ProviderEnvironment {
    fn unix_seconds(&self) -> i64 {
        self.0.now().seconds()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }
}

impl jifen_alipay::Environment for ProviderEnvironment {
    fn unix_seconds(&self) -> i64 {
        self.0.now().seconds()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }
}
