//! [`FaultyDisk`] behind the disk seam.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Disk, DiskFile, LockGuard, Mapping, Metadata, OpenMode, in_context};
use super::engine::Handle;
use super::image::Inode;
use super::{FaultyDisk, normal};

/// What an unbounded disk reports as free: 1 TiB.
const BOUNDLESS_FREE_BYTES: u64 = 1 << 40;

/// An open file of a faulty disk; belongs to the boot that opened it.
#[derive(Debug)]
pub struct FaultyFile {
    disk: FaultyDisk,
    handle: Handle,
    /// Normal form; empty for an anonymous file.
    path: PathBuf,
    writable: bool,
}

impl FaultyFile {
    /// Number of the file, stable across renames.
    pub fn inode(&self) -> Inode {
        self.handle.inode
    }

    /// The boot this handle belongs to.
    pub fn epoch(&self) -> u64 {
        self.handle.epoch
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.disk.engine().close(self.handle);
    }
}

impl FaultyDisk {
    /// [`Disk::open`], with the concrete file.
    pub fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<FaultyFile> {
        let path = normal(path);
        let opened = self.engine().open(&path, mode);
        let handle = in_context("open", &path, opened)?;
        let writable = mode != OpenMode::ReadOnly;
        Ok(FaultyFile { disk: self.clone(), handle, path, writable })
    }

    /// A temporary file without a name; gone with its last handle.
    pub fn open_anonymous(&self) -> io::Result<FaultyFile> {
        let opened = self.engine().open_anonymous();
        let handle = in_context("create a temporary file in", Path::new(""), opened)?;
        Ok(FaultyFile { disk: self.clone(), handle, path: PathBuf::new(), writable: true })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_file(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let renamed = self.engine().rename(&normal(from), &normal(to));
        in_context("rename", from, renamed)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.engine().remove(&normal(path));
        in_context("remove", path, removed)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.engine().list(&normal(dir));
        in_context("list", dir, names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let created = self.engine().create_dir_all(&normal(dir));
        in_context("create directory", dir, created)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = self.engine().metadata(&normal(path));
        in_context("read metadata of", path, found)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let set = self.engine().set_mode(&normal(path), mode);
        in_context("set permissions of", path, set)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let synced = self.engine().sync_dir(&normal(dir));
        in_context("sync directory", dir, synced)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.metadata(dir)?;
        let engine = self.engine();
        Ok(match engine.capacity_bytes {
            u64::MAX => BOUNDLESS_FREE_BYTES,
            capacity_bytes => capacity_bytes.saturating_sub(engine.used_bytes()),
        })
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        super::super::read_all(self, path).map(|bytes| Mapping::copied(&bytes))
    }

    fn lock_exclusive(&self, path: &Path) -> io::Result<LockGuard> {
        drop(self.open_file(path, OpenMode::OpenOrCreate)?);
        let path = normal(path);
        let mut engine = self.engine();
        if !engine.lock(&path) {
            let who = "another process of this node holds it";
            return in_context("lock", &path, Err(io::Error::new(io::ErrorKind::WouldBlock, who)));
        }
        let epoch = engine.epoch;
        drop(engine);
        Ok(LockGuard::new(HeldLock { disk: self.clone(), path, epoch }))
    }

    fn sqlite_vfs(&self) -> Option<String> {
        self.engine().sqlite_vfs.clone()
    }

    fn take_latency(&self) -> Duration {
        std::mem::take(&mut self.engine().owed)
    }
}

struct HeldLock {
    disk: FaultyDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.engine().unlock(&self.path, self.epoch);
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let len = self.disk.engine().len(self.handle);
        in_context("measure", &self.path, len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.engine().read(self.handle, &self.path, offset, buf);
        in_context("read", &self.path, read)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let written = self
            .check_writable()
            .and_then(|()| self.disk.engine().write(self.handle, &self.path, offset, data));
        in_context("write", &self.path, written)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        let resized = self
            .check_writable()
            .and_then(|()| self.disk.engine().set_len(self.handle, &self.path, len_bytes));
        in_context("resize", &self.path, resized)
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.disk.engine().sync(self.handle, &self.path);
        in_context("sync", &self.path, synced)
    }
}
