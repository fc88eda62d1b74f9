//! The methods SQLite calls on an open file: bytes, locks, WAL index.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use libsqlite3_sys as ffi;
use runtime::disk::faulty::FaultyFile;
use runtime::disk::{Disk, DiskFile};

use super::locks::{Holder, WalHold};
use super::{Node, SharedCoordination, code};

/// What SQLite tells about sectors: its own default for file systems.
const SECTOR_BYTES: c_int = 4096;

/// The methods of every file of this VFS. Version 2: no `xFetch`, so no read escapes the faults.
pub(super) static FILE_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The memory SQLite reserves per file: its own header, then ours.
#[repr(C)]
pub(super) struct SqliteFile {
    pub(super) base: ffi::sqlite3_file,
    pub(super) open: *mut OpenFile,
}

/// Our side of one open file.
pub(super) struct OpenFile {
    node: Arc<Node>,
    file: FaultyFile,
    coordination: Arc<SharedCoordination>,
    holder: Holder,
    /// The file-lock level held.
    level: c_int,
    wal: WalHold,
    /// Set until the first sync of a new journal or WAL.
    directory_to_sync: Option<PathBuf>,
}

impl OpenFile {
    pub(super) fn new(
        node: Arc<Node>,
        file: FaultyFile,
        coordination: Arc<SharedCoordination>,
        holder: Holder,
        directory_to_sync: Option<PathBuf>,
    ) -> Self {
        let level = ffi::SQLITE_LOCK_NONE;
        let wal = WalHold::default();
        OpenFile { node, file, coordination, holder, level, wal, directory_to_sync }
    }

    fn sync(&mut self) -> c_int {
        if let Err(error) = self.file.sync() {
            return code(Err(error), ffi::SQLITE_IOERR_FSYNC);
        }
        if let Some(dir) = self.directory_to_sync.take() {
            // The Unix VFS ignores this error, and so must a faithful model (VFS-2); but a
            // machine that has just lost power does not answer at all.
            let failed = self.node.disk.sync_dir(&dir).is_err();
            if failed && self.node.disk.is_off() {
                return ffi::SQLITE_IOERR_FSYNC;
            }
        }
        ffi::SQLITE_OK
    }
}

/// Our side of a file.
///
/// # Safety
/// `file` must have been filled by `open` and not been closed, and the result must be the only
/// one: SQLite calls the methods of one file one at a time.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: `open` stored a leaked box there.
    unsafe { &mut *(*file.cast::<SqliteFile>()).open }
}

/// Offsets and sizes from SQLite, which are never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn length(value: c_int) -> usize {
    usize::try_from(value).unwrap_or(0)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file that `open` filled, once, as its last call.
    let mut open = unsafe { Box::from_raw((*file.cast::<SqliteFile>()).open) };
    let OpenFile { coordination, holder, level, wal, .. } = &mut *open;
    let mut shared = coordination.lock();
    shared.wal_index.unmap(wal);
    shared.file.unlock(*holder, level, ffi::SQLITE_LOCK_NONE);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open file and a buffer of `count` bytes.
    let (open, buffer) = unsafe {
        (opened(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length(count)))
    };
    match open.file.read_at(unsigned(offset), buffer) {
        Ok(read) if read == buffer.len() => ffi::SQLITE_OK,
        Ok(read) => {
            // SQLite relies on the rest being zero.
            buffer[read..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open file and `count` bytes of data.
    let (open, data) =
        unsafe { (opened(file), std::slice::from_raw_parts(data.cast::<u8>(), length(count))) };
    code(open.file.write_at(unsigned(offset), data), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    code(open.file.set_len(unsigned(size)), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { opened(file) }.sync()
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    let Ok(len) = open.file.len() else { return ffi::SQLITE_IOERR_FSTAT };
    // SAFETY: SQLite passes a valid address for the answer.
    unsafe { *out = i64::try_from(len).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

fn granted(granted: bool) -> c_int {
    if granted { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    granted(open.coordination.lock().file.lock(open.holder, &mut open.level, wanted))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    open.coordination.lock().file.unlock(open.holder, &mut open.level, wanted);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file and a valid address for the answer.
    unsafe { *out = c_int::from(opened(file).coordination.lock().file.is_reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

/// As the Unix VFS: a write damages nothing outside its own range; nothing else is promised.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    let alive = open.node.disk.epoch() == open.file.epoch();
    let address = if alive {
        let index = &mut open.coordination.lock().wal_index;
        index.map(&mut open.wal, length(region), length(size), extend != 0)
    } else {
        None
    };
    // SAFETY: SQLite passes a valid address for the answer.
    unsafe { *out = address.map_or(std::ptr::null_mut(), |start| start.as_ptr().cast()) };
    if alive { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHMMAP }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    let index = &mut open.coordination.lock().wal_index;
    let locks = length(first)..length(first) + length(count);
    let is_shared = flags & ffi::SQLITE_SHM_SHARED != 0;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        if is_shared {
            index.unlock_shared(&mut open.wal, locks);
        } else {
            index.unlock_exclusive(&mut open.wal, locks);
        }
        return ffi::SQLITE_OK;
    }
    granted(if is_shared {
        index.lock_shared(&mut open.wal, locks)
    } else {
        index.lock_exclusive(&mut open.wal, locks)
    })
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    open.coordination.lock().wal_index.unmap(&mut open.wal);
    ffi::SQLITE_OK
}
