//! The attributes of 1,024 neighbouring slots, column by column.
//!
//! A chunk is the unit that is copied when a writer touches it while a reader holds a snapshot, so it is small; it is
//! also the unit a filter decides at once from column bounds.
//!
//! Invariants: every column has the same length; tag lists are sorted and hold no id twice.

use super::{Attributes, column::Column};

/// Slots per chunk.
pub const CHUNK_SLOTS: u32 = 1024;
/// Words of a mask over one chunk.
pub const CHUNK_WORDS: usize = (CHUNK_SLOTS / u64::BITS) as usize;

/// The columns, in storage order. Appending one is a format change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Rowid,
    Namespace,
    Audience,
    Author,
    Kind,
    Tier,
    Priority,
    ConfidencePermille,
    Flags,
    CreatedMs,
    UpdatedMs,
    ValidFromMs,
    ValidUntilMs,
    ExpiresAtMs,
    /// End of the slot's tag list in `tags`; it begins where the previous slot's ends.
    TagsEnd,
}

/// Number of columns.
pub(crate) const FIELDS: usize = Field::TagsEnd as usize + 1;

/// Columns of up to [`CHUNK_SLOTS`] slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    columns: [Column; FIELDS],
    tags: Vec<u32>,
}

/// A copy that can be appended to without moving again.
impl Clone for Chunk {
    fn clone(&self) -> Self {
        let mut tags = Vec::with_capacity(self.tags.len() + self.tags.len() / 8 + 64);
        tags.extend_from_slice(&self.tags);
        Self { columns: self.columns.clone(), tags }
    }
}

impl Chunk {
    /// How many slots are filled.
    pub fn len(&self) -> usize {
        self.column(Field::Rowid).len()
    }

    /// Whether no slot is filled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn column(&self, field: Field) -> &Column {
        &self.columns[field as usize]
    }

    pub(crate) fn columns(&self) -> &[Column; FIELDS] {
        &self.columns
    }

    pub(crate) fn tag_pool(&self) -> &[u32] {
        &self.tags
    }

    /// Puts a stored chunk back together; `None` when columns or tag lists do not fit each other.
    pub(crate) fn from_parts(columns: [Column; FIELDS], tags: Vec<u32>) -> Option<Self> {
        let chunk = Self { columns, tags };
        let len = chunk.len();
        if len > CHUNK_SLOTS as usize || chunk.columns.iter().any(|column| column.len() != len) {
            return None;
        }
        let mut start = 0;
        for index in 0..len {
            let end = chunk.get(Field::TagsEnd, index);
            if end < start {
                return None;
            }
            start = end;
        }
        (usize::try_from(start).ok()? == chunk.tags.len()).then_some(chunk)
    }

    /// One value; `index` is the position within the chunk.
    #[inline]
    pub(crate) fn get(&self, field: Field, index: usize) -> i64 {
        self.columns[field as usize].get(index)
    }

    /// The sorted tag ids of a slot.
    pub(crate) fn tags(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.get(Field::TagsEnd, index - 1) };
        let end = self.get(Field::TagsEnd, index);
        self.tags.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// Fills the next slot.
    pub(crate) fn push(&mut self, rowid: i64, attributes: &Attributes) {
        self.tags.extend_from_slice(&attributes.tags);
        let values = values(rowid, attributes, self.tags.len() as i64);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// Replaces the attributes of a filled slot; the rowid stays.
    pub(crate) fn set(&mut self, index: usize, attributes: &Attributes) {
        let old = self.tags(index).len();
        if self.tags(index) != attributes.tags {
            let end = self.get(Field::TagsEnd, index) as usize;
            self.tags.splice(end - old..end, attributes.tags.iter().copied());
            let shift = attributes.tags.len() as i64 - old as i64;
            if shift != 0 {
                let ends = &mut self.columns[Field::TagsEnd as usize];
                for later in index..ends.len() {
                    ends.set(later, ends.get(later) + shift);
                }
            }
        }
        let kept = (self.get(Field::Rowid, index), self.get(Field::TagsEnd, index));
        let values = values(kept.0, attributes, kept.1);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.set(index, value);
        }
    }

    /// All attributes of a slot.
    pub(crate) fn attributes(&self, index: usize) -> Attributes {
        // The narrowing casts give back exactly what `values` widened.
        Attributes {
            namespace: self.get(Field::Namespace, index) as u32,
            audience: self.get(Field::Audience, index) as u32,
            author: self.get(Field::Author, index) as u32,
            kind: self.get(Field::Kind, index) as u8,
            tier: self.get(Field::Tier, index) as u8,
            priority: self.get(Field::Priority, index) as u8,
            confidence_permille: self.get(Field::ConfidencePermille, index) as u16,
            flags: self.get(Field::Flags, index) as u8,
            created_ms: self.get(Field::CreatedMs, index),
            updated_ms: self.get(Field::UpdatedMs, index),
            valid_from_ms: self.get(Field::ValidFromMs, index),
            valid_until_ms: self.get(Field::ValidUntilMs, index),
            expires_at_ms: self.get(Field::ExpiresAtMs, index),
            tags: self.tags(index).to_vec(),
        }
    }

    /// Bytes of heap the chunk takes.
    pub fn heap_bytes(&self) -> usize {
        self.columns.iter().map(Column::heap_bytes).sum::<usize>() + self.tags.capacity() * 4
    }
}

/// The values of one slot in the order of [`Field`].
fn values(rowid: i64, attributes: &Attributes, tags_end: i64) -> [i64; FIELDS] {
    [
        rowid,
        attributes.namespace.into(),
        attributes.audience.into(),
        attributes.author.into(),
        attributes.kind.into(),
        attributes.tier.into(),
        attributes.priority.into(),
        attributes.confidence_permille.into(),
        attributes.flags.into(),
        attributes.created_ms,
        attributes.updated_ms,
        attributes.valid_from_ms,
        attributes.valid_until_ms,
        attributes.expires_at_ms,
        tags_end,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::attributes;
    use super::*;

    proptest! {
        #[test]
        fn gives_back_what_was_pushed_and_replaced(
            rows in proptest::collection::vec(attributes(), 1..60),
            replaced in proptest::collection::vec((any::<prop::sample::Index>(), attributes()), 0..6),
        ) {
            let mut plain = rows.clone();
            let mut chunk = Chunk::default();
            for (rowid, row) in (1000..).zip(&rows) {
                chunk.push(rowid, row);
            }
            for (at, row) in replaced {
                let index = at.index(plain.len());
                chunk.set(index, &row);
                plain[index] = row;
            }
            for (index, row) in plain.iter().enumerate() {
                prop_assert_eq!(&chunk.attributes(index), row);
                prop_assert_eq!(chunk.get(Field::Rowid, index), 1000 + index as i64);
            }
            let again = Chunk::from_parts(chunk.columns().clone(), chunk.tag_pool().to_vec());
            prop_assert_eq!(again, Some(chunk));
        }
    }
}
