//! What a disk error says: which operation, on which path, and why.
//!
//! Invariant: wrapping keeps the [`io::ErrorKind`], so a caller can still tell "not found" and
//! "storage full" from everything else. The operating system's number moves into the source.

use std::io;
use std::path::{Path, PathBuf};

/// The payload of every [`io::Error`] that a [`super::Disk`] returns.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb phrase ("open", "sync", ...).
    pub operation: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// Adds operation and path to a failed call.
pub(crate) fn in_context<T>(
    operation: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> io::Result<T> {
    result.map_err(|source| {
        let kind = source.kind();
        io::Error::new(kind, DiskError { operation, path: path.to_path_buf(), source })
    })
}
