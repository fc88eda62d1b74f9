//! An immutable run of postings over neighbouring slots of one group.
//!
//! Five parallel arrays, little-endian and byte-addressed, so that the same bytes serve in memory, on disk and mapped
//! from a file: terms (u64, ascending), ends (u32, end of each term's postings), peaks (u8, largest impact of the
//! term), locals (u16, slot within the group), impacts (u8).
//!
//! Invariants: terms strictly ascend; ends ascend and the last equals the number of postings; locals ascend within a
//! term and lie in the segment's span; impacts are at least 1 and at most the peak. [`Segment::from_parts`] checks the
//! shape; contents are vouched for by checksums. Reads beyond the arrays give nothing instead of a panic.

use bytes::Bytes;

use super::super::{Slot, attributes::group::GROUP_SLOTS, text::Term, text::prepare::Prepared};

/// Postings of the slots `first..first + slots`.
#[derive(Debug, Clone)]
pub struct Segment {
    pub(crate) first: Slot,
    pub(crate) slots: u32,
    /// Identity among all segments of this index; names the stored bytes.
    pub(crate) stamp: u64,
    pub(crate) sections: Sections,
}

/// The arrays of a segment, as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    pub(crate) terms: Bytes,
    pub(crate) ends: Bytes,
    pub(crate) peaks: Bytes,
    pub(crate) locals: Bytes,
    pub(crate) impacts: Bytes,
}

/// The postings of one term in one segment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postings<'a> {
    /// u16 little-endian, ascending.
    pub(crate) locals: &'a [u8],
    pub(crate) impacts: &'a [u8],
    pub(crate) peak: u8,
}

impl<'a> Postings<'a> {
    /// How many slots have the term.
    #[inline]
    pub fn len(&self) -> usize {
        self.impacts.len()
    }

    /// The slot within the group, at a position.
    #[inline]
    pub fn local(&self, at: usize) -> Option<u16> {
        self.locals.get(at * 2..at * 2 + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// All pairs, ascending by local slot.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u16, u8)> + 'a {
        let locals = self.locals.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        locals.zip(self.impacts.iter().copied())
    }

    /// The impact on a slot; `from` is where to begin looking and is moved to where the slot is or would be, so that
    /// ascending questions gallop instead of starting over.
    #[inline]
    pub fn impact_from(&self, local: u16, from: &mut usize) -> Option<u8> {
        let mut step = 1;
        let mut low = *from;
        while self.local(low + step).is_some_and(|have| have < local) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step + 1).min(self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.local(middle).is_some_and(|have| have < local) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        *from = low;
        if self.local(low) == Some(local) { self.impacts.get(low).copied() } else { None }
    }
}

impl Segment {
    /// The postings of a batch: `prepared[i]` belongs to slot `first + i`, all in one group.
    pub(crate) fn of_batch<'a>(
        first: Slot,
        prepared: impl ExactSizeIterator<Item = &'a Prepared>,
        stamp: u64,
    ) -> Self {
        let slots = prepared.len() as u32;
        let mut all: Vec<(Term, u16, u8)> = Vec::new();
        for (slot, document) in (first..).zip(prepared) {
            let local = (slot % GROUP_SLOTS) as u16;
            all.extend(document.terms.iter().map(|(term, impact)| (*term, local, *impact)));
        }
        if slots > 1 {
            all.sort_unstable();
        }
        let mut building = Building::with_capacity(all.len(), all.len());
        for same in all.chunk_by(|one, next| one.0 == next.0) {
            for (_, local, impact) in same {
                building.post(*local, *impact);
            }
            building.end_term(same[0].0);
        }
        Self { first, slots, stamp, sections: building.finish() }
    }

    /// A segment over stored arrays; `None` when their lengths contradict each other.
    pub(crate) fn from_parts(
        first: Slot,
        slots: u32,
        stamp: u64,
        sections: Sections,
    ) -> Option<Self> {
        let terms = sections.peaks.len();
        let postings = sections.impacts.len();
        let segment = Self { first, slots, stamp, sections };
        let shape = segment.sections.terms.len() == terms * 8
            && segment.sections.ends.len() == terms * 4
            && segment.sections.locals.len() == postings * 2
            && (terms == 0 || segment.end(terms - 1) == postings)
            && slots > 0
            && first % GROUP_SLOTS + slots <= GROUP_SLOTS;
        let ascending = || (1..terms).all(|at| segment.end(at - 1) <= segment.end(at));
        (shape && ascending()).then_some(segment)
    }

    /// How many distinct terms.
    pub(crate) fn terms(&self) -> usize {
        self.sections.peaks.len()
    }

    /// How many postings.
    pub(crate) fn postings(&self) -> usize {
        self.sections.impacts.len()
    }

    /// Bytes of the arrays.
    pub fn bytes(&self) -> usize {
        self.terms() * 13 + self.postings() * 3
    }

    #[inline]
    pub(crate) fn term(&self, at: usize) -> Option<Term> {
        let bytes = self.sections.terms.get(at * 8..at * 8 + 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    #[inline]
    fn end(&self, at: usize) -> usize {
        let bytes = self.sections.ends.get(at * 4..at * 4 + 4);
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    }

    /// The postings of the term at a position of the term array.
    #[inline]
    pub(crate) fn postings_at(&self, at: usize) -> Postings<'_> {
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        let end = self.end(at);
        let arrays = &self.sections;
        match (arrays.locals.get(start * 2..end * 2), arrays.impacts.get(start..end)) {
            (Some(locals), Some(impacts)) => {
                let peak = arrays.peaks.get(at).copied().unwrap_or(u8::MAX);
                Postings { locals, impacts, peak }
            }
            _ => Postings::default(),
        }
    }

    /// The postings of a term. Hashes are spread evenly, so the place is first guessed, then closed in on.
    pub(crate) fn find(&self, term: Term) -> Option<Postings<'_>> {
        let count = self.terms();
        let guess = ((u128::from(term) * count as u128) >> 64) as usize;
        let (mut low, mut high) = (0, count);
        let mut step = 8;
        if self.term(guess)? < term {
            low = guess + 1;
            while low + step < high && self.term(low + step)? < term {
                low += step;
                step *= 2;
            }
            high = high.min(low + step + 1);
        } else {
            high = guess + 1;
            while high > step && self.term(high - step)? >= term {
                high -= step;
                step *= 2;
            }
            low = low.max(high.saturating_sub(step));
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.term(middle)? < term {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (self.term(low)? == term).then(|| self.postings_at(low))
    }
}

/// Arrays being filled, term by term in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Building {
    terms: Vec<u8>,
    ends: Vec<u8>,
    peaks: Vec<u8>,
    locals: Vec<u8>,
    impacts: Vec<u8>,
    peak: u8,
}

impl Building {
    pub(crate) fn with_capacity(terms: usize, postings: usize) -> Self {
        Self {
            terms: Vec::with_capacity(terms * 8),
            ends: Vec::with_capacity(terms * 4),
            peaks: Vec::with_capacity(terms),
            locals: Vec::with_capacity(postings * 2),
            impacts: Vec::with_capacity(postings),
            peak: 0,
        }
    }

    fn post(&mut self, local: u16, impact: u8) {
        self.locals.extend_from_slice(&local.to_le_bytes());
        self.impacts.push(impact);
        self.peak = self.peak.max(impact);
    }

    /// Appends postings of slots behind all that were posted for the current term.
    pub(crate) fn append(&mut self, postings: Postings<'_>) {
        self.locals.extend_from_slice(postings.locals);
        self.impacts.extend_from_slice(postings.impacts);
        self.peak = self.peak.max(postings.peak);
    }

    /// Closes the current term.
    pub(crate) fn end_term(&mut self, term: Term) {
        self.terms.extend_from_slice(&term.to_le_bytes());
        // A group has at most 65,536 slots with at most a few thousand terms: far below u32.
        self.ends.extend_from_slice(&(self.impacts.len() as u32).to_le_bytes());
        self.peaks.push(self.peak);
        self.peak = 0;
    }

    pub(crate) fn finish(mut self) -> Sections {
        // The term arrays were sized for the case that no term is shared; give the rest back.
        self.terms.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.peaks.shrink_to_fit();
        Sections {
            terms: self.terms.into(),
            ends: self.ends.into(),
            peaks: self.peaks.into(),
            locals: self.locals.into(),
            impacts: self.impacts.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn documents() -> impl Strategy<Value = Vec<Prepared>> {
        let terms = proptest::collection::btree_map(
            prop_oneof![0u64..30, any::<u64>(), Just(u64::MAX)],
            1u8..,
            0..12,
        );
        let document = terms.prop_map(|terms| Prepared { terms: terms.into_iter().collect() });
        proptest::collection::vec(document, 1..40)
    }

    proptest! {
        #[test]
        fn finds_every_posting_and_nothing_else(documents in documents(), absent in any::<u64>()) {
            let first = GROUP_SLOTS + 77;
            let segment = Segment::of_batch(first, documents.iter(), 1);
            let all: std::collections::BTreeSet<Term> =
                documents.iter().flat_map(|d| d.terms.iter().map(|(term, _)| *term)).collect();
            prop_assert_eq!(segment.terms(), all.len());
            prop_assert!(all.contains(&absent) || segment.find(absent).is_none());
            for term in all {
                let expected: Vec<(u16, u8)> = (77u16..).zip(&documents).filter_map(|(local, d)| {
                    d.terms.iter().find(|(have, _)| *have == term).map(|(_, impact)| (local, *impact))
                }).collect();
                let postings = segment.find(term).expect("the term is in the segment");
                prop_assert_eq!(postings.iter().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(Some(postings.peak), expected.iter().map(|(_, impact)| *impact).max());
                let mut from = 0;
                for local in 70u16..130 {
                    let have = expected.iter().find(|(l, _)| *l == local).map(|(_, impact)| *impact);
                    prop_assert_eq!(postings.impact_from(local, &mut from), have);
                    prop_assert_eq!(postings.impact_from(local, &mut 0), have);
                }
            }
            let again = Segment::from_parts(first, segment.slots, 1, segment.sections.clone());
            prop_assert!(again.is_some());
        }
    }

    #[test]
    fn arrays_that_contradict_each_other_are_refused() {
        let document = Prepared { terms: vec![(1, 9), (2, 8)] };
        let good = Segment::of_batch(0, [document].iter(), 0);
        let mut short = good.sections.clone();
        short.impacts = short.impacts.slice(..1);
        assert!(Segment::from_parts(0, 1, 0, short).is_none());
        let mut swapped = good.sections.clone();
        swapped.ends = Bytes::from([2u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
        assert!(Segment::from_parts(0, 1, 0, swapped).is_none());
        assert!(Segment::from_parts(GROUP_SLOTS - 1, 2, 0, good.sections).is_none());
    }
}
