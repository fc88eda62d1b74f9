//! The shape all stored files share: a checked header, then checked sections.
//!
//! ```text
//! magic 8 | version u32 | kind u32 | sections u32 | zero u32 | (length u64, checksum u64) per section | checksum u64
//! section bytes, one after another, to the end of the file
//! ```
//!
//! The last checksum of the header covers the header; section checksums stand in it, so that one 64-bit number (kept
//! in the manifest) vouches for every byte of a file. All numbers are little-endian, checksums XXH64.
//!
//! Invariant: what [`open`] returns is bit for bit what [`header`] described; nothing is looked at before it was
//! checked.

use bytes::Bytes;

use super::super::hash::xxh64;
use super::wire::{Decoder, Encoder};

const MAGIC: &[u8; 8] = b"hivemIDX";
/// Raised by any change of a layout or of the analysis behind stored terms. Another version is stale, not corrupt.
pub(super) const FORMAT_VERSION: u32 = 1;
const CHECKSUM_SEED: u64 = 0x6869_7665;
const FIXED_BYTES: usize = 24;
const ENTRY_BYTES: usize = 16;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest = 1,
    Attributes = 2,
    Segments = 3,
}

/// Why bytes are not the file they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// Intact, but of another format version.
    OtherVersion(u32),
    /// Not what was written.
    Damaged(&'static str),
}

/// The header for these sections, and the checksum that vouches for the file.
pub(super) fn header(kind: Kind, sections: &[Bytes]) -> (Vec<u8>, u64) {
    let mut out = Encoder(MAGIC.to_vec());
    out.u32(FORMAT_VERSION);
    out.u32(kind as u32);
    // A file has a handful of sections per segment and some hundred segments at most.
    out.u32(sections.len() as u32);
    out.u32(0);
    for section in sections {
        out.u64(section.len() as u64);
        out.u64(xxh64(CHECKSUM_SEED, section));
    }
    let checksum = xxh64(CHECKSUM_SEED, &out.0);
    out.u64(checksum);
    (out.0, checksum)
}

/// The sections of a file, all of it checked. `vouched` is the file's checksum where one is known from elsewhere.
pub(super) fn open(file: &Bytes, kind: Kind, vouched: Option<u64>) -> Result<Vec<Bytes>, Refused> {
    let damaged = Refused::Damaged;
    let fixed = file.get(..FIXED_BYTES).ok_or(damaged("the file is shorter than its header"))?;
    let mut fields = Decoder(fixed);
    let (magic, version) = (fields.take(8), fields.u32().unwrap_or(0));
    let (found, count) = (fields.u32(), fields.u32().unwrap_or(0) as usize);
    let table_end = count.checked_mul(ENTRY_BYTES).map(|bytes| bytes.saturating_add(FIXED_BYTES));
    let header = table_end.and_then(|end| file.get(..end));
    let header = header.ok_or(damaged("the section table is cut off"))?;
    let stored = file.get(header.len()..header.len() + 8);
    let stored = stored.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let checksum = xxh64(CHECKSUM_SEED, header);
    if stored != Some(checksum) || magic != Some(MAGIC.as_slice()) {
        return Err(damaged("the header does not match its checksum"));
    }
    if version != FORMAT_VERSION {
        return Err(Refused::OtherVersion(version));
    }
    if found != Some(kind as u32) || vouched.is_some_and(|vouched| vouched != checksum) {
        return Err(damaged("the file is not the one the manifest names"));
    }
    let mut table = Decoder(&header[FIXED_BYTES..]);
    let mut at = header.len() + 8;
    let mut sections = Vec::with_capacity(count);
    while let (Some(len), Some(checksum)) = (table.u64(), table.u64()) {
        let end = usize::try_from(len).ok().and_then(|len| at.checked_add(len));
        let end = end.filter(|end| *end <= file.len()).ok_or(damaged("a section is cut off"))?;
        let section = file.slice(at..end);
        if xxh64(CHECKSUM_SEED, &section) != checksum {
            return Err(damaged("a section does not match its checksum"));
        }
        sections.push(section);
        at = end;
    }
    if at != file.len() {
        return Err(damaged("the file is longer than its sections"));
    }
    Ok(sections)
}
