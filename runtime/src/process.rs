//! What a process uses of its machine, and how much of what it no longer needs it keeps.
//!
//! Invariant: in the simulator there is no answer, because it would differ between two runs of one
//! seed.
//!
//! Not here: limits of the operating system (units and containers set them).

/// Resident memory of this process in bytes; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    resident_bytes_of(std::process::id())
}

/// Resident memory of the process of a number in bytes; `None` where the system does not say, or it has ended.
pub fn resident_bytes_of(pid: u32) -> Option<u64> {
    #[cfg(all(target_os = "linux", not(madsim)))]
    {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
    #[cfg(not(all(target_os = "linux", not(madsim))))]
    {
        let _ = pid;
        None
    }
}

/// Freed memory at the end of an arena from which on it is given back, bytes; setting it keeps glibc from raising it.
#[cfg(all(target_os = "linux", target_env = "gnu", not(madsim)))]
const TRIM_BYTES: libc::c_int = 128 << 10;

/// Has glibc keep as many arenas as there are processors, where it would keep eight for each: many threads that come and
/// go otherwise spread what is in use over arenas that are mostly free and never given back. To be called before there are
/// threads. Does nothing elsewhere.
pub fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(madsim)))]
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
        // SAFETY: both calls set a number that the allocator reads when it makes an arena or frees memory. A refusal
        // leaves the defaults, which are safe too.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
        }
    }
}

#[cfg(all(test, target_os = "linux", not(madsim)))]
mod tests {
    #[test]
    fn a_running_process_has_some_memory() {
        let bytes = super::resident_bytes().expect("the kernel says");
        assert!((1 << 16..1 << 40).contains(&bytes), "{bytes}");
        assert_eq!(super::resident_bytes_of(u32::MAX), None, "there is no such process");
    }
}
