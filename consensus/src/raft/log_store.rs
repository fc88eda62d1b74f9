//! The log as the Raft library wants it.
//!
//! Invariants: a vote is durable before the library may answer it; a callback of an append is called
//! after its sync, by the log's thread. What cannot be decoded is an error, never skipped.
//!
//! Not here: how the log keeps its promises (`crate::log`).

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use bytes::Bytes;
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
};

use super::{
    codec,
    types::{Entry, LogId, MemberId, RaftVote, TypeConfig, entry_id, log_id, own_vote, raft_vote},
};
use crate::{
    log::{EntryId, Log, Reader},
    steps::{self, Unsynced},
};

/// Bytes of entries read at once for one message to a peer.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The library's side of a [`Log`].
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    log: Log,
    me: MemberId,
    unsynced: Arc<Unsynced>,
}

impl LogStore {
    pub(super) fn new(log: Log, me: MemberId) -> Self {
        Self { log, me, unsynced: Arc::default() }
    }
}

/// Tells what joined the log.
fn tell_appended(entries: &[Entry], payloads: &[(EntryId, Bytes)]) {
    for (entry, (id, payload)) in entries.iter().zip(payloads) {
        steps::appended(*id, payload);
        if let EntryPayload::Membership(membership) = &entry.payload {
            steps::membership(id.index, membership.get_joint_config());
        }
    }
}

fn indices(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

async fn read(reader: Reader, range: Range<u64>, max_bytes: u64) -> io::Result<Vec<Entry>> {
    let stored = reader.entries(range, max_bytes).await?;
    let decoded = stored.into_iter().map(|(id, bytes)| codec::decode_entry(id, &bytes));
    decoded.collect::<Result<_, _>>().map_err(io::Error::other)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        read(self.log.reader(), indices(&range), u64::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.vote().map(raft_vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        read(self.log.reader(), start..end, MESSAGE_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.log.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(log_id),
            last_log_id: bounds.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let vote = own_vote(vote);
        self.log.save_vote(vote).await?;
        steps::voted(self.me, vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let committed = committed.as_ref().map(entry_id);
        self.log.set_committed(committed).await?;
        if let Some(EntryId { index, .. }) = committed {
            steps::committed(index, self.log.vote().map_or(0, |vote| vote.term));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.bounds().committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let encode = |entry: &Entry| (entry_id(&entry.log_id()), codec::encode_payload(entry));
        let payloads: Vec<(EntryId, Bytes)> = entries.iter().map(encode).collect();
        let watched = steps::watched() && !payloads.is_empty();
        if !watched {
            let done = |result| callback.io_completed(result);
            return self.log.append(payloads, Box::new(done)).await;
        }
        #[cfg(planted)]
        let callback = super::planted::acknowledged(&self.log, self.me, callback);
        let kept = payloads.clone();
        let ticket = self.unsynced.begin(kept.last().map_or(0, |(id, _)| id.index));
        let unsynced = self.unsynced.clone();
        // The sync may be over before the append returns, so what joined is told first.
        tell_appended(&entries, &kept);
        let done = move |result: io::Result<()>| {
            match result {
                Ok(()) => unsynced.durable(ticket),
                Err(_) => unsynced.forget(ticket),
            }
            callback.io_completed(result);
        };
        self.log.append(payloads, Box::new(done)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let after = last.as_ref().map(entry_id);
        self.log.truncate(after).await?;
        let from = after.map_or(0, |id| id.index + 1);
        self.unsynced.cut(from);
        steps::truncated(from);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = entry_id(&upto);
        self.log.purge(upto).await?;
        steps::purged(upto.index);
        Ok(())
    }
}
