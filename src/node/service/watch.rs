//! Watching changes: a resumable stream made of long polls.
//!
//! Invariant: a watcher that resumes after the covered position of its last answer misses nothing
//! that it may see and sees nothing twice.
//!
//! Not here: framing the stream (the doors).

use std::time::Duration;

use runtime::clock;
use storage::request::Reader;
use types::{Reason, Reject};

use super::{Caller, Reply, Service, reject};
use crate::node::model::graph::ChangeOut;

/// Most changes in one answer.
const BATCH: u32 = 256;

/// Some changes and how far they reach.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ChangeBatch {
    /// The changes, in order; empty for a heartbeat.
    pub changes: Vec<ChangeOut>,
    /// Resume after this position.
    pub covered: u64,
}

impl Service {
    /// The position a watch starts at when it names none: now.
    pub fn watch_start(&self) -> u64 {
        *self.position.borrow()
    }

    /// Changes after a position, waiting up to `wait` for the first; an empty batch is a heartbeat.
    ///
    /// # Errors
    /// `position_too_old`; `stopping` when the store closes.
    pub async fn next_changes(
        &self,
        caller: &Caller,
        after: u64,
        wait: Duration,
    ) -> Reply<ChangeBatch> {
        let mut signal = self.position.clone();
        // The guard that `wait_for` returns must not live across the next await.
        let moved = clock::timeout(wait, signal.wait_for(|position| *position > after))
            .await
            .map(|moved| moved.map(drop));
        match moved {
            Err(_) => return Ok(ChangeBatch { changes: Vec::new(), covered: after }),
            Ok(Err(_)) => return Err(Reject::new(Reason::Stopping, "the node is stopping")),
            Ok(Ok(_)) => {}
        }
        let reader = Reader::Agent(&caller.viewer);
        let (changes, covered) = self.store.changes(reader, after, BATCH).await.map_err(reject)?;
        Ok(ChangeBatch { changes: changes.into_iter().map(Into::into).collect(), covered })
    }
}
