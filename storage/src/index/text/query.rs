//! A search text, understood: the terms to rank by and the phrases to insist on.
//!
//! Text in double quotes is a phrase: its words must occur in this order with nothing between. Postings hold no
//! positions, so the index offers the memories that have all the words and the caller, who has the text, asks
//! [`Phrase::matches`]. An unclosed quote is an ordinary character.

use super::{Analyzer, Term, words::words};

/// Terms beyond this many are dropped, commonest first, when the search begins.
pub const QUERY_TERMS_MAX: usize = 48;

/// One term of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTerm {
    /// As the user wrote it, lower-cased.
    pub written: String,
    pub(crate) term: Term,
    /// Whether a phrase demands it.
    pub required: bool,
}

/// Words that must stand next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    words: Vec<String>,
}

impl Phrase {
    /// Whether `text` has the words in this order with nothing but punctuation between them. Case is ignored, endings
    /// are not: quoted text means exactly this.
    pub fn matches(&self, text: &str) -> bool {
        words(text).windows(self.words.len()).any(|window| window == self.words)
    }

    /// The words, lower-cased.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

/// A parsed search text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    terms: Vec<QueryTerm>,
    phrases: Vec<Phrase>,
}

impl Query {
    /// Understands a search text. Stop words are dropped unless there is nothing else.
    pub fn parse(text: &str) -> Self {
        let mut phrases = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('"') {
            let Some((quoted, next)) = after.split_once('"') else { break };
            let words = words(quoted);
            if !words.is_empty() {
                phrases.push(Phrase { words });
            }
            rest = next;
        }
        let analyzer = Analyzer::new();
        let mut all: Vec<(QueryTerm, bool)> = Vec::new();
        analyzer.each_term(text, |met| {
            if !all.iter().any(|(have, _)| have.term == met.term) {
                let written = met.written.to_owned();
                all.push((QueryTerm { written, term: met.term, required: false }, met.stop));
            }
        });
        if all.iter().any(|(_, stop)| !stop) {
            all.retain(|(_, stop)| !stop);
        }
        let mut terms: Vec<QueryTerm> = all.into_iter().map(|(term, _)| term).collect();
        for word in phrases.iter().flat_map(Phrase::words) {
            analyzer.each_term(word, |met| {
                if let Some(have) = terms.iter_mut().find(|have| have.term == met.term) {
                    have.required = true;
                }
            });
        }
        Self { terms, phrases }
    }

    /// The terms, in the order of their first use.
    pub fn terms(&self) -> &[QueryTerm] {
        &self.terms
    }

    /// The phrases a result must contain; see [`Query::verify`].
    pub fn phrases(&self) -> &[Phrase] {
        &self.phrases
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a memory has every phrase of the query, each in its title or in its content.
    pub fn verify(&self, title: &str, content: &str) -> bool {
        self.phrases.iter().all(|phrase| phrase.matches(title) || phrase.matches(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let query = Query::parse(text);
        let mark = |term: &QueryTerm| match term.required {
            true => format!("+{}", term.written),
            false => term.written.clone(),
        };
        query.terms().iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn stop_words_leave_unless_they_are_all_there_is() {
        assert_eq!(written("where is the backup of the database"), "backup database");
        assert_eq!(written("who are you"), "who are you");
        assert!(Query::parse(" ?! ").is_empty());
    }

    #[test]
    fn repeated_and_inflected_words_count_once() {
        assert_eq!(written("deploy deploys deployed"), "deploy");
    }

    #[test]
    fn phrases_are_required_and_verified_word_by_word() {
        let query = Query::parse(r#"why "Quick brown-fox" jumped"#);
        assert_eq!(
            written(r#"why "Quick brown-fox" jumped"#),
            "+quick +brown +fox brown-fox jumped"
        );
        assert!(query.verify("", "the quick, brown fox jumps"));
        assert!(query.verify("Quick Brown Fox", ""));
        assert!(!query.verify("quick", "brown fox"));
        assert!(!query.verify("", "brown quick fox"));
        assert!(!query.verify("", "quick brown foxes"));
    }

    #[test]
    fn an_unclosed_quote_is_ordinary() {
        let query = Query::parse(r#"say "hello"#);
        assert!(query.phrases().is_empty());
        assert_eq!(query.terms().len(), 2);
    }

    #[test]
    fn a_phrase_of_stop_words_is_kept_whole() {
        let query = Query::parse(r#""to be or not to be""#);
        assert!(query.terms().iter().all(|term| term.required));
        assert!(query.verify("", "Hamlet: to be, or not to be?"));
    }
}
