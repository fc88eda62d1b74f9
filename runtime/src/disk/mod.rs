//! The disk seam: everything a node keeps outside SQLite is read and written through [`Disk`].
//!
//! Calls block. The real disk is therefore called from a [`crate::worker`] or through
//! [`crate::blocking`]; the simulated disk answers at once and *owes* the time it would have
//! taken, which the async caller pays with [`settle_latency`] before it acknowledges anything.
//!
//! Rules every implementation keeps and every caller may rely on:
//! * `DISK-1`: bytes are durable after [`DiskFile::sync`] returned `Ok`, names (create, rename,
//!   remove) after [`Disk::sync_dir`] of their directory did. Nothing else is durable.
//! * `DISK-2`: after an error of `sync` the file's unsynced content is unknown and a later `sync`
//!   proves nothing. Never retry it: discard the file or stop the node.
//! * `DISK-3`: [`Disk::list`] is sorted.
//! * `DISK-4`: files are created readable and writable by their owner alone (mode 0600, folders
//!   0700); [`Disk::set_mode`] may widen that.
//!
//! Deliberately not here: buffering, append cursors, checksums and formats. Those belong to the
//! callers, who know what a torn tail means to them.

mod error;
#[cfg(any(test, feature = "faulty-disk"))]
pub mod faulty;
mod files;
mod mapping;
mod os;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::DiskError;
pub(crate) use error::in_context;
pub use files::{copy, read_all, remove_if_exists, settle_latency, write_atomically};
pub use mapping::Mapping;
pub use os::OsDisk;

/// A shared handle to one node's disk.
pub type DiskRef = Arc<dyn Disk>;

/// How [`Disk::open`] treats a file that is, or is not, there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist; only reads are allowed.
    ReadOnly,
    /// The file must exist; reads and writes.
    Existing,
    /// The file must not exist yet; it is created empty.
    CreateNew,
    /// Opened if it exists, created empty if not.
    OpenOrCreate,
}

impl OpenMode {
    /// Whether a missing file is created.
    pub fn creates(self) -> bool {
        matches!(self, OpenMode::CreateNew | OpenMode::OpenOrCreate)
    }
}

/// What [`Disk::metadata`] knows about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Length of the file; 0 for a directory.
    pub len_bytes: u64,
    /// Unix permission bits, `0o000..=0o7777`.
    pub mode: u32,
    /// Whether the path is a directory.
    pub is_dir: bool,
}

/// An exclusive lock between processes; released when dropped, and by the system when the process
/// dies.
pub struct LockGuard {
    _held: Box<dyn Send + Sync>,
}

impl LockGuard {
    /// Wraps whatever must stay alive for the lock to be held.
    pub(crate) fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}

/// One node's disk. Paths are used as given; every error carries a [`DiskError`] that names the
/// operation and the path, and keeps the [`io::ErrorKind`] of its cause.
pub trait Disk: Send + Sync {
    /// Opens a file. A new name is durable only after [`Disk::sync_dir`] of its directory.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file, replacing `to` if it exists. Atomic; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; durable after `sync_dir`. Open handles keep reading the content.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted. A name that is not UTF-8 appears with replacement
    /// characters, so it matches none of ours.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory and its missing parents. The new directories are durable on return.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Whether a file or directory of that name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Length, permissions and kind.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Sets the Unix permission bits.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that an unprivileged process may still write to the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Maps a whole file for reading. Mapped files must be replaced by rename, never written to
    /// or cut: the mapping shows, or faults on, what is in the file now.
    fn map(&self, path: &Path) -> io::Result<Mapping>;

    /// Takes an exclusive lock between processes on `path`, which is created if missing, without
    /// waiting. [`io::ErrorKind::WouldBlock`] means another process holds it; the message names
    /// its process id when known.
    fn lock_exclusive(&self, path: &Path) -> io::Result<LockGuard>;

    /// The name under which SQLite reaches this same disk; `None` is SQLite's own default.
    fn sqlite_vfs(&self) -> Option<String>;

    /// Simulated time owed by the operations since the last call; always zero on a real disk,
    /// whose calls have already taken their time.
    fn take_latency(&self) -> Duration;
}

/// An open file. Offsets and lengths are in bytes. Closed when dropped, without a sync.
#[allow(clippy::len_without_is_empty)] // A fallible length; emptiness is not a question callers ask.
pub trait DiskFile: Send + Sync {
    /// Current length.
    fn len(&self) -> io::Result<u64>;

    /// Reads from `offset`; fewer bytes than asked for means the end of the file was reached.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`, growing the file; a gap reads as zeros.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;

    /// Makes content and length durable (`fdatasync`). See rule `DISK-2` about errors.
    fn sync(&self) -> io::Result<()>;
}

/// The directory that holds `path`; `.` for a bare name.
pub(crate) fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
