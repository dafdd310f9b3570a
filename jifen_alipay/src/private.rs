//! Text about a person that must not reach a log.

use std::fmt;

use serde::Deserialize;

/// A buyer's account number, login name or other text about a person. `Debug` does not show it;
/// [`Private::as_str`] does.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Private(String);

impl Private {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, without copying.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Alipay leaves out a value by sending none or an empty one.
    pub(crate) fn from_text(text: Option<&str>) -> Option<Self> {
        text.filter(|text| !text.is_empty())
            .map(|text| Self(text.to_owned()))
    }
}

impl From<String> for Private {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Private(..)")
    }
}
