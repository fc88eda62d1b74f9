//! One immutable state of the index, and everything that can be asked of it.
//!
//! Readers take a snapshot and keep it for the whole query, so that filter, ranking and row numbers belong together;
//! writers publish a new one with each batch. Nothing here waits or is waited for.
//!
//! Invariants: groups and segments both cover exactly the slots `0..slots`; the snapshot shows precisely the changes up
//! to `position`.

use std::sync::Arc;

use super::{
    Slot,
    attributes::{
        Attributes,
        chunk::{CHUNK_SLOTS, CHUNK_WORDS},
        group::{GROUP_SLOTS, GROUP_WORDS, Group},
    },
    bitmap::{Allowed, Bitmap},
    filter::Filter,
    lexical::{
        explain::{self, TermScore},
        search::{self, Resolved, Scratch, Sight},
        segment::Segment,
    },
    text::query::Query,
};

/// Asking the filter about one slot costs about as much as deciding this many slots column by column (some 100 ns of
/// cache misses against 1 ns); a query with fewer candidates than that asks one by one.
const ASK_COST: u64 = 100;

/// One result of a lexical search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Where the memory is in the index.
    pub slot: Slot,
    /// Its row in SQLite.
    pub rowid: i64,
    /// BM25 score in 1/1000. Results are ordered by the unrounded score, then by slot.
    pub score_milli: u32,
}

/// An immutable state of the index.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) lineage: u64,
    pub(crate) position: u64,
    pub(crate) slots: u32,
    pub(crate) dead: u32,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl Snapshot {
    /// Names this assignment of slots: it changes when slots are given out anew, so that whatever is kept by slot
    /// elsewhere can tell.
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The store's change position this state reflects; 0 = nothing yet.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Slots given out so far, the dead included.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Memories in the index.
    pub fn live(&self) -> u32 {
        self.slots - self.dead
    }

    /// The dead share of all slots in 1/1000.
    pub fn dead_permille(&self) -> u32 {
        (u64::from(self.dead) * 1000 / u64::from(self.slots.max(1))) as u32
    }

    fn group(&self, slot: Slot) -> Option<&Group> {
        self.groups.get((slot / GROUP_SLOTS) as usize).map(Arc::as_ref)
    }

    /// Whether the slot stands for a memory that still exists in this form.
    pub fn is_alive(&self, slot: Slot) -> bool {
        self.group(slot).is_some_and(|group| group.is_alive(slot % GROUP_SLOTS))
    }

    /// The SQLite row of a slot, living or dead.
    pub fn rowid(&self, slot: Slot) -> Option<i64> {
        self.group(slot)?.rowid(slot % GROUP_SLOTS)
    }

    /// The attributes of a slot, living or dead.
    pub fn attributes(&self, slot: Slot) -> Option<Attributes> {
        let (chunk, index) = self.group(slot)?.locate(slot % GROUP_SLOTS)?;
        Some(chunk.attributes(index))
    }

    /// Whether the filter lets the slot be seen.
    pub fn admits(&self, filter: &Filter, slot: Slot) -> bool {
        let local = slot % GROUP_SLOTS;
        self.group(slot).is_some_and(|group| {
            group.is_alive(local)
                && group.locate(local).is_some_and(|(chunk, index)| filter.admits(chunk, index))
        })
    }

    /// All slots the filter lets be seen, and their number.
    pub fn prefilter(&self, filter: &Filter) -> Allowed {
        let mut words = vec![0u64; self.groups.len() * GROUP_WORDS];
        for (group, words) in self.groups.iter().zip(words.chunks_mut(GROUP_WORDS)) {
            let masks = words.chunks_mut(CHUNK_WORDS).zip(group.alive().chunks(CHUNK_WORDS));
            for (chunk, (mask, alive)) in group.chunks().iter().zip(masks) {
                if let (Ok(mask), true) =
                    (<&mut [u64; CHUNK_WORDS]>::try_from(mask), alive.iter().any(|word| *word != 0))
                {
                    mask.copy_from_slice(alive);
                    filter.retain(chunk, mask);
                }
            }
        }
        Allowed::new(Bitmap::from_words(words, self.slots))
    }

    /// The best `k` memories for the query that the filter lets be seen.
    pub fn search(
        &self,
        query: &Query,
        filter: &Filter,
        k: usize,
        scratch: &mut Scratch,
    ) -> Vec<Hit> {
        let resolved = Resolved::new(&self.segments, self.slots, query);
        if resolved.postings().saturating_mul(ASK_COST) < u64::from(self.slots) {
            return self.ranked(&resolved, k, &Inline { snapshot: self, filter }, scratch);
        }
        let allowed = self.prefilter(filter);
        self.ranked(&resolved, k, &Among { allowed: &allowed }, scratch)
    }

    /// The best `k` memories for the query among `allowed`, which must come from this snapshot's
    /// [`Snapshot::prefilter`].
    pub fn search_among(
        &self,
        query: &Query,
        allowed: &Allowed,
        k: usize,
        scratch: &mut Scratch,
    ) -> Vec<Hit> {
        let resolved = Resolved::new(&self.segments, self.slots, query);
        self.ranked(&resolved, k, &Among { allowed }, scratch)
    }

    fn ranked(
        &self,
        resolved: &Resolved<'_>,
        k: usize,
        sight: &impl Sight,
        scratch: &mut Scratch,
    ) -> Vec<Hit> {
        let best = search::search(&self.segments, resolved, k, sight, scratch);
        let hits = best.into_iter().filter_map(|(score, slot)| {
            let rowid = self.rowid(slot)?;
            Some(Hit { slot, rowid, score_milli: explain::milli(score) })
        });
        hits.collect()
    }

    /// What each term of the query adds to the slot's lexical score. Says nothing about visibility: ask for slots that
    /// a search returned.
    pub fn explain(&self, query: &Query, slot: Slot) -> Vec<TermScore> {
        let resolved = Resolved::new(&self.segments, self.slots, query);
        explain::explain(&self.segments, &resolved, slot)
    }

    /// The lexical scores of given slots in 1/1000, in their order, for candidates that other signals found. Says
    /// nothing about visibility either.
    pub fn scores_milli(&self, query: &Query, slots: &[Slot]) -> Vec<u32> {
        let resolved = Resolved::new(&self.segments, self.slots, query);
        let score = |slot: &Slot| explain::score(&self.segments, &resolved, *slot);
        slots.iter().map(|slot| explain::milli(score(slot))).collect()
    }

    /// The living slots.
    pub fn living(&self) -> Bitmap {
        let words = self.groups.iter().flat_map(|group| group.alive().iter().copied());
        Bitmap::from_words(words.collect(), self.slots)
    }

    /// Bytes of attributes and of postings (mapped ones included).
    pub fn bytes(&self) -> (usize, usize) {
        let attributes = self.groups.iter().map(|group| group.heap_bytes()).sum();
        (attributes, self.segments.iter().map(|segment| segment.bytes()).sum())
    }
}

/// Asks the filter slot by slot.
struct Inline<'a> {
    snapshot: &'a Snapshot,
    filter: &'a Filter,
}

impl Sight for Inline<'_> {
    fn sees(&self, slot: Slot) -> bool {
        self.snapshot.admits(self.filter, slot)
    }

    fn sees_any(&self, _first: Slot, _slots: u32) -> bool {
        true
    }
}

/// Asks a set found before.
struct Among<'a> {
    allowed: &'a Allowed,
}

impl Sight for Among<'_> {
    #[inline]
    fn sees(&self, slot: Slot) -> bool {
        self.allowed.contains(slot)
    }

    fn sees_any(&self, first: Slot, slots: u32) -> bool {
        let words = self.allowed.bits().words();
        let range = (first / 64) as usize..((first + slots).div_ceil(64) as usize).min(words.len());
        words.get(range).is_some_and(|words| words.iter().any(|word| *word != 0))
    }
}

const _: () = assert!(CHUNK_SLOTS as usize == CHUNK_WORDS * 64);
