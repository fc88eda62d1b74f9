//! Candidates for a recall, and near-duplicates.
//!
//! The indexes propose, the rows decide: a filter is resolved to interned ids and given to the indexes,
//! and every row they name is loaded under the same conditions in SQL. An index that lags or is wrong
//! can therefore cost a candidate, never show one. While the indexes are being filled the newest rows are searched
//! instead (`scan`), and the answer says so.
//!
//! Invariants: `STO-2`; `STO-4` the index is asked before the rows are read, and it holds every
//! acknowledged write; `CAN-1` what is returned contains every quoted phrase.
//!
//! Not here: fusing the signals into one order (the node).

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use types::Tag;

use super::{
    changes,
    conditions::{Conditions, namespace_ids},
    duplicates, memories, scan,
    sight::{Sight, usable},
};
use crate::{
    answer::{Candidate, Candidates, MemoryView},
    index::{
        Allowed, Audiences, Filter, Query, Scratch, Serving, Slot, Snapshot,
        vector::{PlanKind, SearchMode, VectorError, VectorIndex},
    },
    port::EmbeddingSpace,
    request::{CandidateQuery, DuplicateQuery, MemoryFilter},
    rows::{
        fault::SqlFault,
        row::{STORED_COLUMNS, signed},
    },
    sql::{Connection, OptionalExtension},
};

/// Most hits looked at to fill the depth with memories that contain a phrase.
const PHRASE_HITS_MAX: usize = 4096;

thread_local! {
    /// Working memory of searches on this thread.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// What there is to search.
pub(crate) enum Source {
    /// The indexes, which have every word.
    Indexes(Arc<Serving>),
    /// The rows themselves, for as long as the indexes are not complete.
    Rows(EmbeddingSpace),
}

impl Source {
    /// What a question is answered from. The flag says that it is not everything.
    fn serving(
        &self,
        connection: &Connection,
        sight: &Sight,
        filter: &MemoryFilter,
        words: &Query,
        now_ms: u64,
    ) -> Result<(Arc<Serving>, bool), SqlFault> {
        Ok(match self {
            Source::Indexes(serving) => (serving.clone(), false),
            Source::Rows(space) => {
                let newest = scan::newest(connection, sight, space, filter, words, now_ms)?;
                newest.recall.advance(changes::head(connection)?);
                (Arc::new(newest), true)
            }
        })
    }
}

/// What a search reads: one state of the lexical index, and the vectors.
struct Searched<'a> {
    /// Words and attributes.
    words: &'a Snapshot,
    /// Vectors, where the store has a space for them.
    vectors: Option<&'a VectorIndex>,
}

/// Scores of a slot so far.
#[derive(Clone, Copy, Default)]
struct Scores {
    lexical: Option<f32>,
    dense: Option<f32>,
}

/// Candidates from both indexes.
pub(crate) fn candidates(
    connection: &Connection,
    sight: &Sight,
    source: &Source,
    query: &CandidateQuery,
) -> Result<Candidates, SqlFault> {
    let words = Query::parse(&query.text);
    let (serving, rebuilding) =
        source.serving(connection, sight, &query.filter, &words, query.now_ms)?;
    let snapshot = serving.recall.snapshot();
    let searched = &Searched { words: &snapshot, vectors: serving.vectors.as_ref() };
    let mut answer = Candidates {
        items: Vec::new(),
        eligible: 0,
        vector_plan: "none".into(),
        position: searched.words.position(),
        rebuilding,
    };
    let Some(filter) = resolve(connection, sight, &query.filter, query.now_ms)? else {
        return Ok(answer);
    };
    let allowed = searched.words.prefilter(&filter);
    answer.eligible = allowed.count().into();
    let mut search = Search {
        searched,
        words,
        allowed,
        depth: query.depth,
        rows: Rows::new(connection, sight, &query.filter, query.now_ms)?,
        found: BTreeMap::new(),
    };
    search.by_words()?;
    if let (Some(index), Some(vector)) = (searched.vectors, &query.vector) {
        answer.vector_plan = search.by_vector(index, vector)?.into();
    }
    let Search { words, found, .. } = search;
    answer.items = found
        .into_iter()
        .map(|(slot, (scores, memory))| {
            let terms =
                if query.explain { terms(searched.words, &words, slot) } else { Vec::new() };
            Candidate { memory, lexical: scores.lexical, dense: scores.dense, terms }
        })
        .collect();
    answer.items.sort_unstable_by_key(|candidate| candidate.memory.id);
    // While a changed memory moves to a new slot, both may be met; one row is one candidate.
    answer.items.dedup_by_key(|candidate| candidate.memory.id);
    Ok(answer)
}

/// A search in progress.
struct Search<'a> {
    searched: &'a Searched<'a>,
    words: Query,
    allowed: Allowed,
    depth: u32,
    rows: Rows<'a>,
    found: BTreeMap<Slot, (Scores, MemoryView)>,
}

impl Search<'_> {
    /// Adds the best memories by words. Phrases are verified on the text, so hits are taken until
    /// enough of them hold or there are no more.
    fn by_words(&mut self) -> Result<(), SqlFault> {
        let depth = self.depth as usize;
        if self.words.is_empty() || depth == 0 {
            return Ok(());
        }
        let (mut wanted, mut taken) = (depth, 0);
        loop {
            let hits = SCRATCH.with_borrow_mut(|scratch| {
                self.searched.words.search_among(&self.words, &self.allowed, wanted, scratch)
            });
            for hit in hits.iter().skip(taken) {
                if let Some(view) = self.load(hit.rowid)? {
                    let lexical = Some(hit.score_milli as f32 / 1000.0);
                    self.found.insert(hit.slot, (Scores { lexical, dense: None }, view));
                }
                if self.found.len() >= depth {
                    return Ok(());
                }
            }
            taken = hits.len();
            if self.words.phrases().is_empty() || taken < wanted || wanted >= PHRASE_HITS_MAX {
                return Ok(());
            }
            wanted = (wanted * 4).min(PHRASE_HITS_MAX);
        }
    }

    /// Adds the nearest memories by vector and gives every candidate both scores; names the plan.
    fn by_vector(&mut self, index: &VectorIndex, vector: &[f32]) -> Result<&'static str, SqlFault> {
        let refused = |error: VectorError| {
            SqlFault::from(types::Reject::from(types::Invalid::new("vector", error.to_string())))
        };
        let nearest =
            index.search(vector, self.depth, &self.allowed, SearchMode::Auto).map_err(refused)?;
        for hit in &nearest.hits {
            if self.found.contains_key(&hit.slot) {
                continue;
            }
            let Some(rowid) = self.searched.words.rowid(hit.slot) else { continue };
            if let Some(view) = self.load(rowid)? {
                self.found.insert(hit.slot, (Scores::default(), view));
            }
        }
        let slots: Vec<Slot> = self.found.keys().copied().collect();
        let scores = index.scores(vector, &slots).map_err(refused)?;
        let milli = self.searched.words.scores_milli(&self.words, &slots);
        for (((scored, _), dense), milli) in self.found.values_mut().zip(scores).zip(milli) {
            scored.dense = dense;
            scored.lexical = (milli > 0).then_some(milli as f32 / 1000.0);
        }
        Ok(match nearest.plan.kind {
            PlanKind::Exact => "exact",
            PlanKind::SignBits => "sign_bits",
            PlanKind::Graph => "hnsw",
        })
    }

    /// The row as it is, if it still passes and has every phrase (`CAN-1`).
    fn load(&self, row: i64) -> Result<Option<MemoryView>, SqlFault> {
        let view = self.rows.load(row)?;
        Ok(view.filter(|view| self.words.verify(&view.title, &view.content)))
    }
}

fn terms(words: &Snapshot, query: &Query, slot: Slot) -> Vec<(String, f32)> {
    let scores = words.explain(query, slot).into_iter();
    scores.map(|term| (term.term, term.score_milli as f32 / 1000.0)).collect()
}

/// Loads rows under all the conditions of a query.
struct Rows<'a> {
    connection: &'a Connection,
    text: String,
    conditions: Conditions,
}

impl<'a> Rows<'a> {
    fn new(
        connection: &'a Connection,
        sight: &Sight,
        filter: &MemoryFilter,
        now_ms: u64,
    ) -> Result<Self, SqlFault> {
        let mut conditions = Conditions::new(sight, now_ms, usable!());
        conditions.filter_all(connection, filter, now_ms)?;
        let row = conditions.next_name();
        let text = format!(
            "SELECT {STORED_COLUMNS} FROM memories WHERE row = {row} AND {}",
            conditions.text()
        );
        Ok(Self { connection, text, conditions })
    }

    fn load(&self, row: i64) -> Result<Option<MemoryView>, SqlFault> {
        let row = row.into();
        let values = self.conditions.values().chain([&row]);
        Ok(memories::query(self.connection, &self.text, values)?.pop().map(memories::view))
    }
}

/// The filter in the numbers that the indexes know; `None` when it names something the store has never
/// seen, which nothing can match.
fn resolve(
    connection: &Connection,
    sight: &Sight,
    filter: &MemoryFilter,
    now_ms: u64,
) -> Result<Option<Filter>, SqlFault> {
    let mut resolved = Filter::new(audiences(connection, sight)?, signed(now_ms));
    if let Some(namespaces) = &filter.namespaces {
        resolved = resolved.namespaces(namespace_ids(connection, namespaces)?.into_iter().map(id));
    }
    if let Some(author) = &filter.author {
        let Some(author) =
            number(connection, "SELECT id FROM names WHERE name = ?1", author.as_str())?
        else {
            return Ok(None);
        };
        resolved = resolved.authors([author]);
    }
    if !filter.kinds.is_empty() {
        resolved = resolved.kinds(filter.kinds.iter().map(|kind| 1u32 << kind.number()).sum());
    }
    if !filter.tiers.is_empty() {
        resolved = resolved.tiers(filter.tiers.iter().map(|tier| 1u8 << tier.number()).sum());
    }
    let mut all_tags = Vec::new();
    for tag in &filter.tags_all {
        match number(connection, "SELECT id FROM tags WHERE name = ?1", tag.as_str())? {
            Some(tag) => all_tags.push(tag),
            None => return Ok(None),
        }
    }
    resolved = resolved.all_tags(all_tags);
    if !filter.tags_any.is_empty() {
        let names: Vec<&str> = filter.tags_any.iter().map(Tag::as_str).collect();
        let json = serde_json::Value::from(names).to_string();
        let text = "SELECT id FROM tags WHERE name IN (SELECT value FROM json_each(?1))";
        resolved = resolved.any_tag(numbers(connection, text, json.into())?);
    }
    let from_ms = filter.created_from_ms.map_or(i64::MIN, signed);
    let to_ms = filter.created_until_ms.map_or(i64::MAX, |until| signed(until).saturating_sub(1));
    resolved = resolved
        .created_between(from_ms, to_ms)
        .min_priority(filter.priority_min.unwrap_or(0))
        .min_confidence_permille(filter.confidence_min_permille.unwrap_or(0));
    resolved = match (filter.include_invalid, filter.as_of_ms) {
        (true, _) => resolved.any_validity(),
        (false, Some(at_ms)) => resolved.as_of(signed(at_ms)),
        (false, None) => resolved,
    };
    Ok(Some(resolved))
}

/// The reader's audiences in the numbers that the index knows.
pub(crate) fn audiences(connection: &Connection, sight: &Sight) -> Result<Audiences, SqlFault> {
    let text =
        "SELECT id FROM audiences WHERE ?1 IS NULL OR name IN (SELECT value FROM json_each(?1))";
    Ok(Audiences::new(numbers(connection, text, sight.parameter())?))
}

/// An interned id; they are given out in order from 1, so they fit.
fn id(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn number(connection: &Connection, text: &str, name: &str) -> Result<Option<u32>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?.map(id))
}

fn numbers(
    connection: &Connection,
    text: &str,
    value: crate::sql::Value,
) -> Result<Vec<u32>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    let rows = statement.query_map([value], |row| row.get(0))?;
    Ok(rows.map(|number| number.map(id)).collect::<Result<_, _>>()?)
}

/// Memories that resemble a text, most similar first, ties by id.
pub(crate) fn near_duplicates(
    connection: &Connection,
    sight: &Sight,
    source: &Source,
    query: &DuplicateQuery,
) -> Result<Vec<(u16, MemoryView)>, SqlFault> {
    let filter = duplicates::filter(query);
    let Some(resolved) = resolve(connection, sight, &filter, query.now_ms)? else {
        return Ok(Vec::new());
    };
    let words = duplicates::question(query);
    let (serving, _) = source.serving(connection, sight, &filter, &words, query.now_ms)?;
    let snapshot = serving.recall.snapshot();
    let hits = SCRATCH
        .with_borrow_mut(|scratch| snapshot.search(&words, &resolved, duplicates::DEPTH, scratch));
    let rows = Rows::new(connection, sight, &filter, query.now_ms)?;
    let loaded = hits.into_iter().filter_map(|hit| rows.load(hit.rowid).transpose());
    Ok(duplicates::alike(query, loaded.collect::<Result<Vec<_>, _>>()?))
}
