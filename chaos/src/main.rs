//! `cargo chaos`: real processes under real faults, judged.
//!
//! Not here: everything but the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, ExitCode},
};

use chaos::{
    campaign::{self, Campaign},
    nemesis::Nemesis,
    options::{Command, Place, USAGE, parse},
    report,
    soak::{self, Soak},
    storm::{self, Storm},
};
use serde_json::Value;
use sim::judge::Verdict;
use tempfile::TempDir;

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

/// The whole path of a file that is there.
fn real(path: &Path) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The daemon, and a folder for its nodes.
fn made(place: &Place) -> Result<(PathBuf, TempDir), String> {
    let binary = match &place.binary {
        Some(binary) => real(binary)?,
        None => build(place.release)?,
    };
    let nodes = tempfile::Builder::new().prefix("hc-").tempdir();
    Ok((binary, nodes.map_err(|e| format!("a temporary folder: {e}"))?))
}

/// Runs it in a world of its own; keeps the nodes' folders if it fails, or they are to stay.
fn played<T>(
    place: &Place,
    nodes: TempDir,
    play: impl AsyncFnOnce(&Path) -> Result<T, String>,
) -> Result<T, String> {
    let world = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let world = world.map_err(|e| format!("a runtime: {e}"))?;
    // Interrupted, it ends what it has started: what is dropped stops its nodes and takes away what it has mounted.
    let done = world.block_on(async {
        tokio::select! {
            done = play(nodes.path()) => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        }
    });
    if place.keep || done.is_err() {
        eprintln!("the nodes' folders: {}", nodes.keep().display());
    }
    done
}

fn one(storm: &Storm, place: &Place) -> Result<(Verdict, Value), String> {
    let (binary, nodes) = made(place)?;
    let folder = place.report.clone().unwrap_or_else(|| storm::folder(storm));
    let next = storm.next.as_deref().map(real).transpose()?;
    let storm = &Storm { next, ..storm.clone() };
    let done =
        played(place, nodes, async |nodes| storm::run(storm, &binary, &nodes.join("hive")).await)?;
    let reported = report::write(&done, &folder).map_err(|e| format!("the report: {e}"))?;
    eprintln!("the report: {}", folder.display());
    Ok(reported)
}

fn many(
    file: Option<&Path>,
    next: Option<&Path>,
    place: &Place,
) -> Result<(Verdict, Value), String> {
    let text = match file {
        Some(file) => fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?,
        None => campaign::DEFAULT.to_owned(),
    };
    let campaign = Campaign::read(&text)?.with_next(next.map(real).transpose()?);
    let (binary, nodes) = made(place)?;
    let folder = place.report.clone().unwrap_or_else(|| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/chaos/campaign")
    });
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let done = played(place, nodes, async |nodes| {
        campaign::run(&campaign, &binary, &folder, nodes).await
    })?;
    let written = fs::write(folder.join("table.md"), &done.table);
    written.map_err(|e| format!("the table: {e}"))?;
    println!("{}", done.table);
    eprintln!("the reports: {}", folder.display());
    match done.failed.is_empty() {
        true => Ok((done.verdict, done.value)),
        false => Err(done.failed.join("\n")),
    }
}

fn hours(soak: &Soak, place: &Place) -> Result<(Verdict, Value), String> {
    let (binary, nodes) = made(place)?;
    let folder = place.report.clone().unwrap_or_else(|| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../target/chaos/soak-{}", soak.seed))
    });
    let done =
        played(place, nodes, async |nodes| soak::run(soak, &binary, &nodes.join("hive")).await)?;
    let (verdict, value) = report::soak(&done, &folder)?;
    eprintln!("the report: {}", folder.display());
    Ok((verdict, value))
}

fn nemeses() {
    let deep = storm::obstacle();
    for nemesis in Nemesis::ALL {
        println!("{:16} {}", nemesis.name(), nemesis.about().trim());
    }
    match deep {
        None => println!("\nnetworks and disks can be made to fail here"),
        Some(obstacle) => println!("\nonly plain storms can be had here: {obstacle}"),
    }
}

fn show(value: &Value) {
    for side in value["sides"].as_array().into_iter().flatten() {
        for figure in ["side", "events", "converged_us", "without_success", "first_success"] {
            println!("{figure}: {}", side[figure]);
        }
    }
    for series in value["growth"].as_array().into_iter().flatten() {
        println!("{series}");
    }
    for (name, nemesis) in value["nemeses"].as_object().into_iter().flatten() {
        let reason = nemesis["left_out"].as_str().map(|r| format!(" ({r})")).unwrap_or_default();
        println!("{name}: installed {}{reason}", nemesis["installed"]);
    }
}

fn main() -> ExitCode {
    let done = match parse(std::env::args().skip(1)) {
        Ok(Command::Storm(storm, place)) => one(&storm, &place),
        Ok(Command::Campaign(file, next, place)) => many(file.as_deref(), next.as_deref(), &place),
        Ok(Command::Soak(soak, place)) => hours(&soak, &place),
        Ok(Command::Judge(folder)) => report::judge_again(&folder),
        Ok(Command::Nemeses) => {
            nemeses();
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(FAILED);
        }
    };
    match done {
        Ok((verdict, value)) => {
            show(&value);
            println!("{verdict}");
            ExitCode::from(report::exit_code(&verdict))
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(FAILED)
        }
    }
}
