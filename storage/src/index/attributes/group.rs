//! The attributes of 65,536 slots and which of them live.
//!
//! Groups are shared between the writer and the snapshots of readers: the writer replaces what it touches (one chunk,
//! or the 8 KB of living bits) and leaves the rest shared.
//!
//! Invariants: chunks are full except the last; a bit of `alive` is set only for a filled slot; `stamp` changes
//! whenever a chunk does, so equal stamps mean equal attributes (living bits are stored apart and always rewritten).

use std::sync::Arc;

use super::{
    Attributes,
    chunk::{CHUNK_SLOTS, Chunk, Field},
};

/// Slots per group; also the width of a lexical segment, whose postings are 16-bit.
pub const GROUP_SLOTS: u32 = 65_536;
/// Words of the living bits of a group.
pub const GROUP_WORDS: usize = (GROUP_SLOTS / u64::BITS) as usize;

/// Columns and living bits of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    chunks: Vec<Arc<Chunk>>,
    alive: Arc<Vec<u64>>,
    stamp: u64,
}

impl Default for Group {
    fn default() -> Self {
        Self { chunks: Vec::new(), alive: Arc::new(vec![0; GROUP_WORDS]), stamp: 0 }
    }
}

impl Group {
    pub(crate) fn from_parts(chunks: Vec<Arc<Chunk>>, alive: Vec<u64>, stamp: u64) -> Option<Self> {
        let (last, full) = chunks.split_last()?;
        let whole = full.iter().all(|chunk| chunk.len() == CHUNK_SLOTS as usize);
        let group = Self { chunks: chunks.clone(), alive: Arc::new(alive), stamp };
        let len = group.len();
        let fits = len <= GROUP_SLOTS && !last.is_empty() && group.alive.len() == GROUP_WORDS;
        let beyond = || (len..GROUP_SLOTS).any(|local| group.is_alive(local));
        (whole && fits && !beyond()).then_some(group)
    }

    /// How many slots are filled, living or dead.
    pub fn len(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) as u32 * CHUNK_SLOTS;
        full + self.chunks.last().map_or(0, |chunk| chunk.len() as u32)
    }

    /// The chunks in slot order.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// The living, bit `i` of word `w` being local slot `64 w + i`.
    pub fn alive(&self) -> &[u64] {
        &self.alive
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether the slot is filled and not dead.
    #[inline]
    pub fn is_alive(&self, local: u32) -> bool {
        self.alive.get((local / 64) as usize).is_some_and(|word| word >> (local % 64) & 1 == 1)
    }

    /// The chunk and the position in it; `None` for a slot that is not filled.
    #[inline]
    pub(crate) fn locate(&self, local: u32) -> Option<(&Chunk, usize)> {
        let chunk = self.chunks.get((local / CHUNK_SLOTS) as usize)?;
        let index = (local % CHUNK_SLOTS) as usize;
        (index < chunk.len()).then_some((chunk, index))
    }

    /// The row of a slot.
    pub fn rowid(&self, local: u32) -> Option<i64> {
        self.locate(local).map(|(chunk, index)| chunk.get(Field::Rowid, index))
    }

    /// Fills the next slot. The caller opens a new group when this one is full.
    pub(crate) fn push(&mut self, rowid: i64, attributes: &Attributes, stamp: u64) {
        let local = self.len();
        if local.is_multiple_of(CHUNK_SLOTS) {
            self.chunks.push(Arc::new(Chunk::default()));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            Arc::make_mut(chunk).push(rowid, attributes);
        }
        Arc::make_mut(&mut self.alive)[(local / 64) as usize] |= 1 << (local % 64);
        self.stamp = stamp;
    }

    /// Replaces the attributes of a filled slot.
    pub(crate) fn set(&mut self, local: u32, attributes: &Attributes, stamp: u64) {
        if let Some(chunk) = self.chunks.get_mut((local / CHUNK_SLOTS) as usize) {
            Arc::make_mut(chunk).set((local % CHUNK_SLOTS) as usize, attributes);
            self.stamp = stamp;
        }
    }

    /// Marks a slot dead; whether it was alive.
    pub(crate) fn kill(&mut self, local: u32) -> bool {
        if !self.is_alive(local) {
            return false;
        }
        Arc::make_mut(&mut self.alive)[(local / 64) as usize] &= !(1 << (local % 64));
        true
    }

    /// Bytes of heap the group takes.
    pub fn heap_bytes(&self) -> usize {
        GROUP_WORDS * 8 + self.chunks.iter().map(|chunk| chunk.heap_bytes()).sum::<usize>()
    }
}
