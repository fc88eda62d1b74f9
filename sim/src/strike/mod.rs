//! Faults, done to a fleet of simulated machines.
//!
//! | file | what |
//! |---|---|
//! | `network` | splits, cuts, loss, delay, resets |
//! | `process` | crashes, power losses, pauses, restarts |
//! | `disk` | failing, lying, full and damaged disks |
//! | `clock` | clocks that are off, drift, jump or stand still |
//! | `client` | clients that send too much, read too slowly, or have no right |
//! | `members` | changes of membership, leader transfers, backups put back |
//! | `recovery` | the quorum is lost for ever |
//! | `peers`, `replay`, `rot` | peers that lose their disks or have bad ones, and messages that come again |
//!
//! Invariants: `STR-1` a strike undoes what it did before it ends, but for what it destroyed; `STR-2` it
//! is counted when it has taken hold, not when it was tried.
//!
//! Not here: when (`schedule`).

mod client;
mod clock;
mod disk;
mod members;
mod network;
pub mod peers;
mod process;
mod recovery;
pub(crate) mod replay;
mod rot;

use std::sync::Arc;

use madsim::task::NodeId;

use crate::{
    schedule::{Kind, Strike},
    workload::draw::Draw,
    world::{
        fleet::{Fleet, Host},
        peers::PeersWorld,
        root::RootWorld,
    },
};

/// The world that is struck. Clones are one and the same.
#[derive(Clone)]
pub enum World {
    /// A root.
    Root(Arc<RootWorld>),
    /// Peers.
    Peers(Arc<PeersWorld>),
}

impl World {
    /// Its machines.
    pub fn fleet(&self) -> &Arc<Fleet> {
        match self {
            Self::Root(world) => &world.fleet,
            Self::Peers(world) => &world.fleet,
        }
    }

    /// Ends whatever the faults have left.
    pub async fn heal(&self) {
        match self {
            Self::Root(world) => world.fleet.heal().await,
            Self::Peers(world) => world.heal().await,
        }
    }
}

/// A strike while it is carried out.
struct Blow {
    world: World,
    fleet: Arc<Fleet>,
    strike: Strike,
    draw: Draw,
}

impl Blow {
    /// The root, if it is one.
    fn root(&self) -> Option<Arc<RootWorld>> {
        match &self.world {
            World::Root(world) => Some(world.clone()),
            World::Peers(_) => None,
        }
    }

    /// The peers, if it is they.
    fn peers(&self) -> Option<Arc<PeersWorld>> {
        match &self.world {
            World::Peers(world) => Some(world.clone()),
            World::Root(_) => None,
        }
    }

    /// Some machine.
    fn host(&mut self) -> Option<Arc<Host>> {
        let hosts = self.fleet.hosts();
        let place = self.draw.place(hosts.len());
        hosts.get(place).cloned()
    }

    /// Some machine; half of the time the one that leads, where one does.
    async fn target(&mut self) -> Option<Arc<Host>> {
        if self.draw.percent(50)
            && let Some(world) = self.root()
            && let Some(leader) = world.leader().await
        {
            return Some(leader);
        }
        self.host()
    }

    /// Machines of nodes and clients, in some order.
    fn shuffled(&mut self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.fleet.hosts().iter().map(|host| host.id).collect();
        all.extend(&self.fleet.clients);
        for last in (1..all.len()).rev() {
            all.swap(last, self.draw.place(last + 1));
        }
        all
    }

    /// The strike has taken hold, on these nodes.
    fn begin(&self, on: &[&str]) -> u64 {
        let kind = self.strike.kind.name();
        self.fleet.count(kind);
        self.fleet.recorder.fault(kind, on)
    }

    fn over(&self, fault: u64) {
        self.fleet.recorder.fault_over(fault);
    }

    async fn last(&self) {
        runtime::clock::sleep(self.strike.lasts).await;
    }
}

/// Carries a strike out; returns when it is over.
pub async fn carry_out(world: World, strike: Strike) {
    let (draw, fleet) = (Draw::new(strike.chance), world.fleet().clone());
    let mut blow = Blow { world, fleet, strike, draw };
    match strike.kind {
        Kind::FullSplit
        | Kind::MajorityMinority
        | Kind::OneWayCut
        | Kind::Isolated
        | Kind::Bridge
        | Kind::Flapping
        | Kind::Loss
        | Kind::Delay
        | Kind::Jitter
        | Kind::SlowLink
        | Kind::Reset => network::carry_out(&mut blow).await,
        Kind::Crash
        | Kind::PowerLoss
        | Kind::TornWrite
        | Kind::PowerLossAtStep
        | Kind::Pause
        | Kind::SlowNode
        | Kind::RestartStorm
        | Kind::RollingRestart
        | Kind::KillInStart => process::carry_out(&mut blow).await,
        Kind::BitFlip | Kind::TruncatedFile | Kind::LostFsync if blow.peers().is_some() => {
            rot::carry_out(&mut blow).await
        }
        Kind::BitFlip
        | Kind::TruncatedFile
        | Kind::LostFsync
        | Kind::SyncEio
        | Kind::ReadEio
        | Kind::WriteEio
        | Kind::Enospc
        | Kind::SlowFsync => disk::carry_out(&mut blow).await,
        Kind::ClockOffset
        | Kind::ClockDrift
        | Kind::ClockForward
        | Kind::ClockBack
        | Kind::ClockFrozen => clock::carry_out(&mut blow).await,
        Kind::AddRemove
        | Kind::Replace
        | Kind::Transfer
        | Kind::OldNodeReturns
        | Kind::Snapshot
        | Kind::RestoreBackup => members::carry_out(&mut blow).await,
        Kind::Wipe | Kind::PeerRestored | Kind::ReplayedMessage => {
            peers::carry_out(&mut blow).await
        }
        Kind::QuorumLoss => recovery::carry_out(&mut blow).await,
        Kind::Revocation
        | Kind::KeyRotation
        | Kind::OversizedBody
        | Kind::BadCredentials
        | Kind::SlowConsumer => client::carry_out(&mut blow).await,
    }
}
