//! What a process uses of its machine.
//!
//! Invariant: in the simulator there is no answer, because it would differ between two runs of one
//! seed.

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

#[cfg(all(test, target_os = "linux", not(madsim)))]
mod tests {
    #[test]
    fn a_running_process_has_some_memory() {
        let bytes = super::resident_bytes().expect("the kernel says");
        assert!((1 << 16..1 << 40).contains(&bytes), "{bytes}");
        assert_eq!(super::resident_bytes_of(u32::MAX), None, "there is no such process");
    }
}
