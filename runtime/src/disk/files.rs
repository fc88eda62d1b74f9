//! Whole-file operations built from the seam, the same on every disk.

use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, OpenMode, parent_dir};

/// Bytes moved per step of [`copy`].
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Replaces the content of `path` so that a crash at any moment leaves the old or the new content,
/// never a mixture: temporary file, sync, rename, directory sync. `mode` is set before the first
/// byte is written, so that a secret is never readable by others.
///
/// On success the new content is durable. On error `path` is untouched, or already new if only the
/// final directory sync failed; a leftover `*.tmp` is replaced by the next call.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_name(path);
    remove_if_exists(disk, &temporary)?;
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    disk.set_mode(&temporary, mode)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent_dir(path))
}

/// The whole content of a file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::ReadOnly)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Copies `from` into the new file `to` and syncs its content. The new *name* is durable only
/// after [`Disk::sync_dir`]. Returns the number of bytes.
pub fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<u64> {
    let source = disk.open(from, OpenMode::ReadOnly)?;
    let target = disk.open(to, OpenMode::CreateNew)?;
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let read = source.read_at(offset, &mut chunk)?;
        if read == 0 {
            break;
        }
        target.write_at(offset, &chunk[..read])?;
        offset += read as u64;
    }
    target.sync()?;
    Ok(offset)
}

/// Removes a file that may not be there. Returns whether it was.
pub fn remove_if_exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pays the simulated time that `disk` owes. Call it after a group of blocking disk calls and
/// before acknowledging what they did; free on a real disk.
pub async fn settle_latency(disk: &dyn Disk) {
    let owed = disk.take_latency();
    if !owed.is_zero() {
        crate::clock::sleep(owed).await;
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
