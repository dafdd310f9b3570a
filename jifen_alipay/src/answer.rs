//! Checking the gateway's synchronous answers.
//!
//! `{"alipay_trade_query_response":{…},"sign":"…"}`: the signature covers the exact bytes of the node, escapes and
//! all, so the node is cut out before anything is parsed. Some error answers come in GBK although UTF-8 was asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::GBK;
use serde::Deserialize;

use crate::error::AnswerError;
use crate::failure::{Failure, FailureKind};
use crate::keys::AlipayKey;
use crate::scan::{Members, top_level_members};

/// An answer whose signature holds, or an error of the gateway's front, which comes without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    text: String,
    is_signed: bool,
    failure: Option<Failure>,
}

impl Answer {
    /// The node as JSON text, decoded from whatever charset it came in.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it was signed. An answer without failure always is.
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// The refusal, when the code is not 10000. Success says only that the call worked, never that something is paid.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The text of a success, or the refusal.
    pub(crate) fn into_result(self) -> Result<String, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.text),
        }
    }
}

/// The name of the node that answers `method`: `alipay.trade.query` → `alipay_trade_query_response`.
pub fn root_of(method: &str) -> String {
    format!("{}_response", method.replace('.', "_"))
}

/// Checks the answer `body`, whose node is `root` or `error_response`.
///
/// `alipay_cert_sn` is the serial number of the certificate that `key` comes from, in certificate mode.
pub fn verify_answer(
    body: &[u8],
    root: &str,
    key: &AlipayKey,
    alipay_cert_sn: Option<&str>,
) -> Result<Answer, AnswerError> {
    let is_utf8 = std::str::from_utf8(body).is_ok();
    let members = top_level_members(body, !is_utf8)?;
    let node = match (members.get(root), members.get("error_response")) {
        (Some(node), None) | (None, Some(node)) => node,
        (Some(_), Some(_)) => return Err(AnswerError::Malformed("two answers in one")),
        (None, None) => return Err(AnswerError::Malformed("no node for this method")),
    };
    if !node.starts_with(b"{") {
        return Err(AnswerError::Malformed("the node is no object"));
    }
    let is_signed = check_signature(&members, node, key, alipay_cert_sn)?;
    let text = decode(node, is_utf8)?;
    let head: Head =
        serde_json::from_str(&text).map_err(|_| AnswerError::Malformed("the node is no JSON"))?;
    let failure = (head.code != "10000").then(|| head.into_failure(is_signed));
    if !is_signed
        && failure
            .as_ref()
            .is_none_or(|failure| failure.kind.is_verdict_on_trade())
    {
        return Err(AnswerError::Unsigned);
    }
    Ok(Answer {
        text,
        is_signed,
        failure,
    })
}

/// Whether there is a signature; an error when it does not hold.
fn check_signature(
    members: &Members<'_>,
    node: &[u8],
    key: &AlipayKey,
    alipay_cert_sn: Option<&str>,
) -> Result<bool, AnswerError> {
    let text_of = |name: &str| -> Result<Option<String>, AnswerError> {
        members
            .get(name)
            .map(serde_json::from_slice::<String>)
            .transpose()
            .map_err(|_| AnswerError::Malformed("a member is no text"))
    };
    if let (Some(ours), Some(theirs)) = (alipay_cert_sn, text_of("alipay_cert_sn")?)
        && ours != theirs
    {
        let is_sn = theirs.len() == 32 && theirs.bytes().all(|byte| byte.is_ascii_hexdigit());
        return Err(if is_sn {
            AnswerError::CertificateRotated {
                alipay_cert_sn: theirs,
            }
        } else {
            AnswerError::Malformed("alipay_cert_sn is no serial number")
        });
    }
    let Some(sign) = text_of("sign")?.filter(|sign| !sign.is_empty()) else {
        return Ok(false);
    };
    let signature = STANDARD.decode(sign).map_err(|_| AnswerError::Signature)?;
    if !key.verify(node, &signature) {
        return Err(AnswerError::Signature);
    }
    Ok(true)
}

fn decode(node: &[u8], is_utf8: bool) -> Result<String, AnswerError> {
    if is_utf8 {
        return String::from_utf8(node.to_vec())
            .map_err(|_| AnswerError::Malformed("neither UTF-8 nor GBK"));
    }
    GBK.decode_without_bom_handling_and_without_replacement(node)
        .map(std::borrow::Cow::into_owned)
        .ok_or(AnswerError::Malformed("neither UTF-8 nor GBK"))
}

#[derive(Deserialize)]
struct Head {
    code: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    sub_code: String,
    #[serde(default)]
    sub_msg: String,
}

impl Head {
    fn into_failure(self, is_signed: bool) -> Failure {
        const MESSAGE_CHARACTERS_MAX: usize = 512;
        const CODE_CHARACTERS_MAX: usize = 64;
        let message = if self.sub_msg.is_empty() {
            self.msg
        } else {
            self.sub_msg
        };
        let cut = |text: String, characters_max| text.chars().take(characters_max).collect();
        Failure {
            kind: FailureKind::of(&self.code, &self.sub_code),
            code: cut(self.code, CODE_CHARACTERS_MAX),
            sub_code: cut(self.sub_code, CODE_CHARACTERS_MAX),
            message: cut(message, MESSAGE_CHARACTERS_MAX),
            is_signed,
        }
    }
}
