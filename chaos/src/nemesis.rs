//! Faults of processes: which voter is struck, how, and whether it took hold.
//!
//! Invariants: what is recorded as a fault of the run was begun, and its end is recorded when a look
//! at the process shows it; a leader is struck only while it says that it leads.
//!
//! Not here: when (`scenario`).

use std::{fmt, time::Duration};

use runtime::clock;
use sim::workload::{draw::Draw, root::Recorder};

use crate::cluster::{Cluster, ClusterError};

/// Longest wait for somebody to lead before a fault is left out.
const LEADER: Duration = Duration::from_secs(10);
/// Looks at whether a signal has taken effect, and the pause between them.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(5);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nemesis {
    /// SIGKILL to the leader, and a start after a while.
    KillLeader,
    /// SIGKILL to a voter that does not lead, and a start after a while.
    KillFollower,
    /// SIGSTOP to the leader, and SIGCONT after a while.
    PauseLeader,
}

impl Nemesis {
    /// All, with their names.
    pub const ALL: [(&'static str, Nemesis); 3] = [
        ("kill-leader", Nemesis::KillLeader),
        ("kill-follower", Nemesis::KillFollower),
        ("pause-leader", Nemesis::PauseLeader),
    ];

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, nemesis)| *nemesis)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillFollower => "kill-follower",
            Self::PauseLeader => "pause-leader",
        }
    }
}

/// What became of a fault that was to be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// It is in force.
    Installed,
    /// It was left out, and why.
    Skipped {
        /// The reason, for the report.
        reason: String,
    },
    /// Nobody can say whether it is in force, so the run proves nothing.
    Indeterminate,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => write!(f, "installed"),
            Self::Skipped { reason } => write!(f, "skipped: {reason}"),
            Self::Indeterminate => write!(f, "indeterminate"),
        }
    }
}

/// A fault that was begun.
#[derive(Clone, Debug)]
pub struct Struck {
    /// What was done.
    pub nemesis: Nemesis,
    /// Its number in the history; 0 when it was left out.
    pub fault: u64,
    /// Position of the voter.
    pub at: usize,
    /// What became of it.
    pub injection: Injection,
}

fn skipped(nemesis: Nemesis, reason: &str) -> Struck {
    let injection = Injection::Skipped { reason: reason.to_owned() };
    Struck { nemesis, fault: 0, at: 0, injection }
}

/// Strikes, and looks whether it took hold.
pub async fn strike(
    nemesis: Nemesis,
    cluster: &mut Cluster,
    recorder: &Recorder,
    draw: &mut Draw,
) -> Struck {
    let Some(leader) = cluster.leader(LEADER).await else {
        return skipped(nemesis, "nobody leads");
    };
    let at = match nemesis {
        Nemesis::KillLeader | Nemesis::PauseLeader => leader,
        Nemesis::KillFollower => {
            let others: Vec<usize> = (0..cluster.voters.len())
                .filter(|at| *at != leader && cluster.voters[*at].pid().is_some())
                .collect();
            if others.is_empty() {
                return skipped(nemesis, "nobody follows");
            }
            others[draw.place(others.len())]
        }
    };
    let voter = &mut cluster.voters[at];
    let fault = recorder.fault(nemesis.name(), &[&voter.name]);
    let took_hold = match nemesis {
        Nemesis::KillLeader | Nemesis::KillFollower => {
            let gone = voter.kill();
            recorder.node(&voter.name, false);
            gone
        }
        Nemesis::PauseLeader => {
            let sent = voter.signal(libc::SIGSTOP);
            let mut stopped = false;
            for _ in 0..LOOKS {
                stopped = sent && voter.state() == Some('T');
                if stopped {
                    break;
                }
                clock::sleep(LOOK).await;
            }
            stopped
        }
    };
    let injection = if took_hold { Injection::Installed } else { Injection::Indeterminate };
    Struck { nemesis, fault, at, injection }
}

/// Ends a fault: the voter runs and serves again.
///
/// # Errors
/// It does not.
pub async fn heal(
    struck: &Struck,
    cluster: &mut Cluster,
    recorder: &Recorder,
) -> Result<(), ClusterError> {
    if struck.fault == 0 {
        return Ok(());
    }
    let voter = &mut cluster.voters[struck.at];
    match struck.nemesis {
        Nemesis::KillLeader | Nemesis::KillFollower => voter.start()?,
        Nemesis::PauseLeader => {
            voter.signal(libc::SIGCONT);
        }
    }
    let led = |status: &serde_json::Value| status["leader"].is_u64() && status["confirmed"] == true;
    voter.until("it is back and knows a leader", led).await?;
    if struck.nemesis != Nemesis::PauseLeader {
        recorder.node(&voter.name, true);
    }
    recorder.fault_over(struck.fault);
    Ok(())
}
