//! A SQLite VFS on [`FaultyDisk`]: real SQLite, simulated disk.
//!
//! One VFS per simulated node. It has no files, its own file locks, its own shared memory for the
//! WAL index, its own clock and its own randomness, so that nothing SQLite does escapes the seed.
//!
//! Rules it keeps, each of which a simulation depends on:
//! * `VFS-1`: locks and shared memory belong to a boot epoch and a file. Connections left over
//!   from before a crash keep their own: they neither disturb the rebooted node nor dangle, since
//!   SQLite reads shared memory directly and it must outlive the last stale connection.
//! * `VFS-2`: as SQLite's Unix VFS does, the first sync of a journal or WAL also syncs the
//!   directory, and ignores that sync's error. Without it most power cuts lose the WAL's name.
//! * `VFS-3`: sleeping never blocks; the time is owed by the disk. A busy writer therefore never
//!   gets the lock by waiting inside SQLite: there must be one writer.
//! * `VFS-4`: no memory mapping. Every read passes the fault rules.
//!
//! What it cannot reach: SQLite's generator for `random()` and WAL salts is one per process and
//! is filled from the *default* VFS; call [`seed_sqlite_prng`] once per simulation. Temporary
//! files should be kept in memory (`temp_store=MEMORY`).

mod files;
mod filesystem;
mod locks;

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use libsqlite3_sys as ffi;
use parking_lot::Mutex;
use runtime::disk::faulty::{FaultyDisk, Generator, Inode};

use locks::Coordination;

/// A registered VFS. It is unregistered when this and its last connection are gone.
#[derive(Clone)]
pub struct SimVfs(Arc<Node>);

/// Locks and shared memory of one file in one boot, as its connections hold them.
type SharedCoordination = Mutex<Coordination>;

/// What all files of one VFS share.
struct Node {
    disk: FaultyDisk,
    /// SQLite's record of this VFS; allocated here, freed after it has been unregistered.
    registration: *mut ffi::sqlite3_vfs,
    name: CString,
    /// Locks and shared memory by boot epoch and file; dead entries are swept at each open.
    coordination: Mutex<BTreeMap<(u64, Inode), Weak<SharedCoordination>>>,
    generator: Mutex<Generator>,
    unix_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    next_connection: AtomicU64,
}

// SAFETY: the only member that is not Send and Sync by itself is the registration pointer. It is
// written once before the VFS is registered and freed once after it is unregistered; in between it
// is read by SQLite alone, under SQLite's own mutex.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl SimVfs {
    /// Makes `disk` reachable for SQLite under a name of its own, and tells the disk that name.
    /// `seed` feeds what SQLite draws from this VFS; `unix_ms` is the node's wall clock in
    /// milliseconds since the epoch, called on the thread that uses the connection.
    pub fn register(
        disk: &FaultyDisk,
        seed: u64,
        unix_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> SimVfs {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("faulty-disk-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        disk.set_sqlite_vfs(&name);
        let name = CString::new(name).expect("digits and letters contain no zero byte");
        let registration = Box::into_raw(Box::new(filesystem::methods(&name)));
        let node = Arc::new(Node {
            disk: disk.clone(),
            registration,
            name,
            coordination: Mutex::default(),
            generator: Mutex::new(Generator::new(seed)),
            unix_ms: Box::new(unix_ms),
            next_connection: AtomicU64::new(1),
        });
        // SAFETY: `registration` is a live allocation that nobody else knows yet. `pAppData` is
        // the address of `Node`, which unregisters itself before it goes away. The name is owned
        // by `Node`, and so is the allocation, as `sqlite3_vfs_register` demands of both.
        let registered = unsafe {
            ffi::sqlite3_initialize();
            (*registration).pAppData = Arc::as_ptr(&node).cast_mut().cast::<c_void>();
            ffi::sqlite3_vfs_register(registration, 0)
        };
        assert_eq!(registered, ffi::SQLITE_OK, "registering a VFS fails only out of memory");
        SimVfs(node)
    }

    /// The name to open connections with; the disk's `sqlite_vfs()` gives the same.
    pub fn name(&self) -> &str {
        self.0.name.to_str().expect("the name was made from a str")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `register` and was registered there.
        // Every open file holds an `Arc` of this node, so no call of SQLite uses the VFS any more.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.registration);
            drop(Box::from_raw(self.registration));
        }
    }
}

impl Node {
    /// Locks and shared memory of a file, shared by all its connections of the same boot.
    fn coordination_of(&self, epoch: u64, inode: Inode) -> Arc<SharedCoordination> {
        let mut all = self.coordination.lock();
        all.retain(|_, shared| shared.strong_count() > 0);
        let slot = all.entry((epoch, inode)).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let fresh = Arc::default();
            *slot = Arc::downgrade(&fresh);
            fresh
        })
    }
}

/// Seeds the generator that SQLite keeps for the whole process (WAL salts, `random()`,
/// `randomblob()`). Call once at the start of every simulation; nodes then share the stream, which
/// is repeatable on one thread.
pub fn seed_sqlite_prng(seed: u32) {
    // Zero would mean "back to real entropy". The cast only reinterprets the bits.
    let seed = seed.max(1) as c_int;
    // SAFETY: this verb takes an int and a connection, which may be null.
    unsafe {
        ffi::sqlite3_test_control(
            ffi::SQLITE_TESTCTRL_PRNG_SEED,
            seed,
            std::ptr::null_mut::<ffi::sqlite3>(),
        );
    }
}

/// SQLite's code for a failed disk operation: "full" if it was that, else `otherwise`.
fn code(result: std::io::Result<()>, otherwise: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(_) => otherwise,
    }
}

#[cfg(test)]
mod tests;
