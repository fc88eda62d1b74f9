//! A bounded set of read-only connections.
//!
//! Invariants: at most the configured number of reads runs at once, beside one of the store's own, and the others wait in order, even
//! where those who asked for what runs have gone away; a connection is used by one read at a time; after [`ReadPool::reset`] no
//! connection opened before is used again; `POO-1` a read sees everything that this store has acknowledged or told of before it.
//!
//! Not here: writing (the writer owns its connection).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runtime::{blocking, clock};
use tokio::sync::{Semaphore, watch};
use types::{Reason, Reject};

use super::{
    engine::{Engine, Role},
    fault::SqlFault,
    moves::Moves,
};
use crate::{error::StoreError, sql::Connection};

/// How long is waited for what still runs.
const END_WAIT: Duration = Duration::from_secs(5);

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
    turns: Arc<Semaphore>,
    /// How many reads run, whether or not somebody waits for them.
    running: watch::Sender<u32>,
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
            turns: Arc::new(Semaphore::new(connections.max(1))),
            running: watch::Sender::new(0),
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
        let Ok(turn) = self.0.turns.clone().acquire_owned().await else {
            return Err(Reject::new(Reason::Stopping, "the store is closed").into());
        };
        let running = Running::new(self.0.clone());
        // The turn goes with the work, which goes on when nobody waits for it any more.
        let work = move || {
            let _turn = turn;
            running.0.run(source, work)
        };
        blocking::run_on(self.0.engine.disk(), work)
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

    /// Waits for the reads that run, though not for ever. A runtime that ended before them would take their timers away.
    pub(crate) async fn ended(&self) {
        let mut running = self.0.running.subscribe();
        let ended = clock::timeout(END_WAIT, running.wait_for(|running| *running == 0)).await;
        if ended.is_err() {
            tracing::warn!("a read goes on while the store is closed");
        }
    }
}

/// A read that runs or is about to.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: Arc<Shared>) -> Self {
        shared.running.send_modify(|running| *running += 1);
        Self(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use runtime::disk::OsDisk;

    use super::*;
    use crate::sqlite::{open_store, tests::config};

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_keeps_its_turn_and_is_waited_for_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(OsDisk::shared(), folder.path(), config()).unwrap();
        let pool = ReadPool::new(store.engine.clone(), 1, Moves::from(0));
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let read = pool.read("waiting", move |_| {
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            Ok(())
        });
        let mut read = Box::pin(read);
        assert!(futures::poll!(&mut read).is_pending());
        blocking::run(move || has_begun.recv().unwrap()).await;
        drop(read);
        let mut second = Box::pin(pool.read("reading", |_| Ok(())));
        assert!(futures::poll!(&mut second).is_pending(), "one at a time");
        pool.close();
        assert!(second.await.is_err());
        let mut ended = Box::pin(pool.ended());
        assert!(futures::poll!(&mut ended).is_pending());
        go.send(()).unwrap();
        ended.await;
        assert_eq!(*pool.0.running.borrow(), 0);
    }
}
