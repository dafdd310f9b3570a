//! Where time and randomness come from.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;

/// The clock and the source of randomness, replaceable so that a test can hold both still.
pub trait Environment: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock and the randomness of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that asks the machine for the time"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes)
            .expect("the system's random generator does not fail once the process runs");
    }
}

impl dyn Environment {
    /// Seconds since the epoch.
    pub(crate) fn unix_seconds(&self) -> i64 {
        self.now().as_second()
    }

    /// `length` lower-case hexadecimal digits.
    pub(crate) fn hex(&self, length: usize) -> String {
        self.draw(b"0123456789abcdef", length)
    }

    /// `length` decimal digits, the first one not zero.
    pub(crate) fn digits(&self, length: usize) -> String {
        let first = self.draw(b"123456789", length.min(1));
        first + &self.draw(b"0123456789", length.saturating_sub(1))
    }

    /// `length` letters and digits.
    pub(crate) fn alphanumeric(&self, length: usize) -> String {
        self.draw(
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            length,
        )
    }

    /// `N` random bytes in base64.
    pub(crate) fn base64<const N: usize>(&self) -> String {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        BASE64_STANDARD.encode(bytes)
    }

    /// The alphabets' lengths do not all divide 256; the slight preference for some characters does not matter for names that
    /// are only unique within one sandbox.
    fn draw(&self, alphabet: &[u8], length: usize) -> String {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
            .iter()
            .filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len()))
            .map(|byte| char::from(*byte))
            .collect()
    }
}
