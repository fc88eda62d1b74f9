//! Everything that a seed decides about a run (swarm testing: Groce et al. 2012).
//!
//! Invariant: the same seed and scenario give the same options in every build.
//!
//! Not here: what happens inside the run, which draws from the simulator's own generator.

use std::time::Duration;

use runtime::disk::faulty::Generator;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Store, lose power, restart, recall: short and fixed.
    Smoke,
    /// Crashes and power losses at random effects of the disk.
    PowerLoss,
    /// A disk that fails: EIO, ENOSPC, slow syncs; and crashes.
    BadDisk,
    /// A wall clock that jumps, drifts and stands still; and crashes.
    BadClock,
}

impl Scenario {
    /// All scenarios with their names.
    pub const ALL: [(&'static str, Scenario); 4] = [
        ("smoke", Scenario::Smoke),
        ("power-loss", Scenario::PowerLoss),
        ("bad-disk", Scenario::BadDisk),
        ("bad-clock", Scenario::BadClock),
    ];

    /// The scenario of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, s)| *s)
    }
}

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// What the run is about.
    pub scenario: Scenario,
    /// Concurrent clients.
    pub clients: u64,
    /// Stores each client makes.
    pub stores: u64,
    /// Crashes or power losses.
    pub crashes: u64,
    /// Range of disk effects after which the power fails.
    pub effects_until_cut: u64,
    /// Longest pause of a client between two stores.
    pub think: Duration,
    /// Longest run, simulated.
    pub limit: Duration,
    /// Rows a start reads to complete the recall index before it serves; 0 leaves all to the background.
    pub ahead_rows: u32,
}

impl Options {
    /// The options of a seed.
    pub fn of(scenario: Scenario, seed: u64) -> Self {
        let mut draw = Generator::new(seed ^ 0x0071_0E55_0000_5EED);
        let smoke = scenario == Scenario::Smoke;
        Self {
            seed,
            scenario,
            clients: if smoke { 2 } else { 1 + draw.below(6) },
            stores: if smoke { 8 } else { 4 + draw.below(16) },
            crashes: if smoke { 1 } else { 1 + draw.below(4) },
            effects_until_cut: [40, 200, 600][draw.below(3) as usize],
            think: Duration::from_millis(if smoke {
                100
            } else {
                [5, 50, 400][draw.below(3) as usize]
            }),
            limit: Duration::from_secs(600),
            ahead_rows: if smoke { 20_000 } else { [0, 20_000][draw.below(2) as usize] },
        }
    }
}
