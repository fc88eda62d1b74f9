//! Starts of peers: what a node pushed before it started does not count any more once it has asked what it lacks.
//!
//! A node that comes back from a backup learns from its peers what it had said, and goes on behind that. A push of its
//! earlier life that is still under way would say something else in the same place.
//!
//! Invariant: `DRV-13` once a peer's question of one start is answered, nothing of another start of it is taken, and
//! what was being taken is committed.
//!
//! Not here: under which name a node speaks (`naming`).

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use types::{NodeId, Reason, Reject};

/// The start of one peer as it said last; 0 before it did.
type Start = Arc<RwLock<u64>>;

/// The starts of peers that have asked something.
#[derive(Default)]
pub(super) struct Starts(Mutex<BTreeMap<NodeId, Start>>);

impl Starts {
    fn of(&self, peer: NodeId) -> Start {
        self.0.lock().entry(peer).or_default().clone()
    }

    /// A peer asks what it lacks: from now on this start counts.
    pub(super) async fn asks(&self, peer: NodeId, start: u64) {
        let known = self.of(peer);
        if start != 0 && *known.read().await != start {
            // Waits until what is being taken of it is committed.
            *known.write().await = start;
        }
    }

    /// A peer pushes. Its start stays what it is until the answer is dropped.
    ///
    /// # Errors
    /// [`Reason::StaleEpoch`] (`DRV-13`).
    pub(super) async fn pushes(
        &self,
        peer: NodeId,
        start: u64,
    ) -> Result<OwnedRwLockReadGuard<u64>, Reject> {
        let known = self.of(peer).read_owned().await;
        if start == 0 || *known == 0 || *known == start {
            return Ok(known);
        }
        let detail = "start: this was pushed before its sender started again";
        Err(Reject::new(Reason::StaleEpoch, detail).with("field", "start"))
    }
}

#[cfg(test)]
#[cfg(not(madsim))]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_was_pushed_before_a_start_does_not_count() {
        let (starts, peer) = (Starts::default(), NodeId(Uuid::from_u128(1)));
        let early = starts.pushes(peer, 7).await.expect("nothing is known of it");
        let mut asks = Box::pin(starts.asks(peer, 8));
        assert!(asks.as_mut().now_or_never().is_none(), "DRV-13: something is being taken");
        drop(early);
        asks.await;
        let late = starts.pushes(peer, 7).await.expect_err("DRV-13");
        assert_eq!(late.reason, Reason::StaleEpoch);
        drop(starts.pushes(peer, 8).await.expect("of this start"));
        drop(starts.pushes(peer, 0).await.expect("it does not say"));
        starts.asks(peer, 0).await;
        drop(starts.pushes(peer, 8).await.expect("a question that does not say changes nothing"));
    }
}
