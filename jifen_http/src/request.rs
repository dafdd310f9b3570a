//! What is read out of a request: the body's fields, the query, cookies, the reader's language, and who is calling.

pub(crate) mod authority;
pub(crate) mod body;
pub(crate) mod cookies;
pub(crate) mod fields;
pub(crate) mod language;
pub(crate) mod query;
pub(crate) mod rates;
