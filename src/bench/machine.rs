//! What the machine says of itself: processor time, memory, fsync latency.

use std::{path::Path, time::Duration};

use runtime::{
    clock::Instant,
    disk::{Disk, OpenMode},
};

/// Writes and syncs of one sample.
const SYNCS: usize = 100;

/// Processor time this process has used so far, user and system.
pub(super) fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `getrusage` fills the struct it is given; all-zero is a valid value if it fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let part = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// Resident memory that is this process's own (not mapped files), in bytes; 0 when unknown.
pub(super) fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Latencies of 4 KiB writes with fdatasync in `folder`, in microseconds, sorted.
pub(super) fn fsync_micros(disk: &dyn Disk, folder: &Path) -> std::io::Result<Vec<u64>> {
    let path = folder.join("fsync-probe");
    let file = disk.open(&path, OpenMode::OpenOrCreate)?;
    let page = [7u8; 4096];
    let mut samples = Vec::with_capacity(SYNCS);
    for n in 0..SYNCS {
        let start = Instant::now();
        file.write_at((n * page.len()) as u64, &page)?;
        file.sync()?;
        samples.push(start.elapsed().as_micros() as u64);
    }
    disk.remove(&path)?;
    samples.sort_unstable();
    Ok(samples)
}
