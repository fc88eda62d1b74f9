//! Quality of rankings with binary relevance.
//!
//! Definitions as usual (Manning, Raghavan and Schütze, "Introduction to Information Retrieval", ch. 8):
//! nDCG@10 with gain 1 and discount log2(rank + 1); R@k is the share of relevant memories among the first
//! k; MRR is the mean of 1 / rank of the first relevant one within the first 10, else 0.
//!
//! Not here: significance.

use std::collections::BTreeSet;

/// Hits that are judged.
pub const DEPTH: usize = 10;

/// Sums over questions; divide by [`Figures::questions`] through the accessors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Questions judged.
    pub questions: u32,
    sums: [f64; 5],
}

fn gain(rank: usize) -> f64 {
    1.0 / (rank as f64 + 1.0).log2()
}

impl Figures {
    /// Judges one ranking, best first.
    pub fn add(&mut self, ranked: &[String], relevant: &BTreeSet<String>) {
        let ranks: Vec<usize> = ranked
            .iter()
            .take(DEPTH)
            .zip(1..)
            .filter_map(|(key, rank)| relevant.contains(key).then_some(rank))
            .collect();
        let ideal: f64 = (1..=relevant.len().min(DEPTH)).map(gain).sum();
        let found = |depth: usize| {
            ranks.iter().filter(|rank| **rank <= depth).count() as f64 / relevant.len() as f64
        };
        let reciprocal = ranks.first().map_or(0.0, |rank| 1.0 / *rank as f64);
        let dcg: f64 = ranks.iter().map(|rank| gain(*rank)).sum();
        let own = [dcg / ideal, found(1), found(5), found(10), reciprocal];
        self.sums.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
        self.questions += 1;
    }

    /// nDCG@10, R@1, R@5, R@10, MRR@10.
    pub fn means(&self) -> [f64; 5] {
        self.sums.map(|sum| sum / f64::from(self.questions.max(1)))
    }

    /// nDCG@10.
    pub fn ndcg(&self) -> f64 {
        self.means()[0]
    }

    /// MRR@10.
    pub fn mrr(&self) -> f64 {
        self.means()[4]
    }
}
