//! Verifies the `Authorization` header of a merchant's request: scheme, merchant, certificate serial, clock, nonce, signature.

use std::collections::{HashSet, VecDeque};

use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::refusal::Refusal;
use crate::rsa::PublicKey;

/// The only authentication scheme there is.
pub(crate) const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048";

/// How far a request's timestamp may be from the clock.
const SKEW_SECONDS_MAX: i64 = 300;
const HEADER_BYTES_MAX: usize = 2048;
const NONCE_CHARACTERS_MAX: usize = 32;
/// Nonces remembered against replay; the oldest is forgotten first.
const NONCES_MAX: usize = 50_000;
/// How much of the string to sign an error shows.
const SHOWN_CHARACTERS_MAX: usize = 1024;

/// The merchant that requests must come from.
pub(crate) struct Signer<'a> {
    pub(crate) mchid: &'a str,
    pub(crate) serial_no: &'a str,
    pub(crate) key: &'a PublicKey,
}

/// A request as received, before anything is believed.
pub(crate) struct SignedRequest<'a> {
    pub(crate) method: &'a str,
    /// Path and query exactly as sent.
    pub(crate) url: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// Why a request was refused, with all a developer needs to find the difference.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) refusal: Refusal,
    /// The string the sandbox built, when it came so far.
    pub(crate) message: Option<String>,
    pub(crate) signature: Option<String>,
}

/// Nonces of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: HashSet<String>,
    order: VecDeque<(Timestamp, String)>,
}

/// Checks one request at the time `now`.
pub(crate) fn verify(
    request: &SignedRequest<'_>,
    signer: &Signer<'_>,
    nonces: &mut Nonces,
    now: Timestamp,
) -> Result<(), Box<Rejected>> {
    let token = Token::parse(request.authorization).map_err(Rejected::early)?;
    if !same(token.mchid, signer.mchid) {
        return Err(Rejected::early(sign_error(
            "商户号不存在或与证书不匹配。",
            "mchid",
            "mchid unknown",
        )));
    }
    if !same(token.serial_no, signer.serial_no) {
        let message = "商户证书序列号有误。请使用签名私钥匹配的证书序列号";
        return Err(Rejected::early(sign_error(
            message,
            "serial_no",
            "serial_no not match",
        )));
    }
    let Some(sent_at) = seconds(token.timestamp) else {
        return Err(Rejected::early(malformed("timestamp is not unix seconds")));
    };
    if (now.as_second() - sent_at).abs() > SKEW_SECONDS_MAX {
        let message = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟";
        return Err(Rejected::early(sign_error(
            message,
            "timestamp",
            "timestamp expired",
        )));
    }
    let message = message(request, &token);
    if !signer.key.verifies_base64(&message, token.signature) {
        return Err(Rejected::wrong_signature(
            request,
            &message,
            token.signature,
        ));
    }
    if !nonces.first_use(&format!("{}:{}", token.timestamp, token.nonce), now) {
        let refusal = sign_error(
            "Http头Authorization中的nonce_str重复",
            "nonce_str",
            "nonce_str replayed",
        );
        return Err(Rejected::early(refusal));
    }
    Ok(())
}

/// `METHOD\n URL\n timestamp\n nonce\n body\n`, the body as the bytes received.
fn message(request: &SignedRequest<'_>, token: &Token<'_>) -> Vec<u8> {
    let mut message = format!(
        "{}\n{}\n{}\n{}\n",
        request.method, request.url, token.timestamp, token.nonce
    )
    .into_bytes();
    message.extend_from_slice(request.body);
    message.push(b'\n');
    message
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// Unix seconds in digits only: ten of them until the year 2286.
fn seconds(text: &str) -> Option<i64> {
    (text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// The five items of the header, in whatever order they came.
struct Token<'a> {
    mchid: &'a str,
    serial_no: &'a str,
    timestamp: &'a str,
    nonce: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    fn parse(header: Option<&'a str>) -> Result<Self, Refusal> {
        let header = header.ok_or_else(|| malformed("Authorization header is missing"))?;
        if header.len() > HEADER_BYTES_MAX {
            return Err(malformed("Authorization header is too long"));
        }
        let (scheme, items) = header
            .split_once(' ')
            .ok_or_else(|| malformed("no items after the scheme"))?;
        if scheme != SCHEME {
            let message = "Http头Authorization认证类型不正确";
            return Err(sign_error(
                message,
                "authorization",
                format!("scheme must be {SCHEME}"),
            ));
        }
        let mut found: [Option<&str>; 5] = [None; 5];
        for item in items.split(',') {
            let (name, value) = item
                .trim()
                .split_once('=')
                .ok_or_else(|| malformed("item without ="))?;
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .ok_or_else(|| malformed(format!("{name} is not quoted")))?;
            let slot = match name {
                "mchid" => &mut found[0],
                "serial_no" => &mut found[1],
                "timestamp" => &mut found[2],
                "nonce_str" => &mut found[3],
                "signature" => &mut found[4],
                _ => return Err(malformed(format!("unknown item {name}"))),
            };
            if value.is_empty() || slot.replace(value).is_some() {
                return Err(malformed(format!("{name} is empty or repeated")));
            }
        }
        let [
            Some(mchid),
            Some(serial_no),
            Some(timestamp),
            Some(nonce),
            Some(signature),
        ] = found
        else {
            return Err(malformed(
                "mchid, serial_no, timestamp, nonce_str and signature are all needed",
            ));
        };
        if nonce.chars().count() > NONCE_CHARACTERS_MAX {
            return Err(malformed("nonce_str is longer than 32 characters"));
        }
        Ok(Self {
            mchid,
            serial_no,
            timestamp,
            nonce,
            signature,
        })
    }
}

impl Nonces {
    /// Remembers a nonce; false when it was used before and could still be accepted.
    fn first_use(&mut self, nonce: &str, now: Timestamp) -> bool {
        // A request may be stamped up to five minutes ahead, so it could be replayed for ten.
        while let Some((used_at, oldest)) = self.order.front() {
            let fresh = (now.as_second() - used_at.as_second()).abs() <= 2 * SKEW_SECONDS_MAX;
            if fresh && self.order.len() < NONCES_MAX {
                break;
            }
            self.seen.remove(oldest);
            self.order.pop_front();
        }
        if !self.seen.insert(nonce.to_owned()) {
            return false;
        }
        self.order.push_back((now, nonce.to_owned()));
        true
    }
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "every caller wants it boxed: it is large beside the Ok"
)]
impl Rejected {
    fn early(refusal: Refusal) -> Box<Self> {
        Box::new(Self {
            refusal,
            message: None,
            signature: None,
        })
    }

    fn wrong_signature(request: &SignedRequest<'_>, message: &[u8], signature: &str) -> Box<Self> {
        let text = String::from_utf8_lossy(message);
        let shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
        let mut refusal = Refusal::new(
            StatusCode::UNAUTHORIZED,
            "SIGN_ERROR",
            "错误的签名，验签失败",
        );
        refusal.detail = Some(json!({
            "detail": {"issue": "sign not match"},
            "field": "signature",
            "location": "authorization",
            "sign_information": {
                "method": request.method,
                "sign_message_length": message.len(),
                "truncated_sign_message": shown,
                "url": request.url,
            },
        }));
        Box::new(Self {
            refusal,
            message: Some(text.into_owned()),
            signature: Some(signature.to_owned()),
        })
    }
}

fn malformed(issue: impl Into<String>) -> Refusal {
    sign_error(
        "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》",
        "authorization",
        issue,
    )
}

fn sign_error(message: &str, field: &str, issue: impl Into<String>) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::UNAUTHORIZED, "SIGN_ERROR", message);
    refusal.detail =
        Some(json!({"field": field, "issue": issue.into(), "location": "authorization"}));
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!(
            "../../tests/vectors/wechatpay_request_signing.json"
        ))
        .unwrap()
    }

    /// Verifies a vector after `change` had its way with the header, at `skew` seconds after its timestamp.
    fn verify_case(
        vectors: &serde_json::Value,
        case: &serde_json::Value,
        nonces: &mut Nonces,
        skew: i64,
        change: impl Fn(String) -> String,
    ) -> Result<(), Box<Rejected>> {
        let key =
            PublicKey::from_certificate_pem(vectors["merchant_certificate_pem"].as_str().unwrap())
                .unwrap();
        let signer = Signer {
            mchid: vectors["mchid"].as_str().unwrap(),
            serial_no: vectors["merchant_serial_no"].as_str().unwrap(),
            key: &key,
        };
        let header = change(case["authorization_example"].as_str().unwrap().to_owned());
        let request = SignedRequest {
            method: case["method"].as_str().unwrap(),
            url: case["canonical_url"].as_str().unwrap(),
            authorization: Some(&header),
            body: case["body"].as_str().unwrap().as_bytes(),
        };
        let sent_at: i64 = case["timestamp"].as_str().unwrap().parse().unwrap();
        verify(
            &request,
            &signer,
            nonces,
            Timestamp::from_second(sent_at + skew).unwrap(),
        )
    }

    #[test]
    fn requests_signed_by_foreign_libraries_are_accepted_once() {
        let vectors = vectors();
        let mut nonces = Nonces::default();
        for case in vectors["cases"].as_array().unwrap() {
            verify_case(&vectors, case, &mut nonces, 0, |header| header).unwrap();
            let again = verify_case(&vectors, case, &mut nonces, 1, |header| header).unwrap_err();
            assert!(
                again.refusal.message.contains("nonce_str"),
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn a_wrong_signature_shows_the_string_that_was_built() {
        let vectors = vectors();
        let case = &vectors["cases"][0];
        let other = vectors["cases"][1]["signature"].as_str().unwrap();
        let change = |header: String| header.replace(case["signature"].as_str().unwrap(), other);
        let rejected = verify_case(&vectors, case, &mut Nonces::default(), 0, change).unwrap_err();
        assert_eq!(rejected.refusal.status, StatusCode::UNAUTHORIZED);
        assert_eq!(rejected.refusal.code, "SIGN_ERROR");
        assert_eq!(rejected.message.as_deref(), case["message"].as_str());
        assert_eq!(rejected.signature.as_deref(), Some(other));
        let detail = rejected.refusal.detail.unwrap();
        assert_eq!(
            detail["sign_information"]["truncated_sign_message"],
            case["message"]
        );
        assert_eq!(
            detail["sign_information"]["sign_message_length"],
            case["message"].as_str().unwrap().len()
        );
    }

    #[test]
    fn every_flaw_of_the_header_is_refused_with_its_own_reason() {
        let vectors = vectors();
        let case = &vectors["cases"][3];
        let refused = |skew, from: &'static str, to: &'static str| {
            let change = |header: String| header.replacen(from, to, 1);
            verify_case(&vectors, case, &mut Nonces::default(), skew, change)
                .unwrap_err()
                .refusal
                .message
        };
        assert!(refused(0, SCHEME, "WECHATPAY2-SHA1-RSA2048").contains("认证类型不正确"));
        assert!(refused(0, "mchid=\"1900000109\"", "mchid=\"1900000108\"").contains("商户号"));
        assert!(refused(0, "3F27C18B", "3F27C18C").contains("证书序列号有误"));
        assert!(refused(301, "", "").contains("不得超过5分钟"));
        assert!(refused(-301, "", "").contains("不得超过5分钟"));
        for (from, to) in [
            ("mchid=", "mch_id="),
            ("nonce_str=", "mchid="),
            ("timestamp=\"", "timestamp=\"0"),
            (
                "serial_no=\"3F27C18B5D64E09A7B1C2D8E4F50A6B7C8D9E0F1\",",
                "",
            ),
            ("nonce_str=\"", "nonce_str=\"x"),
            ("\"1900000109\"", "1900000109"),
        ] {
            assert!(refused(0, from, to).contains("格式错误"), "{from} -> {to}");
        }
        assert!(verify_case(&vectors, case, &mut Nonces::default(), 300, |header| header).is_ok());
    }

    #[test]
    fn nonces_are_forgotten_when_they_can_no_longer_be_replayed_and_when_there_are_too_many() {
        let mut nonces = Nonces::default();
        let start = Timestamp::from_second(1_705_291_200).unwrap();
        assert!(nonces.first_use("first", start));
        assert!(!nonces.first_use("first", Timestamp::from_second(1_705_291_800).unwrap()));
        assert!(nonces.first_use("first", Timestamp::from_second(1_705_291_801).unwrap()));
        for number in 0..NONCES_MAX + 10 {
            nonces.first_use(&number.to_string(), start);
        }
        assert!(nonces.order.len() <= NONCES_MAX && nonces.seen.len() == nonces.order.len());
    }
}
