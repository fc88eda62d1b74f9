//! When segments are merged: in tiers of eight, and once more when a group of 65,536 slots is full.
//!
//! Every posting is copied about five times before it is sealed; in return a search meets at most some fifty segments
//! in the group being filled. The rules look at counts only, so two nodes that apply the same batches hold the same
//! segments.
//!
//! Invariants: segments cover the slots `0..n` without gaps or overlaps and in order; none crosses a group; running
//! merges have disjoint inputs that stand next to each other in the list.

use std::sync::Arc;

use super::super::attributes::group::GROUP_SLOTS;
use super::{merge::Merge, segment::Segment};

/// Segments of one tier that make one of the next.
const FAN_IN: usize = 8;
/// Merge work per posting that arrives: above the five copies a posting needs, so debt cannot pile up.
const WORK_PER_POSTING: usize = 8;
/// Merge work of a batch however small; merges of small segments finish at once. About 0.2 ms.
const WORK_FLOOR: usize = 8_192;
/// Merge work of a batch however large: what a thousand memories owe. About 3 ms.
const WORK_CEILING: usize = 262_144;

/// The segments of an index and the merges under way.
#[derive(Debug, Default)]
pub(crate) struct Tiers {
    segments: Vec<Arc<Segment>>,
    merges: Vec<Merge>,
    next_stamp: u64,
}

impl Tiers {
    /// Segments read back from disk, in slot order; `next_stamp` is above all their stamps.
    pub(crate) fn restored(segments: Vec<Arc<Segment>>, next_stamp: u64) -> Self {
        let mut tiers = Self { segments, merges: Vec::new(), next_stamp };
        let end = tiers.segments.last().map_or(0, |segment| segment.first + segment.slots);
        // Groups that were full but not yet sealed when they were stored.
        for group in 0..end / GROUP_SLOTS {
            let start = tiers.position(group * GROUP_SLOTS);
            let end = tiers.position((group + 1) * GROUP_SLOTS);
            tiers.begin(start..end);
        }
        tiers
    }

    /// Where in the list the segments from `slot` on begin.
    fn position(&self, slot: u32) -> usize {
        self.segments.partition_point(|segment| segment.first < slot)
    }

    /// The segments in slot order.
    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// A number never given before by this index.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }

    /// Appends a segment that begins where the last one ended, and pays its share of the merging.
    pub(crate) fn push(&mut self, segment: Segment) {
        let work = segment.postings() * WORK_PER_POSTING;
        let end = segment.first + segment.slots;
        self.segments.push(Arc::new(segment));
        if end.is_multiple_of(GROUP_SLOTS) {
            self.seal(end - GROUP_SLOTS);
        } else {
            self.plan();
        }
        self.work(work.clamp(WORK_FLOOR, WORK_CEILING));
    }

    /// Works on merges for `budget` units, the smallest first: they keep the number of segments down.
    pub(crate) fn work(&mut self, mut budget: usize) {
        while budget > 0 && !self.merges.is_empty() {
            let smallest = (0..self.merges.len()).min_by_key(|at| self.slots_of(*at));
            let Some(at) = smallest else { return };
            let Some(merged) = self.merges[at].step(&mut budget) else { return };
            let merge = self.merges.swap_remove(at);
            self.replace(&merge, merged);
            self.plan();
        }
    }

    /// Whether merges are under way.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        !self.merges.is_empty()
    }

    fn slots_of(&self, merge: usize) -> (u32, u32) {
        let inputs = self.merges[merge].inputs();
        let slots = inputs.iter().map(|segment| segment.slots).sum();
        (slots, inputs.first().map_or(0, |segment| segment.first))
    }

    fn replace(&mut self, merge: &Merge, merged: Segment) {
        let start = self.position(merged.first);
        self.segments.splice(start..start + merge.inputs().len(), [Arc::new(merged)]);
    }

    /// A full group: whatever was being merged inside it is given up in favour of one merge of everything.
    fn seal(&mut self, group: u32) {
        self.merges.retain(|merge| merge.inputs().first().is_none_or(|input| input.first < group));
        self.begin(self.position(group)..self.segments.len());
    }

    /// Starts the merge that the newest segments ask for, if any: the longest run of them up to some tier, when it has
    /// [`FAN_IN`] members of which none is being merged.
    fn plan(&mut self) {
        let Some(last) = self.segments.last() else { return };
        let group = last.first / GROUP_SLOTS * GROUP_SLOTS;
        let in_progress = self.merges.iter().filter_map(|merge| merge.inputs().last());
        let busy_until = in_progress.map(|input| input.first + input.slots).max().unwrap_or(0);
        let floor = group.max(busy_until);
        let (mut start, mut tier, mut ripe) = (self.segments.len(), 0, None);
        while let Some(segment) = start.checked_sub(1).and_then(|at| self.segments.get(at)) {
            if segment.first < floor {
                break;
            }
            if tier_of(segment) > tier {
                if self.segments.len() - start >= FAN_IN {
                    ripe = Some(start);
                }
                tier = tier_of(segment);
            }
            start -= 1;
        }
        if self.segments.len() - start >= FAN_IN {
            ripe = Some(start);
        }
        if let Some(start) = ripe {
            self.begin(start..self.segments.len());
        }
    }

    fn begin(&mut self, range: std::ops::Range<usize>) {
        let inputs = self.segments[range].to_vec();
        if inputs.len() > 1 {
            let stamp = self.stamp();
            self.merges.push(Merge::new(inputs, stamp));
        }
    }
}

/// 0 for fewer than 8 slots, 1 below 64, and so on.
fn tier_of(segment: &Segment) -> u32 {
    segment.slots.max(1).ilog(FAN_IN as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::text::prepare::Prepared;

    fn push(tiers: &mut Tiers, first: u32, slots: u32) {
        let documents =
            vec![Prepared { terms: vec![(7, 9), (1000 + u64::from(slots), 3)] }; slots as usize];
        let stamp = tiers.stamp();
        tiers.push(Segment::of_batch(first, documents.iter(), stamp));
        let mut next = 0;
        for segment in tiers.segments() {
            assert_eq!(segment.first, next);
            next += segment.slots;
        }
        assert_eq!(next, first + slots);
    }

    #[test]
    fn single_writes_stay_a_few_segments() {
        let mut tiers = Tiers::default();
        for slot in 0..5_000 {
            push(&mut tiers, slot, 1);
            assert!(tiers.segments().len() < 60, "{} segments at {slot}", tiers.segments().len());
        }
    }

    #[test]
    fn a_full_group_that_was_stored_unsealed_is_sealed_after_it_was_read_back() {
        let documents = vec![Prepared { terms: vec![(7, 9)] }; GROUP_SLOTS as usize / 2];
        let half = |first| Arc::new(Segment::of_batch(first, documents.iter(), 1));
        let next = Segment::of_batch(GROUP_SLOTS, documents[..5].iter(), 2);
        let mut tiers = Tiers::restored(vec![half(0), half(GROUP_SLOTS / 2), Arc::new(next)], 2);
        while tiers.is_busy() {
            tiers.work(10_000);
        }
        let slots: Vec<u32> = tiers.segments().iter().map(|segment| segment.slots).collect();
        assert_eq!(slots, [GROUP_SLOTS, 5]);
        assert_eq!(tiers.segments()[0].stamp, 3);
    }

    #[test]
    fn a_full_group_becomes_one_segment() {
        let mut tiers = Tiers::default();
        let mut first = 0;
        // Batches that straddle nothing: the caller cuts at group borders.
        for size in [1u32, 40, 1000, 7].into_iter().cycle() {
            let size = size.min(2 * GROUP_SLOTS - first).min(GROUP_SLOTS - first % GROUP_SLOTS);
            push(&mut tiers, first, size);
            first += size;
            if first == 2 * GROUP_SLOTS {
                break;
            }
        }
        while tiers.is_busy() {
            tiers.work(10_000);
        }
        let slots: Vec<u32> = tiers.segments().iter().map(|segment| segment.slots).collect();
        assert_eq!(slots, [GROUP_SLOTS, GROUP_SLOTS]);
        assert_eq!(tiers.segments()[1].find(7).map(|postings| postings.len()), Some(65_536));
    }
}
