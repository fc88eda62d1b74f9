//! The recall indexes as the store feeds, keeps and opens them.
//!
//! Invariants: `STO-3` they are derived: lost or damaged, they are built again from the rows; `STO-4` a
//! committed group is in them before the group is acknowledged; `IDX-1` they hold live memories only, whoever
//! may see them; `IDX-2` indexes that lack words of older rows are neither searched nor saved until they have them.
//!
//! Not here: searching (`read`).

mod apply;
mod build;
mod numbers;
mod open;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::disk::DiskRef;
use tokio::sync::watch;

use crate::{
    index::{IndexFolder, Saved, Serving},
    port::EmbeddingSpace,
};

#[cfg_attr(madsim, allow(unused_imports, reason = "the simulator has no server"))]
pub(crate) use apply::{put, vector_of, words_of};
pub(crate) use build::Build;
pub(crate) use numbers::{Known, Looked};
pub(crate) use open::Sources;
pub(crate) use upkeep::{Task, Upkeep};

/// Everything recall searches, and where its images are kept.
pub struct Indexes {
    /// What the writer feeds and, once complete, recall searches.
    serving: ArcSwap<Serving>,
    /// Whether every word of every live row is in `serving`.
    complete: watch::Sender<bool>,
    /// Held while either side changes an index, so that a row is never older in one than in the other.
    filling: Mutex<Option<Filling>>,
    folder: IndexFolder,
    vectors: VectorFolders,
}

/// Vectors by row.
type Vectors = BTreeMap<i64, Vec<f32>>;

/// Indexes being filled from the rows while the writer goes on.
struct Filling {
    /// The ones served already, or those that will replace them.
    into: Arc<Serving>,
    /// Rows that the writer changed since the present slice was begun.
    touched: BTreeSet<i64>,
}

/// Where vectors are kept: two folders, of which one is in use, so that its replacement can be built beside it.
struct VectorFolders {
    disk: DiskRef,
    folders: [PathBuf; 2],
    used: Mutex<usize>,
    space: EmbeddingSpace,
}

impl Indexes {
    /// The newest indexes. Hold them for the length of one query.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// The indexes, if they have every word of every row; else recall must look at the rows.
    pub(crate) fn searchable(&self) -> Option<Arc<Serving>> {
        self.is_complete().then(|| self.serving())
    }

    /// Whether the indexes have every word of every row.
    pub(crate) fn is_complete(&self) -> bool {
        *self.complete.borrow()
    }

    /// Writes an image of the words.
    ///
    /// # Errors
    /// The disk failed; the image before is still there.
    pub(crate) fn save_words(&self) -> io::Result<Saved> {
        self.folder.save(self.serving().recall.snapshot())
    }

    /// Whether indexes are being filled from the rows: words that recall lacks, vectors, or replacements.
    pub(crate) fn is_filling(&self) -> bool {
        self.filling.lock().is_some()
    }
}
