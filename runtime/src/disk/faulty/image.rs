//! Files and names, each as a current image, a durable image and the effects between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Number of a file, independent of its names.
pub type Inode = u64;

/// Position of an effect in the order of the whole disk.
pub(super) type Sequence = u64;

/// A change of one file's content.
#[derive(Debug)]
pub(super) enum Effect {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl Effect {
    pub(super) fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Effect::Write { offset, data } => put(image, *offset, data),
            Effect::SetLen(len) => image.resize(*len, 0),
        }
    }
}

/// Stores `data` at `offset`, filling a gap with zeros.
pub(super) fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// The page cache: what reads see.
    pub(super) current: Vec<u8>,
    /// What survives a power cut.
    pub(super) durable: Vec<u8>,
    /// Unsynced effects, oldest first.
    pub(super) pending: Vec<(Sequence, Effect)>,
    /// Handles of the current boot.
    pub(super) open: u32,
    /// Unix permission bits; kept, not enforced, never lost.
    pub(super) mode: u32,
}

impl File {
    pub(super) fn new(mode: u32) -> Self {
        File { current: Vec::new(), durable: Vec::new(), pending: Vec::new(), open: 0, mode }
    }

    /// An honest sync.
    pub(super) fn persist(&mut self) {
        for (_, effect) in self.pending.drain(..) {
            effect.apply(&mut self.durable);
        }
    }
}

/// A change of one name.
#[derive(Clone, Debug)]
pub(super) enum NameEffect {
    Link { path: PathBuf, inode: Inode },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, inode: Inode },
    RenameDir { from: PathBuf, to: PathBuf },
}

impl NameEffect {
    fn apply(self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            NameEffect::Link { path, inode } => {
                names.insert(path, inode);
            }
            NameEffect::Unlink { path } => {
                names.remove(&path);
            }
            NameEffect::Rename { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
            NameEffect::RenameDir { from, to } => {
                let moved: Vec<PathBuf> =
                    names.keys().filter(|path| path.starts_with(&from)).cloned().collect();
                for path in moved {
                    let rest = path.strip_prefix(&from).map(|rest| to.join(rest));
                    if let (Some(inode), Ok(path)) = (names.remove(&path), rest) {
                        names.insert(path, inode);
                    }
                }
            }
        }
    }

    /// Whether a sync of `dir` persists it. A rename between directories is one journal entry: the
    /// sync of either persists both sides.
    fn concerns(&self, dir: &Path) -> bool {
        match self {
            NameEffect::Link { path, .. } | NameEffect::Unlink { path } => holds(dir, path),
            NameEffect::Rename { from, to, .. } | NameEffect::RenameDir { from, to } => {
                holds(dir, from) || holds(dir, to)
            }
        }
    }

    fn inode(&self) -> Option<Inode> {
        match self {
            NameEffect::Link { inode, .. } | NameEffect::Rename { inode, .. } => Some(*inode),
            NameEffect::Unlink { .. } | NameEffect::RenameDir { .. } => None,
        }
    }
}

/// Whether `path` lies directly in `dir`; both in normal form.
pub(super) fn holds(dir: &Path, path: &Path) -> bool {
    path.parent() == Some(dir)
}

/// All names of the disk.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) current: BTreeMap<PathBuf, Inode>,
    durable: BTreeMap<PathBuf, Inode>,
    pending: Vec<(Sequence, NameEffect)>,
}

impl Names {
    pub(super) fn change(&mut self, sequence: Sequence, effect: NameEffect) {
        effect.clone().apply(&mut self.current);
        self.pending.push((sequence, effect));
    }

    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn pending_sequences(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.pending.iter().map(|(sequence, _)| *sequence)
    }

    /// An honest directory sync. A directory that was renamed takes along what happened in it before.
    pub(super) fn persist(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending);
        let moved = pending.iter().filter_map(|(sequence, effect)| match effect {
            NameEffect::RenameDir { from, .. } if effect.concerns(dir) => Some((*sequence, from)),
            _ => None,
        });
        let moved: Vec<(Sequence, PathBuf)> = moved.map(|(at, from)| (at, from.clone())).collect();
        let goes_along = |at: Sequence, effect: &NameEffect| {
            moved.iter().any(|(later, from)| at < *later && effect.concerns(from))
        };
        let (synced, left) = pending
            .into_iter()
            .partition(|(at, effect)| effect.concerns(dir) || goes_along(*at, effect));
        self.pending = left;
        let synced: Vec<(Sequence, NameEffect)> = synced;
        for (_, effect) in synced {
            effect.apply(&mut self.durable);
        }
    }

    /// A power cut that keeps the oldest `kept` unsynced changes: names go through a journal on
    /// real file systems, so what survives is an ordered prefix. Returns what was lost.
    pub(super) fn cut(&mut self, kept: usize) -> Vec<NameEffect> {
        let mut pending = std::mem::take(&mut self.pending);
        let lost = pending.split_off(kept.min(pending.len()));
        for (_, effect) in pending {
            effect.apply(&mut self.durable);
        }
        self.current.clone_from(&self.durable);
        lost.into_iter().map(|(_, effect)| effect).collect()
    }

    /// Every file that some name leads to, or may lead to after a cut.
    pub(super) fn reachable(&self) -> impl Iterator<Item = Inode> + '_ {
        let pending = self.pending.iter().filter_map(|(_, effect)| effect.inode());
        self.current.values().chain(self.durable.values()).copied().chain(pending)
    }
}
