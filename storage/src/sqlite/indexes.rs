//! The recall index as the store feeds it.
//!
//! Invariants: `STO-3` it is derived: lost or damaged, it is built again from the rows; `STO-4` a
//! committed group is in it before the group is acknowledged; `IDX-1` it holds live memories only, whoever
//! may see them.
//!
//! Not here: searching (`read`).

use std::sync::Arc;

use rusqlite::Connection;
use types::Record;

use super::{
    fault::SqlFault,
    row::{self, LIVE, STORED_COLUMNS},
    write::{
        overlay::Entry,
        prepare::{Indexed, computed_vector},
        vocabulary::Vocabulary,
    },
};
use crate::{
    index::{Attributes, Change, Rebuild, RecallIndex, prepare},
    port::EmbeddingSpace,
};

/// Rows given to a rebuild at once.
const SLICE_ROWS: usize = 500;

/// Everything recall searches.
pub struct Indexes {
    /// Words and attributes.
    pub recall: RecallIndex,
}

impl Indexes {
    /// Builds them from the rows.
    pub(crate) fn build(
        connection: &Connection,
        words: &mut Vocabulary,
        position: u64,
    ) -> Result<Arc<Self>, SqlFault> {
        let mut rebuild = Rebuild::new(runtime::random::u64(), position);
        let sql = format!("SELECT {STORED_COLUMNS} FROM memories WHERE life = 0 ORDER BY row");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut slice = Vec::with_capacity(SLICE_ROWS);
        while let Some(found) = rows.next()? {
            let stored = row::stored(found)?;
            slice.push(Change::Put {
                rowid: stored.row,
                attributes: attributes(&stored.record, words),
                prepared: words_of(&stored.record),
            });
            if slice.len() == SLICE_ROWS {
                rebuild.feed(std::mem::take(&mut slice)).map_err(spent)?;
            }
        }
        rebuild.feed(slice).map_err(spent)?;
        Ok(Arc::new(Self { recall: rebuild.finish(Vec::new()).map_err(spent)? }))
    }

    /// Shows a committed group to recall.
    pub(crate) fn apply(
        &self,
        position: u64,
        entries: Vec<Entry>,
        words: &mut Vocabulary,
        space: &EmbeddingSpace,
    ) -> Result<(), SqlFault> {
        let changes = entries.into_iter().filter_map(|entry| change(entry, words, space));
        self.recall.apply(position, changes.collect()).map_err(spent)?;
        Ok(())
    }
}

/// What a changed memory means for the index; `None` when it was not in it and is not now.
fn change(entry: Entry, words: &mut Vocabulary, space: &EmbeddingSpace) -> Option<Change> {
    let Entry { row: rowid, record, kept, text_changed, indexed, .. } = entry;
    let was_live = kept.is_some_and(|kept| kept.life == LIVE);
    if !record.is_live() {
        return was_live.then_some(Change::Remove { rowid });
    }
    let attributes = attributes(&record, words);
    if was_live && !text_changed {
        return Some(Change::Restate { rowid, attributes });
    }
    let Indexed { words: prepared, vector: _ } = match indexed {
        Some(indexed) => *indexed,
        None => Indexed { words: words_of(&record), vector: vector_of(&record, space) },
    };
    Some(Change::Put { rowid, attributes, prepared })
}

fn words_of(record: &Record) -> crate::index::Prepared {
    let tags = record.tags.iter().map(|tag| tag.as_str());
    prepare(record.title.value.as_str(), record.content.value.as_str(), tags)
}

fn vector_of(record: &Record, space: &EmbeddingSpace) -> Option<Vec<f32>> {
    let supplied = record.embedding.value.as_ref().map(|embedding| embedding.values.clone());
    supplied.or_else(|| {
        computed_vector(record.title.value.as_str(), record.content.value.as_str(), space)
    })
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

fn spent(error: crate::index::ApplyError) -> SqlFault {
    SqlFault::Damaged { table: "recall index", key: String::new(), problem: error.to_string() }
}
