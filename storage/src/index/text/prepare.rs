//! The lexical half of a memory, worked out on the caller's thread before the write section.
//!
//! Each term gets its *impact*: the term-frequency part of BM25, `tf / (tf + k1 (1 - b + b dl / avgdl))`, in 1/255.
//! It is final when the memory is written because `avgdl` is a constant, not the moving average: a stored impact never
//! has to be touched again, and two nodes with different corpora agree. Everything is integer arithmetic.
//!
//! Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009); fields are summed
//! into one weighted frequency as in BM25F.

use super::{Analyzer, Term, words::Piece};

/// k1 in 1/1000.
pub(crate) const K1_PERMILLE: u64 = 1200;
/// b in 1/100.
const B_PERCENT: u64 = 75;
/// The length, in words that are no stop words, at which a memory is neither favoured nor handicapped.
const TYPICAL_WORDS: u64 = 40;
/// Longer texts are handicapped as if they had this many words; beyond it 8 bits could not tell frequencies apart.
const LONGEST_WORDS: u64 = 10 * TYPICAL_WORDS;
/// How often a word of the title, of a tag, of the content counts.
const TITLE_WEIGHT: u64 = 3;
const TAG_WEIGHT: u64 = 2;
const CONTENT_WEIGHT: u64 = 1;

/// The terms of one memory with their impacts, ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prepared {
    /// Ascending by term, none twice, impacts `1..=255`.
    pub(crate) terms: Vec<(Term, u8)>,
}

impl Prepared {
    /// How many distinct terms the memory has.
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Whether the memory has no searchable text.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// Analyses a memory's text. Pure and free of locks: call it before the write section.
pub fn prepare<'a>(
    title: &str,
    content: &str,
    tags: impl IntoIterator<Item = &'a str>,
) -> Prepared {
    let analyzer = Analyzer::new();
    let mut met: Vec<(Term, u64)> = Vec::with_capacity(content.len() / 5 + 16);
    let mut words = 0u64;
    let mut take = |text: &str, weight: u64| {
        analyzer.each_term(text, |found| {
            words += u64::from(found.piece == Piece::Word && !found.stop);
            met.push((found.term, weight));
        });
    };
    take(title, TITLE_WEIGHT);
    take(content, CONTENT_WEIGHT);
    for tag in tags {
        take(tag, TAG_WEIGHT);
    }
    met.sort_unstable_by_key(|(term, _)| *term);
    let terms = met
        .chunk_by(|one, next| one.0 == next.0)
        .map(|same| (same[0].0, impact(same.iter().map(|(_, weight)| weight).sum(), words)))
        .collect();
    Prepared { terms }
}

/// The impact of a weighted frequency in a memory of `words` words.
fn impact(frequency: u64, words: u64) -> u8 {
    let length = words.min(LONGEST_WORDS);
    // k1 (1 - b + b dl / avgdl), in 1/1000.
    let damping = K1_PERMILLE * ((100 - B_PERCENT) * TYPICAL_WORDS + B_PERCENT * length)
        / (100 * TYPICAL_WORDS);
    let scaled = frequency * 1000;
    let rounded = (scaled * 255 + (scaled + damping) / 2) / (scaled + damping);
    rounded.clamp(1, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impact_of(prepared: &Prepared, word: &str) -> Option<u8> {
        let mut term = 0;
        Analyzer::new().each_term(word, |met| term = met.term);
        prepared.terms.iter().find(|(have, _)| *have == term).map(|(_, impact)| *impact)
    }

    #[test]
    fn inflections_share_a_term_and_titles_weigh_more() {
        let prepared = prepare("Database migrations", "we migrate nightly", ["ops"]);
        let (title, body) = (impact_of(&prepared, "databases"), impact_of(&prepared, "nightly"));
        assert!(title > body && body.is_some());
        assert!(impact_of(&prepared, "migrating") > title);
        assert!(impact_of(&prepared, "ops") > body);
        assert_eq!(impact_of(&prepared, "absent"), None);
    }

    #[test]
    fn impacts_grow_with_frequency_and_shrink_with_length() {
        assert!(impact(2, 40) > impact(1, 40));
        assert!(impact(1, 10) > impact(1, 40));
        assert_eq!(impact(1, LONGEST_WORDS), impact(1, 1_000_000));
        // tf = 1 at the typical length is 1 / 2.2 of 255.
        assert_eq!(impact(1, 40), 116);
    }

    #[test]
    fn terms_are_sorted_and_distinct() {
        let prepared = prepare("b a b", "c_d c d cD", []);
        assert!(prepared.terms.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(prepare("", "", []).is_empty());
    }
}
