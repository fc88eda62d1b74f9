//! What a decided entry does: the root's state as a pure function of its log.
//!
//! A Raft group decides the order of entries; every member hands each entry to [`Machine::apply`] and
//! gets the same answer, the same effects and the same state, to the byte. Nothing here can fail: what
//! can't be done is answered with a refusal.
//!
//! # Time
//! Every entry carries the reading of the clock of the leader that proposed it. The machine's time is
//! the running maximum of those; nobody else's clock matters. What has a deadline ends at the
//! beginning of the first entry whose time has reached it, before that entry's own command is looked
//! at. A leader with something due and nothing to propose sends [`Body::Tick`] at
//! [`Machine::next_deadline_ms`]. When the leader changes, every session gets its full TTL again:
//! clients can't have reached a leader that was not there. The entry by which a leader takes office need
//! not carry a reading of its clock, so the TTLs start once more at the first reading that it gives; a
//! new leader does well to begin with a tick.
//!
//! # Retries
//! A command can carry an [`Identity`]: a place in the sequence of a session, or, from callers without
//! one, a request id with an end of validity. Either is executed at most once; a repetition gets the
//! answer of the first, or, when the answer is no longer kept, a refusal that says so. One mechanism
//! serves everybody: a remembered answer beside the hash of what was asked.
//!
//! # Layout
//! One file for each family of commands, with its state, its commands and what they do: `session`,
//! `lock/`, `policy`, `agent`, `action`, `member`, `epoch`. Around them: `command` and `response` (the
//! vocabulary), `effect` (what the node is told), `refusal` (refusals that are told too), `entry` (what
//! one entry collects), `dedup` (answers
//! kept), `due` (deadlines), `snapshot`, `query`, `invariants`.
//!
//! # Invariants
//! | name | says |
//! |---|---|
//! | `ROOT-1` | equal entries give equal answers, effects and snapshots |
//! | `ROOT-2` | indexes strictly increase, time never goes back |
//! | `ROOT-3` | a refusal changes nothing but the answer that is kept for retries |
//! | `SES-1` | of commands with the same identity at most one is executed |
//! | `SES-2` | a session lives while the time has not reached its expiry, and no command of it is executed after |
//! | `SES-3` | a leader change gives every session its full TTL, and ends none |
//! | `LOCK-1` | an exclusive holder is alone, permits never exceed the capacity |
//! | `LOCK-2` | a fence is the index of the granting entry, so it is greater than every fence that an earlier entry gave |
//! | `LOCK-3` | only live sessions wait or hold, and a wait past its deadline is never granted |
//! | `LOCK-4` | queues are first in, first out; nobody passes a waiter that could not be granted |
//! | `LOCK-5` | a request gets all its keys in one entry, or none |
//! | `LOCK-6` | sessions never wait for each other in a circle |
//! | `LOCK-7` | while a key rests after a lost holder, nobody gets it |
//! | `LOCK-8` | after each entry, no waiter could be granted: the entry that frees a lock hands it over |
//! | `LOCK-9` | only a holder gives up a hold, and only by naming its fence |
//! | `GOV-2` | a child namespace only tightens (in `types::rule`) |
//! | `AGT-1` | nothing of a revoked agent is accepted, and it is never registered again |
//! | `ACT-1` | an action is decided once, by the first entry that suffices |
//! | `ACT-2` | nobody approves what they proposed; a revoked agent's approval does not count |
//! | `MEM-1` | the cluster id is set once |
//! | `EPO-1` | a node's boot epoch and the cluster's epoch only grow |
//!
//! # Not here
//! The log, elections and membership of the group (`raft`); who may send which command, but for what
//! the state itself forbids (the node's service); carrying out what was approved.

mod action;
mod agent;
mod command;
mod dedup;
mod due;
mod effect;
mod entry;
mod epoch;
mod invariants;
mod lock;
mod member;
mod policy;
mod query;
mod refusal;
mod response;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

pub use action::{Action, ActionState, Decide, Decided, Propose};
pub use agent::{Agent, PastKey, RegisterAgent, Revocation, RevokeAgent, RotateKey};
pub use command::{Body, Command, Empty, Identity, RequestId, RequestIdentity, SessionSeq};
pub use effect::{AuditEvent, Effect};
pub use entry::Applied;
pub use epoch::{AdvanceEpoch, Readmit, RegisterBoot};
pub use invariants::Broken;
pub use lock::{
    Acquire, CancelWait, ForceRelease, Held, HolderView, LockExplanation, Release, WaitCause,
    WaiterView,
};
pub use member::{ClusterId, Init, Member, PutMember, RemoveMember, Role};
pub use policy::{PutPolicy, PutRule, RemovePolicy, RemoveRule};
pub use response::{
    ActionAnswer, BootAnswer, Grant, Granted, Response, SessionOpened, WaitEnded, Waiting,
};
pub use session::{CloseSession, EndCause, KeepAlive, OpenSession, SessionView};
pub use snapshot::SnapshotError;

use sha2::{Digest, Sha256};
use types::{
    Hlc, Reason, Reject, codec::fields::Message, root_limits::COMMAND_BYTES_MAX, rule::RuleSet,
};

use self::{
    action::Actions,
    agent::Agents,
    dedup::{Lookup, Requests},
    entry::Entry,
    epoch::Epochs,
    lock::Locks,
    member::Members,
    session::Sessions,
};

/// The root's state. Empty by default; from then on what its entries made of it.
#[derive(Debug, Default)]
pub struct Machine {
    applied: u64,
    time_ms: u64,
    sessions: Sessions,
    requests: Requests,
    locks: Locks,
    rules: RuleSet,
    agents: Agents,
    actions: Actions,
    members: Members,
    epochs: Epochs,
    /// The leader has changed, and no entry with a reading of the new one has come yet.
    leader_unheard: bool,
}

impl Machine {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the entry at `index`, proposed by a leader whose clock said `leader_ms`.
    ///
    /// # Panics
    /// When `index` is not greater than every index before (`ROOT-2`): the caller has lost the order
    /// of the log, and going on would make members differ.
    pub fn apply(&mut self, index: u64, leader_ms: u64, command: &Command) -> Applied {
        let mut entry = self.begin(index, leader_ms);
        self.expire(&mut entry);
        entry.by = command.by.clone();
        let response = self.execute(&mut entry, command);
        self.finish(entry, response)
    }

    /// Applies an entry as it stands in the log. Bytes that are no command are refused, by every
    /// member alike.
    pub fn apply_bytes(&mut self, index: u64, leader_ms: u64, bytes: &[u8]) -> Applied {
        match Command::decode(bytes) {
            Ok(command) => self.apply(index, leader_ms, &command),
            Err(error) => {
                let reason = match bytes.len() > COMMAND_BYTES_MAX {
                    true => Reason::TooLarge,
                    false => Reason::Malformed,
                };
                let mut entry = self.begin(index, leader_ms);
                self.expire(&mut entry);
                self.finish(entry, Response::Refused(Reject::new(reason, error.to_string())))
            }
        }
    }

    /// Applies the first entry of a new leader: every session gets its full TTL again (`SES-3`), now
    /// and at the first reading that the new leader gives. `leader_ms` is a reading of any leader so
    /// far, or 0 when the entry carries none.
    ///
    /// # Panics
    /// As [`Machine::apply`].
    pub fn leader_changed(&mut self, index: u64, leader_ms: u64) -> Applied {
        let mut entry = self.begin(index, leader_ms);
        self.sessions.renew_all(entry.now_ms);
        self.leader_unheard = true;
        self.expire(&mut entry);
        self.finish(entry, Response::done())
    }

    /// The machine's time: the greatest reading that any entry carried, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Index of the last entry applied; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// `ROOT-2`: takes over the entry's place and time. A reading that no clock can give counts as
    /// the greatest that one can, so that sums of times never overflow.
    fn begin(&mut self, index: u64, leader_ms: u64) -> Entry {
        assert!(index > self.applied, "ROOT-2: {index} is applied after {}", self.applied);
        self.applied = index;
        self.time_ms = self.time_ms.max(leader_ms.min(Hlc::WALL_MS_MAX));
        if std::mem::take(&mut self.leader_unheard) {
            self.sessions.renew_all(self.time_ms);
        }
        Entry::new(index, self.time_ms)
    }

    /// Ends everything whose time has come. Who is dead is known before anything is handed over: a
    /// lock must not pass from one dead session to another.
    fn expire(&mut self, entry: &mut Entry) {
        let timed_out = self.locks.take_due_waits(entry.now_ms);
        let dead = self.sessions.take_due(entry.now_ms);
        let rested = self.locks.take_rested(entry.now_ms);
        for wait in timed_out {
            self.end_wait(entry, wait, WaitCause::TimedOut);
        }
        entry.to_hand_over.extend(rested);
        self.end_sessions(entry, &dead, EndCause::Expired);
        self.expire_actions(entry);
        self.requests.forget_due(entry.now_ms);
    }

    /// Executes a command, or repeats the answer it got before.
    fn execute(&mut self, entry: &mut Entry, command: &Command) -> Response {
        let mut bytes = Vec::new();
        command.body.write(&mut bytes);
        if bytes.len() > COMMAND_BYTES_MAX {
            let detail = format!("{} bytes; at most {COMMAND_BYTES_MAX} fit", bytes.len());
            return Response::Refused(Reject::new(Reason::TooLarge, detail));
        }
        if let Err(reject) = self.agents.check_not_revoked(&command.by) {
            refusal::tell(entry, &command.body, &reject);
            return Response::Refused(reject);
        }
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let looked_up = match &command.identity {
            None => Ok(Lookup::Fresh),
            Some(Identity::Session(at)) => self.sessions.look_up(&command.by, *at, &hash),
            Some(Identity::Request(request)) => {
                self.requests.look_up(&command.by, request, &hash, entry.now_ms)
            }
        };
        if let (Ok(found), Some(Identity::Session(at))) = (&looked_up, &command.identity) {
            entry.seen = Some((*at, *found == Lookup::Fresh));
        }
        match looked_up {
            Err(reject) => Response::Refused(reject),
            Ok(Lookup::Known(response)) => response,
            Ok(Lookup::Fresh) => {
                let response = self.run(entry, command).unwrap_or_else(Response::Refused);
                if let Response::Refused(reject) = &response {
                    refusal::tell(entry, &command.body, reject);
                }
                self.remember(command, hash, &response);
                response
            }
        }
    }

    /// Keeps the answer for retries.
    fn remember(&mut self, command: &Command, hash: [u8; 32], response: &Response) {
        match &command.identity {
            None => {}
            Some(Identity::Session(at)) => self.sessions.remember(*at, hash, response.clone()),
            Some(Identity::Request(request)) => {
                self.requests.remember(&command.by, request, hash, response.clone());
            }
        }
    }

    /// Sends a command to its family.
    fn run(&mut self, entry: &mut Entry, command: &Command) -> Result<Response, Reject> {
        let at = match &command.identity {
            Some(Identity::Session(at)) => Some(*at),
            _ => None,
        };
        let in_session = at.ok_or_else(|| {
            Reject::new(
                Reason::InvalidArgument,
                "a lock command needs a session and a sequence number",
            )
        });
        match &command.body {
            Body::Tick(_) => Ok(Response::done()),
            Body::OpenSession(body) => self.open_session(entry, body),
            Body::KeepAlive(body) => self.keep_alive(entry, body),
            Body::CloseSession(body) => self.close_session(entry, body),
            Body::Acquire(body) => self.acquire(entry, in_session?, body),
            Body::Release(body) => self.release(entry, in_session?, body),
            Body::CancelWait(body) => self.cancel_wait(entry, in_session?, body),
            Body::ForceRelease(body) => self.force_release(entry, body),
            Body::PutPolicy(body) => self.put_policy(entry, body),
            Body::RemovePolicy(body) => self.remove_policy(entry, body),
            Body::PutRule(body) => self.put_rule(entry, body),
            Body::RemoveRule(body) => self.remove_rule(entry, body),
            Body::RegisterAgent(body) => self.register_agent(entry, body),
            Body::RotateKey(body) => self.rotate_key(entry, body),
            Body::RevokeAgent(body) => self.revoke_agent(entry, body),
            Body::Propose(body) => self.propose(entry, body),
            Body::Decide(body) => self.decide(entry, body),
            Body::Init(body) => self.init(entry, body),
            Body::PutMember(body) => self.put_member(entry, body),
            Body::RemoveMember(body) => self.remove_member(entry, body),
            Body::RegisterBoot(body) => self.register_boot(entry, body),
            Body::Readmit(body) => self.readmit(entry, body),
            Body::AdvanceEpoch(body) => self.advance_epoch(entry, body),
        }
    }

    fn finish(&mut self, mut entry: Entry, response: Response) -> Applied {
        for key in std::mem::take(&mut entry.changed_keys) {
            entry.effects.push(self.locks.changed(key));
        }
        Applied { response, effects: entry.effects, seen: entry.seen }
    }
}
