//! The log as others see it: [`Log`], with the journal on a thread of its own behind it.
//!
//! Group commit: everything queued while the last batch syncs is the next batch, with one sync for
//! all of it; callbacks run after the sync. What nobody waits for (purges, cuts, commit hints) rides
//! with the next batch that somebody waits for.
//!
//! Invariants: `LOG-17` changes reach the journal in the order in which they were accepted. `LOG-18`
//! a callback hears `Ok` only after the sync of its batch. `LOG-19` the first error of the disk poisons
//! the log and stops the node; nothing is retried, because a second sync that succeeds proves nothing
//! about the first.
//!
//! Not here: Raft.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::{
    disk::DiskRef,
    worker::{self, Next, Replies, WorkerHandle, WorkerOptions},
};
use tokio::sync::oneshot;
use types::planted;

use super::{
    Bounds, EntryId, Identity, LogError, LogOptions, Vote,
    journal::Journal,
    memory::Memory,
    open::{self, Opened},
    read::Reader,
    record::Change,
    segment,
};

/// Jobs that may wait for the journal.
const QUEUE_JOBS: usize = 4096;
/// Jobs of one batch.
const BATCH_JOBS: usize = 1024;
/// Changes that may wait for a batch that somebody waits for.
const HELD_MAX: usize = 1024;

/// Called when a batch is durable, or with the reason why it never will be. Must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What happens to the node when its log is poisoned.
type Fatal = Box<dyn FnMut(&str) + Send>;

enum Job {
    /// Changes that ride along.
    Note(Change),
    Append(Vec<Change>, Done),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    /// Makes everything before durable.
    Flush(oneshot::Sender<io::Result<()>>),
}

/// A member's log. Clones are one and the same.
#[derive(Clone)]
pub struct Log {
    reader: Reader,
    options: LogOptions,
    worker: WorkerHandle<Job>,
    spares: WorkerHandle<u64>,
    /// Held while changes are accepted and queued (`LOG-17`).
    order: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("bounds", &self.bounds()).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir` or creates it. Blocks while it reads the segments.
    ///
    /// # Errors
    /// Any [`LogError`]; after one of them nothing has been changed but for names ending in `.tmp`.
    pub fn open(
        disk: &DiskRef,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        let stop = Box::new(|reason: &str| runtime::fatal::stop_node(reason));
        Self::open_with(disk, dir, identity, options, stop)
    }

    pub(super) fn open_with(
        disk: &DiskRef,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
        fatal: Fatal,
    ) -> Result<Self, LogError> {
        let Opened { journal, slots, vote } = open::open(disk, dir, identity, options)?;
        let memory = Arc::new(Mutex::new(Memory::new(slots, vote, &options)));
        let reader = Reader::new(disk.clone(), dir.to_path_buf(), memory.clone());
        let spares = Spares::start(disk.clone(), dir.to_path_buf(), options.segment_bytes)?;
        let spares_worker = spares.worker.clone();
        let mut writer = Writer {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            journal,
            memory,
            held: Vec::new(),
            waiting: Vec::new(),
            spares,
            fatal,
        };
        let worker = worker::start(
            WorkerOptions {
                name: "raft-log",
                capacity_jobs: QUEUE_JOBS,
                max_batch: BATCH_JOBS,
                disk: disk.clone(),
            },
            move |jobs: &mut Vec<Job>, replies: &mut Replies| writer.turn(jobs, replies),
        )?;
        Ok(Self { reader, options, worker, spares: spares_worker, order: Arc::default() })
    }

    /// Where the log begins and ends, counting all that was accepted.
    pub fn bounds(&self) -> Bounds {
        self.reader.memory().slots_bounds()
    }

    /// The vote that was saved last.
    pub fn vote(&self) -> Option<Vote> {
        self.reader.memory().vote()
    }

    /// What reads entries.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Largest payload of one entry, in bytes.
    pub fn payload_bytes_max(&self) -> u64 {
        self.options.payload_bytes_max()
    }

    /// The living entry at an index.
    pub fn id_at(&self, index: u64) -> Option<EntryId> {
        self.reader.memory().id_at(index)
    }

    /// Appends entries. On return they are readable; they are durable when `done` hears `Ok`.
    ///
    /// # Errors
    /// The entries do not follow the last one, one is too large, or the log is poisoned. Then nothing
    /// was accepted and `done` is not called.
    pub async fn append(&self, entries: Vec<(EntryId, Bytes)>, done: Done) -> io::Result<()> {
        let changes: Vec<Change> =
            entries.into_iter().map(|(id, payload)| Change::Entry { id, payload }).collect();
        let max = self.payload_bytes_max();
        for change in &changes {
            if let Change::Entry { id, payload } = change
                && payload.len() as u64 > max
            {
                let problem = format!("entry {id} has {} bytes, at most {max} fit", payload.len());
                return Err(LogError::refused(problem).into());
            }
        }
        let _in_order = self.order.lock().await;
        self.reader.memory().accept(&changes)?;
        self.send(Job::Append(changes, done)).await
    }

    /// Cuts the entries behind `after`; all of them if there is none. It need not be durable before
    /// the next append is.
    ///
    /// # Errors
    /// The entry is purged, a committed one would go, or the log is poisoned.
    pub async fn truncate(&self, after: Option<EntryId>) -> io::Result<()> {
        self.note(Change::Truncate { after }).await
    }

    /// Gives up the entries up to `upto`, which a durable snapshot contains.
    ///
    /// # Errors
    /// The log is poisoned.
    pub async fn purge(&self, upto: EntryId) -> io::Result<()> {
        self.note(Change::Purge { upto }).await
    }

    /// Notes what is known to be committed, as a hint for the next start.
    ///
    /// # Errors
    /// The log is poisoned.
    pub async fn set_committed(&self, id: Option<EntryId>) -> io::Result<()> {
        self.note(Change::Committed { id }).await
    }

    /// Saves the vote; durable on return.
    ///
    /// # Errors
    /// The vote is older than the saved one, or the disk failed.
    pub async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        let (reply, saved) = oneshot::channel();
        {
            let _in_order = self.order.lock().await;
            self.reader.memory().set_vote(vote)?;
            self.send(Job::Vote(vote, reply)).await?;
        }
        if planted::is_on("vote-before-fsync") {
            return Ok(());
        }
        saved.await.map_err(|_| closed())?
    }

    /// Makes everything accepted so far durable.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn flush(&self) -> io::Result<()> {
        let (reply, flushed) = oneshot::channel();
        self.send(Job::Flush(reply)).await?;
        flushed.await.map_err(|_| closed())?
    }

    /// Makes everything durable and ends the threads. Clones refuse from then on, and another log may
    /// be opened in the same folder.
    pub async fn close(&self) -> io::Result<()> {
        let flushed = self.flush().await;
        self.worker.close().await;
        self.spares.close().await;
        flushed
    }

    async fn note(&self, change: Change) -> io::Result<()> {
        let _in_order = self.order.lock().await;
        self.reader.memory().accept(std::slice::from_ref(&change))?;
        self.send(Job::Note(change)).await
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.worker.send(job).await.map_err(|_| closed())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

/// The handler of the worker.
struct Writer {
    disk: DiskRef,
    dir: PathBuf,
    journal: Journal,
    memory: Arc<Mutex<Memory>>,
    /// Changes that wait for the next batch.
    held: Vec<Change>,
    /// Who waits for `held`.
    waiting: Vec<Done>,
    spares: Spares,
    fatal: Fatal,
}

impl Writer {
    fn turn(&mut self, jobs: &mut Vec<Job>, replies: &mut Replies) -> Next {
        let idle = jobs.is_empty();
        for job in jobs.drain(..) {
            match job {
                Job::Note(change) => self.held.push(change),
                Job::Append(changes, done) => {
                    self.held.extend(changes);
                    self.waiting.push(done);
                }
                Job::Flush(reply) => self.waiting.push(Box::new(move |result| {
                    let _ = reply.send(result);
                })),
                Job::Vote(vote, reply) => {
                    self.write(replies);
                    let saved = self.save_vote(vote);
                    replies.send(reply, saved);
                }
            }
        }
        if !self.waiting.is_empty() || self.held.len() > HELD_MAX {
            self.write(replies);
            return Next::More;
        }
        if idle && let Err(error) = self.journal.mark() {
            self.fail(&error);
        }
        Next::Wait
    }

    fn write(&mut self, replies: &mut Replies) {
        if self.waiting.is_empty() && self.held.is_empty() {
            return;
        }
        for number in self.spares.take_ready() {
            self.journal.add_spare(number);
        }
        let result = self.journal.write(&self.held);
        self.held.clear();
        let failure = match result {
            Ok(written) => {
                self.memory.lock().written(&written);
                None
            }
            Err(error) => {
                self.fail(&error);
                Some(error.to_string())
            }
        };
        for done in self.waiting.drain(..) {
            let result = failure.clone().map_or(Ok(()), |cause| Err(io::Error::other(cause)));
            replies.then(move || done(result));
        }
        if let Some(number) = self.spares.idle().then(|| self.journal.wants_spare()).flatten() {
            self.spares.prepare(number);
        }
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.memory.lock().guard()?;
        let saved = open::write_vote(&*self.disk, &self.dir, vote);
        if let Err(error) = &saved {
            self.fail(error);
        }
        Ok(saved?)
    }

    fn fail(&mut self, error: &LogError) {
        self.memory.lock().poison(error);
        (self.fatal)(&format!("the Raft log failed: {error}"));
    }
}

/// Prepares spare segments beside the journal, so that no append waits for one to be filled.
struct Spares {
    worker: WorkerHandle<u64>,
    state: Arc<Mutex<SparesState>>,
}

#[derive(Default)]
struct SparesState {
    ready: Vec<u64>,
    working: bool,
}

impl Spares {
    fn start(disk: DiskRef, dir: PathBuf, segment_bytes: u64) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(SparesState::default()));
        let (shared, target) = (state.clone(), disk.clone());
        let worker = worker::start(
            WorkerOptions { name: "raft-log-spare", capacity_jobs: 1, max_batch: 1, disk },
            move |jobs: &mut Vec<u64>, _: &mut Replies| {
                for number in jobs.drain(..) {
                    let made = segment::prepare_spare(&*target, &dir, number, segment_bytes);
                    let mut state = shared.lock();
                    state.working = false;
                    match made {
                        Ok(()) => state.ready.push(number),
                        // The journal makes one itself when it needs it, and fails then if it must.
                        Err(error) => tracing::warn!(%error, "no spare segment for the log"),
                    }
                }
            },
        )?;
        Ok(Self { worker, state })
    }

    fn take_ready(&self) -> Vec<u64> {
        std::mem::take(&mut self.state.lock().ready)
    }

    fn idle(&self) -> bool {
        !self.state.lock().working
    }

    fn prepare(&self, number: u64) {
        self.state.lock().working = true;
        if self.worker.try_send(number).is_err() {
            self.state.lock().working = false;
        }
    }
}
