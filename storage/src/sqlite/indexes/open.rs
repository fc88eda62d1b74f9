//! Opening the indexes: from their images and what was committed since, or from the rows.
//!
//! Invariant: whatever is wrong with an image, the answer is a rebuild and never an error.
//!
//! Not here: when images are written (`upkeep`).

use std::{collections::BTreeMap, path::Path};

use half::f16;
use runtime::{disk::DiskRef, random};
use rusqlite::{Connection, OptionalExtension};
use types::{NodeId, Record};

use super::{Indexes, attributes, spent, vector_of, warn_of, words_of};
use crate::{
    index::{
        Change, IndexFolder, Opened, Rebuild, RecallIndex, Serving,
        vector::{Space, VectorConfig, VectorIndex},
    },
    port::EmbeddingSpace,
    sqlite::{
        fault::SqlFault,
        row::{self, LIVE, STORED_COLUMNS, signed},
        write::vocabulary::Vocabulary,
    },
};

/// Rows given to a rebuild at once.
const SLICE_ROWS: usize = 500;
/// Folder of the word index.
const WORDS_FOLDER: &str = "recall";
/// Folder of the vector index.
const VECTORS_FOLDER: &str = "vectors";

/// Where the indexes of a store come from.
pub(crate) struct Sources<'a> {
    pub(crate) disk: &'a DiskRef,
    pub(crate) folder: &'a Path,
    pub(crate) node: NodeId,
    pub(crate) connection: &'a Connection,
    pub(crate) space: &'a EmbeddingSpace,
    /// Position of the last commit.
    pub(crate) position: u64,
}

impl Indexes {
    /// Opens the indexes at the position of the last commit.
    pub(crate) fn open(sources: &Sources<'_>, words: &mut Vocabulary) -> Result<Self, SqlFault> {
        let folder = IndexFolder::new(
            sources.disk.clone(),
            sources.folder.join(WORDS_FOLDER),
            *sources.node.as_bytes(),
        );
        let recall = match folder.open(sources.position) {
            // Slots that are dead for good are freed by a rebuild, and this is the moment for one.
            Opened::Loaded(loaded) if !loaded.index.wants_rebuild() => Some(loaded.index),
            Opened::Loaded(_) | Opened::Missing => None,
            Opened::Stale { why } | Opened::Corrupt { why } => {
                tracing::warn!(why, "the recall index is built again from the rows");
                None
            }
        };
        let recall = match recall {
            Some(recall) => recall,
            None => rebuild(sources, words)?,
        };
        let vectors = open_vectors(sources, recall.snapshot().lineage());
        let serving = Serving { recall, vectors };
        serving.align().map_err(spent)?;
        catch_up(&serving, sources, words)?;
        add_vectors(&serving, sources)?;
        Ok(Self { serving, folder })
    }
}

fn open_vectors(sources: &Sources<'_>, lineage: u64) -> Option<VectorIndex> {
    let EmbeddingSpace { model, version, dimension, .. } = sources.space;
    if *dimension == 0 {
        return None;
    }
    let space = Space { model: model.clone(), version: version.clone(), dimension: *dimension };
    let config = VectorConfig { lineage, ..VectorConfig::default() };
    let folder = sources.folder.join(VECTORS_FOLDER);
    let opened = VectorIndex::open(space.clone(), config, sources.disk.clone(), folder);
    let index = opened.or_else(|error| {
        tracing::warn!(%error, "vectors are kept in memory only");
        VectorIndex::new(space, config)
    });
    match index {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::error!(%error, "recall goes by words alone");
            None
        }
    }
}

fn rebuild(sources: &Sources<'_>, words: &mut Vocabulary) -> Result<RecallIndex, SqlFault> {
    let mut rebuild = Rebuild::new(random::u64(), sources.position);
    let sql = format!("SELECT {STORED_COLUMNS} FROM memories WHERE life = {LIVE} ORDER BY row");
    let mut statement = sources.connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut slice = Vec::with_capacity(SLICE_ROWS);
    while let Some(found) = rows.next()? {
        let stored = row::stored(found)?;
        slice.push(put(stored.row, &stored.record, words));
        if slice.len() == SLICE_ROWS {
            rebuild.feed(std::mem::take(&mut slice)).map_err(spent)?;
        }
    }
    rebuild.feed(slice).map_err(spent)?;
    rebuild.finish(Vec::new()).map_err(spent)
}

fn put(rowid: i64, record: &Record, words: &mut Vocabulary) -> Change {
    Change::Put { rowid, attributes: attributes(record, words), prepared: words_of(record) }
}

/// Applies what was committed after the image was written.
fn catch_up(
    serving: &Serving,
    sources: &Sources<'_>,
    words: &mut Vocabulary,
) -> Result<(), SqlFault> {
    let from = serving.recall.position();
    if from >= sources.position {
        return Ok(());
    }
    let sql = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE id IN
         (SELECT memory FROM ops WHERE position > ?1 AND memory IS NOT NULL) ORDER BY row"
    );
    let mut statement = sources.connection.prepare(&sql)?;
    let mut rows = statement.query([signed(from)])?;
    let (mut changes, mut vectors) = (Vec::new(), BTreeMap::new());
    while let Some(found) = rows.next()? {
        let stored = row::stored(found)?;
        if stored.record.is_live() {
            if let Some(vector) = known_vector(sources, stored.row, &stored.record)? {
                vectors.insert(stored.row, vector);
            }
            changes.push(put(stored.row, &stored.record, words));
        } else if serving.recall.slot_of(stored.row).is_some() {
            changes.push(Change::Remove { rowid: stored.row });
        }
    }
    let vector_of = |row| vectors.get(&row).map(Vec::as_slice);
    let refused = serving.apply(sources.position, changes, vector_of).map_err(spent)?;
    warn_of(&refused);
    Ok(())
}

/// Adds the vectors that the files lack and the store knows or can compute.
fn add_vectors(serving: &Serving, sources: &Sources<'_>) -> Result<(), SqlFault> {
    let sql = format!("SELECT {STORED_COLUMNS} FROM memories WHERE row = ?1");
    let mut statement = sources.connection.prepare(&sql)?;
    for rowid in serving.rows_without_vector() {
        let mut rows = statement.query([rowid])?;
        let Some(found) = rows.next()? else { continue };
        let record = row::stored(found)?.record;
        if let Some(vector) = known_vector(sources, rowid, &record)?
            && let Err(error) = serving.add_vector(rowid, &vector)
        {
            tracing::warn!(rowid, %error, "a memory is found by its words alone");
        }
    }
    Ok(())
}

/// The vector of a record: supplied, kept from a model, or computed.
fn known_vector(
    sources: &Sources<'_>,
    rowid: i64,
    record: &Record,
) -> Result<Option<Vec<f32>>, SqlFault> {
    if let Some(vector) = vector_of(record, sources.space) {
        return Ok(Some(vector));
    }
    let text = row::text_sha256(record.title.value.as_str(), record.content.value.as_str());
    let EmbeddingSpace { model, version, dimension, .. } = sources.space;
    let halves: Option<Vec<u8>> = sources
        .connection
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
