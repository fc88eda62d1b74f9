//! `cargo sim mutants`: every planted bug is run until a judge sees it.
//!
//! A bug is asked of the scenario that is named for it, seed after seed, until a run is condemned. What
//! counts is the processor time of the runs up to that seed, so that the figure does not depend on how
//! many run at once.
//!
//! Invariant: the same build without a bug passes first; otherwise a detection would mean nothing.
//!
//! Not here: the bugs (`types::planted`), building the simulator (`simulator`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use types::planted::{ALL, Bug};

use super::{
    Arguments,
    simulator::{Seed, Simulator},
};

/// Seeds of each scenario that are run without a bug.
const CONTROLS: u64 = 3;
/// Processor time within which a bug must be seen, minutes.
const BUDGET_MIN: u64 = 30;

/// What a run cost and what its judges said.
#[derive(Clone, Debug, Default)]
struct Ran {
    cpu_ms: u64,
    /// Rules that are broken, in the order of the verdict; `run` for a run that did not come to its end.
    broken: Vec<String>,
    /// What is wrong first, in words.
    first: String,
}

/// What became of a bug.
struct Hunt {
    bug: &'static Bug,
    scenario: String,
    /// The seed that found it, if one did.
    seed: Option<u64>,
    runs: u64,
    cpu_ms: u64,
    found: Ran,
}

/// The rule that a line of a verdict begins with; a problem of the run itself has none.
fn rule_of(wrong: &str) -> &str {
    let head = wrong.split(": ").next().unwrap_or_default();
    if head.contains('/') && !head.contains(' ') { head } else { "run" }
}

fn ran(seed: &Seed) -> Ran {
    let verdict = seed.line["verdict"].as_array().cloned().unwrap_or_default();
    let wrong: Vec<&str> = verdict.iter().filter_map(Value::as_str).collect();
    let mut broken: Vec<String> = Vec::new();
    for wrong in &wrong {
        let rule = rule_of(wrong).to_owned();
        if !broken.contains(&rule) {
            broken.push(rule);
        }
    }
    let first = wrong.first().map(ToString::to_string).unwrap_or_default();
    Ran { cpu_ms: seed.cpu_ms, broken, first }
}

fn run_one(
    simulator: &Simulator,
    scenario: &str,
    seed: u64,
    bug: Option<&Bug>,
) -> Result<Ran, String> {
    let mut more = vec!["--cpu".to_owned()];
    if let Some(bug) = bug {
        more.extend(["--planted".to_owned(), bug.name.to_owned()]);
    }
    simulator.run(seed, scenario, &more).map(|seed| ran(&seed))
}

/// Runs seeds from 1 on, `jobs` at once, until the bug is seen or the budget is spent.
fn hunt(
    simulator: &Simulator,
    bug: &'static Bug,
    scenario: &str,
    jobs: u64,
    budget_ms: u64,
) -> Result<Hunt, String> {
    let next = AtomicU64::new(1);
    // Seeds behind this one need not be run.
    let last = AtomicU64::new(u64::MAX);
    let spent = AtomicU64::new(0);
    let ran: Mutex<BTreeMap<u64, Result<Ran, String>>> = Mutex::default();
    let over =
        |seed| seed > last.load(Ordering::SeqCst) || spent.load(Ordering::SeqCst) >= budget_ms;
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if over(seed) {
                        return;
                    }
                    let result = run_one(simulator, scenario, seed, Some(bug));
                    match &result {
                        Ok(ran) if ran.broken.is_empty() => {
                            spent.fetch_add(ran.cpu_ms, Ordering::SeqCst);
                        }
                        _ => {
                            last.fetch_min(seed, Ordering::SeqCst);
                        }
                    }
                    ran.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, result);
                }
            });
        }
    });
    let mut hunt = Hunt {
        bug,
        scenario: scenario.to_owned(),
        seed: None,
        runs: 0,
        cpu_ms: 0,
        found: Ran::default(),
    };
    for (seed, result) in ran.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let ran = result?;
        hunt.runs += 1;
        hunt.cpu_ms += ran.cpu_ms;
        if !ran.broken.is_empty() {
            (hunt.seed, hunt.found) = (Some(seed), ran);
            break;
        }
    }
    Ok(hunt)
}

/// Processor time in minutes.
fn minutes(cpu_ms: u64) -> f64 {
    cpu_ms as f64 / 60_000.0
}

impl Hunt {
    fn print(&self) {
        let Self { bug, scenario, runs, cpu_ms, found, .. } = self;
        let (name, cpu) = (bug.name, minutes(*cpu_ms));
        match self.seed {
            Some(seed) => {
                let expected = found
                    .broken
                    .iter()
                    .any(|rule| bug.judges.contains(&rule.split('/').next().unwrap_or_default()));
                let mark = if expected { "" } else { " (another judge was expected)" };
                let rules = found.broken.join(", ");
                println!("{name:28} {scenario:12} {seed:5} {cpu:8.2}  {rules}{mark}");
                println!("{:28} {}", "", found.first);
            }
            None => println!("{name:28} {scenario:12} never {cpu:8.2}  not seen in {runs} runs"),
        }
    }
}

/// Runs every scenario without a bug.
fn controls(simulator: &Simulator, scenarios: &BTreeSet<String>) -> Result<bool, String> {
    let mut clean = true;
    for scenario in scenarios {
        for seed in 1..=CONTROLS {
            let ran = run_one(simulator, scenario, seed, None)?;
            if !ran.broken.is_empty() {
                println!("no bug is on, and {scenario} {seed} is condemned: {}", ran.first);
                clean = false;
            }
        }
    }
    Ok(clean)
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

fn hunt_all(simulator: &Simulator, wanted: &Wanted) -> Result<bool, String> {
    let scenario = |bug: &Bug| wanted.scenario.clone().unwrap_or_else(|| bug.scenario.to_owned());
    let scenarios: BTreeSet<String> = wanted.bugs.iter().map(|bug| scenario(bug)).collect();
    if !controls(simulator, &scenarios)? {
        return Ok(false);
    }
    println!("{:28} {:12} {:>5} {:>8}  seen by", "planted", "scenario", "seed", "CPU min");
    let (mut spent, mut missed) = (Vec::new(), 0);
    for bug in &wanted.bugs {
        let hunt = hunt(simulator, bug, &scenario(bug), wanted.jobs, wanted.budget_ms)?;
        hunt.print();
        spent.push(hunt.cpu_ms);
        missed += u64::from(hunt.seed.is_none());
    }
    let (count, total) = (wanted.bugs.len(), minutes(spent.iter().sum()));
    let middle = minutes(median(spent));
    println!("{count} planted, {missed} not seen; CPU min: median {middle:.2}, sum {total:.1}");
    Ok(missed == 0)
}

/// What is asked for.
struct Wanted {
    bugs: Vec<&'static Bug>,
    scenario: Option<String>,
    jobs: u64,
    budget_ms: u64,
}

/// The command.
pub(super) fn run(arguments: &Arguments) -> Result<bool, String> {
    if arguments.has("--list") {
        for Bug { name, what, scenario, judges } in ALL {
            println!("{name:28} {scenario:12} {:24} {what}", judges.join(","));
        }
        return Ok(true);
    }
    let only = arguments.flag("--only");
    let is_wanted = |bug: &&Bug| only.as_ref().is_none_or(|o| o.split(',').any(|n| n == bug.name));
    let wanted = Wanted {
        bugs: ALL.iter().filter(is_wanted).collect(),
        scenario: arguments.flag("--scenario"),
        jobs: arguments.number("--jobs", 2)?.max(1),
        budget_ms: arguments.number("--budget-cpu-min", BUDGET_MIN)? * 60_000,
    };
    if wanted.bugs.is_empty() {
        return Err("no such bug; see cargo sim mutants --list".to_owned());
    }
    hunt_all(&Simulator::build(true)?, &wanted)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    #[test]
    fn verdicts_are_read() {
        let of = |verdict: Value| {
            let line = serde_json::json!({ "verdict": verdict });
            ran(&Seed { passed: false, line, cpu_ms: 1200 })
        };
        let wrong = ["raft/one-vote: n1 votes", "raft/one-vote: n2", "a client failed: x"];
        let Ran { cpu_ms, broken, first } = of(wrong.to_vec().into());
        assert_eq!((cpu_ms, first.as_str()), (1200, wrong[0]));
        assert_eq!(broken, ["raft/one-vote", "run"]);
        assert!(of("pass".into()).broken.is_empty() && of("unknown".into()).broken.is_empty());
        assert_eq!(of(vec!["crashed: a panic"].into()).broken, ["run"]);
    }

    fn sources(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push_str(&fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }

    #[test]
    fn every_bug_has_its_hook_and_every_hook_its_bug() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut text = String::new();
        for folder in ["consensus/src", "federation/src", "storage/src", "src"] {
            sources(&root.join(folder), &mut text);
        }
        // The list itself lies beside these.
        for file in ["types/src/register.rs", "types/src/record/view.rs"] {
            text.push_str(&fs::read_to_string(root.join(file)).expect("a file"));
        }
        for bug in ALL {
            assert!(text.contains(&format!("\"{}\"", bug.name)), "{} is planted nowhere", bug.name);
        }
        for call in ["is_on(\"", "before(\""] {
            for hook in text.split(call).skip(1) {
                let name = hook.split('"').next().unwrap_or_default();
                assert!(types::planted::bug(name).is_some(), "{name} is not in the list");
            }
        }
    }
}
