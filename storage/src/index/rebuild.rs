//! Building a fresh index beside the one that serves.
//!
//! The caller reads all rows in one SQLite read transaction, feeds them in slices on whichever thread it likes, then
//! hands over the changes committed since that transaction began and swaps the result in. Until then the old index, or
//! none, serves.

use super::{
    recall_index::RecallIndex,
    writer::{Applied, ApplyError, Change, Writer},
};

/// The changes of one commit.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The store's position after the commit.
    pub position: u64,
    /// Its changes in order.
    pub changes: Vec<Change>,
}

/// An index being built.
#[derive(Debug)]
pub struct Rebuild {
    writer: Writer,
    position: u64,
}

impl Rebuild {
    /// Starts empty. `lineage` as in [`RecallIndex::new`]; `position` is the store's position seen by the read
    /// transaction that supplies the rows.
    pub fn new(lineage: u64, position: u64) -> Self {
        Self { writer: Writer::new(lineage), position }
    }

    /// Adds rows as they are at the starting position, each row once. Give some hundreds at a time: a slice costs
    /// about 10 µs per row.
    ///
    /// # Errors
    /// Slots ran out.
    pub fn feed(&mut self, changes: Vec<Change>) -> Result<Applied, ApplyError> {
        self.writer.feed(changes)
    }

    /// Applies commits that arrived since, in order. Ones the rows already show are skipped. Call it without holding
    /// the write section until few are missing, then once more inside it.
    ///
    /// # Errors
    /// Slots ran out.
    pub fn catch_up(&mut self, missed: Vec<Batch>) -> Result<Vec<Applied>, ApplyError> {
        let ahead = missed.into_iter().filter(|batch| batch.position > self.position);
        let mut all = Vec::new();
        for batch in ahead.collect::<Vec<_>>() {
            all.push(self.writer.feed(batch.changes)?);
            self.position = batch.position;
        }
        Ok(all)
    }

    /// The store's position the rebuild has reached.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The finished index, when there is no older one to replace; else see [`RecallIndex::replace`].
    ///
    /// # Errors
    /// Slots ran out.
    pub fn finish(mut self, missed: Vec<Batch>) -> Result<RecallIndex, ApplyError> {
        self.catch_up(missed)?;
        Ok(RecallIndex::from_writer(self.into_writer()))
    }

    pub(crate) fn into_writer(mut self) -> Writer {
        self.writer.set_position(self.position);
        self.writer
    }
}
