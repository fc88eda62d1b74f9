//! The frame of every file of the index: one header page, then page-aligned sections that are used in place.
//!
//! ```text
//! byte 0     magic "HMVECTOR"        8   format u32      12  kind u32
//!      16    ordinal u32            20   rows u32        24  lineage u64
//!      32    space digest           64   centre digest   96  section count u32
//!      104   per section: offset u64, length u64, SHA-256
//!      4064  SHA-256 of the bytes before it
//! ```
//!
//! Invariants: a file is replaced whole (temporary name, sync, rename, sync of the folder), never written in place;
//! every byte that is used is under a checksum. The header is checked when the file is opened; a section is checked by
//! whoever uses it, at once or later ([`Framed::verify`]).
//!
//! Not here: evolution of the format. The files are derived: another format version is a reason to make them anew.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::disk::{DiskRef, OpenMode, remove_if_exists};
use sha2::{Digest, Sha256};

use super::column::FileBytes;
use super::error::{FileFault, Finding, VectorError};

const MAGIC: &[u8; 8] = b"HMVECTOR";
const FORMAT: u32 = 1;
/// Sections begin at multiples of this, so that a mapped one is aligned for any number.
const PAGE_BYTES: usize = 4096;
const DIGEST_AT: usize = PAGE_BYTES - 32;
const SECTIONS_AT: usize = 104;
const SECTION_BYTES: usize = 48;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bit set of written rows, matrix.
    Rows = 1,
    /// Sign codes of one segment.
    Codes = 2,
    /// The mean vector.
    Centre = 3,
    /// Bit set of members, serialised graph.
    Graph = 4,
}

/// What a header says besides the identity of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// What the file holds.
    pub(super) kind: Kind,
    /// Segment number; 0 for files there is one of.
    pub(super) ordinal: u32,
    /// Rows in the file, or rows behind the centre.
    pub(super) rows: u32,
    /// The centre that codes were made with; zeros for other kinds.
    pub(super) centre: [u8; 32],
}

/// An opened file whose header is intact and of this index.
#[derive(Clone)]
pub(super) struct Framed {
    /// The whole file.
    pub(super) bytes: FileBytes,
    /// Its header.
    pub(super) label: Label,
    sections: Vec<(Range<usize>, [u8; 32])>,
}

impl Framed {
    /// Bytes of a section and where it lies in the file; `None` if the file has fewer.
    pub(super) fn section(&self, index: usize) -> Option<(usize, &[u8])> {
        let (range, _) = self.sections.get(index)?;
        Some((range.start, self.bytes.get(range.clone())?))
    }

    /// Whether the section's bytes are those that were written.
    pub(super) fn verify(&self, index: usize) -> bool {
        let Some((range, digest)) = self.sections.get(index) else { return false };
        self.bytes.get(range.clone()).is_some_and(|bytes| digest_of(bytes) == *digest)
    }
}

/// The folder of one index.
pub(super) struct Folder {
    disk: DiskRef,
    dir: PathBuf,
    space: [u8; 32],
    lineage: u64,
}

impl Folder {
    /// The folder `dir` of an index of that identity; created if missing.
    pub(super) fn create(
        disk: DiskRef,
        dir: PathBuf,
        space: [u8; 32],
        lineage: u64,
    ) -> Result<Self, VectorError> {
        disk.create_dir_all(&dir).map_err(failed(&dir.to_string_lossy()))?;
        Ok(Self { disk, dir, space, lineage })
    }

    /// The names in the folder, sorted.
    pub(super) fn list(&self) -> Result<Vec<String>, VectorError> {
        self.disk.list(&self.dir).map_err(failed(&self.dir.to_string_lossy()))
    }

    /// Maps a file and checks its header. `None` if there is no such file.
    pub(super) fn open(&self, name: &str, kind: Kind) -> Result<Option<Framed>, Finding> {
        let found = |fault| Finding { file: name.to_owned(), fault };
        match self.disk.map(&self.dir.join(name)) {
            Ok(bytes) => self.parse(Arc::new(bytes), kind).map(Some).map_err(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(found(FileFault::Unreadable)),
        }
    }

    fn parse(&self, bytes: FileBytes, kind: Kind) -> Result<Framed, FileFault> {
        let header = bytes.get(..PAGE_BYTES).ok_or(FileFault::Truncated)?;
        if &header[..8] != MAGIC {
            return Err(FileFault::Foreign);
        }
        if header[DIGEST_AT..] != digest_of(&header[..DIGEST_AT]) {
            return Err(FileFault::Checksum);
        }
        if number(header, 8) != FORMAT {
            return Err(FileFault::FormatVersion);
        }
        if number(header, 12) != kind as u32 {
            return Err(FileFault::Foreign);
        }
        if header[32..64] != self.space {
            return Err(FileFault::OtherSpace);
        }
        if header[24..32] != self.lineage.to_le_bytes() {
            return Err(FileFault::OtherLineage);
        }
        let mut centre = [0; 32];
        centre.copy_from_slice(&header[64..96]);
        let label = Label { kind, ordinal: number(header, 16), rows: number(header, 20), centre };
        let sections = header[SECTIONS_AT..DIGEST_AT]
            .chunks_exact(SECTION_BYTES)
            .take(number(header, 96) as usize)
            .map(|entry| section_entry(entry, bytes.len()))
            .collect::<Option<Vec<_>>>()
            .ok_or(FileFault::Truncated)?;
        Ok(Framed { bytes, label, sections })
    }

    /// Writes a file and makes it durable under its name. On an error the old file, if any, is untouched.
    pub(super) fn write(
        &self,
        name: &str,
        label: Label,
        sections: &[&[u8]],
    ) -> Result<(), VectorError> {
        self.write_parts(name, &self.header(label, sections), sections).map_err(failed(name))
    }

    fn write_parts(&self, name: &str, header: &[u8], sections: &[&[u8]]) -> io::Result<()> {
        let temporary = self.dir.join(format!("{name}.tmp"));
        remove_if_exists(&*self.disk, &temporary)?;
        let file = self.disk.open(&temporary, OpenMode::CreateNew)?;
        file.write_at(0, header)?;
        let mut offset = PAGE_BYTES;
        for section in sections {
            file.write_at(offset as u64, section)?;
            offset = (offset + section.len()).next_multiple_of(PAGE_BYTES);
        }
        file.sync()?;
        drop(file);
        self.disk.rename(&temporary, &self.dir.join(name))?;
        self.disk.sync_dir(&self.dir)
    }

    fn header(&self, label: Label, sections: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![0u8; PAGE_BYTES];
        header[..8].copy_from_slice(MAGIC);
        let numbers = [FORMAT, label.kind as u32, label.ordinal, label.rows];
        for (at, value) in (8..).step_by(4).zip(numbers) {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        header[24..32].copy_from_slice(&self.lineage.to_le_bytes());
        header[32..64].copy_from_slice(&self.space);
        header[64..96].copy_from_slice(&label.centre);
        header[96..100].copy_from_slice(&(sections.len() as u32).to_le_bytes());
        let mut offset = PAGE_BYTES;
        let entries = header[SECTIONS_AT..DIGEST_AT].chunks_exact_mut(SECTION_BYTES);
        for (entry, section) in entries.zip(sections) {
            entry[..8].copy_from_slice(&(offset as u64).to_le_bytes());
            entry[8..16].copy_from_slice(&(section.len() as u64).to_le_bytes());
            entry[16..].copy_from_slice(&digest_of(section));
            offset = (offset + section.len()).next_multiple_of(PAGE_BYTES);
        }
        let digest = digest_of(&header[..DIGEST_AT]);
        header[DIGEST_AT..].copy_from_slice(&digest);
        header
    }

    /// Removes a file if it is there. A name that comes back after a crash is a stale derived file, found at open.
    pub(super) fn remove(&self, name: &str) -> Result<(), VectorError> {
        remove_if_exists(&*self.disk, &self.dir.join(name)).map(drop).map_err(failed(name))
    }
}

fn failed(name: &str) -> impl Fn(io::Error) -> VectorError + '_ {
    move |source| VectorError::File { name: name.to_owned(), source }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The little-endian number at a byte of the header page.
fn number(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn section_entry(entry: &[u8], file_len: usize) -> Option<(Range<usize>, [u8; 32])> {
    let start = usize::try_from(u64::from_le_bytes(entry[..8].try_into().ok()?)).ok()?;
    let len = usize::try_from(u64::from_le_bytes(entry[8..16].try_into().ok()?)).ok()?;
    let end = start.checked_add(len).filter(|end| *end <= file_len)?;
    Some((start..end, entry[16..].try_into().ok()?))
}
