//! Where recall looks: indexes in memory beside the rows, or the database itself.
//!
//! Invariants: `STO-4` either way a committed group is found before it is acknowledged; `STO-3` either can be built again
//! from the rows.
//!
//! Not here: searching (`read::candidates`, `postgres::recall`).

use std::sync::Arc;

use runtime::worker::WorkerHandle;

use super::{
    fault::SqlFault,
    indexes::{Indexes, Task},
    read::sight::Sight,
    write::overlay::Entry,
};
use crate::{
    answer::{Candidates, Finding, MemoryView, StoreStats},
    port::EmbeddingSpace,
    request::{CandidateQuery, DuplicateQuery},
    sql::Connection,
};

/// Where recall looks.
#[derive(Clone)]
pub(crate) enum Recall {
    /// Indexes in memory, and who looks after them.
    Memory(Arc<Indexes>, WorkerHandle<Task>),
    /// The database.
    Database(Arc<dyn DatabaseRecall>),
}

impl Recall {
    /// The indexes in memory, where there are some.
    pub(crate) fn indexes(&self) -> Option<&Arc<Indexes>> {
        match self {
            Recall::Memory(indexes, _) => Some(indexes),
            Recall::Database(_) => None,
        }
    }
}

/// A database that recall searches by itself.
pub(crate) trait DatabaseRecall: Send + Sync {
    /// Keeps the words and vectors of what a group changed, in its transaction.
    fn keep(
        &self,
        connection: &Connection,
        entries: &[Entry],
        space: &EmbeddingSpace,
    ) -> Result<(), SqlFault>;

    /// Keeps a vector that a model has computed for the text with this hash.
    fn keep_vector(
        &self,
        connection: &Connection,
        row: i64,
        text_sha256: &[u8; 32],
        values: &[f32],
    ) -> Result<(), SqlFault>;

    /// Puts some of the vectors that were kept without it into the index; gives how many, 0 when no more wait.
    fn settle(&self, connection: &Connection) -> Result<u64, SqlFault>;

    /// Whether some wait, as far as this node knows.
    fn has_unsettled(&self) -> bool;

    /// Candidates by words and by vector.
    fn candidates(
        &self,
        connection: &Connection,
        sight: &Sight,
        query: &CandidateQuery,
    ) -> Result<Candidates, SqlFault>;

    /// Memories that resemble a text, most similar first, ties by id.
    fn duplicates(
        &self,
        connection: &Connection,
        sight: &Sight,
        query: &DuplicateQuery,
    ) -> Result<Vec<(u16, MemoryView)>, SqlFault>;

    /// Adds what it knows to the figures.
    fn stats(&self, connection: &Connection, stats: &mut StoreStats) -> Result<(), SqlFault>;

    /// What does not fit between the rows and what is derived from them.
    fn check(&self, connection: &Connection) -> Result<Vec<Finding>, SqlFault>;
}
