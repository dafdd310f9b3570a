//! The entries of an account that are not in a whole block yet: where they are, and the beginnings of their request keys.

use crate::{Error, Result};

/// Entries in a block.
pub(crate) const BLOCK_ENTRIES: usize = 32;
/// The same, to number blocks with.
pub(crate) const BLOCK_ENTRIES_I64: i64 = 32;
/// Bytes an entry takes in a tail: its position and the beginning of its request key, zeros where there is none.
pub(crate) const TAIL_ITEM_BYTES: usize = 16;
const POSITION_BYTES: usize = 8;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = BLOCK_ENTRIES * POSITION_BYTES;

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

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds an entry. Returns the positions of a whole block once there are so many; the tail is empty then.
    pub(crate) fn push(
        &mut self,
        position: i64,
        request_key: Option<&[u8; 16]>,
    ) -> Option<Vec<i64>> {
        self.0.extend_from_slice(&position.to_be_bytes());
        let beginning = request_key.and_then(|key| key.first_chunk::<POSITION_BYTES>());
        self.0
            .extend_from_slice(beginning.unwrap_or(&[0; POSITION_BYTES]));
        if self.0.len() < BLOCK_ENTRIES * TAIL_ITEM_BYTES {
            return None;
        }
        let positions = self.positions().collect();
        self.0.clear();
        Some(positions)
    }

    /// The positions, of the oldest entry first.
    pub(crate) fn positions(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.0.chunks_exact(TAIL_ITEM_BYTES).filter_map(position)
    }

    /// Where an entry with this request key may be.
    pub(crate) fn find(&self, request_key: &[u8; 16]) -> impl Iterator<Item = i64> {
        let items = self.0.chunks_exact(TAIL_ITEM_BYTES);
        items
            .filter(|item| item[POSITION_BYTES..] == request_key[..POSITION_BYTES])
            .filter_map(position)
    }
}

/// The column `entry_blocks.positions`.
pub(crate) fn block_bytes(positions: &[i64]) -> Vec<u8> {
    positions
        .iter()
        .flat_map(|position| position.to_be_bytes())
        .collect()
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
