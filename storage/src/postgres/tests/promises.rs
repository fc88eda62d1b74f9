//! The suite of every backend, on this one.

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use super::*;
use crate::{Store, conformance, port::Vectorizer, sqlite::tests::Letters};

/// Each store in a database of its own; folders live as long as this.
#[derive(Default)]
struct Databases(Mutex<Vec<TempDir>>);

impl conformance::Factory for Databases {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        Letters.vector(text)
    }

    fn fresh(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        async {
            let database = database().await;
            let Daemon { folder, store } = Daemon::new(&database, config()).await;
            self.0.lock().push(folder);
            Arc::new(store) as Arc<dyn Store>
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_every_promise() {
    if !can_have_a_server() {
        return;
    }
    let failures = conformance::run(&Databases::default()).await;
    println!("{} cases on PostgreSQL", conformance::count());
    let all: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.case, f.problem)).collect();
    assert!(all.is_empty(), "{} cases failed:\n{}", all.len(), all.join("\n"));
}
