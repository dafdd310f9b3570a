//! A strict reader of query strings.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use jifen_app::{Error, Paging, Text};

use super::fields::missing;

/// The parameters of a request, decoded.
pub(crate) struct QueryFields(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for QueryFields {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl QueryFields {
    fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// A parameter that may be there once.
    pub(crate) fn optional(&self, field: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self
            .0
            .iter()
            .filter(|(name, _)| name == field)
            .map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(Error::invalid(
                field,
                Text::new("只能出现一次", "must be given once"),
            ));
        }
        Ok(first)
    }

    /// A parameter that must be there once, and not blank.
    pub(crate) fn required(&self, field: &'static str) -> Result<&str, Error> {
        let value = self.optional(field)?.ok_or(missing(field))?;
        if value.trim().is_empty() {
            return Err(Error::invalid(
                field,
                Text::new("不能为空", "must not be blank"),
            ));
        }
        Ok(value)
    }

    /// The value of a parameter wherever it stands first: for queries that are signed, whose sender is believed.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `page` and `size` of the mall's histories.
    pub(crate) fn paging(&self) -> Result<Paging, Error> {
        const PAGE: Text = Text::new("须为不小于 1 的整数", "must be a whole number from 1");
        const SIZE: Text = Text::new(
            "须为 1 至 100 的整数",
            "must be a whole number from 1 to 100",
        );
        let page = self.number("page", 1)?.filter(|page| *page >= 1);
        let size = self
            .number("size", 10)?
            .filter(|size| (1..=100).contains(size));
        Ok(Paging {
            page: page.ok_or(Error::invalid("page", PAGE))?,
            size: size.ok_or(Error::invalid("size", SIZE))?,
        })
    }

    /// `Ok(None)` for what is not a number.
    fn number(&self, field: &'static str, default: i64) -> Result<Option<i64>, Error> {
        let Some(text) = self.optional(field)? else {
            return Ok(Some(default));
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(text.parse().ok().filter(|_| is_plain))
    }
}

/// The ticket of a login QR code. WeChat's tickets contain `+`, which means a space in a query; pages that append the ticket
/// as it is send one, and no ticket contains a space, so a space is read as the `+` it was.
pub(crate) fn ticket(text: &str) -> Cow<'_, str> {
    if text.contains(' ') {
        text.replace(' ', "+").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jifen_app::Language;

    fn paging(query: &str) -> Result<(i64, i64), String> {
        let paging = QueryFields::parse(query).paging();
        paging
            .map(|paging| (paging.page, paging.size))
            .map_err(|error| error.text(Language::English))
    }

    #[test]
    fn paging_has_defaults_and_limits() {
        assert_eq!(paging(""), Ok((1, 10)));
        assert_eq!(paging("size=100&page=7&other=1&other=2"), Ok((7, 100)));
        assert_eq!(paging("page=9223372036854775807"), Ok((i64::MAX, 10)));
        for bad in [
            "0",
            "-1",
            "1.0",
            "abc",
            "",
            "%2B1",
            "9223372036854775808",
            "1e2",
            "１",
        ] {
            assert_eq!(
                paging(&format!("page={bad}")),
                Err("page: must be a whole number from 1".to_owned()),
                "{bad}"
            );
        }
        for bad in ["0", "101", "x", "99999999999999999999"] {
            assert_eq!(
                paging(&format!("size={bad}")),
                Err("size: must be a whole number from 1 to 100".to_owned()),
                "{bad}"
            );
        }
        assert_eq!(
            paging("page=1&page=1"),
            Err("page: must be given once".to_owned())
        );
    }

    #[test]
    fn a_required_parameter_is_named_when_it_does_not_fit() {
        let told = |query: &str| {
            QueryFields::parse(query)
                .required("orderId")
                .map(str::to_owned)
                .map_err(|e| e.text(Language::English))
        };
        assert_eq!(told("orderId=a%20b"), Ok("a b".to_owned()));
        assert_eq!(told(""), Err("orderId: is missing".to_owned()));
        assert_eq!(
            told("orderId="),
            Err("orderId: must not be blank".to_owned())
        );
        assert_eq!(
            told("orderId=1&orderId=2"),
            Err("orderId: must be given once".to_owned())
        );
    }

    #[test]
    fn a_plus_in_a_ticket_survives_with_and_without_encoding() {
        for query in [
            "ticket=a+b/c==",
            "ticket=a%2Bb%2Fc%3D%3D",
            "ticket=a%20b/c==",
        ] {
            let fields = QueryFields::parse(query);
            assert_eq!(
                ticket(fields.required("ticket").unwrap()),
                "a+b/c==",
                "{query}"
            );
        }
    }
}
