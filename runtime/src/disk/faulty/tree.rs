//! Operations on names: open, remove, rename, list, directories, locks.
//!
//! Paths arrive in normal form, except where a function says otherwise.

use std::io;
use std::path::Path;

use super::super::{Metadata, OpenMode};
use super::engine::{Engine, Handle, Tag, os_error};
use super::image::{File, Inode, NameEffect, holds};
use super::normal;
use super::rules::{Fault, Kind};

/// Permissions of a new file, as rule `DISK-4` says.
const FILE_MODE: u32 = 0o600;
/// Permissions reported for every directory.
const DIR_MODE: u32 = 0o700;

impl Engine {
    pub(super) fn file_len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.powered()?;
        let inode = self.names.current.get(&normal(path));
        Ok(inode.map(|inode| self.files[inode].current.len() as u64))
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<Handle> {
        self.powered()?;
        let inode = match self.names.current.get(path) {
            Some(_) if mode == OpenMode::CreateNew => return Err(os_error(libc::EEXIST)),
            Some(inode) => *inode,
            None if !mode.creates() => return Err(os_error(libc::ENOENT)),
            None => self.create(path)?,
        };
        self.note(Tag::Open, inode, mode as u64);
        self.opened(inode)
    }

    pub(super) fn open_anonymous(&mut self) -> io::Result<Handle> {
        self.powered()?;
        let inode = self.new_file();
        self.opened(inode)
    }

    fn opened(&mut self, inode: Inode) -> io::Result<Handle> {
        let handle = Handle { inode, epoch: self.epoch };
        self.file(handle).open += 1;
        Ok(handle)
    }

    fn create(&mut self, path: &Path) -> io::Result<Inode> {
        if self.dirs.contains(path) {
            return Err(os_error(libc::EISDIR));
        }
        if !self.dirs.iter().any(|dir| holds(dir, path)) {
            return Err(os_error(libc::ENOENT));
        }
        self.judge(Kind::Name, path)?;
        let inode = self.new_file();
        self.change_name(NameEffect::Link { path: path.to_path_buf(), inode });
        Ok(inode)
    }

    fn new_file(&mut self) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, File::new(FILE_MODE));
        inode
    }

    pub(super) fn close(&mut self, handle: Handle) {
        if handle.epoch != self.epoch {
            return;
        }
        let file = self.file(handle);
        file.open -= 1;
        if file.open == 0 {
            self.collect();
        }
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.powered()?;
        let inode = *self.names.current.get(path).ok_or_else(|| os_error(libc::ENOENT))?;
        self.judge(Kind::Name, path)?;
        self.note(Tag::Remove, inode, 0);
        self.change_name(NameEffect::Unlink { path: path.to_path_buf() });
        self.collect();
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.powered()?;
        if !self.dirs.iter().any(|dir| holds(dir, to)) {
            return Err(os_error(libc::ENOENT));
        }
        if self.dirs.contains(from) {
            return self.rename_dir(from, to);
        }
        let inode = *self.names.current.get(from).ok_or_else(|| os_error(libc::ENOENT))?;
        self.judge(Kind::Name, to)?;
        self.note(Tag::Rename, inode, 0);
        if from != to {
            let (from, to) = (from.to_path_buf(), to.to_path_buf());
            self.change_name(NameEffect::Rename { from, to, inode });
            self.collect();
        }
        Ok(())
    }

    /// A directory without directories in it, to a name that nothing has.
    fn rename_dir(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.dirs.contains(to) || self.names.current.contains_key(to) {
            return Err(os_error(libc::EEXIST));
        }
        if self.dirs.iter().any(|dir| holds(from, dir)) {
            return Err(os_error(libc::ENOTEMPTY));
        }
        self.judge(Kind::Name, to)?;
        self.note(Tag::Rename, 0, 0);
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        self.dirs.remove(&from);
        self.dirs.insert(to.clone());
        self.change_name(NameEffect::RenameDir { from, to });
        Ok(())
    }

    /// Undoes what directories were called by changes that a power cut has lost.
    pub(super) fn call_back(&mut self, lost: &[NameEffect]) {
        for effect in lost.iter().rev() {
            if let NameEffect::RenameDir { from, to } = effect {
                self.dirs.remove(to);
                self.dirs.insert(from.clone());
            }
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.powered()?;
        if !self.dirs.contains(dir) {
            return Err(os_error(libc::ENOENT));
        }
        let paths = self.names.current.keys().chain(&self.dirs).filter(|path| holds(dir, path));
        let mut names: Vec<String> = paths
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.powered()?;
        if self.dirs.contains(dir) {
            return Ok(());
        }
        if dir.ancestors().any(|part| self.names.current.contains_key(part)) {
            return Err(os_error(libc::ENOTDIR));
        }
        self.judge(Kind::Name, dir)?;
        self.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.powered()?;
        if let Some(inode) = self.names.current.get(path) {
            let file = &self.files[inode];
            let len_bytes = file.current.len() as u64;
            return Ok(Metadata { len_bytes, mode: file.mode, is_dir: false });
        }
        if self.dirs.contains(path) {
            return Ok(Metadata { len_bytes: 0, mode: DIR_MODE, is_dir: true });
        }
        Err(os_error(libc::ENOENT))
    }

    pub(super) fn set_mode(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.powered()?;
        match self.names.current.get(path).and_then(|inode| self.files.get_mut(inode)) {
            Some(file) => file.mode = mode,
            None if self.dirs.contains(path) => {}
            None => return Err(os_error(libc::ENOENT)),
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.powered()?;
        if !self.dirs.contains(dir) {
            return Err(os_error(libc::ENOENT));
        }
        match self.judge(Kind::Sync, dir)? {
            Some(Fault::SyncLie) => return Ok(()),
            // The names stay unsynced; a later sync may still persist them.
            Some(Fault::SyncEio) => return Err(os_error(libc::EIO)),
            Some(Fault::PowerCut(loss)) => {
                self.cut(loss);
                return Err(os_error(libc::EIO));
            }
            _ => {}
        }
        self.stats.dir_syncs += 1;
        self.note(Tag::SyncDir, self.names.pending_len() as u64, 0);
        self.names.persist(dir);
        self.collect();
        Ok(())
    }

    /// Takes a lock for the current boot; `false` if it is held.
    pub(super) fn lock(&mut self, path: &Path) -> bool {
        let held = self.locks.get(path) == Some(&self.epoch);
        if !held {
            self.locks.insert(path.to_path_buf(), self.epoch);
        }
        !held
    }

    pub(super) fn unlock(&mut self, path: &Path, epoch: u64) {
        if self.locks.get(path) == Some(&epoch) {
            self.locks.remove(path);
        }
    }

    pub(super) fn tamper(&mut self, path: &Path, alter: impl Fn(&mut Vec<u8>)) -> bool {
        let inode = self.names.current.get(&normal(path));
        let Some(file) = inode.and_then(|inode| self.files.get_mut(inode)) else { return false };
        alter(&mut file.current);
        alter(&mut file.durable);
        true
    }

    pub(super) fn content(&self, path: &Path) -> Option<&[u8]> {
        let inode = self.names.current.get(&normal(path))?;
        Some(&self.files[inode].current)
    }
}
