//! The schema of the database file, as numbered steps.
//!
//! Invariants: `SCH-1` a step that was released is never edited, only followed by another;
//! `SCH-2` a file written by a newer build is refused before anything in it is changed.
//!
//! Not here: what the columns mean in Rust (`row`).

use std::path::Path;

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{HookResult, M, Migrations};
use types::{FeedHead, NodeId, codec};

use crate::{
    error::OpenError,
    rows::row::{signed, unsigned},
    sql,
};

/// Steps of a version to come, for trying upgrades: only in builds with `--cfg next_schema`.
const NEXT: &[&str] = if cfg!(next_schema) {
    &["CREATE TABLE of_the_next_version (id INTEGER PRIMARY KEY) STRICT;"]
} else {
    &[]
};

/// Newest schema this build knows.
pub const VERSION: i64 = 9 + NEXT.len() as i64;

/// The steps, oldest first. The file's `user_version` is the number of steps taken.
fn steps() -> Migrations<'static> {
    let mut steps = vec![
        M::up(include_str!("migrations/0001.sql")),
        M::up(include_str!("migrations/0002.sql")),
        M::up_with_hook(include_str!("migrations/0003.sql"), chain_operations),
        M::up(include_str!("migrations/0004.sql")),
        M::up(include_str!("migrations/0005.sql")),
        M::up(include_str!("migrations/0006.sql")),
        M::up(include_str!("migrations/0007.sql")),
        M::up(include_str!("migrations/0008.sql")),
        M::up(include_str!("migrations/0009.sql")),
    ];
    steps.extend(NEXT.iter().map(|sql| M::up(sql)));
    Migrations::new(steps)
}

/// Works out the chain of the operations that were kept without one.
fn chain_operations(transaction: &Transaction<'_>) -> HookResult {
    let mut statement = transaction.prepare(
        "SELECT o.position, o.origin, n.node, o.seq, o.hlc, o.bytes FROM ops o
         JOIN nodes n ON n.id = o.origin ORDER BY o.origin, o.seq",
    )?;
    let mut chained = transaction.prepare("UPDATE ops SET chain = ?2 WHERE position = ?1")?;
    let mut ended = transaction.prepare(
        "INSERT INTO feeds (origin, seq, hlc, chain) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (origin) DO UPDATE SET seq = excluded.seq, hlc = excluded.hlc,
            chain = excluded.chain",
    )?;
    let mut rows = statement.query([])?;
    let mut head: Option<FeedHead> = None;
    while let Some(row) = rows.next()? {
        let node = NodeId(uuid::Uuid::from_bytes(row.get(2)?));
        let before = head.filter(|head| head.origin == node).unwrap_or(FeedHead::empty(node));
        let next = before.with(&codec::op_hash(&row.get::<_, Vec<u8>>(5)?));
        let (position, origin, hlc): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(4)?);
        if next.seq != unsigned(row.get(3)?) {
            let problem = format!("operation {} of node {node} is missing", next.seq);
            return Err(rusqlite_migration::HookError::Hook(problem));
        }
        chained.execute((position, next.chain))?;
        ended.execute((origin, signed(next.seq), hlc, next.chain))?;
        head = Some(next);
    }
    Ok(())
}

/// Why a file's schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// The file is not for this build.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A statement failed.
    #[error("migration failed: {source}")]
    Sql {
        /// The cause.
        source: rusqlite::Error,
    },
}

/// Takes the missing steps in `connection`, which has the file at `path` open.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), MigrateError> {
    let found = version_of(connection).map_err(|source| MigrateError::Sql { source })?;
    if found > VERSION {
        let path = path.to_path_buf();
        return Err(OpenError::Newer { path, found, known: VERSION }.into());
    }
    steps().to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => MigrateError::Sql { source: err },
        other => OpenError::Corrupt { path: path.to_path_buf(), problem: other.to_string() }.into(),
    })
}

/// Schema version of an open file; 0 for an empty one.
pub(crate) fn version(connection: &sql::Connection) -> sql::Result<i64> {
    Ok(version_of(connection.as_sqlite()?)?)
}

fn version_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_valid_and_a_second_run_changes_nothing() {
        steps().validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        assert_eq!(version_of(&connection).unwrap(), VERSION);
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let error = migrate(&mut connection, Path::new("x")).unwrap_err();
        let MigrateError::Open(OpenError::Newer { found, known, .. }) = error else {
            panic!("SCH-2: {error}");
        };
        assert_eq!((found, known), (VERSION + 1, VERSION));
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0, "SCH-2");
    }
}
