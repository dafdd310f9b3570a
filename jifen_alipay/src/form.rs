//! Checking what reaches us through the payer's side: notifications (form bodies) and the return URL (query).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::{Encoding, GBK, UTF_8};
use percent_encoding::percent_decode;

use crate::keys::AlipayKey;

/// The largest body that is looked at; real ones have some 1,200 bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The most parameters that are looked at; real ones have some 30.
const PARAMETERS_MAX: usize = 128;

/// A message that is not accepted as Alipay's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many bytes or parameters.
    #[error("the message is too large")]
    TooLarge,
    /// A parameter occurs twice: readers could disagree about which one is meant.
    #[error("a parameter is repeated")]
    RepeatedParameter,
    /// No signature, or an empty one.
    #[error("the message is not signed")]
    Unsigned,
    /// Another `sign_type` than `RSA2`: we decide, not the sender.
    #[error("the signature is not of type RSA2")]
    SignType,
    /// Not signed by the Alipay key of the settings.
    #[error("the signature is wrong")]
    Signature,
    /// Authentic, but in a charset other than UTF-8 and GBK or broken in its own.
    #[error("the message's charset cannot be read")]
    Charset,
    /// Authentic, but of a kind this crate does not know.
    #[error("the message is no notification about a trade")]
    OtherKind,
    /// Authentic, but a field is missing or not what it should be.
    #[error("the message has no usable {0}")]
    Field(&'static str),
}

impl Refusal {
    /// Whether the message is Alipay's all the same, so that it is worth an alarm of another kind.
    pub fn is_authentic(&self) -> bool {
        matches!(self, Self::Charset | Self::OtherKind | Self::Field(_))
    }
}

/// The parameters of a message whose signature holds. Empty values count as absent: whether they are covered by the
/// signature is something Alipay's own SDKs disagree about.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct VerifiedForm(BTreeMap<String, String>);

impl VerifiedForm {
    pub(crate) fn parse(raw: &[u8], key: &AlipayKey) -> Result<Self, Refusal> {
        let form = decode_once(raw)?;
        verify(&form, key)?;
        let charset = match form.get(b"charset".as_slice()) {
            None => UTF_8,
            Some(label) => Encoding::for_label(label)
                .filter(|charset| [UTF_8, GBK, encoding_rs::GB18030].contains(charset))
                .ok_or(Refusal::Charset)?,
        };
        let text = |bytes: &[u8]| {
            charset
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned)
                .ok_or(Refusal::Charset)
        };
        form.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| Ok((text(name)?, text(value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<String, Refusal> {
        self.get(name)
            .map(str::to_owned)
            .ok_or(Refusal::Field(name))
    }
}

type Form = BTreeMap<Vec<u8>, Vec<u8>>;

/// Decodes to bytes, once: `+` is a space, `%XX` a byte. The charset is looked at only after the signature.
fn decode_once(raw: &[u8]) -> Result<Form, Refusal> {
    if raw.len() > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let mut form = Form::new();
    for pair in raw.split(|byte| *byte == b'&') {
        if pair.is_empty() {
            continue;
        }
        if form.len() == PARAMETERS_MAX {
            return Err(Refusal::TooLarge);
        }
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let mut half = || {
            let spaced: Vec<u8> = halves
                .next()
                .unwrap_or_default()
                .iter()
                .map(|byte| if *byte == b'+' { b' ' } else { *byte })
                .collect();
            percent_decode(&spaced).collect::<Vec<u8>>()
        };
        let (name, value) = (half(), half());
        if form.insert(name, value).is_some() {
            return Err(Refusal::RepeatedParameter);
        }
    }
    Ok(form)
}

fn verify(form: &Form, key: &AlipayKey) -> Result<(), Refusal> {
    let sign = form
        .get(b"sign".as_slice())
        .filter(|sign| !sign.is_empty())
        .ok_or(Refusal::Unsigned)?;
    if form.get(b"sign_type".as_slice()).map(Vec::as_slice) != Some(b"RSA2") {
        return Err(Refusal::SignType);
    }
    let signature = STANDARD.decode(sign).map_err(|_| Refusal::Signature)?;
    if key.verify(&signed_bytes(form, true), &signature) {
        return Ok(());
    }
    // Java's SDK keeps empty values, PHP's drops them.
    let has_empty = form.values().any(Vec::is_empty);
    if has_empty && key.verify(&signed_bytes(form, false), &signature) {
        return Ok(());
    }
    Err(Refusal::Signature)
}

/// Every parameter except `sign` and `sign_type`, sorted (which the map is), `name=value` joined with `&`.
fn signed_bytes(form: &Form, keeps_empty: bool) -> Vec<u8> {
    let mut signed = Vec::new();
    for (name, value) in form {
        if name == b"sign" || name == b"sign_type" || (value.is_empty() && !keeps_empty) {
            continue;
        }
        if !signed.is_empty() {
            signed.push(b'&');
        }
        signed.extend_from_slice(name);
        signed.push(b'=');
        signed.extend_from_slice(value);
    }
    signed
}
