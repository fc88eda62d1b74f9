//! Founding the group, its status, and changes of who is in it.
//!
//! Invariant: changes are made where the leader is; elsewhere they are refused with its endpoint.
//!
//! Not here: how a change of voters is made safe (`consensus::raft`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use consensus::raft::{Member, MemberId, Status};
use runtime::clock::{self, Instant};
use types::{Outcome, Reason, Reject};

use super::Root;

/// Time for a member that was added just now to answer for the first time.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// Time between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(50);

fn refuse<T>(reason: Reason, detail: String) -> Outcome<T> {
    Outcome::Rejected(Reject::new(reason, detail))
}

impl Root {
    /// Founds the group with its first voters. On one member, once.
    ///
    /// # Errors
    /// [`Reason::AlreadyExists`], [`Reason::InvalidArgument`], [`Reason::DeadlineExceeded`] when no
    /// leader was elected in time: the group is founded all the same.
    pub async fn initialise(
        &self,
        members: BTreeMap<MemberId, String>,
        deadline: Instant,
    ) -> Result<(), Reject> {
        let voters = members.into_iter().map(|(id, endpoint)| (id, Member { endpoint })).collect();
        self.0.group.found(voters).await?;
        match self.0.group.wait_for(deadline, |status| status.leader.is_some()).await {
            Some(_) => Ok(()),
            None => Err(Reject::new(
                Reason::DeadlineExceeded,
                "the group is founded and nobody leads yet: are the other members up?",
            )),
        }
    }

    /// How this member sees the group.
    pub fn status(&self) -> Status {
        self.0.group.status()
    }

    /// Adds a member without a vote.
    pub async fn add_learner(
        &self,
        id: MemberId,
        endpoint: String,
        deadline: Instant,
    ) -> Outcome<()> {
        self.0.group.add_learner(id, Member { endpoint }, deadline).await
    }

    /// Gives a member that copies the log a vote.
    pub async fn promote(&self, id: MemberId, deadline: Instant) -> Outcome<()> {
        let status = self.status();
        if !status.members.contains_key(&id) {
            return refuse(Reason::NotFound, format!("{id} is no member; add it first"));
        }
        let mut voters = status.voters;
        voters.insert(id);
        self.give_votes(voters, deadline).await
    }

    /// Changes who votes, once enough of them answer.
    async fn give_votes(&self, voters: BTreeSet<MemberId>, deadline: Instant) -> Outcome<()> {
        let patient = deadline.min(Instant::now() + FIRST_ANSWER);
        loop {
            match self.0.group.change_voters(voters.clone(), false, deadline).await {
                Outcome::Rejected(refused)
                    if refused.fact("answering").is_some() && Instant::now() < patient =>
                {
                    clock::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Takes a member out of the group. `forced` skips the check that the others can go on.
    pub async fn remove(&self, id: MemberId, forced: bool, deadline: Instant) -> Outcome<()> {
        let mut status = self.status();
        if !status.members.contains_key(&id) {
            return refuse(Reason::NotFound, format!("{id} is no member"));
        }
        if !status.voters.remove(&id) {
            return self.0.group.remove_learner(id, deadline).await;
        }
        if status.voters.is_empty() {
            let detail = "the last voter cannot be removed".to_owned();
            return refuse(Reason::FailedPrecondition, detail);
        }
        self.0.group.change_voters(status.voters, forced, deadline).await
    }

    /// Puts a new member in the place of one that is gone: one joint change, so that the group is
    /// never smaller in between.
    pub async fn replace(
        &self,
        gone: MemberId,
        id: MemberId,
        endpoint: String,
        deadline: Instant,
    ) -> Outcome<()> {
        let voters: BTreeSet<MemberId> = self.status().voters;
        if !voters.contains(&gone) || voters.contains(&id) {
            let detail = format!("{gone} must be a voter and {id} must not");
            return refuse(Reason::FailedPrecondition, detail);
        }
        match self.add_learner(id, endpoint, deadline).await {
            Outcome::Done(()) => {}
            other => return other,
        }
        let voters = voters.into_iter().filter(|voter| *voter != gone).chain([id]).collect();
        self.give_votes(voters, deadline).await
    }

    /// Hands the leadership over.
    ///
    /// # Errors
    /// [`Reason::NotLeader`], [`Reason::InvalidArgument`], [`Reason::DeadlineExceeded`].
    pub async fn transfer(&self, to: MemberId, deadline: Instant) -> Result<(), Reject> {
        self.0.group.transfer_leader(to, deadline).await
    }

    /// Makes a snapshot now.
    ///
    /// # Errors
    /// The member is stopping.
    pub async fn snapshot(&self) -> Result<(), Reject> {
        self.0.group.snapshot().await
    }
}
