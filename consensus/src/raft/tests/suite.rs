//! The library's own storage suite, on our log and state machine.

use openraft::{StorageError, testing::log::StoreBuilder, testing::log::Suite};
use runtime::disk::OsDisk;
use tempfile::TempDir;

use super::machine::Table;
use crate::{
    log::{Identity, Log, LogOptions},
    raft::{
        TypeConfig,
        apply::{Applier, Hearsay},
        log_store::LogStore,
        snapshot::SnapshotStore,
    },
};

struct Folders;

impl StoreBuilder<TypeConfig, LogStore, Applier<Table>, TempDir> for Folders {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier<Table>), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: [1; 16], member: 1 };
        let options = LogOptions { segment_bytes: 4096, cache_bytes: 64, spares_max: 1 };
        let log = Log::open(&OsDisk::shared(), folder.path(), identity, options).unwrap();
        let snapshots = SnapshotStore::open(OsDisk::shared(), folder.path()).unwrap();
        let unheard = Hearsay::shared(Box::new(|_, _| {}));
        let applier = Applier::open(snapshots, Table::default(), unheard).unwrap();
        Ok((folder, LogStore::new(log, 1), applier))
    }
}

#[tokio::test]
async fn the_librarys_storage_suite_passes() {
    Suite::test_all(Folders).await.unwrap();
}
