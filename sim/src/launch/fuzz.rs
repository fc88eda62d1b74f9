//! Many seeds, each in a process of its own.
//!
//! Invariant: every seed that fails is printed with the command that replays it.
//!
//! Not here: one seed (`simulator`).

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Arguments,
    simulator::{Seed, Simulator},
};

/// What the seeds added up to.
#[derive(Default)]
struct Totals {
    failed: u64,
    undecided: u64,
    simulated_seconds: f64,
    faults: BTreeMap<String, u64>,
    /// Times until peers agreed, milliseconds, where there are peers.
    converged_ms: Vec<u64>,
    /// Those of runs in which no disk lied: what a disk has lost behind its peer's back is found by comparing alone.
    honest_ms: Vec<u64>,
    problem: Option<String>,
}

impl Totals {
    fn add(&mut self, seed: &Seed) {
        self.undecided += u64::from(seed.is_undecided());
        self.simulated_seconds += seed.line["simulated_seconds"].as_f64().unwrap_or(0.0);
        for (name, count) in seed.line["faults"].as_object().into_iter().flatten() {
            *self.faults.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        self.converged_ms.extend(seed.line["converged_ms"].as_u64());
        if seed.line["faults"][LIE].as_u64().unwrap_or(0) == 0 {
            self.honest_ms.extend(seed.line["converged_ms"].as_u64());
        }
    }

    /// How long peers took to agree after the last fault, in words; nothing where there are none.
    fn convergence(&self) -> Option<String> {
        let all = spread(&self.converged_ms)?;
        let honest = spread(&self.honest_ms);
        let apart = honest.filter(|_| self.honest_ms.len() < self.converged_ms.len());
        let apart = apart.map(|honest| format!("; where no disk lied: {honest}"));
        let apart = apart.unwrap_or_default();
        Some(format!("agreed after the last fault within, simulated: {all}{apart}"))
    }
}

/// A disk that lies, as runs count it.
const LIE: &str = "lost_fsync";

/// Times in words; nothing for none.
fn spread(times_ms: &[u64]) -> Option<String> {
    let mut all = times_ms.to_vec();
    all.sort_unstable();
    // Nearest rank: the smallest value that so many of a hundred do not exceed.
    let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?);
    let (p50, p99, max) = (rank(50)?, rank(99)?, all.last()?);
    Some(format!("p50 {p50} ms, p99 {p99} ms, max {max} ms, of {} seeds", all.len()))
}

/// What is to be done with each seed.
struct Plan<'s> {
    simulator: &'s Simulator,
    scenario: String,
    /// Arguments of every run.
    more: Vec<String>,
    twice: bool,
    next: AtomicU64,
    end: u64,
    totals: Mutex<Totals>,
}

impl Plan<'_> {
    fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn one(&self, number: u64) -> Result<(), String> {
        let seed = self.simulator.run(number, &self.scenario, &self.more)?;
        let mut passed = seed.passed;
        if self.twice {
            let again = self.simulator.run(number, &self.scenario, &self.more)?;
            let same = seed.fingerprint().is_some() && seed.fingerprint() == again.fingerprint();
            if !same {
                println!("fingerprints of seed {number} differ: {} {}", seed.line, again.line);
            }
            passed &= same;
        }
        let mut totals = self.totals();
        totals.add(&seed);
        if !passed {
            totals.failed += 1;
            let commit = commit();
            println!(
                "FAILED {}\n  at {commit}: cargo sim replay {number} --scenario {}",
                seed.line, self.scenario
            );
        }
        Ok(())
    }

    fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end || self.totals().problem.is_some() {
                return;
            }
            if let Err(problem) = self.one(number) {
                self.totals().problem = Some(problem);
            }
        }
    }
}

/// The commit that was run, as far as that is known.
fn commit() -> String {
    let said = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok();
    let said = said.filter(|output| output.status.success()).map(|output| output.stdout);
    said.map_or("this tree".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

/// Runs the seeds that the arguments name.
pub(super) fn run(
    simulator: &Simulator,
    arguments: &Arguments,
    twice: bool,
) -> Result<bool, String> {
    let (from, count) = (arguments.number("--from", 1)?, arguments.number("--count", 100)?);
    let jobs = arguments.number("--jobs", 2)?.max(1);
    let plan = Plan {
        simulator,
        scenario: arguments.scenario(),
        more: arguments.flag("--hours").into_iter().flat_map(|h| ["--hours".into(), h]).collect(),
        twice,
        next: AtomicU64::new(from),
        end: from.saturating_add(count),
        totals: Mutex::default(),
    };
    let start = wall_clock::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| plan.work());
        }
    });
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    let totals = plan.totals();
    if let Some(problem) = &totals.problem {
        return Err(problem.clone());
    }
    println!(
        "{}: {count} seeds from {from}, {} failed, {} undecided, {:.0} seeds/min, {:.1} simulated s \
         per s of {jobs} jobs, faults {:?}",
        plan.scenario,
        totals.failed,
        totals.undecided,
        count as f64 * 60.0 / seconds,
        totals.simulated_seconds / seconds,
        totals.faults,
    );
    if let Some(convergence) = totals.convergence() {
        println!("{}: {convergence}", plan.scenario);
    }
    let never: Vec<&String> =
        totals.faults.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
    let every = !arguments.has("--every-fault") || never.is_empty();
    if !every {
        println!("never struck: {never:?}");
    }
    Ok(totals.failed == 0 && every)
}

/// The launcher measures real time; it is no part of any node.
mod wall_clock {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_values_there_are() {
        let of =
            |converged_ms: Vec<u64>| Totals { converged_ms, ..Totals::default() }.convergence();
        assert_eq!(of(Vec::new()), None);
        let told = of((1..=200).rev().collect()).expect("some");
        assert!(told.contains("p50 100 ms, p99 198 ms, max 200 ms, of 200"), "{told}");
        let told = of(vec![7]).expect("one");
        assert!(told.contains("p50 7 ms, p99 7 ms, max 7 ms, of 1"), "{told}");
        let apart = Totals { converged_ms: vec![9, 40], honest_ms: vec![9], ..Totals::default() };
        let told = apart.convergence().expect("some");
        assert!(
            told.ends_with("where no disk lied: p50 9 ms, p99 9 ms, max 9 ms, of 1 seeds"),
            "{told}"
        );
    }
}
