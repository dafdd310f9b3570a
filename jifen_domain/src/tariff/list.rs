//! Finding the tariff of a call among many.

use std::collections::HashMap;

use super::{Route, RoutePattern, Tariff};

/// Tariffs, laid out so that the one of a route is found at once.
#[derive(Clone, Debug, Default)]
pub struct TariffList {
    /// Patterns without a wildcard, by path. The narrowest first.
    exact: HashMap<String, Vec<Tariff>>,
    /// The others, the narrowest first.
    wildcards: Vec<Tariff>,
}

impl TariffList {
    /// Only tariffs that are in force may be given, one for each pattern.
    pub fn new(mut tariffs: Vec<Tariff>) -> Self {
        tariffs.sort_by(|one, other| RoutePattern::narrowest_first(&one.pattern, &other.pattern));
        let mut list = Self::default();
        for tariff in tariffs {
            if tariff.pattern.has_wildcard() {
                list.wildcards.push(tariff);
            } else {
                let path = tariff.pattern.path().to_owned();
                list.exact.entry(path).or_default().push(tariff);
            }
        }
        list
    }

    /// The tariff of a call: of the patterns that match it, the narrowest one's.
    pub fn find(&self, route: &Route) -> Option<&Tariff> {
        let exact = self.exact.get(&route.path).into_iter().flatten();
        // A path without a wildcard is narrower than any with one.
        exact
            .chain(&self.wildcards)
            .find(|tariff| tariff.pattern.matches(route))
    }

    /// The tariff with this id.
    pub fn get(&self, id: i64) -> Option<&Tariff> {
        let exact = self.exact.values().flatten();
        exact.chain(&self.wildcards).find(|tariff| tariff.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tariff::Rates;
    use crate::{Points, Time};

    fn list(patterns: &[&str]) -> TariffList {
        let tariffs = patterns.iter().zip(1..).map(|(pattern, id)| Tariff {
            id,
            pattern: RoutePattern::parse(pattern).unwrap(),
            version: 1,
            title: (*pattern).to_owned(),
            rates: Rates::new(Points::new(1).unwrap(), None, Points::ZERO).unwrap(),
            created_at: Time::from_micros(0),
            retired_at: None,
        });
        TariffList::new(tariffs.collect())
    }

    #[test]
    fn the_narrowest_pattern_prices_a_call_whatever_the_order_of_the_tariffs() {
        let mut patterns = [
            "* /*",
            "* /v1/*",
            "POST /v1/*",
            "* /v1/*/pages",
            "* /v1/ocr",
            "POST /v1/ocr",
            "GET /v1/ocr/pages",
            "* /",
        ];
        let priced_by = [
            ("POST", "/v1/ocr", "POST /v1/ocr"),
            ("GET", "/v1/ocr", "* /v1/ocr"),
            ("POST", "/v1/chat", "POST /v1/*"),
            ("GET", "/v1/chat/1/2", "* /v1/*"),
            ("POST", "/v1/chat/pages", "* /v1/*/pages"),
            ("GET", "/v1/ocr/pages", "GET /v1/ocr/pages"),
            ("PUT", "/v1/ocr/pages", "* /v1/*/pages"),
            ("GET", "/v1", "* /*"),
            ("GET", "/", "* /"),
        ];
        for _ in 0..2 {
            let list = list(&patterns);
            for (method, path, pattern) in priced_by {
                let found = list.find(&Route::new(method, path).unwrap());
                assert_eq!(
                    found.map(|tariff| tariff.title.as_str()),
                    Some(pattern),
                    "{method} {path}"
                );
            }
            patterns.reverse();
        }
    }

    #[test]
    fn a_call_that_no_pattern_matches_has_no_tariff() {
        let list = list(&["POST /v1/ocr", "* /v1/files/*"]);
        for (method, path) in [
            ("GET", "/v1/ocr"),
            ("POST", "/v1/ocr2"),
            ("GET", "/v1/files"),
            ("GET", "/"),
        ] {
            assert_eq!(list.find(&Route::new(method, path).unwrap()), None);
        }
    }

    #[test]
    fn a_tariff_is_found_by_its_id() {
        let list = list(&["POST /v1/ocr", "* /v1/files/*"]);
        let title = |id| list.get(id).map(|tariff| tariff.title.as_str());
        assert_eq!(title(1), Some("POST /v1/ocr"));
        assert_eq!(title(2), Some("* /v1/files/*"));
        assert_eq!(title(3), None);
    }
}
