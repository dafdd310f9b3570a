//! What a gateway may do with its service credential.

use std::fmt;

/// One thing a gateway may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Ask about keys.
    Verify,
    /// Charge keys.
    Charge,
    /// Set points aside, and end that.
    Hold,
    /// Give charges back.
    Refund,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 4] = [Self::Verify, Self::Charge, Self::Hold, Self::Refund];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Charge => "charge",
            Self::Hold => "hold",
            Self::Refund => "refund",
        }
    }

    /// `None` for a word that is not a scope's.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// All that a gateway may do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether this is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }

    /// Reads words with spaces between them; `None` when one is not a scope's.
    pub fn parse(words: &str) -> Option<Self> {
        words.split_whitespace().map(Scope::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// Words with a space between them.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_from_their_words() {
        for (words, scopes) in [
            ("", vec![]),
            ("charge", vec![Scope::Charge]),
            ("verify refund", vec![Scope::Verify, Scope::Refund]),
            ("verify charge hold refund", Scope::ALL.to_vec()),
        ] {
            let scopes: Scopes = scopes.into_iter().collect();
            assert_eq!(Scopes::parse(words), Some(scopes));
            assert_eq!(scopes.to_string(), words);
        }
        assert_eq!(
            Scopes::parse("refund verify verify").map(|scopes| scopes.to_string()),
            Some("verify refund".to_owned())
        );
        for bad in ["admin", "charge,hold", "Charge", "charge all"] {
            assert_eq!(Scopes::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_scope_is_contained_only_when_it_was_given() {
        let scopes = Scopes::parse("verify hold").unwrap();
        let contained = Scope::ALL.map(|scope| scopes.contains(scope));
        assert_eq!(contained, [true, false, true, false]);
        assert!(
            Scope::ALL
                .into_iter()
                .all(|scope| Scopes::all().contains(scope))
        );
        assert!(Scopes::default().is_empty() && !scopes.is_empty());
    }
}
