//! What a committed group means for the indexes.
//!
//! Invariant: both indexes, where there are two, get every change in the order of the commits.
//!
//! Not here: rows that were there before (`build`).

use types::Record;

use super::{
    Indexes, Vectors,
    numbers::{Kind, Numbers},
};
use crate::{
    index::{Attributes, Change, Prepared, Serving, Unembedded, prepare},
    port::EmbeddingSpace,
    rows::{
        fault::SqlFault,
        row::{self, LIVE},
        write::{
            overlay::Entry,
            prepare::{Indexed, computed_vector},
            vocabulary::Vocabulary,
        },
    },
};

impl Indexes {
    /// Shows a committed group to recall.
    pub(crate) fn apply(
        &self,
        position: u64,
        entries: Vec<Entry>,
        words: &mut Vocabulary,
        space: &EmbeddingSpace,
    ) -> Result<(), SqlFault> {
        let mut vectors = Vectors::new();
        let mut changes = Vec::with_capacity(entries.len());
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let row = entry.row;
            rows.push(row);
            if let Some((change, vector)) = change(entry, words, space)? {
                changes.push(change);
                if let Some(vector) = vector {
                    vectors.insert(row, vector);
                }
            }
        }
        let mut filling = self.filling.lock();
        let serving = self.serving();
        if let Some(filling) = filling.as_mut() {
            filling.touched.extend(rows);
            if !std::ptr::eq(&*filling.into, &*serving) {
                apply_to(&filling.into, position, changes.clone(), &vectors)?;
            }
        }
        apply_to(&serving, position, changes, &vectors)
    }

    /// Adds a vector that a model computed after the commit.
    pub(crate) fn add_vector(&self, row: i64, vector: &[f32]) {
        let filling = self.filling.lock();
        let serving = self.serving();
        let next = filling.as_ref().map(|filling| filling.into.clone());
        let next = next.filter(|next| !std::ptr::eq(&**next, &*serving));
        for indexes in [Some(serving), next].into_iter().flatten() {
            if let Err(error) = indexes.add_vector(row, vector) {
                tracing::warn!(row, %error, "a memory is found by its words alone");
            }
        }
    }
}

fn apply_to(
    serving: &Serving,
    position: u64,
    changes: Vec<Change>,
    vectors: &Vectors,
) -> Result<(), SqlFault> {
    let vector_of = |row| vectors.get(&row).map(Vec::as_slice);
    let refused = serving.apply(position, changes, vector_of).map_err(spent)?;
    warn_of(&refused);
    Ok(())
}

/// A change, and the vector of the row where one is known.
type WithVector = (Change, Option<Vec<f32>>);

/// What a changed memory means for the indexes; `None` when it was not in them and is not now.
fn change(
    entry: Entry,
    words: &mut Vocabulary,
    space: &EmbeddingSpace,
) -> Result<Option<WithVector>, SqlFault> {
    let is_behind = entry.is_behind();
    let Entry { row: rowid, record, shown, kept, text_changed, indexed, .. } = entry;
    let record = shown.map_or(record, |shown| shown.record);
    let was_live = kept.is_some_and(|kept| kept.life == LIVE);
    if !record.is_live() || is_behind {
        return Ok(was_live.then_some((Change::Remove { rowid }, None)));
    }
    let attributes = attributes(&record, words)?;
    if was_live && !text_changed {
        return Ok(Some((Change::Restate { rowid, attributes }, None)));
    }
    let Indexed { words: prepared, vector } = match indexed {
        Some(indexed) => *indexed,
        None => Indexed { words: words_of(&record), vector: vector_of(&record, space) },
    };
    Ok(Some((Change::Put { rowid, attributes, prepared }, vector)))
}

/// A live record as an index takes it.
pub(crate) fn put(
    rowid: i64,
    record: &Record,
    numbers: &mut impl Numbers,
) -> Result<Change, SqlFault> {
    let attributes = attributes(record, numbers)?;
    Ok(Change::Put { rowid, attributes, prepared: words_of(record) })
}

pub(crate) fn words_of(record: &Record) -> Prepared {
    let tags = record.tags.iter().map(|tag| tag.as_str());
    prepare(record.title.value.as_str(), record.content.value.as_str(), tags)
}

/// The vector that the record carries or its text gives.
pub(crate) fn vector_of(record: &Record, space: &EmbeddingSpace) -> Option<Vec<f32>> {
    let supplied = record.embedding.value.as_ref().map(|embedding| embedding.values.clone());
    let (title, content) = (record.title.value.as_str(), record.content.value.as_str());
    supplied.or_else(|| computed_vector(title, content, space))
}

fn attributes(record: &Record, numbers: &mut impl Numbers) -> Result<Attributes, SqlFault> {
    let ms = |at: Option<u64>| at.map_or(0, row::signed);
    let mut tags = Vec::new();
    for tag in record.tags.iter() {
        tags.push(numbers.number(Kind::Tag, tag.as_str())?);
    }
    Ok(Attributes {
        namespace: numbers.number(Kind::Namespace, record.namespace.as_str())?,
        audience: numbers.number(Kind::Audience, record.scope.value.1.as_str())?,
        author: numbers.number(Kind::Agent, record.author.as_str())?,
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
        tags,
    }
    .sorted())
}

pub(super) fn warn_of(refused: &[Unembedded]) {
    for unembedded in refused {
        let (row, error) = (unembedded.rowid, &unembedded.error);
        tracing::warn!(row, %error, "a memory is found by its words alone");
    }
}

pub(super) fn spent(error: crate::index::ApplyError) -> SqlFault {
    SqlFault::Damaged { table: "recall index", key: String::new(), problem: error.to_string() }
}
