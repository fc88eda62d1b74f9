//! The suite of every backend, on this one.

use std::{path::PathBuf, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use runtime::disk::{DiskRef, OsDisk, faulty::FaultyDisk};
use tempfile::TempDir;

use super::{Letters, NOW_MS, config};
use crate::{
    Store, conformance,
    port::Vectorizer,
    sqlite::{open_store, vfs::SimVfs},
};

/// Opens each store in a new folder, which lives as long as the factory.
struct Folders<F> {
    /// A disk and a folder on it.
    fresh: F,
}

impl<F: Fn() -> (DiskRef, PathBuf) + Send + Sync> conformance::Factory for Folders<F> {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        Letters.vector(text)
    }

    fn fresh(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        let (disk, folder) = (self.fresh)();
        let store = open_store(disk, &folder, config()).unwrap();
        async move { Arc::new(store) as Arc<dyn Store> }.boxed()
    }
}

async fn keeps_every_promise(fresh: impl Fn() -> (DiskRef, PathBuf) + Send + Sync) {
    let failures = conformance::run(&Folders { fresh }).await;
    println!("{} cases on SQLite", conformance::count());
    let all: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.case, f.problem)).collect();
    assert!(all.is_empty(), "{} cases failed:\n{}", all.len(), all.join("\n"));
}

#[tokio::test]
async fn on_the_real_disk_the_store_keeps_every_promise() {
    let folders: Mutex<Vec<TempDir>> = Mutex::default();
    keeps_every_promise(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        folders.lock().push(folder);
        (OsDisk::shared(), path)
    })
    .await;
}

#[tokio::test]
async fn on_the_disk_of_the_simulation_the_store_keeps_every_promise() {
    let disks: Mutex<Vec<SimVfs>> = Mutex::default();
    keeps_every_promise(|| {
        let mut disks = disks.lock();
        let seed = disks.len() as u64;
        let disk = FaultyDisk::new(seed);
        disks.push(SimVfs::register(&disk, seed, || NOW_MS));
        (disk.shared(), PathBuf::from("data"))
    })
    .await;
}
