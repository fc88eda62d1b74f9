//! What the vector index refuses or fails at, and what it finds wrong in its files.
//!
//! A [`Finding`] is not an error: the index is derived, so a bad file is dropped, named, and what it held is asked for
//! again.

use std::fmt;

use super::super::Slot;
use super::space::Space;

/// A refused argument, or a failed write of the derived files. None of them harms what the index already serves.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// The vector has another number of numbers than the space.
    #[error(
        "the vector has {got} dimensions, this index has {expected}: embed it with the index's model"
    )]
    Dimension {
        /// Dimension of the index.
        expected: u16,
        /// Numbers in the vector.
        got: usize,
    },
    /// The vector was made by another model or version.
    #[error(
        "the vector is of {} {}, this index holds {} {}: re-embed it, spaces are never mixed",
        got.model, got.version, expected.model, expected.version
    )]
    SpaceMismatch {
        /// Space of the index.
        expected: Space,
        /// Space of the vector.
        got: Space,
    },
    /// The space's dimension cannot be indexed.
    #[error("dimension {dimension} is outside 1 to {max}")]
    DimensionRange {
        /// The refused dimension.
        dimension: u16,
        /// The largest one.
        max: u16,
    },
    /// All numbers are zero: the vector has no direction.
    #[error("the vector is zero and has no direction")]
    Zero,
    /// A number is infinite or not a number.
    #[error("number {at} of the vector is not finite")]
    NotFinite {
        /// Position of the first such number.
        at: usize,
    },
    /// The slot is beyond what an index can address.
    #[error("slot {slot} is beyond the largest slot {max}")]
    SlotRange {
        /// The refused slot.
        slot: Slot,
        /// The largest one.
        max: Slot,
    },
    /// A derived file could not be read, written or removed. The index goes on in memory.
    #[error("vector index file {name}: {source}")]
    File {
        /// Name of the file inside the index's folder.
        name: String,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// The graph library refused. The sign-bit scan serves on.
    #[error("graph of the vector index: {reason}")]
    Graph {
        /// What it said.
        reason: String,
    },
}

/// Why a file of the index was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// Shorter than its header, or a section lies outside it.
    Truncated,
    /// Not a file of this index, or of another kind than its name says.
    Foreign,
    /// Written by another version of the format.
    FormatVersion,
    /// Holds vectors of another space.
    OtherSpace,
    /// Belongs to another assignment of slots.
    OtherLineage,
    /// A checksum does not match: bytes changed after they were written.
    Checksum,
    /// Intact, but made for other rows than are there.
    Unfitting,
    /// The disk could not read it.
    Unreadable,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::Foreign => "not a file of this index",
            Self::FormatVersion => "written by another format version",
            Self::OtherSpace => "of another embedding model, version or dimension",
            Self::OtherLineage => "of another slot assignment",
            Self::Checksum => "checksum mismatch",
            Self::Unfitting => "does not fit the rows",
            Self::Unreadable => "unreadable",
        })
    }
}

/// A file that was dropped. Its rows, if it held any, are absent until they are added again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the file inside the index's folder.
    pub file: String,
    /// Why it was dropped.
    pub fault: FileFault,
}
