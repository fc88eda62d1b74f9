//! Faults of a cluster: who is struck, how, whether it took hold, and how it ends.
//!
//! | file | what |
//! |---|---|
//! | `process` | signals |
//! | `network` | what is between nodes |
//! | `disk` | what is below them |
//! | `machine` | processor time, wall clocks |
//! | `operator` | what people do |
//!
//! Invariants: `NEM-1` what is recorded as a fault was begun, and was looked at until it showed; `NEM-2` what a fault
//! changed is as it was when `heal` returns; `NEM-3` over a run fewer peers lose what they have than a quorum has, so that
//! what was acknowledged must be left somewhere.
//!
//! Not here: when (`storm`).

mod disk;
mod machine;
mod network;
mod operator;
mod process;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use runtime::task::{JoinHandle, Shutdown};
use sim::workload::{draw::Draw, peers, root::Recorder};

pub use self::{machine::wear_clock, operator::copy_all};
use crate::{
    disk::{Disk, RealDisk},
    hive::Hive,
    network::Network,
};

/// Longest wait until a fault shows.
pub(super) const SHOWS: Duration = Duration::from_secs(8);
/// Pause between two looks at it.
pub(super) const LOOK: Duration = Duration::from_millis(25);
/// Longest wait for somebody to lead before a fault is left out.
const LEADER: Duration = Duration::from_secs(10);

/// What a nemesis needs, beyond nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Voters of a root.
    Voters,
    /// Peers.
    Peers,
    /// A network that can be disturbed.
    Network,
    /// A disk that can fail.
    Disk,
    /// A file system of its own, whose power can be cut.
    Image,
    /// A library that shows processes another wall clock.
    Clock,
    /// Control groups.
    Groups,
    /// A daemon of another version.
    Next,
}

macro_rules! nemeses {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, [$($need:ident),*];)+) => {
        /// What is done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Nemesis { $($(#[doc = $doc])+ $variant),+ }

        impl Nemesis {
            /// All of them.
            pub const ALL: &'static [Nemesis] = &[$(Nemesis::$variant),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Nemesis::$variant => $name),+ }
            }

            /// What it does, in words.
            pub fn about(self) -> &'static str {
                match self { $(Nemesis::$variant => concat!($($doc),+)),+ }
            }

            /// What it needs.
            pub fn needs(self) -> &'static [Need] {
                match self { $(Nemesis::$variant => &[$(Need::$need),*]),+ }
            }
        }
    };
}

nemeses! {
    /// SIGKILL to a node.
    KillNode = "kill-node", [];
    /// SIGKILL to the leader of the root.
    KillLeader = "kill-leader", [Voters];
    /// SIGKILL to a voter that does not lead.
    KillFollower = "kill-follower", [Voters];
    /// SIGKILL to more than half of the nodes.
    KillMajority = "kill-majority", [];
    /// SIGKILL to all nodes.
    KillAll = "kill-all", [];
    /// SIGTERM to a node.
    StopNode = "stop-node", [];
    /// SIGSTOP to a node.
    PauseNode = "pause-node", [];
    /// SIGSTOP to the leader of the root.
    PauseLeader = "pause-leader", [Voters];
    /// SIGSTOP to all nodes but one.
    PauseMost = "pause-most", [];
    /// SIGSTOP and SIGCONT to a node, many times a second.
    Stutter = "stutter", [];
    /// A node is cut off from all others and from clients.
    Isolate = "isolate", [Network];
    /// The leader of the root is cut off from the other nodes; clients still reach it.
    IsolateLeader = "isolate-leader", [Network, Voters];
    /// The nodes are cut into two halves.
    Split = "split", [Network];
    /// What a node sends to the others is lost; what they send arrives.
    OneWay = "one-way", [Network];
    /// Two halves that only one node reaches both of.
    Bridge = "bridge", [Network];
    /// A node is cut off and let back, several times a second.
    Flap = "flap", [Network];
    /// Everything between nodes takes up to some hundred milliseconds.
    Delay = "delay", [Network];
    /// Some of what nodes send is lost.
    Loss = "loss", [Network];
    /// Some of what nodes send comes twice.
    Duplicate = "duplicate", [Network];
    /// Some of what nodes send overtakes the rest.
    Reorder = "reorder", [Network];
    /// Some of what nodes send arrives with a flipped bit.
    Corrupt = "corrupt", [Network];
    /// Between nodes there is a slow line.
    SlowLine = "slow-line", [Network];
    /// Between nodes only small packets pass.
    SmallOnly = "small-only", [Network];
    /// A node's disk is full.
    DiskFull = "disk-full", [Disk];
    /// A sync of a node's disk fails, which ends the node.
    SyncError = "sync-error", [Disk];
    /// A write to a node's disk fails.
    WriteError = "write-error", [Disk];
    /// A read of a node's disk fails.
    ReadError = "read-error", [Disk];
    /// A node's disk is slow.
    SlowDisk = "slow-disk", [Disk];
    /// The power of a node fails: what was not synced is gone, or torn.
    PowerLoss = "power-loss", [Disk];
    /// A peer's disk says that it has synced and has not; then its power fails.
    LyingDisk = "lying-disk", [Disk, Peers];
    /// The power of a node on ext4 or XFS fails while it writes: what its journal has not on disk is gone.
    CutPower = "cut-power", [Image];
    /// A node gets little processor time.
    Starve = "starve", [Groups];
    /// A node's wall clock jumps forward.
    ClockForward = "clock-forward", [Clock];
    /// A node's wall clock jumps back.
    ClockBack = "clock-back", [Clock];
    /// All nodes are started again, one after another.
    RollingRestart = "rolling-restart", [];
    /// All nodes are started again, one after another, as another version.
    Upgrade = "upgrade", [Next];
    /// The lead of the root is handed to another voter.
    Transfer = "transfer", [Voters];
    /// A peer is taken off all lists, and put back.
    OffTheList = "off-the-list", [Peers];
    /// A peer comes back with an empty disk, and its new row is handed to all.
    EmptyDisk = "empty-disk", [Peers];
    /// A peer is put back to a copy of its disk from some time ago.
    OldBackup = "old-backup", [Peers];
}

impl Nemesis {
    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|nemesis| nemesis.name() == name)
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
    Indeterminate {
        /// What was looked for.
        detail: String,
    },
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => write!(f, "installed"),
            Self::Skipped { reason } => write!(f, "skipped: {reason}"),
            Self::Indeterminate { detail } => write!(f, "indeterminate: {detail}"),
        }
    }
}

/// How a fault ends.
pub(super) enum Undo {
    /// By itself.
    Nothing,
    /// These are started.
    Start(Vec<String>),
    /// These go on.
    Resume(Vec<String>),
    /// Fine weather.
    Weather,
    /// Something that repeats itself is ended, and then fine weather.
    Beat(Shutdown, JoinHandle<()>, Vec<String>),
    /// The disk of a node is well again; if the node has ended, it is started.
    Disk(String),
    /// The power of a node comes back, its disk having lied before or not.
    Power(String, bool),
    /// The power of a node's file system comes back.
    Image(String),
    /// A node has its processor time back.
    Group(String, PathBuf),
    /// A node's wall clock is right again.
    Clock(String),
    /// A peer is on the lists again: the files as they were.
    Lists(Vec<(PathBuf, String)>),
    /// A peer is put back to a copy.
    Backup(String, PathBuf),
}

/// A fault that was begun, or left out.
pub struct Struck {
    /// What was done.
    pub nemesis: Nemesis,
    /// Its number in each recording; empty when it was left out.
    pub faults: Vec<u64>,
    /// Who was struck.
    pub nodes: Vec<String>,
    /// What became of it.
    pub injection: Injection,
    undo: Undo,
}

/// A recording, and the nodes whose events it has.
#[derive(Clone)]
pub struct Side {
    /// Whether these are the voters.
    pub votes: bool,
    /// Where it is recorded.
    pub recorder: Recorder,
}

/// A cluster, and all that faults need of it.
pub struct World {
    /// What clients of the peers share.
    pub ground: Option<peers::Ground>,
    /// Files that say how far nodes' wall clocks are off, by node.
    pub clocks: BTreeMap<String, PathBuf>,
    /// The nodes.
    pub hive: Hive,
    /// Disks that can fail, by node. They go after the nodes.
    pub disks: BTreeMap<String, Disk>,
    /// File systems whose power can be cut, by node. They too.
    pub images: BTreeMap<String, RealDisk>,
    /// What is between them, if it can be disturbed. Goes after the nodes.
    pub network: Option<Network>,
    /// Recordings.
    pub sides: Vec<Side>,
    /// Where every fault's chance comes from.
    pub draw: Draw,
    /// How many peers may still lose what they have (`NEM-3`).
    pub losses: u64,
    /// A daemon of another version, until all nodes are of it.
    pub next: Option<PathBuf>,
}

impl World {
    /// A cluster with nothing between its nodes or below them that could be disturbed; of its peers one may lose what it has.
    pub fn of(hive: Hive) -> Self {
        Self {
            ground: None,
            clocks: BTreeMap::new(),
            hive,
            disks: BTreeMap::new(),
            images: BTreeMap::new(),
            network: None,
            sides: Vec::new(),
            draw: Draw::new(1),
            losses: 1,
            next: None,
        }
    }

    /// Why a nemesis cannot be had here; `None` if it can.
    pub fn obstacle(&self, nemesis: Nemesis) -> Option<String> {
        nemesis.needs().iter().find_map(|need| match need {
            Need::Voters => self.hive.names(true).is_empty().then(|| "there is no root".to_owned()),
            Need::Peers => {
                self.hive.names(false).is_empty().then(|| "there are no peers".to_owned())
            }
            Need::Network => {
                self.network.is_none().then(|| "the network cannot be disturbed".to_owned())
            }
            Need::Disk => self.disks.is_empty().then(|| "no disk can fail".to_owned()),
            Need::Image => self.images.is_empty().then(|| "no power can be cut".to_owned()),
            Need::Clock => machine::clock_obstacle(),
            Need::Groups => machine::groups_obstacle(),
            Need::Next => self.next.is_none().then(|| "there is no other version".to_owned()),
        })
    }

    fn record(&self, nemesis: Nemesis, nodes: &[String]) -> Vec<u64> {
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        self.sides.iter().map(|side| side.recorder.fault(nemesis.name(), &names)).collect()
    }

    /// Records that nodes run, or do not.
    pub(super) fn tell(&self, nodes: &[String], up: bool) {
        for node in nodes {
            let votes = self.hive.names(true).contains(node);
            for side in self.sides.iter().filter(|side| side.votes == votes) {
                side.recorder.node(node, up);
            }
        }
    }

    /// A node by chance.
    pub(super) fn any(&mut self) -> String {
        let place = self.draw.place(self.hive.members.len());
        self.hive.members[place].name.clone()
    }

    /// All nodes in an order by chance.
    pub(super) fn shuffled(&mut self) -> Vec<String> {
        let mut all: Vec<String> = self.hive.members.iter().map(|m| m.name.clone()).collect();
        for at in (1..all.len()).rev() {
            let other = self.draw.place(at + 1);
            all.swap(at, other);
        }
        all
    }

    /// Notes that a peer is deliberately without what it had: its chain begins anew.
    pub(super) fn set_back(&mut self, node: &str) {
        self.losses = self.losses.saturating_sub(1);
        if let Some(ground) = &self.ground {
            ground.set_back(node);
        }
    }

    /// Strikes, and looks whether it took hold.
    ///
    /// # Errors
    /// In words: the cluster is not as it must be for that.
    pub async fn strike(&mut self, nemesis: Nemesis) -> Result<Struck, String> {
        let skipped = |reason: String| {
            let injection = Injection::Skipped { reason };
            Struck { nemesis, faults: vec![], nodes: vec![], injection, undo: Undo::Nothing }
        };
        if let Some(reason) = self.obstacle(nemesis) {
            return Ok(skipped(reason));
        }
        use Nemesis::*;
        let blow = match nemesis {
            KillNode | KillLeader | KillFollower | KillMajority | KillAll | StopNode
            | PauseNode | PauseLeader | PauseMost | Stutter => process::strike(self, nemesis).await,
            Isolate | IsolateLeader | Split | OneWay | Bridge | Flap | Delay | Loss | Duplicate
            | Reorder | Corrupt | SlowLine | SmallOnly => network::strike(self, nemesis).await,
            DiskFull | SyncError | WriteError | ReadError | SlowDisk | PowerLoss | LyingDisk => {
                disk::strike(self, nemesis).await
            }
            CutPower => disk::cut_power(self).await,
            Starve | ClockForward | ClockBack => machine::strike(self, nemesis).await,
            RollingRestart | Upgrade | Transfer | OffTheList | EmptyDisk | OldBackup => {
                operator::strike(self, nemesis).await
            }
        };
        match blow? {
            Ok(Blow { faults, nodes, shown, undo }) => {
                let injection = match shown {
                    Ok(()) => Injection::Installed,
                    // The switch is this process's own: what it was told is in force, and has met nothing.
                    Err(reason) if matches!(undo, Undo::Weather) => Injection::Skipped { reason },
                    Err(detail) => Injection::Indeterminate { detail },
                };
                Ok(Struck { nemesis, faults, nodes, injection, undo })
            }
            Err(reason) => Ok(skipped(reason)),
        }
    }

    /// Ends a fault: everything is as it was, and the nodes answer.
    ///
    /// # Errors
    /// In words: it does not end.
    pub async fn heal(&mut self, struck: Struck) -> Result<(), String> {
        match struck.undo {
            Undo::Nothing => {}
            Undo::Start(nodes) => self.start(&nodes).await?,
            Undo::Resume(nodes) => {
                self.hive.command("resume", &nodes).await?;
            }
            Undo::Weather => network::clear(self),
            Undo::Beat(stop, beat, nodes) => {
                stop.trigger();
                beat.await.map_err(|error| format!("{}: {error}", struck.nemesis.name()))?;
                network::clear(self);
                process::let_go(self, &nodes).await;
            }
            Undo::Disk(node) => disk::heal(self, &node).await?,
            Undo::Image(node) => disk::power_of_image(self, &node).await?,
            Undo::Power(node, lied) => disk::power(self, &node, lied).await?,
            Undo::Group(node, group) => machine::let_go(self, &node, &group).await?,
            Undo::Clock(node) => machine::set_right(self, &node).await?,
            Undo::Lists(files) => operator::write_lists(&files)?,
            Undo::Backup(node, copy) => operator::put_back(self, &node, &copy).await?,
        }
        for (side, fault) in self.sides.iter().zip(struck.faults) {
            side.recorder.fault_over(fault);
        }
        Ok(())
    }

    /// Gives a peer that does not run an empty disk, and hands its new row to all.
    ///
    /// # Errors
    /// In words: it does not come back.
    pub async fn begin_anew(&mut self, node: &str) -> Result<(), String> {
        operator::begin_anew(self, node).await
    }

    /// Starts nodes, and waits until they take requests.
    pub(super) async fn start(&self, nodes: &[String]) -> Result<(), String> {
        self.start_as(&self.hive.plan().binary, nodes).await
    }

    /// Starts nodes as this daemon, and waits until they take requests.
    pub(super) async fn start_as(&self, binary: &Path, nodes: &[String]) -> Result<(), String> {
        let own = |node: &&String| self.clocks.contains_key(*node);
        let (apart, together): (Vec<String>, Vec<String>) =
            nodes.iter().cloned().partition(|n| own(&n));
        // Those with an environment of their own come last: they may need the others to take requests.
        if !together.is_empty() {
            self.hive.command_of(binary, "start", &together, &[]).await?;
        }
        for node in apart {
            let variables = self.clocks.get(&node).map(|file| machine::variables(file));
            let variables = variables.unwrap_or_default();
            self.hive.command_of(binary, "start", &[node], &variables).await?;
        }
        self.tell(nodes, true);
        Ok(())
    }

    /// The leader of the root, or why nobody can be struck.
    pub(super) async fn leader(&self) -> Result<String, String> {
        self.hive.leader(LEADER).await.ok_or_else(|| "nobody leads".to_owned())
    }
}

/// What a strike came to.
pub(super) struct Blow {
    faults: Vec<u64>,
    nodes: Vec<String>,
    /// That it showed, or what did not.
    shown: Result<(), String>,
    undo: Undo,
}

/// A blow, or why it was left out.
pub(super) type Stroke = Result<Blow, String>;
