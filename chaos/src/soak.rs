//! Hours of a mixed load on three peers, and what their processes take meanwhile.
//!
//! Invariant: clients go on for as long as was asked; in the end all nodes show the same, and so do their audit chains.
//!
//! Not here: what has grown (`samples`), drawing (`plot`), faults (`storm`).

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use runtime::{
    blocking,
    clock::{self, Instant},
    process::resident_bytes_of,
    task::{self, Shutdown},
};
use sim::{
    judge::{
        Case, History,
        history::{Expiry, Federation, Header, Order, VERSION, What},
    },
    workload::{
        draw::Draw,
        peers::{self, Load, Mix, look},
        root::Recorder,
    },
};

use crate::{
    hive::{Hive, Plan},
    samples::Sample,
    storm::{BOUNDS, record_chains},
};

/// Memories that there are once clients have stored enough; from then on they delete as many as they store.
const KEEP_MAX: usize = 2000;
/// Longest pause of a client between two requests, milliseconds.
const THINK_MS: u64 = 200;
/// Time until all show the same in the end.
const CONVERGE: Duration = Duration::from_secs(150);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soak {
    /// How long clients ask.
    pub lasts: Duration,
    /// Decides what they ask.
    pub seed: u64,
    /// How many there are.
    pub clients: u64,
    /// Time between two looks.
    pub every: Duration,
    /// Settings of every node.
    pub settings: Vec<String>,
}

/// A soak, as it went.
#[derive(Debug)]
pub struct Soaked {
    /// All looks, oldest first.
    pub samples: Vec<Sample>,
    /// What clients saw.
    pub history: History,
}

/// Runs it with a daemon, in a folder that is to be made.
///
/// # Errors
/// In words: the cluster cannot be had, or a process has ended.
pub async fn run(soak: &Soak, binary: &Path, folder: &Path) -> Result<Soaked, String> {
    let hive = Hive::found(Plan {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        shape: "mesh3".to_owned(),
        network: "loopback".to_owned(),
        settings: soak.settings.clone(),
    })
    .await?;
    let begun = Instant::now();
    let recorder =
        Recorder::new(move || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    hive.names(false).iter().for_each(|name| recorder.node(name, true));
    let ground = peers::Ground::new(load(soak), hive.target(false).nodes, recorder.clone());
    let stop = Shutdown::new();
    let clients: Vec<_> = (1..=soak.clients)
        .map(|number| {
            task::spawn_named("client", peers::live(ground.clone(), number, stop.clone()))
        })
        .collect();
    let watched = watch(soak, &hive, begun).await;
    stop.trigger();
    for client in clients {
        client.await.map_err(|error| format!("a client: {error}"))?;
    }
    let mut samples = watched?;
    let federation = Federation {
        scopes: BTreeMap::new(),
        refused_agents: Default::default(),
        quorum: 2,
        converge_us: u64::try_from(CONVERGE.as_micros()).unwrap_or(u64::MAX),
    };
    recorder.record(What::Healed);
    look::record_all(&recorder, &federation, ground.nodes(), CONVERGE).await;
    recorder.record(What::Converged);
    record_chains(&ground, &recorder).await;
    recorder.record(What::End);
    let header = Header {
        history_version: VERSION,
        run: format!("soak of {} s, seed {}", soak.lasts.as_secs(), soak.seed),
        order: Order::Recorded,
        expiry: Expiry::ByLease { drift_ppm: 0 },
        bounds: BOUNDS,
        clock_fast_ppm: None,
        voters: Vec::new(),
        federation: Some(federation),
    };
    let history = recorder.history(header).map_err(|malformed| malformed.to_string())?;
    samples.extend(latencies(&history, soak.every));
    Ok(Soaked { samples, history })
}

fn load(soak: &Soak) -> Load {
    let mix = Mix { store: 30, read: 40, change: 15, delete: 10, link: 4, unlink: 2 };
    let drawn = Load::draw(&mut Draw::new(soak.seed));
    Load {
        clients: soak.clients,
        mix,
        think_ms: THINK_MS,
        stores_max: u64::MAX,
        keep_max: KEEP_MAX,
        ..drawn
    }
}

async fn watch(soak: &Soak, hive: &Hive, begun: Instant) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    while begun.elapsed() < soak.lasts {
        clock::sleep(soak.every).await;
        for (node, state, pid) in hive.processes().await? {
            let pid = pid.filter(|_| state == "running").ok_or(format!("{node} is {state}"))?;
            let data = hive.data(&node);
            let looked = blocking::run(move || look_at(pid, &data)).await;
            let looked = looked.map_err(|error| format!("{node}: {error}"))?;
            let at_s = begun.elapsed().as_secs_f64();
            let sample = |(what, value)| Sample { at_s, node: node.clone(), what, value };
            samples.extend(looked.map(sample));
        }
    }
    Ok(samples)
}

/// What a process takes.
fn look_at(pid: i32, data: &Path) -> io::Result<[(&'static str, u64); 3]> {
    let rss_bytes = u32::try_from(pid).ok().and_then(resident_bytes_of);
    let rss_bytes = rss_bytes.ok_or_else(|| io::Error::other("its memory is not told"))?;
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    Ok([("rss_bytes", rss_bytes), ("fds", fds), ("disk_bytes", size_of(data)?)])
}

/// Lengths of all files below a folder.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go while one looks.
        let Ok(found) = entry.metadata() else { continue };
        sum += if found.is_dir() { size_of(&entry.path())? } else { found.len() };
    }
    Ok(sum)
}

/// How long answers took that ended between two looks.
fn latencies(history: &History, every: Duration) -> Vec<Sample> {
    let every_us = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
    let mut windows: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for operation in &Case::of(history).operations {
        if let (Some(ended_us), Some(_)) = (operation.ended_us, operation.done()) {
            windows.entry(ended_us / every_us).or_default().push(ended_us - operation.invoked_us);
        }
    }
    let mut samples = Vec::new();
    for (window, mut took_us) in windows {
        took_us.sort_unstable();
        let rank = |percent: usize| took_us[(took_us.len() * percent).div_ceil(100).max(1) - 1];
        let at_s = (window + 1) as f64 * every.as_secs_f64();
        for (what, value) in [("p50_us", rank(50)), ("p99_us", rank(99))] {
            samples.push(Sample { at_s, node: String::new(), what, value });
        }
    }
    samples
}
