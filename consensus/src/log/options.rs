//! How a log is set up.
//!
//! Invariant: a record always fits an empty segment, because payloads are at most a quarter of one.

use super::LogError;

/// Sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of a segment file in bytes, a multiple of 512 from 4 KiB to 1 GiB; allocated at once.
    pub segment_bytes: u64,
    /// Payloads of recent entries kept in memory, in bytes. Entries that are not yet on the disk are
    /// kept on top of that.
    pub cache_bytes: u64,
    /// Segments kept ready for use, new or recycled.
    pub spares_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, cache_bytes: 8 << 20, spares_max: 2 }
    }
}

impl LogOptions {
    /// Largest payload of one entry, in bytes.
    pub fn payload_bytes_max(&self) -> u64 {
        self.segment_bytes / 4
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        let fits = (4 << 10..=1 << 30).contains(&self.segment_bytes);
        if fits && self.segment_bytes.is_multiple_of(512) {
            return Ok(());
        }
        Err(LogError::refused(format!(
            "a segment of {} bytes: it must be a multiple of 512 from 4 KiB to 1 GiB",
            self.segment_bytes
        )))
    }
}
