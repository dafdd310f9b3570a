//! What certificate mode needs of X.509: issuer, serial number, signature algorithm and public key.
//!
//! The serial numbers Alipay wants in `app_cert_sn` and `alipay_root_cert_sn` are no X.509 serials but the MD5 of the
//! issuer (RFC 2253) and the decimal serial. The root bundle holds SM2 certificates beside the RSA ones, which
//! libraries for TLS refuse to look at, hence the small reader here. It checks no signature and no validity: the
//! certificates are settings of the operator.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::der::{Reader, tag};

/// The parts of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    issuer_rfc2253: String,
    serial_decimal: String,
    is_rsa_signed: bool,
    public_key_spki: Vec<u8>,
}

impl Certificate {
    /// The first certificate of a PEM text. `None` when there is none that can be read.
    pub fn from_pem(pem: &str) -> Option<Self> {
        Self::from_der(&pem_certificates(pem).next()??)
    }

    /// Reads DER. `None` when it is not an X.509 certificate.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let mut certificate = Reader::new(der).enter(tag::SEQUENCE)?;
        let mut to_be_signed = certificate.enter(tag::SEQUENCE)?;
        let signature_oid = certificate.enter(tag::SEQUENCE)?.value(tag::OBJECT_ID)?;

        to_be_signed.skip_if(tag::CONTEXT_0)?;
        let serial = to_be_signed.value(tag::INTEGER)?;
        to_be_signed.value(tag::SEQUENCE)?;
        let issuer = to_be_signed.enter(tag::SEQUENCE)?;
        to_be_signed.value(tag::SEQUENCE)?;
        to_be_signed.value(tag::SEQUENCE)?;
        let public_key_spki = to_be_signed.whole(tag::SEQUENCE)?;
        Some(Self {
            issuer_rfc2253: name_rfc2253(issuer)?,
            serial_decimal: decimal(serial)?,
            is_rsa_signed: signature_oid.starts_with(&RSA_OID_PREFIX),
            public_key_spki: public_key_spki.to_vec(),
        })
    }

    /// The issuer in the order of RFC 2253: `CN=…,OU=…,O=…,C=CN`.
    pub fn issuer_rfc2253(&self) -> &str {
        &self.issuer_rfc2253
    }

    /// The serial number in decimal.
    pub fn serial_decimal(&self) -> &str {
        &self.serial_decimal
    }

    /// The public key as DER of a `SubjectPublicKeyInfo`.
    pub fn public_key_spki(&self) -> &[u8] {
        &self.public_key_spki
    }

    /// Alipay's serial number of it: `md5_hex(issuer + decimal serial)`, 32 lower-case characters.
    pub fn sn(&self) -> String {
        let digest = Md5::new()
            .chain_update(&self.issuer_rfc2253)
            .chain_update(&self.serial_decimal)
            .finalize();
        hex(&digest)
    }
}

/// `alipay_root_cert_sn`: the serial numbers of the certificates of the bundle that are signed with RSA, in the order
/// of the file, joined with `_`. `None` when a certificate cannot be read or none is signed with RSA.
pub fn root_bundle_sn(pem: &str) -> Option<String> {
    let mut joined = String::new();
    for der in pem_certificates(pem) {
        let certificate = Certificate::from_der(&der?)?;
        if !certificate.is_rsa_signed {
            continue;
        }
        if !joined.is_empty() {
            joined.push('_');
        }
        joined.push_str(&certificate.sn());
    }
    (!joined.is_empty()).then_some(joined)
}

/// 1.2.840.113549.1.1, the arc of PKCS #1, in DER.
const RSA_OID_PREFIX: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

/// The certificates of a PEM text; `None` in place of one whose base64 is broken.
fn pem_certificates(pem: &str) -> impl Iterator<Item = Option<Vec<u8>>> {
    pem.split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .map(|section| {
            let (body, _) = section.split_once("-----END CERTIFICATE-----")?;
            let body: Vec<u8> = body
                .bytes()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            STANDARD.decode(body).ok()
        })
}

/// A DER `Name`, last part first, as Java's `X500Principal.getName()` writes it (which is what Alipay hashes).
fn name_rfc2253(mut name: Reader<'_>) -> Option<String> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        let mut set = name.enter(tag::SET)?;
        let mut part = String::new();
        while !set.is_empty() {
            let mut attribute = set.enter(tag::SEQUENCE)?;
            let oid = attribute.value(tag::OBJECT_ID)?;
            if !part.is_empty() {
                part.push('+');
            }
            append_attribute(&mut part, oid, &mut attribute)?;
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

fn append_attribute(part: &mut String, oid: &[u8], value: &mut Reader<'_>) -> Option<()> {
    let keyword = match oid {
        [0x55, 0x04, 0x03] => Some("CN"),
        [0x55, 0x04, 0x06] => Some("C"),
        [0x55, 0x04, 0x07] => Some("L"),
        [0x55, 0x04, 0x08] => Some("ST"),
        [0x55, 0x04, 0x09] => Some("STREET"),
        [0x55, 0x04, 0x0a] => Some("O"),
        [0x55, 0x04, 0x0b] => Some("OU"),
        // 0.9.2342.19200300.100.1.25 and .1
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => Some("DC"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => Some("UID"),
        _ => None,
    };
    let (tag, content, whole) = value.any()?;
    match (keyword, text_of(tag, content)) {
        (Some(keyword), Some(text)) => {
            part.push_str(keyword);
            part.push('=');
            append_escaped(part, &text);
        }
        (keyword, _) => {
            part.push_str(&keyword.map_or_else(|| dotted(oid), str::to_owned));
            part.push_str("=#");
            part.push_str(&hex(whole));
        }
    }
    Some(())
}

fn text_of(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => {
            String::from_utf8(content.to_vec()).ok()
        }
        tag::TELETEX_STRING => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        tag::BMP_STRING => {
            let units: Vec<u16> = content
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// RFC 2253, section 2.4.
fn append_escaped(part: &mut String, text: &str) {
    let last = text.chars().count().saturating_sub(1);
    for (place, character) in text.chars().enumerate() {
        let at_edge = place == 0 || place == last;
        if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == '#' && place == 0)
            || (character == ' ' && at_edge)
        {
            part.push('\\');
        }
        part.push(character);
    }
}

fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut arc = 0_u64;
    for byte in oid {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            let _ = write!(text, "{first}.{}", arc - first * 40);
        } else {
            let _ = write!(text, ".{arc}");
        }
        arc = 0;
    }
    text
}

/// A DER INTEGER in decimal. Serial numbers are positive and at most 20 octets (RFC 5280); negative ones are refused.
fn decimal(integer: &[u8]) -> Option<String> {
    const OCTETS_MAX: usize = 64;
    if integer.is_empty() || integer.len() > OCTETS_MAX || integer[0] & 0x80 != 0 {
        return None;
    }
    // Digits, the lowest first.
    let mut digits = vec![0_u8];
    for octet in integer {
        let mut carry = u32::from(*octet);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).expect("a remainder of ten");
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).expect("a remainder of ten"));
            carry /= 10;
        }
    }
    Some(
        digits
            .iter()
            .rev()
            .map(|digit| char::from(b'0' + digit))
            .collect(),
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
