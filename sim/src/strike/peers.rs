//! Faults of peers: disks that are gone or put back to an earlier time, and messages that come again.
//!
//! Invariants: `STR-5` over a whole run fewer peers are lost than a quorum has, so that what was acknowledged
//! must be left somewhere.
//!
//! Not here: what a new peer is (`world::peers`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use runtime::{
    clock::{self, Instant},
    disk::{Disk, faulty::Loss, write_atomically},
};

use super::Blow;
use crate::{
    judge::history::{Answer, Done, Event, Outcome, What},
    schedule::Kind,
    world::{
        fleet::{Host, links::between},
        peers::PeersWorld,
    },
};

/// Longest wait for the moment that a strike lies in wait for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where a peer keeps everything.
pub const DATA: &str = "data";

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(world) = blow.peers() else { return };
    match blow.strike.kind {
        Kind::Wipe => wipe(blow, &world).await,
        Kind::PeerRestored => restored(blow, &world).await,
        Kind::ReplayedMessage => super::replay::carry_out(blow, &world).await,
        _ => {}
    }
}

/// How many peers may still lose what they have (`STR-5`). One that is put back loses what came after its backup.
pub(super) fn may_be_lost(world: &PeersWorld) -> u64 {
    let lost = world.fleet.all().len() as u64 - world.options.peers;
    let set_back = world.ground.get().map_or(0, |ground| ground.set_backs());
    (world.options.needed() - 1).saturating_sub(lost + set_back)
}

/// The peer that acknowledged last, if it is there.
fn latest(world: &PeersWorld) -> Option<Arc<Host>> {
    let name = world.fleet.recorder.look(|events| {
        let op = events.iter().rev().find_map(|event| match &event.what {
            What::Complete {
                op,
                outcome: Outcome::Done(Done { answer: Answer::Stored { .. }, .. }),
            } => Some(*op),
            _ => None,
        })?;
        events.iter().rev().find_map(|event| match &event.what {
            What::Invoke(invoke) if invoke.op == op => Some(invoke.node.clone()),
            _ => None,
        })
    })?;
    world.fleet.hosts().into_iter().find(|host| host.name == name)
}

/// Waits until somebody is told that a memory is stored, if that comes soon.
async fn until_acknowledged(world: &PeersWorld) {
    let acknowledged = || {
        world.fleet.recorder.look(|events| {
            let stored = |event: &&Event| match &event.what {
                What::Complete { outcome: Outcome::Done(done), .. } => {
                    matches!(done.answer, Answer::Stored { .. })
                }
                _ => false,
            };
            events.iter().rev().filter(stored).count()
        })
    };
    let (before, end) = (acknowledged(), Instant::now() + PATIENCE);
    while acknowledged() == before && Instant::now() < end {
        clock::sleep(Duration::from_millis(1)).await;
    }
}

/// So many peers that can be lost: half of the time the one that acknowledged last is among them.
pub(super) fn victims(blow: &mut Blow, world: &PeersWorld, count: u64) -> Vec<Arc<Host>> {
    let mut victims: Vec<Arc<Host>> = Vec::new();
    if blow.draw.percent(50) {
        victims.extend(latest(world));
    }
    let narrow = |host: &Host| world.options.narrow && host.number == world.options.peers;
    victims.retain(|host| !narrow(host));
    for _ in 0..50 {
        if victims.len() as u64 >= count {
            break;
        }
        let Some(host) = blow.host() else { break };
        if !narrow(&host) && victims.iter().all(|victim| victim.name != host.name) {
            victims.push(host);
        }
    }
    victims
}

/// Some peers lose their disks in the same moment, half of the time right after one has acknowledged a
/// memory; half of those times the power of all others fails in that moment too.
async fn wipe(blow: &mut Blow, world: &Arc<PeersWorld>) {
    let _alone = world.membership.lock().await;
    let left = may_be_lost(world);
    if left == 0 {
        return;
    }
    let count = 1 + blow.draw.below(left);
    let waits = blow.draw.percent(50);
    if waits {
        until_acknowledged(world).await;
    }
    let victims = victims(blow, world, count);
    let names: Vec<&str> = victims.iter().map(|victim| victim.name.as_str()).collect();
    let fault = blow.begin(&names);
    victims.iter().for_each(|victim| world.lose(victim));
    if waits && blow.draw.percent(50) {
        for host in world.fleet.hosts() {
            host.disk.power_loss(Loss::LOSSY[blow.draw.place(4)]);
            host.off();
        }
    }
    blow.last().await;
    for _ in &victims {
        world.join().await;
    }
    blow.over(fault);
}

/// A copy of a peer's machine is made while it runs, and put back some time later, half of the time while other
/// peers cannot be asked.
async fn restored(blow: &mut Blow, world: &Arc<PeersWorld>) {
    let _alone = world.membership.lock().await;
    if may_be_lost(world) == 0 {
        return;
    }
    let Some(host) = blow.host() else { return };
    let backup = files(&host, DATA.into());
    blow.last().await;
    if !host.is_up() {
        return;
    }
    let fault = blow.begin(&[&host.name]);
    host.hold();
    host.crash();
    put_back(&host, &backup);
    if let Some(ground) = world.ground.get() {
        ground.set_back(&host.name);
    }
    let ways = match blow.draw.percent(50) {
        true => {
            let others = world.fleet.hosts();
            let some =
                others.iter().filter(|other| other.name != host.name && blow.draw.percent(50));
            let ids: Vec<_> = some.map(|other| other.id).collect();
            between(&[host.id], &ids)
        }
        false => Vec::new(),
    };
    world.fleet.links.cut(&ways);
    host.let_go();
    host.restart();
    clock::sleep(Duration::from_millis(blow.draw.below(4000))).await;
    world.fleet.links.mend(&ways);
    blow.over(fault);
}

/// All files below a folder.
pub fn files(host: &Host, folder: PathBuf) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for name in host.disk.list(&folder).unwrap_or_default() {
        let path = folder.join(name);
        match host.disk.dump(&path) {
            Some(bytes) => found.push((path, bytes)),
            None => found.extend(files(host, path)),
        }
    }
    found
}

/// Puts the data of a peer back as they were. The machine must be down.
pub fn put_back(host: &Host, backup: &[(PathBuf, Vec<u8>)]) {
    host.disk.clear_faults();
    host.disk.set_capacity_bytes(u64::MAX);
    host.disk.power_on();
    for (path, _) in files(host, DATA.into()) {
        host.disk.remove(&path).expect("a disk without faults");
    }
    for (path, bytes) in backup {
        write_atomically(&host.disk, path, bytes, 0o600).expect("a disk without faults");
    }
}
