//! Filling indexes from the rows, in slices, while the writer goes on.
//!
//! The writer feeds its commits into the same indexes meanwhile, so the rows to read are those from before, and there
//! is an end to them. A row that the writer changed between the reading of its slice and the feeding of it is read
//! again: what was read may be older than what the writer fed, or gone.
//!
//! Invariants: `BLD-1` a slice is fed under the lock that the writer feeds under, without the rows it touched since the
//! slice was begun; `BLD-2` a step that fails changes nothing and can be repeated; `BLD-3` words come before vectors: a
//! memory without a vector is found, one without words is not.
//!
//! Not here: when steps are taken (`upkeep`), and deciding what is missing (`open`).

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use half::f16;
use types::Record;

use super::{
    Indexes, Vectors,
    apply::{put, spent, vector_of, warn_of},
    numbers::{Known, Looked},
};
use crate::{
    index::{Change, Serving},
    port::EmbeddingSpace,
    rows::{
        fault::SqlFault,
        read::{
            snapshot,
            views::{Shown, shown},
        },
        row::{self, BEHIND, STORED_COLUMNS, signed},
    },
    sql::{Connection, OptionalExtension, Value, params_from_iter},
};

/// Rows read and fed at once: some 10 ms of work.
const SLICE_ROWS: usize = 200;

/// What is still to be read.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Every live row after one and up to another.
    Rows {
        /// The last row that was read.
        after: i64,
        /// The last row there was when the build began.
        last: i64,
    },
    /// The memories that operations changed, after one position and up to another.
    Changed {
        /// The last position that was read.
        after: u64,
        /// The position at which the build began.
        last: u64,
    },
    /// Rows to be read again, then the words are complete.
    Settling {
        /// Whether rows may lack a vector that is known.
        vectors: bool,
    },
    /// Vectors of these rows.
    Vectors(VecDeque<i64>),
    /// Nothing.
    Done,
}

/// Indexes in the making.
pub(crate) struct Build {
    into: Arc<Serving>,
    stage: Stage,
    /// Rows to be read again.
    again: BTreeSet<i64>,
    known: Known,
    rows_read: u64,
}

/// What was read, as the indexes take it.
pub(crate) struct Slice {
    rows: Vec<i64>,
    changes: Vec<Change>,
    vectors: Vectors,
    /// The stage after it.
    next: Stage,
}

/// A row's number, and what is shown of it, unless it is damaged or part of another.
type Found = (i64, Option<Shown>);

impl Build {
    pub(super) fn new(into: Arc<Serving>, stage: Stage) -> Self {
        Self { into, stage, again: BTreeSet::new(), known: Known::new(), rows_read: 0 }
    }

    /// The indexes in the making.
    pub(super) fn target(&self) -> &Arc<Serving> {
        &self.into
    }

    /// Rows read so far, those without a use included.
    pub(super) fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Reads and feeds a slice. Whether there is more to do.
    ///
    /// # Errors
    /// The rows could not be read, or slots ran out.
    pub(crate) fn step(
        &mut self,
        indexes: &Indexes,
        connection: &Connection,
        space: &EmbeddingSpace,
    ) -> Result<bool, SqlFault> {
        match self.stage {
            Stage::Settling { vectors } if self.again.len() <= SLICE_ROWS => {
                self.settle(indexes, connection, space, vectors)?;
            }
            Stage::Done => {}
            _ => {
                let read = self.read_slice(indexes, connection, space)?;
                self.feed_slice(indexes, read)?;
            }
        }
        Ok(!matches!(self.stage, Stage::Done))
    }

    /// The first half of a step: reads, while the writer goes on.
    pub(crate) fn read_slice(
        &mut self,
        indexes: &Indexes,
        connection: &Connection,
        space: &EmbeddingSpace,
    ) -> Result<Slice, SqlFault> {
        indexes.begin_slice();
        snapshot(connection, |connection| {
            let (found, next) = self.read(connection)?;
            let rows = found.iter().map(|(row, _)| *row).collect();
            if matches!(self.stage, Stage::Vectors(_)) {
                let stored = found.iter().filter_map(|(_, stored)| stored.as_ref());
                let vectors = known_vectors(connection, space, stored)?;
                return Ok(Slice { rows, changes: Vec::new(), vectors, next });
            }
            let (changes, vectors) = self.prepare(connection, space, found)?;
            Ok(Slice { rows, changes, vectors, next })
        })
    }

    /// The second half: feeds what the writer did not touch since it was read (`BLD-1`).
    pub(crate) fn feed_slice(&mut self, indexes: &Indexes, slice: Slice) -> Result<(), SqlFault> {
        let mut filling = indexes.filling.lock();
        let touched = filling.as_mut().map(|filling| std::mem::take(&mut filling.touched));
        let touched = touched.unwrap_or_default();
        let Slice { rows, mut changes, mut vectors, next } = slice;
        self.rows_read += rows.len() as u64;
        if let Stage::Vectors(left) = &mut self.stage {
            left.drain(..rows.len().min(left.len()));
            // A row whose text the writer changed got the vector of its new text, or will; asking again is enough.
            left.extend(rows.iter().filter(|row| touched.contains(row)));
            vectors.retain(|row, _| !touched.contains(row));
            add_vectors(&self.into, &vectors);
            if left.is_empty() {
                *filling = None;
                self.stage = Stage::Done;
            }
            return Ok(());
        }
        changes.retain(|change| !touched.contains(&change.rowid()));
        feed(&self.into, changes, &vectors)?;
        for row in rows {
            if touched.contains(&row) {
                self.again.insert(row);
            } else {
                self.again.remove(&row);
            }
        }
        self.stage = next;
        Ok(())
    }

    /// The rows of the next slice, and the stage after it.
    fn read(&self, connection: &Connection) -> Result<(Vec<Found>, Stage), SqlFault> {
        match &self.stage {
            Stage::Rows { after, last } => {
                let found = rows_between(connection, *after, *last)?;
                let next = match found.last() {
                    Some((row, _)) if found.len() == SLICE_ROWS => {
                        Stage::Rows { after: *row, last: *last }
                    }
                    // Vectors came with their rows.
                    _ => Stage::Settling { vectors: false },
                };
                Ok((found, next))
            }
            Stage::Changed { after, last } => {
                let (ids, reached) = changed_between(connection, *after, *last)?;
                let next = match reached {
                    Some(reached) => Stage::Changed { after: reached, last: *last },
                    None => Stage::Settling { vectors: true },
                };
                Ok((rows_of_memories(connection, &ids)?, next))
            }
            Stage::Settling { vectors } => {
                let rows: Vec<i64> = self.again.iter().copied().take(SLICE_ROWS).collect();
                Ok((rows_numbered(connection, &rows)?, Stage::Settling { vectors: *vectors }))
            }
            Stage::Vectors(left) => {
                let rows: Vec<i64> = left.iter().copied().take(SLICE_ROWS).collect();
                // Rows that are gone count as read: they are taken from the list like the others.
                let mut found = rows_numbered(connection, &rows)?;
                found.retain(|(row, _)| rows.contains(row));
                let gone: Vec<i64> = rows
                    .into_iter()
                    .filter(|row| !found.iter().any(|(met, _)| met == row))
                    .collect();
                found.extend(gone.into_iter().map(|row| (row, None)));
                Ok((found, Stage::Done))
            }
            Stage::Done => Ok((Vec::new(), Stage::Done)),
        }
    }

    /// Reads what is left while the writer waits; from then on the words are complete.
    fn settle(
        &mut self,
        indexes: &Indexes,
        connection: &Connection,
        space: &EmbeddingSpace,
        vectors: bool,
    ) -> Result<(), SqlFault> {
        let mut filling = indexes.filling.lock();
        let (changes, vectors_read) = snapshot(connection, |connection| {
            let rows: Vec<i64> = self.again.iter().copied().collect();
            let found = rows_numbered(connection, &rows)?;
            self.prepare(connection, space, found)
        })?;
        feed(&self.into, changes, &vectors_read)?;
        self.again.clear();
        indexes.serving.store(self.into.clone());
        indexes.complete.send_replace(true);
        let missing = if vectors { self.into.rows_without_vector() } else { Vec::new() };
        if missing.is_empty() {
            *filling = None;
            self.stage = Stage::Done;
        } else {
            self.stage = Stage::Vectors(missing.into());
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        connection: &Connection,
        space: &EmbeddingSpace,
        found: Vec<Found>,
    ) -> Result<(Vec<Change>, Vectors), SqlFault> {
        let mut numbers = Looked::new(connection, &mut self.known);
        let mut changes = Vec::with_capacity(found.len());
        let live: Vec<&Shown> = found
            .iter()
            .filter_map(|(_, stored)| stored.as_ref())
            .filter(|stored| stored.record.is_live())
            .collect();
        for stored in &live {
            changes.push(put(stored.row, &stored.record, &mut numbers)?);
        }
        let vectors = known_vectors(connection, space, live)?;
        let gone = found.iter().filter(|(row, stored)| {
            let live = stored.as_ref().is_some_and(|stored| stored.record.is_live());
            !live && self.into.recall.slot_of(*row).is_some()
        });
        changes.extend(gone.map(|(row, _)| Change::Remove { rowid: *row }));
        Ok((changes, vectors))
    }
}

fn feed(into: &Serving, changes: Vec<Change>, vectors: &Vectors) -> Result<(), SqlFault> {
    let vector_of = |row| vectors.get(&row).map(Vec::as_slice);
    let refused = into.feed(changes, vector_of).map_err(spent)?;
    warn_of(&refused);
    Ok(())
}

fn add_vectors(into: &Serving, vectors: &Vectors) {
    for (row, vector) in vectors {
        if let Err(error) = into.add_vector(*row, vector) {
            tracing::warn!(row, %error, "a memory is found by its words alone");
        }
    }
}

impl Indexes {
    /// Notes what the writer touches from now on.
    fn begin_slice(&self) {
        if let Some(filling) = self.filling.lock().as_mut() {
            filling.touched.clear();
        }
    }
}

/// Runs a statement that selects [`STORED_COLUMNS`]; a damaged row is named in the log and passed over, the others can
/// still be found.
fn found(
    connection: &Connection,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<Found>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        match row::stored(row) {
            // What it is part of may have to be indexed anew.
            Ok(stored) if stored.life == BEHIND => {
                let shown = shown(connection, stored)?;
                all.extend([(number, None), (shown.row, Some(shown))]);
            }
            Ok(stored) => all.push((number, Some(shown(connection, stored)?))),
            Err(damaged @ SqlFault::Damaged { .. }) => {
                tracing::error!(%damaged, "a row is left out of the recall index");
                all.push((number, None));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

fn rows_between(connection: &Connection, after: i64, last: i64) -> Result<Vec<Found>, SqlFault> {
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE row > ?1 AND row <= ?2 AND life = 0
         ORDER BY row LIMIT {SLICE_ROWS}"
    );
    found(connection, &text, [after.into(), last.into()])
}

fn rows_numbered(connection: &Connection, rows: &[i64]) -> Result<Vec<Found>, SqlFault> {
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories
         WHERE row IN (SELECT CAST(value AS INTEGER) FROM json_each(?1)) ORDER BY row"
    );
    found(connection, &text, [serde_json::Value::from(rows).to_string().into()])
}

fn rows_of_memories(connection: &Connection, ids: &[Vec<u8>]) -> Result<Vec<Found>, SqlFault> {
    let text = format!("SELECT {STORED_COLUMNS} FROM memories WHERE id = ?1");
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        all.extend(found(connection, &text, [id.clone().into()])?);
    }
    Ok(all)
}

/// The memories of a slice of operations, each once, and the position of the slice's last; `None` where no operation is
/// left behind it.
fn changed_between(
    connection: &Connection,
    after: u64,
    last: u64,
) -> Result<(Vec<Vec<u8>>, Option<u64>), SqlFault> {
    let text = format!(
        "SELECT position, memory FROM ops WHERE position > ?1 AND position <= ?2
         ORDER BY position LIMIT {SLICE_ROWS}"
    );
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query([signed(after), signed(last)])?;
    let (mut ids, mut count, mut reached) = (BTreeSet::new(), 0, after);
    while let Some(row) = rows.next()? {
        count += 1;
        reached = row::unsigned(row.get(0)?);
        ids.extend(row.get::<Option<Vec<u8>>>(1)?);
    }
    Ok((ids.into_iter().collect(), (count == SLICE_ROWS).then_some(reached)))
}

/// The vectors of records: supplied, kept from a model, or computed.
fn known_vectors<'r>(
    connection: &Connection,
    space: &EmbeddingSpace,
    stored: impl IntoIterator<Item = &'r Shown>,
) -> Result<Vectors, SqlFault> {
    let mut vectors = Vectors::new();
    if space.dimension == 0 {
        return Ok(vectors);
    }
    for Shown { row, record, .. } in stored {
        let vector = match vector_of(record, space) {
            Some(vector) => Some(vector),
            None => kept_vector(connection, space, *row, record)?,
        };
        vectors.extend(vector.map(|vector| (*row, vector)));
    }
    Ok(vectors)
}

fn kept_vector(
    connection: &Connection,
    space: &EmbeddingSpace,
    rowid: i64,
    record: &Record,
) -> Result<Option<Vec<f32>>, SqlFault> {
    let text = row::text_sha256(record.title.value.as_str(), record.content.value.as_str());
    let EmbeddingSpace { model, version, dimension, .. } = space;
    let halves: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT v.halves FROM vectors v JOIN spaces s ON s.id = v.space WHERE v.row = ?1
             AND v.text_sha256 = ?2 AND s.model = ?3 AND s.version = ?4 AND s.dimension = ?5",
        )?
        .query_row((rowid, text, model, version, dimension), |row| row.get(0))
        .optional()?;
    Ok(halves.map(|halves| {
        let pairs = halves.chunks_exact(2);
        pairs.map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
    }))
}
