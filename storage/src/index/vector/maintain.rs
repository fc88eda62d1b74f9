//! Upkeep in steps: open and verify files, seal segments, move the centre, grow the graph.
//!
//! Each step prepares its result beside the readers and the writer, then swaps it in under the writer lock, which it
//! holds for a few pointer copies (at most the re-coding of one segment, about 4 ms). A result whose ground moved
//! meanwhile (rows were added to the segment it is about) is dropped or made again, never published.
//!
//! Steps decide by counts alone, in a fixed order, so the same calls lead to the same state on every run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use runtime::disk::Mapping;

use super::super::Slot;
use super::super::bitmap::Bitmap;
use super::error::{FileFault, Finding, VectorError};
use super::file::{Folder, Framed};
use super::graph::{Graph, GraphBuilder, Segments};
use super::persist::rows_name;
use super::search::Snapshot;
use super::segment::{SEGMENT_ROWS, Segment, ones};
use super::signs::Centre;
use super::space::to_singles;
use super::{MAX_SLOT, VectorIndex, numbered};

/// Rows in sealed segments from which on a graph is built. At a million the sieve answers in 6 ms of CPU with a better
/// recall (0.998 against 0.986); building a graph there would cost some ten CPU minutes to save 3 ms.
pub const GRAPH_MIN_ROWS: u32 = 2_000_000;

/// Share of the graph's rows by which the sealed rows must have grown before it is extended: one in four. Until then
/// the tail costs at most a quarter of the scan that the graph saves.
const GRAPH_GROWTH: u32 = 4;

/// Rows below which a mean is not worth taking: the exact scan serves such collections.
const CENTRE_MIN_ROWS: u32 = 4_096;

/// The mean is taken again when the collection has grown by this factor.
const CENTRE_GROWTH: u32 = 4;

/// Rows the mean is taken from, at most, spread evenly.
const CENTRE_SAMPLE_ROWS: u32 = 65_536;

/// What a step over a whole segment or file costs, in graph insertions.
const SEGMENT_COST: u32 = 64;

/// What maintenance knows and has under way. Only one maintainer at a time holds it.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Opened rows files whose matrix is still to be verified.
    unverified: VecDeque<(u32, Framed)>,
    /// The graph file found at open, until it is verified and used, or dropped.
    graph_file: Option<Framed>,
    /// Rows in each segment's file.
    saved_rows: BTreeMap<u32, u32>,
    /// Rows in each segment in memory when it was last looked at.
    seen_rows: BTreeMap<u32, u32>,
    recentre: Option<Recentre>,
    build: Option<GraphBuilder>,
    /// The graph library failed: no further graph until the index is opened again.
    graph_refused: bool,
}

/// New codes on their way: per segment, the one they were made from and the one that has them.
struct Recentre {
    centre: Arc<Centre>,
    recoded: BTreeMap<Slot, (Arc<Segment>, Segment)>,
}

impl Recentre {
    /// Whether the segment that begins at `first` has its new codes.
    fn covers(&self, first: Slot, current: &Arc<Segment>) -> bool {
        self.recoded
            .get(&first)
            .is_some_and(|(from, new)| Arc::ptr_eq(from, current) && new.same_rows(current))
    }
}

fn number_of(first: Slot) -> u32 {
    first / SEGMENT_ROWS
}

impl VectorIndex {
    /// Does up to `budget` of the work that is due; one unit is a graph insertion, about 0.4 ms, and a step over a
    /// segment counts as 64. Returns whether there is more. Blocks nobody for long; call it from one place.
    ///
    /// On an error the index serves on from what it has; the step is tried again by a later call.
    pub fn maintain(&self, budget: u32) -> Result<bool, VectorError> {
        let mut upkeep = self.upkeep.lock();
        let mut left = budget;
        while left > 0 {
            match self.step(&mut upkeep, left)? {
                Some(cost) => left = left.saturating_sub(cost.max(1)),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The first step that is due, and what it cost.
    fn step(&self, upkeep: &mut Upkeep, left: u32) -> Result<Option<u32>, VectorError> {
        if self.adopt_graph(upkeep)?
            || self.verify_segment(upkeep)?
            || self.move_centre(upkeep)?
            || self.seal_segment(upkeep)?
        {
            return Ok(Some(SEGMENT_COST));
        }
        self.grow_graph(upkeep, left)
    }

    /// Opens what the folder holds.
    pub(super) fn load(&self) -> Result<(), VectorError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut findings = Vec::new();
        let mut upkeep = self.upkeep.lock();
        let centre = folder.read_centre(self.space.dimension).unwrap_or_else(|found| {
            findings.push(found);
            None
        });
        let centre = Arc::new(centre.unwrap_or_else(|| Centre::origin(self.space.dimension)));
        let mut segments = Segments::new();
        for number in folder.segment_numbers()? {
            if number > MAX_SLOT / SEGMENT_ROWS {
                findings.push(Finding { file: rows_name(number), fault: FileFault::Foreign });
                continue;
            }
            match folder.read_segment(number, self.shape, &centre, &mut findings) {
                Ok((segment, file)) => {
                    upkeep.saved_rows.insert(number, file.label.rows);
                    upkeep.unverified.push_back((number, file));
                    segments.resize(number as usize + 1, None);
                    segments[number as usize] = Some(Arc::new(segment));
                }
                Err(found) => findings.push(found),
            }
        }
        upkeep.graph_file = folder.open_graph().unwrap_or_else(|found| {
            findings.push(found);
            None
        });
        for found in &findings {
            folder.remove_found(found)?;
        }
        self.findings.lock().extend(findings);
        let _one_writer = self.writer.lock();
        self.publish(segments, &centre, None);
        Ok(())
    }

    /// Verifies the graph file found at open and publishes the graph, or drops it.
    fn adopt_graph(&self, upkeep: &mut Upkeep) -> Result<bool, VectorError> {
        let (Some(file), Some(folder)) = (upkeep.graph_file.take(), &self.folder) else {
            return Ok(false);
        };
        match self.graph_of(&file) {
            Ok(graph) => self.publish_graph(graph),
            Err(found) => {
                folder.remove_graph()?;
                self.findings.lock().push(found);
            }
        }
        Ok(true)
    }

    /// The graph in a file, if it is intact and its members have their rows.
    fn graph_of(&self, file: &Framed) -> Result<Graph, Finding> {
        let (members, range) = Folder::read_graph(file, self.config.graph)?;
        let present = members.count() - self.missing(&members).count();
        let unfitting = || Finding { file: "graph.vec".to_owned(), fault: FileFault::Unfitting };
        // Segments whose rows were all removed are dropped; more than that is another index's graph.
        if u64::from(present) * 2 < u64::from(members.count()) {
            return Err(unfitting());
        }
        // SAFETY: the checksums of the file were verified by `read_graph`.
        unsafe { Graph::view(self.config.graph, members, &file.bytes, range) }
            .map_err(|_| unfitting())
    }

    fn publish_graph(&self, graph: Graph) {
        let _one_writer = self.writer.lock();
        let snapshot = self.snapshot.load_full();
        self.publish(snapshot.segments.clone(), &snapshot.centre, Some(Arc::new(graph)));
    }

    /// Verifies one matrix that was opened; a damaged one is dropped with its segment.
    fn verify_segment(&self, upkeep: &mut Upkeep) -> Result<bool, VectorError> {
        let Some((number, file)) = upkeep.unverified.pop_front() else { return Ok(false) };
        if !file.verify(1) {
            let finding = Finding { file: rows_name(number), fault: FileFault::Checksum };
            self.drop_segment(upkeep, number)?;
            self.findings.lock().push(finding);
        }
        Ok(true)
    }

    /// Takes a segment out, with its files. Its rows are missing from now on.
    fn drop_segment(&self, upkeep: &mut Upkeep, number: u32) -> Result<(), VectorError> {
        {
            let _one_writer = self.writer.lock();
            let snapshot = self.snapshot.load_full();
            let mut segments = snapshot.segments.clone();
            if let Some(segment) = segments.get_mut(number as usize) {
                *segment = None;
            }
            self.publish(segments, &snapshot.centre, snapshot.graph.clone());
        }
        upkeep.saved_rows.remove(&number);
        upkeep.seen_rows.remove(&number);
        match &self.folder {
            Some(folder) => folder.remove_segment(number),
            None => Ok(()),
        }
    }

    /// Takes the mean anew when the collection has outgrown it, re-codes segment by segment, then swaps.
    fn move_centre(&self, upkeep: &mut Upkeep) -> Result<bool, VectorError> {
        let snapshot = self.snapshot.load_full();
        let Some(recentre) = &mut upkeep.recentre else {
            let rows: u32 =
                snapshot.segments.iter().flatten().map(|segment| segment.written().count()).sum();
            let due = CENTRE_MIN_ROWS.max(snapshot.centre.rows.saturating_mul(CENTRE_GROWTH));
            if rows < due {
                return Ok(false);
            }
            let centre = Arc::new(mean(&snapshot.segments, self.space.dimension, rows));
            upkeep.recentre = Some(Recentre { centre, recoded: BTreeMap::new() });
            return Ok(true);
        };
        let mut open = numbered(&snapshot.segments)
            .filter(|(segment, first)| !recentre.covers(*first, segment));
        // One segment may take rows all the time: it is re-coded under the lock. The others are made here, in order,
        // those without new codes first of all.
        let first_open = open.next();
        if let Some((segment, first)) = first_open
            && (open.next().is_some() || !recentre.recoded.contains_key(&first))
        {
            let recoded = segment.recoded(&recentre.centre);
            recentre.recoded.insert(first, (Arc::clone(segment), recoded));
            return Ok(true);
        }
        if let Some(recentre) = upkeep.recentre.take() {
            self.swap_codes(&recentre);
            if let Some(folder) = &self.folder {
                folder.write_centre(&recentre.centre)?;
            }
        }
        Ok(true)
    }

    fn swap_codes(&self, recentre: &Recentre) {
        let _one_writer = self.writer.lock();
        let snapshot = self.snapshot.load_full();
        let mut segments = snapshot.segments.clone();
        for (segment, first) in segments.iter_mut().zip((0..).step_by(SEGMENT_ROWS as usize)) {
            let Some(current) = segment else { continue };
            let with_codes = match recentre.recoded.get(&first) {
                Some((_, new)) if recentre.covers(first, current) => current.coded_like(new),
                _ => current.recoded(&recentre.centre),
            };
            *segment = Some(Arc::new(with_codes));
        }
        self.publish(segments, &recentre.centre, snapshot.graph.clone());
    }

    /// Writes one segment that no longer grows (it is full, or a later one was begun and no row came since the last look)
    /// and serves it from its file; or drops one that has no live row left.
    fn seal_segment(&self, upkeep: &mut Upkeep) -> Result<bool, VectorError> {
        let Some(folder) = &self.folder else { return Ok(false) };
        let snapshot = self.snapshot.load_full();
        let last = snapshot.segments.len().saturating_sub(1) as u32;
        let mut noted = false;
        for (segment, first) in numbered(&snapshot.segments) {
            let number = number_of(first);
            if number < last && segment.live().count() == 0 && segment.written().count() > 0 {
                self.drop_segment(upkeep, number)?;
                return Ok(true);
            }
            if segment.has_loose_codes() {
                let codes = folder.write_codes(number, self.shape, segment, &snapshot.centre)?;
                self.swap_segment(number, segment, segment.with_codes(codes));
                return Ok(true);
            }
            if !segment.is_writable() {
                continue;
            }
            if !segment.is_full() {
                let rows = segment.written().count();
                if number == last {
                    continue;
                }
                if upkeep.seen_rows.insert(number, rows) != Some(rows) {
                    noted = true;
                    continue;
                }
            }
            let copy = segment.copied();
            let (matrix, codes) =
                folder.write_segment(number, self.shape, &copy, &snapshot.centre)?;
            upkeep.saved_rows.insert(number, copy.written().count());
            upkeep.seen_rows.remove(&number);
            if segment.same_rows(&copy) {
                self.swap_segment(number, segment, segment.sealed(matrix, codes));
            }
            return Ok(true);
        }
        Ok(noted)
    }

    /// Publishes `new` in the place of `old`, unless that was replaced or grew meanwhile.
    fn swap_segment(&self, number: u32, old: &Arc<Segment>, new: Segment) {
        let _one_writer = self.writer.lock();
        let snapshot = self.snapshot.load_full();
        let mut segments = snapshot.segments.clone();
        match segments.get_mut(number as usize) {
            Some(Some(current)) if Arc::ptr_eq(current, old) && current.same_rows(&new) => {
                new.drop_removed(current);
                *current = Arc::new(new);
            }
            _ => return,
        }
        self.publish(segments, &snapshot.centre, snapshot.graph.clone());
    }

    /// Writes every segment whose rows are not all in its file, the growing one included. After it, a clean start has
    /// nothing to add again.
    pub fn flush(&self) -> Result<(), VectorError> {
        let mut upkeep = self.upkeep.lock();
        let Some(folder) = &self.folder else { return Ok(()) };
        let snapshot = self.snapshot.load_full();
        for (segment, first) in numbered(&snapshot.segments) {
            let number = number_of(first);
            let copy = segment.is_writable().then(|| segment.copied());
            let rows = copy.as_ref().map(|copy| copy.written().count());
            if let (Some(copy), Some(rows)) = (copy, rows)
                && upkeep.saved_rows.get(&number) != Some(&rows)
            {
                folder.write_segment(number, self.shape, &copy, &snapshot.centre)?;
                upkeep.saved_rows.insert(number, rows);
            }
        }
        Ok(())
    }

    /// Goes on with the graph under way, or starts one if due.
    fn grow_graph(&self, upkeep: &mut Upkeep, left: u32) -> Result<Option<u32>, VectorError> {
        let result = self.try_grow_graph(upkeep, left);
        if matches!(result, Err(VectorError::Graph { .. })) {
            upkeep.graph_refused = true;
            upkeep.build = None;
        }
        result
    }

    fn try_grow_graph(&self, upkeep: &mut Upkeep, left: u32) -> Result<Option<u32>, VectorError> {
        if upkeep.graph_refused {
            return Ok(None);
        }
        let Some(mut build) = upkeep.build.take() else {
            upkeep.build = self.due_graph(&self.snapshot.load_full())?;
            return Ok(upkeep.build.is_some().then_some(SEGMENT_COST));
        };
        if build.left() > 0 {
            let done = build.step(left as usize)?;
            upkeep.build = Some(build);
            return Ok(Some(done as u32));
        }
        let (members, bytes) = build.finish()?;
        self.finish_graph(members, &bytes)?;
        Ok(Some(SEGMENT_COST))
    }

    /// The graph to build now, if one is due: a first one, an extension, or a new one where half the rows are gone.
    fn due_graph(&self, snapshot: &Snapshot) -> Result<Option<GraphBuilder>, VectorError> {
        let mut frozen = Bitmap::new(0);
        for (segment, first) in numbered(&snapshot.segments) {
            if !segment.is_writable() || (self.folder.is_none() && segment.is_full()) {
                ones(segment.live().words()).for_each(|at| frozen.insert(first + at));
            }
        }
        let rows = frozen.count();
        if rows < self.config.graph_min_rows.max(1) {
            return Ok(None);
        }
        let members = snapshot.graph.as_ref().map(|graph| graph.members());
        let kept = members.map_or(0, |members| both(members, &frozen));
        let size = members.map_or(0, Bitmap::count);
        let stale = kept * 2 < size;
        if members.is_some() && !stale && rows - kept < size / GRAPH_GROWTH {
            return Ok(None);
        }
        let base = snapshot.graph.as_ref().filter(|_| !stale);
        let add: Vec<Slot> = frozen
            .iter()
            .filter(|slot| base.is_none_or(|graph| !graph.members().contains(*slot)))
            .collect();
        let base = base.map(|graph| (graph.members().clone(), graph.serialised()));
        let segments = Arc::new(snapshot.segments.clone());
        // SAFETY: the base is a published graph: built here, or read from a file whose checksum was verified.
        unsafe { GraphBuilder::start(self.config.graph, segments, base, add) }.map(Some)
    }

    /// Publishes a finished graph, from its file where there is a folder. If the file cannot be written the graph
    /// serves from memory and the error is reported.
    fn finish_graph(&self, members: Bitmap, bytes: &[u8]) -> Result<(), VectorError> {
        let mut failed = None;
        if let Some(folder) = &self.folder {
            match folder.write_graph(&members, self.config.graph, bytes) {
                Ok(file) => {
                    if let Ok(graph) = self.graph_of(&file) {
                        self.publish_graph(graph);
                        return Ok(());
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        let mapping = Arc::new(Mapping::copied(bytes));
        // SAFETY: the bytes were given by the builder a moment ago.
        let graph = unsafe { Graph::view(self.config.graph, members, &mapping, 0..bytes.len()) }?;
        self.publish_graph(graph);
        failed.map_or(Ok(()), Err)
    }
}

/// How many slots are in both sets.
fn both(left: &Bitmap, right: &Bitmap) -> u32 {
    left.words().iter().zip(right.words()).map(|(a, b)| (a & b).count_ones()).sum()
}

/// The mean of the collection, from rows spread evenly over it.
fn mean(segments: &Segments, dimension: u16, rows: u32) -> Centre {
    let stride = rows.div_ceil(CENTRE_SAMPLE_ROWS) as usize;
    let mut sums = vec![0f64; usize::from(dimension)];
    let mut singles = vec![0f32; usize::from(dimension)];
    let mut taken = 0f64;
    let all = segments
        .iter()
        .flatten()
        .flat_map(|segment| segment.written_rows().map(move |at| segment.get(at)));
    for row in all.step_by(stride).flatten() {
        to_singles(row, &mut singles);
        sums.iter_mut().zip(&singles).for_each(|(sum, single)| *sum += f64::from(*single));
        taken += 1.0;
    }
    let numbers = sums.iter().map(|sum| (sum / taken.max(1.0)) as f32).collect();
    Centre::from_numbers(numbers, rows)
}
