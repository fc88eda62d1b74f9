//! The schema of the database file, as numbered steps.
//!
//! Invariants: `SCH-1` a step that was released is never edited, only followed by another;
//! `SCH-2` a file written by a newer build is refused before anything in it is changed.
//!
//! Not here: what the columns mean in Rust (`row`).

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use crate::error::OpenError;

/// The steps, oldest first. The file's `user_version` is the number of steps taken.
const STEPS: &[M<'_>] =
    &[M::up(include_str!("migrations/0001.sql")), M::up(include_str!("migrations/0002.sql"))];

/// Newest schema this build knows.
pub const VERSION: i64 = STEPS.len() as i64;

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
    let found = version(connection).map_err(|source| MigrateError::Sql { source })?;
    if found > VERSION {
        let path = path.to_path_buf();
        return Err(OpenError::Newer { path, found, known: VERSION }.into());
    }
    Migrations::from_slice(STEPS).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => MigrateError::Sql { source: err },
        other => OpenError::Corrupt { path: path.to_path_buf(), problem: other.to_string() }.into(),
    })
}

/// Schema version of an open file; 0 for an empty one.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_valid_and_a_second_run_changes_nothing() {
        Migrations::from_slice(STEPS).validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
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
