//! Parameters and columns: the four kinds of value both engines share.

use std::fmt;

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

pub(super) type Conversion<T> = Result<T, Box<dyn std::error::Error + Sync + Send>>;

/// A parameter of a statement, or a column of a row.
///
/// Each kind has one type on PostgreSQL, declared when the statement is prepared, so an integer is a `BIGINT` wherever
/// it stands and is never squeezed into an `INTEGER` because of a neighbour. A missing value keeps its kind for that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Missing, of the kind the statement asks for.
    Null,
    /// A missing integer.
    NullInt,
    /// A missing text.
    NullText,
    /// Missing bytes.
    NullBlob,
    /// `BIGINT`, `INTEGER` on SQLite; also a truth value, as 0 or 1.
    Int(i64),
    /// `TEXT`.
    Text(&'a str),
    /// `BYTEA`, `BLOB` on SQLite.
    Blob(&'a [u8]),
}

/// What can be a parameter of a statement on PostgreSQL.
pub(super) trait Parameter: ToSql + Sync {
    /// The type to declare when the statement is prepared.
    fn postgres_type(&self) -> Type;
}

impl Parameter for Value<'_> {
    fn postgres_type(&self) -> Type {
        match self {
            Self::Null => Type::UNKNOWN,
            Self::NullInt | Self::Int(_) => Type::INT8,
            Self::NullText | Self::Text(_) => Type::TEXT,
            Self::NullBlob | Self::Blob(_) => Type::BYTEA,
        }
    }
}

/// Names the kind only: parameters are keys, openids, phone numbers.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null | Self::NullInt | Self::NullText | Self::NullBlob => "Null",
            Self::Int(_) => "Int(…)",
            Self::Text(_) => "Text(…)",
            Self::Blob(_) => "Blob(…)",
        })
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::NullInt, Self::from)
    }
}

impl From<Option<bool>> for Value<'_> {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::NullInt, Self::from)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map_or(Self::NullText, Self::from)
    }
}

impl<'a> From<Option<&'a String>> for Value<'a> {
    fn from(value: Option<&'a String>) -> Self {
        value.map_or(Self::NullText, Self::from)
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::NullBlob, Self::from)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null | Self::NullInt | Self::NullText | Self::NullBlob => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, declared: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match self {
            Self::Null | Self::NullInt | Self::NullText | Self::NullBlob => Ok(IsNull::Yes),
            Self::Int(value) => value.to_sql_checked(declared, out),
            Self::Text(value) => value.to_sql_checked(declared, out),
            Self::Blob(value) => value.to_sql_checked(declared, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // The kind decides, in `to_sql`.
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(declared: &Type, raw: &'a [u8]) -> Conversion<Self> {
        Ok(match *declared {
            Type::INT8 => Self::Int(i64::from_sql(declared, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(declared, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(declared, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(declared, raw)?.into()),
            Type::BYTEA => Self::Blob(raw),
            _ => Self::Text(<&str>::from_sql(declared, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Conversion<Self> {
        Ok(Self::Null)
    }

    fn accepts(declared: &Type) -> bool {
        matches!(
            *declared,
            Type::INT8 | Type::INT4 | Type::INT2 | Type::BOOL | Type::BYTEA
        ) || <&str as FromSql>::accepts(declared)
    }
}
