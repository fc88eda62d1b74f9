//! Why a slot has its lexical score.

use std::sync::Arc;

use super::super::Slot;
use super::{idf::WEIGHT_UNIT, search::Resolved, segment::Segment};
use crate::index::{attributes::group::GROUP_SLOTS, text::prepare::K1_PERMILLE};

/// What one term of the query adds to a slot's score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermScore {
    /// The term as the user wrote it, lower-cased.
    pub term: String,
    /// How many memories have it (dead slots included until the next rebuild).
    pub df: u32,
    /// Its inverse document frequency in 1/1000.
    pub idf_milli: u32,
    /// The saturated term frequency in the memory, `0..=255`; 0 when the memory lacks the term.
    pub impact: u8,
    /// Its part of the score in 1/1000.
    pub score_milli: u32,
}

/// A raw score (impact times weight) as a BM25 score in 1/1000.
pub(crate) fn milli(raw: u32) -> u32 {
    let scaled = u64::from(raw) * (K1_PERMILLE + 1000) / (255 * WEIGHT_UNIT);
    scaled.min(u32::MAX.into()) as u32
}

/// Where in the list the slot's segment is.
fn segment_of(segments: &[Arc<Segment>], slot: Slot) -> usize {
    segments.partition_point(|segment| segment.first + segment.slots <= slot)
}

/// The raw score of a slot.
pub(crate) fn score(segments: &[Arc<Segment>], resolved: &Resolved<'_>, slot: Slot) -> u32 {
    let postings = resolved.in_segment(segment_of(segments, slot));
    let local = (slot % GROUP_SLOTS) as u16;
    let parts = resolved.terms.iter().zip(postings).filter_map(|(term, postings)| {
        Some(term.weight * u32::from(postings.impact_from(local, &mut 0)?))
    });
    parts.sum()
}

/// The parts of a slot's score, in the order of the query.
pub(crate) fn explain(
    segments: &[Arc<Segment>],
    resolved: &Resolved<'_>,
    slot: Slot,
) -> Vec<TermScore> {
    let at = segment_of(segments, slot);
    let mut parts = Vec::with_capacity(resolved.terms.len());
    for (term, postings) in resolved.terms.iter().zip(resolved.in_segment(at)) {
        let impact = postings.impact_from((slot % GROUP_SLOTS) as u16, &mut 0).unwrap_or(0);
        let part = term.weight * u32::from(impact);
        parts.push(TermScore {
            term: term.term.written.clone(),
            df: term.df,
            idf_milli: (u64::from(term.weight) * 1000 / WEIGHT_UNIT) as u32,
            impact,
            score_milli: milli(part),
        });
    }
    parts
}
