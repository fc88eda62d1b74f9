//! The launcher: builds the simulator with its own cfg into its own target directory, then runs one
//! process per seed.
//!
//! | file | what |
//! |---|---|
//! | `simulator` | building it, running one seed |
//! | `fuzz` | many seeds: fuzz and the determinism check |
//! | `mutants` | planted bugs, each run until it is seen |
//! | `shrink` | the fewest faults and clients with which a seed still fails |
//!
//! Invariant: the two builds never share a target directory, so neither rebuilds the other.
//!
//! Not here: what a run is (`run`, in the simulator's own build).

mod fuzz;
mod mutants;
mod shrink;
mod simulator;

use std::process::ExitCode;

use self::simulator::Simulator;

const USAGE: &str = "\
cargo sim run --seed S [--scenario NAME] [--trace] [--only I,J] [--clients N] [--hours N] [--history FILE] [--html FILE] [--planted BUG]
cargo sim replay S [--scenario NAME]     one seed, with everything that its nodes log
cargo sim explain S [--scenario NAME]    one seed as a page: lanes, leaders, faults, what is to blame
cargo sim shrink S [--scenario NAME]     the fewest faults and clients with which it still fails
cargo sim fuzz [--from A] [--count N] [--jobs J] [--scenario NAME] [--every-fault] [--hours N]
cargo sim mutants [--list] [--only BUG,…] [--scenario NAME] [--jobs J] [--budget-cpu-min M]
cargo sim check [--from A] [--count N] [--scenario NAME] [--hours N]   each seed twice, fingerprints compared
cargo sim seams                          the tests of the simulated clock, disk and chance themselves
scenarios: root (default), root-smoke, operators, elections, disks, members, snapshots, leases, rejoins;
of peers: peers, peers-smoke, peers-losses, peers-restarts, peers-scopes, peers-ties, peers-soak, peers-delete,
peers-title, peers-stale, peers-refused, peers-rejoiner, peers-exactly, peers-again, peers-hour, peers-restored,
peers-widened, peers-quota, peers-policy, peers-schema, peers-away, peers-new;
of one node: smoke, power-loss, bad-disk, bad-clock";

/// What a command was given.
struct Arguments(Vec<String>);

impl Arguments {
    /// The value behind a flag.
    fn flag(&self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|a| a == name)?;
        self.0.get(at + 1).cloned()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.flag(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("{name} {text}: not a number")),
        }
    }

    fn scenario(&self) -> String {
        self.flag("--scenario").unwrap_or_else(|| "root".to_owned())
    }

    /// The seed that a command names first, or behind `--seed`.
    fn seed(&self) -> Result<u64, String> {
        let first = self.0.get(1).filter(|a| !a.starts_with("--")).cloned();
        let text = first.or_else(|| self.flag("--seed")).ok_or("name a seed")?;
        text.parse().map_err(|_| format!("{text} is no seed"))
    }
}

/// Runs one seed where everybody can see it.
fn show(simulator: &Simulator, arguments: &Arguments, more: &[&str]) -> Result<bool, String> {
    let seed = arguments.seed()?.to_string();
    let scenario = arguments.scenario();
    let mut all: Vec<&str> = vec!["--seed", &seed, "--scenario", &scenario];
    all.extend(more);
    simulator.show(&all)
}

fn explain(simulator: &Simulator, arguments: &Arguments) -> Result<bool, String> {
    let seed = arguments.seed()?;
    let page = simulator.folder().join(format!("{}-{seed}.html", arguments.scenario()));
    let page = page.display().to_string();
    let passed = show(simulator, arguments, &["--html", &page])?;
    println!("{page}");
    Ok(passed)
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let Some(command) = arguments.0.first().map(String::as_str) else {
        return Err(USAGE.to_owned());
    };
    match command {
        "mutants" => return mutants::run(arguments),
        "seams" => return Simulator::test_seams(),
        _ => {}
    }
    let known = ["fuzz", "check", "shrink", "explain", "replay", "run"];
    if !known.contains(&command) {
        return Err(USAGE.to_owned());
    }
    let simulator = Simulator::build(arguments.flag("--planted").is_some())?;
    match command {
        "fuzz" => fuzz::run(&simulator, arguments, false),
        "check" => fuzz::run(&simulator, arguments, true),
        "shrink" => shrink::run(&simulator, arguments.seed()?, &arguments.scenario()),
        "explain" => explain(&simulator, arguments),
        "replay" => show(&simulator, arguments, &["--trace"]),
        _ => {
            let passed: Vec<&str> = arguments.0[1..].iter().map(String::as_str).collect();
            simulator.show(&passed)
        }
    }
}

pub(super) fn main(arguments: Vec<String>) -> ExitCode {
    match run(&Arguments(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}
