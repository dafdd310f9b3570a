//! Login sessions: a chain of tokens, each replacing the one before.

use crate::{Time, UserId};

/// Seconds a token is good for.
pub const TOKEN_TTL_SECONDS: i64 = 7_200;
/// Seconds after its expiry in which a token can still be exchanged for a new one: 30 days.
pub const REFRESH_WINDOW_SECONDS: i64 = 30 * 86_400;
/// Seconds in which a replaced token still works, so that requests under way finish.
pub const REPLACED_GRACE_SECONDS: i64 = 60;

/// One token of a chain, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Common to all tokens that replaced one another.
    pub chain: String,
    /// Who is logged in.
    pub user: UserId,
    /// End of the token's life.
    pub expires_at: Time,
    /// When another token took its place.
    pub replaced_at: Option<Time>,
}

/// Why a token does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefused {
    /// Past its life; may still be exchanged.
    Expired,
    /// Past the time in which it could be exchanged.
    TooOld,
    /// Replaced, and used after the grace: a stolen token. The whole chain is to be revoked.
    Stolen,
}

impl Session {
    /// Whether the token authenticates a request.
    ///
    /// # Errors
    /// [`SessionRefused::Expired`] or [`SessionRefused::Stolen`].
    pub fn check(&self, now: Time) -> Result<(), SessionRefused> {
        self.check_not_stolen(now)?;
        if now >= self.expires_at {
            Err(SessionRefused::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether the token may be exchanged for a new one: current, in its grace, or expired up to 30 days ago.
    ///
    /// # Errors
    /// [`SessionRefused::TooOld`] or [`SessionRefused::Stolen`].
    pub fn check_refresh(&self, now: Time) -> Result<(), SessionRefused> {
        self.check_not_stolen(now)?;
        if now >= self.expires_at.plus_seconds(REFRESH_WINDOW_SECONDS) {
            Err(SessionRefused::TooOld)
        } else {
            Ok(())
        }
    }

    fn check_not_stolen(&self, now: Time) -> Result<(), SessionRefused> {
        match self.replaced_at {
            Some(at) if now >= at.plus_seconds(REPLACED_GRACE_SECONDS) => {
                Err(SessionRefused::Stolen)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_700_000_000_000_000);

    fn session(replaced_after: Option<i64>) -> Session {
        Session {
            chain: "c".into(),
            user: UserId(1),
            expires_at: START.plus_seconds(TOKEN_TTL_SECONDS),
            replaced_at: replaced_after.map(|s| START.plus_seconds(s)),
        }
    }

    #[test]
    fn a_token_lives_two_hours_and_can_be_exchanged_for_thirty_days_more() {
        let s = session(None);
        assert_eq!(s.check(START.plus_seconds(7_199)), Ok(()));
        assert_eq!(
            s.check(START.plus_seconds(7_200)),
            Err(SessionRefused::Expired)
        );
        assert_eq!(
            s.check_refresh(START.plus_seconds(7_200 + 30 * 86_400 - 1)),
            Ok(())
        );
        assert_eq!(
            s.check_refresh(START.plus_seconds(7_200 + 30 * 86_400)),
            Err(SessionRefused::TooOld)
        );
    }

    #[test]
    fn a_replaced_token_works_for_a_minute_and_then_betrays_a_thief() {
        let s = session(Some(10));
        assert_eq!(s.check(START.plus_seconds(69)), Ok(()));
        assert_eq!(s.check_refresh(START.plus_seconds(69)), Ok(()));
        assert_eq!(s.check(START.plus_seconds(70)), Err(SessionRefused::Stolen));
        assert_eq!(
            s.check_refresh(START.plus_seconds(70)),
            Err(SessionRefused::Stolen)
        );
    }
}
