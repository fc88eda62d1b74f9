//! The types that the Raft library works with here.
//!
//! Invariant: a term has one leader at most (the library's standard leader id), so an entry is named
//! by term and index.
//!
//! Not here: their bytes (`codec`).

use std::fmt;

use bytes::Bytes;
use openraft::{
    alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf},
    vote::leader_id_std::{CommittedLeaderId, LeaderId},
};
use runtime::raft::RaftRuntime;

use crate::log::{EntryId, Vote};

/// Number of a member of the root. Never given twice: a member that lost its disk gets a new one.
pub type MemberId = u64;

openraft::declare_raft_types!(
    /// The library's parameters.
    pub TypeConfig:
        D = Command,
        R = Answer,
        NodeId = MemberId,
        Node = Member,
        LeaderId = LeaderId<u64, MemberId>,
        AsyncRuntime = RaftRuntime,
);

/// One command in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The proposing leader's wall clock, in milliseconds since the Unix epoch.
    pub leader_ms: u64,
    /// What the state machine is told; opaque here.
    pub bytes: Bytes,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ms", self.bytes.len(), self.leader_ms)
    }
}

/// What the state machine answered; empty for entries that are no commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer(pub Bytes);

/// What the group knows about a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Where its peers reach it, e.g. `10.0.0.1:7400`; opaque here.
    pub endpoint: String,
}

pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Entry = EntryOf<TypeConfig>;
pub(super) type RaftVote = VoteOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<MemberId, Member>;
pub(super) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

pub(super) fn log_id(id: EntryId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term), id.index)
}

pub(super) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}

pub(super) fn raft_vote(vote: Vote) -> RaftVote {
    let leader_id = LeaderId { term: vote.term, voted_for: vote.member };
    RaftVote { leader_id, committed: vote.committed }
}

pub(super) fn own_vote(vote: &RaftVote) -> Vote {
    let LeaderId { term, voted_for } = vote.leader_id;
    Vote { term, member: voted_for, committed: vote.committed }
}
