//! Everything that a seed decides about a run (swarm testing: Groce et al. 2012).
//!
//! Invariant: the same seed and scenario give the same options in every build.
//!
//! Not here: what happens inside the run, which draws from the simulator's own generator.

mod peers;

use std::time::Duration;

use runtime::disk::faulty::Generator;

pub use self::peers::{PeersOptions, PeersScenario};
use crate::{
    schedule::{Frame, Kind},
    workload::{
        draw::Draw,
        root::{Load, Mix},
    },
};

/// Clocks that drift do so by less than this, parts per million.
const CLOCK_FAST_PPM: u32 = 50_000;

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

/// A scenario of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootScenario {
    /// Everything that can happen, a different part of it with every seed.
    Swarm,
    /// Short: a leader that is cut off, a crash.
    Smoke,
    /// Two operators decide one action on two sides of a partition.
    Operators,
    /// Leaders come and go, with votes and entries on their way to slow disks.
    Elections,
    /// Disks fail, lose power and are spoilt, while snapshots are made often.
    Disks,
    /// Voters are replaced and put back from backups, and learn the past from snapshots.
    Members,
    /// Who was cut off finds the log gone and gets a snapshot.
    Snapshots,
    /// Reads within leases, and clocks that are off.
    Leases,
    /// Who was cut off comes back in the moment in which the others' logs are gone.
    Rejoins,
}

impl RootScenario {
    /// All scenarios with their names.
    pub const ALL: [(&'static str, RootScenario); 9] = [
        ("root", RootScenario::Swarm),
        ("root-smoke", RootScenario::Smoke),
        ("operators", RootScenario::Operators),
        ("elections", RootScenario::Elections),
        ("disks", RootScenario::Disks),
        ("members", RootScenario::Members),
        ("snapshots", RootScenario::Snapshots),
        ("leases", RootScenario::Leases),
        ("rejoins", RootScenario::Rejoins),
    ];

    /// The scenario of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, s)| *s)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, s)| *s == self).map_or("", |(name, _)| name)
    }
}

/// Parameters of a run of the root.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// Decides everything.
    pub seed: u64,
    /// What the run is about.
    pub scenario: RootScenario,
    /// First voters.
    pub voters: u64,
    /// Machines that may be lost for good.
    pub losses: u64,
    /// Faults.
    pub strikes: u64,
    /// What may happen.
    pub kinds: Vec<Kind>,
    /// Time in which faults begin.
    pub faults_for: Duration,
    /// Longest fault, milliseconds.
    pub longest_fault_ms: u64,
    /// Whether a cut is mended as soon as a majority has purged its log.
    pub mend_at_purge: bool,
    /// Time of the clients after the last fault.
    pub rest_for: Duration,
    /// Whether the leader reads within its lease.
    pub lease_reads: bool,
    /// A leader's heartbeat, milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest silence before an election, milliseconds.
    pub election_ms: u64,
    /// Entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// Entries kept behind it.
    pub kept_entries: u64,
    /// Size of a segment of the log, KiB.
    pub segment_kib: u64,
    /// What clients do.
    pub load: Load,
}

/// Every kind, or about half of them.
fn some_kinds(draw: &mut Draw) -> Vec<Kind> {
    let all = Kind::ALL.iter().map(|(_, kind)| *kind);
    let kinds: Vec<Kind> = all.filter(|_| draw.percent(45)).collect();
    if kinds.is_empty() { vec![Kind::Crash, Kind::MajorityMinority] } else { kinds }
}

impl RootOptions {
    /// What the schedule is drawn from.
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            seed: self.seed,
            strikes: self.strikes,
            kinds: &self.kinds,
            faults_for: self.faults_for,
            longest_fault_ms: self.longest_fault_ms,
        }
    }

    /// The options of a seed.
    pub fn of(scenario: RootScenario, seed: u64) -> Self {
        let draw = &mut Draw::of(seed, 0x0B71_0235);
        let voters = if draw.percent(60) { 3 } else { 5 };
        let (heartbeat_ms, election_ms) = [(50, 150), (50, 200), (80, 300)][draw.place(3)];
        let snapshot_entries = [60, 200, 1000][draw.place(3)];
        let swarm = Self {
            seed,
            scenario,
            voters,
            losses: voters / 2,
            strikes: draw.between((3, 14)),
            kinds: some_kinds(draw),
            faults_for: Duration::from_secs(draw.between((10, 40))),
            longest_fault_ms: [800, 3000, 8000][draw.place(3)],
            mend_at_purge: false,
            rest_for: Duration::from_secs(12),
            lease_reads: draw.percent(40),
            heartbeat_ms,
            election_ms,
            snapshot_entries,
            kept_entries: [0, 20, snapshot_entries][draw.place(3)],
            segment_kib: [64, 128][draw.place(2)],
            load: Load::draw(draw),
        };
        match scenario {
            RootScenario::Swarm => swarm.within_bounds(),
            RootScenario::Smoke => swarm.smoke(),
            RootScenario::Operators => swarm.operators(),
            RootScenario::Elections => swarm.elections(),
            RootScenario::Disks => swarm.disks(),
            RootScenario::Members => swarm.members(),
            RootScenario::Snapshots => swarm.snapshots(),
            RootScenario::Leases => swarm.leases(),
            RootScenario::Rejoins => swarm.rejoins(),
        }
    }

    /// Lease reads trust that clocks run within 5 % of each other and never jump: what breaks that is
    /// kept from runs with lease reads.
    fn within_bounds(mut self) -> Self {
        let jumps = |kind: &Kind| matches!(kind, Kind::ClockFrozen | Kind::ClockForward);
        if self.lease_reads {
            self.kinds.retain(|kind| !jumps(kind));
        }
        if self.kinds.is_empty() {
            self.kinds.push(Kind::Crash);
        }
        self
    }

    /// How much too fast a node's clock may run, parts per million; `None` where one jumps forward.
    pub fn clock_fast_ppm(&self) -> Option<u32> {
        (!self.kinds.contains(&Kind::ClockForward)).then_some(CLOCK_FAST_PPM)
    }

    fn smoke(self) -> Self {
        Self {
            voters: 3,
            losses: 1,
            strikes: 3,
            kinds: vec![Kind::Isolated, Kind::PowerLoss, Kind::Replace],
            faults_for: Duration::from_secs(6),
            longest_fault_ms: 1500,
            rest_for: Duration::from_secs(6),
            load: self.load.with_clients(4),
            ..self
        }
    }

    /// More of fewer faults.
    fn about(self, kinds: &[Kind]) -> Self {
        let (strikes, faults_for) = (self.strikes + 8, Duration::from_secs(25));
        Self { kinds: kinds.to_vec(), strikes, faults_for, ..self }
    }

    /// Every snapshot covers the whole log, and there are many.
    fn with_small_logs(self) -> Self {
        Self { snapshot_entries: 60, kept_entries: 0, segment_kib: 64, ..self }
    }

    fn elections(self) -> Self {
        let kinds = [
            Kind::SlowFsync,
            Kind::SlowFsync,
            Kind::PowerLoss,
            Kind::PowerLossAtStep,
            Kind::Crash,
            Kind::RestartStorm,
            Kind::Isolated,
            Kind::OneWayCut,
            Kind::Transfer,
        ];
        let longest_fault_ms = self.longest_fault_ms.min(3000);
        let load = Load { answer_ms: 2500, ..self.load };
        Self { longest_fault_ms, load, ..self }.about(&kinds)
    }

    fn disks(self) -> Self {
        let kinds = [
            Kind::SyncEio,
            Kind::SyncEio,
            Kind::PowerLoss,
            Kind::PowerLoss,
            Kind::TornWrite,
            Kind::TornWrite,
            Kind::PowerLossAtStep,
            Kind::SlowFsync,
            Kind::BitFlip,
            Kind::Snapshot,
        ];
        self.about(&kinds).with_small_logs()
    }

    fn members(self) -> Self {
        let kinds = [
            Kind::Replace,
            Kind::AddRemove,
            Kind::OldNodeReturns,
            Kind::RestoreBackup,
            Kind::QuorumLoss,
            Kind::Snapshot,
            Kind::Crash,
            Kind::Isolated,
        ];
        // A change waits until the one before has had its time.
        let faults_for = Duration::from_secs(60);
        Self { voters: 5, losses: 2, faults_for, ..self.about(&kinds).with_small_logs() }
    }

    fn snapshots(self) -> Self {
        let kinds = [
            Kind::Isolated,
            Kind::Isolated,
            Kind::OneWayCut,
            Kind::MajorityMinority,
            Kind::Pause,
            Kind::Crash,
            Kind::Snapshot,
        ];
        let load = Load { clients: 16, think_ms: 20, hold_ms: 10, ..self.load };
        let longest_fault_ms = 3000;
        Self { load, longest_fault_ms, ..self }.about(&kinds).with_small_logs()
    }

    /// A snapshot every few entries, and partitions that end with the next: it ends within the few
    /// entries that the old leader's side has to give up.
    fn rejoins(self) -> Self {
        let kinds =
            [Kind::MajorityMinority, Kind::MajorityMinority, Kind::Isolated, Kind::PowerLoss];
        let mix = Mix { locks: 20, registers: 60, rules: 20, actions: 0, force: 0, guarded: 0 };
        let load = Load { mix, clients: 16, think_ms: 300, ..self.load };
        let rare = Self { voters: 5, losses: 2, longest_fault_ms: 5000, load, ..self };
        let about = rare.about(&kinds).with_small_logs();
        Self { mend_at_purge: true, strikes: 24, snapshot_entries: 10, ..about }
    }

    fn leases(self) -> Self {
        let kinds = [
            Kind::Isolated,
            Kind::MajorityMinority,
            Kind::OneWayCut,
            Kind::Pause,
            Kind::ClockOffset,
            Kind::ClockBack,
            Kind::ClockDrift,
            Kind::Transfer,
        ];
        Self { lease_reads: true, ..self.about(&kinds) }
    }

    fn operators(self) -> Self {
        let mix = Mix { locks: 5, registers: 5, rules: 2, actions: 80, force: 0, guarded: 0 };
        Self {
            strikes: 4,
            kinds: vec![Kind::MajorityMinority, Kind::Isolated, Kind::FullSplit],
            faults_for: Duration::from_secs(12),
            longest_fault_ms: 5000,
            load: Load { mix, ..self.load },
            ..self
        }
    }
}
