//! What the owner of a store decides about it.
//!
//! Invariant: every bound has a default that suits a small machine.
//!
//! Not here: quotas and reflection caps, which come with each request.

use std::{fmt, sync::Arc};

use crate::port::{EmbeddingSpace, Signer};

/// Settings of a [`super::RowStore`].
#[derive(Clone)]
pub struct StoreConfig {
    /// Signs audit rows.
    pub signer: Arc<dyn Signer>,
    /// The space of all vectors.
    pub space: EmbeddingSpace,
    /// Read connections, at least 1.
    pub read_connections: usize,
    /// Page cache of each read connection, KiB.
    pub read_cache_kib: u32,
    /// Page cache of the writer, KiB.
    pub write_cache_kib: u32,
    /// Writes that may wait; more are refused with `overloaded`.
    pub queue_capacity: usize,
    /// Requests committed together at most.
    pub group_requests_max: usize,
    /// Intents committed together at most; one larger request still goes as a whole.
    pub group_intents_max: usize,
    /// Pages (4 KiB) in the write-ahead log from which on it is checkpointed.
    pub checkpoint_pages: u32,
    /// Free space below which only deletions and archivings are accepted, bytes.
    pub reserve_bytes: u64,
    /// Rows that may be read to bring the recall indexes up to date before the store is open; with more to read they
    /// are brought up to date beside it, and until then recall looks at the newest memories only.
    pub ahead_rows: u32,
    /// Whether other nodes hear of its operations. Then none is made before [`crate::request::Intent::SpeakAs`], and
    /// what changes nothing here is an operation too, for others may not have what is here.
    pub has_peers: bool,
    /// Recalls from which on a mid-term memory becomes long-term; `None` for never.
    pub promote_after_accesses: Option<u64>,
}

impl StoreConfig {
    /// The defaults.
    pub fn new(signer: Arc<dyn Signer>, space: EmbeddingSpace) -> Self {
        Self {
            signer,
            space,
            read_connections: 4,
            read_cache_kib: 2 * 1024,
            write_cache_kib: 16 * 1024,
            queue_capacity: 1024,
            group_requests_max: 256,
            group_intents_max: 2000,
            checkpoint_pages: 4096,
            reserve_bytes: 64 << 20,
            ahead_rows: 20_000,
            has_peers: false,
            promote_after_accesses: Some(5),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("model", &self.space.model)
            .field("read_connections", &self.read_connections)
            .field("queue_capacity", &self.queue_capacity)
            .finish_non_exhaustive()
    }
}
