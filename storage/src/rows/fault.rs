//! What an error of the database means for the node.
//!
//! Invariants: `SQL-2` an I/O error or an unreadable file stops the node at once, with every
//! connection left open (closing could write); a full disk is survived, and so is a server that cannot be reached.
//!
//! Not here: retrying, which happens nowhere.

use rusqlite::ErrorCode;
use types::{Reason, Reject};

use crate::{error::StoreError, sql};

/// Why work inside the database ended early.
#[derive(Debug, thiserror::Error)]
pub enum SqlFault {
    /// The request is refused; nothing is wrong with the store.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The database refused.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// Bytes that were read do not fit what they should be.
    #[error("{table} {key} is damaged: {problem}; run `hivemem doctor`")]
    Damaged {
        /// The table.
        table: &'static str,
        /// Which row of it.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl From<types::Invalid> for SqlFault {
    fn from(invalid: types::Invalid) -> Self {
        SqlFault::Rejected(invalid.into())
    }
}

impl SqlFault {
    /// Whether the disk or the page limit is exhausted.
    pub fn is_full(&self) -> bool {
        match self {
            SqlFault::Sql(error) => error.is_full(),
            _ => false,
        }
    }

    /// Turns the fault into the port's error, and stops the node where the disk can't be trusted.
    pub fn into_store_error(self, doing: &'static str) -> StoreError {
        match self {
            SqlFault::Rejected(reject) => StoreError::Rejected(reject),
            SqlFault::Sql(error) if error.is_away() => {
                tracing::warn!(%error, doing, "the database cannot be reached");
                unavailable(error.trouble()).into()
            }
            SqlFault::Sql(error) => {
                stop_on_bad_disk(doing, &error);
                StoreError::Failed { doing, cause: error.to_string() }
            }
            damaged @ SqlFault::Damaged { .. } => {
                StoreError::Failed { doing, cause: damaged.to_string() }
            }
        }
    }
}

/// The refusal while the database does not do what it is asked, and why.
pub(crate) fn unavailable(trouble: &str) -> Reject {
    let detail = format!("the store's database {trouble}; nothing was kept: try again");
    Reject::new(Reason::StorageUnavailable, detail).with("retry_after_ms", 1000)
}

/// Stops the node when `error` says that the disk failed (`SQL-2`).
pub(crate) fn stop_on_bad_disk(doing: &str, error: &sql::Error) {
    let bad = matches!(
        error.sqlite_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
        )
    );
    if bad {
        runtime::fatal::stop_node(&format!("the store failed while {doing}: {error}"));
    }
}
