//! `hivemem bench`: from arguments to a measurement and back to JSON.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::disk::DiskRef;

use crate::{
    bench::{Plan, Through, Work, run as measure},
    cli::{
        args::{BenchArgs, BenchCommand, BenchThrough},
        exit::Failure,
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

fn place(args: &BenchArgs) -> Place {
    match &args.folder {
        Some(folder) => Place { folder: folder.clone(), temporary: false },
        None => {
            let name = format!("hivemem-bench-{}", std::process::id());
            Place { folder: std::env::temp_dir().join(name), temporary: true }
        }
    }
}

/// Measures and prints one JSON object.
///
/// # Errors
/// [`Failure`] when the store cannot be built.
pub async fn run(disk: DiskRef, config: &Config, command: &BenchCommand) -> Result<(), Failure> {
    let (work, args) = match command {
        BenchCommand::Store(args) => (Work::Store, args),
        BenchCommand::Bulk(args) => (Work::Bulk, args),
        BenchCommand::Recall(args) => (Work::Recall, args),
        BenchCommand::Mixed(args) => (Work::Mixed, args),
        BenchCommand::Start(args) => (Work::Start, args),
    };
    let place = place(args);
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
    let text = serde_json::to_string_pretty(&report)
        .map_err(|e| Failure::start(format!("cannot render the report: {e}")))?;
    render::print(&format!("{text}\n"));
    Ok(())
}
