//! Moving into the index what was kept without it, where a database is searched by itself.
//!
//! Not here: what that is (`postgres::unindexed`).

use std::{sync::Arc, time::Duration};

use runtime::{
    clock,
    task::{self, JoinHandle},
};
use types::Reason;

use super::{pool::ReadPool, recall::DatabaseRecall};

/// How often it is looked whether this node left something to wait.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks after which the database is asked even if not: another node may have ended with something left.
const ASK_EVERY: u32 = 10;

/// A task that does it, as long as this is kept.
pub(crate) struct Settling(JoinHandle<()>);

impl Settling {
    /// Begins; ends by itself when the store is closed.
    pub(crate) fn begin(pool: ReadPool, database: Arc<dyn DatabaseRecall>) -> Self {
        Self(task::spawn_named("store-settler", settle(pool, database)))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn settle(pool: ReadPool, database: Arc<dyn DatabaseRecall>) {
    let mut looks = ASK_EVERY;
    loop {
        if looks < ASK_EVERY && !database.has_unsettled() {
            looks += 1;
            clock::sleep(LOOK_EVERY).await;
            continue;
        }
        looks = 0;
        let some = database.clone();
        match pool.read_newest("indexing vectors", move |c| some.settle(c)).await {
            Ok(0) => clock::sleep(LOOK_EVERY).await,
            Ok(_) => {}
            Err(error) if error.reason() == Reason::Stopping => return,
            Err(error) => {
                tracing::debug!(%error, "cannot index vectors that wait");
                clock::sleep(LOOK_EVERY).await;
            }
        }
    }
}
