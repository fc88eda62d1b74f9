//! Faults of what is between nodes: cut, slow, lossy.
//!
//! Not here: the switch (`crate::network`).

use std::{sync::Arc, time::Duration};

use runtime::{
    clock::{self, Instant},
    task::{self, Shutdown},
};

use super::{Blow, LOOK, Nemesis, SHOWS, Stroke, Undo, World};
use crate::network::{Counts, Switch, Weather};

/// For how long a flapping node is there, and is not, milliseconds.
const FLAP_MS: (u64, u64) = (100, 700);

/// Directed paths.
type Paths = Vec<(usize, usize)>;

/// Who is struck, and which paths are disturbed.
struct Aim {
    nodes: Vec<String>,
    paths: Paths,
    weather: Weather,
}

fn places(world: &World, nodes: &[String]) -> Vec<usize> {
    nodes.iter().filter_map(|node| world.hive.place(node)).collect()
}

/// All paths between two groups, in both directions.
fn between(one: &[usize], other: &[usize]) -> Paths {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
    pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// Weather that is drawn.
fn weather(world: &mut World, nemesis: Nemesis) -> Weather {
    let (draw, none) = (&mut world.draw, Weather::default());
    match nemesis {
        Nemesis::Delay => Weather {
            delay_us: draw.between((5_000, 120_000)),
            jitter_us: draw.between((0, 80_000)),
            ..none
        },
        Nemesis::Loss => Weather { loss_permille: draw.between((20, 300)), ..none },
        Nemesis::Duplicate => Weather { duplicate_permille: draw.between((100, 500)), ..none },
        Nemesis::Reorder => {
            Weather { delay_us: 15_000, reorder_permille: draw.between((50, 400)), ..none }
        }
        Nemesis::Corrupt => Weather { corrupt_permille: draw.between((5, 50)), ..none },
        Nemesis::SlowLine => Weather { rate_kbps: draw.between((128, 2048)), ..none },
        Nemesis::SmallOnly => Weather { longest_bytes: 600, ..none },
        _ => Weather { cut: true, ..none },
    }
}

/// `Err` says why nobody can be struck.
async fn aim(world: &mut World, nemesis: Nemesis) -> Result<Aim, String> {
    let weather = weather(world, nemesis);
    let all = world.shuffled();
    let every = places(world, &all);
    let clients = every.len();
    let (nodes, paths) = match nemesis {
        Nemesis::Isolate | Nemesis::Flap => {
            let one = all[..1].to_vec();
            let rest: Vec<usize> = every[1..].iter().copied().chain([clients]).collect();
            (one, between(&every[..1], &rest))
        }
        Nemesis::IsolateLeader => {
            let leader = vec![world.leader().await?];
            let paths = between(&places(world, &leader), &every);
            (leader, paths)
        }
        Nemesis::Split => {
            let (one, other) = every.split_at(every.len() / 2);
            (all[..one.len()].to_vec(), between(one, other))
        }
        Nemesis::OneWay => {
            let from = every[0];
            (all[..1].to_vec(), every[1..].iter().map(|to| (from, *to)).collect())
        }
        Nemesis::Bridge => {
            // The first reaches both halves.
            let (one, other) = every[1..].split_at(every[1..].len() / 2);
            (all[1..=one.len()].to_vec(), between(one, other))
        }
        _ => (all.clone(), between(&every, &every)),
    };
    if paths.is_empty() {
        return Err("there are too few nodes".to_owned());
    }
    Ok(Aim { nodes, paths, weather })
}

/// Waits until what was done to paths shows: something was lost, or came late, twice or changed.
async fn shows(switch: &Switch, paths: &Paths, before: Counts) -> Result<(), String> {
    let deadline = Instant::now() + SHOWS;
    loop {
        let now = switch.counts(paths);
        if now.lost > before.lost || now.harmed > before.harmed {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err("nothing was sent there".to_owned());
        }
        clock::sleep(LOOK).await;
    }
}

pub(super) async fn strike(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    let Aim { nodes, paths, weather } = match aim(world, nemesis).await {
        Ok(aim) => aim,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(switch) = world.network.as_ref().map(|network| network.switch.clone()) else {
        return Ok(Err("the network cannot be disturbed".to_owned()));
    };
    let before = switch.counts(&paths);
    let faults = world.record(nemesis, &nodes);
    switch.set(&paths, weather);
    let undo = match nemesis {
        Nemesis::Flap => flap(world, switch.clone(), paths.clone()),
        _ => Undo::Weather,
    };
    let shown = shows(&switch, &paths, before).await;
    Ok(Ok(Blow { faults, nodes, shown, undo }))
}

fn flap(world: &mut World, switch: Arc<Switch>, paths: Paths) -> Undo {
    let stop = Shutdown::new();
    let stopping = stop.clone();
    let mut draw = sim::workload::draw::Draw::new(world.draw.bits());
    let beat = task::spawn_named("flap", async move {
        let mut cut = true;
        while !stopping.is_cancelled() {
            switch.set(&paths, Weather { cut, ..Weather::default() });
            clock::sleep(Duration::from_millis(draw.between(FLAP_MS))).await;
            cut = !cut;
        }
    });
    Undo::Beat(stop, beat, Vec::new())
}

/// Fine weather.
pub(super) fn clear(world: &World) {
    if let Some(network) = &world.network {
        network.switch.clear();
    }
}
