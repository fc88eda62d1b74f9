//! What connections to one database file share: SQLite's five file-lock levels, the eight locks of
//! the WAL index, and the WAL index itself. Plain state, no FFI calls.
//!
//! The protocols are those of SQLite's documentation ("File Locking And Concurrency" and
//! "WAL-mode File Format"); a lock is granted at once or refused, never waited for.

use std::ffi::c_int;
use std::ops::Range;
use std::ptr::NonNull;

use libsqlite3_sys as ffi;

/// Number of WAL-index locks.
const SHM_LOCKS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// Identifies an open file; never 0.
pub(super) type Holder = u64;

/// Locks and shared memory of one file in one boot.
#[derive(Default)]
pub(super) struct Coordination {
    pub(super) file: FileLocks,
    pub(super) wal_index: WalIndex,
}

/// The rollback-journal locks of a database file.
#[derive(Default)]
pub(super) struct FileLocks {
    shared: u32,
    reserved: Option<Holder>,
    pending: Option<Holder>,
    exclusive: Option<Holder>,
}

impl FileLocks {
    /// Raises `level`, the level that `holder` has, to `wanted`. `false` means busy; an attempt at
    /// the exclusive lock may still have reached the pending one, which keeps new readers out.
    pub(super) fn lock(&mut self, holder: Holder, level: &mut c_int, wanted: c_int) -> bool {
        if *level >= wanted {
            return true;
        }
        let others = |lock: Option<Holder>| lock.is_some_and(|other| other != holder);
        let writing = others(self.pending) || others(self.exclusive);
        match wanted {
            ffi::SQLITE_LOCK_SHARED => {
                if writing {
                    return false;
                }
                self.shared += 1;
            }
            ffi::SQLITE_LOCK_RESERVED => {
                if writing || others(self.reserved) {
                    return false;
                }
                self.reserved = Some(holder);
            }
            _ => {
                if writing || others(self.reserved) {
                    return false;
                }
                self.pending = Some(holder);
                if self.shared > 1 {
                    *level = (*level).max(ffi::SQLITE_LOCK_PENDING);
                    return false;
                }
                self.exclusive = Some(holder);
            }
        }
        *level = wanted;
        true
    }

    /// Lowers `level` to `wanted`, which is shared or none.
    pub(super) fn unlock(&mut self, holder: Holder, level: &mut c_int, wanted: c_int) {
        if *level <= wanted {
            return;
        }
        for lock in [&mut self.reserved, &mut self.pending, &mut self.exclusive] {
            lock.take_if(|owner| *owner == holder);
        }
        if wanted == ffi::SQLITE_LOCK_NONE {
            self.shared -= 1;
        }
        *level = wanted;
    }

    /// Whether anyone holds more than a shared lock.
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved.or(self.pending).or(self.exclusive).is_some()
    }
}

/// One region of the WAL index. SQLite keeps raw pointers into it, so its address never changes
/// and no Rust reference to its content is ever made.
struct Region {
    start: NonNull<u64>,
    words: usize,
}

// SAFETY: a region is plain memory without thread affinity; who may touch it when is decided by
// SQLite's own WAL protocol, which is made for memory shared between processes.
unsafe impl Send for Region {}

impl Region {
    fn zeroed(size_bytes: usize) -> Self {
        let words = size_bytes.div_ceil(8);
        let memory = Box::leak(vec![0u64; words].into_boxed_slice());
        Region { start: NonNull::from(memory).cast(), words }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let slice = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.words);
        // SAFETY: the pair is exactly what `zeroed` leaked, and it is freed once, after the last
        // connection that mapped it has unmapped it.
        drop(unsafe { Box::from_raw(slice) });
    }
}

/// Which WAL-index locks one connection holds, as bit sets, and whether it has mapped the index.
#[derive(Default)]
pub(super) struct WalHold {
    shared: u8,
    exclusive: u8,
    mapped: bool,
}

/// The WAL index and its locks.
#[derive(Default)]
pub(super) struct WalIndex {
    regions: Vec<Region>,
    mappers: u32,
    shared: [u32; SHM_LOCKS],
    exclusive: u8,
}

fn mask(locks: &Range<usize>) -> u8 {
    locks.clone().fold(0, |mask, lock| mask | 1 << lock)
}

impl WalIndex {
    /// The address of region `index`, created zeroed if `extend`; `None` if it does not exist.
    pub(super) fn map(
        &mut self,
        hold: &mut WalHold,
        index: usize,
        size_bytes: usize,
        extend: bool,
    ) -> Option<NonNull<u64>> {
        if !std::mem::replace(&mut hold.mapped, true) {
            self.mappers += 1;
        }
        if extend {
            while self.regions.len() <= index {
                self.regions.push(Region::zeroed(size_bytes));
            }
        }
        self.regions.get(index).map(|region| region.start)
    }

    /// Gives up every lock and the mapping. When the last connection leaves, the index is gone
    /// and the next opener recovers it from the WAL, as with a fresh `-shm` file.
    pub(super) fn unmap(&mut self, hold: &mut WalHold) {
        self.unlock_shared(hold, 0..SHM_LOCKS);
        self.unlock_exclusive(hold, 0..SHM_LOCKS);
        if std::mem::take(&mut hold.mapped) {
            self.mappers -= 1;
            if self.mappers == 0 {
                self.regions.clear();
            }
        }
    }

    pub(super) fn lock_shared(&mut self, hold: &mut WalHold, locks: Range<usize>) -> bool {
        let wanted = mask(&locks);
        if self.exclusive & wanted & !hold.exclusive != 0 {
            return false;
        }
        for lock in locks.filter(|lock| hold.shared >> lock & 1 == 0) {
            self.shared[lock] += 1;
        }
        hold.shared |= wanted;
        true
    }

    pub(super) fn lock_exclusive(&mut self, hold: &mut WalHold, locks: Range<usize>) -> bool {
        let wanted = mask(&locks);
        let others_read =
            locks.clone().any(|lock| self.shared[lock] > u32::from(hold.shared >> lock & 1));
        if others_read || self.exclusive & wanted & !hold.exclusive != 0 {
            return false;
        }
        self.exclusive |= wanted;
        hold.exclusive |= wanted;
        true
    }

    pub(super) fn unlock_shared(&mut self, hold: &mut WalHold, locks: Range<usize>) {
        let released = mask(&locks);
        for lock in locks.filter(|lock| hold.shared >> lock & 1 == 1) {
            self.shared[lock] -= 1;
        }
        hold.shared &= !released;
    }

    pub(super) fn unlock_exclusive(&mut self, hold: &mut WalHold, locks: Range<usize>) {
        let released = mask(&locks) & hold.exclusive;
        self.exclusive &= !released;
        hold.exclusive &= !released;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: c_int = ffi::SQLITE_LOCK_SHARED;
    const RESERVED: c_int = ffi::SQLITE_LOCK_RESERVED;
    const EXCLUSIVE: c_int = ffi::SQLITE_LOCK_EXCLUSIVE;

    #[test]
    fn a_writer_waits_for_readers_and_keeps_new_ones_out() {
        let mut locks = FileLocks::default();
        let (mut writer, mut reader, mut late) = (0, 0, 0);
        assert!(locks.lock(1, &mut writer, SHARED) && locks.lock(2, &mut reader, SHARED));
        assert!(locks.lock(1, &mut writer, RESERVED) && !locks.lock(2, &mut reader, RESERVED));
        assert!(!locks.lock(1, &mut writer, EXCLUSIVE), "a reader is still there");
        assert!(!locks.lock(3, &mut late, SHARED), "pending keeps it out");
        locks.unlock(2, &mut reader, ffi::SQLITE_LOCK_NONE);
        assert!(locks.lock(1, &mut writer, EXCLUSIVE) && locks.is_reserved());
        locks.unlock(1, &mut writer, SHARED);
        assert!(!locks.is_reserved() && locks.lock(3, &mut late, SHARED));
        assert_eq!((writer, reader, late), (SHARED, 0, SHARED));
    }

    #[test]
    fn wal_locks_exclude_each_other_and_unmapping_frees_them() {
        let mut index = WalIndex::default();
        let (mut a, mut b) = (WalHold::default(), WalHold::default());
        assert!(index.map(&mut a, 0, 64, false).is_none());
        let region = index.map(&mut a, 1, 64, true);
        assert_eq!(index.map(&mut b, 1, 64, false), region);
        assert!(index.lock_shared(&mut a, 3..4) && index.lock_shared(&mut b, 3..4));
        assert!(!index.lock_exclusive(&mut a, 2..5), "b reads under one of them");
        index.unlock_shared(&mut b, 3..4);
        assert!(index.lock_exclusive(&mut a, 2..5));
        assert!(!index.lock_shared(&mut b, 2..3) && !index.lock_exclusive(&mut b, 4..5));
        index.unmap(&mut a);
        assert!(index.lock_exclusive(&mut b, 0..8));
        assert_eq!(index.map(&mut b, 1, 64, false), region, "b still maps it");
        index.unmap(&mut b);
        assert!(index.map(&mut b, 0, 64, false).is_none());
    }
}
