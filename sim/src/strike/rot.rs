//! Peers whose disks rot, or lie about what they have kept.
//!
//! A peer that is struck is stopped in order, so that everything it knows is in its database. Then a bit of some
//! memory's text flips, or the file is cut. It must notice: it does not come up, stops itself, or its own checks say
//! so. Until it is thrown away it is asked and asks like every other peer; what it shows and spreads the judges hear.
//!
//! Invariants: `STR-5`; `STR-6` a peer that lost behind its back what it had promised never runs again.
//!
//! Not here: disks that fail honestly (`disk`), and what a disk does under a fault (`runtime::disk::faulty`).

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hivemem::node;
use http::Method;
use madsim::runtime::Handle;
use runtime::{
    clock::{self, Instant},
    disk::{
        DiskRef,
        faulty::{Fault, Loss, When},
    },
    fatal,
};

use super::{Blow, peers};
use crate::{
    schedule::Kind,
    world::{fleet::Host, peers::PeersWorld},
};

/// The database of a node.
const DATABASE: &str = "data/hivemem.db";
/// Text in front of what only one memory says (`workload::peers::errands`), and how much of that there is.
const SAYS: (&[u8], usize) = (b" says ", 12);
/// Longest time until a spoilt disk is noticed.
const NOTICED: Duration = Duration::from_secs(10);
/// Time between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(world) = blow.peers() else { return };
    let _alone = world.membership.lock().await;
    if peers::may_be_lost(&world) == 0 {
        return;
    }
    let Some(victim) = peers::victims(blow, &world, 1).pop() else { return };
    match blow.strike.kind {
        Kind::LostFsync => lie(blow, &world, &victim).await,
        _ => spoil(blow, &world, &victim).await,
    }
}

/// The disk lies about syncs, then the power goes; the machine is thrown away (`STR-6`).
async fn lie(blow: &mut Blow, world: &Arc<PeersWorld>, victim: &Host) {
    let fault = blow.begin(&[&victim.name]);
    // Should it die before, it must not come back either: its promises are lost by then.
    victim.hold();
    victim.disk.inject(Fault::SyncLie, When::PerMillion(1_000_000), "");
    blow.last().await;
    victim.disk.power_loss(Loss::All);
    world.lose(victim);
    world.join().await;
    blow.over(fault);
}

/// Has a node that is down put all it knows into its database; whether it could.
async fn settled(victim: &Host) -> bool {
    victim.disk.power_on();
    victim.disk.clear_faults();
    victim.disk.set_capacity_bytes(u64::MAX);
    let disk: DiskRef = Arc::new(victim.disk.clone());
    let config = victim.config();
    // On a machine of its own: should the disk fail meanwhile, that stops, and nothing else.
    let machine = Handle::current().create_node().name("at rest").build();
    let work = machine.spawn(fatal::sim::contain(async move {
        match node::open_store(disk, &config).await {
            Ok(store) => store.close().await.is_ok(),
            Err(_) => false,
        }
    }));
    let done = clock::timeout(NOTICED, work).await;
    Handle::current().kill(machine.id());
    matches!(done, Ok(Ok(true)))
}

/// Where in a database text of memories is that must not change.
fn places(bytes: &[u8]) -> Vec<usize> {
    let (says, len) = SAYS;
    let found = bytes.windows(says.len() + len).enumerate().filter(|(_, window)| {
        window.starts_with(says) && window[says.len()..].iter().all(u8::is_ascii_hexdigit)
    });
    found.map(|(at, _)| at + says.len()).collect()
}

/// Spoils the database of a peer that is down; whether there was something to spoil.
fn tamper(blow: &mut Blow, victim: &Host) -> bool {
    let bytes = victim.disk.dump(Path::new(DATABASE)).unwrap_or_default();
    let cuts = blow.strike.kind == Kind::TruncatedFile;
    let at = match cuts {
        true => (bytes.len() > 1).then(|| 1 + blow.draw.place(bytes.len() - 1)),
        false => {
            let places = places(&bytes);
            let place = blow.draw.place(places.len());
            places.get(place).map(|at| at + blow.draw.place(SAYS.1))
        }
    };
    let Some(at) = at else { return false };
    let bit = 1u8 << blow.draw.below(8);
    tracing::info!(host = victim.name, at, cuts, "spoilt");
    victim.disk.tamper(Path::new(DATABASE), |bytes| match cuts {
        true => bytes.truncate(at),
        false => bytes[at] ^= bit,
    })
}

/// Whether a peer finds out that its disk is spoilt.
async fn notices(world: &PeersWorld, victim: &Host) -> bool {
    let end = Instant::now() + NOTICED;
    while Instant::now() < end {
        if !victim.is_up() || victim.has_died() {
            return true;
        }
        let ask = |path| world.fleet.ask_at(victim, Method::POST, path, None);
        let (found, chain) =
            (ask("/api/v1/admin/doctor").await, ask("/api/v1/admin/verify-chain").await);
        if let (Ok(found), Ok(chain)) = (found, chain) {
            let clean = found["findings"].as_array().is_some_and(Vec::is_empty);
            return !clean || chain["chain_holds"] == false;
        }
        clock::sleep(LOOK).await;
    }
    false
}

/// Spoils the database at rest.
async fn spoil(blow: &mut Blow, world: &Arc<PeersWorld>, victim: &Host) {
    victim.hold();
    victim.crash();
    if !settled(victim).await || !tamper(blow, victim) {
        victim.let_go();
        return;
    }
    world.spoilt.store(true, Ordering::Relaxed);
    victim.restart();
    if notices(world, victim).await {
        let fault = blow.begin(&[&victim.name]);
        blow.last().await;
        blow.over(fault);
    }
    // Whatever it was that was spoilt: nobody would keep such a disk.
    world.lose(victim);
    world.join().await;
}
