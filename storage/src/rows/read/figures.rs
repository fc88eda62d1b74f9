//! Figures for metrics and `doctor`, and the memories that wait for a vector.
//!
//! Invariant: `FIG-1` every figure costs at most a walk over one narrow index, so that metrics may ask
//! often.
//!
//! Not here: histograms (the node's telemetry).

use super::{memories, views};
use crate::{
    answer::{PendingVector, StoreStats},
    port::EmbeddingSpace,
    rows::{
        fault::SqlFault,
        row::{self, STORED_COLUMNS, unsigned},
    },
    sql::{Connection, OptionalExtension},
};

/// What the rows say; the caller adds what it knows of the database, the indexes and the writer.
pub(crate) fn stats(connection: &Connection) -> Result<StoreStats, SqlFault> {
    let count = |text: &str| -> Result<u64, SqlFault> {
        let mut statement = connection.prepare_cached(text)?;
        Ok(unsigned(statement.query_row([], |row| row.get(0))?))
    };
    let memories = count("SELECT count(*) FROM memories WHERE life = 0")?;
    let archived = count("SELECT count(*) FROM memories WHERE life = 1")?;
    // The two above have indexes of their own; so has the sum.
    let all = count("SELECT count(*) FROM memories")?;
    let behind = views::behind(connection)?;
    Ok(StoreStats {
        memories,
        archived,
        tombstones: all - memories - archived - behind,
        links: count("SELECT count(*) FROM links WHERE removed = 0")?,
        operations: count("SELECT count(*) FROM ops")?,
        unheld: count("SELECT count(*) FROM unheld")?,
        nonces: count("SELECT count(*) FROM nonces")?,
        answers: count("SELECT count(*) FROM idempotency")?,
        events: count("SELECT coalesce(max(sequence), 0) FROM signed_events")?,
        position: super::changes::head(connection)?,
        extra: [("shown_in_others".to_owned(), behind)].into(),
        ..StoreStats::default()
    })
}

/// Live memories without a vector in the space, oldest first. None where vectors are computed on the
/// spot.
pub(crate) fn pending_vectors(
    connection: &Connection,
    space: &EmbeddingSpace,
    limit: u32,
) -> Result<Vec<PendingVector>, SqlFault> {
    if space.vectorizer.is_some() {
        return Ok(Vec::new());
    }
    let number: Option<i64> = connection
        .prepare_cached(
            "SELECT id FROM spaces WHERE model = ?1 AND version = ?2 AND dimension = ?3",
        )?
        .query_row((&space.model, &space.version, space.dimension), |row| row.get(0))
        .optional()?;
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE life = 0 AND NOT EXISTS \
         (SELECT 1 FROM vectors v WHERE v.row = memories.row AND v.space = ?1) ORDER BY row"
    );
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query([number])?;
    let mut pending = Vec::new();
    while let Some(found) = rows.next()? {
        let shown = views::shown(connection, row::stored(found)?)?;
        let is_supplied = shown.record.embedding.value.as_ref().is_some_and(|given| {
            given.model == space.model
                && given.version == space.version
                && given.values.len() == usize::from(space.dimension)
        });
        if is_supplied {
            continue;
        }
        let view = memories::view(shown);
        let text = row::embedded_text(&view.title, &view.content);
        let text_sha256 = row::text_sha256(&view.title, &view.content);
        pending.push(PendingVector { id: view.id, text, text_sha256 });
        if pending.len() >= limit as usize {
            break;
        }
    }
    Ok(pending)
}
