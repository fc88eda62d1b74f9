//! Faults of what is below a node.
//!
//! Invariant: a node whose sync failed ends; one that goes on ends the run.
//!
//! Not here: the disk (`crate::disk`).

use std::time::Duration;

use runtime::{
    clock::{self, Instant},
    disk::faulty::{Fault, Loss, When},
};

use super::{Blow, LOOK, Nemesis, SHOWS, Stroke, Undo, World, operator};
use crate::disk::Disk;

/// Every operation.
const ALWAYS: When = When::PerMillion(1_000_000);
/// Bytes that a full disk may still have, at most.
const ROOM_BYTES: u64 = 20_000;
/// How long a node without power may take to notice.
const GRACE: Duration = Duration::from_secs(2);
/// The disk's own word for being full.
const FULL: &str = "capacity";

/// How a fault is put into a disk, and by which name the disk counts it.
fn rule(world: &mut World, nemesis: Nemesis) -> Option<(Fault, When)> {
    let once = When::Nth(1 + world.draw.below(40));
    match nemesis {
        Nemesis::SyncError => Some((Fault::SyncEio, once)),
        Nemesis::WriteError => Some((Fault::WriteEio, once)),
        Nemesis::ReadError => Some((Fault::ReadEio, When::Nth(1))),
        Nemesis::SlowDisk => {
            let slow = Duration::from_millis(world.draw.between((20, 300)));
            Some((Fault::SyncSlow(slow), ALWAYS))
        }
        Nemesis::LyingDisk => Some((Fault::SyncLie, ALWAYS)),
        _ => None,
    }
}

/// A node whose disk can fail; `Err` says why there is none.
fn victim(world: &mut World, nemesis: Nemesis) -> Result<String, String> {
    let peers = world.hive.names(false);
    let fits = |node: &&String| nemesis != Nemesis::LyingDisk || peers.contains(node);
    let all: Vec<String> = world.disks.keys().filter(fits).cloned().collect();
    if nemesis == Nemesis::LyingDisk && world.losses == 0 {
        return Err("as many peers as a quorum can spare have lost what they had".to_owned());
    }
    let place = world.draw.place(all.len());
    all.get(place).cloned().ok_or_else(|| "no peer's disk can fail".to_owned())
}

pub(super) async fn strike(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    let node = match victim(world, nemesis) {
        Ok(node) => node,
        Err(reason) => return Ok(Err(reason)),
    };
    let (rule, room) = (rule(world, nemesis), world.draw.below(ROOM_BYTES));
    let nodes = vec![node.clone()];
    let faults = world.record(nemesis, &nodes);
    let Some(disk) = world.disks.get(&node) else { return Err(format!("{node} has no disk")) };
    if nemesis == Nemesis::PowerLoss {
        world.hive.command("kill", &nodes).await?;
        world.tell(&nodes, false);
        let undo = Undo::Power(node, false);
        return Ok(Ok(Blow { faults, nodes, shown: Ok(()), undo }));
    }
    let name = rule.map_or(FULL, |(fault, _)| fault.name());
    // Before the fault is there, or its first blow would not be seen.
    let before = disk.struck(name);
    match rule {
        Some((fault, when)) => disk.faulty.inject(fault, when, ""),
        None => disk.faulty.set_capacity_bytes(disk.faulty.used_bytes() + room),
    }
    let shown = shows(world, &node, name, before).await;
    if nemesis == Nemesis::SyncError && shown.is_ok() {
        ends(world, &node).await?;
    }
    let undo = match nemesis {
        Nemesis::LyingDisk => Undo::Power(node, true),
        _ => Undo::Disk(node),
    };
    Ok(Ok(Blow { faults, nodes, shown, undo }))
}

async fn shows(world: &World, node: &str, fault: &str, before: u64) -> Result<(), String> {
    let deadline = Instant::now() + SHOWS;
    // A node that sees how little room there is asks for none.
    let full = |disk: &Disk| fault == FULL && disk.free_bytes().is_ok_and(|b| b <= ROOM_BYTES);
    let struck = |disk: &Disk| disk.struck(fault) > before || full(disk);
    while !world.disks.get(node).is_some_and(struck) {
        if Instant::now() >= deadline {
            return Err(format!("the disk of {node} was not asked for anything that fails"));
        }
        clock::sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until a node whose sync failed has ended.
async fn ends(world: &World, node: &str) -> Result<(), String> {
    let deadline = Instant::now() + SHOWS;
    while !world.hive.is(node, "gone").await {
        if Instant::now() >= deadline {
            let log = world.hive.last_lines(node, 5);
            return Err(format!("{node} goes on although a sync failed; its log ends:\n{log}"));
        }
        clock::sleep(LOOK).await;
    }
    world.tell(&[node.to_owned()], false);
    Ok(())
}

/// The disk is well again; the node is started if it has ended.
pub(super) async fn heal(world: &World, node: &str) -> Result<(), String> {
    if let Some(disk) = world.disks.get(node) {
        disk.faulty.clear_faults();
        disk.faulty.set_capacity_bytes(u64::MAX);
    }
    if world.hive.is(node, "gone").await {
        world.tell(&[node.to_owned()], false);
        world.start(&[node.to_owned()]).await?;
    }
    Ok(())
}

/// The power fails below a node that runs; it ends by itself as soon as it writes, or is killed.
pub(super) async fn cut_power(world: &mut World) -> Result<Stroke, String> {
    let all: Vec<String> = world.images.keys().cloned().collect();
    let place = world.draw.place(all.len());
    let Some(node) = all.get(place).cloned() else {
        return Ok(Err("no power can be cut".to_owned()));
    };
    let nodes = vec![node.clone()];
    let faults = world.record(Nemesis::CutPower, &nodes);
    let Some(image) = world.images.get(&node) else { return Err(format!("{node} has no image")) };
    image.cut_power().map_err(|error| format!("the disk of {node}: {error}"))?;
    let probe = std::fs::File::create(world.hive.data(&node).join("probe"));
    let shown = match probe {
        Err(_) => Ok(()),
        Ok(_) => Err(format!("the disk of {node} still takes files")),
    };
    let deadline = Instant::now() + GRACE;
    while !world.hive.is(&node, "gone").await && Instant::now() < deadline {
        clock::sleep(LOOK).await;
    }
    if !world.hive.is(&node, "gone").await {
        world.hive.command("kill", &nodes).await?;
    }
    world.tell(&nodes, false);
    Ok(Ok(Blow { faults, nodes, shown, undo: Undo::Image(node) }))
}

/// The power of a node's file system comes back.
pub(super) async fn power_of_image(world: &World, node: &str) -> Result<(), String> {
    if let Some(image) = world.images.get(node) {
        image.come_back().map_err(|error| format!("the disk of {node}: {error}"))?;
    }
    world.start(&[node.to_owned()]).await
}

/// The power of a node comes back.
pub(super) async fn power(world: &mut World, node: &str, lied: bool) -> Result<(), String> {
    let nodes = [node.to_owned()];
    if !world.hive.is(node, "gone").await {
        world.hive.command("kill", &nodes).await?;
        world.tell(&nodes, false);
    }
    let loss = if lied { Loss::All } else { Loss::LOSSY[world.draw.place(Loss::LOSSY.len())] };
    if let Some(disk) = world.disks.get_mut(node) {
        disk.faulty.clear_faults();
        disk.lose_power(loss).map_err(|error| format!("the disk of {node}: {error}"))?;
    }
    if !lied {
        return world.start(&nodes).await;
    }
    world.set_back(node);
    match world.start(&nodes).await {
        Ok(()) if operator::is_known(world, node).await? => return Ok(()),
        // Its key is gone too: it is another node now.
        Ok(()) => {
            eprintln!("{node} is another node after its disk lied");
            world.hive.command("kill", &nodes).await?;
            world.tell(&nodes, false);
        }
        // It has found out that its disk lied. Its operator gives it an empty one.
        Err(said) => eprintln!("{node} does not start after its disk lied: {said}"),
    }
    operator::begin_anew(world, node).await
}
