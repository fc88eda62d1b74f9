//! Planted bugs of the protocol that are longer than a line. In builds with `--cfg planted` only.
//!
//! Invariant: a bug that is not switched on changes nothing.
//!
//! Not here: which bugs there are (`types::planted`).

use std::collections::BTreeMap;

use openraft::{
    async_runtime::watch::WatchReceiver,
    raft::{AppendEntriesRequest, StreamAppendResult},
    storage::IOFlushed,
};
use parking_lot::Mutex;
use types::planted::is_on;

use super::{
    apply::StateMachine,
    group::Raft,
    snapshot::Stored,
    types::{LogId, MemberId, TypeConfig, entry_id},
};
use crate::log::Log;

/// `leader-counts-unflushed`: a leader hears that its own entries are durable before they are.
pub(super) fn acknowledged(
    log: &Log,
    me: MemberId,
    callback: IOFlushed<TypeConfig>,
) -> IOFlushed<TypeConfig> {
    let leads = log.vote().is_some_and(|vote| vote.committed && vote.member == me);
    if !leads || !is_on("leader-counts-unflushed") {
        return callback;
    }
    callback.io_completed(Ok(()));
    IOFlushed::noop()
}

/// `prior-term-commit`: entries of earlier terms are called committed as soon as they are sent.
pub(super) fn with_prior_terms_committed(
    request: &AppendEntriesRequest<TypeConfig>,
) -> AppendEntriesRequest<TypeConfig> {
    let mut request = request.clone();
    let term = request.vote.leader_id.term;
    let prior = request.entries.iter().map(|entry| entry.log_id);
    let prior = prior.filter(|id| entry_id(id).term < term).next_back();
    if is_on("prior-term-commit") {
        request.leader_commit = request.leader_commit.max(prior);
    }
    request
}

/// `quorum-unsorted`: what one peer acknowledges counts as what any peer has acknowledged.
pub(super) fn greatest(
    me: MemberId,
    result: StreamAppendResult<TypeConfig>,
) -> StreamAppendResult<TypeConfig> {
    static ACKNOWLEDGED: Mutex<BTreeMap<(MemberId, u64), LogId>> = Mutex::new(BTreeMap::new());
    let Ok(Some(acknowledged)) = result else { return result };
    let place = (me, entry_id(&acknowledged).term);
    let mut all = ACKNOWLEDGED.lock();
    let greatest = all.entry(place).or_insert(acknowledged);
    *greatest = (*greatest).max(acknowledged);
    Ok(Some(*greatest))
}

/// `stale-membership-snapshot`: every snapshot names the voters of the first one.
pub(super) fn with_first_membership(mut stored: Stored, before: Option<Stored>) -> Stored {
    if let Some(before) = before.filter(|_| is_on("stale-membership-snapshot")) {
        stored.meta.last_membership = before.meta.last_membership;
    }
    stored
}

/// `lease-unchecked`: who believes to lead answers from what it has.
pub(super) fn unchecked_read<M: StateMachine>(raft: &Raft<M>) -> Option<u64> {
    if !is_on("lease-unchecked") || raft.as_leader().is_err() {
        return None;
    }
    raft.metrics().borrow_watched().last_applied.as_ref().map(|id| entry_id(id).index)
}
