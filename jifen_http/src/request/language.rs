//! Which of the two languages a reader prefers.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::ACCEPT_LANGUAGE;
use http::request::Parts;
use jifen_app::Language;

/// The reader's language, for handlers that write sentences of their own. Those of errors are written by the envelope.
pub(crate) struct ReaderLanguage(pub(crate) Language);

impl<S: Sync> FromRequestParts<S> for ReaderLanguage {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(language(parts.headers.get(ACCEPT_LANGUAGE))))
    }
}

/// Ranges of an `Accept-Language` that are looked at.
const RANGES_MAX: usize = 32;

/// English when `Accept-Language` (RFC 9110, section 12.5.4) prefers it to Chinese; Chinese in every other case.
pub(crate) fn language(accept_language: Option<&HeaderValue>) -> Language {
    let Some(ranges) = accept_language.and_then(|header| header.to_str().ok()) else {
        return Language::default();
    };
    let mut best = (0, Language::default());
    for (language, weight) in ranges.split(',').take(RANGES_MAX).filter_map(read_range) {
        // Of equal weights the first counts.
        if weight > best.0 {
            best = (weight, language);
        }
    }
    best.1
}

/// One range and its weight in thousandths; `None` for a language we do not speak.
fn read_range(range: &str) -> Option<(Language, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let tag = parts.next()?;
    let primary = tag.split('-').next()?;
    let language = if primary.eq_ignore_ascii_case("en") {
        Language::English
    } else if primary.eq_ignore_ascii_case("zh") {
        Language::Chinese
    } else {
        return None;
    };
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((language, weight.map_or(1_000, thousandths)))
}

/// `0.8` is 800. What is not a weight counts as none.
fn thousandths(weight: &str) -> u16 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    match whole {
        "1" => 1_000,
        "0" => format!("{decimals:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_spoken_to_those_who_prefer_it_and_chinese_to_all_others() {
        let of = |header: &'static str| language(Some(&HeaderValue::from_static(header)));
        for english in [
            "en",
            "EN-us",
            "en-US,en;q=0.9,zh;q=0.8",
            "fr, en;q=0.5",
            "zh;q=0.8, en;q=0.85",
            "zh;q=0,en;q=0.001",
            "de;q=1.0,en ; q=0.3",
            "en;q=0.5,zh;q=0.5000",
        ] {
            assert_eq!(of(english), Language::English, "{english}");
        }
        for chinese in [
            "",
            "zh",
            "zh-CN,zh;q=0.9,en;q=0.8",
            "*",
            "fr",
            "en;q=0",
            "zh,en",
            "english",
            "en;q=2",
            ";;,,=",
            "en;q=0.5, zh-TW",
        ] {
            assert_eq!(of(chinese), Language::Chinese, "{chinese}");
        }
        assert_eq!(language(None), Language::Chinese);
        assert_eq!(
            language(Some(&HeaderValue::from_bytes(b"en\xff").unwrap())),
            Language::Chinese
        );
    }
}
