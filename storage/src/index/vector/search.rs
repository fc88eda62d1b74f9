//! One search: which rows, by which plan, and the exact score at the end of each.
//!
//! Every plan ends in the same dot products over stored rows, so a row's score does not depend on the plan; plans
//! differ only in which rows they get to score. All work on one snapshot and one [`Selection`], so no slot outside the
//! allowed set, removed or not yet published can appear, whatever the plan.

use std::sync::Arc;

use super::super::Slot;
use super::super::bitmap::{Allowed, Bitmap};
use super::graph::{Graph, Segments};
use super::kernel::{dot, hamming, has_popcount};
use super::segment::{SEGMENT_ROWS, SEGMENT_WORDS, Segment, locate};
use super::signs::{Centre, Shortlist};
use super::top::{ScoredSlot, Top};

/// Up to this many selected rows are scored one by one. Measured at a million rows: 320 ns per scattered row, against
/// 0.2 ms for the sieve's re-scoring of [`RESCORE_ROWS`] rows and 35 ns per scattered code; they meet at about 1,000.
pub const EXACT_MAX_ROWS: u32 = 1_000;

/// Rows that the sign-bit sieve hands to the exact score, at least. Measured at a million clustered rows: recall@10
/// 0.998 or more for every filter, recall@50 0.977 or more; re-scoring them costs 0.2 ms.
pub const RESCORE_ROWS: u32 = 600;

/// Rows that the sieve hands over per wanted result, when that is more.
pub const RESCORE_ROWS_PER_RESULT: u32 = 12;

/// A walk over an unfiltered graph, in ns: 1.4 to 1.7 ms at 100,000 rows, assumed to grow little from there (it is
/// logarithmic). A filtered walk costs this divided by the selected share: 2.6 ms at 76 %, 15 ms at 7.8 %.
const WALK_NS: u64 = 2_000_000;

/// The sieve per row of a collection it reads through, in ns: 6.1 ms at a million rows.
const SIEVE_DENSE_NS: u64 = 6;

/// The sieve per row of a scattered selection, in ns: 2.8 ms for 78,000 rows out of a million.
const SIEVE_SCATTERED_NS: u64 = 35;

/// Whether walking the graph costs less than sieving, when `selected` of its `members` may be seen. It does from about
/// 400,000 rows on when all are, and at a million when at least a third are.
fn walk_pays(selected: u32, members: u32) -> bool {
    let (selected, members) = (u64::from(selected), u64::from(members));
    let sieve = (selected * SIEVE_SCATTERED_NS).min(members * SIEVE_DENSE_NS);
    WALK_NS * members < sieve * selected
}

/// Selected rows in a word of 64 up to which their codes are fetched ahead one by one.
const SPARSE_WORD: u32 = 24;

/// How a search finds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// The plan that costs least here.
    #[default]
    Auto,
    /// Score every allowed row.
    Exact,
    /// Sign-bit sieve, then score the shortlist.
    SignBits,
    /// Walk the graph where there is one, scan the rest.
    Graph,
}

/// The plan that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Every allowed row was scored.
    Exact,
    /// Sign-bit sieve over every allowed row.
    SignBits,
    /// Graph, and a scan of the rows not in it.
    Graph,
}

/// What a search did, for `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The plan.
    pub kind: PlanKind,
    /// Rows that are allowed and there.
    pub selected: u32,
    /// Rows among them that the graph does not hold; 0 without a graph.
    pub tail: u32,
    /// Rows whose code or score was looked at one by one.
    pub scanned: u32,
    /// Rows that got an exact score.
    pub scored: u32,
}

/// Result of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Best first; equal scores by slot.
    pub hits: Vec<ScoredSlot>,
    /// How they were found.
    pub plan: Plan,
}

/// What a search reads. Published whole and never changed, but for rows appearing in a writable segment.
pub(super) struct Snapshot {
    pub(super) segments: Segments,
    pub(super) centre: Arc<Centre>,
    pub(super) graph: Option<Arc<Graph>>,
}

/// The rows one search may score. Every bit was seen in `live` of this snapshot's segments.
struct Selection {
    words: Vec<u64>,
    count: u32,
}

impl Selection {
    fn new(segments: &Segments, allowed: &Allowed) -> Self {
        let mut words = vec![0; segments.len() * SEGMENT_WORDS];
        let allowed = allowed.bits().words().chunks(SEGMENT_WORDS);
        for ((out, allowed), segment) in words.chunks_mut(SEGMENT_WORDS).zip(allowed).zip(segments)
        {
            let Some(segment) = segment else { continue };
            for (index, (out, allowed)) in out.iter_mut().zip(allowed).enumerate() {
                *out = if *allowed == 0 { 0 } else { allowed & segment.live().word(index) };
            }
        }
        Self::of(words)
    }

    fn of(words: Vec<u64>) -> Self {
        let count = words.iter().map(|word| word.count_ones()).sum();
        Self { words, count }
    }

    fn without(&self, members: &Bitmap) -> Self {
        let members = members.words().iter().copied().chain(std::iter::repeat(0));
        Self::of(self.words.iter().zip(members).map(|(word, taken)| word & !taken).collect())
    }

    fn contains(&self, slot: Slot) -> bool {
        self.words.get((slot / 64) as usize).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Segments with selected rows: the segment, its first slot, its words.
    fn segments<'a>(
        &'a self,
        segments: &'a Segments,
    ) -> impl Iterator<Item = (&'a Segment, Slot, &'a [u64])> {
        let firsts = (0..).map(|index: u32| index * SEGMENT_ROWS);
        segments
            .iter()
            .zip(firsts)
            .zip(self.words.chunks(SEGMENT_WORDS))
            .filter_map(|((segment, first), words)| Some((segment.as_deref()?, first, words)))
    }
}

/// The set bits of a word, lowest first.
#[inline(always)]
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}

impl Snapshot {
    /// Searches for the best `k` of the allowed rows. `unit` is of length one and padded.
    pub(super) fn search(
        &self,
        unit: &[f32],
        dimension: u16,
        k: u32,
        allowed: &Allowed,
        mode: SearchMode,
    ) -> Answer {
        let selection = Selection::new(&self.segments, allowed);
        let mut search = Search {
            snapshot: self,
            unit,
            dimension,
            k,
            top: Top::new(k as usize),
            plan: Plan {
                kind: PlanKind::Exact,
                selected: selection.count,
                tail: 0,
                scanned: 0,
                scored: 0,
            },
        };
        search.run(&selection, mode);
        Answer { hits: search.top.into_sorted(), plan: search.plan }
    }
}

struct Search<'a> {
    snapshot: &'a Snapshot,
    unit: &'a [f32],
    dimension: u16,
    k: u32,
    top: Top,
    plan: Plan,
}

impl Search<'_> {
    fn run(&mut self, selection: &Selection, mode: SearchMode) {
        if self.k == 0 || selection.count == 0 {
            return;
        }
        let graph = self.snapshot.graph.as_deref().filter(|graph| match mode {
            SearchMode::Graph => true,
            SearchMode::Auto => walk_pays(selection.count, graph.members().count()),
            SearchMode::Exact | SearchMode::SignBits => false,
        });
        if let Some(graph) = graph
            && self.walk(graph, selection)
        {
            return;
        }
        match mode {
            SearchMode::Exact => self.score_all(selection),
            SearchMode::SignBits => self.sieve(selection),
            SearchMode::Auto | SearchMode::Graph => self.scan(selection),
        }
    }

    /// The cheaper of the two scans.
    fn scan(&mut self, selection: &Selection) {
        if selection.count <= EXACT_MAX_ROWS {
            self.score_all(selection);
        } else {
            self.sieve(selection);
        }
    }

    fn score_all(&mut self, selection: &Selection) {
        for (segment, first, words) in selection.segments(&self.snapshot.segments) {
            for (at, word) in words.iter().enumerate() {
                let base = at as u32 * 64;
                // Where every word is sparse the next one's rows are fetched ahead; dense runs fetch themselves.
                if let Some(next) = words.get(at + 1).filter(|next| next.count_ones() <= 4) {
                    bits(*next).for_each(|bit| segment.prefetch_row(base + 64 + bit));
                }
                for bit in bits(*word) {
                    // SAFETY: the selection saw the row's bit in this segment.
                    let row = unsafe { segment.row(base + bit) };
                    self.top.offer(first + base + bit, dot(row, self.unit));
                }
            }
        }
        self.plan.scanned += selection.count;
        self.plan.scored += selection.count;
    }

    fn score(&mut self, slots: &[Slot]) {
        const AHEAD: usize = 4;
        for (at, slot) in slots.iter().enumerate() {
            if let Some(next) = slots.get(at + AHEAD)
                && let (segment, row) = locate(*next)
                && let Some(Some(segment)) = self.snapshot.segments.get(segment)
            {
                segment.prefetch_row(row);
            }
            let (segment, row) = locate(*slot);
            if let Some(Some(segment)) = self.snapshot.segments.get(segment)
                && let Some(row) = segment.get(row)
            {
                self.top.offer(*slot, dot(row, self.unit));
                self.plan.scored += 1;
            }
        }
    }

    fn sieve(&mut self, selection: &Selection) {
        self.plan.kind = PlanKind::SignBits;
        let depth = RESCORE_ROWS.max(self.k.saturating_mul(RESCORE_ROWS_PER_RESULT));
        let mut list = Shortlist::new(depth.min(selection.count), self.dimension);
        let mut code = vec![0u64; usize::from(self.dimension).div_ceil(64)];
        self.snapshot.centre.encode(self.unit, &mut code);
        for (segment, first, words) in selection.segments(&self.snapshot.segments) {
            sieve_segment(segment, first, words, &code, &mut list);
        }
        self.plan.scanned += selection.count;
        self.score(&list.into_slots());
    }

    /// Walks the graph and scans what it does not hold. False if the graph could not be searched.
    fn walk(&mut self, graph: &Graph, selection: &Selection) -> bool {
        let wanted = self.k.min(selection.count) as usize;
        let segments = &self.snapshot.segments;
        let Ok(slots) = graph.search(segments, self.unit, wanted, |slot| selection.contains(slot))
        else {
            return false;
        };
        self.score(&slots);
        let tail = selection.without(graph.members());
        self.plan.tail = tail.count;
        self.scan(&tail);
        self.plan.kind = PlanKind::Graph;
        true
    }
}

fn sieve_segment(
    segment: &Segment,
    first: Slot,
    words: &[u64],
    code: &[u64],
    list: &mut Shortlist,
) {
    #[cfg(target_arch = "x86_64")]
    if has_popcount() {
        // SAFETY: the instruction was detected.
        unsafe { sieve_with_popcount(segment, first, words, code, list) };
        return;
    }
    sieve_of_width(segment, first, words, code, list);
}

/// # Safety
/// The machine must have POPCNT.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
unsafe fn sieve_with_popcount(
    segment: &Segment,
    first: Slot,
    words: &[u64],
    code: &[u64],
    list: &mut Shortlist,
) {
    sieve_of_width(segment, first, words, code, list);
}

/// Picks the loop whose code length is known to the compiler: those of the common dimensions.
#[inline(always)]
fn sieve_of_width(
    segment: &Segment,
    first: Slot,
    words: &[u64],
    code: &[u64],
    list: &mut Shortlist,
) {
    match code.len() {
        4 => sieve_rows(segment, first, words, list, fixed::<4>(code)),
        6 => sieve_rows(segment, first, words, list, fixed::<6>(code)),
        12 => sieve_rows(segment, first, words, list, fixed::<12>(code)),
        16 => sieve_rows(segment, first, words, list, fixed::<16>(code)),
        24 => sieve_rows(segment, first, words, list, fixed::<24>(code)),
        _ => sieve_rows(segment, first, words, list, |row| hamming(row, code)),
    }
}

#[inline(always)]
fn fixed<const WORDS: usize>(code: &[u64]) -> impl Fn(&[u64]) -> u32 {
    let mut query = [0u64; WORDS];
    query.copy_from_slice(code);
    move |row| match row.first_chunk::<WORDS>() {
        Some(row) => hamming(row, &query),
        None => hamming(row, &query),
    }
}

#[inline(always)]
fn sieve_rows(
    segment: &Segment,
    first: Slot,
    words: &[u64],
    list: &mut Shortlist,
    distance: impl Fn(&[u64]) -> u32,
) {
    for (at, word) in words.iter().enumerate() {
        let base = at as u32 * 64;
        // Few rows per word are too irregular for the processor's own prefetching.
        if let Some(next) = words.get(at + 1).filter(|next| next.count_ones() <= SPARSE_WORD) {
            bits(*next).for_each(|bit| segment.prefetch_code(base + 64 + bit));
        }
        for bit in bits(*word) {
            // SAFETY: the selection saw the row's bit in this segment.
            let code = unsafe { segment.code(base + bit) };
            list.offer(distance(code), first + base + bit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::walk_pays;

    #[test]
    fn the_graph_is_walked_for_broad_queries_on_large_collections_only() {
        for (selected, members, pays) in [
            (0, 0, false),
            (100_000, 100_000, false),
            (500_000, 500_000, true),
            (760_000, 1_000_000, true),
            (300_000, 1_000_000, false),
            (78_000, 1_000_000, false),
            (1_250_000, 5_000_000, true),
            (390_000, 5_000_000, false),
            (1 << 28, 1 << 28, true),
        ] {
            assert_eq!(walk_pays(selected, members), pays, "{selected} of {members}");
        }
    }
}
