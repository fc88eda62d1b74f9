//! The recall indexes as the store feeds, keeps and opens them.
//!
//! Invariants: `STO-3` they are derived: lost or damaged, they are built again from the rows; `STO-4` a
//! committed group is in them before the group is acknowledged; `IDX-1` they hold live memories only, whoever
//! may see them.
//!
//! Not here: searching (`read`).

mod open;
mod upkeep;

use std::{collections::BTreeMap, ops::Deref};

use types::Record;

use super::{
    fault::SqlFault,
    row::{self, LIVE},
    write::{
        overlay::Entry,
        prepare::{Indexed, computed_vector},
        vocabulary::Vocabulary,
    },
};
use crate::{
    index::{Attributes, Change, IndexFolder, Prepared, Serving, Unembedded, prepare},
    port::EmbeddingSpace,
};

pub(crate) use open::Sources;
pub(crate) use upkeep::{Task, Upkeep};

/// Everything recall searches, and where its images are kept.
pub struct Indexes {
    serving: Serving,
    folder: IndexFolder,
}

impl Deref for Indexes {
    type Target = Serving;

    fn deref(&self) -> &Serving {
        &self.serving
    }
}

impl Indexes {
    /// Shows a committed group to recall.
    pub(crate) fn apply(
        &self,
        position: u64,
        entries: Vec<Entry>,
        words: &mut Vocabulary,
        space: &EmbeddingSpace,
    ) -> Result<(), SqlFault> {
        let mut vectors = BTreeMap::new();
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            let row = entry.row;
            if let Some((change, vector)) = change(entry, words, space) {
                changes.push(change);
                if let Some(vector) = vector {
                    vectors.insert(row, vector);
                }
            }
        }
        let vector_of = |row| vectors.get(&row).map(Vec::as_slice);
        let refused = self.serving.apply(position, changes, vector_of).map_err(spent)?;
        warn_of(&refused);
        Ok(())
    }
}

/// What a changed memory means for the indexes; `None` when it was not in them and is not now.
fn change(
    entry: Entry,
    words: &mut Vocabulary,
    space: &EmbeddingSpace,
) -> Option<(Change, Option<Vec<f32>>)> {
    let Entry { row: rowid, record, kept, text_changed, indexed, .. } = entry;
    let was_live = kept.is_some_and(|kept| kept.life == LIVE);
    if !record.is_live() {
        return was_live.then_some((Change::Remove { rowid }, None));
    }
    let attributes = attributes(&record, words);
    if was_live && !text_changed {
        return Some((Change::Restate { rowid, attributes }, None));
    }
    let Indexed { words: prepared, vector } = match indexed {
        Some(indexed) => *indexed,
        None => Indexed { words: words_of(&record), vector: vector_of(&record, space) },
    };
    Some((Change::Put { rowid, attributes, prepared }, vector))
}

fn words_of(record: &Record) -> Prepared {
    let tags = record.tags.iter().map(|tag| tag.as_str());
    prepare(record.title.value.as_str(), record.content.value.as_str(), tags)
}

/// The vector that the record carries or its text gives.
fn vector_of(record: &Record, space: &EmbeddingSpace) -> Option<Vec<f32>> {
    let supplied = record.embedding.value.as_ref().map(|embedding| embedding.values.clone());
    let (title, content) = (record.title.value.as_str(), record.content.value.as_str());
    supplied.or_else(|| computed_vector(title, content, space))
}

fn attributes(record: &Record, words: &mut Vocabulary) -> Attributes {
    let ms = |at: Option<u64>| at.map_or(0, row::signed);
    Attributes {
        namespace: words.namespace(record.namespace.as_str()),
        audience: words.audience(record.scope.value.1.as_str()),
        author: words.agent(record.author.as_str()),
        kind: record.kind.value.number(),
        tier: record.tier().number(),
        priority: record.priority.value,
        confidence_permille: record.confidence_permille.value,
        flags: 0,
        created_ms: row::signed(record.created.hlc.wall_ms()),
        updated_ms: row::signed(record.updated.hlc.wall_ms()),
        valid_from_ms: ms(record.validity.value.from_ms),
        valid_until_ms: ms(record.validity.value.until_ms),
        expires_at_ms: ms(record.expires_at_ms()),
        tags: record.tags.iter().map(|tag| words.tag(tag.as_str())).collect(),
    }
    .sorted()
}

fn warn_of(refused: &[Unembedded]) {
    for unembedded in refused {
        let (row, error) = (unembedded.rowid, &unembedded.error);
        tracing::warn!(row, %error, "a memory is found by its words alone");
    }
}

fn spent(error: crate::index::ApplyError) -> SqlFault {
    SqlFault::Damaged { table: "recall index", key: String::new(), problem: error.to_string() }
}
