//! Reading a log back after a start, whatever ended the process before.
//!
//! A power cut may leave the last batch in any state: missing, partly there, in any order of sectors.
//! Everything else was durable before that batch began. So the one place where an unreadable record
//! is no damage is the batch at the very end, and a later record tells whether it is that: it says up
//! to where the segment was durable when it was written (`LOG-2`).
//!
//! Invariants: `LOG-7` nothing is changed before everything has been checked. `LOG-8` an unreadable
//! record is cut only if nothing shows that it was once durable; in any other place it refuses, with
//! segment and offset. `LOG-9` what was read is made durable before anybody acts on it, by writing it
//! anew: it may be in nothing but the page cache of a machine whose process died, after a sync that failed
//! even as clean pages.
//!
//! The limit of the method: rot inside the last batch looks like a torn write until a later record
//! proves otherwise. The journal writes such a proof ([`Change::Mark`]) as soon as it has nothing
//! else to do.

use std::path::Path;

use bytes::Bytes;
use runtime::disk::{Disk, OpenMode};
use types::planted;

use super::{
    LogError,
    id::Bounds,
    place::Place,
    record::{self, ALIGN_BYTES, Change, Record},
    segment::{self, HEAD_BYTES, Head},
    slots::Slots,
};

/// What the segments say.
pub(super) struct Recovered {
    pub(super) slots: Slots<(Bytes, Place)>,
    /// Numbers of the segments, oldest first, without gaps; at least one.
    pub(super) segments: Vec<u64>,
    pub(super) tail: Tail,
}

/// Where the next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) number: u64,
    pub(super) salt: u64,
    /// Size of the file.
    pub(super) file_bytes: u64,
    /// Offset of the next record.
    pub(super) end: u64,
    /// Checksum of the last record.
    pub(super) chain: u32,
    /// End of what a torn batch left behind `end`; equal to it if nothing.
    pub(super) torn_end: u64,
}

struct Opened {
    head: Head,
    checksum: u32,
    bytes: Vec<u8>,
}

/// Reads the segments with these numbers, ascending and not empty, and checks them.
pub(super) fn read_segments(
    disk: &dyn Disk,
    dir: &Path,
    cluster: [u8; 16],
    numbers: &[u64],
) -> Result<Recovered, LogError> {
    let mut before: Option<(Tail, Bounds)> = None;
    let mut slots: Option<Slots<(Bytes, Place)>> = None;
    for (position, &number) in numbers.iter().enumerate() {
        let opened = open(disk, dir, cluster, number)?;
        let slots = slots.get_or_insert_with(|| Slots::new(opened.head.bounds));
        check_joint(&opened.head, before)?;
        let is_last = position + 1 == numbers.len();
        // A segment that has a successor ends where the successor says.
        let limit = if is_last { None } else { Some(end_of(disk, dir, cluster, number + 1)?) };
        let tail = scan(&opened, limit, slots)?;
        before = Some((tail, slots.bounds()));
    }
    let (Some(slots), Some((tail, _))) = (slots, before) else {
        return Err(LogError::refused("a log has at least one segment"));
    };
    check_complete(numbers[0], &slots)?;
    Ok(Recovered { slots, segments: numbers.to_vec(), tail })
}

fn open(disk: &dyn Disk, dir: &Path, cluster: [u8; 16], number: u64) -> Result<Opened, LogError> {
    let path = dir.join(segment::name(number));
    if !disk.exists(&path)? {
        return Err(LogError::damaged(segment::name(number), 0, "the segment is missing"));
    }
    let bytes = runtime::disk::read_all(disk, &path)?;
    let (head, checksum) = Head::decode(&bytes, number)?;
    check_cluster(&head, cluster)?;
    if bytes.len() as u64 != head.file_bytes {
        let (found, made) = (bytes.len(), head.file_bytes);
        let problem = format!("the file has {found} bytes and was made with {made}");
        return Err(LogError::damaged(segment::name(number), found as u64, problem));
    }
    Ok(Opened { head, checksum, bytes })
}

fn check_cluster(head: &Head, cluster: [u8; 16]) -> Result<(), LogError> {
    if head.cluster == cluster {
        return Ok(());
    }
    let name = |cluster: [u8; 16]| format!("cluster {:032x}", u128::from_be_bytes(cluster));
    Err(LogError::Foreign { found: name(head.cluster), expected: name(cluster) })
}

fn end_of(disk: &dyn Disk, dir: &Path, cluster: [u8; 16], number: u64) -> Result<u64, LogError> {
    let path = dir.join(segment::name(number));
    let file = disk.open(&path, OpenMode::ReadOnly)?;
    let mut bytes = vec![0; HEAD_BYTES as usize];
    let read = file.read_at(0, &mut bytes)?;
    let (head, _) = Head::decode(&bytes[..read], number)?;
    check_cluster(&head, cluster)?;
    Ok(head.previous_end)
}

/// A head continues what the segment before said at its end.
fn check_joint(head: &Head, before: Option<(Tail, Bounds)>) -> Result<(), LogError> {
    let Some((tail, bounds)) = before else { return Ok(()) };
    if head.previous == tail.chain && head.bounds == bounds {
        return Ok(());
    }
    let problem = format!("the segment does not continue segment {}", tail.number);
    Err(LogError::damaged(segment::name(head.number), 0, problem))
}

/// All living entries are there, although older segments may be gone.
fn check_complete(first_segment: u64, slots: &Slots<(Bytes, Place)>) -> Result<(), LogError> {
    let bounds = slots.bounds();
    let wanted = bounds.next_index().unwrap_or(0).saturating_sub(bounds.first_index());
    if first_segment == 1 || wanted == slots.items().len() as u64 {
        return Ok(());
    }
    let found = slots.items().front().map_or(bounds.next_index(), |(id, _)| Some(id.index));
    let problem = format!(
        "entries from index {} on are missing, the first one there is {}",
        bounds.first_index(),
        found.unwrap_or(0)
    );
    Err(LogError::damaged(segment::name(first_segment), 0, problem))
}

/// Reads the records of one segment, up to `limit` if its end is known.
fn scan(
    opened: &Opened,
    limit: Option<u64>,
    slots: &mut Slots<(Bytes, Place)>,
) -> Result<Tail, LogError> {
    let Opened { head, checksum, bytes } = opened;
    let file = || segment::name(head.number);
    let Head { number, salt, file_bytes, .. } = *head;
    let tail = |end, chain, torn_end| Tail { number, salt, file_bytes, end, chain, torn_end };
    let (mut end, mut chain) = (HEAD_BYTES, *checksum);
    while limit.is_none_or(|limit| end < limit) {
        let record = match next(bytes, end, head.salt, chain) {
            Ok(record) => record,
            Err(problem) => {
                if limit.is_some() {
                    return Err(LogError::damaged(file(), end, problem));
                }
                let torn_end = torn_end(bytes, end, head, problem)?;
                return Ok(tail(end, chain, torn_end));
            }
        };
        let place = Place { segment: head.number, offset: end, bytes: record.bytes };
        let payload = match &record.change {
            Change::Entry { payload, .. } => payload.clone(),
            _ => Bytes::new(),
        };
        slots
            .apply(&record.change, (payload, place))
            .map_err(|error| LogError::damaged(file(), end, error.to_string()))?;
        end += record.bytes;
        chain = record.checksum;
    }
    if limit.is_some_and(|limit| limit != end) {
        return Err(LogError::damaged(file(), end, "the segment ends inside a record"));
    }
    Ok(tail(end, chain, end))
}

/// Offset up to which the readable records of a segment show that it was durable (`LOG-2`).
pub(super) fn proven_to(bytes: &[u8], number: u64) -> Result<u64, LogError> {
    let (head, checksum) = Head::decode(bytes, number)?;
    let (mut end, mut chain, mut proven) = (HEAD_BYTES, checksum, HEAD_BYTES);
    while let Ok(record) = next(bytes, end, head.salt, chain) {
        end += record.bytes;
        chain = record.checksum;
        proven = proven.max(record.frame.synced_to);
    }
    Ok(proven)
}

/// The record that continues the chain at `offset` (`LOG-1`).
fn next(bytes: &[u8], offset: u64, salt: u64, chain: u32) -> Result<Record, &'static str> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let record = record::decode(&bytes[from..])?;
    if record.frame.salt != salt {
        return Err("the record is left over from an earlier use of the file");
    }
    if record.frame.previous != chain {
        return Err("the record does not follow the one before it");
    }
    Ok(record)
}

/// Judges what stands behind the last readable record (`LOG-8`): the end of a torn batch's remains,
/// or damage.
fn torn_end(bytes: &[u8], end: u64, head: &Head, problem: &str) -> Result<u64, LogError> {
    let mut torn_end = end;
    let from = usize::try_from(end).unwrap_or(usize::MAX);
    for at in (from..bytes.len()).step_by(ALIGN_BYTES) {
        if !record::may_begin(&bytes[at..], head.salt) {
            continue;
        }
        let Ok(survivor) = record::decode(&bytes[at..]) else { continue };
        if survivor.frame.synced_to > end && !planted::is_on("crc-truncates") {
            let problem = format!("{problem}, and the record at byte {at} shows that one was here");
            return Err(LogError::damaged(segment::name(head.number), end, problem));
        }
        torn_end = torn_end.max(at as u64 + survivor.bytes);
    }
    Ok(torn_end)
}
