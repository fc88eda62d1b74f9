//! A bounded set of read-only connections.
//!
//! Invariants: at most the configured number of reads runs at once, beside one of the store's own, the others wait in order; a
//! connection is used by one read at a time; after [`ReadPool::reset`] no connection opened before is
//! used again; `POO-1` a read sees everything that this store has acknowledged or told of before it.
//!
//! Not here: writing (the writer owns its connection).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use runtime::blocking;
use tokio::sync::Semaphore;
use types::{Reason, Reject};

use super::{
    engine::{Engine, Role},
    fault::SqlFault,
    moves::Moves,
};
use crate::{error::StoreError, sql::Connection};

/// Read-only connections to one database, opened when first needed. Clones share them.
#[derive(Clone)]
pub struct ReadPool(Arc<Shared>);

/// Where to read.
#[derive(Clone, Copy)]
enum Source {
    /// Where everything is that is known of.
    Any,
    /// Where it is written.
    Newest,
}

struct Shared {
    engine: Arc<dyn Engine>,
    turns: Semaphore,
    /// Connections nobody uses, each with the generation it was opened in.
    idle: Mutex<Vec<(u64, Connection)>>,
    generation: AtomicU64,
    moves: Moves,
}

impl ReadPool {
    /// A pool of at most `connections` (at least 1); opens nothing yet.
    pub(crate) fn new(engine: Arc<dyn Engine>, connections: usize, moves: Moves) -> Self {
        Self(Arc::new(Shared {
            engine,
            turns: Semaphore::new(connections.max(1)),
            idle: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
            moves,
        }))
    }

    /// Runs `work` on a connection, where blocking is allowed. Use `prepare_cached` inside.
    ///
    /// # Errors
    /// What `work` returned; `stopping` after [`ReadPool::close`]. A failing disk stops the node.
    pub async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlFault> + Send + 'static,
    {
        self.read_from(Source::Any, doing, work).await
    }

    /// The same, of the database that is written to, not of a copy, which may know less.
    pub(crate) async fn read_newest<T, F>(
        &self,
        doing: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlFault> + Send + 'static,
    {
        self.read_from(Source::Newest, doing, work).await
    }

    async fn read_from<T, F>(
        &self,
        source: Source,
        doing: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlFault> + Send + 'static,
    {
        let Ok(_turn) = self.0.turns.acquire().await else {
            return Err(Reject::new(Reason::Stopping, "the store is closed").into());
        };
        let shared = self.0.clone();
        blocking::run_on(self.0.engine.disk(), move || shared.run(source, work))
            .await
            .map_err(|fault| fault.into_store_error(doing))
    }

    /// Runs `work` on a connection in the place of the caller, who may block, without waiting for a turn.
    ///
    /// # Errors
    /// What `work` returned; `stopping` after [`ReadPool::close`].
    pub(crate) fn read_here<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, SqlFault>,
    ) -> Result<T, SqlFault> {
        if self.0.turns.is_closed() {
            return Err(Reject::new(Reason::Stopping, "the store is closed").into());
        }
        self.0.run(Source::Any, work)
    }

    /// Drops every connection; those in use are dropped when their read is over.
    pub fn reset(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.0.idle.lock().clear();
    }

    /// Refuses further reads and drops the connections.
    pub fn close(&self) {
        self.0.turns.close();
        self.reset();
    }
}

impl Shared {
    fn run<T>(
        &self,
        source: Source,
        work: impl FnOnce(&Connection) -> Result<T, SqlFault>,
    ) -> Result<T, SqlFault> {
        let (generation, connection) = match self.idle.lock().pop() {
            Some(idle) => idle,
            None => self.open(source)?,
        };
        let result = work(&connection);
        let mut idle = self.idle.lock();
        if !self.engine.is_pooled() && generation == self.generation.load(Ordering::Acquire) {
            idle.push((generation, connection));
        }
        result
    }

    fn open(&self, source: Source) -> Result<(u64, Connection), SqlFault> {
        // The generation is read first: a reset in between drops this connection after its use.
        let generation = self.generation.load(Ordering::Acquire);
        // A copy is good enough that has everything that anybody here has been told of (`POO-1`).
        let copy = match source {
            Source::Any => self.engine.open_copy(self.moves.known()),
            Source::Newest => None,
        };
        let connection = match copy {
            Some(copy) => copy,
            None => self.engine.open(Role::Reader)?,
        };
        Ok((generation, connection))
    }
}
