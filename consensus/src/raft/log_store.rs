//! The log as the Raft library wants it.
//!
//! Invariants: a vote is durable before the library may answer it; a callback of an append is called
//! after its sync, by the log's thread. What cannot be decoded is an error, never skipped. `RFT-24` the
//! log is cut by the write that follows the cut: by then what replaces the entries is at hand, or a
//! durable snapshot stands for them. The library cuts before it installs a snapshot, behind what it
//! knows to be committed; more may be, and this member's copies may be what commits it.
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
use parking_lot::Mutex;
use types::planted;

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
    cut: Arc<Mutex<Option<Cut>>>,
}

/// A cut that the library has asked for and that is not made yet (`RFT-24`).
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Last entry that stays, `None` if none does.
    after: Option<EntryId>,
}

impl Cut {
    /// Index of the first entry to go.
    fn from(self) -> u64 {
        self.after.map_or(0, |id| id.index + 1)
    }
}

impl LogStore {
    pub(super) fn new(log: Log, me: MemberId) -> Self {
        Self { log, me, unsynced: Arc::default(), cut: Arc::default() }
    }

    /// Cuts what a durable snapshot contradicts: a start between the two steps of an installation finds
    /// the snapshot, and the log as it was before.
    pub(super) async fn agree_with(&self, snapshot: EntryId) -> io::Result<()> {
        let bounds = self.log.bounds();
        let before = snapshot.index.checked_sub(1).and_then(|index| self.log.id_at(index));
        *self.cut.lock() = Some(Cut { after: before.or(bounds.purged) });
        self.make_cut().await
    }

    async fn make_cut(&self) -> io::Result<()> {
        let Some(cut) = self.cut.lock().take() else { return Ok(()) };
        self.log.truncate(cut.after).await?;
        self.unsynced.cut(cut.from());
        steps::truncated(cut.from());
        Ok(())
    }

    /// Index behind the last entry that may be read.
    fn end(&self) -> u64 {
        self.cut.lock().map_or(u64::MAX, Cut::from)
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
        let Range { start, end } = indices(&range);
        read(self.log.reader(), start..end.min(self.end()), u64::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.vote().map(raft_vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        read(self.log.reader(), start..end.min(self.end()), MESSAGE_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.log.bounds();
        let last = self.cut.lock().map_or(bounds.last, |cut| cut.after);
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(log_id),
            last_log_id: last.map(log_id),
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
        self.make_cut().await?;
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
        let end = self.get_log_state().await?.last_log_id.map(|last| last.index);
        if after.map(|after| after.index) >= end {
            return Ok(());
        }
        *self.cut.lock() = Some(Cut { after });
        if planted::is_on("cut-before-snapshot") {
            return self.make_cut().await;
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.make_cut().await?;
        let upto = entry_id(&upto);
        self.log.purge(upto).await?;
        steps::purged(upto.index);
        Ok(())
    }
}
