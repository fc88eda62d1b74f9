//! Where an entry stands on the disk.

/// Where an entry's record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Offset of the record in bytes.
    pub(super) offset: u64,
    /// Bytes of the record.
    pub(super) bytes: u64,
}
