//! Vectors that wait for the index.
//!
//! It takes milliseconds to put a vector into pgvector's graph, and no writer waits for that: a vector is kept in a table beside
//! those that are indexed, a search compares what is there one by one, and a task of each node moves it on. The table
//! inherits from the other, so a statement about `vectors` is about both.
//!
//! Invariants: `UNX-1` a row's vector is in one of both tables: whoever keeps or removes it holds the lock of its memory's row,
//! and one whose memory is locked is not moved meanwhile; `UNX-2` where many wait, a writer puts its own into the index
//! itself, so about [`UNINDEXED_MAX`] are compared one by one at most; `UNX-3` a search looks up the memories of the nearest of
//! them, until enough have passed its filter, and no others, whatever the server believes of how many there are.
//!
//! Not here: searching (`recall`), when they are moved (`rows::settle`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    rows::{fault::SqlFault, row::unsigned},
    sql::Connection,
};

/// Vectors that wait at most, as far as this node knows. Tests have few.
const UNINDEXED_MAX: u64 = if cfg!(test) { 8 } else { 4_096 };

/// Keeps the vector of a row, as pgvector reads it, in a space and for a text with a hash.
macro_rules! keep_in {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (row, space, text_sha256, vector)
             VALUES (?1, ?2, ?3, CAST(CAST(?4 AS text) AS halfvec))
             ON CONFLICT (row) DO UPDATE SET space = excluded.space,
                text_sha256 = excluded.text_sha256, vector = excluded.vector"
        )
    };
}

/// The same, in the index.
pub(crate) const KEEP_INDEXED: &str = keep_in!("vectors");
const KEEP_UNINDEXED: &str = keep_in!("vectors_unindexed");

/// Takes the vector of a row out of the other table.
const DROP_INDEXED: &str = "DELETE FROM ONLY vectors WHERE row = ?1";
const DROP_UNINDEXED: &str = "DELETE FROM vectors_unindexed WHERE row = ?1";

/// Moves those that have waited longest and whose memories nobody is changing. As few at once as a change of one of these
/// memories can wait for.
const SETTLE: &str = "WITH longest AS MATERIALIZED (
        SELECT u.row FROM vectors_unindexed u JOIN memories m ON m.row = u.row
        ORDER BY u.row LIMIT 16 FOR UPDATE OF u SKIP LOCKED FOR SHARE OF m SKIP LOCKED
    ), moved AS (
        DELETE FROM vectors_unindexed u USING longest l WHERE u.row = l.row
        RETURNING u.row, u.space, u.text_sha256, u.vector
    )
    INSERT INTO vectors (row, space, text_sha256, vector)
    SELECT row, space, text_sha256, vector FROM moved
    ON CONFLICT (row) DO UPDATE SET space = excluded.space,
        text_sha256 = excluded.text_sha256, vector = excluded.vector";

/// A vector to be kept: row, number of the space, hash of the text, and as pgvector reads it.
pub(super) struct Vector {
    pub(super) row: i64,
    pub(super) space: i64,
    pub(super) text_sha256: [u8; 32],
    pub(super) written: String,
    /// Whether the row may have had one.
    pub(super) had: bool,
}

/// How many wait.
#[derive(Default)]
pub(super) struct Unindexed {
    waiting: AtomicU64,
}

impl Unindexed {
    /// Keeps vectors of memories whose rows are locked by this transaction, or are new.
    pub(super) fn keep(
        &self,
        connection: &Connection,
        vectors: Vec<Vector>,
    ) -> Result<(), SqlFault> {
        if vectors.is_empty() {
            return Ok(());
        }
        let more = vectors.len() as u64;
        let waits = self.waiting.fetch_add(more, Ordering::Relaxed) + more <= UNINDEXED_MAX;
        let (keep, drop_other) = match waits {
            true => (KEEP_UNINDEXED, DROP_INDEXED),
            false => (KEEP_INDEXED, DROP_UNINDEXED),
        };
        let had: Vec<i64> = vectors.iter().filter(|one| one.had).map(|one| one.row).collect();
        let mut kept = connection.batch(keep)?;
        for one in vectors {
            kept.add((one.row, one.space, one.text_sha256, one.written))?;
        }
        kept.finish()?;
        for row in had {
            connection.prepare_cached(drop_other)?.execute([row])?;
        }
        Ok(())
    }

    /// Locks the row of a memory, until the transaction ends.
    pub(super) fn lock(connection: &Connection, row: i64) -> Result<(), SqlFault> {
        let text = "SELECT 1 FROM memories WHERE row = ?1 FOR UPDATE";
        connection.prepare_cached(text)?.exists([row])?;
        Ok(())
    }

    /// Whether there are some, as far as this node knows.
    pub(super) fn is_any(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Moves some into the index; gives how many.
    pub(super) fn settle(&self, connection: &Connection) -> Result<u64, SqlFault> {
        let moved = connection.execute(SETTLE, [])?;
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM vectors_unindexed LIMIT {UNINDEXED_MAX}) u"
        );
        let waiting = connection.query_row(&text, [], |row| row.get(0))?;
        self.waiting.store(unsigned(waiting), Ordering::Relaxed);
        Ok(moved as u64)
    }
}
