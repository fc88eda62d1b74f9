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
};

use openraft::{
    OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
};

use super::{
    codec,
    types::{Entry, LogId, RaftVote, TypeConfig, entry_id, log_id, own_vote, raft_vote},
};
use crate::log::{Log, Reader};

/// Bytes of entries read at once for one message to a peer.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The library's side of a [`Log`].
#[derive(Clone, Debug)]
pub(super) struct LogStore(Log);

impl LogStore {
    pub(super) fn new(log: Log) -> Self {
        Self(log)
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
        read(self.0.reader(), indices(&range), u64::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.0.vote().map(raft_vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        read(self.0.reader(), start..end, MESSAGE_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.0.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(log_id),
            last_log_id: bounds.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.0.save_vote(own_vote(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.set_committed(committed.as_ref().map(entry_id)).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.bounds().committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|entry| (entry_id(&entry.log_id()), codec::encode_payload(&entry)))
            .collect();
        self.0.append(entries, Box::new(|result| callback.io_completed(result))).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate(last.as_ref().map(entry_id)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.purge(entry_id(&upto)).await
    }
}
