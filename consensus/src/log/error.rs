//! Why the log refuses.
//!
//! Invariant: an error that reports damage names the segment and the offset, and says that nothing
//! was changed.
//!
//! Not here: what the node does about it. The rule is: do not vote, do not truncate, report, repair
//! from a peer.

use std::io;

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. After this the log is poisoned.
    #[error("the log's disk failed: {0}")]
    Io(#[from] io::Error),
    /// What should be there is not what was written. Nothing was changed.
    #[error(
        "the log is damaged in {file} at byte {offset}: {problem}. Nothing was changed; this \
         member must not vote. Keep the files, and repair it from a peer: remove its log folder \
         and let it join again as a new member"
    )]
    Damaged {
        /// Name of the file within the log's folder.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The files were written by a newer build. Nothing was changed.
    #[error("{file} has format version {found}, this build reads {known}: use a newer hivemem")]
    Newer {
        /// Name of the file.
        file: String,
        /// Version found.
        found: u32,
        /// Newest version this build reads.
        known: u32,
    },
    /// The files belong to another cluster or another member. Nothing was changed.
    #[error("the log belongs to {found}, not to {expected}: point this member at its own folder")]
    Foreign {
        /// Whose they are.
        found: String,
        /// Who opened them.
        expected: String,
    },
    /// An earlier error left the log in an unknown state; only a restart can tell which.
    #[error("the log is poisoned by an earlier error: {cause}")]
    Poisoned {
        /// The earlier error.
        cause: String,
    },
    /// The caller broke a rule of the log. Nothing was changed.
    #[error("the log refuses: {problem}")]
    Refused {
        /// Which rule, and how.
        problem: String,
    },
}

impl LogError {
    pub(crate) fn damaged(
        file: impl Into<String>,
        offset: u64,
        problem: impl Into<String>,
    ) -> Self {
        Self::Damaged { file: file.into(), offset, problem: problem.into() }
    }

    pub(crate) fn refused(problem: impl Into<String>) -> Self {
        Self::Refused { problem: problem.into() }
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}
