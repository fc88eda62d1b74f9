//! Ranking: from candidates with two signals to an ordered answer.
//!
//! The two signals are min-max normalised over the candidates and added with weights (a convex
//! combination; Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", 2023), then
//! multiplied by factors for tier, age, priority and confidence that stay near 1.
//!
//! Invariants: `RNK-1` the order is a pure function of the candidates, the time and the weights,
//! with ties broken by id; `RNK-2` with a dense weight of 0 the order is that of BM25 and the factors.
//!
//! Not here: finding candidates (`storage`) and visibility (already enforced there).

pub mod collapse;
mod rank;

pub use rank::{Ranked, rank};

/// Weights of the ranking; measured defaults in `docs/adr/0002-fusion.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// Share of the lexical signal, 0 to 1; the dense signal has the rest.
    pub lexical_share: f32,
    /// How much a tier step adds, e.g. 0.05 for 5 %.
    pub tier_step: f32,
    /// How much a memory of age 0 gains over a very old one.
    pub recency_gain: f32,
    /// Age at which half of the recency gain is left, in days.
    pub recency_half_life_days: f32,
    /// How much a priority step (from 5) adds.
    pub priority_step: f32,
    /// Share of the score that full doubt takes away.
    pub doubt_loss: f32,
    /// Two hits with at least this share of word shingles in common are one, permille.
    pub near_duplicate_permille: u16,
}

impl Default for Ranking {
    fn default() -> Self {
        Self {
            lexical_share: 0.8,
            tier_step: 0.02,
            recency_gain: 0.05,
            recency_half_life_days: 30.0,
            priority_step: 0.01,
            doubt_loss: 0.2,
            near_duplicate_permille: 900,
        }
    }
}
