//! Generated memories and questions with the statistics of language: Zipf-distributed words, a few
//! words of the topic repeated, titles that say what the content is about.
//!
//! Invariant: a pure function of seed and number.

use crate::node::model::MemoryDraft;

/// Words in the vocabulary.
const VOCABULARY: u64 = 30_000;
/// Most frequent words, which topics and questions avoid, as natural questions do.
const FREQUENT: u64 = 60;
/// Namespaces the memories are spread over.
const NAMESPACES: u64 = 20;

/// SplitMix64 (Steele et al. 2014).
struct Generator(u64);

impl Generator {
    fn of(seed: u64, number: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A rank whose frequency falls with its value (Zipf with exponent 1, by inversion).
    fn rank(&mut self, from: u64) -> u64 {
        let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let span = (VOCABULARY as f64 / (from + 1) as f64).ln();
        let rank = ((from + 1) as f64 * (share * span).exp()) as u64;
        rank.saturating_sub(1).clamp(from, VOCABULARY - 1)
    }
}

/// The word of a rank: pronounceable, distinct, longer when rarer.
fn word(rank: u64) -> String {
    const HEADS: [&str; 16] =
        ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "br"];
    const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ai"];
    let mut rest = rank;
    let mut text = String::new();
    loop {
        text.push_str(HEADS[(rest % 16) as usize]);
        rest /= 16;
        text.push_str(VOWELS[(rest % 6) as usize]);
        rest /= 6;
        if rest == 0 {
            // Closes the word, so that no word is the beginning of another by construction alone.
            text.push('n');
            return text;
        }
    }
}

fn topic(generator: &mut Generator) -> [u64; 4] {
    std::array::from_fn(|_| generator.rank(FREQUENT))
}

fn sentence(generator: &mut Generator, topic: &[u64; 4], words: u64) -> String {
    let mut text = String::new();
    for n in 0..words {
        let of_topic = generator.below(5) == 0;
        let rank = if of_topic { topic[generator.below(4) as usize] } else { generator.rank(0) };
        if n > 0 {
            text.push(' ');
        }
        text.push_str(&word(rank));
    }
    text
}

/// The `number`-th memory of a seed.
pub fn memory(seed: u64, number: u64) -> MemoryDraft {
    let mut generator = Generator::of(seed, number);
    let topic = topic(&mut generator);
    let title_words: Vec<String> = topic.iter().take(3).map(|rank| word(*rank)).collect();
    let length = 20 + generator.below(60);
    MemoryDraft {
        namespace: Some(format!("bench/n{}", generator.below(NAMESPACES))),
        title: format!("{} {number}", title_words.join(" ")),
        content: sentence(&mut generator, &topic, length),
        tier: Some("long".into()),
        // Whoever asks, by whichever way, may see it.
        scope: Some("collective".into()),
        tags: vec![format!("t{}", generator.below(50))],
        ..MemoryDraft::default()
    }
}

/// A three-word question about the `number`-th memory.
pub fn question(seed: u64, number: u64) -> String {
    let topic = topic(&mut Generator::of(seed, number));
    format!("{} {} {}", word(topic[0]), word(topic[1]), word(topic[3]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_distinct_and_the_data_is_pinned() {
        let words: BTreeSet<String> = (0..VOCABULARY).map(word).collect();
        assert_eq!(words.len() as u64, VOCABULARY);
        assert_eq!(memory(1, 7), memory(1, 7));
        assert_ne!(memory(1, 7), memory(2, 7));
        let first = question(1, 7).split(' ').next().map(str::to_owned).expect("three words");
        assert!(memory(1, 7).title.starts_with(&first), "a question is about its memory");
    }
}
