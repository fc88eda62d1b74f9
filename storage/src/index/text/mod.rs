//! From text to terms, the same way for memories and for queries.
//!
//! A term is the 64-bit hash of a stemmed word. Hashes stand in for a dictionary: nothing is shared between the
//! threads that prepare text, and two nodes agree without talking. Two words that collide are ranked as one, nothing
//! worse: visibility never depends on a term.

pub mod prepare;
pub mod query;
pub mod stop;
pub mod words;

use rust_stemmers::{Algorithm, Stemmer};

use super::hash::xxh64;
use stop::is_stop_word;
use words::Piece;

/// The identity of a term.
pub type Term = u64;

const TERM_SEED: u64 = 0;

/// Words outside this length are not English words and are kept as they are.
const STEMMED_BYTES: std::ops::RangeInclusive<usize> = 3..=32;

/// A term met in a text.
pub(crate) struct Met<'a> {
    pub term: Term,
    /// The lower-cased text as it was written.
    pub written: &'a str,
    pub piece: Piece,
    pub stop: bool,
}

/// Turns text into terms: English (Porter 2) stems for plain words, everything else as written.
pub(crate) struct Analyzer {
    stemmer: Stemmer,
}

impl Analyzer {
    pub(crate) fn new() -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English) }
    }

    /// Calls `see` with every term of `text`.
    pub(crate) fn each_term(&self, text: &str, mut see: impl FnMut(Met<'_>)) {
        words::each_piece(text, |piece, written| {
            let stop = piece != Piece::Compound && is_stop_word(written);
            let plain = piece != Piece::Compound
                && !stop
                && STEMMED_BYTES.contains(&written.len())
                && written.bytes().all(|byte| byte.is_ascii_alphabetic());
            let term = if plain {
                xxh64(TERM_SEED, self.stemmer.stem(written).as_bytes())
            } else {
                xxh64(TERM_SEED, written.as_bytes())
            };
            see(Met { term, written, piece, stop });
        });
    }
}
