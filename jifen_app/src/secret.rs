//! Secrets the mall gives out: session tokens, API keys, service credentials. It keeps keyed hashes of them only.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::environment::Environment;

/// Prefix of every API key that spends real points.
pub(crate) const API_KEY_PREFIX: &str = "jf_live_";
/// Prefix of every API key that spends play points.
pub(crate) const TEST_KEY_PREFIX: &str = "jf_test_";
/// What an API key can begin with.
pub(crate) const API_KEY_PREFIXES: [&str; 2] = [API_KEY_PREFIX, TEST_KEY_PREFIX];
/// Prefix of every service credential.
pub(crate) const SERVICE_CREDENTIAL_PREFIX: &str = "sk_";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^28 is more than 2^166.
const RANDOM_CHARS: usize = 28;
/// 62^6 is more than 2^32.
const CHECKSUM_CHARS: usize = 6;

/// What a secret is for; the same text hashes differently for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A login session.
    Session,
    /// An API key of a user.
    ApiKey,
    /// A service credential of a gateway.
    ServiceCredential,
    /// The browser that asked for a login QR code.
    Browser,
    /// A code mailed to an address.
    EmailCode,
}

/// Hashes secrets with the server's own key.
pub(crate) struct Hasher(hmac::Key);

impl Hasher {
    /// `server_secret` must stay the same for as long as what was hashed with it is to be recognised.
    pub(crate) fn new(server_secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, server_secret))
    }

    /// The keyed hash under which a secret is stored and looked up.
    pub(crate) fn hash(&self, purpose: Purpose, secret: &str) -> Vec<u8> {
        self.digest(purpose, secret).to_vec()
    }

    /// The same, in place.
    pub(crate) fn digest(&self, purpose: Purpose, secret: &str) -> [u8; 32] {
        let label = match purpose {
            Purpose::Session => "session\0",
            Purpose::ApiKey => "api key\0",
            Purpose::ServiceCredential => "service credential\0",
            Purpose::Browser => "browser\0",
            Purpose::EmailCode => "email code\0",
        };
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label.as_bytes());
        context.update(secret.as_bytes());
        let mut digest = [0; 32];
        // HMAC-SHA256 has as many bytes.
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// 256 random bits as 43 characters that fit into a header, a cookie and a URL.
pub(crate) fn random_token(environment: &dyn Environment) -> String {
    let mut bytes = [0; 32];
    environment.fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// 96 random bits as 24 hexadecimal digits, for ids that are not secret.
pub(crate) fn random_id(environment: &dyn Environment) -> String {
    let mut bytes = [0; 12];
    environment.fill_random(&mut bytes);
    bytes
        .iter()
        .fold(String::with_capacity(24), |mut id, byte| {
            id.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            id.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            id
        })
}

/// A new API key or service credential: the prefix, 166 random bits in base62, and a CRC-32 of all that in base62, so that
/// a typing error is recognised without looking it up.
pub(crate) fn random_key(prefix: &str, environment: &dyn Environment) -> String {
    let mut key = String::with_capacity(prefix.len() + RANDOM_CHARS + CHECKSUM_CHARS);
    key.push_str(prefix);
    while key.len() < prefix.len() + RANDOM_CHARS {
        let mut bytes = [0; 64];
        environment.fill_random(&mut bytes);
        // 248 is a multiple of 62: what lies above would favour some letters.
        let letters = bytes
            .iter()
            .filter(|byte| **byte < 248)
            .map(|byte| char::from(BASE62[usize::from(byte % 62)]));
        key.extend(letters.take(prefix.len() + RANDOM_CHARS - key.len()));
    }
    let checksum = checksum(&key);
    key.push_str(&checksum);
    key
}

/// Whether a text can be a key with this prefix at all.
pub(crate) fn is_well_formed(prefix: &str, key: &str) -> bool {
    let body = key.strip_prefix(prefix).unwrap_or_default();
    body.len() == RANDOM_CHARS + CHECKSUM_CHARS
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && key
            .split_at_checked(key.len() - CHECKSUM_CHARS)
            .is_some_and(|(start, end)| checksum(start) == end)
}

/// The last four characters before the checksum, by which an owner knows a key again. They leave more than 142 bits unknown.
pub(crate) fn hint(key: &str) -> Option<String> {
    const HINT_CHARS: usize = 4;
    let end = key.len().checked_sub(CHECKSUM_CHARS)?;
    let start = end.checked_sub(HINT_CHARS)?;
    key.get(start..end).map(str::to_owned)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemEnvironment;

    #[test]
    fn a_key_carries_its_own_checksum() {
        let key = random_key(API_KEY_PREFIX, &SystemEnvironment);
        assert_eq!(key.len(), API_KEY_PREFIX.len() + 34);
        assert!(is_well_formed(API_KEY_PREFIX, &key));
        assert!(!is_well_formed(SERVICE_CREDENTIAL_PREFIX, &key));
        for place in API_KEY_PREFIX.len()..key.len() {
            let mut typo = key.clone().into_bytes();
            typo[place] = if typo[place] == b'a' { b'b' } else { b'a' };
            assert!(
                !is_well_formed(API_KEY_PREFIX, std::str::from_utf8(&typo).unwrap()),
                "typo at {place}"
            );
        }
        for bad in ["", "jf_live_", "jf_live_短", &key[1..], &format!("{key}0")] {
            assert!(!is_well_formed(API_KEY_PREFIX, bad), "{bad}");
        }
    }

    #[test]
    fn a_hint_is_what_stands_before_the_checksum() {
        let key = random_key(TEST_KEY_PREFIX, &SystemEnvironment);
        assert_eq!(hint(&key).as_deref(), Some(&key[32..36]));
        assert_eq!(hint("short"), None);
    }

    #[test]
    fn the_same_secret_hashes_differently_for_each_purpose_and_server() {
        let (a, b) = (Hasher::new(b"a"), Hasher::new(b"b"));
        assert_eq!(a.hash(Purpose::Session, "x"), a.hash(Purpose::Session, "x"));
        assert_ne!(a.hash(Purpose::Session, "x"), a.hash(Purpose::ApiKey, "x"));
        assert_ne!(a.hash(Purpose::Session, "x"), b.hash(Purpose::Session, "x"));
    }
}
