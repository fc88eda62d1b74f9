//! Moving the write-ahead log into the database file.
//!
//! Invariants: `SQL-3` the result is read to the end: an error here means pages that were not
//! synced, and a later "success" of SQLite would not write them again; whoever calls must stop the node.
//!
//! Not here: when (`writer`).

use rusqlite::{Connection, ffi};

/// How much is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whatever no reader is in the way of.
    WhatIsFree,
    /// Everything, and the log is cut to nothing. For closing, when there are no readers.
    Everything,
}

/// Runs a checkpoint and gives the pages that are still only in the log.
pub(crate) fn run(connection: &Connection, extent: Extent) -> rusqlite::Result<u64> {
    let sql = match extent {
        Extent::WhatIsFree => "PRAGMA wal_checkpoint(PASSIVE)",
        Extent::Everything => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut left = 0;
    while let Some(row) = rows.next()? {
        let (in_log, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        left = (in_log - moved).max(0) as u64;
    }
    Ok(left)
}

/// Pages that this connection wrote to the log since the last call.
pub(crate) fn pages_written(connection: &Connection) -> u64 {
    let (mut now, mut highest) = (0, 0);
    // SAFETY: the handle is that of an open connection, which the borrow keeps open and on this
    // thread; the two integers outlive the call.
    let code = unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_CACHE_WRITE,
            &mut now,
            &mut highest,
            1,
        )
    };
    if code == ffi::SQLITE_OK { u64::try_from(now).unwrap_or(0) } else { 0 }
}
