//! Figures for metrics and `doctor`.
//!
//! Invariant: `FIG-1` every figure costs at most a walk over one narrow index, so that metrics may ask
//! often.
//!
//! Not here: histograms (the node's telemetry).

use super::views;
use crate::{
    answer::StoreStats,
    rows::{fault::SqlFault, row::unsigned},
    sql::Connection,
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
