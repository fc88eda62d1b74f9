//! The methods SQLite calls on the VFS itself: open, delete, exists, names, time and chance.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libsqlite3_sys as ffi;
use runtime::disk::{Disk, OpenMode};

use super::files::{FILE_METHODS, OpenFile, SqliteFile};
use super::{Node, code};

/// Julian day of the Unix epoch, in milliseconds.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

/// Longest path SQLite may ask for, in bytes.
const MAX_PATH_BYTES: c_int = 1024;

/// The record to register; `pAppData` is left for the caller to fill.
pub(super) fn methods(name: &CString) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<SqliteFile>() as c_int,
        mxPathname: MAX_PATH_BYTES,
        pNext: std::ptr::null_mut(),
        zName: name.as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// The node behind a VFS.
///
/// # Safety
/// `vfs` must be a registered VFS of this module; SQLite passes no other to these methods.
unsafe fn node<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Node {
    // SAFETY: `register` stored the address of the node, which outlives its registration.
    unsafe { &*(*vfs).pAppData.cast::<Node>() }
}

/// A path from SQLite, `None` if it is null (an anonymous file) or not UTF-8.
///
/// # Safety
/// `name` must be null or a terminated string that lives as long as the result is used.
unsafe fn path<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, and terminated as the caller promises.
    unsafe { CStr::from_ptr(name) }.to_str().ok().map(Path::new)
}

fn open_mode(flags: c_int) -> OpenMode {
    let set = |flag| flags & flag != 0;
    match (set(ffi::SQLITE_OPEN_CREATE), set(ffi::SQLITE_OPEN_EXCLUSIVE)) {
        (true, true) => OpenMode::CreateNew,
        (true, false) => OpenMode::OpenOrCreate,
        (false, _) if set(ffi::SQLITE_OPEN_READONLY) => OpenMode::ReadOnly,
        (false, _) => OpenMode::Existing,
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    /// Files whose first sync also syncs their directory.
    const JOURNALS: c_int =
        ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    // SAFETY: SQLite passes a registered VFS, a null or terminated name, room for one
    // `SqliteFile` (`szOsFile`), and a null or valid address for the flags.
    unsafe {
        let file = file.cast::<SqliteFile>();
        // No methods means: do not close what was not opened.
        (*file).base.pMethods = std::ptr::null();
        let node = node(vfs);
        let path = path(name);
        let mode = open_mode(flags);
        let opened = match path {
            Some(path) => node.disk.open_file(path, mode),
            None => node.disk.open_anonymous(),
        };
        let Ok(disk_file) = opened else { return ffi::SQLITE_CANTOPEN };
        if let Some(path) = path
            && flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0
        {
            // A failure leaves a file behind, which is what happens on a real disk too.
            let _ = node.disk.remove(path);
        }
        let coordination = node.coordination_of(disk_file.epoch(), disk_file.inode());
        let directory_to_sync = path
            .filter(|_| mode.creates() && flags & JOURNALS != 0)
            .and_then(Path::parent)
            .map(Path::to_path_buf);
        let holder = node.next_connection.fetch_add(1, Ordering::Relaxed);
        // The node is kept alive by an `Arc` whose address `pAppData` is.
        let address: *const Node = node;
        Arc::increment_strong_count(address);
        let node = Arc::from_raw(address);
        let opened = OpenFile::new(node, disk_file, coordination, holder, directory_to_sync);
        (*file).open = Box::into_raw(Box::new(opened));
        (*file).base.pMethods = &FILE_METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: SQLite passes a registered VFS and a terminated name.
    let (node, path) = unsafe { (node(vfs), path(name)) };
    let Some(path) = path else { return ffi::SQLITE_IOERR_DELETE };
    match node.disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return ffi::SQLITE_IOERR_DELETE_NOENT;
        }
        Err(_) => return ffi::SQLITE_IOERR_DELETE,
    }
    match path.parent() {
        Some(dir) if sync_dir != 0 => code(node.disk.sync_dir(dir), ffi::SQLITE_IOERR_DIR_FSYNC),
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a registered VFS and a terminated name.
    let (node, path) = unsafe { (node(vfs), path(name)) };
    let Some(path) = path else { return ffi::SQLITE_IOERR_ACCESS };
    let Ok(len) = node.disk.file_len(path) else { return ffi::SQLITE_IOERR_ACCESS };
    // As on Unix: an empty file does not "exist", which is how SQLite skips an empty journal.
    let yes = len.is_some_and(|bytes| flags != ffi::SQLITE_ACCESS_EXISTS || bytes > 0);
    // SAFETY: SQLite passes a valid address for the answer.
    unsafe { *out = c_int::from(yes) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    capacity_bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a terminated name and a separate buffer of `capacity_bytes`.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > usize::try_from(capacity_bytes).unwrap_or(0) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(
    vfs: *mut ffi::sqlite3_vfs,
    count: c_int,
    out: *mut c_char,
) -> c_int {
    let len = usize::try_from(count).unwrap_or(0);
    // SAFETY: SQLite passes a registered VFS and a buffer of `count` bytes.
    let (node, buffer) =
        unsafe { (node(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), len)) };
    let mut generator = node.generator.lock();
    for byte in buffer {
        *byte = generator.next_u64() as u8;
    }
    count
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: SQLite passes a registered VFS.
    let node = unsafe { node(vfs) };
    // The simulation has one thread: sleeping here would stop every node.
    node.disk.owe(Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)));
    microseconds
}

unsafe extern "C" fn current_time_ms(
    vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes a registered VFS and a valid address for the answer.
    unsafe { *out = julian_ms(node(vfs)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes a registered VFS and a valid address for the answer.
    unsafe { *out = julian_ms(node(vfs)) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

fn julian_ms(node: &Node) -> i64 {
    let unix_ms = i64::try_from((node.unix_ms)()).unwrap_or(0);
    unix_ms.saturating_add(UNIX_EPOCH_JULIAN_MS)
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
