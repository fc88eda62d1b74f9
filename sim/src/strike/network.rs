//! Faults of the network.
//!
//! The simulated streams are reliable and ordered, as TCP is: what is lost comes later, and what is cut
//! waits. Reordering and duplication happen between streams and through retries, not within one.
//!
//! Not here: counting cuts (`world::fleet::links`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use madsim::{net::NetSim, task::NodeId};
use runtime::{clock, link::sim::reset_connections};

use super::Blow;
use crate::{
    schedule::Kind,
    world::{
        fleet::{
            Host,
            links::{Way, between},
        },
        root::RootWorld,
    },
};

/// Latency of an undisturbed packet, milliseconds, at most.
const LATENCY_MS: u64 = 10;

pub(super) async fn carry_out(blow: &mut Blow) {
    match blow.strike.kind {
        Kind::FullSplit => {
            let all = blow.shuffled();
            cut(blow, between(&all, &all)).await;
        }
        Kind::MajorityMinority => {
            let ways = sides(blow);
            cut(blow, ways).await;
        }
        Kind::OneWayCut => {
            let voters: Vec<NodeId> = blow.fleet.hosts().iter().map(|voter| voter.id).collect();
            let (from, step) =
                (blow.draw.place(voters.len()), 1 + blow.draw.place(voters.len() - 1));
            cut(blow, vec![(voters[from], voters[(from + step) % voters.len()])]).await;
        }
        Kind::Isolated => {
            let Some(voter) = blow.target().await else { return };
            let others: Vec<NodeId> =
                blow.shuffled().into_iter().filter(|id| *id != voter.id).collect();
            cut(blow, between(&[voter.id], &others)).await;
        }
        Kind::Bridge => {
            let Some(bridge) = blow.host() else { return };
            let ways = sides(blow);
            let touches = |way: &Way| way.0 == bridge.id || way.1 == bridge.id;
            cut(blow, ways.into_iter().filter(|way| !touches(way)).collect()).await;
        }
        Kind::Flapping => flap(blow).await,
        Kind::Loss => {
            let loss = [0.05, 0.2, 0.5][blow.draw.place(3)];
            quality(blow, |config| config.packet_loss_rate = loss).await;
        }
        Kind::Delay => {
            let low = 20 + blow.draw.below(150);
            let range = Duration::from_millis(low)..Duration::from_millis(low + 20);
            quality(blow, |config| config.send_latency = range).await;
        }
        Kind::Jitter => {
            let high = LATENCY_MS + 50 + blow.draw.below(400);
            let range = Duration::from_millis(1)..Duration::from_millis(high);
            quality(blow, |config| config.send_latency = range).await;
        }
        Kind::SlowLink => slow_link(blow).await,
        Kind::Reset => {
            let Some(voter) = blow.target().await else { return };
            let fault = blow.begin(&[&voter.name]);
            reset_connections(voter.id);
            blow.over(fault);
        }
        _ => {}
    }
}

/// Two sides, the smaller of which has no majority; clients are on either.
fn sides(blow: &mut Blow) -> Vec<Way> {
    let voters: Vec<NodeId> = blow.fleet.hosts().iter().map(|voter| voter.id).collect();
    let minority = 1 + blow.draw.place((voters.len() / 2).max(1));
    let first = blow.draw.place(voters.len());
    let in_minority = |at: usize| (at + voters.len() - first) % voters.len() < minority;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (at, voter) in voters.iter().enumerate() {
        if in_minority(at) { &mut small } else { &mut large }.push(*voter);
    }
    for client in blow.fleet.clients.clone() {
        if blow.draw.percent(50) { &mut small } else { &mut large }.push(client);
    }
    between(&small, &large)
}

async fn cut(blow: &Blow, ways: Vec<Way>) {
    let names = names(blow, &ways);
    let fault = blow.begin(&names.iter().map(String::as_str).collect::<Vec<_>>());
    blow.fleet.links.cut(&ways);
    match blow.root() {
        Some(world) if world.options.mend_at_purge => until_purged(blow, &world).await,
        _ => blow.last().await,
    }
    blow.fleet.links.mend(&ways);
    blow.over(fault);
}

/// Until a majority has purged its log, if that comes before the end of the strike.
async fn until_purged(blow: &Blow, world: &RootWorld) {
    let end = clock::Instant::now() + blow.strike.lasts;
    let voters = blow.fleet.hosts();
    let trap = |voter: &Arc<Host>| world.steps.trap(voter.id, "purged", 1, || {});
    let purged: Vec<Arc<AtomicBool>> = voters.iter().map(trap).collect();
    let sprung = || purged.iter().filter(|purged| purged.load(Ordering::Relaxed)).count();
    while sprung() <= voters.len() / 2 && clock::Instant::now() < end {
        clock::sleep(Duration::from_millis(1)).await;
    }
    voters.iter().for_each(|voter| world.steps.disarm(voter.id));
}

/// The voters that the ways touch; none when they touch all.
fn names(blow: &Blow, ways: &[Way]) -> Vec<String> {
    let voters = blow.fleet.hosts();
    let touched = |id: NodeId| ways.iter().any(|way| way.0 == id || way.1 == id);
    let names: Vec<String> =
        voters.iter().filter(|v| touched(v.id)).map(|v| v.name.clone()).collect();
    if names.len() == voters.len() { Vec::new() } else { names }
}

async fn flap(blow: &mut Blow) {
    let ways = sides(blow);
    let fault = blow.begin(&[]);
    let times = 2 + blow.draw.below(8);
    for _ in 0..times {
        blow.fleet.links.cut(&ways);
        clock::sleep(Duration::from_millis(20 + blow.draw.below(400))).await;
        blow.fleet.links.mend(&ways);
        clock::sleep(Duration::from_millis(20 + blow.draw.below(400))).await;
    }
    blow.over(fault);
}

async fn slow_link(blow: &mut Blow) {
    let voters: Vec<NodeId> = blow.fleet.hosts().iter().map(|voter| voter.id).collect();
    let (from, step) = (blow.draw.place(voters.len()), 1 + blow.draw.place(voters.len() - 1));
    let ways = between(&[voters[from]], &[voters[(from + step) % voters.len()]]);
    let fault = blow.begin(&[]);
    let end = clock::Instant::now() + blow.strike.lasts;
    // Packets wait for one of the short moments in which the link is open.
    while clock::Instant::now() < end {
        blow.fleet.links.cut(&ways);
        clock::sleep(Duration::from_millis(30 + blow.draw.below(120))).await;
        blow.fleet.links.mend(&ways);
        clock::sleep(Duration::from_millis(15)).await;
    }
    blow.over(fault);
}

async fn quality(blow: &Blow, change: impl FnOnce(&mut madsim::net::Config)) {
    let fault = blow.begin(&[]);
    NetSim::current().update_config(change);
    blow.last().await;
    // Of two that overlap, the first to end makes the network right again: it may only be better.
    NetSim::current().update_config(|config| *config = madsim::net::Config::default());
    blow.over(fault);
}
