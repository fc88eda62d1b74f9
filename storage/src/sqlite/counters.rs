//! Figures of the writer, for `stats`.
//!
//! Invariant: each is one atomic number, read without the writer.
//!
//! Not here: histograms (the node's telemetry).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What the writer has done since the store was opened.
#[derive(Debug, Default)]
pub struct Counters {
    commits: AtomicU64,
    commit_micros: AtomicU64,
    wal_pages: AtomicU64,
    checkpoints: AtomicU64,
}

impl Counters {
    /// Groups handled.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// Time spent on them, fsync included, microseconds.
    pub fn commit_micros(&self) -> u64 {
        self.commit_micros.load(Relaxed)
    }

    /// Pages in the write-ahead log that are not in the database file, about.
    pub fn wal_pages(&self) -> u64 {
        self.wal_pages.load(Relaxed)
    }

    /// Checkpoints run.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.load(Relaxed)
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn wrote_pages(&self, pages: u64) {
        self.wal_pages.fetch_add(pages, Relaxed);
    }

    pub(crate) fn checkpointed(&self, left: u64) {
        self.wal_pages.store(left, Relaxed);
        self.checkpoints.fetch_add(1, Relaxed);
    }
}
