//! Reading a log without opening it: for judging a folder whose member does not run.
//!
//! Invariant: nothing is changed, not even what a torn batch left behind.
//!
//! Not here: writing.

use std::path::Path;

use bytes::Bytes;
use runtime::disk::Disk;

use super::{
    Bounds, EntryId, Identity, LogError, Vote,
    open::{IDENTITY_FILE, read_vote, segment_numbers},
    recover::{proven_to, read_segments},
    sealed::{self, IdentityMessage},
    segment,
};

/// What a log holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Whose it is.
    pub identity: Identity,
    /// What was promised last.
    pub vote: Option<Vote>,
    /// Where it begins and ends.
    pub bounds: Bounds,
    /// All entries, oldest first.
    pub entries: Vec<(EntryId, Bytes)>,
}

/// Reads the log in `dir`; `None` if there is none. Blocks.
///
/// # Errors
/// Any [`LogError`]: damage is told, never passed over.
pub fn look(disk: &dyn Disk, dir: &Path) -> Result<Option<Contents>, LogError> {
    let known: Option<IdentityMessage> = sealed::read(disk, &dir.join(IDENTITY_FILE))?;
    let Some(known) = known else { return Ok(None) };
    let cluster = <[u8; 16]>::try_from(known.cluster.as_slice())
        .map_err(|_| LogError::damaged(IDENTITY_FILE, 0, "the cluster's id has not 16 bytes"))?;
    let numbers = segment_numbers(disk, dir)?;
    if numbers.is_empty() {
        return Err(LogError::damaged(super::segment::name(1), 0, "all segments are missing"));
    }
    let slots = read_segments(disk, dir, cluster, &numbers)?.slots;
    let bounds = slots.bounds();
    let entries = slots.into_items().into_iter().map(|(id, (bytes, _))| (id, bytes)).collect();
    let identity = Identity { cluster, member: known.member };
    Ok(Some(Contents { identity, vote: read_vote(disk, dir)?, bounds, entries }))
}

/// How many of the first bytes of the segment called `name` cannot change unnoticed, because a later
/// record shows that they were durable. What is behind them may look like the remains of a write that a
/// power cut has torn.
///
/// # Errors
/// [`LogError::Refused`]: it is no segment. [`LogError::Damaged`], [`LogError::Newer`]: its head is not
/// readable.
pub fn proven_bytes(name: &str, bytes: &[u8]) -> Result<u64, LogError> {
    let number = segment::number(name)
        .ok_or_else(|| LogError::refused(format!("{name} is no segment's name")))?;
    proven_to(bytes, number)
}
