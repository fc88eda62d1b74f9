//! The built-in embedder: hashed words and character n-grams. No model, no download.
//!
//! Each word and each run of 3 and of 4 characters in it (with word boundaries) is hashed into a signed bucket, one for
//! each component of the vector, 256 unless the operator says otherwise (Weinberger et al., "Feature Hashing for Large
//! Scale Multitask Learning", 2009), weighted by damped frequency, and the sum is normalised. Words too common to tell
//! texts apart are left out where there are others. It finds spelling variants and compounds that words alone miss; it
//! does not understand meaning, and says so in its name.
//!
//! Invariant: a pure function of the text; the same text gives the same vector on every machine.
//!
//! Not here: stemming, which the lexical index does better. Lengths of the runs and weights were chosen with
//! the retrieval benchmark (`docs/adr/0002-fusion.md`).

use std::sync::Arc;

use storage::{
    index::text::stop::is_stop_word,
    port::{EmbeddingSpace, Vectorizer},
};

use super::{Embedded, Embedder};

/// Number of components unless another is asked for.
const DIMENSION: u16 = 256;
/// Characters per n-gram.
const GRAM_CHARS: [usize; 2] = [3, 4];
/// Words looked at.
const WORDS_MAX: usize = 2048;

/// The built-in embedder.
#[derive(Clone, Copy, Debug)]
pub struct LexicalEmbedder {
    /// Number of components, at least 1. More of them tell more words apart, and are larger.
    pub dimension: u16,
}

impl Default for LexicalEmbedder {
    fn default() -> Self {
        Self { dimension: DIMENSION }
    }
}

/// FNV-1a with a final avalanche (Murmur3's finaliser), so that low bits are usable as a bucket.
fn feature_hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The hashes of all features, ascending, each as often as it occurs.
fn features(text: &str) -> Vec<u64> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .take(WORDS_MAX)
        .map(str::to_lowercase)
        .collect();
    let stop: Vec<bool> = words.iter().map(|word| is_stop_word(word)).collect();
    let telling = stop.contains(&false);
    let mut hashes = Vec::with_capacity(text.len() * 2);
    let (mut bounded, mut ends) = (String::new(), Vec::new());
    for (word, _) in words.iter().zip(&stop).filter(|(_, stop)| !telling || !**stop) {
        bounded.clear();
        bounded.extend(std::iter::once('^').chain(word.chars()).chain(['$']));
        // Where each character begins, and where the last one ends.
        ends.clear();
        ends.extend(bounded.char_indices().map(|(at, _)| at).chain([bounded.len()]));
        let bytes = bounded.as_bytes();
        for chars in GRAM_CHARS {
            hashes.extend(ends.windows(chars + 1).map(|w| feature_hash(&bytes[w[0]..w[chars]])));
        }
        hashes.push(feature_hash(bytes));
    }
    hashes.sort_unstable();
    hashes
}

/// The unit vector of a text; `None` when it has no letter or digit.
fn vector(text: &str, dimension: u16) -> Option<Vec<f32>> {
    let mut sum = vec![0f32; usize::from(dimension)];
    for same in features(text).chunk_by(|one, next| one == next) {
        let (hash, count) = (same[0], same.len() as f32);
        let bucket = (hash % u64::from(dimension)) as usize;
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        sum[bucket] += sign * damped(count);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length <= f32::EPSILON {
        return None;
    }
    sum.iter_mut().for_each(|x| *x /= length);
    Some(sum)
}

/// The weight of a feature that occurs so often.
fn damped(count: f32) -> f32 {
    // Most features of a text occur once.
    if count == 1.0 { std::f32::consts::LN_2 } else { (1.0 + count).ln() }
}

impl Vectorizer for LexicalEmbedder {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        vector(text, self.dimension)
    }
}

impl Embedder for LexicalEmbedder {
    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace {
            model: "lexical-hash".into(),
            version: "1".into(),
            dimension: self.dimension,
            vectorizer: Some(Arc::new(*self)),
        }
    }

    fn lexical_share(&self) -> f32 {
        0.8
    }

    fn embed(&self, texts: Vec<String>) -> Embedded<'_> {
        let vectors = texts.iter().map(|text| vector(text, self.dimension)).collect();
        Box::pin(std::future::ready(Ok(vectors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(text: &str) -> Option<Vec<f32>> {
        super::vector(text, DIMENSION)
    }

    fn cosine(a: &str, b: &str) -> f32 {
        let (a, b) = (vector(a).expect("has features"), vector(b).expect("has features"));
        a.iter().zip(&b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn spelling_variants_are_near_and_others_are_not() {
        let variant = cosine("database migrations fail", "the databases' migration failed");
        let other = cosine("database migrations fail", "grandmother bakes plum cake");
        assert!(variant > other + 0.2, "{variant} against {other}");
    }

    #[test]
    fn common_words_count_only_where_there_are_no_others() {
        assert_eq!(vector("what is the backup of this"), vector("backup"));
        assert!(vector("who are you").is_some());
    }

    #[test]
    fn vectors_are_pinned() {
        let v = vector("hive memory").expect("has features");
        let length: f32 = v.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
        let text = "The quick brown fox, the Füchse und 東京の狐; quick quick!";
        let bytes: Vec<u8> =
            vector(text).expect("has features").iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(format!("{:016x}", feature_hash(&bytes)), "739c5128f6567de7");
        assert_eq!(vector("hive memory"), vector("hive memory"));
        assert_eq!(vector("  …  "), None);
    }

    #[test]
    fn vectors_are_as_long_as_was_asked_for() {
        let embedder = LexicalEmbedder { dimension: 384 };
        assert_eq!(embedder.space().dimension, 384);
        let v = embedder.vector("hive memory").expect("has features");
        assert_eq!(v.len(), 384);
        assert!((v.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(v[256..].iter().any(|x| *x != 0.0), "all of them are used");
    }
}
