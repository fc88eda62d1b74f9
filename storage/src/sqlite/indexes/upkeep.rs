//! What the indexes need now and then: sealing, verifying, graphs, images on disk.
//!
//! Runs on a worker of its own, beside the writer and the readers.
//!
//! Invariant: nothing here is needed for a right answer. A step that fails is logged and tried again later; a
//! disk that fails a sync here has lost derived data only.
//!
//! Not here: what the steps do (`crate::index`).

use std::sync::Arc;

use runtime::worker::Replies;
use tokio::sync::oneshot;

use super::Indexes;

/// Commits after which an image of the word index is written: this many are applied again at a start.
const IMAGE_EVERY: u64 = 20_000;
/// Units of work per step of the vector index.
const STEP_BUDGET: u32 = 256;

/// What the worker is asked.
pub(crate) enum Task {
    /// Something was committed: do what is due.
    Tick,
    /// Write images of everything: the last task.
    Close(oneshot::Sender<()>),
}

/// The owner of the upkeep.
pub(crate) struct Upkeep {
    pub(crate) indexes: Arc<Indexes>,
    /// Position of the last image.
    pub(crate) imaged: u64,
}

impl Upkeep {
    /// Upkeep of indexes that were just opened.
    pub(crate) fn new(indexes: Arc<Indexes>) -> Self {
        Self { imaged: indexes.recall.position(), indexes }
    }

    /// Handles what was queued.
    pub(crate) fn handle(&mut self, tasks: &mut Vec<Task>, replies: &mut Replies) {
        let mut closing = Vec::new();
        for task in tasks.drain(..) {
            if let Task::Close(to) = task {
                closing.push(to);
            }
        }
        if closing.is_empty() {
            self.tick();
            return;
        }
        self.write_images();
        for to in closing {
            replies.send(to, ());
        }
    }

    fn tick(&mut self) {
        if let Some(vectors) = &self.indexes.vectors {
            loop {
                match vectors.maintain(STEP_BUDGET) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "upkeep of the vector index had to stop");
                        break;
                    }
                }
            }
        }
        if self.indexes.recall.position() >= self.imaged.saturating_add(IMAGE_EVERY) {
            self.write_words();
        }
    }

    fn write_images(&mut self) {
        self.write_words();
        if let Some(vectors) = &self.indexes.vectors
            && let Err(error) = vectors.flush()
        {
            tracing::warn!(%error, "the vector index could not be written");
        }
    }

    fn write_words(&mut self) {
        match self.indexes.folder.save(self.indexes.recall.snapshot()) {
            Ok(saved) => self.imaged = saved.position,
            Err(error) => {
                tracing::warn!(%error, "the recall index could not be written");
                self.imaged = self.indexes.recall.position();
            }
        }
    }
}
