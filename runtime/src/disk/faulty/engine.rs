//! The state of a faulty disk and what all of its operations share: the boot epoch, the fault rules
//! and the trace hash. The operations themselves are in `tree` (names) and `content` (bytes), the
//! power cut in `power`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::generator::Generator;
use super::image::{File, Inode, NameEffect, Names, Sequence};
use super::rules::{Fault, Kind, Rules};
use super::stats::Stats;

/// Kinds of events in the trace hash.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Open = 1,
    Write,
    Resize,
    Sync,
    SyncDir,
    Remove,
    Rename,
    Cut,
}

/// An open file of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) inode: Inode,
    pub(super) epoch: u64,
}

/// The whole state of one disk.
pub(super) struct Engine {
    pub(super) files: BTreeMap<Inode, File>,
    pub(super) names: Names,
    pub(super) dirs: BTreeSet<PathBuf>,
    /// Lock files held, with the boot that took them.
    pub(super) locks: BTreeMap<PathBuf, u64>,
    pub(super) next_inode: Inode,
    pub(super) last_sequence: Sequence,
    pub(super) epoch: u64,
    pub(super) is_off: bool,
    pub(super) generator: Generator,
    pub(super) rules: Rules,
    pub(super) capacity_bytes: u64,
    pub(super) owed: Duration,
    pub(super) sqlite_vfs: Option<String>,
    trace: u64,
    pub(super) stats: Stats,
}

pub(super) fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// FNV-1a over bytes.
fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl Engine {
    pub(super) fn new(seed: u64) -> Self {
        Engine {
            files: BTreeMap::new(),
            names: Names::default(),
            dirs: [PathBuf::new(), PathBuf::from("/")].into(),
            locks: BTreeMap::new(),
            next_inode: 1,
            last_sequence: 0,
            epoch: 1,
            is_off: false,
            generator: Generator::new(seed ^ 0xd15c),
            rules: Rules::default(),
            capacity_bytes: u64::MAX,
            owed: Duration::ZERO,
            sqlite_vfs: None,
            trace: 0xcbf2_9ce4_8422_2325,
            stats: Stats::default(),
        }
    }

    pub(super) fn note(&mut self, tag: Tag, a: u64, b: u64) {
        for value in [tag as u64, a, b] {
            self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.names.current.iter().fold(self.trace, |hash, (path, inode)| {
            let hash = hash_bytes(hash, path.as_os_str().as_encoded_bytes());
            let file = &self.files[inode];
            hash_bytes(hash_bytes(hash, &file.current), &file.durable)
        })
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.current.len() as u64).sum()
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        if self.is_off { Err(os_error(libc::EIO)) } else { Ok(()) }
    }

    pub(super) fn alive(&self, handle: Handle) -> io::Result<()> {
        if self.is_off || handle.epoch != self.epoch { Err(os_error(libc::EIO)) } else { Ok(()) }
    }

    /// The file behind a live handle.
    pub(super) fn file(&mut self, handle: Handle) -> &mut File {
        self.files.get_mut(&handle.inode).expect("an open handle keeps its file")
    }

    /// Asks the rules about one operation; the faults that simply refuse it become its error.
    pub(super) fn judge(&mut self, kind: Kind, path: &Path) -> io::Result<Option<Fault>> {
        let verdict = self.rules.judge(kind, path, &mut self.generator);
        if let Some(time) = verdict.slow {
            self.owed += time;
            self.stats.count_fault(Fault::SyncSlow(time).name());
        }
        if let Some(fault) = verdict.fault {
            self.stats.count_fault(fault.name());
        }
        match verdict.fault {
            Some(Fault::ReadEio | Fault::WriteEio) => Err(os_error(libc::EIO)),
            Some(Fault::Enospc) => Err(os_error(libc::ENOSPC)),
            Some(Fault::PowerCut(loss)) if kind == Kind::Name => {
                self.cut(loss);
                Err(os_error(libc::EIO))
            }
            fault => Ok(fault),
        }
    }

    pub(super) fn change_name(&mut self, effect: NameEffect) {
        self.last_sequence += 1;
        self.stats.name_changes += 1;
        self.names.change(self.last_sequence, effect);
    }

    /// Forgets files that no name and no handle leads to.
    pub(super) fn collect(&mut self) {
        let reachable: BTreeSet<Inode> = self.names.reachable().collect();
        self.files.retain(|inode, file| file.open > 0 || reachable.contains(inode));
    }
}
