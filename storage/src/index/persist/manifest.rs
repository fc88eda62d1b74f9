//! What a generation consists of: its place in the store's history, and the files that hold it.
//!
//! The manifest is the only file whose name is fixed. Replacing it by rename is what publishes a generation; files it
//! does not name are leftovers.

use bytes::Bytes;

use super::wire::{Decoder, Encoder};
use super::{
    StoreIdentity,
    container::{self, Kind, Refused},
};

/// A stored group of attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupEntry {
    pub(super) name: String,
    pub(super) checksum: u64,
    pub(super) stamp: u64,
    /// The living bits: they change without the columns changing.
    pub(super) alive: Vec<u64>,
}

/// A stored run of neighbouring segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentsEntry {
    pub(super) name: String,
    pub(super) checksum: u64,
    pub(super) stamps: Vec<u64>,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) store: StoreIdentity,
    pub(super) lineage: u64,
    pub(super) position: u64,
    pub(super) slots: u32,
    /// In slot order.
    pub(super) groups: Vec<GroupEntry>,
    /// In slot order.
    pub(super) segments: Vec<SegmentsEntry>,
}

impl Manifest {
    /// The names of all files of the generation.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let groups = self.groups.iter().map(|entry| entry.name.as_str());
        groups.chain(self.segments.iter().map(|entry| entry.name.as_str()))
    }

    /// The bytes of the manifest's file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder(self.store.to_vec());
        out.u64(self.lineage);
        out.u64(self.position);
        out.u32(self.slots);
        // Both lists have one entry per 65,536 slots, plus one.
        out.u32(self.groups.len() as u32);
        for entry in &self.groups {
            out.text(&entry.name);
            out.u64(entry.checksum);
            out.u64(entry.stamp);
            out.u64s(&entry.alive);
        }
        out.u32(self.segments.len() as u32);
        for entry in &self.segments {
            out.text(&entry.name);
            out.u64(entry.checksum);
            out.u64s(&entry.stamps);
        }
        let section = Bytes::from(out.0);
        let (mut file, _) = container::header(Kind::Manifest, std::slice::from_ref(&section));
        file.extend_from_slice(&section);
        file
    }

    /// Reads a manifest's file.
    pub(super) fn decode(file: &Bytes) -> Result<Self, Refused> {
        let sections = container::open(file, Kind::Manifest, None)?;
        let [section] = sections.as_slice() else {
            return Err(Refused::Damaged("a manifest has one section"));
        };
        fields(section).ok_or(Refused::Damaged("the manifest's fields do not fit its length"))
    }
}

fn fields(section: &[u8]) -> Option<Manifest> {
    let mut from = Decoder(section);
    let store = from.take(16)?.try_into().ok()?;
    let (lineage, position, slots) = (from.u64()?, from.u64()?, from.u32()?);
    let mut groups = Vec::new();
    for _ in 0..from.count(24)? {
        groups.push(GroupEntry {
            name: from.text()?,
            checksum: from.u64()?,
            stamp: from.u64()?,
            alive: from.u64s()?,
        });
    }
    let mut segments = Vec::new();
    for _ in 0..from.count(16)? {
        segments.push(SegmentsEntry {
            name: from.text()?,
            checksum: from.u64()?,
            stamps: from.u64s()?,
        });
    }
    from.is_done().then_some(Manifest { store, lineage, position, slots, groups, segments })
}
