//! Identifiers. Those that leave the system are opaque strings there.

use std::fmt;

/// A person known to the mall. Outside it is the decimal text of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

impl UserId {
    /// A number that cannot be guessed from another: 10 to 16 digits out of 8 random bytes, exact in JavaScript.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        const FIRST: i64 = 1_000_000_000;
        const COUNT: u64 = (1 << 53) - 1_000_000_000;
        // The remainder is below 2^53, so the cast cannot change it.
        Self(FIRST + i64::try_from(u64::from_be_bytes(bytes) % COUNT).unwrap_or(0))
    }

    /// `None` when the text is not the decimal form of a user id.
    pub fn parse(text: &str) -> Option<Self> {
        let plain =
            !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit());
        (plain && !text.starts_with('0'))
            .then(|| text.parse().ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A ledger account. A user's has the user's number; that of the user's test keys has it negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

impl AccountId {
    /// The account of a user's test keys, whose points are worth nothing.
    pub fn of_tests(user: UserId) -> Self {
        Self(-user.0)
    }

    /// Whose it is.
    pub fn user(self) -> UserId {
        UserId(self.0.saturating_abs())
    }
}

impl From<UserId> for AccountId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_reads_back_from_its_text_and_nothing_else_does() {
        for bytes in [[0; 8], [255; 8], *b"jifenjif"] {
            let id = UserId::from_random(bytes);
            assert_eq!(UserId::parse(&id.to_string()), Some(id));
            assert!(id.0 < 1 << 53);
        }
        assert_eq!(UserId::parse("10001"), Some(UserId(10001)));
        for bad in [
            "",
            "-1",
            "+1",
            "01",
            "1 ",
            "１",
            "99999999999999999999",
            "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        ] {
            assert_eq!(UserId::parse(bad), None, "{bad}");
        }
    }
}
