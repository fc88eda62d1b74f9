//! Reading what is decided.
//!
//! Invariant: `RTH-2` a read waits until this member's copy contains everything that a majority had
//! committed when it was asked for.
//!
//! Not here: rules, which nodes enforce from their own copy.

use consensus::{machine::Machine, raft::Group};
use futures::FutureExt;
use runtime::clock::Instant;
use types::{Reason, Reject, planted};

use super::{Root, RootMachine, propose::TRY};
use crate::gather::{Gather, NoAnswer, Question};

/// Calls under way from one member to the leader: few enough to be shared, and more than one, so that
/// nobody waits for a whole round before its own begins.
pub(super) const ASKING_MAX: usize = 4;
/// Rounds of the leader's at a time, for its own readers and for other members.
const ROUNDS_MAX: usize = 8;

/// Asks for a read index; what is given is when the asker stops waiting.
pub(super) type Reads = Gather<Instant, Result<u64, Reject>>;

impl Question for Instant {
    fn bytes(&self) -> usize {
        0
    }
}

/// The reads that a member confirms itself, while it leads.
pub(super) fn own(group: Group<RootMachine>, lease_reads: bool) -> Reads {
    Gather::new(ROUNDS_MAX, move |asked: Vec<Instant>| {
        let group = group.clone();
        async move {
            let deadline = asked.iter().max().copied().unwrap_or_else(Instant::now);
            let index = match lease_reads {
                true => group.lease_read(deadline).boxed().await,
                false => group.read_index(deadline).boxed().await,
            };
            vec![index; asked.len()]
        }
        .boxed()
    })
}

/// Asks for a read index, together with others.
pub(super) async fn ask(reads: &Reads, deadline: Instant) -> Result<u64, Reject> {
    reads.ask(deadline, deadline).await.unwrap_or_else(|no_answer| {
        let detail = match no_answer {
            NoAnswer::NotAsked => "the leader was not asked in time",
            NoAnswer::Open => "the leader did not answer in time",
        };
        Err(Reject::new(Reason::DeadlineExceeded, detail))
    })
}

impl Root {
    /// Looks at the state as it is now, wherever it was decided.
    ///
    /// # Errors
    /// [`Reason::NotLeader`] when there is no leader to ask, [`Reason::QuorumNotMet`] when nobody can
    /// confirm that there is, [`Reason::DeadlineExceeded`].
    pub async fn read<T>(
        &self,
        deadline: Instant,
        look: impl FnOnce(&Machine) -> T,
    ) -> Result<T, Reject> {
        if let Some(refused) = self.refusal() {
            return Err(refused);
        }
        let index = loop {
            let refused = match self.read_index_once(deadline.min(Instant::now() + TRY)).await {
                Ok(index) => break index,
                Err(refused) => refused,
            };
            // A read changes nothing: any failure that may pass is tried again.
            let passes = matches!(
                refused.reason,
                Reason::NotLeader
                    | Reason::Stopping
                    | Reason::QuorumNotMet
                    | Reason::DeadlineExceeded
            );
            if !passes || deadline <= Instant::now() {
                return Err(refused);
            }
            self.look_for_leader(deadline).await;
        };
        let index = planted::before("read-index-reused", self.member(), index);
        let there = |status: &consensus::raft::Status| {
            planted::is_on("read-before-applied")
                || status.applied.is_some_and(|at| at.index >= index)
        };
        match self.0.group.wait_for(deadline, there).boxed().await {
            Some(_) => Ok(self.look(look)),
            None => Err(Reject::new(
                Reason::DeadlineExceeded,
                format!("this member has not come to entry {index} in time"),
            )),
        }
    }

    async fn read_index_once(&self, deadline: Instant) -> Result<u64, Reject> {
        match self.leader()? {
            None => self.own_read_index(deadline).await,
            Some(endpoint) => self.0.peers.read_index(&endpoint, deadline).await,
        }
    }

    /// The read index of this member, if it leads.
    pub(super) async fn own_read_index(&self, deadline: Instant) -> Result<u64, Reject> {
        ask(&self.0.reads, deadline).await
    }
}
