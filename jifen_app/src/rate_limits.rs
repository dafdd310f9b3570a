//! How often a key or a gateway may ask. Counted on this node alone: with several nodes a limit is met on each of them.
//!
//! A token bucket each: it holds as many requests as the limit allows in its window, and fills at the same pace. It is kept
//! as what is missing in it, in fractions of a request so small that no rounding ever happens.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jifen_domain::Time;
use jifen_domain::key::{ApiKey, RateLimit};
use jifen_store::ServiceCredential;

use crate::App;
use crate::error::Error;

/// Independent parts, so that threads seldom wait for each other.
const SHARDS: usize = 64;
/// Buckets of a part.
const SHARD_BUCKETS_MAX: usize = 1_024;
const MICROS: u64 = 1_000_000;

/// Where a request stands with a limit, the request itself included if it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// The limit: requests in a window.
    pub limit: RateLimit,
    /// Requests that would be accepted right now.
    pub remaining: u32,
    /// Seconds until all of the limit's requests would be accepted at once, rounded up.
    pub reset_seconds: u32,
    /// Seconds until one more request is accepted, at least 1, when this one was refused.
    pub retry_after_seconds: Option<u32>,
}

/// Where a request stands with the limits it is held against; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The API key's.
    pub key: Option<RateState>,
    /// The service credential's.
    pub gateway: Option<RateState>,
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Where it stands with limits that are counted.
    pub rates: Rates,
    /// Seconds until it would be accepted, at least 1.
    pub retry_after_seconds: i64,
}

impl Limited {
    /// By something that is not counted here.
    pub(crate) fn for_seconds(retry_after_seconds: i64) -> Self {
        Self {
            rates: Rates::default(),
            retry_after_seconds,
        }
    }
}

impl From<Limited> for Error {
    fn from(limited: Limited) -> Self {
        Self::TooMany(limited)
    }
}

impl App {
    /// Counts a request of a key's holder.
    ///
    /// # Errors
    /// It is over the key's limit, and not counted.
    pub fn count_key_request(&self, key: &ApiKey) -> std::result::Result<Rates, Limited> {
        let key = self.rate_limits.count_for(&key.id, key.rate, self.now());
        Rates { key, gateway: None }.require()
    }

    /// Counts a request of a gateway against its own limit alone.
    ///
    /// # Errors
    /// It is over the gateway's limit, and not counted.
    pub fn count_gateway_request(
        &self,
        gateway: &ServiceCredential,
    ) -> std::result::Result<Rates, Limited> {
        let gateway = self
            .rate_limits
            .count_for(&gateway.id, gateway.rate, self.now());
        Rates { key: None, gateway }.require()
    }

    /// The same for a request that ends what was begun. It is never refused: points would stay taken, or set aside.
    pub fn note_gateway_request(&self, gateway: &ServiceCredential) -> Rates {
        let counted = self.count_gateway_request(gateway);
        counted.unwrap_or_else(|limited| limited.rates)
    }
}

impl Rates {
    fn require(self) -> std::result::Result<Self, Limited> {
        let waits = [self.key, self.gateway].map(|state| state?.retry_after_seconds);
        match waits.into_iter().flatten().max() {
            None => Ok(self),
            Some(seconds) => Err(Limited {
                rates: self,
                retry_after_seconds: seconds.into(),
            }),
        }
    }
}

/// The buckets of everybody who has a limit and has asked.
pub(crate) struct RateLimits {
    shards: [Mutex<Buckets>; SHARDS],
    hasher: RandomState,
}

type Buckets = HashMap<Box<str>, Bucket>;

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl RateLimits {
    /// Counts a request of a gateway with a key, for both of them.
    ///
    /// # Errors
    /// It is over the limit of one of them, and counted for neither.
    pub(crate) fn take(
        &self,
        key: &ApiKey,
        gateway: &ServiceCredential,
        now: Time,
    ) -> std::result::Result<Rates, Limited> {
        let rates = Rates {
            key: self.count_for(&key.id, key.rate, now),
            gateway: self.count_for(&gateway.id, gateway.rate, now),
        };
        rates.require().map_err(|mut limited| {
            let Rates {
                key: of_key,
                gateway: of_gateway,
            } = &mut limited.rates;
            for (id, state) in [(&key.id, of_key), (&gateway.id, of_gateway)] {
                if let Some(state) = state
                    .as_mut()
                    .filter(|state| state.retry_after_seconds.is_none())
                {
                    self.give_back(id, now);
                    state.remaining = state.remaining.saturating_add(1);
                }
            }
            limited
        })
    }

    fn count_for(&self, id: &str, limit: Option<RateLimit>, now: Time) -> Option<RateState> {
        limit.map(|limit| self.count(id, limit, now))
    }

    /// `id` is of a key or of a credential; both are random, so no two are the same.
    fn count(&self, id: &str, limit: RateLimit, now: Time) -> RateState {
        let mut buckets = self.buckets(id);
        if let Some(bucket) = buckets.get_mut(id) {
            return bucket.count(limit, now);
        }
        make_room(&mut buckets, now);
        let mut bucket = Bucket::full(limit, now);
        let state = bucket.count(limit, now);
        buckets.insert(id.into(), bucket);
        state
    }

    fn give_back(&self, id: &str, now: Time) {
        if let Some(bucket) = self.buckets(id).get_mut(id) {
            bucket.missing = bucket
                .missing_at(now)
                .saturating_sub(bucket.window_micros());
            bucket.at = now;
        }
    }

    fn buckets(&self, id: &str) -> MutexGuard<'_, Buckets> {
        let [start, ..] = self.hasher.hash_one(id).to_le_bytes();
        let shard = &self.shards[usize::from(start) % SHARDS];
        // A bucket is changed whole, so a panic elsewhere leaves nothing half done.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up buckets that have filled up; when there is none, the half that will be full first.
fn make_room(buckets: &mut Buckets, now: Time) {
    if buckets.len() < SHARD_BUCKETS_MAX {
        return;
    }
    buckets.retain(|_, bucket| bucket.missing_at(now) > 0);
    if buckets.len() < SHARD_BUCKETS_MAX {
        return;
    }
    let mut waits: Vec<u64> = buckets
        .values()
        .map(|bucket| bucket.micros_until(0, now))
        .collect();
    let mut surplus = waits.len() / 2;
    let (_, middle, _) = waits.select_nth_unstable(surplus);
    let middle = *middle;
    buckets.retain(|_, bucket| {
        let is_kept = surplus == 0 || bucket.micros_until(0, now) > middle;
        surplus -= usize::from(!is_kept);
        is_kept
    });
}

/// A request is `window in microseconds` parts, so each microsecond gives back `limit.requests()` of them, exactly.
#[derive(Clone, Copy)]
struct Bucket {
    limit: RateLimit,
    /// Parts that were missing at `at`.
    missing: u64,
    at: Time,
}

impl Bucket {
    fn full(limit: RateLimit, now: Time) -> Self {
        Self {
            limit,
            missing: 0,
            at: now,
        }
    }

    fn count(&mut self, limit: RateLimit, now: Time) -> RateState {
        if self.limit != limit {
            // Its owner has changed it.
            *self = Self::full(limit, now);
        }
        self.missing = self.missing_at(now);
        // Also when the clock was set back, or nothing would be given back until it is there again.
        self.at = now;
        let request = self.window_micros();
        let room = self.capacity() - self.missing;
        let is_accepted = room >= request;
        if is_accepted {
            self.missing += request;
        }
        let remaining = (self.capacity() - self.missing) / request;
        RateState {
            limit,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_seconds: seconds_up(self.micros_until(0, now)),
            retry_after_seconds: (!is_accepted)
                .then(|| seconds_up(self.micros_until(self.capacity() - request, now)).max(1)),
        }
    }

    /// At most 86,400,000,000.
    fn window_micros(&self) -> u64 {
        u64::from(self.limit.seconds()) * MICROS
    }

    /// At most a million times as much: far from the end of 64 bits.
    fn capacity(&self) -> u64 {
        u64::from(self.limit.requests()) * self.window_micros()
    }

    fn missing_at(&self, now: Time) -> u64 {
        let passed = now.micros().saturating_sub(self.at.micros());
        // In a whole window everything is given back.
        let passed = u64::try_from(passed).unwrap_or(0).min(self.window_micros());
        self.missing
            .saturating_sub(passed * u64::from(self.limit.requests()))
    }

    /// Microseconds until no more than so many parts are missing.
    fn micros_until(&self, missing: u64, now: Time) -> u64 {
        self.missing_at(now)
            .saturating_sub(missing)
            .div_ceil(u64::from(self.limit.requests()))
    }
}

fn seconds_up(micros: u64) -> u32 {
    u32::try_from(micros.div_ceil(MICROS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jifen_domain::UserId;
    use jifen_domain::key::{Caps, Scopes};

    fn limit(requests: i64, seconds: i64) -> RateLimit {
        RateLimit::new(requests, seconds).unwrap()
    }

    fn at(micros: i64) -> Time {
        Time::from_micros(1_700_000_000_000_000 + micros)
    }

    fn is_accepted(state: RateState) -> bool {
        state.retry_after_seconds.is_none()
    }

    #[test]
    fn as_many_as_the_limit_are_accepted_at_once_and_the_next_when_one_has_come_back() {
        let limits = RateLimits::default();
        let limit = limit(10, 1);
        for remaining in (0..10).rev() {
            let state = limits.count("k", limit, at(0));
            assert_eq!(
                (state.remaining, state.retry_after_seconds),
                (remaining, None)
            );
        }
        let refused = RateState {
            limit,
            remaining: 0,
            reset_seconds: 1,
            retry_after_seconds: Some(1),
        };
        assert_eq!(limits.count("k", limit, at(0)), refused);
        assert_eq!(limits.count("k", limit, at(99_999)), refused);
        assert!(is_accepted(limits.count("k", limit, at(100_000))));
        assert!(!is_accepted(limits.count("k", limit, at(199_999))));
        assert!(is_accepted(limits.count("other", limit, at(199_999))));
        let rested = limits.count("k", limit, at(1_100_000));
        assert_eq!(
            (rested.remaining, rested.reset_seconds),
            (9, 1),
            "never more than the limit"
        );
    }

    fn key(rate: Option<RateLimit>) -> ApiKey {
        ApiKey {
            id: "k".to_owned(),
            user: UserId(1),
            name: "k".to_owned(),
            active: true,
            is_test: false,
            hint: None,
            created_at: at(0),
            expires_at: at(0),
            last_used_at: None,
            deleted_at: None,
            caps: Caps::NONE,
            rate,
            ip_ranges: Vec::new(),
            scopes: Vec::new(),
        }
    }

    fn gateway(rate: Option<RateLimit>) -> ServiceCredential {
        ServiceCredential {
            id: "g".to_owned(),
            name: "g".to_owned(),
            scopes: Scopes::all(),
            rate,
            created_at: at(0),
            revoked_at: None,
        }
    }

    #[test]
    fn a_request_over_one_limit_is_counted_for_neither() {
        let limits = RateLimits::default();
        let (key, gateway) = (key(Some(limit(1, 10))), gateway(Some(limit(3, 60))));
        let left = |rates: Rates| [rates.key, rates.gateway].map(|state| state.unwrap().remaining);
        assert_eq!(left(limits.take(&key, &gateway, at(0)).unwrap()), [0, 2]);
        for _ in 0..5 {
            let limited = limits.take(&key, &gateway, at(0)).unwrap_err();
            assert_eq!(limited.retry_after_seconds, 10);
            assert_eq!(left(limited.rates), [0, 2]);
        }
        let rested = limits.take(&key, &gateway, at(10_000_000)).unwrap();
        assert_eq!(left(rested), [0, 1]);
        let other = ApiKey {
            id: "other".to_owned(),
            ..key
        };
        limits.take(&other, &gateway, at(10_000_000)).unwrap();
        let limited = limits.take(&other, &gateway, at(19_999_999)).unwrap_err();
        assert_eq!(
            limited.retry_after_seconds, 1,
            "when both would accept it: the gateway from 20 s on, the key, too"
        );
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let limits = RateLimits::default();
        for _ in 0..100 {
            let rates = limits.take(&key(None), &gateway(None), at(0));
            assert_eq!(rates, Ok(Rates::default()));
        }
        assert!(
            limits
                .shards
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        // A request comes back every 428,571.428… microseconds.
        let limits = RateLimits::default();
        let limit = limit(7, 3);
        let accepted = (0..30_000_001)
            .step_by(1_000)
            .filter(|micros| is_accepted(limits.count("k", limit, at(*micros))))
            .count();
        assert_eq!(accepted, 7 + 70);
    }

    #[test]
    fn a_refused_request_is_told_when_to_come_again() {
        let limits = RateLimits::default();
        let limit = limit(2, 86_400);
        limits.count("k", limit, at(0));
        limits.count("k", limit, at(1));
        let refused = limits.count("k", limit, at(2));
        assert_eq!(refused.retry_after_seconds, Some(43_200));
        assert_eq!(refused.reset_seconds, 86_400);
        let later = 43_200_000_000;
        assert!(!is_accepted(limits.count("k", limit, at(later - 1))));
        assert!(is_accepted(limits.count("k", limit, at(later))));
    }

    #[test]
    fn the_greatest_limit_does_not_overflow() {
        let limits = RateLimits::default();
        let limit = limit(1_000_000, 86_400);
        assert_eq!(limits.count("k", limit, at(0)).remaining, 999_999);
        let never = limits.count("k", limit, Time::from_micros(i64::MIN));
        assert_eq!(never.remaining, 999_998);
        let end = limits.count("k", limit, Time::from_micros(i64::MAX));
        assert_eq!(end.remaining, 999_999);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let limits = RateLimits::default();
        let limit = limit(1, 1);
        assert!(is_accepted(limits.count("k", limit, at(1_000_000_000))));
        assert!(!is_accepted(limits.count("k", limit, at(0))));
        assert!(is_accepted(limits.count("k", limit, at(1_000_000))));
    }

    #[test]
    fn another_limit_counts_from_when_it_is_set() {
        let limits = RateLimits::default();
        limits.count("k", limit(1, 60), at(0));
        assert!(!is_accepted(limits.count("k", limit(1, 60), at(0))));
        assert_eq!(limits.count("k", limit(3, 60), at(0)).remaining, 2);
    }

    #[test]
    fn memory_is_bounded_and_those_who_are_over_their_limit_are_remembered() {
        let limits = RateLimits::default();
        let slow = limit(1, 86_400);
        assert!(is_accepted(limits.count("slow", slow, at(0))));
        for number in 0..3 * SHARDS * SHARD_BUCKETS_MAX {
            limits.count(&number.to_string(), limit(1, 60), at(0));
        }
        for shard in &limits.shards {
            assert!(shard.lock().unwrap().len() <= SHARD_BUCKETS_MAX);
        }
        assert!(!is_accepted(limits.count("slow", slow, at(0))));
    }

    #[test]
    fn what_is_full_again_is_given_up_first() {
        let of = |wait_micros: i64| {
            let mut bucket = Bucket::full(limit(1, 60), at(0));
            bucket.count(bucket.limit, at(wait_micros - 60_000_000));
            bucket
        };
        let mut buckets: Buckets = (1..=1_024)
            .map(|wait| (wait.to_string().into(), of(wait)))
            .collect();
        make_room(&mut buckets, at(7));
        assert_eq!(buckets.len(), 1_017);
        make_room(&mut buckets, at(7));
        assert_eq!(buckets.len(), 1_017, "there is room");
        buckets.extend((1..=7).map(|wait| ((-wait).to_string().into(), of(wait + 7))));
        make_room(&mut buckets, at(7));
        assert_eq!(buckets.len(), 512);
        assert!(buckets.contains_key("1024") && !buckets.contains_key("8"));
    }

    #[test]
    fn threads_share_one_limit() {
        let limits = RateLimits::default();
        let limit = limit(1_000, 60);
        let accepted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..500)
                            .filter(|_| is_accepted(limits.count("k", limit, at(0))))
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(accepted, 1_000);
    }
}
