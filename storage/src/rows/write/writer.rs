//! The worker that owns the writing connection.
//!
//! A group is everything that was queued while the last one was committed: one transaction, one
//! fsync, then the index, then the answers.
//!
//! Invariants: `STO-1`, `STO-4`, `STO-5`; `SQL-2` an I/O error stops the node and leaves the connection
//! open; `WRT-2` on a full disk nothing of the group is kept, every connection is replaced, and the node
//! goes on.
//!
//! Not here: what requests mean (`group`).

use std::{path::PathBuf, sync::Arc};

use crate::sql::Connection;
use runtime::{
    clock::Instant,
    disk::DiskRef,
    span::Traced,
    worker::{Replies, WorkerHandle},
};
use tokio::sync::{oneshot, watch};
use types::{Reason, Reject};

use super::{
    group::Group, head::Head, overlay::Entry, prepare::Ready, traces::Traces,
    vocabulary::Vocabulary,
};
use crate::{
    answer::WriteReceipt,
    error::StoreError,
    request::{ComputedVector, Intent},
    sqlite::{
        checkpoint,
        config::StoreConfig,
        connection::{self, Role},
        counters::Counters,
        fault::SqlFault,
        indexes::{Indexes, Task},
        pool::ReadPool,
        vectors,
    },
};

/// Operations after which upkeep of the indexes is asked for.
const TICK_EVERY: u64 = 500;

/// What the worker is asked.
pub(crate) enum Job {
    /// Commit a request.
    Write(Box<Ready>, Caller),
    /// Keep computed vectors.
    Vectors(Vec<ComputedVector>, oneshot::Sender<Result<u64, StoreError>>),
    /// Checkpoint the log and release the connection: the last job.
    Close(oneshot::Sender<()>),
}

/// Where the answer to a write goes.
pub(super) type Caller = oneshot::Sender<Result<WriteReceipt, StoreError>>;
/// A waiting caller and what it will be told.
pub(super) type Answered = (Caller, Result<WriteReceipt, StoreError>);

/// The owner of the writing connection.
pub(crate) struct Writer {
    pub(crate) disk: DiskRef,
    pub(crate) path: PathBuf,
    pub(crate) config: Arc<StoreConfig>,
    /// `None` after `Close`.
    pub(crate) connection: Option<Connection>,
    pub(crate) words: Vocabulary,
    pub(crate) head: Head,
    /// Why the audit chain must not be continued, if so.
    pub(crate) broken: Option<String>,
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) pool: ReadPool,
    pub(crate) position: watch::Sender<u64>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) upkeep: WorkerHandle<Task>,
    pub(crate) traces: Arc<Traces>,
    /// Position at which upkeep was last asked for.
    pub(crate) ticked: u64,
}

impl Writer {
    /// Handles what was queued.
    pub(crate) fn handle(&mut self, jobs: &mut Vec<Job>, replies: &mut Replies) {
        let mut group: Vec<(Box<Ready>, Caller)> = Vec::new();
        let mut intents = 0;
        for job in jobs.drain(..) {
            match job {
                Job::Write(ready, to) => {
                    let more = ready.request.intents.len();
                    if intents > 0 && intents + more > self.config.group_intents_max {
                        self.commit(std::mem::take(&mut group), replies);
                        intents = 0;
                    }
                    intents += more;
                    group.push((ready, to));
                }
                Job::Vectors(computed, to) => {
                    self.commit(std::mem::take(&mut group), replies);
                    intents = 0;
                    let kept = self.keep_vectors(&computed);
                    replies.send(to, kept);
                }
                Job::Close(to) => {
                    self.commit(std::mem::take(&mut group), replies);
                    intents = 0;
                    self.close();
                    replies.send(to, ());
                }
            }
        }
        self.commit(group, replies);
        self.checkpoint_if_due();
    }

    fn commit(&mut self, group: Vec<(Box<Ready>, Caller)>, replies: &mut Replies) {
        if group.is_empty() {
            return;
        }
        let started = Instant::now();
        let (refused, admitted): (Vec<_>, Vec<_>) = {
            let full = self.is_short_of_space();
            group.into_iter().partition(|(ready, _)| {
                self.broken.is_some() || (full && !frees_space(ready)) || self.connection.is_none()
            })
        };
        for (_, to) in refused {
            replies.send(to, Err(self.refusal().into()));
        }
        if admitted.is_empty() {
            return;
        }
        let old = self.head.clone();
        // As most groups have none, this allocates nothing (`SPN-1`).
        let traced: Vec<(usize, Traced, Instant)> = admitted
            .iter()
            .enumerate()
            .filter_map(|(at, (ready, _))| {
                ready.traced.clone().map(|(traced, came)| (at, traced, came))
            })
            .collect();
        let mut answered: Vec<Answered> = Vec::with_capacity(admitted.len());
        match self.transact(admitted, &mut answered) {
            Ok(entries) => {
                self.words.keep();
                self.trace(started, traced, &answered);
                self.publish(&old, entries);
                for (to, answer) in answered {
                    replies.send(to, answer);
                }
            }
            Err(fault) => {
                self.head.take_back(old);
                self.words.forget();
                self.recover(fault);
                for (to, _) in answered {
                    replies.send(to, Err(storage_full().into()));
                }
            }
        }
        self.counters.committed(started.elapsed());
    }

    /// Tells how long requests that are traced waited and were committed for, before anybody sees them (`WTR-1`).
    fn trace(
        &self,
        started: Instant,
        traced: Vec<(usize, Traced, Instant)>,
        answered: &[Answered],
    ) {
        for (at, traced, came) in traced {
            let Some((_, answer)) = answered.get(at) else { continue };
            traced.record("store.queue", came, started);
            traced.record("store.commit", started, Instant::now());
            if let Some(made) = answer.as_ref().ok().and_then(|receipt| receipt.operations) {
                self.traces.note(made.last, traced);
            }
        }
    }

    /// Does the requests in one transaction. Every sender is in `answered` afterwards, whatever happened.
    pub(super) fn transact(
        &mut self,
        admitted: Vec<(Box<Ready>, Caller)>,
        answered: &mut Vec<Answered>,
    ) -> Result<Vec<Entry>, SqlFault> {
        let mut admitted = admitted.into_iter();
        let mut now_ms = 0;
        let result = (|| {
            let Some(connection) = &self.connection else { return Ok(Vec::new()) };
            execute(connection, "BEGIN IMMEDIATE")?;
            let mut group = Group::new(connection, &self.config, &mut self.words, &mut self.head);
            group.may_forget = !self.indexes.is_filling();
            for (ready, to) in admitted.by_ref() {
                now_ms = now_ms.max(ready.request.now_ms);
                let answer = match group.request(*ready) {
                    Ok(receipt) => Ok(receipt),
                    Err(SqlFault::Sql(error)) => {
                        answered.push((to, Err(storage_full().into())));
                        return Err(error.into());
                    }
                    // A damaged row concerns who asked for it; the others go on.
                    Err(fault) => Err(fault.into_store_error("reading for a write")),
                };
                answered.push((to, answer));
            }
            if group.has_rows() {
                group.flush(now_ms)?;
            } else {
                // Names that only refused requests used were not written, so they are not known.
                group.words.forget();
            }
            let entries = group.overlay.take_dirty();
            execute(connection, "COMMIT")?;
            Ok(entries)
        })();
        answered.extend(admitted.map(|(_, to)| (to, Err(storage_full().into()))));
        result
    }

    /// Shows a committed group to readers.
    pub(super) fn publish(&mut self, old: &Head, entries: Vec<Entry>) {
        let position = self.head.position;
        if position == old.position {
            return;
        }
        let applied = self.indexes.apply(position, entries, &mut self.words, &self.config.space);
        if let Err(fault) = applied {
            // Recall would answer without acknowledged memories; the next start builds the index anew.
            runtime::fatal::stop_node(&format!("cannot index what was committed: {fault}"));
        }
        self.position.send_replace(position);
        if position >= self.ticked.saturating_add(TICK_EVERY) {
            self.ticked = position;
            // A full queue means that upkeep is under way already.
            let _ = self.upkeep.try_send(Task::Tick);
        }
    }

    /// After a failed transaction: survives a full disk, stops the node otherwise.
    fn recover(&mut self, fault: SqlFault) {
        if !fault.is_full() {
            runtime::fatal::stop_node(&format!("a commit failed: {fault}"));
        }
        tracing::warn!(%fault, "the disk is full; replacing every connection");
        self.pool.reset();
        // Whatever state the failed transaction left in the connection goes with it.
        self.connection = None;
        let vfs = self.disk.sqlite_vfs();
        let opened =
            connection::open(&self.path, vfs.as_deref(), Role::Writer, self.config.write_cache_kib);
        match opened {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                runtime::fatal::stop_node(&format!(
                    "cannot reopen the store after a full disk: {error}"
                ));
            }
        }
    }

    fn is_short_of_space(&self) -> bool {
        let folder = self.path.parent().unwrap_or(&self.path);
        match self.disk.free_bytes(folder) {
            Ok(free_bytes) => free_bytes < self.config.reserve_bytes,
            // The commit itself will say.
            Err(_) => false,
        }
    }

    fn refusal(&self) -> Reject {
        if let Some(problem) = &self.broken {
            let detail = format!(
                "the audit chain is broken ({problem}); writes are refused until it is repaired: run `hivemem doctor`"
            );
            return Reject::new(Reason::ChainBroken, detail);
        }
        if self.connection.is_none() {
            return Reject::new(Reason::Stopping, "the store is closed");
        }
        storage_full()
    }

    fn keep_vectors(&mut self, computed: &[ComputedVector]) -> Result<u64, StoreError> {
        let Some(connection) = &self.connection else { return Err(self.refusal().into()) };
        let kept = vectors::keep(connection, &self.config.space, computed).map_err(|fault| {
            if fault.is_full() {
                self.recover(fault);
                return storage_full().into();
            }
            fault.into_store_error("keeping vectors")
        })?;
        for (row, vector) in &kept {
            self.indexes.add_vector(*row, &vector.values);
        }
        Ok(kept.len() as u64)
    }

    fn checkpoint_if_due(&mut self) {
        let Some(connection) = &self.connection else { return };
        self.counters.wrote_pages(checkpoint::pages_written(connection.as_sqlite()));
        if self.counters.wal_pages() >= u64::from(self.config.checkpoint_pages) {
            self.checkpoint(checkpoint::Extent::WhatIsFree);
        }
    }

    fn checkpoint(&mut self, extent: checkpoint::Extent) {
        let Some(connection) = &self.connection else { return };
        match checkpoint::run(connection.as_sqlite(), extent) {
            Ok(left) => self.counters.checkpointed(left),
            Err(error) => {
                let fault = SqlFault::Sql(error.into());
                // A full disk during a checkpoint leaves the log whole; it is tried again later.
                if fault.is_full() {
                    tracing::warn!(%fault, "a checkpoint had to stop");
                    self.recover(fault);
                } else {
                    runtime::fatal::stop_node(&format!("a checkpoint failed: {fault}"));
                }
            }
        }
    }

    fn close(&mut self) {
        self.pool.close();
        self.checkpoint(checkpoint::Extent::Everything);
        self.connection = None;
    }
}

fn execute(connection: &Connection, sql: &str) -> crate::sql::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Whether a request only makes room or tidies up, so that it is let in when space is short.
fn frees_space(ready: &Ready) -> bool {
    let frees = |intent: &Intent| matches!(intent, Intent::Delete { .. } | Intent::Archive { .. });
    ready.request.intents.iter().all(frees)
}

fn storage_full() -> Reject {
    Reject::new(
        Reason::StorageFull,
        "the disk is full; nothing was kept: free some space and retry",
    )
}
