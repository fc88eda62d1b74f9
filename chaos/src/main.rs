//! `cargo chaos`: real processes under real faults, judged.
//!
//! Not here: everything but the command line.

use std::{
    path::PathBuf,
    process::{Command as Process, ExitCode},
};

use chaos::{
    options::{Command, RunOptions, USAGE, parse},
    report::{self, HISTORY, REPORT, TIMELINE},
    scenario,
};
use serde_json::Value;
use sim::judge::Verdict;

/// The run did not come to a verdict.
const FAILED: u8 = 2;

/// Builds the daemon and says where it is.
fn build(release: bool) -> Result<PathBuf, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Process::new(cargo);
    command.args(["build", "--quiet", "--locked", "--bin", "hivemem"]).current_dir(&root);
    if release {
        command.arg("--release");
    }
    let status = command.status().map_err(|e| format!("cannot run cargo: {e}"))?;
    match status.success() {
        true => Ok(target.join(if release { "release" } else { "debug" }).join("hivemem")),
        false => Err("the daemon does not build".to_owned()),
    }
}

fn run(options: &RunOptions) -> Result<(Verdict, Value), String> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(options.release)?,
    };
    let voters = tempfile::Builder::new().prefix("hivemem-chaos-").tempdir();
    let voters = voters.map_err(|e| format!("a temporary folder: {e}"))?;
    let folder = match &options.report {
        Some(folder) => folder.clone(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../target/chaos")
            .join(format!("root-kill-{}", options.seed)),
    };
    let world = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let world = world.map_err(|e| format!("a runtime: {e}"))?;
    let done = world.block_on(scenario::run(options, &binary, voters.path()));
    if options.keep || done.is_err() {
        eprintln!("the voters' folders: {}", voters.keep().display());
    }
    let done = done?;
    eprintln!("judging {} events", done.history.events().len());
    let reported = report::write(&done, &folder).map_err(|e| format!("the report: {e}"))?;
    for file in [HISTORY, REPORT, TIMELINE] {
        eprintln!("{}", folder.join(file).display());
    }
    Ok(reported)
}

fn main() -> ExitCode {
    let done = match parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Judge(folder)) => report::judge_again(&folder),
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(FAILED);
        }
    };
    match done {
        Ok((verdict, value)) => {
            for figure in ["events", "without_success", "first_success"] {
                println!("{figure}: {}", value[figure]);
            }
            println!("{verdict}");
            ExitCode::from(report::exit_code(&verdict))
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(FAILED)
        }
    }
}
