//! Who is a member, who leads, and how both change.
//!
//! Invariants: `RFT-16` a change that leaves fewer than a majority of the new voters within reach is
//! refused unless it is forced. `RFT-17` a voter joins as a learner first, so a new voter never holds
//! the group up while it copies the log. Changes of several voters go through a joint membership,
//! which the library does by itself.
//!
//! Not here: recovering a group that has lost its majority.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    ChangeMembers, ServerState, async_runtime::watch::WatchReceiver, errors::InitializeError,
    errors::RaftError,
};
use runtime::clock::{self, Instant};
use types::{Outcome, Reason, Reject};

use super::{
    apply::StateMachine,
    group::{Group, outcome_of, stopping, unknown},
    types::{Member, MemberId, entry_id},
};
use crate::log::EntryId;

/// What a member does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Copies the log and has no vote.
    Learner,
    /// Copies the log and votes.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads, as far as it knows.
    Leader,
    /// Has stopped.
    Stopped,
}

/// A member's view of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The member that says so.
    pub member: MemberId,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Index of its last entry.
    pub last_index: Option<u64>,
    /// Newest entry it knows to be committed.
    pub committed: Option<EntryId>,
    /// Newest entry that its state contains.
    pub applied: Option<EntryId>,
    /// Newest entry in its snapshot.
    pub snapshot: Option<EntryId>,
    /// Newest entry it has given up.
    pub purged: Option<EntryId>,
    /// All members with their endpoints.
    pub members: BTreeMap<MemberId, Member>,
    /// Those with a vote.
    pub voters: BTreeSet<MemberId>,
    /// Whether the membership is in the middle of a change.
    pub is_joint: bool,
    /// Whether this member knows that it is a copy from an older time and takes no part.
    pub fenced: bool,
    /// Members that remember this member's start, so that they will know a copy from before it.
    pub known_to: BTreeSet<MemberId>,
}

impl<M: StateMachine> Group<M> {
    /// Founds the group. To be called on one member, once, with all first voters.
    ///
    /// # Errors
    /// [`Reason::AlreadyExists`] if this member has a log already, [`Reason::InvalidArgument`] if it is
    /// not among the voters.
    pub async fn found(&self, voters: BTreeMap<MemberId, Member>) -> Result<(), Reject> {
        self.raft.initialize(voters).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(not)) => {
                let last = not.last_log_id.map_or(0, |id| id.index);
                let detail = format!(
                    "this member is part of a root already, with entries up to {last}: see its status"
                );
                Reject::new(Reason::AlreadyExists, detail)
            }
            RaftError::APIError(InitializeError::NotInMembers(not)) => {
                Reject::new(Reason::InvalidArgument, not.to_string())
            }
            RaftError::Fatal(fatal) => stopping(&fatal),
        })
    }

    /// How this member sees the group now.
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let id = |id: &Option<_>| id.as_ref().map(entry_id);
        Status {
            member: metrics.id,
            role: match metrics.state {
                _ if metrics.running_state.is_err() => Role::Stopped,
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index,
            committed: id(&metrics.local_committed),
            applied: id(&metrics.last_applied),
            snapshot: id(&metrics.snapshot),
            purged: id(&metrics.purged),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            voters: membership.voter_ids().collect(),
            is_joint: membership.get_joint_config().len() > 1,
            fenced: self.boots.is_fenced(),
            known_to: self.boots.known_to(),
        }
    }

    /// Waits until the status is as wanted, and gives it; `None` when the deadline passes first or the
    /// member stops.
    pub async fn wait_for(
        &self,
        deadline: Instant,
        wanted: impl Fn(&Status) -> bool,
    ) -> Option<Status> {
        let mut metrics = self.raft.metrics();
        loop {
            // Marked as seen first: a change between here and the wait is not missed.
            drop(metrics.borrow_and_update());
            let status = self.status();
            if wanted(&status) {
                return Some(status);
            }
            // Changes that come faster than they are looked at hide the end of the time.
            if Instant::now() >= deadline {
                return None;
            }
            match clock::timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                _ => return None,
            }
        }
    }

    /// Adds a member without a vote, or changes the endpoint of one. It begins to copy the log.
    pub async fn add_learner(
        &self,
        id: MemberId,
        member: Member,
        deadline: Instant,
    ) -> Outcome<()> {
        match clock::timeout_at(deadline, self.raft.add_learner(id, member, false)).await {
            Ok(Ok(_)) => Outcome::Done(()),
            Ok(Err(error)) => outcome_of(error),
            Err(elapsed) => unknown(elapsed),
        }
    }

    /// Makes these members, and no others, the voters. Who loses its vote leaves the group. New voters
    /// must be learners already (`RFT-17`). `forced` skips the check of `RFT-16`.
    pub async fn change_voters(
        &self,
        voters: BTreeSet<MemberId>,
        forced: bool,
        deadline: Instant,
    ) -> Outcome<()> {
        if !forced && let Err(refused) = self.check_reach(&voters) {
            return Outcome::Rejected(refused);
        }
        let change = ChangeMembers::ReplaceAllVoters(voters);
        self.change(change, deadline).await
    }

    /// Removes a member without a vote.
    pub async fn remove_learner(&self, id: MemberId, deadline: Instant) -> Outcome<()> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), deadline).await
    }

    async fn change(
        &self,
        change: ChangeMembers<MemberId, Member>,
        deadline: Instant,
    ) -> Outcome<()> {
        match clock::timeout_at(deadline, self.raft.change_membership(change, false)).await {
            Ok(Ok(_)) => Outcome::Done(()),
            Ok(Err(error)) => outcome_of(error),
            Err(elapsed) => unknown(elapsed),
        }
    }

    /// Members that answered the leader within four heartbeats or one longest election timeout.
    fn within_reach(&self) -> BTreeSet<MemberId> {
        let recent_ms = (4 * self.options.heartbeat_ms).max(self.options.election_ms.1);
        let recent = Duration::from_millis(recent_ms);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.iter().flatten();
        let answering = heard.filter_map(|(id, acked)| {
            let acked = acked.as_ref()?;
            (acked.elapsed() <= recent).then_some(*id)
        });
        answering.chain([metrics.id]).collect()
    }

    fn check_reach(&self, voters: &BTreeSet<MemberId>) -> Result<(), Reject> {
        if self.status().role != Role::Leader {
            // The library names the leader; only that one knows who answers.
            return Ok(());
        }
        let reached = self.within_reach();
        let answering = voters.intersection(&reached).count();
        if answering > voters.len() / 2 {
            return Ok(());
        }
        let detail = format!(
            "only {answering} of the {} new voters answer, {reached:?} in all: the group would stop. \
             Force it if they are gone for good",
            voters.len()
        );
        Err(Reject::new(Reason::FailedPrecondition, detail).with("answering", answering))
    }

    /// Hands the leadership to `to` and waits until this member sees it lead; nothing happens if that is
    /// this member.
    ///
    /// # Errors
    /// [`Reason::NotLeader`] if this member does not lead, [`Reason::InvalidArgument`] if `to` has no
    /// vote, [`Reason::DeadlineExceeded`] if it did not take over in time: who leads then is for
    /// [`Group::status`] to say.
    pub async fn transfer_leader(&self, to: MemberId, deadline: Instant) -> Result<(), Reject> {
        let status = self.status();
        if status.role != Role::Leader {
            let reject = Reject::new(Reason::NotLeader, "only the leader can hand over");
            return Err(match status.leader {
                Some(leader) => reject.with("leader", leader),
                None => reject,
            });
        }
        if to == status.member {
            // The library would stop proposing and wait for somebody to take over.
            return Ok(());
        }
        if !status.voters.contains(&to) {
            let detail = format!("member {to} has no vote and cannot lead");
            return Err(Reject::new(Reason::InvalidArgument, detail));
        }
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| stopping(&fatal))?;
        match self.wait_for(deadline, |status| status.leader == Some(to)).await {
            Some(_) => Ok(()),
            None => Err(Reject::new(
                Reason::DeadlineExceeded,
                format!("member {to} did not take over in time"),
            )),
        }
    }
}
