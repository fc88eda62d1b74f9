//! What can go wrong below the port.
//!
//! Invariant: [`StoreError::Rejected`] means nothing changed; [`StoreError::Unknown`] and [`StoreError::Failed`] mean that the
//! outcome is unknown, the latter also that the node is stopping; nothing in between.
//!
//! Not here: the mapping to status codes (`wire::errors`).

use std::path::PathBuf;

use thiserror::Error;
use types::{Reason, Reject};

/// The failure of a store operation.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Refused; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The database was lost before it answered: what was asked was done, or was not.
    #[error("the store's database was lost while {doing}: {cause}")]
    Unknown {
        /// What was being done.
        doing: &'static str,
        /// The underlying error.
        cause: String,
    },
    /// The disk or the database failed; what was in flight is unknown and the node stops.
    #[error("store failed while {doing}: {cause}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The underlying error.
        cause: String,
    },
}

impl StoreError {
    /// The stable reason a client sees.
    pub fn reason(&self) -> Reason {
        match self {
            StoreError::Rejected(reject) => reject.reason,
            StoreError::Unknown { .. } => Reason::OutcomeUnknown,
            StoreError::Failed { .. } => Reason::StorageFailed,
        }
    }
}

impl From<types::Invalid> for StoreError {
    fn from(invalid: types::Invalid) -> Self {
        StoreError::Rejected(invalid.into())
    }
}

/// Why a store could not be opened. Each message names the file and the fix.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the store open.
    #[error("{path} is in use by {holder}; stop it, or give this one another data folder")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, as far as is known.
        holder: String,
    },
    /// The file was written by a newer build.
    #[error(
        "{path} has schema {found}, this build knows up to {known}; use the newer build, or restore a backup made by this one"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Newest schema version this build knows.
        known: i64,
    },
    /// The file is not a database, or fails its integrity check.
    #[error(
        "{path} is damaged: {problem}; restore the newest backup with `hivemem restore` into another folder"
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The database server cannot be used.
    #[error("the database at {place} {problem}")]
    Server {
        /// Host, port and database, or the setting that is wrong.
        place: String,
        /// What is wrong, and the fix.
        problem: String,
    },
    /// The memories of the folder are not where they are looked for.
    #[error("{path} {problem}")]
    Folder {
        /// The file that says so.
        path: PathBuf,
        /// What it says, and the fix.
        problem: &'static str,
    },
    /// The operating system refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
