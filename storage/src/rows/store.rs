//! [`RowStore`]: rows in a database, behind the port.
//!
//! Invariants: those of the port; the lock file is held as long as the store lives.
//!
//! Not here: the writer (`write`) and what reads answer (`read`).

use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use runtime::{
    blocking,
    clock::Instant,
    disk::{DiskRef, LockGuard},
    span::{self, Traced},
    worker::{self, SendError, WorkerHandle, WorkerOptions},
};
use tokio::sync::{oneshot, watch};
use types::{NodeId, Reason, Reject};

use super::{
    config::StoreConfig,
    counters::Counters,
    engine::Engine,
    follow::Following,
    indexes::{Build, Indexes, Task, Upkeep},
    moves::Moves,
    pool::ReadPool,
    read::tally::Tally,
    recall::{DatabaseRecall, Recall},
    settle::Settling,
    work::{self, TextJob, TextsDone},
    write::{
        head::Head,
        prepare,
        traces::Traces,
        vocabulary::Vocabulary,
        writer::{Job, Writer},
    },
};

use crate::{
    answer::{PendingVector, WriteReceipt},
    error::StoreError,
    port::{Answer, WriteStore},
    request::{ComputedVector, ReturnedText, WriteRequest},
    sql::Connection,
};

/// Intents from which on a request is prepared where blocking is allowed, not on the caller's task.
const PREPARE_ASIDE: usize = 16;

/// Where the recall of a store that was opened will look.
pub(crate) enum Search {
    /// Indexes in memory, with what is still to be read into them.
    Memory(Box<Indexes>, Option<Build>),
    /// The database.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
    Database(Arc<dyn DatabaseRecall>),
}

/// What opening a database has found.
pub(crate) struct Parts {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) config: Arc<StoreConfig>,
    /// The writing connection.
    pub(crate) connection: Connection,
    pub(crate) node: NodeId,
    pub(crate) words: Vocabulary,
    pub(crate) head: Head,
    /// Why the audit chain must not be continued, if so.
    pub(crate) broken: Option<String>,
    pub(crate) search: Search,
    pub(crate) lock: LockGuard,
}

/// A store whose rows are in a database.
pub struct RowStore {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) pool: ReadPool,
    pub(crate) recall: Recall,
    pub(crate) counters: Arc<Counters>,
    traces: Arc<Traces>,
    node: NodeId,
    writer: WorkerHandle<Job>,
    pub(crate) moves: Moves,
    pub(crate) tally: Arc<Tally>,
    /// Given up when the store is closed.
    lock: Mutex<Option<LockGuard>>,
    /// Whoever watches what others write ends with the store.
    _following: Option<Following>,
    /// Whoever indexes what was kept without it, too.
    _settling: Option<Settling>,
}

impl RowStore {
    /// Starts the workers of a store whose database is open. What opening left to be done begins at once.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Self> {
        let Parts { engine, config, connection, node, words, head, broken, .. } = parts;
        let moves = Moves::from(head.position);
        let pool = ReadPool::new(engine.clone(), config.read_connections, moves.clone());
        let recall = match parts.search {
            Search::Database(database) => Recall::Database(database),
            Search::Memory(indexes, build) => {
                let indexes = Arc::new(*indexes);
                let space = config.space.clone();
                let upkeep = Upkeep::new(indexes.clone(), build, pool.clone(), space);
                Recall::Memory(indexes, start_upkeep(&engine.disk(), upkeep)?)
            }
        };
        let counters = Arc::new(Counters::default());
        let traces = Arc::new(Traces::default());
        let following = engine
            .follows_every()
            .map(|period| Following::begin(pool.clone(), moves.clone(), period));
        let settling = match &recall {
            Recall::Database(database) => Some(Settling::begin(pool.clone(), database.clone())),
            Recall::Memory(..) => None,
        };
        let options = WorkerOptions {
            name: "store-writer",
            capacity_jobs: config.queue_capacity,
            max_batch: config.group_requests_max,
            disk: engine.disk(),
        };
        let mut writer = Writer {
            engine: engine.clone(),
            config: config.clone(),
            connection: Some(connection),
            is_closed: false,
            words,
            head,
            broken,
            recall: recall.clone(),
            pool: pool.clone(),
            moves: moves.clone(),
            counters: counters.clone(),
            traces: traces.clone(),
            ticked: 0,
        };
        let writer = worker::start(options, move |jobs, replies| writer.handle(jobs, replies))?;
        Ok(Self {
            engine,
            config,
            pool,
            recall,
            counters,
            traces,
            node,
            writer,
            moves,
            tally: Arc::default(),
            lock: Mutex::new(Some(parts.lock)),
            _following: following,
            _settling: settling,
        })
    }

    /// The identity this store was given when it was created.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Writes waiting for the writer.
    pub fn queued(&self) -> usize {
        self.writer.depth()
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        self.writer.try_send(job(to)).map_err(|error| match error {
            SendError::Full(_) => {
                let detail = "too many writes are waiting; try again later";
                Reject::new(Reason::Overloaded, detail).with("retry_after_ms", 100)
            }
            SendError::Closed(_) => closed(),
        })?;
        answer.await.map_err(|_| closed().into())
    }

    async fn see_to(&self, job: TextJob) -> Result<u64, StoreError> {
        match self.ask(|to| Job::Texts(job, to)).await?? {
            TextsDone::Count(count) => Ok(count),
            TextsDone::Taken(taken) => Ok(taken.len() as u64),
        }
    }

    async fn write_one(&self, request: WriteRequest) -> Result<WriteReceipt, StoreError> {
        let mut ready = if request.intents.len() < PREPARE_ASIDE {
            prepare::ready(request, &self.config.space)
        } else {
            let config = self.config.clone();
            blocking::run(move || prepare::ready(request, &config.space)).await
        }?;
        ready.traced = span::current().map(|traced| (traced, Instant::now()));
        self.ask(|to| Job::Write(Box::new(ready), to)).await?
    }
}

fn start_upkeep(disk: &DiskRef, mut upkeep: Upkeep) -> std::io::Result<WorkerHandle<Task>> {
    // Ticks that find the queue full are dropped: the one that waits does for all.
    let options =
        WorkerOptions { name: "store-upkeep", capacity_jobs: 1, max_batch: 1, disk: disk.clone() };
    let worker = worker::start(options, move |tasks, replies| upkeep.handle(tasks, replies))?;
    // What opening left to be done begins now; the queue is empty, so it has room.
    let _ = worker.try_send(Task::Tick);
    Ok(worker)
}

fn closed() -> Reject {
    Reject::new(Reason::Stopping, "the store is closed")
}

impl WriteStore for RowStore {
    fn write(&self, request: WriteRequest) -> Answer<'_, WriteReceipt> {
        self.write_one(request).boxed()
    }

    fn put_vectors(&self, vectors: Vec<ComputedVector>) -> Answer<'_, u64> {
        self.see_to(TextJob::Keep(vectors)).boxed()
    }

    fn take_texts(&self, limit: u32, now_ms: u64, lease_ms: u64) -> Answer<'_, Vec<PendingVector>> {
        async move {
            if self.engine.is_pooled() {
                // Each worker takes what no other is taking, and waits for no writer.
                let config = self.config.clone();
                let take =
                    move |c: &Connection| work::take(c, &config.space, limit, (now_ms, lease_ms));
                return self.pool.read_newest("taking texts", take).await;
            }
            let job = TextJob::Take(limit, now_ms, lease_ms);
            match self.ask(|to| Job::Texts(job, to)).await?? {
                TextsDone::Taken(taken) => Ok(taken),
                TextsDone::Count(_) => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn return_texts(&self, texts: Vec<ReturnedText>) -> Answer<'_, u64> {
        self.see_to(TextJob::Return(texts)).boxed()
    }

    fn revive_texts(&self) -> Answer<'_, u64> {
        self.see_to(TextJob::Revive).boxed()
    }

    fn review_texts(&self) -> Answer<'_, u64> {
        self.see_to(TextJob::Review).boxed()
    }

    fn position(&self) -> watch::Receiver<u64> {
        self.moves.position()
    }

    fn agents_changed(&self) -> watch::Receiver<u64> {
        self.moves.agents()
    }

    fn traced(&self, first: u64) -> Option<Traced> {
        self.traces.of(first)
    }

    fn close(&self) -> Answer<'_, ()> {
        async move {
            self.pool.close();
            let (to, checkpointed) = oneshot::channel();
            // Refused means that somebody else closes it already; `close` waits for that too.
            if self.writer.send(Job::Close(to)).await.is_ok() {
                // An error means that the worker is gone, with nothing left to wait for.
                let _ = checkpointed.await;
            }
            self.writer.close().await;
            if let Recall::Memory(_, upkeep) = &self.recall {
                let (to, written) = oneshot::channel();
                if upkeep.send(Task::Close(to)).await.is_ok() {
                    let _ = written.await;
                }
                upkeep.close().await;
            }
            self.pool.ended().await;
            *self.lock.lock() = None;
            Ok(())
        }
        .boxed()
    }
}
