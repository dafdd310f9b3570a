//! API keys: what a user hands to the programs that spend the points, and what each may do.

mod ip_range;
mod service;
mod spending;

use std::net::IpAddr;

use crate::tariff::{Route, RoutePattern};
use crate::{AccountId, Points, Time, UserId, text};

pub use ip_range::{IpRange, IpRangeError};
pub use service::{Scope, Scopes};
pub use spending::{
    Cap, CapReached, Spending, china_date, china_day, china_day_start, china_month,
    china_month_days,
};

/// Keys (not deleted) a user may have, live and test keys together.
pub const KEYS_PER_USER_MAX: i64 = 50;
/// Characters of a key's name, after trimming.
pub const NAME_CHARS_MAX: usize = 64;
/// Calendar months a key may live.
pub const EXPIRY_MONTHS: [i32; 4] = [1, 3, 6, 12];
/// IP ranges of a key.
pub const IP_RANGES_MAX: usize = 32;
/// Route patterns of a key.
pub const SCOPES_MAX: usize = 32;
/// Seconds a replaced secret may go on working: a week.
pub const ROTATION_GRACE_SECONDS_MAX: i64 = 604_800;

/// A key as stored; the secret itself is known only to its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Opaque, not secret.
    pub id: String,
    /// Whose points it spends.
    pub user: UserId,
    /// Given by the user.
    pub name: String,
    /// Switched on by the user.
    pub active: bool,
    /// It spends play points only.
    pub is_test: bool,
    /// The last four characters of the secret before its checksum; unknown for the oldest keys.
    pub hint: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub expires_at: Time,
    /// The last charge, to the minute.
    pub last_used_at: Option<Time>,
    /// Deleted for good.
    pub deleted_at: Option<Time>,
    /// What it may spend.
    pub caps: Caps,
    /// How often it may ask.
    pub rate: Option<RateLimit>,
    /// From where it may be used; empty for everywhere. At most [`IP_RANGES_MAX`].
    pub ip_ranges: Vec<IpRange>,
    /// What it may be used for; empty for every route. At most [`SCOPES_MAX`].
    pub scopes: Vec<RoutePattern>,
}

impl ApiKey {
    /// Whether it may spend now, from this address, on this route. Who limits a key to some addresses or routes wants to
    /// be sure: without being told the address or the route, it is refused.
    ///
    /// # Errors
    /// Says why not; a deleted key is as if it had never been.
    pub fn allows(
        &self,
        now: Time,
        ip: Option<IpAddr>,
        route: Option<&Route>,
    ) -> Result<(), KeyRefused> {
        self.usable(now)?;
        let is_from_there =
            || ip.is_some_and(|ip| self.ip_ranges.iter().any(|range| range.contains(ip)));
        if !self.ip_ranges.is_empty() && !is_from_there() {
            return Err(KeyRefused::Ip);
        }
        let is_for_that =
            || route.is_some_and(|route| self.scopes.iter().any(|scope| scope.matches(route)));
        if !self.scopes.is_empty() && !is_for_that() {
            return Err(KeyRefused::Scope);
        }
        Ok(())
    }

    /// Whether it is good at all, wherever it is used.
    ///
    /// # Errors
    /// As [`ApiKey::allows`], but neither address nor route are looked at.
    pub fn usable(&self, now: Time) -> Result<(), KeyRefused> {
        if self.deleted_at.is_some() {
            Err(KeyRefused::Unknown)
        } else if now >= self.expires_at {
            Err(KeyRefused::Expired)
        } else if !self.active {
            Err(KeyRefused::Inactive)
        } else {
            Ok(())
        }
    }

    /// The account it spends from: the user's, or, with the number negated, the user's account of play points.
    pub fn account(&self) -> AccountId {
        if self.is_test {
            AccountId::of_tests(self.user)
        } else {
            AccountId::from(self.user)
        }
    }

    /// Switches it on or off.
    ///
    /// # Errors
    /// An expired key cannot be switched on; a deleted one is unknown.
    pub fn set_active(&mut self, active: bool, now: Time) -> Result<(), KeyRefused> {
        match self.usable(now) {
            Err(KeyRefused::Unknown) => Err(KeyRefused::Unknown),
            Err(KeyRefused::Expired) if active => Err(KeyRefused::Expired),
            _ => {
                self.active = active;
                Ok(())
            }
        }
    }
}

/// Why a key may not spend, whatever the balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyRefused {
    /// No such key, or deleted.
    Unknown,
    /// Its time is over.
    Expired,
    /// Switched off by its owner.
    Inactive,
    /// Used from an address that is not one of its own, or from an unknown one.
    Ip,
    /// Used for a route that is not one of its own, or for an unknown one.
    Scope,
}

/// The most a key may spend. Days and months are China's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// In a day.
    pub daily: Option<Points>,
    /// In a calendar month.
    pub monthly: Option<Points>,
    /// In all its life.
    pub total: Option<Points>,
}

impl Caps {
    /// No cap at all.
    pub const NONE: Self = Self {
        daily: None,
        monthly: None,
        total: None,
    };

    /// Whether what the key spends need not be counted.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// So many requests in so many seconds, at any distance from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    requests: u32,
    seconds: u32,
}

impl RateLimit {
    /// The most requests of a window.
    pub const REQUESTS_MAX: u32 = 1_000_000;
    /// The longest window: a day.
    pub const SECONDS_MAX: u32 = 86_400;

    /// `None` unless both are at least 1 and at most [`RateLimit::REQUESTS_MAX`] and [`RateLimit::SECONDS_MAX`].
    pub fn new(requests: i64, seconds: i64) -> Option<Self> {
        let within = |number: i64, max: u32| {
            u32::try_from(number)
                .ok()
                .filter(|number| (1..=max).contains(number))
        };
        Some(Self {
            requests: within(requests, Self::REQUESTS_MAX)?,
            seconds: within(seconds, Self::SECONDS_MAX)?,
        })
    }

    /// Requests of a window.
    pub fn requests(self) -> u32 {
        self.requests
    }

    /// Length of the window.
    pub fn seconds(self) -> u32 {
        self.seconds
    }
}

/// A key's name: one line of 1 to [`NAME_CHARS_MAX`] characters.
///
/// # Errors
/// Says which rule the name breaks.
pub fn name(text: &str) -> Result<&str, text::TextError> {
    text::line(text, NAME_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey {
            id: "k".into(),
            user: UserId(1),
            name: "k".into(),
            active: true,
            is_test: false,
            hint: None,
            created_at: Time::from_micros(0),
            expires_at: Time::from_micros(10),
            last_used_at: None,
            deleted_at: None,
            caps: Caps::NONE,
            rate: None,
            ip_ranges: Vec::new(),
            scopes: Vec::new(),
        }
    }

    const NOW: Time = Time::from_micros(9);

    #[test]
    fn a_key_spends_until_the_moment_it_expires() {
        assert_eq!(key().usable(NOW), Ok(()));
        assert_eq!(
            key().usable(Time::from_micros(10)),
            Err(KeyRefused::Expired)
        );
    }

    #[test]
    fn an_expired_key_can_be_switched_off_but_not_on() {
        let late = Time::from_micros(10);
        assert_eq!(key().set_active(true, late), Err(KeyRefused::Expired));
        assert_eq!(key().set_active(false, late), Ok(()));
    }

    #[test]
    fn a_deleted_key_is_unknown_whatever_else_it_is() {
        let mut key = ApiKey {
            deleted_at: Some(Time::from_micros(1)),
            active: false,
            ip_ranges: vec!["10.0.0.0/8".parse().unwrap()],
            ..key()
        };
        assert_eq!(key.usable(Time::from_micros(99)), Err(KeyRefused::Unknown));
        assert_eq!(key.allows(NOW, None, None), Err(KeyRefused::Unknown));
        assert_eq!(
            key.set_active(true, Time::from_micros(2)),
            Err(KeyRefused::Unknown)
        );
    }

    #[test]
    fn a_key_with_addresses_is_refused_elsewhere_and_when_nobody_says_where() {
        let key = ApiKey {
            ip_ranges: ["10.0.0.0/8", "2001:db8::/32"]
                .map(|range| range.parse().unwrap())
                .into(),
            ..key()
        };
        let from = |ip: &str| key.allows(NOW, Some(ip.parse().unwrap()), None);
        for there in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert_eq!(from(there), Ok(()), "{there}");
        }
        for elsewhere in ["11.0.0.1", "2001:db9::1", "::1"] {
            assert_eq!(from(elsewhere), Err(KeyRefused::Ip), "{elsewhere}");
        }
        assert_eq!(key.allows(NOW, None, None), Err(KeyRefused::Ip));
    }

    #[test]
    fn a_key_with_scopes_is_refused_for_other_routes_and_when_nobody_says_which() {
        let key = ApiKey {
            scopes: ["POST /v1/ocr", "* /v1/files/*"]
                .map(|scope| RoutePattern::parse(scope).unwrap())
                .into(),
            ..key()
        };
        let to = |method: &str, path: &str| {
            let route = Route::new(method, path).unwrap();
            key.allows(NOW, None, Some(&route))
        };
        assert_eq!(to("POST", "/v1/ocr"), Ok(()));
        assert_eq!(to("DELETE", "/v1/files/7"), Ok(()));
        assert_eq!(to("GET", "/v1/ocr"), Err(KeyRefused::Scope));
        assert_eq!(to("POST", "/v1/chat"), Err(KeyRefused::Scope));
        assert_eq!(key.allows(NOW, None, None), Err(KeyRefused::Scope));
    }

    #[test]
    fn a_test_key_has_an_account_of_its_own() {
        assert_eq!(key().account(), AccountId(1));
        let test = ApiKey {
            is_test: true,
            ..key()
        };
        assert_eq!(test.account(), AccountId(-1));
    }

    #[test]
    fn a_rate_has_limits_of_its_own() {
        let told = |requests, seconds| {
            RateLimit::new(requests, seconds).map(|rate| (rate.requests(), rate.seconds()))
        };
        assert_eq!(told(1, 1), Some((1, 1)));
        assert_eq!(told(1_000_000, 86_400), Some((1_000_000, 86_400)));
        for (requests, seconds) in [
            (0, 1),
            (1, 0),
            (-1, 1),
            (1_000_001, 1),
            (1, 86_401),
            (i64::MAX, i64::MIN),
        ] {
            assert_eq!(told(requests, seconds), None, "{requests} in {seconds} s");
        }
    }
}
