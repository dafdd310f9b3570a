//! API keys: what a user hands to the programs that spend the points.

use crate::{Time, UserId, text};

/// Live keys (not deleted) a user may have.
pub const KEYS_PER_USER_MAX: i64 = 50;
/// Characters of a key's name, after trimming.
pub const NAME_CHARS_MAX: usize = 64;
/// Calendar months a key may live.
pub const EXPIRY_MONTHS: [i32; 4] = [1, 3, 6, 12];

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
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub expires_at: Time,
    /// The last charge, to the minute.
    pub last_used_at: Option<Time>,
    /// Deleted for good.
    pub deleted_at: Option<Time>,
}

impl ApiKey {
    /// Whether it may spend now.
    ///
    /// # Errors
    /// Says why not; a deleted key is as if it had never been.
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

/// Why a key may not spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefused {
    /// No such key, or deleted.
    Unknown,
    /// Its time is over.
    Expired,
    /// Switched off by its owner.
    Inactive,
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
            created_at: Time::from_micros(0),
            expires_at: Time::from_micros(10),
            last_used_at: None,
            deleted_at: None,
        }
    }

    #[test]
    fn a_key_spends_until_the_moment_it_expires() {
        assert_eq!(key().usable(Time::from_micros(9)), Ok(()));
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
            ..key()
        };
        assert_eq!(key.usable(Time::from_micros(99)), Err(KeyRefused::Unknown));
        assert_eq!(
            key.set_active(true, Time::from_micros(2)),
            Err(KeyRefused::Unknown)
        );
    }
}
