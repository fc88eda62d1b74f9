//! Reading a generation back: all of it checked, or a reason.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use runtime::disk::Mapping;

use super::super::{
    attributes::{group::GROUP_SLOTS, group::Group, stored},
    lexical::segment::{Sections, Segment},
    recall_index::RecallIndex,
    snapshot::Snapshot,
    writer::Writer,
};
use super::{
    IndexFolder, MANIFEST,
    container::{self, Kind, Refused},
    manifest::{GroupEntry, Manifest, SegmentsEntry},
    wire::Decoder,
};

/// What a stored index turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// Intact. Changes of the store after its position are missing and must be applied.
    Loaded(Box<Loaded>),
    /// There is none.
    Missing,
    /// Intact, but of another store, another format, or a history the store no longer has.
    Stale {
        /// What does not fit.
        why: String,
    },
    /// Damaged or unreadable.
    Corrupt {
        /// Which file, and what is wrong with it.
        why: String,
    },
}

/// An index read from disk.
#[derive(Debug)]
pub struct Loaded {
    /// The index, ready to search and to apply changes after `position`.
    pub index: RecallIndex,
    /// The store's position it reflects.
    pub position: u64,
}

/// A mapping as the owner of shared bytes.
struct Mapped(Mapping);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn open(folder: &IndexFolder, store_position: u64) -> Opened {
    let manifest = match folder.disk().map(&folder.path(MANIFEST)) {
        Ok(mapping) => Manifest::decode(&Bytes::from_owner(Mapped(mapping))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Opened::Missing,
        Err(error) => return Opened::Corrupt { why: format!("{MANIFEST}: {error}") },
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(refused) => return refusal(MANIFEST, &refused),
    };
    if manifest.store != folder.store {
        return Opened::Stale { why: "the index belongs to another database".to_owned() };
    }
    if manifest.position > store_position {
        let position = manifest.position;
        let why = format!("the index is at position {position}, the database at {store_position}");
        return Opened::Stale { why };
    }
    match read(folder, &manifest) {
        Ok(snapshot) => {
            let stamps = manifest.segments.iter().flat_map(|entry| entry.stamps.iter());
            let stamps = stamps.chain(manifest.groups.iter().map(|entry| &entry.stamp));
            let writer = Writer::resume(&snapshot, stamps.max().copied().unwrap_or(0));
            *folder.published.lock() = Some(manifest);
            let position = snapshot.position;
            let index = RecallIndex::from_writer(writer);
            Opened::Loaded(Box::new(Loaded { index, position }))
        }
        Err((name, refused)) => refusal(&name, &refused),
    }
}

fn refusal(name: &str, refused: &Refused) -> Opened {
    match refused {
        Refused::OtherVersion(version) => {
            let ours = container::FORMAT_VERSION;
            Opened::Stale {
                why: format!("{name} has format {version}, this program writes {ours}"),
            }
        }
        Refused::Damaged(what) => Opened::Corrupt { why: format!("{name}: {what}") },
    }
}

type Failed = (String, Refused);

fn read(folder: &IndexFolder, manifest: &Manifest) -> Result<Snapshot, Failed> {
    let damaged = |what| (MANIFEST.to_owned(), Refused::Damaged(what));
    let mut groups = Vec::with_capacity(manifest.groups.len());
    for entry in &manifest.groups {
        groups.push(Arc::new(read_group(folder, entry)?));
    }
    let mut segments = Vec::new();
    for entry in &manifest.segments {
        segments.extend(read_segments(folder, entry)?.into_iter().map(Arc::new));
    }
    let full = groups.iter().rev().skip(1).all(|group| group.len() == GROUP_SLOTS);
    let grouped: u64 = groups.iter().map(|group| u64::from(group.len())).sum();
    if !full || grouped != u64::from(manifest.slots) {
        return Err(damaged("the attributes do not cover the slots"));
    }
    let ends = segments
        .iter()
        .try_fold(0, |end, segment| (segment.first == end).then(|| end + segment.slots));
    if ends != Some(manifest.slots) {
        return Err(damaged("the postings do not cover the slots"));
    }
    let alive =
        |group: &Arc<Group>| group.alive().iter().map(|word| word.count_ones()).sum::<u32>();
    let live: u32 = groups.iter().map(alive).sum();
    Ok(Snapshot {
        lineage: manifest.lineage,
        position: manifest.position,
        slots: manifest.slots,
        dead: manifest.slots - live,
        groups,
        segments,
    })
}

/// Maps a file and checks all of it.
fn sections(
    folder: &IndexFolder,
    name: &str,
    kind: Kind,
    checksum: u64,
) -> Result<Vec<Bytes>, Failed> {
    let file = folder.disk().map(&folder.path(name)).map_err(|error| {
        (
            format!("{name} ({error})"),
            Refused::Damaged("the manifest names it, but it cannot be read"),
        )
    })?;
    let file = Bytes::from_owner(Mapped(file));
    container::open(&file, kind, Some(checksum)).map_err(|refused| (name.to_owned(), refused))
}

fn read_group(folder: &IndexFolder, entry: &GroupEntry) -> Result<Group, Failed> {
    let sections = sections(folder, &entry.name, Kind::Attributes, entry.checksum)?;
    let group = match sections.as_slice() {
        [columns] => stored::decode(columns, entry.alive.clone(), entry.stamp),
        _ => None,
    };
    group.ok_or_else(|| (entry.name.clone(), Refused::Damaged("the columns do not fit together")))
}

fn read_segments(folder: &IndexFolder, entry: &SegmentsEntry) -> Result<Vec<Segment>, Failed> {
    let sections = sections(folder, &entry.name, Kind::Segments, entry.checksum)?;
    let segments = sections.split_first().and_then(|(table, arrays)| {
        let mut table = Decoder(table);
        let mut segments = Vec::new();
        for arrays in arrays.chunks(5) {
            let [terms, ends, peaks, locals, impacts] = arrays else { return None };
            let (first, slots, stamp) = (table.u32()?, table.u32()?, table.u64()?);
            let arrays = Sections {
                terms: terms.clone(),
                ends: ends.clone(),
                peaks: peaks.clone(),
                locals: locals.clone(),
                impacts: impacts.clone(),
            };
            segments.push(Segment::from_parts(first, slots, stamp, arrays)?);
        }
        let stamps = segments.iter().map(|segment| segment.stamp);
        (table.is_done() && stamps.eq(entry.stamps.iter().copied())).then_some(segments)
    });
    segments.ok_or_else(|| (entry.name.clone(), Refused::Damaged("the arrays do not fit together")))
}
