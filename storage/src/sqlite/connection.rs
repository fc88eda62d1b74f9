//! How a connection is opened: which disk, which rights, which settings.
//!
//! Invariants: no connection checkpoints by itself, neither while committing nor when it is closed
//! (`SQL-3`); statements of settings are stepped to the end, because SQLite reports a failed change of the
//! journal mode only there; temporary data stays in memory.
//!
//! Not here: locks between processes and the treatment of the log before it is opened (`open`).

use std::path::Path;

use rusqlite::{OpenFlags, config::DbConfig};

use crate::{rows::engine::Role, sql::Connection};

/// Prepared statements kept per connection.
const STATEMENTS: usize = 96;

/// Opens the database at `path` through the VFS of that name, with a page cache of `cache_kib` KiB.
pub(crate) fn open(
    path: &Path,
    vfs: Option<&str>,
    role: Role,
    cache_kib: u32,
) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite's own mutexes would be wasted.
    let shared = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let flags = match role {
        Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | shared,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY | shared,
    };
    let connection = match vfs {
        Some(vfs) => rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => rusqlite::Connection::open_with_flags(path, flags)?,
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // One writer and no checkpoint that waits: a busy database is an error in this code.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    pragma(&connection, "temp_store = MEMORY")?;
    pragma(&connection, &format!("cache_size = -{cache_kib}"))?;
    match role {
        Role::Writer => {
            pragma(&connection, "journal_mode = WAL")?;
            pragma(&connection, "synchronous = FULL")?;
            pragma(&connection, "wal_autocheckpoint = 0")?;
        }
        Role::Reader => pragma(&connection, "query_only = ON")?,
    }
    Ok(Connection::sqlite(connection))
}

/// Runs `PRAGMA text` to its end and drops what it returns.
fn pragma(connection: &rusqlite::Connection, text: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {text}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
