//! The index on disk: generations of immutable files behind one manifest.
//!
//! A generation is written from a snapshot, beside readers and writer, in steps of at most a megabyte. Parts that did
//! not change since the last one are taken over by name: a sealed segment is written once in its life. Order makes it
//! safe: files, then their names, then the manifest by rename, then the old files go. A crash between any two steps
//! leaves the old generation or the new one.
//!
//! INV-INDEX-CHECKED: every byte is checked before the first answer is given from it. Whatever is wrong (missing, of
//! another store, ahead of it, damaged) the answer is a reason and the caller rebuilds from SQLite.
//!
//! The files are derived and versioned as a whole: another format version means a rebuild, never a migration. That is
//! why they are plain arrays and no tagged encoding.
//!
//! Postings are served from the mapping itself; attributes (some tens of bytes per memory) are decoded.

mod container;
mod load;
mod manifest;
mod save;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use runtime::disk::{Disk, DiskRef};

use super::snapshot::Snapshot;
use manifest::Manifest;

pub use load::{Loaded, Opened};
pub use save::{Save, Saved};

/// Which store an index belongs to: the random identity SQLite keeps from its creation on.
pub type StoreIdentity = [u8; 16];

/// The one fixed name.
const MANIFEST: &str = "manifest.hmi";
/// Ends the names of a generation's files.
const SUFFIX: &str = ".hmp";

/// The directory an index is kept in; nothing else may live there.
#[derive(Clone)]
pub struct IndexFolder {
    disk: DiskRef,
    dir: PathBuf,
    store: StoreIdentity,
    /// The generation known to be durable, whose files may be taken over.
    published: Arc<Mutex<Option<Manifest>>>,
}

impl IndexFolder {
    /// A folder on a disk, for the index of one store. Nothing is read or created yet.
    pub fn new(disk: DiskRef, dir: PathBuf, store: StoreIdentity) -> Self {
        Self { disk, dir, store, published: Arc::default() }
    }

    /// Reads the stored index. `store_position` is where the store is now: an index ahead of it describes a history
    /// that is gone.
    pub fn open(&self, store_position: u64) -> Opened {
        load::open(self, store_position)
    }

    /// Starts to store a snapshot. The next generation is based on the last one this folder opened or saved; run one
    /// save at a time.
    ///
    /// # Errors
    /// The directory cannot be created or read.
    pub fn begin_save(&self, snapshot: Arc<Snapshot>) -> io::Result<Save> {
        save::begin(self, snapshot)
    }

    /// Stores a snapshot in one go. For shutdown and tests; a running node uses the steps of [`Save`].
    ///
    /// # Errors
    /// The disk failed; the generation before is still there.
    pub fn save(&self, snapshot: Arc<Snapshot>) -> io::Result<Saved> {
        let mut save = self.begin_save(snapshot)?;
        loop {
            if let Some(saved) = save.step()? {
                return Ok(saved);
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}

impl std::fmt::Debug for IndexFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexFolder").field("dir", &self.dir).finish_non_exhaustive()
    }
}
