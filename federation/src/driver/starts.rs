//! What a peer pushes, in turn and of its present start: what it pushed before it started does not count any more once it
//! has asked what it lacks.
//!
//! A node that comes back from a backup learns from its peers what it had said, and goes on behind that. A push of its
//! earlier life that is still under way would say something else in the same place.
//!
//! Invariant: `DRV-13` once a peer's question of one start is answered, nothing of another start of it is taken, and
//! what was being taken is committed. `DRV-17` what a peer pushes is taken in the order in which it came: a batch that
//! overtook the one before it would be answered that something is missing, and all of it would be sent again.
//!
//! Not here: under which name a node speaks (`naming`).

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, OwnedRwLockReadGuard, RwLock};
use types::{NodeId, Reason, Reject};

/// What is known of one peer.
#[derive(Clone, Default)]
struct Known {
    /// Its start as it said last; 0 before it did.
    start: Arc<RwLock<u64>>,
    /// Whose turn it is of what it pushes, in order.
    turns: Arc<Turns<()>>,
}

/// The peers that have asked or pushed something.
#[derive(Default)]
pub(super) struct Starts(Mutex<BTreeMap<NodeId, Known>>);

/// The turn of a push.
#[derive(Debug)]
pub(super) struct Turn {
    _start: OwnedRwLockReadGuard<u64>,
    _turn: OwnedMutexGuard<()>,
}

impl Starts {
    fn of(&self, peer: NodeId) -> Known {
        self.0.lock().entry(peer).or_default().clone()
    }

    /// A peer asks what it lacks: from now on this start counts.
    pub(super) async fn asks(&self, peer: NodeId, start: u64) {
        let known = self.of(peer).start;
        if start != 0 && *known.read().await != start {
            // Waits until what is being taken of it is committed.
            *known.write().await = start;
        }
    }

    /// A peer pushes. Its start stays what it is, and what it pushes next waits, until the answer is dropped.
    ///
    /// # Errors
    /// [`Reason::StaleEpoch`] (`DRV-13`).
    pub(super) async fn pushes(&self, peer: NodeId, start: u64) -> Result<Turn, Reject> {
        let Known { start: known, turns } = self.of(peer);
        let turn = turns.lock_owned().await;
        let known = known.read_owned().await;
        if start == 0 || *known == 0 || *known == start {
            return Ok(Turn { _start: known, _turn: turn });
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

    #[tokio::test]
    async fn what_a_peer_pushes_is_taken_in_turn() {
        let (starts, peer) = (Starts::default(), NodeId(Uuid::from_u128(1)));
        let first = starts.pushes(peer, 7).await.expect("nobody is before it");
        let mut second = Box::pin(starts.pushes(peer, 7));
        let mut third = Box::pin(starts.pushes(peer, 7));
        assert!(second.as_mut().now_or_never().is_none(), "DRV-17");
        assert!(third.as_mut().now_or_never().is_none(), "DRV-17");
        drop(starts.pushes(NodeId(Uuid::from_u128(2)), 7).await.expect("another peer's"));
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "DRV-17");
        let second = second.await.expect("its turn");
        drop(second);
        drop(third.await.expect("its turn"));
    }
}
