//! The library's messages to and from those of the wire.
//!
//! Invariant: a message that lacks a part is an error; nothing is guessed.
//!
//! Not here: who may say it (`network`, `serve`).

use openraft::{
    alias::SnapshotOf,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use prost::Message;
use wire::v1::{
    RaftAppend, RaftAppended, RaftBallot, RaftEntry, RaftInstalled, RaftLogId, RaftMatched,
    RaftMet, RaftSnapshot, RaftStart, RaftTransfer, RaftTransferred, RaftVote as VoteMessage,
    RaftVoted, raft_appended::Result as Appended,
};

use super::{
    boot::Boot,
    codec::{self, CodecError},
    types::{Entry, LogId, MemberId, RaftVote, TypeConfig, entry_id, log_id, own_vote, raft_vote},
};
use crate::log::{EntryId, Vote};

pub(super) type Snapshot = SnapshotOf<TypeConfig, bytes::Bytes>;

fn missing(what: &'static str) -> CodecError {
    CodecError::new(what, "the field is missing")
}

fn id_message(id: &LogId) -> RaftLogId {
    let EntryId { term, index } = entry_id(id);
    RaftLogId { term, index }
}

fn id_value(id: RaftLogId) -> LogId {
    log_id(EntryId { term: id.term, index: id.index })
}

fn vote_message(vote: &RaftVote) -> VoteMessage {
    let Vote { term, member, committed } = own_vote(vote);
    VoteMessage { term, member, committed }
}

fn vote_value(vote: Option<VoteMessage>) -> Result<RaftVote, CodecError> {
    let VoteMessage { term, member, committed } = vote.ok_or_else(|| missing("vote"))?;
    Ok(raft_vote(Vote { term, member, committed }))
}

pub(super) fn met_message(starts: &[(MemberId, Boot)]) -> RaftMet {
    let starts = starts.iter().map(|(member, Boot { epoch, nonce })| RaftStart {
        member: *member,
        boot_epoch: *epoch,
        boot_nonce: *nonce,
    });
    RaftMet { starts: starts.collect() }
}

pub(super) fn met_value(message: &RaftMet) -> Vec<(MemberId, Boot)> {
    let boot = |start: &RaftStart| Boot { epoch: start.boot_epoch, nonce: start.boot_nonce };
    message.starts.iter().map(|start| (start.member, boot(start))).collect()
}

pub(super) fn append_message(request: &AppendEntriesRequest<TypeConfig>) -> RaftAppend {
    #[cfg(planted)]
    let request = &super::planted::with_prior_terms_committed(request);
    let entries = request.entries.iter();
    RaftAppend {
        vote: Some(vote_message(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id_message),
        entries: entries
            .map(|entry| RaftEntry {
                id: Some(id_message(&entry.log_id)),
                payload: codec::encode_payload(entry).into(),
            })
            .collect(),
        committed: request.leader_commit.as_ref().map(id_message),
    }
}

pub(super) fn append_value(
    message: RaftAppend,
) -> Result<AppendEntriesRequest<TypeConfig>, CodecError> {
    let entry = |entry: RaftEntry| -> Result<Entry, CodecError> {
        let id = entry.id.ok_or_else(|| missing("entry.id"))?;
        codec::decode_entry(entry_id(&id_value(id)), &entry.payload.into())
    };
    Ok(AppendEntriesRequest {
        vote: vote_value(message.vote)?,
        prev_log_id: message.previous.map(id_value),
        entries: message.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        leader_commit: message.committed.map(id_value),
    })
}

fn matched(id: Option<&LogId>) -> RaftMatched {
    RaftMatched { id: id.map(id_message) }
}

pub(super) fn appended_message(response: &AppendEntriesResponse<TypeConfig>) -> RaftAppended {
    let result = match response {
        AppendEntriesResponse::Success => Appended::All(matched(None)),
        AppendEntriesResponse::PartialSuccess(upto) => Appended::Upto(matched(upto.as_ref())),
        AppendEntriesResponse::Conflict => Appended::Conflict(matched(None)),
        AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote(vote_message(vote)),
    };
    RaftAppended { result: Some(result) }
}

pub(super) fn appended_value(
    message: RaftAppended,
) -> Result<AppendEntriesResponse<TypeConfig>, CodecError> {
    Ok(match message.result.ok_or_else(|| missing("appended.result"))? {
        Appended::All(_) => AppendEntriesResponse::Success,
        Appended::Upto(upto) => AppendEntriesResponse::PartialSuccess(upto.id.map(id_value)),
        Appended::Conflict(_) => AppendEntriesResponse::Conflict,
        Appended::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_value(Some(vote))?),
    })
}

pub(super) fn ballot_message(request: &VoteRequest<TypeConfig>) -> RaftBallot {
    RaftBallot {
        vote: Some(vote_message(&request.vote)),
        last: request.last_log_id.as_ref().map(id_message),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ballot_value(message: RaftBallot) -> Result<VoteRequest<TypeConfig>, CodecError> {
    let mut request = VoteRequest::new(vote_value(message.vote)?, message.last.map(id_value));
    request.leadership_transfer = message.leadership_transfer;
    Ok(request)
}

pub(super) fn voted_message(response: &VoteResponse<TypeConfig>) -> RaftVoted {
    RaftVoted {
        vote: Some(vote_message(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(id_message),
    }
}

pub(super) fn voted_value(message: RaftVoted) -> Result<VoteResponse<TypeConfig>, CodecError> {
    let vote = vote_value(message.vote)?;
    Ok(VoteResponse::new(vote, message.last.map(id_value), message.granted))
}

pub(super) fn snapshot_message(vote: &RaftVote, snapshot: &Snapshot) -> RaftSnapshot {
    let file = codec::snapshot_message(&snapshot.meta, snapshot.snapshot.clone());
    RaftSnapshot { vote: Some(vote_message(vote)), snapshot: file.encode_to_vec() }
}

pub(super) fn snapshot_value(message: RaftSnapshot) -> Result<(RaftVote, Snapshot), CodecError> {
    let vote = vote_value(message.vote)?;
    let file = codec::read("snapshot", message.snapshot)?;
    let (meta, snapshot) = codec::snapshot_parts(file)?;
    Ok((vote, Snapshot { meta, snapshot }))
}

pub(super) fn installed_message(response: &SnapshotResponse<TypeConfig>) -> RaftInstalled {
    RaftInstalled { vote: Some(vote_message(&response.vote)) }
}

pub(super) fn installed_value(
    message: RaftInstalled,
) -> Result<SnapshotResponse<TypeConfig>, CodecError> {
    Ok(SnapshotResponse::new(vote_value(message.vote)?))
}

pub(super) fn transfer_message(request: &TransferLeaderRequest<TypeConfig>) -> RaftTransfer {
    RaftTransfer {
        leader: Some(vote_message(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(id_message),
    }
}

pub(super) fn transfer_value(
    message: RaftTransfer,
) -> Result<TransferLeaderRequest<TypeConfig>, CodecError> {
    let leader = vote_value(message.leader)?;
    Ok(TransferLeaderRequest::new(leader, message.to, message.last.map(id_value)))
}

pub(super) fn transferred_message(
    response: &TransferLeaderResponse<TypeConfig>,
) -> RaftTransferred {
    match response {
        Ok(()) => RaftTransferred::default(),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            RaftTransferred { vote_changed: Some(vote_message(actual)), lacking: None }
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            RaftTransferred { vote_changed: None, lacking: Some(matched(actual.as_ref())) }
        }
    }
}

/// `request` is what the answer is to.
pub(super) fn transferred_value(
    message: RaftTransferred,
    request: &TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, CodecError> {
    let RaftTransferred { vote_changed, lacking } = message;
    if let Some(vote) = vote_changed {
        let expected = *request.from_leader();
        let actual = vote_value(Some(vote))?;
        return Ok(Err(TransferLeaderError::VoteChanged { expected, actual }));
    }
    if let Some(lacking) = lacking {
        let expected = request.last_log_id().copied();
        let actual = lacking.id.map(id_value);
        return Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual }));
    }
    Ok(Ok(()))
}

/// The answer to one item of a stream of appends.
pub(super) fn streamed_message(result: &StreamAppendResult<TypeConfig>) -> RaftAppended {
    let result = match result {
        Ok(upto) => Appended::Upto(matched(upto.as_ref())),
        Err(StreamAppendError::Conflict(id)) => Appended::Conflict(matched(Some(id))),
        Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(vote_message(vote)),
    };
    RaftAppended { result: Some(result) }
}

pub(super) fn streamed_value(
    message: RaftAppended,
) -> Result<StreamAppendResult<TypeConfig>, CodecError> {
    Ok(match message.result.ok_or_else(|| missing("appended.result"))? {
        Appended::Upto(upto) => Ok(upto.id.map(id_value)),
        Appended::Conflict(RaftMatched { id }) => {
            Err(StreamAppendError::Conflict(id_value(id.ok_or_else(|| missing("conflict.id"))?)))
        }
        Appended::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_value(Some(vote))?)),
        Appended::All(_) => return Err(CodecError::new("appended", "says all in a stream")),
    })
}
