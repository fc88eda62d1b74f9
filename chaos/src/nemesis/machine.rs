//! Faults of machines: little processor time, wrong wall clocks.
//!
//! Not here: processes (`process`), disks (`disk`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use runtime::clock::{self, Instant};

use super::{Blow, LOOK, Nemesis, SHOWS, Stroke, Undo, World};

/// Where control groups of version 1 have processor time.
const GROUPS: &str = "/sys/fs/cgroup/cpu";
/// Of each period of a tenth of a second, microseconds that a starving node has.
const SHARE_US: (u64, u64) = (2_000, 10_000);
/// Places of the library that shows processes another wall clock.
const CLOCKS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
/// How far a clock jumps, seconds; certificates of the same day are good for an hour before they were made.
const JUMP_S: (u64, u64) = (30, 1800);

/// The library of clocks, if it is here.
pub(super) fn clock_library() -> Option<&'static str> {
    CLOCKS.into_iter().find(|path| Path::new(path).exists())
}

/// What keeps this machine from showing processes another wall clock.
pub(super) fn clock_obstacle() -> Option<String> {
    clock_library().is_none().then(|| "there is no libfaketime (package libfaketime)".to_owned())
}

/// What keeps this machine from sharing out processor time.
pub(super) fn groups_obstacle() -> Option<String> {
    let probe = Path::new(GROUPS).join("cpu.cfs_quota_us");
    let probed = fs::OpenOptions::new().write(true).open(GROUPS.to_owned() + "/cgroup.procs");
    match probed {
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error}", probe.display())),
    }
}

pub(super) async fn strike(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    match nemesis {
        Nemesis::Starve => starve(world).await.map(Ok),
        _ => jump(world, nemesis).await,
    }
}

async fn starve(world: &mut World) -> Result<Blow, String> {
    let node = world.any();
    let pid = world.hive.pid(&node).await.ok_or_else(|| format!("{node} does not run"))?;
    let share_us = world.draw.between(SHARE_US);
    let group = Path::new(GROUPS).join(format!("hivemem-chaos-{}-{node}", std::process::id()));
    let nodes = vec![node.clone()];
    let faults = world.record(Nemesis::Starve, &nodes);
    let put = |name: &str, value: String| fs::write(group.join(name), value);
    let installed = fs::create_dir_all(&group)
        .and_then(|()| put("cpu.cfs_quota_us", share_us.to_string()))
        .and_then(|()| put("cgroup.procs", pid.to_string()));
    installed.map_err(|error| format!("{}: {error}", group.display()))?;
    let deadline = Instant::now() + SHOWS;
    let mut shown = Err(format!("{node} was never held back"));
    while shown.is_err() && Instant::now() < deadline {
        if throttled(&group).unwrap_or(0) > 0 {
            shown = Ok(());
        } else {
            clock::sleep(LOOK).await;
        }
    }
    Ok(Blow { faults, shown, undo: Undo::Group(node, group), nodes })
}

/// Periods in which a group was held back.
fn throttled(group: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(group.join("cpu.stat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
}

/// A node has its processor time back.
pub(super) async fn let_go(world: &World, node: &str, group: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", group.display());
    fs::write(group.join("cpu.cfs_quota_us"), "-1").map_err(failed)?;
    if let Some(pid) = world.hive.pid(node).await {
        fs::write(Path::new(GROUPS).join("cgroup.procs"), pid.to_string()).map_err(failed)?;
    }
    fs::remove_dir(group).map_err(failed)
}

/// A clock that can be set: the file that the library reads.
pub(super) fn set(file: &Path, offset_s: i64) -> Result<(), String> {
    fs::write(file, format!("{offset_s:+}")).map_err(|e| format!("{}: {e}", file.display()))
}

/// Variables of the environment of a node whose clock can be set.
pub(super) fn variables(file: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", clock_library().unwrap_or_default().to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        // Intervals are right: only what the calendar says is not.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
    ]
}

/// Starts a node again with a clock that can be set.
///
/// # Errors
/// It does not start.
pub async fn wear_clock(world: &World, node: &str) -> Result<(), String> {
    let Some(file) = world.clocks.get(node) else { return Ok(()) };
    set(file, 0)?;
    let nodes = [node.to_owned()];
    world.hive.command("stop", &nodes).await?;
    world.start(&nodes).await
}

async fn jump(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    let clocks: Vec<(String, PathBuf)> =
        world.clocks.iter().map(|(node, file)| (node.clone(), file.clone())).collect();
    let place = world.draw.place(clocks.len());
    let Some((node, file)) = clocks.get(place) else {
        return Ok(Err("no node's clock can be set".to_owned()));
    };
    let jump_s = world.draw.between(JUMP_S).cast_signed();
    let offset_s = if nemesis == Nemesis::ClockBack { -jump_s } else { jump_s };
    let nodes = vec![node.clone()];
    let faults = world.record(nemesis, &nodes);
    set(file, offset_s)?;
    let shown = shows(world, node, offset_s).await;
    Ok(Ok(Blow { faults, shown, undo: Undo::Clock(node.clone()), nodes }))
}

/// Waits until a node tells another time.
async fn shows(world: &World, node: &str, offset_s: i64) -> Result<(), String> {
    let deadline = Instant::now() + SHOWS;
    loop {
        let ahead_s = world.hive.clock_ahead_s(node).await;
        if ahead_s.is_some_and(|ahead_s| (ahead_s - offset_s).abs() < 15) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("{node} is {ahead_s:?} s ahead, not {offset_s}"));
        }
        clock::sleep(LOOK).await;
    }
}

/// A node's wall clock is right again.
pub(super) async fn set_right(world: &World, node: &str) -> Result<(), String> {
    match world.clocks.get(node) {
        Some(file) => set(file, 0),
        None => Ok(()),
    }
}
