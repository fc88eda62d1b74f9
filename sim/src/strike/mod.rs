//! Faults, done to a world of voters.
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
mod process;
mod recovery;

use std::sync::Arc;

use madsim::task::NodeId;

use crate::{
    schedule::{Kind, Strike},
    workload::draw::Draw,
    world::root::{RootWorld, Voter},
};

/// A strike while it is carried out.
struct Blow {
    world: Arc<RootWorld>,
    strike: Strike,
    draw: Draw,
}

impl Blow {
    /// Some voter.
    fn voter(&mut self) -> Option<Arc<Voter>> {
        let voters = self.world.voters();
        let place = self.draw.place(voters.len());
        voters.get(place).cloned()
    }

    /// Some voter; half of the time the one that leads.
    async fn target(&mut self) -> Option<Arc<Voter>> {
        if self.draw.percent(50)
            && let Some(leader) = self.world.leader().await
        {
            return Some(leader);
        }
        self.voter()
    }

    /// Machines of voters and clients, in some order.
    fn shuffled(&mut self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.world.voters().iter().map(|voter| voter.id).collect();
        all.extend(&self.world.clients);
        for last in (1..all.len()).rev() {
            all.swap(last, self.draw.place(last + 1));
        }
        all
    }

    /// The strike has taken hold, on these voters.
    fn begin(&self, on: &[&str]) -> u64 {
        let kind = self.strike.kind.name();
        self.world.count(kind);
        self.world.recorder.fault(kind, on)
    }

    fn over(&self, fault: u64) {
        self.world.recorder.fault_over(fault);
    }

    async fn last(&self) {
        runtime::clock::sleep(self.strike.lasts).await;
    }
}

/// Carries a strike out; returns when it is over.
pub async fn carry_out(world: Arc<RootWorld>, strike: Strike) {
    let draw = Draw::new(strike.chance);
    let mut blow = Blow { world, strike, draw };
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
        Kind::QuorumLoss => recovery::carry_out(&mut blow).await,
        Kind::Revocation
        | Kind::KeyRotation
        | Kind::OversizedBody
        | Kind::BadCredentials
        | Kind::SlowConsumer => client::carry_out(&mut blow).await,
    }
}
