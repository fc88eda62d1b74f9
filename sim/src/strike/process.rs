//! Faults of processes and of the power.
//!
//! Not here: starting again what has died (the world's supervisor does, within seconds).

use std::{sync::atomic::Ordering, time::Duration};

use madsim::runtime::Handle;
use runtime::{
    clock::{self, Instant},
    disk::faulty::{Fault, Loss, When},
};

use super::Blow;
use crate::schedule::Kind;

/// Longest wait for the moment that a strike lies in wait for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps that the power is lost at, and whether it takes an election to see one.
const STEPS: [(&str, bool); 10] = [
    ("voted", true),
    ("voted", true),
    ("leader", true),
    ("truncated", true),
    ("appended", false),
    ("durable", false),
    ("committed", false),
    ("applied", false),
    ("snapshot", false),
    ("purged", false),
];
/// Files whose effects a power loss may tear: all of them, the log's, the store's.
const TORN: [&str; 4] = ["", "", ".seg", "-wal"];

pub(super) async fn carry_out(blow: &mut Blow) {
    match blow.strike.kind {
        Kind::Crash => {
            let Some(voter) = blow.target().await else { return };
            let fault = blow.begin(&[&voter.name]);
            voter.crash();
            blow.over(fault);
        }
        Kind::PowerLoss => power_loss(blow).await,
        Kind::TornWrite => torn_write(blow).await,
        Kind::PowerLossAtStep => power_loss_at_step(blow).await,
        Kind::Pause => {
            let Some(voter) = blow.target().await else { return };
            let fault = blow.begin(&[&voter.name]);
            Handle::current().pause(voter.id);
            blow.last().await;
            Handle::current().resume(voter.id);
            blow.over(fault);
        }
        Kind::SlowNode => slow_node(blow).await,
        Kind::RestartStorm => storm(blow).await,
        Kind::RollingRestart => rolling(blow).await,
        Kind::KillInStart => kill_in_start(blow).await,
        _ => {}
    }
}

/// One voter, or a whole rack of them.
async fn power_loss(blow: &mut Blow) {
    let loss = Loss::LOSSY[blow.draw.place(4)];
    let mut voters = match blow.draw.percent(30) {
        true => blow.fleet.hosts(),
        false => Vec::new(),
    };
    if voters.is_empty() {
        voters.extend(blow.target().await);
    }
    let names: Vec<&str> = voters.iter().map(|voter| voter.name.as_str()).collect();
    let fault = blow.begin(&names);
    for voter in &voters {
        voter.disk.power_loss(loss);
        voter.off();
    }
    blow.over(fault);
}

async fn torn_write(blow: &mut Blow) {
    let Some(voter) = blow.target().await else { return };
    let loss = if blow.draw.percent(70) { Loss::Torn } else { Loss::Prefix };
    let suffix = TORN[blow.draw.place(TORN.len())];
    let cuts = voter.disk.stats().cuts;
    voter.disk.inject(Fault::PowerCut(loss), When::Nth(1 + blow.draw.below(60)), suffix);
    if comes(|| voter.disk.stats().cuts > cuts).await {
        let fault = blow.begin(&[&voter.name]);
        blow.over(fault);
    }
}

/// Whether it comes to that soon.
async fn comes(so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !so() && Instant::now() < end {
        clock::sleep(Duration::from_millis(5)).await;
    }
    so()
}

/// A voter loses its power in the very moment in which it has taken a step.
async fn power_loss_at_step(blow: &mut Blow) {
    let (step, elected) = STEPS[blow.draw.place(STEPS.len())];
    let loss = Loss::LOSSY[blow.draw.place(4)];
    let Some(world) = blow.root() else { return };
    let leader = world.leader().await;
    let Some(voter) = blow.host() else { return };
    let disk = voter.disk.clone();
    let nth = if elected { 1 } else { 1 + blow.draw.below(30) };
    let sprung = world.steps.trap(voter.id, step, nth, move || disk.power_loss(loss));
    if let Some(leader) = leader.filter(|_| elected) {
        leader.crash();
    }
    if comes(|| sprung.load(Ordering::Relaxed)).await {
        let fault = blow.begin(&[&voter.name]);
        blow.over(fault);
    } else {
        world.steps.disarm(voter.id);
    }
}

async fn slow_node(blow: &mut Blow) {
    let Some(voter) = blow.target().await else { return };
    let fault = blow.begin(&[&voter.name]);
    let end = Instant::now() + blow.strike.lasts;
    while Instant::now() < end {
        Handle::current().pause(voter.id);
        clock::sleep(Duration::from_millis(10 + blow.draw.below(60))).await;
        Handle::current().resume(voter.id);
        clock::sleep(Duration::from_millis(5 + blow.draw.below(20))).await;
    }
    blow.over(fault);
}

async fn storm(blow: &mut Blow) {
    let fault = blow.begin(&[]);
    for _ in 0..2 + blow.draw.below(3) {
        for voter in blow.fleet.hosts() {
            if voter.is_held() {
                continue;
            }
            voter.crash();
            clock::sleep(Duration::from_millis(blow.draw.below(100))).await;
            voter.restart();
        }
        clock::sleep(Duration::from_millis(blow.draw.below(1500))).await;
    }
    blow.over(fault);
}

async fn rolling(blow: &mut Blow) {
    let fault = blow.begin(&[]);
    for voter in blow.fleet.hosts() {
        if voter.is_held() {
            continue;
        }
        voter.crash();
        clock::sleep(Duration::from_millis(100 + blow.draw.below(400))).await;
        voter.restart();
        clock::sleep(Duration::from_millis(500 + blow.draw.below(1500))).await;
    }
    blow.over(fault);
}

async fn kill_in_start(blow: &mut Blow) {
    // Who is held down may have lost what it had promised.
    let Some(voter) = blow.target().await.filter(|voter| !voter.is_held()) else { return };
    let fault = blow.begin(&[&voter.name]);
    for _ in 0..1 + blow.draw.below(5) {
        voter.crash();
        voter.restart();
        clock::sleep(Duration::from_millis(blow.draw.below(40))).await;
    }
    voter.disk.power_loss(Loss::LOSSY[blow.draw.place(4)]);
    voter.off();
    blow.over(fault);
}
