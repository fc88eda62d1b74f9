//! The state machine as the group wants it.
//!
//! Invariant: bytes in, bytes out; everything that is decided, is decided in `consensus::machine`.
//!
//! Not here: acting on effects.

use consensus::{
    machine::{Applied, Effect, EndCause, Machine, Response, SessionSeq},
    raft::StateMachine,
    steps::{self, Seen, Shown},
};

/// The root's machine, replicated.
#[derive(Debug, Default)]
pub struct RootMachine {
    pub(super) machine: Machine,
    /// The identity of the newest entry's command; no part of the state.
    seen: Option<Seen>,
}

/// Tells watchers what the protocol of clients rests on.
fn tell(index: u64, applied: &Applied) {
    for effect in &applied.effects {
        if let Effect::SessionEnded { session, cause } = effect
            && *cause != EndCause::Closed
        {
            steps::expired(session.0, index);
        }
    }
    if let (Response::Waiting(_), Some((at, true))) = (&applied.response, &applied.seen) {
        steps::queued(at.session.0, at.seq, index);
    }
}

impl StateMachine for RootMachine {
    type Effect = Effect;

    fn apply(&mut self, index: u64, leader_ms: u64, command: &[u8]) -> (Vec<u8>, Vec<Effect>) {
        let applied = self.machine.apply_bytes(index, leader_ms, command);
        let seen = |(at, executed): (SessionSeq, bool)| Seen {
            session: at.session.0,
            seq: at.seq,
            executed,
        };
        self.seen = applied.seen.map(seen);
        tell(index, &applied);
        (applied.response.encode(), applied.effects)
    }

    fn leader_changed(&mut self, index: u64, leader_ms: u64) -> Vec<Effect> {
        self.seen = None;
        let applied = self.machine.leader_changed(index, leader_ms);
        tell(index, &applied);
        applied.effects
    }

    fn show(&self, whole: bool) -> Shown {
        Shown { state: whole.then(|| self.machine.state_hash()), seen: self.seen }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot()
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        let machine = Machine::restore(bytes).map_err(|error| error.to_string())?;
        Ok(Self { machine, seen: None })
    }
}
