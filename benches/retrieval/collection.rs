//! The test collection: memories and questions written for this benchmark, each question with the
//! memories that answer it. No judge is needed: whoever wrote the question had the answer in mind.
//!
//! Invariants: every key in a question exists; the digest names exactly the bytes that were read.
//!
//! Not here: the memories among which the answers hide ([`super::distractors`]).

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};

const MEMORIES: &str = include_str!("data/memories.ndjson");
const QUESTIONS: &str = include_str!("data/questions.ndjson");

/// A memory of the collection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Names it in questions.
    pub key: String,
    /// Where it is stored.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its content.
    pub content: String,
}

/// How a question differs from the text that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The same in other words.
    Paraphrase,
    /// The same words in other forms.
    Inflection,
    /// The same words, misspelt.
    Typo,
    /// A few of the words.
    Partial,
    /// Answered by two memories that belong together.
    Neighbour,
}

/// A question with its answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// As it is asked.
    pub question: String,
    /// How it differs from the answer.
    pub kind: Asked,
    /// Keys of the memories that answer it.
    pub relevant: BTreeSet<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The memories, in order of the file.
    pub memories: Vec<Entry>,
    /// The questions, in order of the file.
    pub questions: Vec<Question>,
    /// SHA-256 over both files, in hex.
    pub sha256: String,
}

fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> serde_json::Result<Vec<T>> {
    text.lines().map(serde_json::from_str).collect()
}

/// Reads the collection.
///
/// # Errors
/// A line that is no entry.
pub fn load() -> serde_json::Result<Collection> {
    let digest = Sha256::new().chain_update(MEMORIES).chain_update(QUESTIONS).finalize();
    Ok(Collection {
        memories: lines(MEMORIES)?,
        questions: lines(QUESTIONS)?,
        sha256: hex::encode(digest),
    })
}
