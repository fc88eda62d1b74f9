//! The schema of the database, as numbered steps.
//!
//! Invariants: `SCH-1` a step that was released is never edited, only followed by another; `PGS-4` a newer schema is
//! refused before anything is changed; of several nodes that start at once one takes the steps, and the others wait for it;
//! `PGS-5` no limit for a request's statement ends a step, which would be taken again, in vain, at every start.
//!
//! Not here: SQLite's steps, which are others.

use std::time::Duration;

use super::engine::{LOCK, MIGRATION};
use crate::{
    answer::Finding,
    rows::fault::SqlFault,
    sql::{self, Connection, OptionalExtension},
};

/// The steps, oldest first.
const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
];

/// Newest schema this build knows.
pub(crate) const VERSION: i64 = STEPS.len() as i64;

/// Oldest version of the extension `vector` that has half precision and goes on where a filter left too few.
const VECTOR_MIN: [u32; 2] = [0, 8];

/// How long a step waits for whoever uses a table: a request takes less.
const TABLE_LOCK: Duration = Duration::from_secs(60);

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// It was written by a newer build.
    #[error("has schema {found}, this build knows up to {VERSION}; use the newer build")]
    Newer {
        /// Its schema.
        found: i64,
    },
    /// Vectors cannot be kept.
    #[error(
        "lacks the extension pgvector 0.8 or newer ({problem}); install it on the server and have a superuser run `CREATE EXTENSION vector`"
    )]
    NoVectors {
        /// What is there instead.
        problem: String,
    },
    /// Nodes with peers have databases of their own.
    #[error(
        "has rows of {others} other nodes, and a node with peers (federation.peers_file) has a database of its own: name another one in storage.url"
    )]
    Shared {
        /// How many.
        others: i64,
    },
    /// Its memories are on their way.
    #[error("{problem}")]
    Moved {
        /// Where to, and what to do.
        problem: &'static str,
    },
    /// There is no connection to be had.
    #[error("cannot be reached: {problem}; check host, port, name and password in storage.url")]
    Away {
        /// Why.
        problem: String,
    },
    /// A statement failed.
    #[error(transparent)]
    Fault(#[from] SqlFault),
}

impl From<sql::Error> for Unfit {
    fn from(error: sql::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Takes the missing steps, all of them or none.
pub(crate) fn migrate(connection: &Connection) -> Result<(), Unfit> {
    alone(connection, || steps(connection))
}

/// Does what only one node may do at a time and may take long, all of it or nothing (`PGS-5`).
///
/// The others wait for it as long as it takes, but not for a table that somebody reads: whoever comes after would wait too.
pub(super) fn alone<E: From<sql::Error>>(
    connection: &Connection,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let session = connection.as_postgres()?;
    session.patiently(|| {
        session.batch(&format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
             SELECT pg_advisory_xact_lock({LOCK}, {MIGRATION}); \
             SET LOCAL lock_timeout = {}",
            TABLE_LOCK.as_millis()
        ))?;
        let done = work();
        match &done {
            Ok(()) => session.batch("COMMIT")?,
            Err(_) => session.roll_back(),
        }
        done
    })
}

fn steps(connection: &Connection) -> Result<(), Unfit> {
    let session = connection.as_postgres()?;
    let found = version(connection)?;
    if found > VERSION {
        return Err(Unfit::Newer { found });
    }
    need_vectors(connection)?;
    if (1..VERSION).contains(&found) {
        tracing::info!(found, to = VERSION, "the schema is brought up, which may take minutes");
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        session.batch(step)?;
    }
    if found == 0 {
        session.batch("CREATE TABLE hivemem_schema (version bigint NOT NULL)")?;
        session.batch("INSERT INTO hivemem_schema VALUES (0)")?;
    }
    if found < VERSION {
        connection.execute("UPDATE hivemem_schema SET version = ?1", [VERSION])?;
    }
    Ok(())
}

/// Schema version of the database; 0 when there is none.
pub(crate) fn version(connection: &Connection) -> Result<i64, SqlFault> {
    let is_there: bool =
        connection
            .query_row("SELECT to_regclass('hivemem_schema') IS NOT NULL", [], |row| row.get(0))?;
    if !is_there {
        return Ok(0);
    }
    Ok(connection.query_row("SELECT version FROM hivemem_schema", [], |row| row.get(0))?)
}

/// Versions of the server and of what it was extended by that is used here.
pub(crate) fn server(connection: &Connection) -> Result<Vec<(String, String)>, SqlFault> {
    let text = "SELECT 'postgresql', current_setting('server_version') UNION ALL
        SELECT CAST(extname AS text), extversion FROM pg_extension WHERE extname IN ('vector', 'age')";
    let mut statement = connection.prepare_cached(text)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Has the extension there, which somebody else may have to install.
fn need_vectors(connection: &Connection) -> Result<(), Unfit> {
    let text = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
    let mut found: Option<String> = connection.query_row(text, [], |row| row.get(0)).optional()?;
    if found.is_none() {
        let session = connection.as_postgres()?;
        session
            .batch("CREATE EXTENSION vector")
            .map_err(|error| Unfit::NoVectors { problem: error.to_string() })?;
        found = connection.query_row(text, [], |row| row.get(0)).optional()?;
    }
    let version = found.unwrap_or_default();
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < VECTOR_MIN.as_slice() {
        return Err(Unfit::NoVectors { problem: format!("its version is {version}") });
    }
    Ok(())
}

/// What is wrong with the schema.
pub(crate) fn check(connection: &Connection) -> Result<Vec<Finding>, SqlFault> {
    let found = version(connection)?;
    let problem = format!("schema {found} instead of {VERSION}; start a node of this build once");
    let wrong = (found != VERSION).then_some(Finding { check: "schema", problem });
    Ok(wrong.into_iter().collect())
}
