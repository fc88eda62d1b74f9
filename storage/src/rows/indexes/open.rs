//! Opening the indexes: from their images, and a plan for what these lack.
//!
//! Invariant: whatever is wrong with an image, the answer is a rebuild and never an error.
//!
//! Not here: when images are written (`upkeep`), and reading rows (`build`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::{disk::DiskRef, random};
use tokio::sync::watch;
use types::NodeId;

use super::{
    Filling, Indexes, VectorFolders,
    apply::spent,
    build::{Build, Stage},
};
use crate::{
    index::{
        IndexFolder, Opened, RecallIndex, Serving,
        vector::{Space, VectorConfig, VectorIndex},
    },
    port::EmbeddingSpace,
    rows::{fault::SqlFault, read::states},
    sql::Connection,
};

/// Folder of the word index.
const WORDS_FOLDER: &str = "recall";
/// Folders of the vector index and of the one that replaces it.
const VECTORS_FOLDERS: [&str; 2] = ["vectors", "vectors-2"];

/// Where the indexes of a store come from.
pub(crate) struct Sources<'a> {
    pub(crate) disk: &'a DiskRef,
    pub(crate) folder: &'a Path,
    pub(crate) node: NodeId,
    pub(crate) connection: &'a Connection,
    pub(crate) space: &'a EmbeddingSpace,
    /// Position of the last commit.
    pub(crate) position: u64,
    /// Rows that may be read before the store is open; a build with more to read goes on beside it.
    pub(crate) ahead_rows: u32,
}

impl Indexes {
    /// Opens the indexes at the position of the last commit, and the build that is still to be done, if any.
    pub(crate) fn open(sources: &Sources<'_>) -> Result<(Self, Option<Build>), SqlFault> {
        let folder = IndexFolder::new(
            sources.disk.clone(),
            sources.folder.join(WORDS_FOLDER),
            *sources.node.as_bytes(),
        );
        let vectors = VectorFolders {
            disk: sources.disk.clone(),
            folders: VECTORS_FOLDERS.map(|name| sources.folder.join(name)),
            used: Mutex::new(0),
            space: sources.space.clone(),
        };
        let (recall, stage) = match folder.open(sources.position) {
            // What changed since is not in the log any more, or never was.
            Opened::Loaded(loaded) if loaded.index.position() < changes_begin(sources)? => {
                (RecallIndex::new(random::u64()), every_row(sources.connection)?)
            }
            Opened::Loaded(loaded) => {
                let (after, last) = (loaded.index.position(), sources.position);
                let stage = match after < last {
                    true => Stage::Changed { after, last },
                    false => Stage::Settling { vectors: true },
                };
                (loaded.index, stage)
            }
            Opened::Missing => (RecallIndex::new(random::u64()), every_row(sources.connection)?),
            Opened::Stale { why } | Opened::Corrupt { why } => {
                tracing::warn!(why, "the recall index is built again from the rows");
                (RecallIndex::new(random::u64()), every_row(sources.connection)?)
            }
        };
        let vector_index = vectors.open_used(recall.snapshot().lineage());
        let serving = Arc::new(Serving { recall, vectors: vector_index });
        serving.align().map_err(spent)?;
        serving.recall.advance(sources.position);
        let indexes = Self {
            serving: ArcSwap::new(serving.clone()),
            complete: watch::Sender::new(false),
            filling: Mutex::new(Some(Filling {
                into: serving.clone(),
                touched: Default::default(),
            })),
            folder,
            vectors,
        };
        let build = indexes.build_ahead(Build::new(serving, stage), sources)?;
        Ok((indexes, build))
    }

    /// Takes the steps that may be taken before the store is open.
    fn build_ahead(
        &self,
        mut build: Build,
        sources: &Sources<'_>,
    ) -> Result<Option<Build>, SqlFault> {
        let mut more = true;
        while more && build.rows_read() <= u64::from(sources.ahead_rows) {
            more = build.step(self, sources.connection, sources.space)?;
        }
        if more && !self.is_complete() {
            tracing::warn!(
                "the recall index is built beside the running store; until then recall looks at the newest memories only"
            );
        }
        Ok(more.then_some(build))
    }

    /// Begins a replacement without the dead slots of what is served.
    pub(crate) fn begin_replacement(&self, connection: &Connection) -> Result<Build, SqlFault> {
        // Under the lock: what is in the served indexes is among the rows read, what is not yet will be fed to both.
        let mut filling = self.filling.lock();
        let stage = every_row(connection)?;
        let lineage = random::u64();
        let recall = RecallIndex::new(lineage);
        recall.advance(self.serving().recall.position());
        let into = Arc::new(Serving { recall, vectors: self.vectors.open_other(lineage) });
        *filling = Some(Filling { into: into.clone(), touched: Default::default() });
        Ok(Build::new(into, stage))
    }
}

/// The position from which on every change can be found in the log.
fn changes_begin(sources: &Sources<'_>) -> Result<u64, SqlFault> {
    let begins = states::log_begins(sources.connection)?;
    let joined = states::joined_at(sources.connection)?;
    Ok(begins.max(joined).max(states::regrouped_at(sources.connection)?))
}

fn every_row(connection: &Connection) -> Result<Stage, SqlFault> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(row), 0) FROM memories")?;
    let last = statement.query_row([], |row| row.get(0))?;
    Ok(Stage::Rows { after: 0, last })
}

impl VectorFolders {
    /// Opens the folder that holds vectors of this lineage, and empties the other.
    fn open_used(&self, lineage: u64) -> Option<VectorIndex> {
        let [one, two] = [0, 1].map(|which| self.open(lineage, which));
        let end = |index: &Option<VectorIndex>| index.as_ref().map_or(0, VectorIndex::end);
        let second = end(&two) > end(&one);
        *self.used.lock() = usize::from(second);
        if second { two } else { one }
    }

    /// Opens the folder that is not in use, for a lineage that has nothing yet.
    fn open_other(&self, lineage: u64) -> Option<VectorIndex> {
        let other = 1 - *self.used.lock();
        self.open(lineage, other)
    }

    /// The replacement of this lineage is in use from now on; empties the folder of what it replaced.
    pub(super) fn replaced(&self, lineage: u64) {
        let old = {
            let mut used = self.used.lock();
            let old = *used;
            *used = 1 - old;
            old
        };
        drop(self.open(lineage, old));
    }

    /// Opens a folder; files of another lineage are removed from it.
    fn open(&self, lineage: u64, which: usize) -> Option<VectorIndex> {
        let EmbeddingSpace { model, version, dimension, .. } = &self.space;
        if *dimension == 0 {
            return None;
        }
        let space = Space { model: model.clone(), version: version.clone(), dimension: *dimension };
        let config = VectorConfig { lineage, ..VectorConfig::default() };
        let folder: PathBuf = self.folders[which].clone();
        let opened = VectorIndex::open(space.clone(), config, self.disk.clone(), folder);
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
}
