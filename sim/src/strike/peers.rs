//! Faults of peers: disks that are gone, and messages that come again.
//!
//! Invariants: `STR-5` over a whole run fewer peers are lost than a quorum has, so that what was acknowledged
//! must be left somewhere.
//!
//! Not here: what a new peer is (`world::peers`).

use std::sync::Arc;

use super::Blow;
use crate::{
    judge::history::{Answer, Done, Outcome, What},
    schedule::Kind,
    world::{fleet::Host, peers::PeersWorld},
};

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(world) = blow.peers() else { return };
    match blow.strike.kind {
        Kind::Wipe => wipe(blow, &world).await,
        Kind::ReplayedMessage => super::replay::carry_out(blow, &world).await,
        _ => {}
    }
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

/// Some peers lose their disks in the same moment: half of the time the one that acknowledged last is among
/// them.
async fn wipe(blow: &mut Blow, world: &Arc<PeersWorld>) {
    let _alone = world.membership.lock().await;
    let lost = world.fleet.all().len() as u64 - world.options.peers;
    let left = (world.options.needed() - 1).saturating_sub(lost);
    if left == 0 {
        return;
    }
    let count = 1 + blow.draw.below(left);
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
        let Some(host) = blow.host() else { return };
        if !narrow(&host) && victims.iter().all(|victim| victim.name != host.name) {
            victims.push(host);
        }
    }
    let names: Vec<&str> = victims.iter().map(|victim| victim.name.as_str()).collect();
    let fault = blow.begin(&names);
    victims.iter().for_each(|victim| world.lose(victim));
    blow.last().await;
    for _ in &victims {
        world.join().await;
    }
    blow.over(fault);
}
