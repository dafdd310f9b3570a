//! The primitives of the protocols, on aws-lc: nothing here knows what a message means.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

pub(crate) const AES_BLOCK_BYTES: usize = 16;

/// Lower-case hex of the SHA-1 over the parts one after another. SHA-1 is what the protocols prescribe.
pub(crate) fn sha1_hex(parts: &[&[u8]]) -> String {
    digest_hex(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts)
}

/// Lower-case hex of the SHA-256 over the parts one after another.
pub(crate) fn sha256_hex(parts: &[&[u8]]) -> String {
    digest_hex(&digest::SHA256, parts)
}

fn digest_hex(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    hex(context.finish().as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .map(|nibble| DIGITS[usize::from(nibble)])
        .collect()
}

pub(crate) fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// AES-CBC without padding. `None` unless the data is a non-empty multiple of the block.
pub(crate) fn cbc_decrypt(
    algorithm: &'static Algorithm,
    key: &[u8],
    iv: [u8; AES_BLOCK_BYTES],
    mut data: Vec<u8>,
) -> Option<Vec<u8>> {
    if data.is_empty() || !data.len().is_multiple_of(AES_BLOCK_BYTES) {
        return None;
    }
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let length = DecryptingKey::cbc(key)
        .ok()?
        .decrypt(&mut data, context)
        .ok()?
        .len();
    data.truncate(length);
    Some(data)
}

/// AES-CBC without padding. `None` unless the data is a non-empty multiple of the block.
pub(crate) fn cbc_encrypt(
    algorithm: &'static Algorithm,
    key: &[u8],
    iv: [u8; AES_BLOCK_BYTES],
    mut data: Vec<u8>,
) -> Option<Vec<u8>> {
    if data.is_empty() || !data.len().is_multiple_of(AES_BLOCK_BYTES) {
        return None;
    }
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    EncryptingKey::cbc(key)
        .ok()?
        .less_safe_encrypt(&mut data, context)
        .ok()?;
    Some(data)
}

/// Takes PKCS#7 padding off, after looking at every padding byte.
pub(crate) fn unpad(mut data: Vec<u8>, block_bytes: usize) -> Option<Vec<u8>> {
    let padding = *data.last()?;
    let padding_bytes = usize::from(padding);
    if padding_bytes == 0 || padding_bytes > block_bytes || padding_bytes > data.len() {
        return None;
    }
    let message_bytes = data.len() - padding_bytes;
    if data.iter().skip(message_bytes).any(|byte| *byte != padding) {
        return None;
    }
    data.truncate(message_bytes);
    Some(data)
}

/// Appends PKCS#7 padding up to a multiple of `block_bytes` (at most 255).
pub(crate) fn pad(mut data: Vec<u8>, block_bytes: u8) -> Vec<u8> {
    let block = usize::from(block_bytes);
    let padding_bytes = block - data.len() % block;
    let padding = u8::try_from(padding_bytes).expect("the padding is at most the block, a u8");
    data.resize(data.len() + padding_bytes, padding);
    data
}

/// AES-256-GCM with the tag after the ciphertext. `None` when it is not authentic.
pub(crate) fn gcm_open(
    key: &[u8; 32],
    nonce: &[u8],
    associated_data: &[u8],
    mut sealed: Vec<u8>,
) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let length = key
        .open_in_place(nonce, Aad::from(associated_data), &mut sealed)
        .ok()?
        .len();
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_padding_byte_is_checked() {
        assert_eq!(unpad(vec![7, 2, 2], 16), Some(vec![7]));
        assert_eq!(unpad(vec![7, 3, 2, 3], 16), None);
        assert_eq!(unpad(vec![7, 0], 16), None);
        assert_eq!(unpad(vec![17; 32], 16), None);
        assert_eq!(unpad(vec![17; 32], 32), Some(vec![17; 15]));
        assert_eq!(unpad(vec![5, 5], 16), None);
        assert_eq!(unpad(Vec::new(), 16), None);
    }

    #[test]
    fn padding_is_always_added() {
        assert_eq!(pad(vec![1; 32], 32).len(), 64);
        assert_eq!(pad(vec![1; 31], 32), [vec![1; 31], vec![1]].concat());
        assert_eq!(unpad(pad(vec![9; 33], 32), 32), Some(vec![9; 33]));
    }
}
