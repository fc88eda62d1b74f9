//! Reading a file of ai-memory, releases 0.7 to 0.10: another program's SQLite file, with memories, links and an audit chain.
//!
//! Columns are read by name: releases have more or fewer of them, and a file that was upgraded has them in another order
//! (docs/reference/ai-memory.md).
//!
//! Invariants: the file is never written to; what a row says is taken as it is, text for text, since the audit chain hashes it.
//!
//! Not here: what a row becomes (`cli::commands::ai_memory`), whole files that are encrypted, compressed attachments.

mod chain;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, types::ValueRef};
use thiserror::Error;

pub use chain::{ChainVerdict, Encoding};

/// The first bytes of every SQLite file.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Oldest schema with an audit chain that is read; the first release with it has 57.
const SCHEMA_MIN: i64 = 21;
/// Schema of the newest release that was looked at, 0.10.0.
pub const SCHEMA_KNOWN: i64 = 80;

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Another number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A row, by the names of its columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub BTreeMap<String, Cell>);

impl Row {
    /// A text; `None` where there is none.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.0.get(column) {
            Some(Cell::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number; `None` where there is none.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.0.get(column) {
            Some(Cell::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number; `None` where there is none.
    pub fn real(&self, column: &str) -> Option<f64> {
        match self.0.get(column) {
            Some(Cell::Real(number)) => Some(*number),
            Some(Cell::Integer(number)) => Some(*number as f64),
            _ => None,
        }
    }

    /// Bytes; `None` where there are none.
    pub fn bytes(&self, column: &str) -> Option<&[u8]> {
        match self.0.get(column) {
            Some(Cell::Blob(bytes)) => Some(bytes),
            _ => None,
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum ForeignError {
    /// It is no file of ai-memory that this build knows.
    #[error("{path} is no file of ai-memory 0.7 to 0.10: {problem}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is missing, or too new.
        problem: String,
    },
    /// SQLite refused.
    #[error("{path} cannot be read: {source}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// A table that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What is remembered.
    Memories,
    /// What was put away.
    Archived,
    /// What belongs together.
    Links,
    /// The audit chain.
    Events,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Memories => "memories",
            Table::Archived => "archived_memories",
            Table::Links => "memory_links",
            Table::Events => "signed_events",
        }
    }
}

/// A file of ai-memory.
pub struct Source {
    path: PathBuf,
    connection: Connection,
    /// Its schema: 57 is 0.7, 70 and 71 are 0.8, 78 is 0.9, 80 is 0.10.
    pub schema: i64,
}

impl Source {
    /// Opens a file for reading. Its log (`-wal`) must lie beside it, if it has one.
    ///
    /// # Errors
    /// [`ForeignError`], with what is wrong.
    pub fn open(path: &Path) -> Result<Self, ForeignError> {
        let path = path.to_path_buf();
        let failed = |source| ForeignError::Sql { path: path.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        let unknown = |problem: &str| ForeignError::Unknown {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        for table in
            ["schema_version", "memories", "memory_links", "archived_memories", "signed_events"]
        {
            let text = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            let found: i64 =
                connection.query_row(text, [table], |row| row.get(0)).map_err(failed)?;
            if found == 0 {
                return Err(unknown(&format!("it has no table {table}")));
            }
        }
        let text = "SELECT coalesce(max(version), 0) FROM schema_version";
        let schema: i64 = connection.query_row(text, [], |row| row.get(0)).map_err(failed)?;
        if !(SCHEMA_MIN..=SCHEMA_KNOWN).contains(&schema) {
            return Err(unknown(&format!(
                "its schema is {schema}, and those from {SCHEMA_MIN} to {SCHEMA_KNOWN} are known"
            )));
        }
        Ok(Self { path, connection, schema })
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// [`ForeignError::Sql`].
    pub fn count(&self, table: Table) -> Result<u64, ForeignError> {
        let text = format!("SELECT count(*) FROM {}", table.name());
        let count = self.connection.query_row(&text, [], |row| row.get::<_, i64>(0));
        count.map(i64::cast_unsigned).map_err(|source| self.failed(source))
    }

    /// At most `limit` rows behind one, in order of their number in the file, each with it.
    ///
    /// # Errors
    /// [`ForeignError::Sql`].
    pub fn page(
        &self,
        table: Table,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Row)>, ForeignError> {
        let text = format!(
            "SELECT rowid AS number_in_file, * FROM {} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
            table.name()
        );
        self.rows(&text, after, limit).map_err(|source| self.failed(source))
    }

    fn rows(&self, text: &str, after: i64, limit: u32) -> rusqlite::Result<Vec<(i64, Row)>> {
        let mut statement = self.connection.prepare_cached(text)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query((after, limit))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let mut cells = BTreeMap::new();
            for (at, name) in names.iter().enumerate().skip(1) {
                cells.insert(name.clone(), cell(row.get_ref(at)?));
            }
            all.push((row.get(0)?, Row(cells)));
        }
        Ok(all)
    }

    fn failed(&self, source: rusqlite::Error) -> ForeignError {
        ForeignError::Sql { path: self.path.clone(), source }
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        // Bytes that are no text are kept as bytes.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Blob(bytes.to_vec()),
        },
    }
}

#[cfg(test)]
mod tests;
