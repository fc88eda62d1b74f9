//! Recall without the indexes: while they are being filled, the newest rows are searched instead.
//!
//! The rows that the filter admits among the newest are put into small indexes of their own, made for one question and
//! dropped after it, so that words and vectors rank as they always do.
//!
//! Invariants: `STO-2` holds as everywhere, each statement carries the reader's sight; `SCAN-1` the work is bounded
//! whatever the store holds: [`WINDOW_ROWS`] rows are looked at and at most twice [`TAKEN_ROWS`] indexed.
//!
//! Not here: ranking (`candidates`).

use std::collections::BTreeSet;

use super::{
    conditions::{Conditions, json_numbers},
    memories,
    sight::{Sight, usable},
};
use crate::{
    index::{
        Change, Query, RecallIndex, Serving,
        vector::{Space, VectorConfig, VectorIndex},
    },
    port::EmbeddingSpace,
    request::MemoryFilter,
    rows::{
        fault::SqlFault,
        indexes::{Known, Looked, put, vector_of},
        row::STORED_COLUMNS,
    },
    sql::{Connection, Value, params_from_iter},
};

/// Newest rows looked at.
const WINDOW_ROWS: i64 = 20_000;
/// Rows taken for having most of the words, and as many for being the newest.
const TAKEN_ROWS: usize = 400;
/// Words looked for in the text of a row, the longest of a question: longer words are rarer.
const WORDS: usize = 8;
/// A word is looked for without its ending, which the stemmer may treat alike: so many characters stay at least.
const STEM_CHARACTERS: usize = 4;
/// Characters of the longest ending left out.
const ENDING_CHARACTERS: usize = 3;

/// Indexes of the newest rows that the filter admits and that have words of the question, or are the very newest.
pub(crate) fn newest(
    connection: &Connection,
    sight: &Sight,
    space: &EmbeddingSpace,
    filter: &MemoryFilter,
    words: &Query,
    now_ms: u64,
) -> Result<Serving, SqlFault> {
    let mut conditions = Conditions::new(sight, now_ms, usable!());
    conditions.filter_all(connection, filter, now_ms)?;
    let window = format!(
        "FROM memories WHERE row > (SELECT coalesce(max(row), 0) FROM memories) - {WINDOW_ROWS} AND {}",
        conditions.text()
    );
    let text = format!("SELECT row {window} ORDER BY row DESC LIMIT {TAKEN_ROWS}");
    let mut rows: BTreeSet<i64> = numbers(connection, &text, &conditions)?.into_iter().collect();
    let parts = parts(words);
    if !parts.is_empty() {
        let parts = conditions.bind(serde_json::Value::from(parts).to_string());
        let text = format!(
            "SELECT row FROM (SELECT row,
                (SELECT count(*) FROM json_each({parts}) w
                 WHERE instr(lower(title || ' ' || content), w.value)) AS met {window})
             WHERE met > 0 ORDER BY met DESC, row DESC LIMIT {TAKEN_ROWS}"
        );
        rows.extend(numbers(connection, &text, &conditions)?);
    }
    index(connection, space, &rows)
}

/// The question's longest words, and their beginnings: a row that has both has the word itself.
fn parts(words: &Query) -> Vec<String> {
    let mut written: Vec<&str> = words.terms().iter().map(|term| term.written.as_str()).collect();
    written.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    let beginning = |word: &str| -> String {
        let characters = word.chars().count();
        let kept = characters.saturating_sub(ENDING_CHARACTERS).max(STEM_CHARACTERS);
        word.chars().take(kept).collect()
    };
    written.iter().take(WORDS).flat_map(|word| [(*word).to_owned(), beginning(word)]).collect()
}

fn numbers(
    connection: &Connection,
    text: &str,
    conditions: &Conditions,
) -> Result<Vec<i64>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    let rows = statement.query_map(params_from_iter(conditions.values()), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn index(
    connection: &Connection,
    space: &EmbeddingSpace,
    rows: &BTreeSet<i64>,
) -> Result<Serving, SqlFault> {
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories
         WHERE row IN (SELECT CAST(value AS INTEGER) FROM json_each(?1)) ORDER BY row"
    );
    let rows: Vec<i64> = rows.iter().copied().collect();
    let stored = memories::query(connection, &text, &[Value::Text(json_numbers(&rows))])?;
    let mut known = Known::new();
    let mut names = Looked::new(connection, &mut known);
    let mut changes: Vec<Change> = Vec::with_capacity(stored.len());
    for stored in &stored {
        changes.push(put(stored.row, &stored.record, &mut names)?);
    }
    let vectors: Vec<(i64, Vec<f32>)> = stored
        .iter()
        .filter_map(|stored| Some((stored.row, vector_of(&stored.record, space)?)))
        .collect();
    let serving = Serving { recall: RecallIndex::new(0), vectors: vector_index(space) };
    let vector_of = |row| {
        let at = vectors.binary_search_by_key(&row, |(row, _)| *row).ok()?;
        Some(vectors[at].1.as_slice())
    };
    serving.feed(changes, vector_of).map_err(|error| SqlFault::Damaged {
        table: "memories",
        key: "the newest rows".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(serving)
}

fn vector_index(space: &EmbeddingSpace) -> Option<VectorIndex> {
    let EmbeddingSpace { model, version, dimension, .. } = space;
    let space = Space { model: model.clone(), version: version.clone(), dimension: *dimension };
    // A space without dimensions has no vectors.
    VectorIndex::new(space, VectorConfig::default()).ok()
}
