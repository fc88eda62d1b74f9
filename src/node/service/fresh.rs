//! Making this node new enough for a read.
//!
//! Invariants: `FRS-1` a read that names a position or an operation is answered by a node that has it, or refused; `FRS-2` a
//! read of a quorum sees every write that was acknowledged before it began (`PRS-3`).
//!
//! Not here: what is read.

use std::time::Duration;

use runtime::clock::{self, Instant};
use types::{Reason, Reject, VersionVector};

use super::{Caller, Consistency, Reply, Service, reject};
use crate::node::model::{Fresh, MinPosition};

/// Time in which what was written elsewhere comes by itself; after it the others are asked.
const BY_ITSELF: Duration = Duration::from_millis(100);
/// Time between two looks: what is hidden from this node moves nothing that it could wait for.
const LOOK: Duration = Duration::from_millis(50);

impl Service {
    /// Makes this node as new as a read asks for.
    ///
    /// # Errors
    /// `invalid_argument`, `position_not_reached`, `quorum_not_met`, `unimplemented` for a consistency that needs a root
    /// tier.
    pub(crate) async fn fresh(&self, caller: &Caller, fresh: &Fresh) -> Reply<()> {
        let consistency = Consistency::parse(fresh.consistency.as_deref())?;
        match &fresh.min_position {
            None => {}
            Some(MinPosition::Own(position)) => self.reach(caller, *position).await?,
            Some(MinPosition::Of(vector)) => self.cover(caller, vector).await?,
        }
        if consistency == Consistency::Quorum {
            self.check_reaches_peers()?;
            if let Some(peers) = &self.peers {
                peers.level(caller.deadline).await?;
            }
        }
        Ok(())
    }

    /// Until when a caller can be kept waiting: before its time is up, or it would hear of a deadline instead of the
    /// position.
    fn patience(&self, caller: &Caller) -> Duration {
        let now = Instant::now();
        let most = |deadline: Instant| deadline.saturating_duration_since(now) * 9 / 10;
        let wait = self.settings.position_wait;
        caller.deadline.map_or(wait, |deadline| most(deadline).min(wait))
    }

    /// Waits until this node has reached a position of its own.
    async fn reach(&self, caller: &Caller, wanted: u64) -> Reply<()> {
        let mut signal = self.position.clone();
        let wait = self.patience(caller);
        match clock::timeout(wait, signal.wait_for(|p| *p >= wanted)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Reject::new(Reason::Stopping, "the node is stopping")),
            Err(_) => {
                let position = *self.position.borrow();
                let detail = format!(
                    "position {wanted} was not reached in time; this node is at {position}"
                );
                Err(Reject::new(Reason::PositionNotReached, detail).with("position", position))
            }
        }
    }

    /// Waits until this node has these operations, whoever made them (`FRS-1`).
    async fn cover(&self, caller: &Caller, wanted: &VersionVector) -> Reply<()> {
        let mut signal = self.position.clone();
        let started = Instant::now();
        let deadline = started + self.patience(caller);
        let mut asked = false;
        loop {
            signal.borrow_and_update();
            let feeds = self.store.feeds().await.map_err(reject)?;
            let covers: VersionVector = feeds.values().map(|f| (f.origin, f.seq)).collect();
            if covers.covers(wanted) {
                return Ok(());
            }
            let now = Instant::now();
            if now >= deadline {
                let missing = wanted.iter().filter(|(node, seq)| covers.get(*node) < *seq);
                let missing: VersionVector = missing.collect();
                let token = MinPosition::Of(missing);
                let detail = format!("{token} has not come to this node in time; try again");
                return Err(Reject::new(Reason::PositionNotReached, detail).with("missing", token));
            }
            if !asked
                && now.saturating_duration_since(started) >= BY_ITSELF
                && let Some(peers) = &self.peers
            {
                peers.hurry();
                asked = true;
            }
            let look = (now + LOOK).min(deadline);
            if let Ok(Err(_)) = clock::timeout_at(look, signal.changed()).await {
                return Err(Reject::new(Reason::Stopping, "the node is stopping"));
            }
        }
    }
}
