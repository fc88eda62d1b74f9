//! Acquiring locks, which may have to wait for them.
//!
//! Who hangs up keeps its place until the request's own end, its session's, or until it cancels. The node
//! does not cancel in its name: a connection that broke, with the member or on the way, looks the same as
//! a client that gave up, and the client that asks again elsewhere under the same number must find its
//! place in the queue. A client that gives up cancels, or closes its session, as the command line does.
//!
//! Invariant: nothing is polled: a waiting request is looked at when this member's state changes.
//!
//! Not here: queues and who is next (`consensus::machine`).

use consensus::machine::{Acquire, Body, Command, Response, SessionSeq};
use runtime::clock::{self, Instant};
use types::{AgentId, Outcome, Reason, Reject};

use super::Root;

impl Root {
    /// Asks for keys and waits until they are granted, refused, or the deadline has come: then the
    /// answer is [`Response::Waiting`], and the same request asked again waits on in the same place.
    pub async fn acquire(
        &self,
        by: AgentId,
        at: SessionSeq,
        acquire: Acquire,
        deadline: Instant,
    ) -> Outcome<Response> {
        let mut changes = self.changes();
        let command = Command::in_session(by, at.session, at.seq, Body::Acquire(acquire));
        let waiting = match self.propose(command, deadline).await {
            Outcome::Done(Response::Waiting(waiting)) => Response::Waiting(waiting),
            other => return other,
        };
        loop {
            changes.borrow_and_update();
            let known = self.look(|machine| {
                let answer = machine.answer(at.session, at.seq).cloned();
                answer.ok_or_else(|| machine.session(at.session).is_some())
            });
            match known {
                Ok(Response::Waiting(_)) => {}
                Ok(Response::Refused(refused)) => return Outcome::Rejected(refused),
                Ok(answer) => return Outcome::Done(answer),
                // This member may be behind the answer; it is not behind one that it has applied.
                Err(_) if self.is_behind(&waiting) => {}
                Err(true) => {
                    // The request was in the queues: it may have been granted before it was forgotten.
                    let detail = "the session has gone on; the answer is not kept any more";
                    return Outcome::Unknown { detail: detail.to_owned() };
                }
                Err(false) => {
                    let detail = format!("session {} has ended; its waits are gone", at.session);
                    return Outcome::Rejected(Reject::new(Reason::SessionExpired, detail));
                }
            }
            // Changes that come faster than they are looked at hide the end of the time.
            if clock::Instant::now() >= deadline {
                return Outcome::Done(waiting);
            }
            match clock::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Outcome::Done(waiting),
            }
        }
    }

    /// Whether this member has not applied the request itself yet.
    fn is_behind(&self, waiting: &Response) -> bool {
        match waiting {
            Response::Waiting(waiting) => self.look(|m| m.applied()) < waiting.wait.0,
            _ => false,
        }
    }
}
