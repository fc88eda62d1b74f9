//! The launcher: builds the simulator with its own cfg into its own target directory, then runs one
//! process per seed.
//!
//! Invariant: the two builds never share a target directory, so neither rebuilds the other.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

const USAGE: &str = "\
cargo sim run --seed S [--scenario NAME] [--trace]   one seed
cargo sim replay S [--scenario NAME]                 one seed, with its trace
cargo sim fuzz [--from A] [--count N] [--jobs J] [--scenario NAME]
cargo sim check [--from A] [--count N] [--scenario NAME]   each seed twice, fingerprints compared
scenarios: smoke, power-loss (default), bad-disk, bad-clock";

fn flag(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == name)?;
    arguments.get(at + 1).cloned()
}

fn number(arguments: &[String], name: &str, default: u64) -> u64 {
    flag(arguments, name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Builds the simulator and says where it is.
fn build() -> Result<PathBuf, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let base =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = base.join("madsim");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--profile", "sim", "--package", "sim", "--bin", "sim"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&root)
        .env("RUSTFLAGS", "--cfg madsim")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !status.success() {
        return Err("the simulator does not build".to_owned());
    }
    Ok(target.join("sim").join("sim"))
}

/// Runs one seed; answers whether it passed and what it printed.
fn seed(simulator: &PathBuf, seed: u64, scenario: &str) -> Result<(bool, String), String> {
    let output = Command::new(simulator)
        .args(["run", "--seed", &seed.to_string(), "--scenario", scenario])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", simulator.display()))?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status.success() && !line.is_empty(), line))
}

fn fingerprint(line: &str) -> Option<&str> {
    line.split("\"fingerprint\":\"").nth(1)?.split('"').next()
}

/// Adds the integers of a line's `faults` object.
fn add_faults(line: &str, total: &mut BTreeMap<String, u64>) {
    let Some(object) = line.split("\"faults\":{").nth(1).and_then(|r| r.split('}').next()) else {
        return;
    };
    for pair in object.split(',') {
        if let Some((name, count)) = pair.split_once(':') {
            let count: u64 = count.parse().unwrap_or(0);
            *total.entry(name.trim_matches('"').to_owned()).or_insert(0) += count;
        }
    }
}

struct Totals {
    next: AtomicU64,
    failed: AtomicU64,
    broken: AtomicBool,
    faults: Mutex<BTreeMap<String, u64>>,
}

fn fuzz_one(simulator: &PathBuf, number: u64, scenario: &str, twice: bool, totals: &Totals) {
    let outcome = seed(simulator, number, scenario).and_then(|(passed, line)| {
        if !twice {
            return Ok((passed, line));
        }
        let (_, again) = seed(simulator, number, scenario)?;
        let same = fingerprint(&line).is_some() && fingerprint(&line) == fingerprint(&again);
        let line =
            if same { line } else { format!("{line}\nsecond run: {again}\nfingerprints differ") };
        Ok((passed && same, line))
    });
    match outcome {
        Ok((passed, line)) => {
            add_faults(&line, &mut totals.faults.lock().unwrap_or_else(|e| e.into_inner()));
            if !passed {
                totals.failed.fetch_add(1, Ordering::Relaxed);
                println!(
                    "FAILED {line}\n  replay: cargo sim replay {number} --scenario {scenario}"
                );
            }
        }
        Err(problem) => {
            eprintln!("{problem}");
            totals.broken.store(true, Ordering::Relaxed);
        }
    }
}

fn fuzz(simulator: &PathBuf, arguments: &[String], twice: bool) -> ExitCode {
    let from = number(arguments, "--from", 1);
    let count = number(arguments, "--count", 100);
    let jobs = number(arguments, "--jobs", 2).max(1);
    let scenario = flag(arguments, "--scenario").unwrap_or_else(|| "power-loss".to_owned());
    let totals = Totals {
        next: AtomicU64::new(from),
        failed: AtomicU64::new(0),
        broken: AtomicBool::new(false),
        faults: Mutex::default(),
    };
    let start = runtime_clock::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = totals.next.fetch_add(1, Ordering::Relaxed);
                    if number >= from + count || totals.broken.load(Ordering::Relaxed) {
                        return;
                    }
                    fuzz_one(simulator, number, &scenario, twice, &totals);
                }
            });
        }
    });
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let failed = totals.failed.load(Ordering::Relaxed);
    println!(
        "{scenario}: {count} seeds from {from}, {failed} failed, {:.0} seeds/min, faults {:?}",
        count as f64 / minutes.max(1e-9),
        totals.faults.lock().unwrap_or_else(|e| e.into_inner()),
    );
    let broken = totals.broken.load(Ordering::Relaxed);
    if failed == 0 && !broken { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The launcher measures real time; it is no part of any node.
mod runtime_clock {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

pub(super) fn main(arguments: Vec<String>) -> ExitCode {
    let Some(command) = arguments.first().map(String::as_str) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let simulator = match build() {
        Ok(simulator) => simulator,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    match command {
        "fuzz" => fuzz(&simulator, &arguments, false),
        "check" => fuzz(&simulator, &arguments, true),
        "run" | "replay" => {
            let mut passed = arguments[1..].to_vec();
            if command == "replay" {
                if let Some(first) = passed.first().cloned().filter(|a| !a.starts_with("--")) {
                    passed.splice(0..1, ["--seed".to_owned(), first]);
                }
                passed.push("--trace".to_owned());
            }
            let status = Command::new(&simulator).arg("run").args(passed).status();
            match status {
                Ok(status) if status.success() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
