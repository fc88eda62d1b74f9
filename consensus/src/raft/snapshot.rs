//! The snapshot on the disk: one file, replaced as a whole.
//!
//! Invariants: `RFT-2` the file is the old snapshot or the new one, and durable before anybody is told
//! of it, so the log is purged only behind a snapshot that will be there. `RFT-3` a snapshot carries
//! the membership and the last entry it contains, and is never replaced by one that contains less.
//!
//! Not here: when one is made (the library decides) and what is in it (the state machine).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::disk::DiskRef;

use super::{codec, turns::Turns, types::SnapshotMeta};
use crate::log::{LogError, sealed};

const FILE: &str = "snapshot";

/// A snapshot as it is in memory; clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    pub(super) data: Bytes,
}

/// Where a member keeps its snapshot. Clones are one and the same.
#[derive(Clone)]
pub(super) struct SnapshotStore {
    disk: DiskRef,
    path: Arc<PathBuf>,
    current: Arc<Mutex<Option<Stored>>>,
    turns: Turns,
}

impl SnapshotStore {
    /// The store in `dir`, with the snapshot that is there. Blocks.
    pub(super) fn open(disk: DiskRef, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(FILE);
        let current = match sealed::read(&*disk, &path)? {
            None => None,
            Some(message) => {
                let (meta, data) = codec::snapshot_parts(message)
                    .map_err(|error| LogError::damaged(FILE, 0, error.to_string()))?;
                Some(Stored { meta, data })
            }
        };
        let (path, current) = (Arc::new(path), Arc::new(Mutex::new(current)));
        let turns = Turns::new(disk.clone());
        Ok(Self { disk, path, current, turns })
    }

    /// The snapshot on the disk, if there is one.
    pub(super) fn current(&self) -> Option<Stored> {
        self.current.lock().clone()
    }

    /// Replaces the snapshot; durable on return (`RFT-2`).
    ///
    /// # Errors
    /// The disk failed, or a snapshot that contains more is there already.
    pub(super) async fn save(&self, stored: Stored) -> io::Result<()> {
        let wanted = stored.meta.last_log_id;
        let kept = self.save_unless_newer(stored).await?;
        match kept.meta.last_log_id == wanted {
            true => Ok(()),
            false => Err(io::Error::other("a newer snapshot is there already")),
        }
    }

    /// As [`SnapshotStore::save`], but a snapshot that contains more stays, and is what is given back: one
    /// may have been received while another was being made.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) async fn save_unless_newer(&self, stored: Stored) -> io::Result<Stored> {
        let store = self.clone();
        self.turns.take(move || store.replace(stored)).await
    }

    /// Lets what is being written be written, and nothing more (`RFT-25`).
    pub(super) async fn close(&self) {
        self.turns.close().await;
    }

    fn replace(&self, stored: Stored) -> io::Result<Stored> {
        let contains_more = |there: &Stored| there.meta.last_log_id > stored.meta.last_log_id;
        if let Some(newer) = self.current().filter(contains_more) {
            return Ok(newer);
        }
        self.write(&codec::snapshot_message(&stored.meta, stored.data.clone()))?;
        *self.current.lock() = Some(stored.clone());
        Ok(stored)
    }

    fn write(&self, message: &codec::SnapshotMessage) -> io::Result<()> {
        #[cfg(planted)]
        if types::planted::is_on("purge-before-snapshot") {
            return sealed::write_unsynced(&*self.disk, &self.path, message);
        }
        sealed::write(&*self.disk, &self.path, message)
    }
}

#[cfg(test)]
mod tests {
    use runtime::disk::OsDisk;

    use super::*;
    use crate::{log::EntryId, raft::types::log_id};

    fn reaching(index: u64) -> Stored {
        let last_log_id = Some(log_id(EntryId { term: 1, index }));
        let meta = SnapshotMeta { last_log_id, last_membership: Default::default() };
        Stored { meta, data: Bytes::from(index.to_string()) }
    }

    #[tokio::test]
    async fn one_that_was_received_while_another_was_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let open = || SnapshotStore::open(OsDisk::shared(), folder.path()).unwrap();
        let store = open();
        let (made, received) = (reaching(5), reaching(9));
        store.save(received.clone()).await.unwrap();
        assert_eq!(store.save_unless_newer(made.clone()).await.unwrap(), received, "RFT-3");
        assert!(store.save(made).await.is_err(), "RFT-3");
        assert_eq!(open().current(), Some(received.clone()));
        assert_eq!(store.save_unless_newer(received.clone()).await.unwrap(), received);
        let newer = reaching(10);
        assert_eq!(store.save_unless_newer(newer.clone()).await.unwrap(), newer);
        assert_eq!(open().current(), Some(newer));
    }
}
