//! Faults of processes: killed, stopped, standing still.
//!
//! Not here: what their disks lose (`disk`).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use runtime::{
    clock,
    task::{self, Shutdown},
};

use super::{Blow, Nemesis, Stroke, Undo, World};

/// For how long a stuttering node goes on, and stands still, milliseconds.
const STUTTER_MS: (u64, u64) = (20, 150);
/// Times that it must have stood still to count.
const STUTTERS: u32 = 3;

/// Who is struck; `Err` says why nobody.
async fn victims(world: &mut World, nemesis: Nemesis) -> Result<Vec<String>, String> {
    let all = world.shuffled();
    Ok(match nemesis {
        Nemesis::KillLeader | Nemesis::PauseLeader => vec![world.leader().await?],
        Nemesis::KillFollower => {
            let leader = world.leader().await?;
            let voters = world.hive.names(true);
            let follows = |name: &&String| voters.contains(name) && **name != leader;
            vec![all.iter().find(follows).cloned().ok_or("nobody follows")?]
        }
        Nemesis::KillMajority => all[..all.len() / 2 + 1].to_vec(),
        Nemesis::KillAll => all,
        Nemesis::PauseMost => all[1..].to_vec(),
        _ => vec![world.any()],
    })
}

pub(super) async fn strike(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    let nodes = match victims(world, nemesis).await {
        Ok(nodes) => nodes,
        Err(reason) => return Ok(Err(reason)),
    };
    let faults = world.record(nemesis, &nodes);
    if nemesis == Nemesis::Stutter {
        return stutter(world, nodes, faults).await.map(Ok);
    }
    let verb = match nemesis {
        Nemesis::PauseNode | Nemesis::PauseLeader | Nemesis::PauseMost => "pause",
        Nemesis::StopNode => "stop",
        _ => "kill",
    };
    // The command returns when the system shows that it has happened.
    world.hive.command(verb, &nodes).await?;
    let undo = match verb {
        "pause" => Undo::Resume(nodes.clone()),
        _ => {
            world.tell(&nodes, false);
            Undo::Start(nodes.clone())
        }
    };
    Ok(Ok(Blow { faults, nodes, shown: Ok(()), undo }))
}

async fn stutter(world: &mut World, nodes: Vec<String>, faults: Vec<u64>) -> Result<Blow, String> {
    let node = &nodes[0];
    let pid = world.hive.pid(node).await.ok_or_else(|| format!("{node} does not run"))?;
    let (stop, stood) = (Shutdown::new(), Arc::new(Mutex::new(0)));
    let (stopping, standing) = (stop.clone(), stood.clone());
    let mut draw = sim::workload::draw::Draw::new(world.draw.bits());
    let beat = task::spawn_named("stutter", async move {
        while !stopping.is_cancelled() {
            signal(pid, libc::SIGSTOP);
            clock::sleep(Duration::from_millis(draw.between(STUTTER_MS))).await;
            if stands_still(pid) {
                *standing.lock() += 1;
            }
            signal(pid, libc::SIGCONT);
            clock::sleep(Duration::from_millis(draw.between(STUTTER_MS))).await;
        }
    });
    let deadline = clock::Instant::now() + super::SHOWS;
    while *stood.lock() < STUTTERS && clock::Instant::now() < deadline {
        clock::sleep(super::LOOK).await;
    }
    let shown = match *stood.lock() >= STUTTERS {
        true => Ok(()),
        false => Err(format!("{node} was not seen to stand still")),
    };
    Ok(Blow { faults, shown, undo: Undo::Beat(stop, beat, nodes.clone()), nodes })
}

fn signal(pid: i32, number: i32) {
    // SAFETY: kill(2) takes plain numbers. The process is only ended by this storm, and not while it stutters.
    unsafe { libc::kill(pid, number) };
}

fn stands_still(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may contain anything, parentheses included.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Lets nodes go on that something repeated has left standing.
pub(super) async fn let_go(world: &World, nodes: &[String]) {
    for node in nodes {
        if world.hive.is(node, "paused").await {
            // It shows at the next look whether it goes on.
            let _ = world.hive.command("resume", std::slice::from_ref(node)).await;
        }
    }
}
