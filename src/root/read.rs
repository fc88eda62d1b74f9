//! Reading what is decided.
//!
//! Invariant: `RTH-2` a read waits until this member's copy contains everything that a majority had
//! committed when it was asked for.
//!
//! Not here: rules, which nodes enforce from their own copy.

use consensus::machine::Machine;
use futures::FutureExt;
use runtime::clock::Instant;
use types::{Reason, Reject, planted};

use super::{Root, propose::TRY};

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
        match self.0.lease_reads {
            true => self.0.group.lease_read(deadline).boxed().await,
            false => self.0.group.read_index(deadline).boxed().await,
        }
    }
}
