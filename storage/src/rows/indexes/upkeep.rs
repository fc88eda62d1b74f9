//! What the indexes need now and then: filling, sealing, verifying, graphs, images on disk, replacement without the dead.
//!
//! Runs on a worker of its own, beside the writer and the readers, in steps of some ten milliseconds, so that closing
//! never waits for long work.
//!
//! Invariant: nothing here is needed for a right answer. A step that fails is logged and tried again later; a
//! disk that fails a sync here has lost derived data only.
//!
//! Not here: what the steps do (`build`, `crate::index`).

use std::sync::Arc;

use runtime::worker::{Next, Replies};
use tokio::sync::oneshot;

use super::{Build, Indexes};
use crate::{
    index::Serving,
    port::EmbeddingSpace,
    rows::{fault::SqlFault, pool::ReadPool},
};

/// Commits after which an image of the word index is written: this many are applied again at a start.
const IMAGE_EVERY: u64 = 20_000;
/// Units of work per step of the vector index: some 30 ms of graph insertions, or one segment.
const STEP_BUDGET: u32 = 64;

/// What the worker is asked.
pub(crate) enum Task {
    /// Something was committed: do what is due.
    Tick,
    /// Write images of everything: the last task.
    Close(oneshot::Sender<()>),
}

/// The owner of the upkeep.
pub(crate) struct Upkeep {
    indexes: Arc<Indexes>,
    pool: ReadPool,
    space: EmbeddingSpace,
    build: Option<Build>,
    /// Position of the last image, and the lineage it has.
    imaged: (u64, u64),
}

impl Upkeep {
    /// Upkeep of indexes that were just opened, beginning with what is left of their build.
    pub(crate) fn new(
        indexes: Arc<Indexes>,
        build: Option<Build>,
        pool: ReadPool,
        space: EmbeddingSpace,
    ) -> Self {
        let recall = &indexes.serving().recall;
        let imaged = (recall.position(), recall.snapshot().lineage());
        Self { indexes, pool, space, build, imaged }
    }

    /// Handles what was queued, and takes a step of what is due.
    pub(crate) fn handle(&mut self, tasks: &mut Vec<Task>, replies: &mut Replies) -> Next {
        let mut closing = Vec::new();
        for task in tasks.drain(..) {
            if let Task::Close(to) = task {
                closing.push(to);
            }
        }
        if closing.is_empty() {
            return self.step();
        }
        self.write_images();
        for to in closing {
            replies.send(to, ());
        }
        Next::Wait
    }

    fn step(&mut self) -> Next {
        match self.build_step() {
            Ok(true) => return Next::More,
            Ok(false) => {}
            Err(fault) => {
                // A closed pool belongs to a closing store: its last task is on the way.
                if let SqlFault::Rejected(_) = fault {
                    return Next::Wait;
                }
                let error = fault.into_store_error("filling the recall index");
                tracing::warn!(%error, "the recall index is not complete yet; trying again");
                return Next::Later;
            }
        }
        let serving = self.indexes.serving();
        let more = keep_up(&serving);
        self.write_words_if_due(&serving);
        if more || self.begin_replacement(&serving) { Next::More } else { Next::Wait }
    }

    /// Takes a step of the build there is. Whether there is more to do.
    fn build_step(&mut self) -> Result<bool, SqlFault> {
        let Some(build) = &mut self.build else { return Ok(false) };
        let (indexes, space) = (&self.indexes, &self.space);
        let more = self.pool.read_here(|connection| build.step(indexes, connection, space))?;
        // Sealed segments leave private memory, so a build of any size needs little of it.
        keep_up(build.target());
        if !more {
            self.build = None;
            tracing::info!("the recall index is complete");
            let serving = self.indexes.serving();
            self.write_words(&serving);
        }
        Ok(more)
    }

    fn write_words_if_due(&mut self, serving: &Serving) {
        let (position, lineage) = self.imaged;
        let due = serving.recall.position() >= position.saturating_add(IMAGE_EVERY)
            || serving.recall.snapshot().lineage() != lineage;
        if due {
            self.write_words(serving);
        }
    }

    /// Begins to replace indexes of which too much is dead. Whether it did.
    fn begin_replacement(&mut self, serving: &Serving) -> bool {
        if !serving.recall.wants_rebuild() || self.indexes.is_filling() {
            return false;
        }
        let indexes = &self.indexes;
        match self.pool.read_here(|connection| indexes.begin_replacement(connection)) {
            Ok(build) => {
                tracing::info!("many slots of the recall index are dead; it is being replaced");
                self.build = Some(build);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the recall index could not be replaced yet");
                false
            }
        }
    }

    fn write_images(&mut self) {
        if !self.indexes.is_complete() {
            return;
        }
        let serving = self.indexes.serving();
        self.write_words(&serving);
        if let Some(vectors) = &serving.vectors
            && let Err(error) = vectors.flush()
        {
            tracing::warn!(%error, "the vector index could not be written");
        }
    }

    fn write_words(&mut self, serving: &Serving) {
        match self.indexes.save_words() {
            Ok(saved) => {
                let lineage = serving.recall.snapshot().lineage();
                if lineage != self.imaged.1 {
                    // Only now: until the image was durable, the old one and its vectors belonged together.
                    self.indexes.vectors.replaced(lineage);
                }
                self.imaged = (saved.position, lineage);
            }
            Err(error) => {
                tracing::warn!(%error, "the recall index could not be written");
                // Not at once again: the disk may be full.
                self.imaged.0 = serving.recall.position();
            }
        }
    }
}

/// Takes a step of the upkeep of vectors. Whether there is more to do.
fn keep_up(serving: &Serving) -> bool {
    let Some(vectors) = &serving.vectors else { return false };
    vectors.maintain(STEP_BUDGET).unwrap_or_else(|error| {
        tracing::warn!(%error, "upkeep of the vector index had to stop");
        false
    })
}
