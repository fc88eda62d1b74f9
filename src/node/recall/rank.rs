//! Fusion and factors; see the module above.

use storage::answer::{Candidate, MemoryView};
use types::limits::PRIORITY_DEFAULT;

use super::Ranking;
use crate::node::model::recall::{Explanation, Mode, TermScore};

/// A candidate with its score and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The memory.
    pub memory: MemoryView,
    /// Final score.
    pub score: f32,
    /// Every part of it.
    pub explanation: Explanation,
}

/// Min-max normalisation over the scores that are present. A candidate that a signal did not find
/// gets 0; the worst one it did find gets a little more than that, because being found means
/// something.
struct Normaliser {
    low: f32,
    span: f32,
}

impl Normaliser {
    /// Share of the range that separates "found last" from "not found".
    const FLOOR: f32 = 0.1;

    fn over(scores: impl Iterator<Item = f32>) -> Self {
        let (low, high) =
            scores.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), s| (l.min(s), h.max(s)));
        Self { low, span: (high - low).max(0.0) }
    }

    fn apply(&self, score: Option<f32>) -> f32 {
        match score {
            None => 0.0,
            Some(_) if self.span <= f32::EPSILON => 1.0,
            Some(score) => Self::FLOOR + (1.0 - Self::FLOOR) * (score - self.low) / self.span,
        }
    }
}

fn recency(ranking: &Ranking, memory: &MemoryView, now_ms: u64) -> f32 {
    const DAY_MS: f32 = 86_400_000.0;
    let age_days = now_ms.saturating_sub(memory.updated_at_ms) as f32 / DAY_MS;
    1.0 + ranking.recency_gain * (-age_days / ranking.recency_half_life_days).exp2()
}

fn score(
    ranking: &Ranking,
    mode: Mode,
    candidate: &Candidate,
    lexical: &Normaliser,
    dense: &Normaliser,
    now_ms: u64,
) -> Explanation {
    let share = match mode {
        Mode::Hybrid => ranking.lexical_share,
        Mode::Lexical => 1.0,
        Mode::Dense => 0.0,
    };
    let memory = &candidate.memory;
    let lexical_normalised = lexical.apply(candidate.lexical);
    let dense_normalised = dense.apply(candidate.dense);
    let priority = f32::from(memory.priority) - f32::from(PRIORITY_DEFAULT);
    let doubt = 1.0 - f32::from(memory.confidence_permille) / 1000.0;
    Explanation {
        lexical: candidate.lexical,
        lexical_normalised,
        dense: candidate.dense,
        dense_normalised,
        fused: share * lexical_normalised + (1.0 - share) * dense_normalised,
        tier_factor: 1.0 + ranking.tier_step * f32::from(memory.tier.number() - 1),
        recency_factor: recency(ranking, memory, now_ms),
        priority_factor: 1.0 + ranking.priority_step * priority,
        confidence_factor: 1.0 - ranking.doubt_loss * doubt,
        terms: candidate
            .terms
            .iter()
            // A term that this memory lacks says nothing about its score.
            .filter(|(_, score)| *score > 0.0)
            .map(|(term, score)| TermScore { term: term.clone(), score: *score })
            .collect(),
    }
}

/// Orders candidates, best first.
pub fn rank(ranking: &Ranking, mode: Mode, candidates: Vec<Candidate>, now_ms: u64) -> Vec<Ranked> {
    let lexical = Normaliser::over(candidates.iter().filter_map(|c| c.lexical));
    let dense = Normaliser::over(candidates.iter().filter_map(|c| c.dense));
    let mut ranked: Vec<Ranked> = candidates
        .into_iter()
        .map(|candidate| {
            let explanation = score(ranking, mode, &candidate, &lexical, &dense, now_ms);
            let score = explanation.fused
                * explanation.tier_factor
                * explanation.recency_factor
                * explanation.priority_factor
                * explanation.confidence_factor;
            Ranked { memory: candidate.memory, score, explanation }
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.memory.id.cmp(&b.memory.id)));
    ranked
}
