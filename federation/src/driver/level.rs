//! Being as far as others: what a quorum has is read here once enough members were asked for what they cover.
//!
//! Whoever acknowledged a write covers it and holds it. So a node that has taken up all that so many members cover, asked after
//! a read began, that any quorum of a write has one of them, has every write that was acknowledged before.
//!
//! A node that was told of operations by their hashes only, by a member that may see less, covers them and does not hold
//! them. Such a node also compares what it holds with each member that is to count.
//!
//! Invariants: `LVL-1` a member counts once this node covers all that it covered when it was asked, and holds what both may
//! see of it; `LVL-2` what comes this way is taken like every pull: signed, admitted, in one transaction a batch.
//!
//! Not here: how many are enough (the node), the rounds of catching up (`crate::engine`).

use std::time::Duration;

use runtime::{
    clock::{self, Instant},
    task,
};
use tokio::sync::mpsc;
use types::{NodeId, Reason, Reject, VersionVector};

use super::{Federation, NotMet, ask, compare};
use crate::engine::{Input, Short};

/// Answers in a row that bring nothing, though something is missing, before a member is given up.
const EMPTY_MAX: u32 = 3;
/// Pause after such an answer: another batch may be under way.
const PAUSE: Duration = Duration::from_millis(20);

impl Federation {
    /// Asks all members at once, and is back when this node is as far as `needed` nodes, itself among them; gives their
    /// number.
    ///
    /// # Errors
    /// [`NotMet`]: fewer, in this time or at all.
    pub async fn level(&self, needed: usize, within: Duration) -> Result<usize, NotMet> {
        let deadline = Instant::now() + within;
        let (mut ends, asked) = self.ask_all(deadline);
        let mut got = 1;
        while got < needed {
            match clock::timeout_at(deadline, ends.recv()).await {
                Ok(Some(true)) => got += 1,
                Ok(Some(false)) => {}
                Ok(None) | Err(_) => {
                    let few = asked + 1 < needed;
                    let short = if few { Short::TooFewNodes } else { Short::Timeout };
                    return Err(NotMet { got, needed, short });
                }
            }
        }
        Ok(got)
    }

    /// Asks all members for what this node lacks, without waiting for them.
    pub fn hurry(&self, within: Duration) {
        drop(self.ask_all(Instant::now() + within));
    }

    /// Asks every member that can be reached; how it ended with each, and how many there are.
    fn ask_all(&self, deadline: Instant) -> (mpsc::Receiver<bool>, usize) {
        let (members, me) = (self.members(), self.0.exchange.me);
        let reachable = members.iter().filter(|m| m.endpoint.is_some() && m.node != me);
        let peers: Vec<NodeId> = reachable.map(|member| member.node).collect();
        let (done, ends) = mpsc::channel(peers.len().max(1));
        for peer in &peers {
            let (federation, peer, done) = (self.clone(), *peer, done.clone());
            task::spawn(async move {
                let level = clock::timeout_at(deadline, reach(&federation, peer)).await;
                if let Ok(Err(error)) = &level {
                    tracing::debug!(%peer, %error, "a member could not be caught up with");
                    federation.0.sightings.failed(peer, error, clock::now_unix_ms());
                }
                // Whoever asked may have what it needs.
                let _ = done.send(matches!(level, Ok(Ok(())))).await;
            });
        }
        (ends, peers.len())
    }
}

/// Pulls from a member until this node covers what it covered when it was asked first (`LVL-1`).
async fn reach(federation: &Federation, peer: NodeId) -> Result<(), Reject> {
    let mut goal: Option<VersionVector> = None;
    let mut empty = 0;
    loop {
        let before = federation.0.exchange.covers().await?;
        let fetched = ask::fetch(federation, peer).await?;
        federation.happened(Input::Heard { peer, vector: fetched.vector.clone() }).await;
        let goal = goal.get_or_insert(fetched.vector);
        let covers = federation.0.exchange.covers().await?;
        if covers.covers(goal) {
            return match federation.0.exchange.has_passed().await? {
                true => compare::compare(federation, peer, false).await,
                false => Ok(()),
            };
        }
        if fetched.is_cut {
            let detail = "its log does not reach back to where this node is; comparing comes first";
            return Err(Reject::new(Reason::PositionNotReached, detail));
        }
        empty = if covers == before { empty + 1 } else { 0 };
        if empty >= EMPTY_MAX {
            let detail = "it covers something that it does not tell";
            return Err(Reject::new(Reason::PositionNotReached, detail));
        }
        if empty > 0 {
            clock::sleep(PAUSE).await;
        }
    }
}
