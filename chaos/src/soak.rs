//! Hours of a mixed load on three peers, and what their processes take meanwhile.
//!
//! Invariant: what must not grow is measured against itself: the most of the last quarter against the most of the second
//! one, so that warming up counts for nothing. The database is told and not judged: audit rows stay for ever, and answers to
//! keys for a day.
//!
//! Not here: drawing (`plot`), faults (`storm`).

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use runtime::{
    blocking,
    clock::{self, Instant},
    process::resident_bytes_of,
    task::{self, Shutdown},
};
use serde_json::{Value, json};
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
    storm::{BOUNDS, record_chains},
};

/// Memories that there are once clients have stored enough; from then on they delete as many as they store.
const KEEP_MAX: usize = 2000;
/// Longest pause of a client between two requests, milliseconds.
const THINK_MS: u64 = 200;
/// How much larger what must not grow may be in the last quarter than in the second, in hundredths.
const GROWTH_PERCENT: u64 = 125;
/// What a table or a process may always be larger by: bytes, descriptors, microseconds.
const SLACK: [(&str, u64); 3] = [("rss_bytes", 8 << 20), ("fds", 8), ("p99_us", 20_000)];
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

/// One look at one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, seconds of the run.
    pub at_s: f64,
    /// Of which node; empty for what clients see.
    pub node: String,
    /// Of what: `rss_bytes`, `disk_bytes`, `fds`, `p50_us`, `p99_us`.
    pub what: &'static str,
    /// How much.
    pub value: u64,
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

/// The most of a value in a part of the run, from and to in quarters.
fn most(samples: &[&Sample], end_s: f64, (from, to): (f64, f64)) -> Option<u64> {
    let within = |sample: &&&Sample| {
        let quarter = sample.at_s / end_s * 4.0;
        quarter > from && quarter <= to
    };
    samples.iter().filter(within).map(|sample| sample.value).max()
}

/// Of each value: how it began and ended, and whether it grew that must not.
pub fn growth(samples: &[Sample]) -> (bool, Value) {
    let end_s = samples.iter().map(|sample| sample.at_s).fold(0.0, f64::max);
    let mut series: BTreeMap<(&str, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        series.entry((sample.what, &sample.node)).or_default().push(sample);
    }
    let (mut steady, mut told) = (true, Vec::new());
    for ((what, node), samples) in series {
        let before = most(&samples, end_s, (1.0, 2.0)).unwrap_or(0);
        let after = most(&samples, end_s, (3.0, 4.0)).unwrap_or(0);
        let slack = SLACK.iter().find(|(name, _)| *name == what).map(|(_, slack)| *slack);
        let grew = slack.is_some_and(|slack| after > before * GROWTH_PERCENT / 100 + slack);
        steady &= !grew;
        told.push(json!({
            "what": what, "node": node, "second_quarter": before, "last_quarter": after, "grew": grew,
        }));
    }
    (steady, Value::Array(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(what: &'static str, value: impl Fn(u64) -> u64) -> Vec<Sample> {
        let one =
            |at: u64| Sample { at_s: at as f64, node: "n1".to_owned(), what, value: value(at) };
        (1..=100).map(one).collect()
    }

    #[test]
    fn what_grows_is_told_from_what_has_warmed_up() {
        assert!(growth(&samples("rss_bytes", |at| at.min(20) << 20)).0, "warm after a fifth");
        assert!(!growth(&samples("rss_bytes", |at| at << 20)).0);
        assert!(!growth(&samples("fds", |at| 20 + at)).0);
        assert!(growth(&samples("fds", |at| 20 + at % 7)).0);
        let (steady, told) = growth(&samples("disk_bytes", |at| at << 20));
        assert!(steady, "it is told, not judged");
        assert_eq!(told[0]["second_quarter"], 50 << 20);
        assert_eq!(told[0]["last_quarter"], 100 << 20);
    }
}
