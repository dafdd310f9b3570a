//! Signatures of the message push, and its secure mode.

use std::fmt;

use aws_lc_rs::cipher::AES_256;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

use crate::crypto::{self, AES_BLOCK_BYTES};
use crate::keys::SettingError;
use crate::official::PushRefusal;

/// WeChat pads to 32 bytes although the cipher's block has 16.
const PADDING_BLOCK_BYTES: u8 = 32;
const RANDOM_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

/// Checks and makes signatures, opens and seals messages of one official account.
pub struct MessageCrypto {
    app_id: String,
    token: SecretString,
    keys: Vec<MessageKey>,
}

/// A sealed message: the elements `Encrypt` and `MsgSignature`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMessage {
    /// Base64 of the ciphertext.
    pub encrypt: String,
    /// Signature over token, timestamp, nonce and `encrypt`.
    pub msg_signature: String,
}

/// An opened message.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedMessage {
    /// The plaintext between the length and the `AppID`.
    pub plaintext: Vec<u8>,
    /// Which key opened it, counted from 0 for the current one: the answer has to be sealed with the same.
    pub key_index: usize,
}

impl MessageCrypto {
    /// `encoding_aes_keys`: the current `EncodingAESKey` first, then the previous one while a change is under way; none where
    /// only plain mode is used.
    pub fn new(
        app_id: impl Into<String>,
        token: SecretString,
        encoding_aes_keys: &[SecretString],
    ) -> Result<Self, SettingError> {
        Ok(Self {
            app_id: app_id.into(),
            token,
            keys: encoding_aes_keys
                .iter()
                .map(MessageKey::parse)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether a key for secure mode is configured.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether `signature` is the one over token, timestamp and nonce.
    pub fn verify(&self, timestamp: &str, nonce: &str, signature: &str) -> bool {
        self.matches(&[timestamp, nonce], signature)
    }

    /// Checks `msg_signature`, decrypts with each key until one works, and checks the `AppID` inside.
    pub fn open(
        &self,
        timestamp: &str,
        nonce: &str,
        msg_signature: &str,
        encrypt: &str,
    ) -> Result<OpenedMessage, PushRefusal> {
        if !self.matches(&[timestamp, nonce, encrypt], msg_signature) {
            return Err(PushRefusal::Signature);
        }
        let ciphertext = crypto::base64_decode(encrypt).ok_or(PushRefusal::Decrypt)?;
        for (key_index, key) in self.keys.iter().enumerate() {
            if let Some((plaintext, app_id)) = key.open(ciphertext.clone()) {
                if app_id != self.app_id.as_bytes() {
                    return Err(PushRefusal::OtherApp);
                }
                return Ok(OpenedMessage {
                    plaintext,
                    key_index,
                });
            }
        }
        Err(PushRefusal::Decrypt)
    }

    /// Seals an answer with the key that opened the message. `random` has to be unpredictable and fresh.
    /// `None` if there is no key with that index.
    pub fn seal(
        &self,
        key_index: usize,
        random: [u8; RANDOM_BYTES],
        (timestamp, nonce): (&str, &str),
        plaintext: &[u8],
    ) -> Option<SealedMessage> {
        let key = self.keys.get(key_index)?;
        let encrypt = key.seal(random, plaintext, self.app_id.as_bytes())?;
        let msg_signature = self.sign(&[timestamp, nonce, &encrypt]);
        Some(SealedMessage {
            encrypt,
            msg_signature,
        })
    }

    fn matches(&self, parts: &[&str], signature: &str) -> bool {
        crypto::equal_in_constant_time(self.sign(parts).as_bytes(), signature.as_bytes())
    }

    /// `lowercase_hex(SHA1(concat(sort(token, parts…))))`, sorted by bytes.
    fn sign(&self, parts: &[&str]) -> String {
        let mut sorted: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        sorted.push(self.token.expose_secret().as_bytes());
        sorted.sort_unstable();
        crypto::sha1_hex(&sorted)
    }
}

impl fmt::Debug for MessageCrypto {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MessageCrypto")
            .field("app_id", &self.app_id)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenedMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenedMessage")
            .field("plaintext_bytes", &self.plaintext.len())
            .field("key_index", &self.key_index)
            .finish()
    }
}

/// The 32 bytes an `EncodingAESKey` stands for.
struct MessageKey(Zeroizing<[u8; 32]>);

impl MessageKey {
    fn parse(encoded: &SecretString) -> Result<Self, SettingError> {
        // 43 characters hold 258 bits: WeChat's generator leaves the two last ones as they fall.
        const ENGINE: GeneralPurpose = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new()
                .with_decode_allow_trailing_bits(true)
                .with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let text = encoded.expose_secret();
        ENGINE
            .decode(text)
            .ok()
            .filter(|_| text.len() == 43)
            .and_then(|key| key.try_into().ok())
            .map(|key: [u8; 32]| Self(Zeroizing::new(key)))
            .ok_or_else(|| SettingError {
                setting: "EncodingAESKey",
                expected: "43 characters of A-Z, a-z, 0-9 from the account's server settings",
                found: format!(
                    "{} characters that are not such a key",
                    text.chars().count()
                ),
            })
    }

    fn iv(&self) -> [u8; AES_BLOCK_BYTES] {
        std::array::from_fn(|index| self.0[index])
    }

    /// Splits `random(16) || length(4, big-endian) || message || AppID`.
    fn open(&self, ciphertext: Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
        let padded = crypto::cbc_decrypt(&AES_256, self.0.as_slice(), self.iv(), ciphertext)?;
        let content = crypto::unpad(padded, usize::from(PADDING_BLOCK_BYTES))?;
        let (length, rest) = content
            .get(RANDOM_BYTES..)?
            .split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (message, app_id) = rest.split_at_checked(length)?;
        Some((message.to_vec(), app_id.to_vec()))
    }

    fn seal(&self, random: [u8; RANDOM_BYTES], message: &[u8], app_id: &[u8]) -> Option<String> {
        let length = u32::try_from(message.len()).ok()?;
        let content = [&random, &length.to_be_bytes()[..], message, app_id].concat();
        let padded = crypto::pad(content, PADDING_BLOCK_BYTES);
        crypto::cbc_encrypt(&AES_256, self.0.as_slice(), self.iv(), padded)
            .map(|ciphertext| crypto::base64_encode(&ciphertext))
    }
}
