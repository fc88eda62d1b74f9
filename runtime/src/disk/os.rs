//! [`OsDisk`]: the disk seam on the operating system's files.
//!
//! Keeps `DISK-1` to `DISK-4`. Deliberately not here: a root folder, retries, caching.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Disk, DiskFile, DiskRef, LockGuard, Mapping, Metadata, OpenMode};
use super::{in_context, parent_dir};

/// Permissions of every file this crate creates: the owner's alone.
const FILE_MODE: u32 = 0o600;
/// Permissions of every directory this crate creates.
const DIR_MODE: u32 = 0o700;

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl OsDisk {
    /// A shared handle, ready to be given to a node.
    pub fn shared() -> DiskRef {
        Arc::new(OsDisk)
    }
}

struct OsFile {
    file: File,
    path: PathBuf,
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::ReadOnly)
            .create(mode == OpenMode::OpenOrCreate)
            .create_new(mode == OpenMode::CreateNew)
            .mode(FILE_MODE)
            .open(path);
        let file = in_context("open", path, file)?;
        Ok(Box::new(OsFile { file, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        in_context("rename", from, fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        in_context("remove", path, fs::remove_file(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<String>>>()
        });
        let mut names = in_context("list", dir, names)?;
        names.sort();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = parent_dir(dir);
        if parent != dir {
            self.create_dir_all(parent)?;
        }
        match fs::DirBuilder::new().mode(DIR_MODE).create(dir) {
            // Somebody else created it in between: what was asked for.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            result => {
                in_context("create directory", dir, result)?;
                self.sync_dir(parent)
            }
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        in_context("look up", path, path.try_exists())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = in_context("read metadata of", path, fs::metadata(path))?;
        let len_bytes = if found.is_dir() { 0 } else { found.len() };
        let mode = found.permissions().mode() & 0o7777;
        Ok(Metadata { len_bytes, mode, is_dir: found.is_dir() })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let permissions = fs::Permissions::from_mode(mode);
        in_context("set permissions of", path, fs::set_permissions(path, permissions))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        in_context("sync directory", dir, File::open(dir).and_then(|d| d.sync_all()))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        in_context("measure free space of", dir, statvfs_available_bytes(dir))
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let file = in_context("open", path, File::open(path))?;
        // SAFETY: a mapping is unsound if another party changes or cuts the file while it is
        // read. The trait's contract forbids both for mapped files, whose every replacement is a
        // rename; a stranger with write access to our folder is outside what a process can defend.
        let map = unsafe { memmap2::Mmap::map(&file) };
        Ok(Mapping::mapped(in_context("map", path, map)?))
    }

    fn lock_exclusive(&self, path: &Path) -> io::Result<LockGuard> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path);
        let mut file = in_context("open lock file", path, file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return in_context("lock", path, Err(held_by_another(&mut file)));
            }
            Err(TryLockError::Error(error)) => return in_context("lock", path, Err(error)),
        }
        // The process id only serves the message of the next one who is refused.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        in_context("write lock file", path, noted)?;
        Ok(LockGuard::new(file))
    }

    fn sqlite_vfs(&self) -> Option<String> {
        None
    }

    fn take_latency(&self) -> Duration {
        Duration::ZERO
    }
}

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        in_context("measure", &self.path, self.file.metadata().map(|m| m.len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return in_context("read", &self.path, Err(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        in_context("write", &self.path, self.file.write_all_at(data, offset))
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        in_context("resize", &self.path, self.file.set_len(len_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        in_context("sync", &self.path, self.file.sync_data())
    }
}

fn held_by_another(file: &mut File) -> io::Error {
    let mut holder = String::new();
    let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
    let who = if known { format!("process {}", holder.trim()) } else { "another process".into() };
    io::Error::new(io::ErrorKind::WouldBlock, format!("{who} holds it; stop that process first"))
}

fn statvfs_available_bytes(dir: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a terminated string that outlives the call and `stat` is a buffer of the
    // size that the call fills; it is read only after the call reported success.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    // The field widths differ between platforms; on 64-bit Linux both are already `u64`.
    #[allow(clippy::unnecessary_cast)]
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

#[cfg(test)]
#[path = "os_tests.rs"]
mod tests;
