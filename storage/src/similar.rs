//! How alike two texts are: the resemblance of their sets of word shingles.
//!
//! Source: Broder, "On the Resemblance and Containment of Documents" (1997). A shingle is a run of
//! three words; the resemblance is the number of shared shingles over the number of all (Jaccard).
//! Texts are short here, so the sets are compared exactly, without sketches.
//!
//! Invariants: `SIM-1` the resemblance is symmetric, 1000 permille exactly for texts with the same
//! shingles, and an integer: no floating point decides.
//!
//! Not here: finding texts worth comparing (the lexical index does).

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// Words per shingle.
const SHINGLE_WORDS: usize = 3;

/// The shingles of a text, each reduced to 8 bytes of its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shingles(BTreeSet<u64>);

impl Shingles {
    /// The shingles of a memory's title and content: words are runs of letters and digits, in lower
    /// case. A text shorter than a shingle is one shingle by itself.
    pub fn of(title: &str, content: &str) -> Self {
        let words: Vec<String> = [title, content]
            .iter()
            .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        if words.is_empty() {
            return Self(BTreeSet::new());
        }
        Self(words.windows(SHINGLE_WORDS.min(words.len())).map(shingle).collect())
    }

    /// Shared shingles over all shingles, in permille, rounded down; 0 when either has none.
    pub fn resemblance_permille(&self, other: &Self) -> u16 {
        let shared = self.0.intersection(&other.0).count();
        let all = self.0.len() + other.0.len() - shared;
        if shared == 0 {
            return 0;
        }
        // A quotient of at most 1000: `shared` never exceeds `all`.
        (shared * 1000 / all) as u16
    }
}

fn shingle(words: &[String]) -> u64 {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest[..8].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permille(a: &str, b: &str) -> u16 {
        let (a, b) = (Shingles::of("", a), Shingles::of("", b));
        assert_eq!(a.resemblance_permille(&b), b.resemblance_permille(&a), "SIM-1");
        a.resemblance_permille(&b)
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert_eq!(permille("The disk is full.", "the DISK -- is full"), 1000);
    }

    #[test]
    fn one_word_changed_in_eight_leaves_half() {
        // Six shingles each, three of which contain the changed word: 3 shared of 9.
        assert_eq!(permille("a b c d e f g h", "a b c X e f g h"), 333);
        assert_eq!(permille("a b c d e f g h", "a b c d e f g X"), 714);
    }

    #[test]
    fn short_and_empty_texts_compare_too() {
        assert_eq!(permille("yes", "yes"), 1000);
        assert_eq!(permille("yes", "no"), 0);
        assert_eq!(permille("", ""), 0);
        assert_eq!(permille("one two", "one two three"), 0);
    }

    #[test]
    fn word_boundaries_are_part_of_a_shingle() {
        assert_eq!(permille("ab c d", "a bc d"), 0);
    }
}
