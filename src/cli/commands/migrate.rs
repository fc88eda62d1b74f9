//! `migrate`: moving a node's memories from a file into a database and back.
//!
//! Invariant: the address of a database is not shown, because it has a password in it.
//!
//! Not here: how (`storage::moving`).

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::{blocking, disk::DiskRef};
use serde_json::json;
use storage::{
    OpenError,
    moving::{self, MoveError, Moved, Plan, Progress, Way},
};

use super::show;
use crate::{
    cli::{
        Cli, Command,
        args::MigrateArgs,
        exit::{Code, Failure},
    },
    config::Config,
    embed, node,
};

/// One of the two places.
enum Place {
    Folder(PathBuf),
    Address(String),
    AddressFile(String),
}

/// What the two places mean for the configuration.
struct Places {
    way: Way,
    folder: PathBuf,
    address: Place,
}

fn place(option: &str, text: &str) -> Result<Place, Failure> {
    match text.split_once(':') {
        Some(("sqlite", folder)) if !folder.is_empty() => {
            let folder = folder.strip_prefix("//").unwrap_or(folder);
            Ok(Place::Folder(folder.into()))
        }
        Some(("postgres" | "postgresql", _)) => Ok(Place::Address(text.to_owned())),
        Some(("file", path)) if !path.is_empty() => Ok(Place::AddressFile(path.to_owned())),
        // What it is instead may have a password in it.
        _ => Err(Failure::usage(format!(
            "--{option}: needs sqlite:FOLDER, postgres://user:password@host:port/database or file:PATH"
        ))),
    }
}

fn places(args: &MigrateArgs) -> Result<Places, Failure> {
    let (way, folder, address) = match (place("from", &args.from)?, place("to", &args.to)?) {
        (Place::Folder(folder), address @ (Place::Address(_) | Place::AddressFile(_))) => {
            (Way::ToServer, folder, address)
        }
        (address @ (Place::Address(_) | Place::AddressFile(_)), Place::Folder(folder)) => {
            (Way::ToFile, folder, address)
        }
        _ => {
            return Err(Failure::usage(
                "--from and --to: one is sqlite:FOLDER, the other a database",
            ));
        }
    };
    Ok(Places { way, folder, address })
}

/// Has the configuration be that of the folder and the database that are named.
///
/// # Errors
/// A place that is none.
pub fn configure(cli: &mut Cli) -> Result<(), Failure> {
    let Command::Migrate(args) = &cli.command else { return Ok(()) };
    let Places { folder, address, .. } = places(args)?;
    cli.data_dir = Some(folder);
    let (url, file) = match address {
        Place::AddressFile(file) => (String::new(), file),
        Place::Address(url) => (url, String::new()),
        Place::Folder(_) => return Ok(()),
    };
    cli.store_url = Some(url);
    cli.set.insert(0, format!("storage.url_file={file}"));
    Ok(())
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        let code = match &error {
            MoveError::Nothing { .. } => Code::NotFound,
            MoveError::Taken { .. } => Code::Conflict,
            MoveError::Differs { .. } => Code::CheckFailed,
            MoveError::Open(OpenError::Server { .. } | OpenError::Newer { .. }) => Code::Usage,
            _ => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Moves them.
///
/// # Errors
/// [`MoveError`] as a failure.
pub async fn run(
    disk: DiskRef,
    config: &Config,
    args: &MigrateArgs,
    as_json: bool,
) -> Result<(), Failure> {
    let Places { way, folder, .. } = places(args)?;
    let server = node::database(&disk, config).map_err(|e| Failure::usage(e.to_string()))?;
    let Some(server) = server else { return Err(Failure::usage("no database is named")) };
    let embedder = embed::build(&disk, &config.embedder);
    let space = embedder.map_err(|e| Failure::usage(e.to_string()))?.space();
    let plan = Plan { way, folder, server, space, waits: !args.no_wait };
    let mut shown = Shown::new();
    let moved = blocking::run(move || {
        let moved = moving::run(&disk, &plan, &mut |progress| shown.tell(progress));
        shown.bar.finish_and_clear();
        moved
    });
    report(way, &moved.await?, as_json);
    Ok(())
}

fn report(way: Way, moved: &Moved, as_json: bool) {
    let (sequence, hash) = &moved.chain_head;
    let value = json!({
        "copied_rows": moved.copied,
        "content_digest": hex::encode(moved.content_digest),
        "chain_head": { "sequence": sequence, "hash": hex::encode(hash) },
        "held_ms": moved.held_ms,
        "left": moved.left,
    });
    show(as_json, &value, |_| {
        let next = match way {
            Way::ToServer => "set storage.url (or storage.url_file) for the node and start it",
            Way::ToFile => "remove storage.url from the node's configuration and start it",
        };
        format!(
            "moved: both sides have content digest {} and an audit chain up to row {sequence}\n\
             {} rows were copied; a node could not have run for {} ms\n\
             what is left where they were: {}; remove it when the node has a backup\n\
             next: {next}\n",
            hex::encode(moved.content_digest),
            moved.copied,
            moved.held_ms,
            moved.left
        )
    });
}

/// A bar where a person waits, a line for each step elsewhere.
struct Shown {
    bar: ProgressBar,
    is_bar: bool,
    step: String,
}

impl Shown {
    fn new() -> Self {
        let is_bar = std::io::stderr().is_terminal();
        let bar = if is_bar { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg:24} {bar:40} {human_pos}/{human_len} {eta}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, is_bar, step: String::new() }
    }

    fn tell(&mut self, progress: Progress) {
        let (step, done, of) = match progress {
            // Small tables are over before they could be read.
            Progress::Rows { of, .. } if of < 10_000 => return,
            Progress::Rows { table, done, of } => (format!("copying {table}"), done, of),
            Progress::Derived { memories } => {
                ("making words and vectors".to_owned(), memories, memories)
            }
            Progress::Index => ("making the index of vectors".to_owned(), 0, 1),
            Progress::Verifying => ("verifying".to_owned(), 0, 1),
            Progress::Waiting { holder } => {
                let said = format!(
                    "everything is copied; stop {holder} and what is left is moved at once"
                );
                self.bar.suspend(|| eprintln!("{said}"));
                ("waiting".to_owned(), 0, 1)
            }
        };
        if step != self.step {
            if !self.is_bar && step != "waiting" {
                eprintln!("{step}");
            }
            self.bar.set_message(step.clone());
            self.bar.reset_eta();
            self.step = step;
        }
        self.bar.set_length(of.max(done));
        self.bar.set_position(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_a_folder_and_the_other_a_database() {
        let args = |from: &str, to: &str| MigrateArgs {
            from: from.to_owned(),
            to: to.to_owned(),
            no_wait: false,
        };
        let there = places(&args("sqlite:/data", "postgres://a:secret@h/d")).expect("places");
        assert_eq!((there.way, there.folder), (Way::ToServer, PathBuf::from("/data")));
        let back = places(&args("file:/etc/address", "sqlite:///data")).expect("places");
        assert_eq!((back.way, back.folder), (Way::ToFile, PathBuf::from("/data")));
        for (from, to) in [
            ("sqlite:/a", "sqlite:/b"),
            ("postgres://a:secret@h/d", "postgres://a:secret@h/e"),
            ("mysql://a:secret@h/d", "sqlite:/b"),
            ("/a", "postgres://a:secret@h/d"),
            ("sqlite:", "postgres://a:secret@h/d"),
        ] {
            let refused = places(&args(from, to)).err().expect("refused").detail;
            assert!(refused.contains("sqlite:FOLDER") && !refused.contains("secret"), "{refused}");
        }
    }
}
