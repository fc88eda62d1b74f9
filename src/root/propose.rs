//! Proposing: here if this member leads, else one hop to who does.
//!
//! Invariant: `RTH-1`.
//!
//! Not here: answers that come later (`wait`).

use std::time::Duration;

use consensus::machine::{Body, Command, Response};
use futures::FutureExt;
use runtime::{
    clock::{self, Instant},
    span::{self, Kind},
};
use types::{Outcome, Reason, Reject, planted};

use super::Root;

/// Longest one try may take when there can be another.
pub(super) const TRY: Duration = Duration::from_millis(1500);
/// Longest wait for a leader between two tries.
const PAUSE: Duration = Duration::from_millis(50);

impl Root {
    /// Proposes a command and gives the machine's answer; its refusal is a rejection.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Outcome<Response> {
        span::stage("root.propose", Kind::Client, self.propose_until(command, deadline)).await
    }

    async fn propose_until(&self, command: Command, deadline: Instant) -> Outcome<Response> {
        if let Some(refused) = self.refusal() {
            return Outcome::Rejected(refused);
        }
        let repeatable = command.identity.is_some() || is_harmless(&command.body);
        let bytes = command.encode();
        // Once a try may have arrived, only an answer of the machine to the request itself makes the
        // outcome certain.
        let mut unsure: Option<String> = None;
        loop {
            let now = Instant::now();
            let until = if repeatable { deadline.min(now + TRY) } else { deadline };
            let tried = self.propose_once(&bytes, until).await;
            let again = match tried {
                Outcome::Done(answer) => {
                    let answer = understood(&answer);
                    return match unsure {
                        Some(_) if command.identity.is_some() => after_doubt(answer),
                        _ => answer,
                    };
                }
                Outcome::Rejected(refused) if may_pass(&refused) => Err(refused),
                Outcome::Rejected(refused) if unsure.is_none() => {
                    return Outcome::Rejected(refused);
                }
                Outcome::Rejected(refused) => Ok(refused.detail),
                Outcome::Unknown { detail } if repeatable => Ok(detail),
                Outcome::Unknown { detail } => return Outcome::Unknown { detail },
            };
            if deadline.saturating_duration_since(Instant::now()) <= PAUSE {
                return match (again, unsure) {
                    (Err(refused), None) => Outcome::Rejected(refused),
                    (Err(refused), Some(_)) => Outcome::Unknown { detail: refused.detail },
                    (Ok(detail), _) => Outcome::Unknown { detail },
                };
            }
            if let Ok(detail) = again
                && !planted::is_on("doubt-forgotten")
            {
                unsure = Some(detail);
            }
            self.look_for_leader(deadline).await;
        }
    }

    /// Tries once, in the words of the machine.
    pub(super) async fn propose_once(&self, bytes: &[u8], deadline: Instant) -> Outcome<Vec<u8>> {
        match self.leader() {
            Ok(None) => self.0.group.propose(bytes.to_vec().into(), deadline).boxed().await,
            Ok(Some(endpoint)) => self.0.peers.propose(&endpoint, bytes.to_vec(), deadline).await,
            Err(refused) => Outcome::Rejected(refused),
        }
    }

    /// Where the leader is; `None` if it is here.
    pub(super) fn leader(&self) -> Result<Option<String>, Reject> {
        let status = self.0.group.status();
        let nobody = || Reject::new(Reason::NotLeader, "nobody is known to lead the root");
        let leader = status.leader.ok_or_else(nobody)?;
        if leader == status.member {
            return Ok(None);
        }
        let member = status.members.get(&leader).ok_or_else(nobody)?;
        Ok(Some(member.endpoint.clone()))
    }

    /// Waits a moment, or until another leads.
    pub(super) async fn look_for_leader(&self, deadline: Instant) {
        let before = self.0.group.status();
        let until = deadline.min(Instant::now() + PAUSE);
        let another = |status: &consensus::raft::Status| {
            (status.leader, status.term) != (before.leader, before.term)
        };
        if self.0.group.wait_for(until, another).boxed().await.is_none() {
            // A group that has failed answers at once, and so does every try: never spin on it.
            clock::sleep_until(until).await;
        }
    }
}

/// Whether a repetition does no harm. A session that was opened twice expires by itself.
fn is_harmless(body: &Body) -> bool {
    matches!(
        body,
        Body::Tick(_)
            | Body::OpenSession(_)
            | Body::KeepAlive(_)
            | Body::Init(_)
            | Body::RegisterBoot(_)
    )
}

/// Whether the same request may be taken by another member, or later.
pub(super) fn may_pass(refused: &Reject) -> bool {
    matches!(refused.reason, Reason::NotLeader | Reason::Stopping)
}

/// The answer to a repetition, when an earlier try may have been executed. The machine knows what it
/// answered only as long as the session lives and its window reaches back, and it asks who may speak
/// before it looks: such a refusal says nothing of the earlier try, which may even be under way.
fn after_doubt(answer: Outcome<Response>) -> Outcome<Response> {
    let says_nothing = |refused: &Reject| {
        matches!(
            refused.reason,
            Reason::SessionExpired
                | Reason::SequenceTooOld
                | Reason::NotFound
                | Reason::AgentRevoked
                | Reason::Overloaded
        )
    };
    match answer {
        Outcome::Rejected(refused) if says_nothing(&refused) => {
            Outcome::Unknown { detail: refused.detail }
        }
        answer => answer,
    }
}

/// An answer as it came from the machine.
fn understood(answer: &[u8]) -> Outcome<Response> {
    match Response::decode(answer) {
        Ok(Response::Refused(refused)) => Outcome::Rejected(refused),
        Ok(response) => Outcome::Done(response),
        Err(error) => {
            tracing::error!(%error, "the root's answer cannot be read; are all members of one version?");
            Outcome::Unknown { detail: "the root's answer cannot be read".to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_did_not_look_at_the_request_leaves_an_earlier_try_open() {
        let after = |reason| after_doubt(Outcome::Rejected(Reject::new(reason, "why")));
        for reason in [
            Reason::SessionExpired,
            Reason::NotFound,
            Reason::SequenceTooOld,
            Reason::AgentRevoked,
            Reason::Overloaded,
        ] {
            assert!(matches!(after(reason), Outcome::Unknown { .. }), "{reason:?}");
        }
        for reason in [Reason::LockBusy, Reason::NotHolder, Reason::FenceTooSmall] {
            assert!(matches!(after(reason), Outcome::Rejected(_)), "{reason:?}");
        }
        let done = after_doubt(Outcome::Done(Response::done()));
        assert!(matches!(done, Outcome::Done(_)));
    }
}
