//! The suite of every backend, on this one.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use runtime::disk::OsDisk;
use tempfile::TempDir;

use super::config;
use crate::{Store, conformance, sqlite::SqliteStore};

/// Opens each store in a folder of its own, which lives as long as the factory.
#[derive(Default)]
struct Folders(Mutex<Vec<TempDir>>);

impl conformance::Factory for Folders {
    fn fresh(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(OsDisk::shared(), folder.path(), config()).unwrap();
        self.0.lock().push(folder);
        async move { Arc::new(store) as Arc<dyn Store> }.boxed()
    }
}

#[tokio::test]
async fn the_store_keeps_every_promise_of_the_port() {
    let failures = conformance::run(&Folders::default()).await;
    let all: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.case, f.problem)).collect();
    assert!(all.is_empty(), "{} cases failed:\n{}", all.len(), all.join("\n"));
}
