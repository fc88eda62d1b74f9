//! A peer that lacks everything, and one that lacks a little.
//!
//! Nothing is done to a store that operators could not do: a disk is lost, a peer is taken off the list, a backup is put
//! back with the commands for it.
//!
//! - `from_log`: the last node's disk is gone; a new node is in the lists of the others before they are filled, so that
//!   they keep everything for it.
//! - `from_state`: the same, but while the others forget what they have seen, nobody is in the lists whom it
//!   would be kept for. The new node gets records, and no operations.
//! - `differences`: a backup is made of the last node; then some memories are stored and, once all have them, forgotten
//!   from the logs; then the node is put back to its backup. It lacks exactly those, no log has them, and it
//!   finds them by comparing.
//!
//! Invariant: time is measured from the start of the process until it shows as many memories as the others.
//!
//! Not here: what is exchanged (`federation`).

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use runtime::{
    clock::{self, Instant},
    task,
};
use types::limits::BULK_MAX;

use super::{
    QuorumPlan,
    figures::{Flow, Usage, usage},
    fleet::{Fleet, NODES},
    report::Repair,
};
use crate::bench::{data, through::Client};

/// The node that lacks something.
const LAST: usize = NODES - 1;
/// The others.
const OTHERS: [usize; LAST] = [0, 1];
/// Number of the first memory that stores are filled with, and of the first that makes the difference.
const FILL: u64 = 1 << 48;
const DIFFER: u64 = 1 << 49;
/// Longest time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(900);
/// Time between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(25);
/// Batches on their way while a store is filled.
const BATCHES: usize = 2;
/// Whoever is filled may take longer for a batch than agents wait for a memory.
const PATIENT: &str = "federation.quorum_timeout=60s";
/// Nodes that forget at once what all have seen, and hear of each other often.
const FORGETFUL: [&str; 3] = ["federation.keep=1s", "federation.catch_up=1s", PATIENT];

/// Waits until a node has so many memories.
async fn until_it_has(fleet: &mut Fleet, at: usize, memories: u64) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let has = fleet.memories(at).await?;
        if has >= memories {
            return Ok(());
        }
        fleet.nodes[at].check()?;
        if Instant::now() > end {
            bail!("node {} has {has} of {memories} memories", fleet.nodes[at].name);
        }
        clock::sleep(LOOK).await;
    }
}

/// Waits until these nodes keep nothing of the past.
async fn until_forgotten(fleet: &mut Fleet, nodes: &[usize]) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for at in nodes {
        loop {
            let kept = fleet.figures(*at).await?.get("log_operations");
            if kept == 0 {
                break;
            }
            fleet.nodes[*at].check()?;
            if Instant::now() > end {
                bail!("node {} still keeps {kept} operations", fleet.nodes[*at].name);
            }
            clock::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Stores so many memories at the first node, in batches.
async fn fill(fleet: &Fleet, plan: &QuorumPlan, first: u64, count: u64) -> Result<()> {
    let (way, seed) = (fleet.way(0, plan.through)?, plan.seed);
    let batches = (0..count).step_by(BULK_MAX).map(|from| {
        let memories = (from..count.min(from + BULK_MAX as u64)).collect::<Vec<u64>>();
        let client = way.client();
        let batch = async move {
            let client: Client = client?;
            client.bulk(memories.iter().map(|n| data::memory(seed, first + n)).collect()).await
        };
        async move { task::spawn(batch).await }
    });
    let mut stored = futures::stream::iter(batches).buffered(BATCHES);
    while let Some(batch) = stored.next().await {
        batch??;
    }
    Ok(())
}

/// Starts the last node, which lacks so many, and waits until it has as many memories as the first.
async fn catch_up(fleet: &mut Fleet, lacked: u64, settings: &[&str]) -> Result<Repair> {
    let memories = fleet.memories(0).await?;
    let others = fleet.sums().await?;
    let start = Instant::now();
    fleet.start(LAST, settings).await?;
    until_it_has(fleet, LAST, memories).await?;
    let elapsed = start.elapsed();
    let figures = fleet.figures(LAST).await?;
    let own = fleet.nodes[LAST].pid().map_or(Usage::default(), usage).cpu;
    let all = fleet.sums().await?;
    let both = |purpose: &str| {
        let mut both = figures.flow(purpose, "sent");
        both.add(figures.flow(purpose, "received"));
        both
    };
    let (operations, state): (Flow, Flow) = (both("since"), both("state"));
    let seconds = elapsed.as_secs_f64();
    Ok(Repair {
        memories,
        lacked,
        seconds,
        per_second: lacked as f64 / seconds,
        since_messages: operations.messages,
        since_bytes: operations.bytes,
        state_messages: state.messages,
        state_bytes: state.bytes,
        pushed_bytes: figures.flow("push", "received").bytes,
        cpu_seconds: own.as_secs_f64(),
        others_cpu_seconds: (all.cpu.saturating_sub(own)).saturating_sub(others.cpu).as_secs_f64(),
    })
}

/// An empty peer catches up from the others' logs.
pub(super) async fn from_log(
    fleet: &mut Fleet,
    plan: &QuorumPlan,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Repair> {
    progress(&format!("filling two nodes with {} memories", plan.memories));
    fleet.empty_last().await?;
    fleet.know(NODES).await?;
    fleet.restart(&OTHERS, &[PATIENT]).await?;
    let missing = plan.memories.saturating_sub(fleet.memories(0).await?);
    fill(fleet, plan, FILL, missing).await?;
    let memories = fleet.memories(0).await?;
    until_it_has(fleet, 1, memories).await?;
    progress("an empty peer catches up from the log");
    catch_up(fleet, memories, &[PATIENT]).await
}

/// An empty peer catches up from the others' state: no log has anything.
pub(super) async fn from_state(
    fleet: &mut Fleet,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Repair> {
    progress("two nodes forget their logs");
    fleet.empty_last().await?;
    fleet.know(LAST).await?;
    fleet.restart(&OTHERS, &FORGETFUL).await?;
    until_forgotten(fleet, &OTHERS).await?;
    fleet.know(NODES).await?;
    fleet.restart(&OTHERS, &FORGETFUL).await?;
    progress("an empty peer catches up from their state");
    let memories = fleet.memories(0).await?;
    catch_up(fleet, memories, &FORGETFUL).await
}

/// A peer that was put back to a backup finds what it lacks by comparing.
pub(super) async fn differences(
    fleet: &mut Fleet,
    plan: &QuorumPlan,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Repair> {
    progress("a backup is made, and grows old");
    until_forgotten(fleet, &[0, 1, LAST]).await?;
    let last = &mut fleet.nodes[LAST];
    last.run(&["backup", "--name", "before"]).await?;
    fill(fleet, plan, DIFFER, plan.differences).await?;
    let memories = fleet.memories(0).await?;
    for at in 0..NODES {
        until_it_has(fleet, at, memories).await?;
    }
    until_forgotten(fleet, &[0, 1, LAST]).await?;
    let last = &mut fleet.nodes[LAST];
    last.stop().await;
    let (data, old) = (last.file("data"), last.file("old"));
    std::fs::rename(&data, &old)?;
    let backup = old.join("backups").join("before").display().to_string();
    last.run(&["restore", &backup]).await?;
    std::fs::rename(old.join("identity"), data.join("identity"))?;
    progress(&format!("it is put back, and finds {} differences", plan.differences));
    catch_up(fleet, plan.differences, &FORGETFUL).await
}
