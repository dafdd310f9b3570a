//! The entries of an account that are not in a whole block yet: where they are, and which requests they answer.

use crate::{Error, Result};

/// Entries in a block.
const BLOCK_ENTRIES: usize = 32;
/// The same, to number blocks with.
pub(crate) const BLOCK_ENTRIES_I64: i64 = 32;
/// Bytes an entry takes in a tail: its position and the fingerprint of its request, zeros where there is none.
const TAIL_ITEM_BYTES: usize = 16;
const POSITION_BYTES: usize = 8;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = BLOCK_ENTRIES * POSITION_BYTES;

/// Stands for the key of a request where entries are looked for. It changes with any one byte of the key; two requests may have the
/// same, so the keys in their entries decide.
pub(crate) type Fingerprint = [u8; 8];

/// Both halves of the key in one; never zeros.
pub(crate) fn fingerprint(request_key: &[u8; 16]) -> Fingerprint {
    let folded = std::array::from_fn(|byte| request_key[byte] ^ request_key[byte + 8]);
    match folded {
        [0, 0, 0, 0, 0, 0, 0, 0] => [0, 0, 0, 0, 0, 0, 0, 1],
        folded => folded,
    }
}

/// The column `accounts.tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// # Errors
    /// [`Error::Corrupt`] when it is not as long as `entry_count` demands.
    pub(crate) fn read(bytes: Vec<u8>, entry_count: i64) -> Result<Self> {
        let expected = usize::try_from(entry_count)
            .ok()
            .map(|count| count % BLOCK_ENTRIES * TAIL_ITEM_BYTES);
        if expected == Some(bytes.len()) {
            Ok(Self(bytes))
        } else {
            let problem = format!(
                "a tail of {} bytes after {entry_count} entries",
                bytes.len()
            );
            Err(Error::Corrupt(problem))
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, position: i64, request: Option<Fingerprint>) {
        self.0.extend_from_slice(&position.to_be_bytes());
        self.0.extend_from_slice(&request.unwrap_or_default());
    }

    /// Whether it has the entries of a block.
    pub(super) fn is_whole(&self) -> bool {
        self.0.len() >= BLOCK_ENTRIES * TAIL_ITEM_BYTES
    }

    /// The positions, of the oldest entry first.
    pub(crate) fn positions(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.items().map(|(position, _)| position)
    }

    /// Where the entries are that answer requests.
    pub(super) fn requests(&self) -> impl Iterator<Item = (i64, Fingerprint)> {
        self.items()
            .filter(|(_, fingerprint)| *fingerprint != Fingerprint::default())
    }

    /// Positions, and fingerprints of requests, zeros where there is none; of the oldest entry first.
    pub(crate) fn items(&self) -> impl DoubleEndedIterator<Item = (i64, Fingerprint)> {
        self.0.chunks_exact(TAIL_ITEM_BYTES).filter_map(|item| {
            let (at, request) = item.split_at(POSITION_BYTES);
            Some((position(at)?, *request.first_chunk()?))
        })
    }
}

/// The column `entry_blocks.positions`.
pub(super) fn block_bytes(positions: impl Iterator<Item = i64>) -> Vec<u8> {
    positions.flat_map(i64::to_be_bytes).collect()
}

/// What [`block_bytes`] wrote.
pub(crate) fn block_positions(bytes: &[u8]) -> Vec<i64> {
    bytes
        .chunks_exact(POSITION_BYTES)
        .filter_map(position)
        .collect()
}

fn position(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk().copied().map(i64::from_be_bytes)
}
