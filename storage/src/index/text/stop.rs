//! English words too common to tell memories apart.
//!
//! They are indexed like any other word but leave a query that has better ones: a question made of nothing else
//! ("who are you") still finds something.

/// Sorted, lower case. Single letters that are left of contractions (`don't`, `it's`) are among them.
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as",
    "at", "be", "because", "been", "before", "being", "below", "between", "both", "but", "by",
    "can", "could", "d", "did", "do", "does", "doing", "don", "down", "during", "each", "few",
    "for", "from", "further", "had", "has", "have", "having", "he", "her", "here", "hers", "him",
    "his", "how", "i", "if", "in", "into", "is", "it", "its", "itself", "just", "ll", "m", "me",
    "more", "most", "my", "no", "nor", "not", "now", "of", "off", "on", "once", "only", "or",
    "other", "our", "out", "over", "own", "re", "s", "same", "she", "should", "so", "some", "such",
    "t", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "through", "to", "too", "under", "until", "up", "us", "ve", "very", "was", "we", "were",
    "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "would",
    "you", "your",
];

/// Where the words with each first letter begin and end; asked for every word of every text.
const BY_LETTER: [(u8, u8); 26] = {
    let mut ranges = [(0, 0); 26];
    let mut at = 0;
    while at < STOP_WORDS.len() {
        let letter = (STOP_WORDS[at].as_bytes()[0] - b'a') as usize;
        if ranges[letter].1 == 0 {
            ranges[letter].0 = at as u8;
        }
        at += 1;
        ranges[letter].1 = at as u8;
    }
    ranges
};

/// Whether a lower-case word is a stop word.
pub fn is_stop_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let Some(first) = bytes.first().filter(|b| b.is_ascii_lowercase() && bytes.len() <= 7) else {
        return false;
    };
    let (from, to) = BY_LETTER[usize::from(*first - b'a')];
    STOP_WORDS[usize::from(from)..usize::from(to)].iter().any(|stop| stop.as_bytes() == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_short_enough_for_the_shortcut() {
        assert!(STOP_WORDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(STOP_WORDS.iter().all(|word| is_stop_word(word)));
        for other in ["database", "", "ab", "zebra", "The", "été", "b", "yo", "your's"] {
            assert!(!is_stop_word(other), "{other}");
        }
    }
}
