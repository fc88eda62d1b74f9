//! One seed in this process.

use std::process::ExitCode;

use sim::{
    options::{Options, Scenario},
    run::run,
};

/// The value behind a flag.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == name)?;
    arguments.get(at + 1).cloned()
}

pub(super) fn main(arguments: Vec<String>) -> ExitCode {
    // Hash maps of third parties order by address, so addresses must not vary.
    if let Err(error) = runtime::sim::without_aslr() {
        eprintln!("cannot switch off address randomisation: {error}");
        return ExitCode::from(2);
    }
    runtime::sim::install();
    let seed = flag(&arguments, "--seed").and_then(|s| s.parse::<u64>().ok());
    let scenario = flag(&arguments, "--scenario").unwrap_or_else(|| "power-loss".to_owned());
    let (Some(seed), Some(scenario)) = (seed, Scenario::from_name(&scenario)) else {
        let names: Vec<&str> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("needs --seed NUMBER and --scenario one of {}", names.join(", "));
        return ExitCode::from(2);
    };
    if arguments.iter().any(|a| a == "--trace") {
        let filter = tracing_subscriber::EnvFilter::new("info,hivemem=debug,storage=debug");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let report = run(Options::of(scenario, seed));
    println!("{}", report.line());
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
