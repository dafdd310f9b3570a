//! The parameters of one gateway request: from the query and the body, decoded once, and the string their signature covers.

use percent_encoding::percent_decode;

use super::charset::Charset;

const PARAMETERS_MAX: usize = 64;

/// The parameters of a request, each at most once.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    /// In which the request was read and is answered.
    pub(crate) wire: Charset,
}

/// Why a request could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Charset(String),
    Repeated(String),
    TooMany,
}

impl Parameters {
    /// Reads query and form body. The `charset` of the query decides how both are decoded.
    pub(crate) fn read(query: &[u8], body: &[u8]) -> Result<Self, Unreadable> {
        let raw: Vec<(Vec<u8>, Vec<u8>)> = [query, body]
            .into_iter()
            .flat_map(|form| form.split(|byte| *byte == b'&'))
            .filter_map(pair)
            .collect();
        if raw.len() > PARAMETERS_MAX {
            return Err(Unreadable::TooMany);
        }
        let named = |form: &[u8]| {
            let mut pairs = form.split(|byte| *byte == b'&').filter_map(pair);
            pairs
                .find(|(name, _)| name == b"charset")
                .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
        };
        let wire = match named(query) {
            None => Charset::Gbk,
            Some(name) => Charset::from_name(&name).ok_or(Unreadable::Charset(name))?,
        };
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let name = wire.decode(&name);
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Unreadable::Repeated(name));
            }
            pairs.push((name, wire.decode(&value)));
        }
        Ok(Self { pairs, wire })
    }

    /// A parameter that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// What a request's signature covers: all non-empty parameters except `sign`, `sign_type` included.
    pub(crate) fn sign_content(&self) -> String {
        let covered = self
            .pairs
            .iter()
            .filter(|(name, value)| name != "sign" && !value.is_empty());
        join(covered.map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// `k=v` sorted by key and joined with `&`, the values as they are.
pub(crate) fn join<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// One `name=value` of a form, decoded to bytes; `None` for an empty piece.
fn pair(piece: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if piece.is_empty() {
        return None;
    }
    let split = piece
        .iter()
        .position(|byte| *byte == b'=')
        .unwrap_or(piece.len());
    let (name, value) = piece.split_at(split);
    Some((decode(name), decode(value.get(1..).unwrap_or_default())))
}

fn decode(form: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = form
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::PublicKey;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!(
            "../../tests/vectors/alipay_request_signing.json"
        ))
        .unwrap()
    }

    #[test]
    fn requests_signed_by_the_official_sdks_give_their_string_and_verify() {
        let vectors = vectors();
        let key =
            PublicKey::from_pem(vectors["app_public_key_bare_base64"].as_str().unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in case["params"].as_object().unwrap() {
                form.append_pair(name, value.as_str().unwrap());
            }
            form.append_pair("sign", case["sign"].as_str().unwrap());
            let parameters = Parameters::read(form.finish().as_bytes(), b"").unwrap();
            let content = parameters.sign_content();
            assert_eq!(content, case["sign_content"].as_str().unwrap());
            assert!(
                key.verifies_base64(content.as_bytes(), parameters.get("sign").unwrap()),
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn page_pay_urls_of_the_official_sdks_verify() {
        let vectors = vectors();
        let key =
            PublicKey::from_pem(vectors["app_public_key_bare_base64"].as_str().unwrap()).unwrap();
        let forms = vectors["page_pay_forms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|form| form["get_url"].as_str().unwrap());
        let node = vectors["node_sdk_page_pay_get_url"].as_str().unwrap();
        for url in forms.chain([node]) {
            let query = url.split_once('?').unwrap().1;
            let parameters = Parameters::read(query.as_bytes(), b"").unwrap();
            let content = parameters.sign_content();
            assert!(
                key.verifies_base64(content.as_bytes(), parameters.get("sign").unwrap()),
                "{url}"
            );
        }
    }

    #[test]
    fn without_charset_in_the_query_the_request_is_read_as_gbk() {
        let parameters = Parameters::read(b"a=%C4%E3", b"charset=utf-8&b=%2B+").unwrap();
        assert_eq!(
            (parameters.wire, parameters.get("a"), parameters.get("b")),
            (Charset::Gbk, Some("你"), Some("+ "))
        );
        assert!(
            matches!(Parameters::read(b"a=1", b"a=2"), Err(Unreadable::Repeated(name)) if name == "a")
        );
        assert!(matches!(
            Parameters::read(b"charset=latin1", b""),
            Err(Unreadable::Charset(_))
        ));
    }
}
