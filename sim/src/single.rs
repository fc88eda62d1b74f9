//! One seed in this process.

use std::{path::Path, process::ExitCode};

use sim::{
    judge::timeline::{html, timeline},
    options::{Options, PeersOptions, PeersScenario, RootOptions, RootScenario, Scenario},
    report::FleetReport,
    run::{Choice, node, peers, root},
};

/// Switches a planted bug on; answers whether that can be done.
#[cfg(planted)]
fn plant(name: &str) -> bool {
    types::planted::plant(name)
}

/// This build has no hooks.
#[cfg(not(planted))]
fn plant(_: &str) -> bool {
    false
}

/// Processor time of this process, milliseconds; 0 where the system does not say.
fn cpu_ms() -> u64 {
    // Fields 14 and 15, in ticks of 10 ms; the second field ends with the last bracket.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

/// What a seed is run with.
struct Arguments {
    seed: u64,
    scenario: String,
    choice: Choice,
    /// The bug that is switched on.
    planted: Option<String>,
    /// Processor time goes to standard error.
    cpu: bool,
    /// Everything the nodes log goes to standard error.
    trace: bool,
    /// Where the history goes, one event a line.
    history: Option<String>,
    /// Where the timeline goes.
    html: Option<String>,
}

/// The value behind a flag.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == name)?;
    arguments.get(at + 1).cloned()
}

fn parse(arguments: &[String]) -> Option<Arguments> {
    let only = match flag(arguments, "--only") {
        None => None,
        Some(list) if list.is_empty() => Some(Vec::new()),
        Some(list) => Some(list.split(',').map(|at| at.parse().ok()).collect::<Option<_>>()?),
    };
    let number = |name: &str| match flag(arguments, name) {
        None => Some(None),
        Some(text) => text.parse::<u64>().ok().map(Some),
    };
    let (clients, hours) = (number("--clients")?, number("--hours")?);
    Some(Arguments {
        seed: flag(arguments, "--seed")?.parse().ok()?,
        scenario: flag(arguments, "--scenario").unwrap_or_else(|| "root".to_owned()),
        choice: Choice { only, clients, hours },
        planted: flag(arguments, "--planted"),
        cpu: arguments.iter().any(|a| a == "--cpu"),
        trace: arguments.iter().any(|a| a == "--trace"),
        history: flag(arguments, "--history"),
        html: flag(arguments, "--html"),
    })
}

fn usage() -> ExitCode {
    let nodes = Scenario::ALL.iter().map(|(name, _)| *name);
    let roots = RootScenario::ALL.iter().map(|(name, _)| *name);
    let peers = PeersScenario::ALL.iter().map(|(name, _)| *name);
    let names: Vec<&str> = roots.chain(peers).chain(nodes).collect();
    eprintln!("needs --seed NUMBER and --scenario one of {}", names.join(", "));
    ExitCode::from(2)
}

fn write(path: &str, text: &str) -> bool {
    let written = std::fs::write(Path::new(path), text);
    if let Err(error) = &written {
        eprintln!("cannot write {path}: {error}");
    }
    written.is_ok()
}

/// Writes what was asked for besides the line.
fn keep(report: &FleetReport, arguments: &Arguments) -> bool {
    let Some(history) = &report.history else { return true };
    let lines = arguments.history.as_ref().is_none_or(|path| write(path, &history.to_lines()));
    let page = arguments
        .html
        .as_ref()
        .is_none_or(|path| write(path, &html::page(&timeline(history, &report.findings))));
    lines && page
}

/// Shows a run of several machines.
fn show(report: &FleetReport, arguments: &Arguments) -> ExitCode {
    if arguments.trace {
        eprintln!("{}", report.options);
        report.strikes.iter().enumerate().for_each(|(at, strike)| eprintln!("{at}: {strike}"));
    }
    println!("{}", report.line());
    let kept = keep(report, arguments);
    if report.passed() && kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(super) fn main(arguments: Vec<String>) -> ExitCode {
    // Hash maps of third parties order by address, so addresses must not vary.
    if let Err(error) = runtime::sim::without_aslr() {
        eprintln!("cannot switch off address randomisation: {error}");
        return ExitCode::from(2);
    }
    runtime::sim::install();
    let Some(arguments) = parse(&arguments) else { return usage() };
    if let Some(bug) = arguments.planted.as_ref().filter(|bug| !plant(bug)) {
        eprintln!("{bug} is no bug of this build: cargo sim mutants --list");
        return ExitCode::from(2);
    }
    let ended = run(&arguments);
    if arguments.cpu {
        eprintln!("cpu_ms {}", cpu_ms());
    }
    ended
}

fn run(arguments: &Arguments) -> ExitCode {
    if let Some(scenario) = RootScenario::from_name(&arguments.scenario) {
        let options = RootOptions::of(scenario, arguments.seed);
        return show(&root::run(options, &arguments.choice, arguments.trace), arguments);
    }
    if let Some(scenario) = PeersScenario::from_name(&arguments.scenario) {
        let options = PeersOptions::of(scenario, arguments.seed);
        return show(&peers::run(options, &arguments.choice, arguments.trace), arguments);
    }
    let Some(scenario) = Scenario::from_name(&arguments.scenario) else { return usage() };
    let report = node::run(Options::of(scenario, arguments.seed), arguments.trace);
    println!("{}", report.line());
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
