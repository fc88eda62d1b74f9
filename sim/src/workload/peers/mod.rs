//! Clients of peers: they store, read, change, link and delete memories at any of them.
//!
//! | file | what |
//! |---|---|
//! | `load` | what is drawn |
//! | `client` | one client: asking, recording, asking again |
//! | `errands` | what it asks |
//! | `look` | what a peer shows, and whether all show the same |
//!
//! Invariants: see `HIS-1` and `HIS-2` of the judge; `PWL-1` what is asked again under its key is asked at the
//! same peer: at another one it is another request, and recorded as such; `PWL-2` text of the closed
//! namespace is never sent to a peer that may not see it.
//!
//! Not here: faults, starting peers, judging.

mod client;
pub mod errands;
mod load;
pub mod look;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use runtime::task::Shutdown;

pub use self::{
    client::{Client, Name},
    load::{Load, Mix},
};
use super::root::{NodeAt, Recorder};
use crate::judge::history::What;

/// Agent in whose name memories are written, so that one client may change what another made.
pub const WRITER: &str = "writer";
/// Agent whose operations peers refuse of each other, where they refuse somebody's.
pub const STRANGER: &str = "stranger";
/// Namespaces that every peer may see.
pub const OPEN: [&str; 2] = ["open/a", "open/b"];
/// The namespace that some peer may not see, and text that is in each of its memories.
pub const CLOSED: (&str, &str) = ("closed/vault", "qzxvaultmarkqzx");

/// A memory that clients know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Who made it.
    pub author: String,
}

/// What clients know together.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// Memories, oldest first.
    pub memories: Vec<Known>,
    /// Links, oldest first.
    pub links: Vec<String>,
}

/// What all clients share. Clones are one and the same.
#[derive(Clone)]
pub struct Ground(Arc<Inner>);

struct Inner {
    load: Load,
    nodes: Vec<NodeAt>,
    recorder: Recorder,
    pool: Mutex<Pool>,
    epochs: Mutex<BTreeMap<String, u64>>,
    lost: Mutex<BTreeSet<String>>,
}

impl Ground {
    /// What clients of these nodes share.
    pub fn new(load: Load, nodes: Vec<NodeAt>, recorder: Recorder) -> Self {
        let (pool, epochs, lost) = Default::default();
        Self(Arc::new(Inner { load, nodes, recorder, pool, epochs, lost }))
    }

    /// What clients do.
    pub fn load(&self) -> &Load {
        &self.0.load
    }

    /// Whom they ask.
    pub fn nodes(&self) -> &[NodeAt] {
        &self.0.nodes
    }

    /// Where it is recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// The oldest memory, if there are more than there may be.
    pub(in crate::workload) fn surplus(&self) -> Option<Known> {
        let pool = self.0.pool.lock();
        pool.memories.first().filter(|_| pool.memories.len() > self.0.load.keep_max).cloned()
    }

    /// What they know.
    pub fn pool(&self) -> &Mutex<Pool> {
        &self.0.pool
    }

    /// Notes that a node was deliberately set back to a backup: its chain begins a new epoch.
    pub fn set_back(&self, node: &str) {
        *self.0.epochs.lock().entry(node.to_owned()).or_default() += 1;
        self.recorder().record(What::SetBack { node: node.to_owned() });
    }

    /// How often nodes were set back, all of them together.
    pub fn set_backs(&self) -> u64 {
        self.0.epochs.lock().values().sum()
    }

    /// How often a node was set back.
    pub fn epoch(&self, node: &str) -> u64 {
        self.0.epochs.lock().get(node).copied().unwrap_or(0)
    }

    /// Records that a node is lost for good; clients ask it no more.
    pub fn lose(&self, node: &str) {
        if self.0.lost.lock().insert(node.to_owned()) {
            self.recorder().record(What::Lost { node: node.to_owned() });
        }
    }

    /// Whether a node is lost for good.
    pub fn is_lost(&self, node: &str) -> bool {
        self.0.lost.lock().contains(node)
    }

    /// Whether a node may not see the closed namespace.
    pub fn is_narrow(&self, node: &str) -> bool {
        self.load().narrow.as_deref() == Some(node)
    }
}

/// One client's whole life: errands until it is told to stop.
pub async fn live(ground: Ground, number: u64, stop: Shutdown) {
    let Ok(mut client) = Client::new(&ground, number, &stop) else { return };
    while !client.stopping() {
        errands::errand(&mut client).await;
        client.back_off().await;
        let think_ms = client.ground.load().think_ms;
        client.pause(think_ms).await;
    }
}
