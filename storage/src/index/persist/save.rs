//! Writing a generation, step by step.
//!
//! Each step does a bounded piece of work (encode one part, write up to a megabyte, one sync) and says whether the
//! generation is durable. Dropping a save at any point is safe: its files are leftovers that the next one removes.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use runtime::disk::{DiskFile, OpenMode, write_atomically};

use super::super::{
    attributes::{group::GROUP_SLOTS, group::Group, stored},
    lexical::segment::Segment,
    snapshot::Snapshot,
};
use super::{
    IndexFolder, MANIFEST, SUFFIX,
    container::{self, Kind},
    manifest::{GroupEntry, Manifest, SegmentsEntry},
    wire::Encoder,
};

/// Bytes written per step.
const STEP_BYTES: usize = 1 << 20;
/// Permissions of the manifest: the index holds the words of private memories.
const MANIFEST_MODE: u32 = 0o600;

/// What a finished save did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// The store's position the generation reflects.
    pub position: u64,
    /// Bytes written; parts taken over are not among them.
    pub written_bytes: u64,
}

/// A part still to be written, and where in the manifest it belongs.
enum Part {
    Group(usize, Arc<Group>),
    Segments(usize, Vec<Arc<Segment>>),
}

/// A file being written.
struct Open {
    file: Box<dyn DiskFile>,
    /// What is still to be written, in order.
    left: VecDeque<Bytes>,
    offset: u64,
}

enum Stage {
    Files,
    Names,
    Publish,
    Clean,
}

/// A generation being written.
pub struct Save {
    folder: IndexFolder,
    manifest: Manifest,
    parts: VecDeque<Part>,
    generation: u64,
    files: u32,
    open: Option<Open>,
    stage: Stage,
    written_bytes: u64,
}

pub(super) fn begin(folder: &IndexFolder, snapshot: Arc<Snapshot>) -> io::Result<Save> {
    folder.disk().create_dir_all(folder.dir())?;
    let names = folder.disk().list(folder.dir())?;
    let generation = names.iter().filter_map(|name| generation_of(name)).max().unwrap_or(0) + 1;
    let published = folder.published.lock().clone();
    let known = published.filter(|known| known.lineage == snapshot.lineage);
    let mut manifest = Manifest {
        store: folder.store,
        lineage: snapshot.lineage,
        position: snapshot.position,
        slots: snapshot.slots,
        groups: Vec::new(),
        segments: Vec::new(),
    };
    let mut parts = VecDeque::new();
    for (at, group) in snapshot.groups.iter().enumerate() {
        let old = known.as_ref().and_then(|known| known.groups.get(at));
        let old = old.filter(|old| old.stamp == group.stamp());
        if old.is_none() {
            parts.push_back(Part::Group(at, Arc::clone(group)));
        }
        let (name, checksum) =
            old.map_or_else(Default::default, |old| (old.name.clone(), old.checksum));
        let alive = group.alive().to_vec();
        manifest.groups.push(GroupEntry { name, checksum, stamp: group.stamp(), alive });
    }
    for (at, run) in runs(&snapshot.segments).into_iter().enumerate() {
        let stamps: Vec<u64> = run.iter().map(|segment| segment.stamp).collect();
        let known = known.as_ref().map_or(&[][..], |known| &known.segments);
        let old = known.iter().find(|old| old.stamps == stamps);
        if old.is_none() {
            parts.push_back(Part::Segments(at, run));
        }
        let (name, checksum) =
            old.map_or_else(Default::default, |old| (old.name.clone(), old.checksum));
        manifest.segments.push(SegmentsEntry { name, checksum, stamps });
    }
    Ok(Save {
        folder: folder.clone(),
        manifest,
        parts,
        generation,
        files: 0,
        open: None,
        stage: Stage::Files,
        written_bytes: 0,
    })
}

/// Which segments share a file: a sealed one has its own, since it never changes; neighbours that will still be merged
/// are kept together.
fn runs(segments: &[Arc<Segment>]) -> Vec<Vec<Arc<Segment>>> {
    let sealed = |segment: &Arc<Segment>| segment.slots == GROUP_SLOTS;
    let together = segments.chunk_by(|one, next| !sealed(one) && !sealed(next));
    together.map(<[Arc<Segment>]>::to_vec).collect()
}

/// The generation in a file name of ours: `GENERATION-NUMBER.hmp`.
fn generation_of(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.split_once('-')?.0.parse().ok()
}

impl Save {
    /// Does a bounded piece of the work; `Some` once the generation is durable and the old one's files are gone.
    ///
    /// # Errors
    /// The disk failed. The generation before is intact; drop this save and begin another one later.
    pub fn step(&mut self) -> io::Result<Option<Saved>> {
        let (disk, dir) = (self.folder.disk(), self.folder.dir());
        match self.stage {
            Stage::Files => {
                if let Some(open) = &mut self.open {
                    if open.write()? {
                        self.written_bytes += open.offset;
                        self.open = None;
                    }
                } else if let Some(part) = self.parts.pop_front() {
                    self.create(part)?;
                } else {
                    self.stage = Stage::Names;
                }
            }
            Stage::Names => {
                disk.sync_dir(dir)?;
                self.stage = Stage::Publish;
            }
            Stage::Publish => {
                let bytes = self.manifest.encode();
                self.written_bytes += bytes.len() as u64;
                write_atomically(disk, &self.folder.path(MANIFEST), &bytes, MANIFEST_MODE)?;
                *self.folder.published.lock() = Some(self.manifest.clone());
                self.stage = Stage::Clean;
            }
            Stage::Clean => {
                self.remove_leftovers()?;
                let (position, written_bytes) = (self.manifest.position, self.written_bytes);
                return Ok(Some(Saved { position, written_bytes }));
            }
        }
        Ok(None)
    }

    /// Encodes a part and creates its file.
    fn create(&mut self, part: Part) -> io::Result<()> {
        let name = format!("{:012}-{:04}{SUFFIX}", self.generation, self.files);
        self.files += 1;
        let (kind, sections) = match &part {
            Part::Group(_, group) => (Kind::Attributes, vec![stored::encode(group).into()]),
            Part::Segments(_, run) => (Kind::Segments, segment_sections(run)),
        };
        let (header, checksum) = container::header(kind, &sections);
        let file = self.folder.disk().open(&self.folder.path(&name), OpenMode::CreateNew)?;
        let left = std::iter::once(Bytes::from(header)).chain(sections).collect();
        self.open = Some(Open { file, left, offset: 0 });
        match part {
            Part::Group(at, _) => {
                let entry = &mut self.manifest.groups[at];
                (entry.name, entry.checksum) = (name, checksum);
            }
            Part::Segments(at, _) => {
                let entry = &mut self.manifest.segments[at];
                (entry.name, entry.checksum) = (name, checksum);
            }
        }
        Ok(())
    }

    /// Removes what the published manifest does not name. Open mappings of removed files stay readable.
    fn remove_leftovers(&self) -> io::Result<()> {
        let (disk, dir) = (self.folder.disk(), self.folder.dir());
        let kept: BTreeSet<&str> = self.manifest.names().collect();
        let mut removed = false;
        for name in disk.list(dir)? {
            if generation_of(&name).is_some() && !kept.contains(name.as_str()) {
                disk.remove(&self.folder.path(&name))?;
                removed = true;
            }
        }
        if removed { disk.sync_dir(dir) } else { Ok(()) }
    }
}

impl Open {
    /// Writes up to [`STEP_BYTES`]; once nothing is left, syncs and says so.
    fn write(&mut self) -> io::Result<bool> {
        let mut budget = STEP_BYTES;
        while let Some(piece) = self.left.front_mut() {
            let now = piece.split_to(piece.len().min(budget));
            self.file.write_at(self.offset, &now)?;
            self.offset += now.len() as u64;
            budget -= now.len();
            if piece.is_empty() {
                self.left.pop_front();
            }
            if budget == 0 {
                return Ok(false);
            }
        }
        self.file.sync()?;
        Ok(true)
    }
}

/// A table of the segments, then five arrays of each.
fn segment_sections(run: &[Arc<Segment>]) -> Vec<Bytes> {
    let mut table = Encoder::default();
    for segment in run {
        table.u32(segment.first);
        table.u32(segment.slots);
        table.u64(segment.stamp);
    }
    let mut sections = vec![Bytes::from(table.0)];
    for segment in run {
        let arrays = segment.sections.clone();
        sections.extend([arrays.terms, arrays.ends, arrays.peaks, arrays.locals, arrays.impacts]);
    }
    sections
}

impl std::fmt::Debug for Save {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Save").field("generation", &self.generation).finish_non_exhaustive()
    }
}
