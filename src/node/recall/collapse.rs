//! Near-duplicates: of several hits that say nearly the same, the best one stays.
//!
//! Source: Broder, "On the resemblance and containment of documents" (1997): the share of word
//! 3-shingles in common.
//!
//! Invariant: a hit is taken out only in favour of a better one that stays.
//!
//! Not here: duplicates in the store (`check-duplicate`).

use std::collections::BTreeSet;

use super::Ranked;

/// Words per shingle.
const SHINGLE_WORDS: usize = 3;
/// Words looked at: long contents differ early or not at all.
const WORDS_MAX: usize = 512;

fn shingles(text: &str) -> BTreeSet<Vec<String>> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .take(WORDS_MAX)
        .map(str::to_lowercase)
        .collect();
    if words.len() < SHINGLE_WORDS {
        return BTreeSet::from([words]);
    }
    words.windows(SHINGLE_WORDS).map(<[String]>::to_vec).collect()
}

fn resemblance_permille(a: &BTreeSet<Vec<String>>, b: &BTreeSet<Vec<String>>) -> u16 {
    let common = a.intersection(b).count();
    let all = a.len() + b.len() - common;
    (common * 1000 / all.max(1)) as u16
}

/// Splits ranked hits into those that stay, at most `wanted`, and pairs (taken out, stands for it).
/// Hits after the last one wanted are not looked at and are returned in neither.
pub fn collapse(
    ranked: Vec<Ranked>,
    wanted: usize,
    threshold_permille: u16,
) -> (Vec<Ranked>, Vec<(Ranked, usize)>) {
    let mut kept: Vec<(Ranked, BTreeSet<Vec<String>>)> = Vec::with_capacity(wanted);
    let mut removed = Vec::new();
    for hit in ranked {
        if kept.len() >= wanted {
            break;
        }
        let own = shingles(&hit.memory.content);
        let twin = kept.iter().position(|(other, theirs)| {
            other.memory.content_sha256 == hit.memory.content_sha256
                || resemblance_permille(&own, theirs) >= threshold_permille
        });
        match twin {
            // An empty content resembles every other one; only its title tells it apart.
            Some(_) if hit.memory.content.is_empty() => kept.push((hit, own)),
            Some(at) => removed.push((hit, at)),
            None => kept.push((hit, own)),
        }
    }
    (kept.into_iter().map(|(hit, _)| hit).collect(), removed)
}
