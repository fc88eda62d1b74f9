//! Joining neighbouring segments into one, a slice at a time.
//!
//! Joining the 65,536 slots of a group at once would hold the writer for 15–45 ms; the work is therefore resumable and
//! each write pays a little of it. The inputs stay searchable until the output replaces them.
//!
//! Invariant: the inputs are neighbours in slot order, so the postings of a term are the inputs' postings in that
//! order and nothing needs sorting.

use std::sync::Arc;

use super::segment::{Building, Segment};
use crate::index::text::Term;

/// The cost of touching one term of one input, in the unit of [`Merge::step`].
const TERM_COST: usize = 1;
/// Postings copied for the cost of one unit: copying is a memory move.
const POSTINGS_PER_UNIT: usize = 16;

/// A merge in progress.
#[derive(Debug)]
pub(crate) struct Merge {
    inputs: Vec<Arc<Segment>>,
    /// Where each input's next term is, and the term; `None` at the end.
    cursors: Vec<usize>,
    heads: Vec<Option<Term>>,
    building: Building,
    stamp: u64,
}

impl Merge {
    /// Starts a merge of neighbours, in slot order.
    pub(crate) fn new(inputs: Vec<Arc<Segment>>, stamp: u64) -> Self {
        let postings = inputs.iter().map(|segment| segment.postings()).sum();
        let terms = inputs.iter().map(|segment| segment.terms()).max().unwrap_or(0);
        let cursors = vec![0; inputs.len()];
        let heads = inputs.iter().map(|segment| segment.term(0)).collect();
        // The largest input's terms are a floor; growth beyond it doubles.
        Self { inputs, cursors, heads, building: Building::with_capacity(terms, postings), stamp }
    }

    pub(crate) fn inputs(&self) -> &[Arc<Segment>] {
        &self.inputs
    }

    /// Works for about `budget` units (a unit is some tens of nanoseconds) and takes off what it used; the finished
    /// segment, or `None` when the budget ran out first.
    pub(crate) fn step(&mut self, budget: &mut usize) -> Option<Segment> {
        while *budget > 0 {
            let Some(term) = self.heads.iter().flatten().min().copied() else {
                return self.finish();
            };
            let mut cost = self.inputs.len() / 8;
            let cursors = self.cursors.iter_mut().zip(&mut self.heads);
            for (input, (at, head)) in self.inputs.iter().zip(cursors) {
                if *head == Some(term) {
                    let postings = input.postings_at(*at);
                    cost += TERM_COST + postings.len() / POSTINGS_PER_UNIT;
                    self.building.append(postings);
                    *at += 1;
                    *head = input.term(*at);
                }
            }
            self.building.end_term(term);
            *budget = budget.saturating_sub(cost);
        }
        None
    }

    fn finish(&mut self) -> Option<Segment> {
        let first = self.inputs.first()?.first;
        let slots = self.inputs.iter().map(|segment| segment.slots).sum();
        let sections = std::mem::take(&mut self.building).finish();
        Some(Segment { first, slots, stamp: self.stamp, sections })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::text::prepare::Prepared;

    proptest! {
        #[test]
        fn slices_of_any_size_give_the_segment_of_one_batch(
            documents in proptest::collection::vec(proptest::collection::btree_map(0u64..40, 1u8.., 0..9), 1..60),
            cut in 1usize..12,
            slice in 1usize..50,
        ) {
            let documents: Vec<Prepared> =
                documents.into_iter().map(|terms| Prepared { terms: terms.into_iter().collect() }).collect();
            let whole = Segment::of_batch(5, documents.iter(), 9);
            let mut first = 5;
            let mut inputs = Vec::new();
            for part in documents.chunks(cut) {
                inputs.push(Arc::new(Segment::of_batch(first, part.iter(), 1)));
                first += part.len() as u32;
            }
            let mut merge = Merge::new(inputs, 9);
            let merged = loop {
                if let Some(segment) = merge.step(&mut { slice }) {
                    break segment;
                }
            };
            prop_assert_eq!(&merged.sections, &whole.sections);
            prop_assert_eq!((merged.first, merged.slots, merged.stamp), (5, whole.slots, 9));
        }
    }
}
