//! Moving the memories of a node from a file into a database on a server, and back.
//!
//! A node goes on while its memories are copied; what it changes meanwhile is copied after. The end needs it stopped: then both
//! sides are compared row by row, their digests and their audit chains are, and from then on the memories are in the other place.
//! Whoever is interrupted begins again and goes on where the copy had ended.
//!
//! | module | what |
//! |---|---|
//! | [`tables`] | what is copied, and how it is spelled on either side |
//! | [`ends`] | where it comes from and where it goes |
//! | [`sweep`] | making one table equal to the other |
//! | [`derived`] | words and vectors, which a server keeps and a file does not |
//! | [`course`] | one after the other, until it is done |
//!
//! Invariants: `MOV-1` memories are moved when the folder says so, and it says so after the copy was found equal; until then
//! the place they come from is as it was; `MOV-2` a copy that is not finished is not opened by a node, and nothing is copied to
//! where other memories are; `MOV-3` a node is the same on both sides: identity, positions, rows, audit chain and feeds.
//!
//! Not here: exports (`node::service::transfer`), which are new memories elsewhere.

pub(crate) mod course;
mod derived;
mod ends;
mod sweep;
pub(crate) mod tables;

use std::path::PathBuf;

use thiserror::Error;

pub use course::run;
pub(crate) use ends::hindrance;

use crate::{
    OpenError, port::EmbeddingSpace, postgres::PostgresConfig, rows::fault::SqlFault, sql,
};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the file in the folder into the database.
    ToServer,
    /// From the database into a file in the folder.
    ToFile,
}

/// What is to be moved.
#[derive(Clone)]
pub struct Plan {
    /// Which way.
    pub way: Way,
    /// The node's data folder.
    pub folder: PathBuf,
    /// The database on a server.
    pub server: PostgresConfig,
    /// The space of the node's vectors.
    pub space: EmbeddingSpace,
    /// Whether to wait for the node to be stopped, or to end with [`MoveError::Running`] when everything else is done.
    pub waits: bool,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Rows of a table that have been looked at, of so many.
    Rows {
        /// Its name.
        table: &'static str,
        /// Looked at.
        done: u64,
        /// There were when it began.
        of: u64,
    },
    /// Words and vectors of so many memories are kept.
    Derived {
        /// Memories.
        memories: u64,
    },
    /// The index of vectors is made.
    Index,
    /// Both sides are compared as a whole.
    Verifying,
    /// Everything is copied; the node must be stopped for what is left.
    Waiting {
        /// Who has the folder.
        holder: String,
    },
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Rows that were copied by this run, those copied again included.
    pub copied: u64,
    /// Digest of the content on either side.
    pub content_digest: [u8; 32],
    /// Sequence and hash of the last row of the audit chain on either side.
    pub chain_head: (i64, [u8; 32]),
    /// How long the folder was held, ms: as long a node could not have run.
    pub held_ms: u64,
    /// What was kept of the place it came from.
    pub left: String,
}

/// Why nothing was moved. What was copied stays for the next try.
#[derive(Debug, Error)]
pub enum MoveError {
    /// One of the places cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to move.
    #[error("{place} has no memories to move: {problem}")]
    Nothing {
        /// The place.
        place: String,
        /// Why.
        problem: &'static str,
    },
    /// There are memories already where they should go.
    #[error("{place} {problem}")]
    Taken {
        /// The place.
        place: String,
        /// Whose, and what to do.
        problem: &'static str,
    },
    /// All is copied, and the node runs.
    #[error(
        "everything is copied, and {holder} has the folder; stop it and give the same command again, which moves the rest"
    )]
    Running {
        /// Who has the folder.
        holder: String,
    },
    /// The copy is not what was copied.
    #[error("the copy is not the same: {problem}; nothing was changed where it came from")]
    Differs {
        /// In what.
        problem: String,
    },
    /// A statement failed.
    #[error("moving failed: {0}; give the same command again to go on")]
    Fault(#[from] SqlFault),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl From<sql::Error> for MoveError {
    fn from(error: sql::Error) -> Self {
        Self::Fault(error.into())
    }
}
