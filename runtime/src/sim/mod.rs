//! What only the simulator's binary needs: the fingerprint and the closing of entropy leaks.
//!
//! A run is reproducible if the binary, in this order,
//! 1. calls [`without_aslr`] first thing in `main` (hash maps of third parties order by address),
//! 2. calls [`install`] before any thread or runtime exists,
//! 3. runs exactly one seed per process (libraries keep process-wide counters),
//! 4. builds madsim's `Runtime::with_seed_and_config`, adds the plugin
//!    [`ClockSim`](crate::clock::sim::ClockSim), and installs [`crate::fatal::sim::on_stop`],
//! 5. seeds SQLite's own generator from the seed (`storage`'s VFS has the call), since that one is
//!    filled from the default VFS,
//! 6. kills every node before the world's future returns, so that no destructor of theirs runs
//!    outside the simulation,
//! 7. prints [`fingerprint`] at the end, and compares it with a second fresh process.

mod entropy;

use std::cell::Cell;

pub use entropy::{install, without_aslr};

/// Start value and multiplier of FNV-1a, 64 bit.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of everything noted, and how many events that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Order-sensitive hash.
    pub hash: u64,
    /// Number of events noted.
    pub events: u64,
}

thread_local! {
    static FINGERPRINT: Cell<Fingerprint> =
        const { Cell::new(Fingerprint { hash: FNV_OFFSET, events: 0 }) };
}

pub(crate) fn mix(tag: u64, a: u64, b: u64) {
    FINGERPRINT.with(|cell| {
        let mut now = cell.get();
        for value in [tag, a, b] {
            now.hash = (now.hash ^ value).wrapping_mul(FNV_PRIME).rotate_left(23);
        }
        now.events += 1;
        cell.set(now);
    });
}

/// The fingerprint of this thread's run so far.
pub fn fingerprint() -> Fingerprint {
    FINGERPRINT.with(Cell::get)
}

#[cfg(test)]
mod tests;
