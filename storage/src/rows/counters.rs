//! Figures of the writer, for `stats`.
//!
//! Invariant: each is one atomic number, read without the writer.
//!
//! Not here: how they are shown (the node's telemetry).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::answer::COMMIT_BOUNDS_MICROS;

/// What the writer has done since the store was opened.
#[derive(Debug, Default)]
pub struct Counters {
    commits: [AtomicU64; COMMIT_BOUNDS_MICROS.len() + 1],
    commit_micros: AtomicU64,
    wal_pages: AtomicU64,
    checkpoints: AtomicU64,
}

impl Counters {
    /// Groups handled, by how long they took; see [`crate::answer::StoreStats::commits`].
    pub fn commits(&self) -> [u64; COMMIT_BOUNDS_MICROS.len() + 1] {
        self.commits.each_ref().map(|count| count.load(Relaxed))
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
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.commits[bucket].fetch_add(1, Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_under_the_bound_it_kept() {
        assert!(COMMIT_BOUNDS_MICROS.is_sorted());
        let counters = Counters::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001, u64::MAX] {
            counters.committed(Duration::from_micros(micros));
        }
        let commits = counters.commits();
        assert_eq!((commits[0], commits[1]), (2, 1));
        assert_eq!(commits[commits.len() - 2..], [1, 2]);
        assert_eq!(commits.iter().sum::<u64>(), 6);
    }
}
