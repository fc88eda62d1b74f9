//! [`SqliteStore`]: the store of one machine behind the port.
//!
//! Invariants: those of the port; the lock file is held as long as the store lives.
//!
//! Not here: the writer (`write`) and what reads answer (`read`).

use std::{path::Path, sync::Arc};

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
    fault::SqlFault,
    indexes::{Indexes, Sources, Task, Upkeep},
    open,
    pool::ReadPool,
    write::{
        prepare,
        traces::Traces,
        writer::{Job, Writer},
    },
};
use crate::{
    answer::WriteReceipt,
    error::{OpenError, StoreError},
    port::{Answer, WriteStore},
    request::{ComputedVector, WriteRequest},
};

/// Intents from which on a request is prepared where blocking is allowed, not on the caller's task.
const PREPARE_ASIDE: usize = 16;

/// A store in a folder of this machine.
pub struct SqliteStore {
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) pool: ReadPool,
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) counters: Arc<Counters>,
    traces: Arc<Traces>,
    node: NodeId,
    writer: WorkerHandle<Job>,
    upkeep: WorkerHandle<Task>,
    position: watch::Receiver<u64>,
    /// Given up when the store is closed.
    lock: Mutex<Option<LockGuard>>,
}

impl SqliteStore {
    /// Opens the store in `folder`, which is created if missing. Blocks: reads the file and, where no usable
    /// index is on disk, some of its rows; the others are read beside the running store.
    ///
    /// # Errors
    /// [`OpenError`], each with its fix.
    pub fn open(disk: DiskRef, folder: &Path, config: StoreConfig) -> Result<Self, OpenError> {
        let config = Arc::new(config);
        let opened = open::open(&disk, folder, &config)?;
        let open::Opened { lock, path, connection, node, words, head, broken } = opened;
        let damaged = |fault: SqlFault| match fault {
            SqlFault::Sql(error) => open::refused(&path, error),
            other => OpenError::Corrupt { path: path.clone(), problem: other.to_string() },
        };
        let sources = Sources {
            disk: &disk,
            folder,
            node,
            connection: &connection,
            space: &config.space,
            position: head.position,
            ahead_rows: config.ahead_rows,
        };
        let (indexes, build) = Indexes::open(&sources).map_err(damaged)?;
        let indexes = Arc::new(indexes);
        let pool = ReadPool::new(
            disk.clone(),
            path.clone(),
            config.read_connections,
            config.read_cache_kib,
        );
        let upkeep = Upkeep::new(indexes.clone(), build, pool.clone(), config.space.clone());
        let upkeep = start_upkeep(&disk, upkeep)
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let counters = Arc::new(Counters::default());
        let traces = Arc::new(Traces::default());
        let (position, watched) = watch::channel(head.position);
        let options = WorkerOptions {
            name: "store-writer",
            capacity_jobs: config.queue_capacity,
            max_batch: config.group_requests_max,
            disk: disk.clone(),
        };
        let mut writer = Writer {
            disk,
            path: path.clone(),
            config: config.clone(),
            connection: Some(connection),
            words,
            head,
            broken,
            indexes: indexes.clone(),
            pool: pool.clone(),
            position,
            counters: counters.clone(),
            traces: traces.clone(),
            upkeep: upkeep.clone(),
            ticked: 0,
        };
        let writer = worker::start(options, move |jobs, replies| writer.handle(jobs, replies))
            .map_err(|source| OpenError::Io { path, source })?;
        let lock = Mutex::new(Some(lock));
        let position = watched;
        Ok(Self { config, pool, indexes, counters, traces, node, writer, upkeep, position, lock })
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

impl WriteStore for SqliteStore {
    fn write(&self, request: WriteRequest) -> Answer<'_, WriteReceipt> {
        self.write_one(request).boxed()
    }

    fn put_vectors(&self, vectors: Vec<ComputedVector>) -> Answer<'_, u64> {
        async move { self.ask(|to| Job::Vectors(vectors, to)).await? }.boxed()
    }

    fn position(&self) -> watch::Receiver<u64> {
        self.position.clone()
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
            let (to, written) = oneshot::channel();
            if self.upkeep.send(Task::Close(to)).await.is_ok() {
                let _ = written.await;
            }
            self.upkeep.close().await;
            *self.lock.lock() = None;
            Ok(())
        }
        .boxed()
    }
}
