//! Closing the two leaks of entropy that the simulator's runtime does not: `getrandom` through the
//! raw system call, and the randomised address space.
//!
//! madsim interposes the C functions `getrandom` and `getentropy`. Crates that call libc's variadic
//! `syscall(SYS_getrandom, ...)` instead (getrandom 0.2: ring, older rand) are caught here. Only
//! x86-64 Linux is covered; elsewhere [`install`] is empty and TLS keys differ between runs.

use std::io;

/// Links the interposed `syscall` into the binary. Call it once from the simulator's `main`.
pub fn install() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    std::hint::black_box(x86_64::syscall as *const ());
}

/// Restarts this process with the same arguments and a fixed address layout. Returns at once in
/// the restarted process; an error means that the system refuses, and that runs may then differ.
pub fn without_aslr() -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    /// Argument of `personality` that only asks for the current value.
    const QUERY: libc::c_ulong = 0xffff_ffff;
    // SAFETY: a query has no effect on memory or on the process.
    let current = unsafe { libc::personality(QUERY) };
    if current < 0 {
        return Err(io::Error::last_os_error());
    }
    if current & libc::ADDR_NO_RANDOMIZE != 0 {
        return Ok(());
    }
    let wanted = (current | libc::ADDR_NO_RANDOMIZE) as libc::c_ulong;
    // SAFETY: the flag only takes effect for programs executed from now on.
    if unsafe { libc::personality(wanted) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // `exec` returns only if it failed.
    Err(std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod x86_64 {
    use madsim::rand::RngCore;

    /// Stands in for libc's `syscall` in the whole binary. The System V ABI passes variadic
    /// integers like ordinary ones, so a fixed list of six receives every call.
    ///
    /// # Safety
    /// As for the system call that `number` names: pointers among the arguments must be valid for
    /// it.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn syscall(
        number: libc::c_long,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        f: usize,
    ) -> libc::c_long {
        if number == libc::SYS_getrandom && madsim::runtime::Handle::try_current().is_ok() {
            // SAFETY: the caller of getrandom passes a writable buffer `a` of `b` bytes.
            let buffer = unsafe { std::slice::from_raw_parts_mut(a as *mut u8, b) };
            madsim::rand::thread_rng().fill_bytes(buffer);
            return b as libc::c_long;
        }
        let result: libc::c_long;
        // SAFETY: this is the calling sequence of libc's own `syscall`: number and arguments in
        // their registers; the instruction overwrites rcx and r11, which are declared.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
                lateout("rcx") _, lateout("r11") _,
            );
        }
        if (-4095..0).contains(&result) {
            // SAFETY: errno's address is valid for the calling thread.
            unsafe { *libc::__errno_location() = -result as i32 };
            return -1;
        }
        result
    }
}
