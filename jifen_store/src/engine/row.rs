//! Reading a row, whichever engine it came from.

use rusqlite::types::ValueRef;

use super::error::{Error, Result};
use super::value::Value;

/// A row of an answer; valid while the mapping function runs.
pub(crate) struct Row<'a>(pub(super) Source<'a>);

/// Whose row it is.
pub(super) enum Source<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The column at `index`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is no such column, or it holds another kind of value.
    pub(crate) fn get<T: FromValue>(&self, index: usize) -> Result<T> {
        T::from_value(self.value(index)?)
            .ok_or_else(|| Error::Corrupt(format!("column {index} is not {}", T::KIND)))
    }

    fn value(&self, index: usize) -> Result<Value<'_>> {
        let unreadable = || {
            Error::Corrupt(format!(
                "column {index} does not exist or has a type the store does not use \
                 (a SUM needs CAST(… AS BIGINT))"
            ))
        };
        match self.0 {
            Source::Sqlite(row) => match row.get_ref(index).map_err(|_| unreadable())? {
                ValueRef::Null => Ok(Value::Null),
                ValueRef::Integer(value) => Ok(Value::Int(value)),
                ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                    .map(Value::Text)
                    .map_err(|_| Error::Corrupt(format!("column {index} is not UTF-8"))),
                ValueRef::Blob(bytes) => Ok(Value::Blob(bytes)),
                ValueRef::Real(_) => Err(unreadable()),
            },
            Source::Postgres(row) => row.try_get(index).map_err(|_| unreadable()),
        }
    }
}

/// A Rust type a column is read into.
pub(crate) trait FromValue: Sized {
    /// What the column must hold, for the error.
    const KIND: &'static str;

    /// `None` when the value is of another kind.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

impl FromValue for i64 {
    const KIND: &'static str = "an integer";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }
}

impl FromValue for bool {
    const KIND: &'static str = "0 or 1";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for String {
    const KIND: &'static str = "a text";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(value) => Some(value.to_owned()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const KIND: &'static str = "bytes";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Blob(value) => Some(value.to_owned()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const KIND: &'static str = T::KIND;

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
