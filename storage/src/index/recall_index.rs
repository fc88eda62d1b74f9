//! The recall index as the store holds it: one writer, any number of readers.
//!
//! INV-SNAPSHOT: a reader never holds a lock while it searches and a writer never waits for one; the two meet in a
//! pointer swap. What a batch wrote is in the snapshot before [`RecallIndex::apply`] returns, so the next search sees
//! it.
//!
//! The store calls `apply` inside its own write section, in commit order, after the commit is durable.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    Slot,
    bitmap::Allowed,
    filter::Filter,
    lexical::search::Scratch,
    snapshot::{Hit, Snapshot},
    text::query::Query,
    writer::{Applied, ApplyError, Change, Writer},
};

/// Dead share of the slots from which a replacement pays, in 1/1000.
const REBUILD_DEAD_PERMILLE: u32 = 300;
/// Indexes smaller than this are never replaced for their dead: there is nothing to win.
const REBUILD_SLOTS_MIN: u32 = 4096;
/// Scratch memories kept for reuse; more concurrent searches than this allocate their own.
const SCRATCH_KEPT: usize = 16;

/// Attributes and postings of all memories, searchable while they are written.
#[derive(Debug)]
pub struct RecallIndex {
    writer: Mutex<Writer>,
    current: ArcSwap<Snapshot>,
    scratch: Mutex<Vec<Scratch>>,
}

impl RecallIndex {
    /// An empty index at position 0. `lineage` names its assignment of slots; take a number never used before with
    /// this store.
    pub fn new(lineage: u64) -> Self {
        Self::from_writer(Writer::new(lineage))
    }

    pub(crate) fn from_writer(writer: Writer) -> Self {
        let current = ArcSwap::from_pointee(writer.snapshot());
        Self { writer: Mutex::new(writer), current, scratch: Mutex::default() }
    }

    /// Applies the changes of one commit and publishes them. `position` is the store's position after the commit. About
    /// 5 µs per memory in batches; up to a thousand at a time stay below 10 ms.
    ///
    /// # Errors
    /// The batch is not newer than the index, or slots ran out; nothing was applied.
    pub fn apply(&self, position: u64, changes: Vec<Change>) -> Result<Applied, ApplyError> {
        let mut writer = self.writer.lock();
        let applied = writer.apply(position, changes)?;
        self.current.store(Arc::new(writer.snapshot()));
        Ok(applied)
    }

    /// Adds rows as they are in the store, without moving the position; for filling an index with rows from before it
    /// was begun. Some hundreds at a time: a slice costs about 10 µs per row.
    ///
    /// # Errors
    /// Slots ran out; nothing was applied.
    pub fn feed(&self, changes: Vec<Change>) -> Result<Applied, ApplyError> {
        let mut writer = self.writer.lock();
        let applied = writer.feed(changes)?;
        self.current.store(Arc::new(writer.snapshot()));
        Ok(applied)
    }

    /// Says that the index shows the store at `position`, or will once it is filled; earlier ones change nothing.
    pub fn advance(&self, position: u64) {
        let mut writer = self.writer.lock();
        writer.advance(position);
        self.current.store(Arc::new(writer.snapshot()));
    }

    /// The newest state. Hold it for the length of one query.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The store's position the index has reached.
    pub fn position(&self) -> u64 {
        self.current.load().position()
    }

    /// The living slot of a row.
    pub fn slot_of(&self, rowid: i64) -> Option<Slot> {
        self.writer.lock().slot_of(rowid)
    }

    /// Gives out no slot below `slot` any more. Call it after opening a stored index, before applying what is missing,
    /// with the end of the slots that anything else kept by slot (vectors) may still know from before a crash: those
    /// were given to other memories then. The skipped slots are dead.
    ///
    /// # Errors
    /// There are not that many slots.
    pub fn skip_to(&self, slot: Slot) -> Result<(), ApplyError> {
        let mut writer = self.writer.lock();
        writer.skip_to(slot)?;
        self.current.store(Arc::new(writer.snapshot()));
        Ok(())
    }

    /// Searches the newest state; see [`Snapshot::search`].
    pub fn search(&self, query: &Query, filter: &Filter, k: usize) -> Vec<Hit> {
        let snapshot = self.snapshot();
        self.with_scratch(|scratch| snapshot.search(query, filter, k, scratch))
    }

    /// Searches a state among slots found before; see [`Snapshot::search_among`].
    pub fn search_among(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        allowed: &Allowed,
        k: usize,
    ) -> Vec<Hit> {
        self.with_scratch(|scratch| snapshot.search_among(query, allowed, k, scratch))
    }

    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let kept = self.scratch.lock().pop();
        let mut scratch = kept.unwrap_or_default();
        let result = work(&mut scratch);
        let mut pool = self.scratch.lock();
        if pool.len() < SCRATCH_KEPT {
            pool.push(scratch);
        }
        result
    }

    /// Whether so many slots are dead that an index without them should replace this one.
    pub fn wants_rebuild(&self) -> bool {
        let now = self.current.load();
        now.slots() >= REBUILD_SLOTS_MIN && now.dead_permille() > REBUILD_DEAD_PERMILLE
    }
}
