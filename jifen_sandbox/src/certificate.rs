//! The few parts of an X.509 certificate the payment providers' protocols use: who issued it under which number, how it is
//! signed, and the public key. Nothing here decides whether to trust it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xA0;
/// Object identifiers of RSA signatures begin so: 1.2.840.113549.1.1
const RSA_SIGNATURES: [u8; 8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];

/// What was read from one certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// RFC 2253: the last name first, commas without spaces.
    pub(crate) issuer: String,
    pub(crate) serial_decimal: String,
    pub(crate) is_signed_with_rsa: bool,
    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) public_key: Vec<u8>,
}

impl Certificate {
    /// Every certificate of a PEM text, in its order; `None` when one of them cannot be read.
    pub(crate) fn all_from_pem(pem: &str) -> Option<Vec<Self>> {
        let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
        blocks
            .map(|block| {
                let text: String = block.split("-----END").next()?.split_whitespace().collect();
                Self::from_der(&STANDARD.decode(text).ok()?)
            })
            .collect()
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (to_be_signed, _) = expect(certificate.content, SEQUENCE)?;
        let mut rest = to_be_signed.content;
        if let Some((_, after)) = expect(rest, VERSION) {
            rest = after;
        }
        let (serial, rest) = expect(rest, INTEGER)?;
        let (algorithm, rest) = expect(rest, SEQUENCE)?;
        let (algorithm, _) = expect(algorithm.content, OBJECT_IDENTIFIER)?;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (_validity, rest) = expect(rest, SEQUENCE)?;
        let (_subject, rest) = expect(rest, SEQUENCE)?;
        let (public_key, _) = expect(rest, SEQUENCE)?;
        Some(Self {
            issuer: distinguished_name(issuer.content)?,
            serial_decimal: decimal(serial.content),
            is_signed_with_rsa: algorithm.content.starts_with(&RSA_SIGNATURES),
            public_key: public_key.whole.to_vec(),
        })
    }
}

/// One DER value: its content, and the whole with tag and length.
struct Item<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Reads the value in front and what follows it.
fn read(der: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&[tag, first], mut rest) = der.split_first_chunk::<2>()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        // Four bytes of length are more than any certificate needs.
        let count = usize::from(first & 0x7F);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes
            .iter()
            .fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    let whole = der.get(..der.len() - after.len())?;
    Some((
        Item {
            tag,
            content,
            whole,
        },
        after,
    ))
}

fn expect(der: &[u8], tag: u8) -> Option<(Item<'_>, &[u8])> {
    read(der).filter(|(item, _)| item.tag == tag)
}

fn distinguished_name(mut der: &[u8]) -> Option<String> {
    let mut names = Vec::new();
    while !der.is_empty() {
        let (set, after) = expect(der, SET)?;
        let (pair, _) = expect(set.content, SEQUENCE)?;
        let (kind, value) = expect(pair.content, OBJECT_IDENTIFIER)?;
        let (value, _) = read(value)?;
        names.push(format!(
            "{}={}",
            short_name(kind.content)?,
            escaped(std::str::from_utf8(value.content).ok()?)
        ));
        der = after;
    }
    names.reverse();
    Some(names.join(","))
}

/// The short names RFC 2253 defines for the attributes of a certificate authority.
fn short_name(identifier: &[u8]) -> Option<&'static str> {
    match identifier {
        [0x55, 0x04, 0x03] => Some("CN"),
        [0x55, 0x04, 0x06] => Some("C"),
        [0x55, 0x04, 0x07] => Some("L"),
        [0x55, 0x04, 0x08] => Some("ST"),
        [0x55, 0x04, 0x0A] => Some("O"),
        [0x55, 0x04, 0x0B] => Some("OU"),
        _ => None,
    }
}

fn escaped(value: &str) -> String {
    let special = |character| matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
    value.chars().fold(String::new(), |mut text, character| {
        if special(character) {
            text.push('\\');
        }
        text.push(character);
        text
    })
}

/// A big-endian number in decimal.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).expect("a remainder of ten fits");
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).expect("a remainder of ten fits"));
            carry /= 10;
        }
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_serial_and_key_are_those_the_official_sdk_reads() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/alipay_cert_sn.json")).unwrap();
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let Some(issuer) = case["issuer_rfc2253"].as_str() else {
                continue;
            };
            let certificates = Certificate::all_from_pem(case["pem"].as_str().unwrap()).unwrap();
            assert_eq!(certificates[0].issuer, issuer);
            assert_eq!(
                certificates[0].serial_decimal,
                case["serial_decimal"].as_str().unwrap()
            );
            assert_eq!(
                STANDARD.encode(&certificates[0].public_key),
                case["public_key_spki_base64"].as_str().unwrap()
            );
            compared += 1;
        }
        assert_eq!(compared, 4);
    }

    #[test]
    fn nonsense_is_not_a_certificate_and_does_not_panic() {
        for der in [
            &b""[..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x02, 0x30, 0x05],
        ] {
            assert_eq!(Certificate::from_der(der), None);
        }
    }
}
