//! What is done to a world, and when: decided before the run begins.
//!
//! A schedule is a list of strikes. It is drawn from the seed alone, so that the same run can be made
//! with some of its strikes left out: that is how a failing seed is made small.
//!
//! Invariants: `SCH-1` a seed gives the same schedule in every build; `SCH-2` at most a minority of the
//! voters is destroyed at any time, and a destroyed one never comes back: what a voter has promised is
//! lost with its disk. Where the quorum is lost, what the majority knew is found in the best folder.
//!
//! Not here: doing it (`strike`).

use std::time::Duration;

use crate::workload::draw::Draw;

/// Kinds of faults. The names are those of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody reaches anybody.
    FullSplit,
    /// Two sides; each client is on one of them.
    MajorityMinority,
    /// One direction between two voters is cut.
    OneWayCut,
    /// One voter reaches nobody.
    Isolated,
    /// Two sides that only one voter reaches.
    Bridge,
    /// Two sides that come and go.
    Flapping,
    /// Packets are lost and sent again.
    Loss,
    /// Everything takes longer.
    Delay,
    /// Some things take longer.
    Jitter,
    /// One link is slow.
    SlowLink,
    /// All connections of one voter are reset.
    Reset,
    /// The process dies.
    Crash,
    /// The power is lost: unsynced data is gone, more or less of it.
    PowerLoss,
    /// The power is lost in the middle of an effect of the disk, which is torn.
    TornWrite,
    /// The power is lost right after a step of the protocol was taken, before anybody is told of it.
    PowerLossAtStep,
    /// The process stands still and goes on.
    Pause,
    /// The process gets little time.
    SlowNode,
    /// Everybody is restarted, at nearly the same time, several times.
    RestartStorm,
    /// Everybody is restarted, one after the other.
    RollingRestart,
    /// The process dies again and again while it starts.
    KillInStart,
    /// A bit of the log, the snapshot or a memory flips at rest; the node is replaced.
    BitFlip,
    /// A file of the root or a peer's database is cut short at rest; the node is replaced.
    TruncatedFile,
    /// The disk lies about syncs until the power is lost; the node is replaced.
    LostFsync,
    /// A sync fails.
    SyncEio,
    /// A read fails.
    ReadEio,
    /// A write fails.
    WriteEio,
    /// The disk is full for a while.
    Enospc,
    /// Syncs are slow.
    SlowFsync,
    /// The wall clock is off.
    ClockOffset,
    /// The clock is fast or slow.
    ClockDrift,
    /// The clock jumps forward.
    ClockForward,
    /// The wall clock jumps back.
    ClockBack,
    /// The clock stands still.
    ClockFrozen,
    /// A new voter joins as a learner and is promoted, an old one leaves.
    AddRemove,
    /// A voter is replaced by a new one in one change.
    Replace,
    /// The leadership is handed over.
    Transfer,
    /// A voter that was removed comes back.
    OldNodeReturns,
    /// A snapshot is made now.
    Snapshot,
    /// A voter is put back from an old backup; it is fenced and replaced.
    RestoreBackup,
    /// Everybody dies, and an operator goes on with the best folder alone; new voters join.
    QuorumLoss,
    /// An agent is shut out; what it says at any voter afterwards is refused.
    Revocation,
    /// An agent gets another key.
    KeyRotation,
    /// A client sends more than a body may have.
    OversizedBody,
    /// A client presents a key that is none.
    BadCredentials,
    /// A client asks for all changes and does not read them.
    SlowConsumer,
    /// Peers lose their disks at one moment, fewer than a quorum; new nodes on empty disks come instead.
    Wipe,
    /// A peer is put back to an older backup.
    PeerRestored,
    /// A message between peers comes again, also after a restart.
    ReplayedMessage,
}

impl Kind {
    /// All kinds that a root knows, with their names.
    pub const ALL: [(&'static str, Kind); 45] = [
        ("full_split", Kind::FullSplit),
        ("majority_minority", Kind::MajorityMinority),
        ("one_way_cut", Kind::OneWayCut),
        ("isolated", Kind::Isolated),
        ("bridge", Kind::Bridge),
        ("flapping", Kind::Flapping),
        ("loss", Kind::Loss),
        ("delay", Kind::Delay),
        ("jitter", Kind::Jitter),
        ("slow_link", Kind::SlowLink),
        ("reset", Kind::Reset),
        ("crash", Kind::Crash),
        ("power_loss", Kind::PowerLoss),
        ("torn_write", Kind::TornWrite),
        ("power_loss_at_step", Kind::PowerLossAtStep),
        ("pause", Kind::Pause),
        ("slow_node", Kind::SlowNode),
        ("restart_storm", Kind::RestartStorm),
        ("rolling_restart", Kind::RollingRestart),
        ("kill_in_start", Kind::KillInStart),
        ("bit_flip", Kind::BitFlip),
        ("truncated_file", Kind::TruncatedFile),
        ("lost_fsync", Kind::LostFsync),
        ("sync_eio", Kind::SyncEio),
        ("read_eio", Kind::ReadEio),
        ("write_eio", Kind::WriteEio),
        ("enospc", Kind::Enospc),
        ("slow_fsync", Kind::SlowFsync),
        ("clock_offset", Kind::ClockOffset),
        ("clock_drift", Kind::ClockDrift),
        ("clock_forward", Kind::ClockForward),
        ("clock_back", Kind::ClockBack),
        ("clock_frozen", Kind::ClockFrozen),
        ("add_remove", Kind::AddRemove),
        ("replace", Kind::Replace),
        ("transfer", Kind::Transfer),
        ("old_node_returns", Kind::OldNodeReturns),
        ("snapshot", Kind::Snapshot),
        ("restore_backup", Kind::RestoreBackup),
        ("quorum_loss", Kind::QuorumLoss),
        ("revocation", Kind::Revocation),
        ("key_rotation", Kind::KeyRotation),
        ("oversized_body", Kind::OversizedBody),
        ("bad_credentials", Kind::BadCredentials),
        ("slow_consumer", Kind::SlowConsumer),
    ];

    /// All kinds that peers know, with their names.
    pub const PEERS: &'static [(&'static str, Kind)] = &[
        ("full_split", Kind::FullSplit),
        ("majority_minority", Kind::MajorityMinority),
        ("one_way_cut", Kind::OneWayCut),
        ("isolated", Kind::Isolated),
        ("bridge", Kind::Bridge),
        ("flapping", Kind::Flapping),
        ("loss", Kind::Loss),
        ("delay", Kind::Delay),
        ("jitter", Kind::Jitter),
        ("slow_link", Kind::SlowLink),
        ("reset", Kind::Reset),
        ("crash", Kind::Crash),
        ("power_loss", Kind::PowerLoss),
        ("torn_write", Kind::TornWrite),
        ("pause", Kind::Pause),
        ("slow_node", Kind::SlowNode),
        ("restart_storm", Kind::RestartStorm),
        ("rolling_restart", Kind::RollingRestart),
        ("kill_in_start", Kind::KillInStart),
        ("bit_flip", Kind::BitFlip),
        ("truncated_file", Kind::TruncatedFile),
        ("lost_fsync", Kind::LostFsync),
        ("sync_eio", Kind::SyncEio),
        ("read_eio", Kind::ReadEio),
        ("write_eio", Kind::WriteEio),
        ("enospc", Kind::Enospc),
        ("slow_fsync", Kind::SlowFsync),
        ("clock_offset", Kind::ClockOffset),
        ("clock_drift", Kind::ClockDrift),
        ("clock_forward", Kind::ClockForward),
        ("clock_back", Kind::ClockBack),
        ("clock_frozen", Kind::ClockFrozen),
        ("oversized_body", Kind::OversizedBody),
        ("bad_credentials", Kind::BadCredentials),
        ("slow_consumer", Kind::SlowConsumer),
        ("wipe", Kind::Wipe),
        ("peer_restored", Kind::PeerRestored),
        ("replayed_message", Kind::ReplayedMessage),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.iter().chain(Self::PEERS);
        all.find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether it changes who is in the group, or ends in such a change. One at a time.
    pub fn changes_members(self) -> bool {
        self.destroys()
            || matches!(
                self,
                Self::AddRemove
                    | Self::Replace
                    | Self::OldNodeReturns
                    | Self::QuorumLoss
                    | Self::Wipe
                    | Self::PeerRestored
            )
    }

    /// Whether it costs a voter its disk.
    pub fn destroys(self) -> bool {
        matches!(self, Self::BitFlip | Self::TruncatedFile | Self::LostFsync | Self::RestoreBackup)
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// When it begins, counted from the moment the clients begin.
    pub at: Duration,
    /// How long it lasts, if it lasts.
    pub lasts: Duration,
    /// What happens.
    pub kind: Kind,
    /// Decides on whom and how, together with what the world looks like then.
    pub chance: u64,
}

impl std::fmt::Display for Strike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {:?} for {:?}", self.kind.name(), self.at, self.lasts)
    }
}

/// What a schedule is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'o> {
    /// Decides everything.
    pub seed: u64,
    /// Faults.
    pub strikes: u64,
    /// What may happen.
    pub kinds: &'o [Kind],
    /// Time in which faults begin.
    pub faults_for: Duration,
    /// Longest fault, milliseconds.
    pub longest_fault_ms: u64,
}

/// Draws the strikes of a run, in their order.
pub fn draw(options: Frame<'_>) -> Vec<Strike> {
    let mut draw = Draw::of(options.seed, 0x5C_4ED);
    let until_ms = u64::try_from(options.faults_for.as_millis()).unwrap_or(u64::MAX);
    let mut strikes = Vec::new();
    let mut members_free_ms = 0;
    for _ in 0..options.strikes {
        let kind = options.kinds[draw.place(options.kinds.len())];
        let mut at_ms = draw.below(until_ms);
        let lasts_ms = 100 + draw.below(options.longest_fault_ms);
        let chance = draw.bits();
        if kind.changes_members() {
            // One at a time (`SCH-2`): it begins when the one before has had its time.
            at_ms = at_ms.max(members_free_ms);
            if at_ms > until_ms {
                continue;
            }
            members_free_ms = at_ms + lasts_ms + 20_000;
        }
        let (at, lasts) = (Duration::from_millis(at_ms), Duration::from_millis(lasts_ms));
        strikes.push(Strike { at, lasts, kind, chance });
    }
    strikes.sort_by_key(|strike| strike.at);
    strikes
}
