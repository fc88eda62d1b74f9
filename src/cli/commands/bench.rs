//! `hivemem bench`: from arguments to a measurement and back to JSON, or to a table.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::{disk::DiskRef, signal};
use serde::Serialize;

use crate::{
    bench::{Plan, QuorumPlan, Through, Work, quorum, run as measure},
    cli::{
        bench_args::{BenchArgs, BenchCommand, BenchDoor, BenchThrough, QuorumArgs},
        exit::{Code, Failure},
        render,
    },
    config::Config,
};

/// A folder that is removed when the measurement is over, unless it was given.
struct Place {
    folder: PathBuf,
    temporary: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // Left behind at worst; the system's temporary folder is cleaned anyway.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn place(folder: Option<&Path>) -> Place {
    match folder {
        Some(folder) => Place { folder: folder.to_owned(), temporary: false },
        None => {
            let name = format!("hivemem-bench-{}", std::process::id());
            Place { folder: std::env::temp_dir().join(name), temporary: true }
        }
    }
}

fn json(report: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|e| Failure::start(format!("cannot render the report: {e}")))?;
    Ok(format!("{text}\n"))
}

/// Measures and prints one JSON object; of three nodes a table, unless JSON is wanted.
///
/// # Errors
/// [`Failure`] when a store cannot be built or a node does not start.
pub async fn run(
    disk: DiskRef,
    config: &Config,
    command: &BenchCommand,
    as_json: bool,
) -> Result<(), Failure> {
    let (work, args) = match command {
        BenchCommand::Store(args) => (Work::Store, args),
        BenchCommand::Bulk(args) => (Work::Bulk, args),
        BenchCommand::Recall(args) => (Work::Recall, args),
        BenchCommand::Mixed(args) => (Work::Mixed, args),
        BenchCommand::Start(args) => (Work::Start, args),
        BenchCommand::Quorum(args) => return run_quorum(args, as_json).await,
    };
    one(disk, config, work, args).await
}

/// Measures one node.
async fn one(disk: DiskRef, config: &Config, work: Work, args: &BenchArgs) -> Result<(), Failure> {
    let place = place(args.folder.as_deref());
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(args.memories).with_style(
            ProgressStyle::with_template("filling {bar:40} {pos}/{len} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
    } else {
        ProgressBar::hidden()
    };
    let plan = Plan {
        work,
        memories: args.memories,
        clients: args.clients.max(1),
        through: match args.through {
            BenchThrough::Process => Through::Process,
            BenchThrough::Grpc => Through::Grpc,
            BenchThrough::Http => Through::Http,
        },
        duration: Duration::from_secs(args.seconds),
        seed: args.seed,
        folder: place.folder.clone(),
    };
    let report = measure(disk, config, plan, &|have| bar.set_position(have)).await?;
    bar.finish_and_clear();
    render::print(&json(&report)?);
    Ok(())
}

/// Measures three nodes. An interrupt ends it, and with it the nodes.
async fn run_quorum(args: &QuorumArgs, as_json: bool) -> Result<(), Failure> {
    let place = place(args.folder.as_deref());
    if place.folder.exists() {
        let detail = format!("--folder {} exists; name a new one", place.folder.display());
        return Err(Failure::usage(detail));
    }
    let plan = QuorumPlan {
        clients: args.clients.iter().map(|clients| (*clients).max(1)).collect(),
        through: match args.through {
            BenchDoor::Http => Through::Http,
            BenchDoor::Grpc => Through::Grpc,
        },
        duration: Duration::from_secs(args.seconds.max(1)),
        memories: args.memories,
        differences: args.differences,
        seed: args.seed,
        folder: place.folder.clone(),
    };
    let spinner = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    spinner.enable_steady_tick(Duration::from_millis(200));
    let progress = |what: &str| spinner.set_message(what.to_owned());
    let mut interrupts = signal::interrupts()
        .map_err(|e| Failure::start(format!("cannot watch for signals: {e}")))?;
    let report = tokio::select! {
        report = quorum(&plan, &progress) => report,
        _ = interrupts.next() => {
            return Err(Failure::new(Code::Unavailable, "interrupted; the nodes have ended"));
        }
    };
    let report = report.map_err(|error| Failure::start(format!("{error:#}")))?;
    spinner.finish_and_clear();
    render::print(&if as_json { json(&report)? } else { report.to_string() });
    Ok(())
}
