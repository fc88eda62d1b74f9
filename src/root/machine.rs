//! The state machine as the group wants it.
//!
//! Invariant: bytes in, bytes out; everything that is decided, is decided in `consensus::machine`.
//!
//! Not here: acting on effects.

use consensus::{
    machine::{Applied, Effect, Machine},
    raft::StateMachine,
};

/// The root's machine, replicated.
#[derive(Debug, Default)]
pub struct RootMachine(pub(super) Machine);

fn parts(applied: Applied) -> (Vec<u8>, Vec<Effect>) {
    (applied.response.encode(), applied.effects)
}

impl StateMachine for RootMachine {
    type Effect = Effect;

    fn apply(&mut self, index: u64, leader_ms: u64, command: &[u8]) -> (Vec<u8>, Vec<Effect>) {
        parts(self.0.apply_bytes(index, leader_ms, command))
    }

    fn leader_changed(&mut self, index: u64, leader_ms: u64) -> Vec<Effect> {
        self.0.leader_changed(index, leader_ms).effects
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        Machine::restore(bytes).map(Self).map_err(|error| error.to_string())
    }
}
