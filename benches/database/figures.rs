//! Measurements by `hivemem bench`, and their table.
//!
//! Invariant: systems take turns, so a machine that gets slower meanwhile does so for all of them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Sizes,
    place::{DATABASE, FILE, FILLED, Place},
};

const CLIENTS: [u64; 3] = [1, 8, 32];
const SYSTEMS: [&str; 3] = ["file", "database", "PgBouncer"];

/// One measurement.
#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    errors: u64,
}

/// What is measured.
struct Run<'a> {
    work: &'a str,
    clients: u64,
    seconds: u64,
    seed: u64,
    folder: &'a str,
    url: Option<&'a str>,
}

fn bench(place: &Place, sizes: &Sizes, run: &Run<'_>) -> Result<Figure> {
    let mut command = sizes.hivemem();
    if let Some(url) = run.url {
        command.args(["--store-url", url]);
    }
    command.args(["bench", run.work, "--folder"]).arg(place.path(run.folder));
    for (option, value) in [
        ("--memories", sizes.memories),
        ("--clients", run.clients),
        ("--seconds", run.seconds),
        ("--seed", run.seed),
    ] {
        command.arg(option).arg(value.to_string());
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("{} in {}: {}", run.work, run.folder, String::from_utf8_lossy(&output.stderr));
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("hivemem bench")?;
    let number = |value: &Value| value.as_f64().context("a figure");
    let latency = &report["latency_micros"];
    Ok(Figure {
        per_second: number(&report["per_second"])?,
        p50_ms: number(&latency["p50"])? / 1e3,
        p95_ms: number(&latency["p95"])? / 1e3,
        errors: report["errors"].as_u64().context("a number of errors")?,
    })
}

/// Has a file filled, unless it is.
pub fn fill(place: &Place, sizes: &Sizes) -> Result<()> {
    let run = Run { work: "recall", clients: 1, seconds: 1, seed: 1, folder: FILLED, url: None };
    bench(place, sizes, &run).map(drop)
}

/// Measures everything once.
pub fn round(place: &Place, sizes: &Sizes, round: u64, table: &mut Table) -> Result<()> {
    for work in ["recall", "store"] {
        for clients in CLIENTS {
            for (at, system) in SYSTEMS.into_iter().enumerate() {
                let (folder, url) = match system {
                    "file" => (FILE, None),
                    "database" => (DATABASE, Some(place.direct.as_str())),
                    _ => (DATABASE, Some(place.pooled.as_str())),
                };
                // Questions are about the memories that are there; what is stored must be new.
                let is_store = u64::from(work == "store");
                let seed = 1 + is_store * (1000 * (round + 1) + 10 * clients + at as u64);
                let run = Run { work, clients, seconds: sizes.seconds, seed, folder, url };
                let figure = bench(place, sizes, &run)?;
                eprintln!("{work}, {clients} clients, {system}: {figure}");
                table.figures.entry((work, clients, at)).or_default().push(figure);
            }
        }
    }
    Ok(())
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, p50_ms, p95_ms, errors } = self;
        write!(f, "{per_second:.0} per second, p50 {p50_ms:.1} ms, p95 {p95_ms:.1} ms")?;
        if *errors > 0 { write!(f, ", {errors} errors") } else { Ok(()) }
    }
}

/// Figures by work, clients and system.
#[derive(Default)]
pub struct Table {
    figures: BTreeMap<(&'static str, u64, usize), Vec<Figure>>,
}

/// The measurement in the middle, by how many were done.
fn median(figures: &[Figure]) -> Option<Figure> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let errors = figures.iter().map(|figure| figure.errors).sum();
    sorted.get(sorted.len() / 2).map(|middle| Figure { errors, ..*middle })
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | {} |", SYSTEMS.join(" | "))?;
        writeln!(f, "|---|---|---|---|")?;
        for work in ["recall", "store"] {
            for clients in CLIENTS {
                write!(f, "| {work}, {clients} clients |")?;
                for at in 0..SYSTEMS.len() {
                    let all = self.figures.get(&(work, clients, at));
                    match all.and_then(|all| median(all)) {
                        Some(middle) => write!(f, " {middle} |")?,
                        None => write!(f, " |")?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
