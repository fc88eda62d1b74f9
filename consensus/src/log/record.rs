//! A record: one change of the log as it stands in a segment.
//!
//! ```text
//!  0  magic      u32   every number is little-endian
//!  4  length     u32   of the payload in bytes
//!  8  salt       u64   of the segment; a recycled file's old records have another
//! 16  synced_to  u64   offset up to which the segment was known to be durable when this was written
//! 24  index      u64   of the id, 0 if there is none
//! 32  term       u64   of the id, 0 if there is none
//! 40  0          u64
//! 48  kind       u32
//! 52  flags      u32   bit 0: there is an id
//! 56  previous   u32   checksum of the record before, or of the segment's head
//! 60  checksum   u32   CRC-32C of bytes 0..60 and of the payload with its padding
//! 64  payload, padded with zeros to a multiple of 8
//! ```
//!
//! Invariants: `LOG-1` a record is accepted only after the record whose checksum it names, so no
//! record can be missing, repeated or left over from an earlier use of the file. `LOG-2` a record
//! proves on its own, without its neighbours, what was durable before it: that is how a torn tail is
//! told from damage.
//!
//! The layout is fixed by the version in the segment's head. Not here: files (`segment`), order
//! (`recover`).

use bytes::Bytes;

use super::id::EntryId;

const MAGIC: u32 = u32::from_le_bytes(*b"hlr1");
/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 64;
/// Records begin at multiples of this.
pub(super) const ALIGN_BYTES: usize = 8;
const HAS_ID: u32 = 1;

/// One change of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The next entry.
    Entry {
        /// Its name.
        id: EntryId,
        /// What it says; opaque here.
        payload: Bytes,
    },
    /// Entries behind this one are gone; `None`: all are.
    Truncate {
        /// The entry that becomes the last.
        after: Option<EntryId>,
    },
    /// Entries up to this one are gone, because a snapshot contains them.
    Purge {
        /// The newest entry to go.
        upto: EntryId,
    },
    /// What is known to be committed.
    Committed {
        /// The newest such entry.
        id: Option<EntryId>,
    },
    /// Nothing; the record only proves that what is before it was durable.
    Mark,
}

impl Change {
    fn kind(&self) -> u32 {
        match self {
            Change::Entry { .. } => 1,
            Change::Truncate { .. } => 2,
            Change::Purge { .. } => 3,
            Change::Committed { .. } => 4,
            Change::Mark => 5,
        }
    }

    fn id(&self) -> Option<EntryId> {
        match self {
            Change::Entry { id, .. } => Some(*id),
            Change::Purge { upto } => Some(*upto),
            Change::Truncate { after: id } | Change::Committed { id } => *id,
            Change::Mark => None,
        }
    }

    fn payload(&self) -> &[u8] {
        if let Change::Entry { payload, .. } = self { payload } else { &[] }
    }

    fn from_parts(kind: u32, id: Option<EntryId>, payload: &[u8]) -> Option<Self> {
        Some(match (kind, id) {
            (1, Some(id)) => Change::Entry { id, payload: Bytes::copy_from_slice(payload) },
            (2, after) => Change::Truncate { after },
            (3, Some(upto)) => Change::Purge { upto },
            (4, id) => Change::Committed { id },
            (5, None) => Change::Mark,
            _ => return None,
        })
    }

    /// Bytes it takes in a segment.
    pub(super) fn stored_bytes(&self) -> u64 {
        stored_bytes(self.payload().len()) as u64
    }
}

fn stored_bytes(payload_bytes: usize) -> usize {
    HEAD_BYTES + payload_bytes.next_multiple_of(ALIGN_BYTES)
}

/// What ties a record to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of the segment.
    pub(super) salt: u64,
    /// Offset up to which the segment was durable.
    pub(super) synced_to: u64,
    /// Checksum of the record before.
    pub(super) previous: u32,
}

/// Appends a record to `out` and gives its checksum.
pub(super) fn encode(frame: Frame, change: &Change, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    let (id, payload) = (change.id(), change.payload());
    let parts = id.map_or([0; 3], |id| [id.index, id.term, 0]);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    // A payload is bounded by the size of a segment, which `Options::check` keeps below 4 GiB.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    for number in [frame.salt, frame.synced_to].into_iter().chain(parts) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let flags = if id.is_some() { HAS_ID } else { 0 };
    for number in [change.kind(), flags, frame.previous, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(payload);
    out.resize(start + stored_bytes(payload.len()), 0);
    let checksum = checksum(&out[start..]);
    out[start + 60..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..60]), &record[HEAD_BYTES..])
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) frame: Frame,
    pub(super) change: Change,
    pub(super) checksum: u32,
    /// Bytes it takes.
    pub(super) bytes: u64,
}

/// Reads the record at the start of `bytes`, checked against its own checksum only. The error is
/// what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, &'static str> {
    let head = bytes.get(..HEAD_BYTES).ok_or("no room for a record")?;
    if u32_at(head, 0) != MAGIC {
        return Err("no record begins here");
    }
    let payload_bytes = u32_at(head, 4) as usize;
    let total = stored_bytes(payload_bytes);
    let record = bytes.get(..total).ok_or("the record is longer than the segment")?;
    let stored = u32_at(head, 60);
    if checksum(record) != stored {
        return Err("the checksum does not match");
    }
    let (kind, flags) = (u32_at(head, 48), u32_at(head, 52));
    let id = EntryId { index: u64_at(head, 24), term: u64_at(head, 32) };
    let id = match flags {
        HAS_ID => Some(id),
        0 => None,
        _ => return Err("unknown flags"),
    };
    let payload = &record[HEAD_BYTES..HEAD_BYTES + payload_bytes];
    let change = Change::from_parts(kind, id, payload).ok_or("unknown kind of record")?;
    let frame =
        Frame { salt: u64_at(head, 8), synced_to: u64_at(head, 16), previous: u32_at(head, 56) };
    Ok(Record { frame, change, checksum: stored, bytes: total as u64 })
}

/// Whether a record of the segment with this salt may begin here: cheap, before [`decode`].
pub(super) fn may_begin(bytes: &[u8], salt: u64) -> bool {
    bytes.len() >= HEAD_BYTES && u32_at(bytes, 0) == MAGIC && u64_at(bytes, 8) == salt
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { salt: 7, synced_to: 512, previous: 9 };

    fn samples() -> Vec<Change> {
        let id = EntryId { term: 3, index: 40 };
        vec![
            Change::Entry { id, payload: Bytes::from_static(b"thirteen byte") },
            Change::Entry { id, payload: Bytes::new() },
            Change::Truncate { after: Some(id) },
            Change::Truncate { after: None },
            Change::Purge { upto: id },
            Change::Committed { id: Some(id) },
            Change::Mark,
        ]
    }

    #[test]
    fn every_change_comes_back() {
        for change in samples() {
            let mut bytes = Vec::new();
            let checksum = encode(FRAME, &change, &mut bytes);
            let length = bytes.len() as u64;
            assert_eq!(length, change.stored_bytes());
            bytes.extend_from_slice(&[0xff; 20]);
            let record = decode(&bytes).unwrap();
            assert_eq!(record, Record { frame: FRAME, change, checksum, bytes: length });
        }
    }

    #[test]
    fn every_single_bit_counts() {
        for change in samples() {
            let mut bytes = Vec::new();
            encode(FRAME, &change, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bytes).is_err(), "{change:?} with bit {bit} flipped");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!((0..bytes.len()).all(|cut| decode(&bytes[..cut]).is_err()));
        }
    }
}
