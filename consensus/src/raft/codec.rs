//! Entries, memberships and snapshots as bytes: protobuf, written by hand.
//!
//! Invariants: `RFT-1` bytes that decode are the bytes that encoding gives back: an unknown field or a
//! second spelling is an error, so no member skips half of what another one applied. Field tags are
//! never reused.
//!
//! Not here: checksums and files (`crate::log`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use prost::Message;

use super::types::{
    Command, Entry, LogId, Member, Membership, SnapshotMeta, StoredMembership, TypeConfig, log_id,
};
use crate::log::{EntryId, sealed::Sealed};

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct CodecError {
    /// What was read.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl CodecError {
    pub(super) fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct IdMessage {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(oneof = "Payload", tags = "1, 2, 3")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    /// What a new leader writes first.
    #[prost(message, tag = "1")]
    Blank(BlankMessage),
    #[prost(message, tag = "2")]
    Command(CommandMessage),
    #[prost(message, tag = "3")]
    Membership(MembershipMessage),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct BlankMessage {}

#[derive(Clone, PartialEq, Message)]
struct CommandMessage {
    #[prost(uint64, tag = "1")]
    leader_ms: u64,
    #[prost(bytes = "bytes", tag = "2")]
    command: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MembershipMessage {
    /// One, or two while the membership changes.
    #[prost(message, repeated, tag = "1")]
    configs: Vec<ConfigMessage>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberMessage>,
}

/// Voters, ascending.
#[derive(Clone, PartialEq, Message)]
struct ConfigMessage {
    #[prost(uint64, repeated, tag = "1")]
    voters: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct MemberMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    endpoint: String,
}

/// A snapshot: what it covers, who was a member, and the state.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SnapshotMessage {
    #[prost(message, optional, tag = "1")]
    last: Option<IdMessage>,
    #[prost(message, optional, tag = "2")]
    membership_at: Option<IdMessage>,
    #[prost(message, optional, tag = "3")]
    membership: Option<MembershipMessage>,
    /// See [`SnapshotData`].
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
}

impl Sealed for SnapshotMessage {
    const KIND: u32 = 3;
}

/// The part of a snapshot that travels beside its metadata.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SnapshotData {
    /// Newest leader's reading that was applied.
    #[prost(uint64, tag = "1")]
    pub(super) leader_ms: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) machine: Bytes,
}

fn id_message(id: &LogId) -> IdMessage {
    IdMessage { term: id.leader_id.term, index: id.index }
}

fn id_value(id: IdMessage) -> LogId {
    log_id(EntryId { term: id.term, index: id.index })
}

/// Reads a message and checks `RFT-1`.
pub(super) fn read<M: Message + Default>(
    what: &'static str,
    bytes: impl AsRef<[u8]>,
) -> Result<M, CodecError> {
    let bytes = bytes.as_ref();
    let message = M::decode(bytes).map_err(|error| CodecError::new(what, error.to_string()))?;
    if message.encode_to_vec() != bytes {
        return Err(CodecError::new(what, "not the one encoding of what it says"));
    }
    Ok(message)
}

fn membership_message(membership: &Membership) -> MembershipMessage {
    let configs = membership.get_joint_config().iter();
    let members = membership.nodes();
    MembershipMessage {
        configs: configs
            .map(|voters| ConfigMessage { voters: voters.iter().copied().collect() })
            .collect(),
        members: members
            .map(|(id, member)| MemberMessage { id: *id, endpoint: member.endpoint.clone() })
            .collect(),
    }
}

fn membership_value(message: MembershipMessage) -> Result<Membership, CodecError> {
    if message.configs.is_empty() && message.members.is_empty() {
        return Ok(Membership::default());
    }
    let configs: Vec<BTreeSet<u64>> =
        message.configs.into_iter().map(|config| config.voters.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = message
        .members
        .into_iter()
        .map(|member| (member.id, Member { endpoint: member.endpoint }))
        .collect();
    Membership::new(configs, members)
        .map_err(|error| CodecError::new("membership", error.to_string()))
}

/// What an entry says, as the log keeps it.
pub(super) fn encode_payload(entry: &Entry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(BlankMessage {}),
        EntryPayload::Normal(Command { leader_ms, bytes }) => {
            Payload::Command(CommandMessage { leader_ms: *leader_ms, command: bytes.clone() })
        }
        EntryPayload::Membership(membership) => Payload::Membership(membership_message(membership)),
    };
    EntryMessage { payload: Some(payload) }.encode_to_vec().into()
}

/// Reads an entry back.
pub(super) fn decode_entry(id: EntryId, bytes: &Bytes) -> Result<Entry, CodecError> {
    let message: EntryMessage = read("entry", bytes)?;
    let payload = match message.payload {
        Some(Payload::Blank(BlankMessage {})) => EntryPayload::Blank,
        Some(Payload::Command(CommandMessage { leader_ms, command })) => {
            EntryPayload::Normal(Command { leader_ms, bytes: command })
        }
        Some(Payload::Membership(message)) => {
            let membership = membership_value(message)?;
            EntryPayload::Membership(membership)
        }
        None => return Err(CodecError::new("entry", format!("entry {id} is of an unknown kind"))),
    };
    Ok(openraft::Entry { log_id: log_id(id), payload })
}

/// Builds the file of a snapshot.
pub(super) fn snapshot_message(meta: &SnapshotMeta, data: Bytes) -> SnapshotMessage {
    SnapshotMessage {
        last: meta.last_log_id.as_ref().map(id_message),
        membership_at: meta.last_membership.log_id().as_ref().map(id_message),
        membership: Some(membership_message(meta.last_membership.membership())),
        data,
    }
}

/// Takes the file of a snapshot apart.
pub(super) fn snapshot_parts(
    message: SnapshotMessage,
) -> Result<(SnapshotMeta, Bytes), CodecError> {
    let membership = message.membership.unwrap_or_default();
    let membership =
        StoredMembership::new(message.membership_at.map(id_value), membership_value(membership)?);
    let meta = openraft::alias::SnapshotMetaOf::<TypeConfig> {
        last_log_id: message.last.map(id_value),
        last_membership: membership,
    };
    Ok((meta, message.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Entry> {
        let voters = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let members: BTreeMap<u64, Member> =
            (1..=4).map(|id| (id, Member { endpoint: format!("host-{id}:7400") })).collect();
        let joint = vec![voters(&[1, 2, 3]), voters(&[2, 3, 4])];
        let command = Command { leader_ms: 1_700_000_000_000, bytes: Bytes::from_static(b"lock") };
        [
            EntryPayload::Blank,
            EntryPayload::Normal(command),
            EntryPayload::Normal(Command { leader_ms: 0, bytes: Bytes::new() }),
            EntryPayload::Membership(Membership::new(joint, members).unwrap()),
        ]
        .into_iter()
        .map(|payload| openraft::Entry { log_id: log_id(EntryId { term: 3, index: 9 }), payload })
        .collect()
    }

    #[test]
    fn entries_come_back_and_differ() {
        let mut seen = BTreeSet::new();
        for entry in samples() {
            let bytes = encode_payload(&entry);
            let back = decode_entry(EntryId { term: 3, index: 9 }, &bytes).unwrap();
            assert_eq!(back, entry);
            assert!(seen.insert(bytes), "{entry:?}");
        }
    }

    #[test]
    fn unknown_kinds_and_second_spellings_are_refused() {
        let id = EntryId { term: 1, index: 1 };
        for bad in [&b""[..], b"\x22\x00", b"\x0a\x00\x0a\x00", b"\x0a", b"\x12\x02\x08\x00"] {
            assert!(decode_entry(id, &Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
