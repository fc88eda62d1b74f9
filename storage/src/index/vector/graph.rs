//! The proximity graph for broad queries: usearch's HNSW (Malkov and Yashunin) over references to rows.
//!
//! The graph stores no vectors. What it takes for an 8-byte vector is a *reference*: the number of a slot, or the
//! address of a query. Its metric looks the rows up in the segments, which hold them anyway. That makes the graph six
//! times smaller than one with its own halves, on disk and while it is built, for twice the CPU time.
//!
//! Invariants: a published graph never changes, so searching it needs no lock and no insertion can strand a node while
//! it is read; there is one inserter (usearch strands nodes when `add` runs concurrently); capacity is reserved before
//! the first insertion (beyond it `add` fails); a serialised graph is only handed to usearch after its checksum was
//! verified, because usearch follows the links it finds.
//!
//! Not here: removal. A removed row stays as a stepping stone and is left out by the search's filter; a graph with too
//! many of them is built anew (see `maintain`).

use std::sync::Arc;

use usearch::{Index, IndexOptions, MetricKind, ScalarKind, VectorType};

use super::super::Slot;
use super::super::bitmap::Bitmap;
use super::column::FileBytes;
use super::error::VectorError;
use super::kernel::{dot, dot_rows};
use super::segment::{Segment, locate};

/// Searches that may run at once; usearch refuses more, and the sign-bit scan serves them.
const GRAPH_READERS: usize = 64;

/// Bytes of a reference.
const REFERENCE_BYTES: usize = 8;

/// Marks the address of a query. User-space addresses are below 2^63 on every supported machine.
const QUERY_MARK: u64 = 1 << 63;

/// Distance to a row that is not there: beyond every true one (0 to 2), yet finite, since usearch is compiled for finite
/// numbers only.
const ABSENT: f32 = 4.0;

/// How graphs are built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphShape {
    /// Links per node on the upper levels; twice as many on the lowest.
    pub connectivity: u16,
    /// Candidates looked at per insertion.
    pub expansion_add: u16,
    /// Candidates looked at per search.
    pub expansion_search: u16,
}

impl Default for GraphShape {
    fn default() -> Self {
        Self { connectivity: 16, expansion_add: 128, expansion_search: 128 }
    }
}

/// The segments at one moment, by number.
pub(super) type Segments = Vec<Option<Arc<Segment>>>;

fn row(segments: &Segments, slot: Slot) -> Option<&[u16]> {
    let (segment, at) = locate(slot);
    segments.get(segment)?.as_ref()?.get(at)
}

/// A query under way: where its rows are and what they are compared with.
struct Query<'a> {
    segments: &'a Segments,
    unit: &'a [f32],
}

fn reference(value: u64) -> [i8; REFERENCE_BYTES] {
    value.to_le_bytes().map(|byte| byte as i8)
}

/// The distance `1 − cosine` between two references. Rows of stored references come from the query when there is one,
/// else from `build`, the segments a builder holds.
///
/// # Safety
/// Both pointers lead to [`REFERENCE_BYTES`] readable bytes, and a reference with [`QUERY_MARK`] is the address of a
/// live [`Query`].
unsafe fn distance(left: *const i8, right: *const i8, build: Option<&Segments>) -> f32 {
    // SAFETY: readable by the caller's promise; no alignment is needed.
    let (left, right) =
        unsafe { (left.cast::<u64>().read_unaligned(), right.cast::<u64>().read_unaligned()) };
    let (query, stored) = if left & QUERY_MARK != 0 { (left, right) } else { (right, left) };
    let similarity = if query & QUERY_MARK != 0 {
        // SAFETY: marked, so the address of a query that outlives this search.
        let query = unsafe { &*((query & !QUERY_MARK) as usize as *const Query<'_>) };
        row(query.segments, stored as Slot).map(|row| dot(row, query.unit))
    } else {
        build.and_then(|segments| {
            Some(dot_rows(row(segments, left as Slot)?, row(segments, right as Slot)?))
        })
    };
    similarity.filter(|value| value.is_finite()).map_or(ABSENT, |value| 1.0 - value)
}

fn refused(error: impl std::fmt::Display) -> VectorError {
    VectorError::Graph { reason: error.to_string() }
}

fn new_index(shape: GraphShape) -> Result<Index, VectorError> {
    Index::new(&IndexOptions {
        dimensions: REFERENCE_BYTES,
        metric: MetricKind::IP,
        quantization: ScalarKind::I8,
        connectivity: usize::from(shape.connectivity),
        expansion_add: usize::from(shape.expansion_add),
        expansion_search: usize::from(shape.expansion_search),
        multi: false,
    })
    .map_err(refused)
}

/// Installs the metric. usearch forgets it whenever it loads or views, so this comes after.
fn set_metric(index: &mut Index, build: Option<Arc<Segments>>) -> Result<(), VectorError> {
    let metric = Box::new(move |left, right| {
        // SAFETY: usearch passes the references it was given by `step` and `search` below, and a query outlives the
        // search that passes its address.
        unsafe { distance(left, right, build.as_deref()) }
    });
    <i8 as VectorType>::change_metric(index, metric).map_err(refused)
}

/// A finished graph and the slots in it.
pub(super) struct Graph {
    // Dropped before the bytes it points into.
    index: Index,
    bytes: FileBytes,
    serialised: std::ops::Range<usize>,
    members: Bitmap,
}

impl Graph {
    /// The graph serialised at `range` of `bytes`, used in place.
    ///
    /// # Safety
    /// Those bytes are what [`GraphBuilder::finish`] gave (their checksum was verified).
    pub(super) unsafe fn view(
        shape: GraphShape,
        members: Bitmap,
        bytes: &FileBytes,
        range: std::ops::Range<usize>,
    ) -> Result<Self, VectorError> {
        let serialised = bytes.get(range.clone()).ok_or_else(|| refused("outside its file"))?;
        let mut index = new_index(shape)?;
        index.reserve_capacity_and_threads(0, GRAPH_READERS).map_err(refused)?;
        // SAFETY: the bytes stay in place as long as `bytes` lives, which is longer than the index does.
        unsafe { index.view_from_buffer(serialised) }.map_err(refused)?;
        if index.size() != members.count() as usize || index.dimensions() != REFERENCE_BYTES {
            return Err(refused("its size is not that of its members"));
        }
        set_metric(&mut index, None)?;
        Ok(Self { index, bytes: Arc::clone(bytes), serialised: range, members })
    }

    /// The serialised graph: the base of a larger one.
    pub(super) fn serialised(&self) -> &[u8] {
        &self.bytes[self.serialised.clone()]
    }

    /// The slots in the graph, removed ones included.
    pub(super) fn members(&self) -> &Bitmap {
        &self.members
    }

    /// The nearest `count` slots that pass the filter, as far as the graph finds them, in no promised order.
    pub(super) fn search(
        &self,
        segments: &Segments,
        unit: &[f32],
        count: usize,
        filter: impl Fn(Slot) -> bool,
    ) -> Result<Vec<Slot>, VectorError> {
        let query = Query { segments, unit };
        let address = std::ptr::from_ref(&query) as usize as u64;
        let found = self
            .index
            .filtered_search(&reference(address | QUERY_MARK), count, |key| filter(key as Slot))
            .map_err(refused)?;
        Ok(found.keys.into_iter().map(|key| key as Slot).collect())
    }
}

/// A graph that grows: the other half of the double buffer.
pub(super) struct GraphBuilder {
    index: Index,
    members: Bitmap,
    todo: Vec<Slot>,
    done: usize,
}

impl GraphBuilder {
    /// Starts a graph of `add`, on top of `base` (members and serialised graph) if given. `segments` hold every row.
    ///
    /// # Safety
    /// The bytes of `base` are what [`GraphBuilder::finish`] gave.
    pub(super) unsafe fn start(
        shape: GraphShape,
        segments: Arc<Segments>,
        base: Option<(Bitmap, &[u8])>,
        add: Vec<Slot>,
    ) -> Result<Self, VectorError> {
        let mut index = new_index(shape)?;
        let members = match base {
            Some((members, serialised)) => {
                index.load_from_buffer(serialised).map_err(refused)?;
                members
            }
            None => Bitmap::new(0),
        };
        index
            .reserve_capacity_and_threads(members.count() as usize + add.len(), 1)
            .map_err(refused)?;
        set_metric(&mut index, Some(segments))?;
        Ok(Self { index, members, todo: add, done: 0 })
    }

    /// Inserts up to `count` slots; how many it did.
    pub(super) fn step(&mut self, count: usize) -> Result<usize, VectorError> {
        let batch: Vec<Slot> = self.todo.iter().skip(self.done).take(count).copied().collect();
        for slot in &batch {
            self.index.add(u64::from(*slot), &reference(u64::from(*slot))).map_err(refused)?;
            self.members.insert(*slot);
            self.done += 1;
        }
        Ok(batch.len())
    }

    /// Slots still to insert.
    pub(super) fn left(&self) -> usize {
        self.todo.len() - self.done
    }

    /// The members and the serialised graph.
    pub(super) fn finish(self) -> Result<(Bitmap, Vec<u8>), VectorError> {
        let mut bytes = vec![0; self.index.serialized_length()];
        self.index.save_to_buffer(&mut bytes).map_err(refused)?;
        Ok((self.members, bytes))
    }
}
