//! The candidates of every question, and the ways of putting them in order.
//!
//! Invariant: all ways get the same candidates, taken as deep as the service takes them.
//!
//! Not here: the ranking of the product, which is called and not copied.

use anyhow::Result;
use hivemem::node::{
    model::recall::Mode,
    recall::{Ranking, collapse::collapse, rank},
};
use storage::{
    answer::Candidate,
    request::{CandidateQuery, MemoryFilter, Reader},
};
use types::Tier;

use super::{
    collection::Question,
    distractors::SplitMix,
    metrics::{DEPTH, Figures},
    world::World,
};

/// Candidates of each signal, as the service asks for ten hits.
const CANDIDATES: u32 = 50;
/// Rank constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009).
const RRF_K: f32 = 60.0;
const DAY_MS: u64 = 86_400_000;

/// A question with what the indexes propose.
pub struct Asked<'a> {
    /// The question.
    pub question: &'a Question,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
}

/// Asks the store every question.
///
/// # Errors
/// A refused question.
pub async fn ask<'a>(
    world: &World,
    questions: &'a [Question],
    now_ms: u64,
) -> Result<Vec<Asked<'a>>> {
    let mut asked = Vec::with_capacity(questions.len());
    for question in questions {
        let vector = world.embedder.embed(vec![question.question.clone()]).await?.pop().flatten();
        let query = CandidateQuery {
            text: question.question.clone(),
            vector,
            filter: MemoryFilter::default(),
            depth: CANDIDATES,
            now_ms,
            explain: false,
        };
        let found = world.store.candidates(Reader::Agent(&world.caller.viewer), query).await?;
        asked.push(Asked { question, candidates: found.items });
    }
    Ok(asked)
}

/// A way of ordering candidates.
#[derive(Clone, Copy)]
pub enum Order {
    /// The product's ranking.
    Product(Ranking, Mode),
    /// Reciprocal rank fusion.
    Reciprocal,
}

impl Order {
    /// The candidates' ids in this order, near-duplicates collapsed as the service does.
    fn apply(self, candidates: &[Candidate], now_ms: u64) -> Vec<types::MemoryId> {
        let (ranking, mode, candidates) = match self {
            Self::Product(ranking, mode) => (ranking, mode, only(candidates, mode)),
            Self::Reciprocal => {
                let ranking = Ranking { lexical_share: 1.0, ..Ranking::default() };
                (ranking, Mode::Lexical, reciprocal(candidates))
            }
        };
        let ranked = rank(&ranking, mode, candidates, now_ms);
        let (kept, _) = collapse(ranked, DEPTH, ranking.near_duplicate_permille);
        kept.into_iter().map(|hit| hit.memory.id).collect()
    }
}

/// What a search by one signal alone would have proposed.
fn only(candidates: &[Candidate], mode: Mode) -> Vec<Candidate> {
    let mut left = candidates.to_vec();
    match mode {
        Mode::Hybrid => {}
        Mode::Lexical => left.retain(|c| c.lexical.is_some()),
        Mode::Dense => left.retain(|c| c.dense.is_some()),
    }
    left
}

/// The candidates with the reciprocal rank sum as their only score.
fn reciprocal(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut fused: Vec<Candidate> =
        candidates.iter().map(|c| Candidate { lexical: Some(0.0), ..c.clone() }).collect();
    for signal in [|c: &Candidate| c.lexical, |c: &Candidate| c.dense] {
        let mut order: Vec<(f32, usize)> = candidates
            .iter()
            .enumerate()
            .filter_map(|(at, candidate)| signal(candidate).map(|score| (score, at)))
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for ((_, at), place) in order.into_iter().take(CANDIDATES as usize).zip(1u16..) {
            if let Some(sum) = &mut fused[at].lexical {
                *sum += 1.0 / (RRF_K + f32::from(place));
            }
        }
    }
    fused
}

/// Judges an order over the questions that `wanted` picks by their number.
///
/// # Errors
/// A candidate that was never stored.
pub fn judge(
    world: &World,
    asked: &[Asked<'_>],
    order: Order,
    now_ms: u64,
    wanted: impl Fn(usize, &Question) -> bool,
) -> Result<Figures> {
    let mut figures = Figures::default();
    for (at, one) in asked.iter().enumerate() {
        if wanted(at, one.question) {
            let ids = order.apply(&one.candidates, now_ms);
            let keys: Vec<String> =
                ids.into_iter().map(|id| world.key(id)).collect::<Result<_>>()?;
            figures.add(&keys, &one.question.relevant);
        }
    }
    Ok(figures)
}

/// The same candidates with ages up to a year, tiers and priorities drawn at random: features that say
/// nothing about relevance, to see what the factors cost when they are wrong.
pub fn with_random_features<'a>(asked: &[Asked<'a>], seed: u64, now_ms: u64) -> Vec<Asked<'a>> {
    let scattered = |candidate: &Candidate| {
        let mut candidate = candidate.clone();
        let memory = &mut candidate.memory;
        // The same memory has the same features for every question.
        let mut random = SplitMix::new(seed ^ memory.id.0.as_u128() as u64);
        memory.updated_at_ms = now_ms - random.below(365) * DAY_MS;
        memory.tier = [Tier::Short, Tier::Mid, Tier::Long][random.below(3) as usize];
        memory.priority = 1 + random.below(10) as u8;
        candidate
    };
    asked
        .iter()
        .map(|one| Asked {
            question: one.question,
            candidates: one.candidates.iter().map(scattered).collect(),
        })
        .collect()
}
