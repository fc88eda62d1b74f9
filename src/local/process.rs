//! Processes of nodes: started so that they outlive the command that starts them, and found again by later ones.
//!
//! Invariants: `LOC-1` no signal is sent to a process but that which was started: a number that the system has given to
//! another one meanwhile is known by the time of its start; `LOC-4` what a signal was to do has happened when the call
//! returns, or the call fails.
//!
//! Not here: what they are started with.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use runtime::clock::{self, Instant};
use serde::{Deserialize, Serialize};

/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// A process, told apart from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in the system's ticks since it booted.
    pub started_ticks: u64,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is stopped by a signal.
    Paused,
    /// It is no more.
    Gone,
}

/// A signal to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish, then end.
    Stop,
    /// SIGKILL: end now.
    Kill,
    /// SIGSTOP: stand still.
    Pause,
    /// SIGCONT: go on.
    Resume,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Self::Stop => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Pause => libc::SIGSTOP,
            Self::Resume => libc::SIGCONT,
        }
    }

    /// Whether this is what it was to do.
    fn is_done(self, state: State) -> bool {
        match self {
            Self::Stop | Self::Kill => state == State::Gone,
            Self::Pause => state == State::Paused,
            Self::Resume => state == State::Running,
        }
    }
}

/// The state and the time of the start, as the system tells them (proc(5), `/proc/pid/stat`).
fn look(pid: i32) -> Option<(State, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = match fields.next()? {
        "Z" | "X" => State::Gone,
        "T" | "t" => State::Paused,
        _ => State::Running,
    };
    // The state is the third field, the time of the start the 22nd.
    let started_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, started_ticks))
}

impl Process {
    /// Starts a command on its own, its output at the end of a file.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let log: File = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // In a group of its own: Ctrl-C at the terminal is for the command, not for the nodes.
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let (_, started_ticks) = look(pid).ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { pid, started_ticks })
    }

    /// How it is now.
    pub fn state(&self) -> State {
        match look(self.pid) {
            Some((state, started_ticks)) if started_ticks == self.started_ticks => state,
            _ => State::Gone,
        }
    }

    /// Sends a signal, and waits until it has done what it is for.
    ///
    /// # Errors
    /// It is gone already, it may not be signalled, or it takes longer than `within`.
    pub async fn signal(&self, signal: Signal, within: Duration) -> io::Result<()> {
        if self.state() == State::Gone {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it does not run"));
        }
        // SAFETY: kill(2) takes plain numbers. Between the look and the signal the number could only change hands
        // if the process ended and the system had given out all others since.
        if unsafe { libc::kill(self.pid, signal.number()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let deadline = Instant::now() + within;
        while !signal.is_done(self.state()) {
            if Instant::now() >= deadline {
                let problem = format!("it did not {signal:?} within {} s", within.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem.to_lowercase()));
            }
            self.reap();
            clock::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets the system forget it, if it is a child of this process and has ended.
    fn reap(&self) {
        let mut status = 0;
        // SAFETY: waitpid(2) writes to a local number; for somebody else's child it fails, which is fine.
        unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) };
    }

    /// Resident memory in bytes, while it runs.
    pub fn resident_bytes(&self) -> Option<u64> {
        if self.state() == State::Gone {
            return None;
        }
        runtime::process::resident_bytes_of(self.pid.try_into().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::start(command, &folder.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_signal_has_done_its_work_when_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        assert_eq!(process.state(), State::Running);
        assert!(process.resident_bytes().unwrap() > 0);
        process.signal(Signal::Pause, SOON).await.unwrap();
        assert_eq!(process.state(), State::Paused, "LOC-4");
        process.signal(Signal::Resume, SOON).await.unwrap();
        assert_eq!(process.state(), State::Running, "LOC-4");
        process.signal(Signal::Kill, SOON).await.unwrap();
        assert_eq!(process.state(), State::Gone, "LOC-4");
        let again = process.signal(Signal::Stop, SOON).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn another_process_of_the_same_number_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let other = Process { started_ticks: process.started_ticks + 1, ..process };
        assert_eq!(other.state(), State::Gone);
        assert!(other.signal(Signal::Kill, SOON).await.is_err(), "LOC-1");
        assert_eq!(process.state(), State::Running);
        process.signal(Signal::Kill, SOON).await.unwrap();
    }
}
