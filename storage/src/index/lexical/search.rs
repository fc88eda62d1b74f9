//! The best k slots for a query.
//!
//! Term at a time within a segment: impacts times weights are added into a window of one counter per slot, then one
//! pass picks what beats the threshold and asks the filter about nothing else. Terms that are so common that all of
//! them together cannot lift a slot over the threshold stop making candidates and are only looked up for the
//! candidates of the others (MaxScore: Turtle and Flood 1995), where that is cheaper than adding them.
//!
//! Invariants: the result is the exact top k by (score, lower slot), whatever is skipped; the window is all zeros
//! between segments.

use std::sync::Arc;

use super::super::{
    Slot,
    attributes::group::GROUP_SLOTS,
    text::query::{QUERY_TERMS_MAX, Query, QueryTerm},
};
use super::{
    idf,
    segment::{Postings, Segment},
    top::Top,
};

/// Looking up one posting costs about as much as adding this many.
const LOOKUP_COST: usize = 8;

/// Which slots the asker may see.
pub(crate) trait Sight {
    /// Whether the slot is alive and may be seen.
    fn sees(&self, slot: Slot) -> bool;
    /// Whether any slot of the range might be seen; `true` when that is not known.
    fn sees_any(&self, first: Slot, slots: u32) -> bool;
}

/// Memory a search needs; kept between searches because clearing 256 KB costs more than many searches do.
#[derive(Debug)]
pub struct Scratch {
    window: Box<[u32]>,
    candidates: Vec<u16>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { window: vec![0; GROUP_SLOTS as usize].into_boxed_slice(), candidates: Vec::new() }
    }
}

/// A query's terms, found in an index: per term its weight, per segment and term its postings.
pub(crate) struct Resolved<'a> {
    pub(crate) terms: Vec<ResolvedTerm<'a>>,
    /// `postings[segment * terms.len() + term]`.
    postings: Vec<Postings<'a>>,
}

/// One term of the query that takes part.
pub(crate) struct ResolvedTerm<'a> {
    pub(crate) term: &'a QueryTerm,
    /// Slots that have the term, the dead included.
    pub(crate) df: u32,
    /// Inverse document frequency in 1/1024.
    pub(crate) weight: u32,
}

impl<'a> Resolved<'a> {
    /// Finds the terms. Of more than [`QUERY_TERMS_MAX`] the commonest are left out, those that a phrase
    /// demands last: whoever verifies the phrase loses nothing by it.
    pub(crate) fn new(segments: &'a [Arc<Segment>], slots: u32, query: &'a Query) -> Self {
        let find = |segment: &'a Arc<Segment>, term: &QueryTerm| segment.find(term.term);
        let mut kept: Vec<(&QueryTerm, Vec<Postings<'a>>)> = Vec::new();
        for term in query.terms() {
            let lists: Vec<Postings<'a>> =
                segments.iter().map(|segment| find(segment, term).unwrap_or_default()).collect();
            kept.push((term, lists));
        }
        let df = |lists: &[Postings<'a>]| lists.iter().map(|list| list.len() as u32).sum::<u32>();
        if kept.len() > QUERY_TERMS_MAX {
            kept.sort_by_cached_key(|(term, lists)| (!term.required, df(lists), term.term));
            kept.truncate(QUERY_TERMS_MAX);
        }
        let terms = kept.iter().map(|(term, lists)| {
            let df = df(lists);
            ResolvedTerm { term, df, weight: idf::weight(slots, df) }
        });
        let terms = terms.collect();
        let by_segment =
            (0..segments.len()).flat_map(|at| kept.iter().map(move |(_, lists)| lists[at]));
        Self { terms, postings: by_segment.collect() }
    }

    /// How many postings the terms have together: no search has more candidates.
    pub(crate) fn postings(&self) -> u64 {
        self.terms.iter().map(|term| u64::from(term.df)).sum()
    }

    /// The postings of all terms in one segment.
    pub(crate) fn in_segment(&self, segment: usize) -> &[Postings<'a>] {
        let count = self.terms.len();
        self.postings.get(segment * count..(segment + 1) * count).unwrap_or(&[])
    }
}

/// The postings of a term in the segment at hand.
struct Source<'a> {
    postings: Postings<'a>,
    weight: u32,
    /// The most this term can add to a score here.
    ceiling: u32,
    required: bool,
    /// Where the next lookup begins.
    cursor: usize,
}

impl Source<'_> {
    fn lookup(&mut self, local: u16) -> Option<u32> {
        let impact = self.postings.impact_from(local, &mut self.cursor)?;
        Some(self.weight * u32::from(impact))
    }
}

/// The best `k` visible slots with their scores, best first. Weights are below 2^15, impacts below 2^8 and terms
/// fewer than 2^6, so scores stay below 2^29.
pub(crate) fn search(
    segments: &[Arc<Segment>],
    resolved: &Resolved<'_>,
    k: usize,
    sight: &impl Sight,
    scratch: &mut Scratch,
) -> Vec<(u32, Slot)> {
    let mut top = Top::new(k);
    let demands = resolved.terms.iter().any(|term| term.term.required);
    for (at, segment) in segments.iter().enumerate() {
        let mut sources = sources(resolved, at);
        if sources.is_empty() || !sight.sees_any(segment.first, segment.slots) {
            continue;
        }
        let base = segment.first / GROUP_SLOTS * GROUP_SLOTS;
        let mut pass = Pass { base, segment, sight, top: &mut top };
        if demands {
            let wanted = resolved.terms.iter().filter(|term| term.term.required).count();
            pass.with_all_demanded(&mut sources, wanted);
        } else {
            pass.ranked(&mut sources, scratch);
        }
    }
    top.into_sorted()
}

fn sources<'a>(resolved: &Resolved<'a>, segment: usize) -> Vec<Source<'a>> {
    let found = resolved.in_segment(segment).iter().zip(&resolved.terms);
    let present = found.filter(|(postings, _)| postings.len() > 0);
    let sources = present.map(|(postings, term)| Source {
        postings: *postings,
        weight: term.weight,
        ceiling: term.weight * u32::from(postings.peak),
        required: term.term.required,
        cursor: 0,
    });
    sources.collect()
}

/// The search of one segment.
struct Pass<'a, S> {
    /// First slot of the group; locals count from it.
    base: Slot,
    segment: &'a Segment,
    sight: &'a S,
    top: &'a mut Top,
}

impl<S: Sight> Pass<'_, S> {
    fn ranked(&mut self, sources: &mut [Source<'_>], scratch: &mut Scratch) {
        sources.sort_by_key(|source| source.ceiling);
        let (optional, headroom) = self.split(sources);
        let (optional, essential) = sources.split_at_mut(optional);
        if essential.is_empty() {
            return;
        }
        for source in essential.iter() {
            let weight = source.weight;
            for (local, impact) in source.postings.iter() {
                scratch.window[usize::from(local)] += weight * u32::from(impact);
            }
        }
        let total: usize = essential.iter().map(|source| source.postings.len()).sum();
        let mut take = |pass: &mut Self, local: u16, score: u32| {
            pass.take(local, score, headroom, optional);
        };
        if total < (self.segment.slots as usize / 128).max(16) {
            let candidates = &mut scratch.candidates;
            candidates.clear();
            candidates.extend(
                essential.iter().flat_map(|source| source.postings.iter()).map(|(local, _)| local),
            );
            candidates.sort_unstable();
            for local in candidates.iter() {
                // A slot met twice reads zero the second time.
                let score = std::mem::take(&mut scratch.window[usize::from(*local)]);
                take(self, *local, score);
            }
        } else {
            let start = (self.segment.first - self.base) as usize;
            let span = start..(start + self.segment.slots as usize).min(scratch.window.len());
            let window = &mut scratch.window[span];
            for (block, at) in window.chunks(64).zip((start..).step_by(64)) {
                let need = self.top.threshold().saturating_sub(headroom);
                if block.iter().fold(0, |best, score| best.max(*score)) <= need {
                    continue;
                }
                for (score, local) in block.iter().zip(at..) {
                    // `local` lies in a window of 65,536.
                    take(self, local as u16, *score);
                }
            }
            window.fill(0);
        }
    }

    /// How many of the sources (the weakest) need not make candidates, and the most they can add together.
    fn split(&self, sources: &[Source<'_>]) -> (usize, u32) {
        let (mut optional, mut headroom) = (0, 0);
        for source in sources {
            if headroom + source.ceiling > self.top.threshold() {
                break;
            }
            headroom += source.ceiling;
            optional += 1;
        }
        let postings =
            |sources: &[Source<'_>]| sources.iter().map(|s| s.postings.len()).sum::<usize>();
        let (skipped, essential) = sources.split_at(optional);
        if !essential.is_empty() && postings(skipped) < LOOKUP_COST * postings(essential) {
            return (0, 0);
        }
        (optional, headroom)
    }

    /// Offers a candidate: cheapest question first.
    fn take(&mut self, local: u16, score: u32, headroom: u32, optional: &mut [Source<'_>]) {
        let slot = self.base + u32::from(local);
        let beats = |score: u32, top: &Top| score > top.threshold();
        if score == 0 || !beats(score + headroom, self.top) || !self.sight.sees(slot) {
            return;
        }
        let more: u32 = optional.iter_mut().filter_map(|source| source.lookup(local)).sum();
        if beats(score + more, self.top) {
            self.top.push(score + more, slot);
        }
    }

    /// Slots that have every demanded term, scored by all terms.
    fn with_all_demanded(&mut self, sources: &mut [Source<'_>], wanted: usize) {
        sources.sort_by_key(|source| (!source.required, source.postings.len()));
        let demanded = sources.iter().filter(|source| source.required).count();
        let Some((driver, others)) = sources.split_first_mut() else { return };
        if demanded < wanted {
            return;
        }
        let weight = driver.weight;
        'candidates: for (local, impact) in driver.postings.iter() {
            let mut score = weight * u32::from(impact);
            for source in others.iter_mut() {
                match source.lookup(local) {
                    Some(more) => score += more,
                    None if source.required => continue 'candidates,
                    None => {}
                }
            }
            self.take(local, score, 0, &mut []);
        }
    }
}
