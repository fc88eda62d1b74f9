//! The whole state as bytes, and back.
//!
//! Invariants: `ROOT-1` equal states have equal bytes and different ones different bytes: the encoding
//! is canonical, derived parts are left out and made again. Bytes that do not describe a state that
//! the invariants allow are refused, so that a damaged snapshot stops a node instead of letting it
//! differ.
//!
//! Not here: files, checksums and when a snapshot is taken (`raft`).

use sha2::{Digest, Sha256};
use thiserror::Error;
use types::{
    codec::{
        CodecError,
        fields::{Field, decode, encode},
    },
    lock::SessionId,
    root_limits::SNAPSHOT_BYTES_MAX,
};

use super::{Machine, invariants::Broken};

/// Why bytes are no state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// They are not a snapshot.
    #[error("not a snapshot of the root: {0}")]
    Codec(#[from] CodecError),
    /// They are one, of a state that can't be.
    #[error("a snapshot that contradicts itself: {0}")]
    Broken(#[from] Broken),
}

types::proto_message!(Machine {
    1 => applied,
    2 => time_ms,
    3 => sessions,
    4 => requests,
    5 => locks,
    6 => rules,
    7 => agents,
    8 => actions,
    9 => members,
    10 => epochs,
    11 => leader_unheard,
});

#[cfg(planted)]
impl Machine {
    /// The state without the answers that are kept for retries.
    fn snapshot_without_answers(&self) -> Vec<u8> {
        let copy: Result<Machine, _> = decode("root", &encode(self), SNAPSHOT_BYTES_MAX);
        let Ok(mut copy) = copy else { return encode(self) };
        copy.requests = Default::default();
        for session in copy.sessions.live.values_mut() {
            session.window = Default::default();
        }
        encode(&copy)
    }
}

impl Machine {
    /// The state as bytes: equal states have equal bytes, and only they.
    pub fn snapshot(&self) -> Vec<u8> {
        #[cfg(planted)]
        if types::planted::is_on("dedup-lost-in-snapshot") {
            return self.snapshot_without_answers();
        }
        encode(self)
    }

    /// The state that [`Machine::snapshot`] described.
    ///
    /// # Errors
    /// [`SnapshotError`] when the bytes are damaged, of another version or contradict themselves.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut machine: Machine = decode("root", bytes, SNAPSHOT_BYTES_MAX)?;
        machine.sessions.rebuild();
        machine.requests.rebuild();
        machine.locks.rebuild();
        machine.actions.rebuild();
        #[cfg(planted)]
        machine.locks.count_fences_from(machine.applied);
        machine.check()?;
        Ok(machine)
    }

    /// SHA-256 of what is decided: everything but how far the log has come, what time it is, and the
    /// answers that are kept for retries. A refusal leaves it as it was (`ROOT-3`).
    pub fn decisions_hash(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        let live: Vec<SessionId> = self.sessions.live.keys().copied().collect();
        live.write_field(1, &mut bytes);
        self.locks.write_field(2, &mut bytes);
        self.rules.write_field(3, &mut bytes);
        self.agents.write_field(4, &mut bytes);
        self.actions.write_field(5, &mut bytes);
        self.members.write_field(6, &mut bytes);
        self.epochs.write_field(7, &mut bytes);
        Sha256::digest(&bytes).into()
    }

    /// SHA-256 of the snapshot: members that have applied the same entries have the same.
    pub fn state_hash(&self) -> [u8; 32] {
        Sha256::digest(self.snapshot()).into()
    }
}
