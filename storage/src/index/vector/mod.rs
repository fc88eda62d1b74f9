//! The embedded vector index: nearest rows by cosine among those a query may see.
//!
//! Derived from SQLite, never the truth: whatever is lost or found damaged here is asked for again
//! ([`VectorIndex::missing`]). Three layers, all behind [`VectorIndex::search`]:
//!
//! 1. `segment`: a matrix of halves by slot, in segments of 16,384; sealed segments are mapped from disk.
//! 2. `signs`: one bit per dimension around the collection's mean, 48 bytes at 384 dimensions. A scan of them picks a
//!    shortlist that is then scored exactly.
//! 3. `graph`: usearch's HNSW over references to the rows, for broad queries on large collections. Rows that are not in
//!    it yet (the tail) are scanned.
//!
//! Who may do what:
//! * Readers take a snapshot and no lock. They see every row whose [`VectorIndex::add`] returned before the search began.
//! * `add` and `remove` take the writer lock for microseconds (milliseconds when a sealed segment must be copied).
//! * [`VectorIndex::maintain`] does the rest in steps: seal, verify, re-centre, build the graph. It works beside the
//!   readers and the writer and takes the writer lock only to swap in what is ready. The index has no thread of its
//!   own: who owns it drives `maintain`, from a worker or, in the simulation, inline.
//!
//! Invariants:
//! * INV-VECTOR-ALLOWED: no slot outside the allowed set, and no removed slot, is ever returned.
//! * INV-VECTOR-PUBLISH: see `column`.
//! * One space per index; every stored vector has length one.
//! * The same calls in the same order give the same answers, graph included: one inserter, seeded levels, ties by slot.
//!
//! What the caller keeps: a slot is added only after the row behind it is durable, and never gets another vector (an
//! edit is a new slot). `lineage` changes when slots are given out anew, so that files of an older assignment are known
//! for what they are.
//!
//! Not here: SQL, embedding, filters, fusion, threads, clocks.

mod column;
mod error;
mod file;
mod graph;
mod kernel;
mod maintain;
mod persist;
mod search;
mod segment;
mod signs;
mod space;
#[cfg(test)]
mod tests;
mod top;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::disk::DiskRef;

use self::file::Folder;
use self::maintain::Upkeep;
use self::search::Snapshot;
use self::segment::{Segment, Shape, locate};
use self::signs::Centre;
use self::space::{to_halves, to_singles};
use super::Slot;
use super::bitmap::{Allowed, Bitmap};

pub use self::error::{FileFault, Finding, VectorError};
pub use self::graph::GraphShape;
pub use self::maintain::GRAPH_MIN_ROWS;
pub use self::search::{
    Answer, EXACT_MAX_ROWS, Plan, PlanKind, RESCORE_ROWS, RESCORE_ROWS_PER_RESULT, SearchMode,
};
pub use self::space::{MAX_DIMENSION, Space};
pub use self::top::ScoredSlot;

/// The largest slot an index takes. Bounds what a wild slot can make it allocate (32 MiB of bit set).
pub const MAX_SLOT: Slot = (1 << 28) - 1;

/// What an owner decides about an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorConfig {
    /// Names the assignment of slots; files of another one are dropped.
    pub lineage: u64,
    /// Rows in sealed segments from which on a graph is built; `u32::MAX` for never.
    pub graph_min_rows: u32,
    /// How the graph is built and searched.
    pub graph: GraphShape,
}

impl Default for VectorConfig {
    fn default() -> Self {
        Self { lineage: 0, graph_min_rows: GRAPH_MIN_ROWS, graph: GraphShape::default() }
    }
}

/// Numbers about an index, for metrics and `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorStats {
    /// Rows that can be found.
    pub live: u32,
    /// Rows that hold a vector, removed or not.
    pub written: u32,
    /// Segments, and how many of them are in private memory.
    pub segments: u32,
    /// Segments that take rows and so live in private memory.
    pub writable_segments: u32,
    /// Rows in the graph, removed or not.
    pub graph_rows: u32,
    /// Size of the serialised graph in bytes.
    pub graph_bytes: u64,
}

/// The vector index of one space.
pub struct VectorIndex {
    space: Space,
    shape: Shape,
    config: VectorConfig,
    snapshot: ArcSwap<Snapshot>,
    /// Held while anything is published. Guards the one-writer rule of the segments.
    writer: Mutex<()>,
    upkeep: Mutex<Upkeep>,
    folder: Option<Folder>,
    findings: Mutex<Vec<Finding>>,
}

impl VectorIndex {
    /// An empty index in memory alone.
    pub fn new(space: Space, config: VectorConfig) -> Result<Self, VectorError> {
        space.check()?;
        Ok(Self::assemble(space, config, None))
    }

    /// The index kept in the folder `dir`, created if missing. Opens what is intact and fits; the rest is dropped and
    /// named by [`VectorIndex::take_findings`].
    pub fn open(
        space: Space,
        config: VectorConfig,
        disk: DiskRef,
        dir: PathBuf,
    ) -> Result<Self, VectorError> {
        space.check()?;
        let folder = Folder::create(disk, dir, space.digest(), config.lineage)?;
        let index = Self::assemble(space, config, Some(folder));
        index.load()?;
        Ok(index)
    }

    fn assemble(space: Space, config: VectorConfig, folder: Option<Folder>) -> Self {
        let snapshot = Snapshot {
            segments: Vec::new(),
            centre: Arc::new(Centre::origin(space.dimension)),
            graph: None,
        };
        Self {
            shape: Shape::of(space.dimension),
            space,
            config,
            snapshot: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(()),
            upkeep: Mutex::default(),
            folder,
            findings: Mutex::default(),
        }
    }

    /// The space of the index.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Refuses a vector's space if it is not that of the index.
    pub fn check_space(&self, space: &Space) -> Result<(), VectorError> {
        if *space == self.space {
            Ok(())
        } else {
            Err(VectorError::SpaceMismatch { expected: self.space.clone(), got: space.clone() })
        }
    }

    /// Stores the vector of a slot; the very next search finds it. False if the slot already has one, which stays.
    pub fn add(&self, slot: Slot, vector: &[f32]) -> Result<bool, VectorError> {
        if slot > MAX_SLOT {
            return Err(VectorError::SlotRange { slot, max: MAX_SLOT });
        }
        let mut unit = self.space.unit(vector)?;
        let row = to_halves(&unit);
        to_singles(&row, &mut unit);
        let mut code = vec![0; self.shape.code];
        let (number, at) = locate(slot);

        let _one_writer = self.writer.lock();
        let segment = self.writable_segment(number);
        if segment.written().contains(at) {
            return Ok(false);
        }
        self.snapshot.load().centre.encode(&unit, &mut code);
        // SAFETY: the writer lock is held, the segment is writable, the row is not written.
        unsafe { segment.push(at, &row, &code) };
        Ok(true)
    }

    /// The segment of that number, ready for rows and published. The caller holds the writer lock.
    fn writable_segment(&self, number: usize) -> Arc<Segment> {
        let snapshot = self.snapshot.load_full();
        let segment = match snapshot.segments.get(number) {
            Some(Some(segment)) if segment.is_writable() => return Arc::clone(segment),
            Some(Some(sealed)) => Arc::new(sealed.copied()),
            _ => Arc::new(Segment::empty(self.shape)),
        };
        let mut segments = snapshot.segments.clone();
        if segments.len() <= number {
            segments.resize(number + 1, None);
        }
        segments[number] = Some(Arc::clone(&segment));
        self.publish(segments, &snapshot.centre, snapshot.graph.clone());
        segment
    }

    /// Makes a snapshot the current one. The caller holds the writer lock.
    fn publish(
        &self,
        segments: graph::Segments,
        centre: &Arc<Centre>,
        graph: Option<Arc<graph::Graph>>,
    ) {
        self.snapshot.store(Arc::new(Snapshot { segments, centre: Arc::clone(centre), graph }));
    }

    /// Takes a slot out of every later search. False if it was not there.
    pub fn remove(&self, slot: Slot) -> bool {
        let (number, at) = locate(slot);
        let _one_writer = self.writer.lock();
        let snapshot = self.snapshot.load();
        matches!(snapshot.segments.get(number), Some(Some(segment)) if segment.live().remove(at))
    }

    /// Takes out every slot that is not in `live`; how many that were. Called after open: removals are not kept in the
    /// files, the owner knows them anyway.
    pub fn retain(&self, live: &Bitmap) -> u32 {
        let _one_writer = self.writer.lock();
        let snapshot = self.snapshot.load();
        let mut removed = 0;
        for (segment, first) in numbered(&snapshot.segments) {
            for at in segment.written_rows().filter(|at| !live.contains(first + at)) {
                removed += u32::from(segment.live().remove(at));
            }
        }
        removed
    }

    /// One more than the highest slot that ever had a vector here, removed or not; 0 when none had.
    pub fn end(&self) -> Slot {
        let snapshot = self.snapshot.load();
        let ends = numbered(&snapshot.segments)
            .filter_map(|(segment, first)| segment.written_rows().last().map(|at| first + at + 1));
        ends.last().unwrap_or(0)
    }

    /// The slots of `live` that have no vector here: to be added, after open and after a damaged file was found.
    pub fn missing(&self, live: &Bitmap) -> Bitmap {
        let snapshot = self.snapshot.load();
        let mut words = live.words().to_vec();
        for (segment, first) in numbered(&snapshot.segments) {
            let start = (first / 64) as usize;
            for (word, written) in words.iter_mut().skip(start).zip(segment.written().words()) {
                *word &= !written;
            }
        }
        Bitmap::from_words(words, live.len())
    }

    /// The `k` allowed rows nearest to the vector, best first, equal scores by slot; and how they were found.
    pub fn search(
        &self,
        vector: &[f32],
        k: u32,
        allowed: &Allowed,
        mode: SearchMode,
    ) -> Result<Answer, VectorError> {
        let unit = self.space.unit(vector)?;
        let snapshot = self.snapshot.load_full();
        Ok(snapshot.search(&unit, self.space.dimension, k, allowed, mode))
    }

    /// The exact scores of given slots, in their order; `None` where there is no vector. For fusing with other rankings.
    pub fn scores(&self, vector: &[f32], slots: &[Slot]) -> Result<Vec<Option<f32>>, VectorError> {
        let unit = self.space.unit(vector)?;
        let snapshot = self.snapshot.load_full();
        let score = |slot: &Slot| {
            let (number, at) = locate(*slot);
            let segment = snapshot.segments.get(number)?.as_ref()?;
            let row = segment.live().contains(at).then(|| segment.get(at)).flatten()?;
            Some(kernel::dot(row, &unit)).filter(|score| score.is_finite())
        };
        Ok(slots.iter().map(score).collect())
    }

    /// Files that were dropped since the last call. Their rows are among [`VectorIndex::missing`] now.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.findings.lock())
    }

    /// Numbers about the index.
    pub fn stats(&self) -> VectorStats {
        let snapshot = self.snapshot.load();
        let mut stats = VectorStats::default();
        for segment in snapshot.segments.iter().flatten() {
            stats.live += segment.live().count();
            stats.written += segment.written().count();
            stats.segments += 1;
            stats.writable_segments += u32::from(segment.is_writable());
        }
        if let Some(graph) = &snapshot.graph {
            stats.graph_rows = graph.members().count();
            stats.graph_bytes = graph.serialised().len() as u64;
        }
        stats
    }
}

/// The segments that are there, each with its first slot.
fn numbered(segments: &graph::Segments) -> impl Iterator<Item = (&Arc<Segment>, Slot)> {
    let firsts = (0..).map(|number: u32| number * segment::SEGMENT_ROWS);
    segments.iter().zip(firsts).filter_map(|(segment, first)| Some((segment.as_ref()?, first)))
}
