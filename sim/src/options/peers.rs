//! Everything that a seed decides about a run of peers.
//!
//! Invariant: the same seed and scenario give the same options in every build.
//!
//! Not here: what a scripted scenario does, step by step (`world::peers::scripts`).

use std::time::Duration;

use crate::{
    schedule::{Frame, Kind},
    workload::{
        draw::Draw,
        peers::{CLOSED, Load, Mix},
    },
    world::peers::scripts::Script,
};

/// Hours of a soak.
const SOAK_HOURS: u64 = 48;
/// Faults of a soak.
const STRIKES_AN_HOUR: u64 = 20;

/// A scenario of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeersScenario {
    /// Everything that can happen, a different part of it with every seed.
    Swarm,
    /// Short: a peer that is cut off, a power loss, a disk that is gone.
    Smoke,
    /// Peers that have just acknowledged lose their disks, while others are cut off.
    Losses,
    /// Power losses and failing disks, one after the other.
    Restarts,
    /// A peer that may not see everything, among cuts and crashes.
    Scopes,
    /// Everybody changes the same few memories, at the same time.
    Ties,
    /// Two days of light load and a mild fault every few minutes: what grows?
    Soak,
    /// One situation, step by step.
    Scripted(Script),
}

impl PeersScenario {
    /// All scenarios with their names.
    pub const ALL: [(&'static str, PeersScenario); 22] = [
        ("peers", PeersScenario::Swarm),
        ("peers-smoke", PeersScenario::Smoke),
        ("peers-losses", PeersScenario::Losses),
        ("peers-restarts", PeersScenario::Restarts),
        ("peers-scopes", PeersScenario::Scopes),
        ("peers-ties", PeersScenario::Ties),
        ("peers-soak", PeersScenario::Soak),
        ("peers-delete", PeersScenario::Scripted(Script::DeletedWhileDown)),
        ("peers-title", PeersScenario::Scripted(Script::SameTitle)),
        ("peers-stale", PeersScenario::Scripted(Script::Stale)),
        ("peers-refused", PeersScenario::Scripted(Script::Refused)),
        ("peers-rejoiner", PeersScenario::Scripted(Script::Rejoiner)),
        ("peers-exactly", PeersScenario::Scripted(Script::Exactly)),
        ("peers-again", PeersScenario::Scripted(Script::AskedAgain)),
        ("peers-hour", PeersScenario::Scripted(Script::HourAhead)),
        ("peers-restored", PeersScenario::Scripted(Script::Restored)),
        ("peers-widened", PeersScenario::Scripted(Script::Widened)),
        ("peers-quota", PeersScenario::Scripted(Script::BeyondQuota)),
        ("peers-policy", PeersScenario::Scripted(Script::AgainstPolicy)),
        ("peers-schema", PeersScenario::Scripted(Script::AnotherSchema)),
        ("peers-away", PeersScenario::Scripted(Script::Away)),
        ("peers-new", PeersScenario::Scripted(Script::New)),
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

/// Parameters of a run of peers.
#[derive(Clone, Debug)]
pub struct PeersOptions {
    /// Decides everything.
    pub seed: u64,
    /// What the run is about.
    pub scenario: PeersScenario,
    /// First peers.
    pub peers: u64,
    /// Nodes that must have a write; a majority if none is named.
    pub quorum: Option<u64>,
    /// How long a write waits for them, milliseconds.
    pub quorum_timeout_ms: u64,
    /// Time between two rounds of catching up, milliseconds.
    pub catch_up_ms: u64,
    /// How long operations and tombstones are kept at least, milliseconds.
    pub keep_ms: u64,
    /// Time between two comparisons with one peer, milliseconds.
    pub compare_ms: u64,
    /// Whether the last peer may not see the closed namespace.
    pub narrow: bool,
    /// Whether one agent's operations are refused everywhere.
    pub refuses_strangers: bool,
    /// Hours of load whose tables are watched; 0 where nobody does.
    pub soak_hours: u64,
    /// What is played instead of faults.
    pub script: Option<Script>,
    /// Faults.
    pub strikes: u64,
    /// What may happen.
    pub kinds: Vec<Kind>,
    /// Time in which faults begin.
    pub faults_for: Duration,
    /// Longest fault, milliseconds.
    pub longest_fault_ms: u64,
    /// Time of the clients after the peers have come to agree.
    pub rest_for: Duration,
    /// What clients do.
    pub load: Load,
}

/// Every kind, or about half of them.
fn some_kinds(draw: &mut Draw) -> Vec<Kind> {
    let all = Kind::PEERS.iter().map(|(_, kind)| *kind);
    let kinds: Vec<Kind> = all.filter(|_| draw.percent(45)).collect();
    if kinds.is_empty() { vec![Kind::Crash, Kind::MajorityMinority] } else { kinds }
}

impl PeersOptions {
    /// The options of a seed.
    pub fn of(scenario: PeersScenario, seed: u64) -> Self {
        let draw = &mut Draw::of(seed, 0x9EE5_0235);
        let peers = [3, 3, 5, 5, 9][draw.place(5)];
        let swarm = Self {
            seed,
            scenario,
            peers,
            quorum: draw.percent(25).then(|| peers / 2 + 2),
            quorum_timeout_ms: [500, 2000, 2000][draw.place(3)],
            catch_up_ms: [1000, 4000, 15_000][draw.place(3)],
            narrow: draw.percent(40),
            refuses_strangers: draw.percent(30),
            soak_hours: 0,
            script: None,
            strikes: draw.between((3, 14)),
            kinds: some_kinds(draw),
            faults_for: Duration::from_secs(draw.between((10, 40))),
            longest_fault_ms: [800, 3000, 8000][draw.place(3)],
            rest_for: Duration::from_secs(4),
            load: Load::draw(draw),
            keep_ms: [1000, 5000, 600_000][draw.place(3)],
            compare_ms: [2000, 8000, 60_000][draw.place(3)],
        };
        let scenario = match scenario {
            PeersScenario::Swarm => swarm,
            PeersScenario::Smoke => swarm.smoke(),
            PeersScenario::Losses => swarm.losses(),
            PeersScenario::Restarts => swarm.restarts(),
            PeersScenario::Scopes => swarm.scopes(),
            PeersScenario::Ties => swarm.ties(),
            PeersScenario::Soak => swarm.soak(),
            PeersScenario::Scripted(script) => swarm.scripted(script),
        };
        scenario.fitted()
    }

    /// A quorum of all peers is never met while one is away; what clients may see depends on the scopes.
    fn fitted(mut self) -> Self {
        self.load.narrow = self.narrow.then(|| crate::world::peers::name_of(self.peers));
        self.load.strangers = self.refuses_strangers;
        // A node that cannot hold closed memories cannot acknowledge them.
        if self.narrow {
            self.quorum = None;
        }
        self
    }

    /// How often the world looks after things: in a run of hours more seldom, because each look costs.
    pub fn pace(&self, often: Duration) -> Duration {
        if self.soak_hours > 0 { often * 20 } else { often }
    }

    /// How many nodes must have a write.
    pub fn needed(&self) -> u64 {
        self.quorum.unwrap_or(self.peers / 2 + 1)
    }

    /// What the peer of this number may see. New peers may see everything.
    pub fn sees(&self, number: u64) -> Vec<String> {
        match self.narrow && number == self.peers {
            true => vec!["open/**".to_owned()],
            false => vec!["**".to_owned()],
        }
    }

    /// Text that is in every memory which some peer may not see.
    pub fn marker() -> &'static str {
        CLOSED.1
    }

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

    fn smoke(self) -> Self {
        Self {
            peers: 3,
            quorum: None,
            catch_up_ms: 1000,
            strikes: 3,
            kinds: vec![Kind::Isolated, Kind::PowerLoss, Kind::Wipe],
            faults_for: Duration::from_secs(5),
            longest_fault_ms: 1500,
            load: self.load.with_clients(3),
            ..self
        }
    }

    fn about(self, kinds: &[Kind]) -> Self {
        let (strikes, faults_for) = (self.strikes + 8, Duration::from_secs(25));
        Self { kinds: kinds.to_vec(), strikes, faults_for, ..self }
    }

    fn losses(self) -> Self {
        let kinds = [
            Kind::Isolated,
            Kind::MajorityMinority,
            Kind::FullSplit,
            Kind::SlowFsync,
            Kind::SlowFsync,
            Kind::SlowFsync,
            Kind::Wipe,
            Kind::Wipe,
        ];
        let load = Load { think_ms: 40, stores_max: 60, ..self.load };
        // Of three, one acknowledgement is all that is needed.
        let peers = self.peers.max(5);
        Self { peers, quorum: None, narrow: false, load, ..self }.about(&kinds)
    }

    fn ties(self) -> Self {
        let mix = Mix { store: 5, read: 10, change: 100, delete: 1, link: 1, unlink: 1 };
        let load = Load { mix, clients: 12, think_ms: 1, recent: 2, ..self.load };
        let kinds = [Kind::MajorityMinority, Kind::Flapping, Kind::Jitter, Kind::Isolated];
        Self { load, narrow: false, ..self }.about(&kinds)
    }

    /// Times are short beside an hour and long beside what they cost: what has been seen is forgotten within
    /// minutes, hundreds of times in a run. No peer is lost for good, so each has the same name all along.
    fn soak(self) -> Self {
        let kinds = Kind::PEERS.iter().map(|(_, kind)| *kind).filter(|kind| *kind != Kind::Wipe);
        let mix = Mix { store: 30, read: 20, change: 20, delete: 10, link: 10, unlink: 5 };
        let (clients, think_ms, recent) = (3, 60_000, 12);
        let load = Load { mix, clients, think_ms, recent, answer_ms: 4000, ..self.load };
        let load = Load { stores_max: u64::MAX, keep_max: 40, ..load };
        let soak = Self {
            peers: 5,
            quorum: None,
            quorum_timeout_ms: 2000,
            catch_up_ms: 15_000,
            keep_ms: 60_000,
            compare_ms: 120_000,
            narrow: false,
            refuses_strangers: false,
            kinds: kinds.collect(),
            longest_fault_ms: 8000,
            load,
            ..self
        };
        soak.lasting(SOAK_HOURS)
    }

    /// The same for so many hours, where it lasts that long.
    #[must_use]
    pub fn lasting(self, hours: u64) -> Self {
        let faults_for = Duration::from_secs(hours * 3600);
        Self { soak_hours: hours, strikes: hours * STRIKES_AN_HOUR, faults_for, ..self }
    }

    fn restarts(self) -> Self {
        let kinds = [
            Kind::PowerLoss,
            Kind::PowerLoss,
            Kind::TornWrite,
            Kind::Crash,
            Kind::RestartStorm,
            Kind::SyncEio,
            Kind::WriteEio,
            Kind::ReplayedMessage,
            Kind::ReplayedMessage,
        ];
        self.about(&kinds)
    }

    fn scripted(self, script: Script) -> Self {
        let forgets = matches!(script, Script::Away | Script::New);
        let compares = forgets || matches!(script, Script::BeyondQuota | Script::AgainstPolicy);
        Self {
            peers: if script == Script::Exactly { 5 } else { 3 },
            quorum: None,
            catch_up_ms: 1000,
            keep_ms: if forgets { 1000 } else { self.keep_ms },
            compare_ms: if compares { 2000 } else { self.compare_ms },
            narrow: false,
            refuses_strangers: matches!(script, Script::Refused | Script::Restored),
            script: Some(script),
            strikes: 0,
            // What is asked of one peer is not asked of another, unless the script says so.
            load: Load { elsewhere_percent: 0, twice_percent: 0, ..self.load },
            ..self
        }
    }

    fn scopes(self) -> Self {
        let kinds = [
            Kind::Bridge,
            Kind::Isolated,
            Kind::MajorityMinority,
            Kind::OneWayCut,
            Kind::Crash,
            Kind::PowerLoss,
            Kind::ReplayedMessage,
        ];
        Self { narrow: true, ..self.about(&kinds) }
    }
}
