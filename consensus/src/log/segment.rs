//! A segment: one file of the log, allocated at once, opened by a head.
//!
//! ```text
//!   0  magic "hivelog\0"
//!   8  version        u32
//!  12  0              u32
//!  16  cluster        16 bytes
//!  32  number         u64   segments are numbered without gaps
//!  40  salt           u64   random; ties records to this use of the file
//!  48  previous_end   u64   where the segment before ends, 0 for the first
//!  56  previous       u32   checksum of its last record
//!  60  0              u32
//!  64  purged, last, committed: each a flag, index, term, 0; u64
//! 160  file_bytes     u64   size of the file; one that is shorter was cut
//! 168  zeros
//! 508  checksum       u32   CRC-32C of bytes 0..508
//! ```
//!
//! Invariants: `LOG-3` a head is durable before the file gets the name of a segment, so a named
//! segment with a bad head is damage, never a torn write. `LOG-4` a head carries the bounds of the log
//! at its beginning, so older segments can go. Magic, version and checksum keep their places in all
//! versions.
//!
//! Not here: records (`record`).

use std::{path::Path, sync::Arc};

use runtime::disk::{Disk, DiskFile, OpenMode};

use super::{
    LogError,
    id::{Bounds, EntryId},
    record::{u32_at, u64_at},
};

/// Version of heads and records that this build writes.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record.
pub(super) const HEAD_BYTES: u64 = 512;
const HEAD: usize = HEAD_BYTES as usize;
const MAGIC: [u8; 8] = *b"hivelog\0";
const SUFFIX: &str = ".seg";
const SPARE_PREFIX: &str = "spare-";
/// Bytes written per step while a file is filled.
const FILL_BYTES: u64 = 1 << 20;

/// Permissions of a segment's file.
pub(super) const MODE: u32 = 0o600;

/// Name of a segment's file.
pub(super) fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number of the segment with this name; `None` for other files.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Name of a file kept ready to become a segment.
pub(super) fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number:020}")
}

/// The number of a spare file; `None` for other files.
pub(super) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix(SPARE_PREFIX)?.parse().ok()
}

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) cluster: [u8; 16],
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) previous_end: u64,
    pub(super) previous: u32,
    pub(super) bounds: Bounds,
    /// Size of the file.
    pub(super) file_bytes: u64,
}

impl Head {
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = Vec::with_capacity(HEAD);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&u64::from(VERSION).to_le_bytes());
        out.extend_from_slice(&self.cluster);
        let previous = u64::from(self.previous);
        for number in [self.number, self.salt, self.previous_end, previous] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for id in [self.bounds.purged, self.bounds.last, self.bounds.committed] {
            let parts = id.map_or([0; 4], |id| [1, id.index, id.term, 0]);
            out.extend(parts.into_iter().flat_map(u64::to_le_bytes));
        }
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.resize(HEAD - 4, 0);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Reads the head of segment `number` and gives it with its checksum.
    pub(super) fn decode(bytes: &[u8], number: u64) -> Result<(Self, u32), LogError> {
        let file = name(number);
        let Some(head) = bytes.get(..HEAD) else {
            return Err(LogError::damaged(file, 0, "the file is too short for a head"));
        };
        let checksum = u32_at(head, HEAD - 4);
        if head[..8] != MAGIC || crc32c::crc32c(&head[..HEAD - 4]) != checksum {
            return Err(LogError::damaged(file, 0, "the head is not readable"));
        }
        let version = u32_at(head, 8);
        if version != VERSION {
            return Err(LogError::Newer { file, found: version, known: VERSION });
        }
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&head[16..32]);
        let read = Head {
            cluster,
            number: u64_at(head, 32),
            salt: u64_at(head, 40),
            previous_end: u64_at(head, 48),
            previous: u32_at(head, 56),
            bounds: Bounds {
                purged: optional_id(&head[64..96]),
                last: optional_id(&head[96..128]),
                committed: optional_id(&head[128..160]),
            },
            file_bytes: u64_at(head, 160),
        };
        if read.number != number {
            let problem = format!("the head says segment {}", read.number);
            return Err(LogError::damaged(file, 0, problem));
        }
        Ok((read, checksum))
    }
}

fn optional_id(bytes: &[u8]) -> Option<EntryId> {
    let id = EntryId { index: u64_at(bytes, 8), term: u64_at(bytes, 16) };
    (u64_at(bytes, 0) == 1).then_some(id)
}

/// Makes a durable spare file of `bytes` zeros: written, not only sized, so that later writes need
/// no space and change no metadata.
pub(super) fn prepare_spare(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    bytes: u64,
) -> Result<(), LogError> {
    let temporary = dir.join(format!("{}.tmp", spare_name(number)));
    runtime::disk::remove_if_exists(disk, &temporary)?;
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    let zeros = vec![0; FILL_BYTES.min(bytes) as usize];
    let mut offset = 0;
    while offset < bytes {
        let part = (bytes - offset).min(zeros.len() as u64);
        file.write_at(offset, &zeros[..part as usize])?;
        offset += part;
    }
    file.sync()?;
    drop(file);
    disk.rename(&temporary, &dir.join(spare_name(number)))?;
    disk.sync_dir(dir)?;
    Ok(())
}

/// Turns a spare into a segment: head, sync, name, directory sync (`LOG-3`). Gives the file and the
/// checksum of the head.
pub(super) fn begin(
    disk: &dyn Disk,
    dir: &Path,
    spare: u64,
    head: &Head,
) -> Result<(Arc<dyn DiskFile>, u32), LogError> {
    let (bytes, checksum) = head.encode();
    let from = dir.join(spare_name(spare));
    let file = disk.open(&from, OpenMode::Existing)?;
    file.write_at(0, &bytes)?;
    file.sync()?;
    disk.rename(&from, &dir.join(name(head.number)))?;
    disk.sync_dir(dir)?;
    Ok((Arc::from(file), checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let id = |index| Some(EntryId { term: 2, index });
        let bounds = Bounds { purged: id(4), last: id(9), committed: None };
        let file_bytes = 64 << 10;
        Head {
            cluster: [7; 16],
            number: 5,
            salt: 11,
            previous_end: 4000,
            previous: 99,
            bounds,
            file_bytes,
        }
    }

    #[test]
    fn a_head_comes_back_and_every_bit_counts() {
        let (mut bytes, checksum) = head().encode();
        assert_eq!(bytes.len() as u64, HEAD_BYTES);
        assert_eq!(Head::decode(&bytes, 5).unwrap(), (head(), checksum));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Head::decode(&bytes, 5), Err(LogError::Damaged { .. })), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let (mut bytes, _) = head().encode();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..HEAD - 4]);
        bytes[HEAD - 4..].copy_from_slice(&checksum.to_le_bytes());
        let refused = Head::decode(&bytes, 5).unwrap_err();
        assert!(matches!(refused, LogError::Newer { found: 2, known: 1, .. }), "{refused}");
    }

    #[test]
    fn only_segments_have_names_of_segments() {
        assert_eq!(number(&name(12)), Some(12));
        assert_eq!(spare_number(&spare_name(3)), Some(3));
        for other in ["vote", "12.seg", "spare-00000000000000000003", "x0000000000000000012.seg"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
