//! What a run is asked for, from the command line.
//!
//! Invariant: what is not understood is refused, never ignored.
//!
//! Not here: running.

use std::path::PathBuf;

use crate::nemesis::Nemesis;

/// How to call it.
pub const USAGE: &str = "\
cargo chaos run root-kill [--rounds N] [--seed S] [--voters N] [--clients N] [--nemesis NAME,NAME…]
                          [--binary PATH] [--release] [--report FOLDER] [--keep] [--set KEY=VALUE]…
cargo chaos judge FOLDER                  judges a recorded run again
nemeses: kill-leader (default), kill-follower, pause-leader; of several, each round draws one
exit codes: 0 pass, 1 a promise is broken, 2 the run failed, 3 something could not be decided";

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Rounds of faults.
    pub rounds: u64,
    /// Decides what clients do and when faults come.
    pub seed: u64,
    /// Voters of the root.
    pub voters: u64,
    /// Concurrent clients; drawn when not given.
    pub clients: Option<u64>,
    /// Faults of which each round draws one.
    pub nemeses: Vec<Nemesis>,
    /// The daemon; built when not given.
    pub binary: Option<PathBuf>,
    /// Whether the daemon is built for speed.
    pub release: bool,
    /// Where the files of the run go; a new folder when not given.
    pub report: Option<PathBuf>,
    /// Whether the voters' folders stay.
    pub keep: bool,
    /// Settings of every voter beyond those that it needs.
    pub settings: Vec<String>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            rounds: 20,
            seed: 1,
            voters: 3,
            clients: None,
            nemeses: vec![Nemesis::KillLeader],
            binary: None,
            release: false,
            report: None,
            keep: false,
            settings: Vec::new(),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A run.
    Run(RunOptions),
    /// Another look at a recorded one.
    Judge(PathBuf),
}

fn number(name: &str, text: &str, low: u64, high: u64) -> Result<u64, String> {
    let number: u64 = text.parse().map_err(|_| format!("{name}: {text:?} is no number"))?;
    match (low..=high).contains(&number) {
        true => Ok(number),
        false => Err(format!("{name}: use {low} to {high}")),
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<RunOptions, String> {
    match arguments.next().as_deref() {
        Some("root-kill") => {}
        other => return Err(format!("unknown scenario {}", other.unwrap_or("(none)"))),
    }
    let mut options = RunOptions::default();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--rounds" => options.rounds = number(&name, &value()?, 0, 10_000)?,
            "--seed" => options.seed = number(&name, &value()?, 0, u64::MAX)?,
            "--voters" => options.voters = number(&name, &value()?, 1, 7)?,
            "--clients" => options.clients = Some(number(&name, &value()?, 1, 256)?),
            "--nemesis" => {
                let of = |name: &str| {
                    Nemesis::from_name(name).ok_or_else(|| format!("unknown nemesis {name:?}"))
                };
                options.nemeses = value()?.split(',').map(of).collect::<Result<_, _>>()?;
            }
            "--binary" => options.binary = Some(value()?.into()),
            "--report" => options.report = Some(value()?.into()),
            "--set" => options.settings.push(value()?),
            "--release" => options.release = true,
            "--keep" => options.keep = true,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(options)
}

/// Understands the command line, without the program's name.
///
/// # Errors
/// In words what is not understood.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    match arguments.next().as_deref() {
        Some("run") => run(arguments).map(Command::Run),
        Some("judge") => match (arguments.next(), arguments.next()) {
            (Some(folder), None) => Ok(Command::Judge(folder.into())),
            _ => Err("judge needs the folder of a run".to_owned()),
        },
        other => Err(format!("unknown command {}", other.unwrap_or("(none)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_understood_or_refused() {
        let line = "run root-kill --rounds 2 --seed 7 --nemesis kill-leader,pause-leader --keep";
        let nemeses = vec![Nemesis::KillLeader, Nemesis::PauseLeader];
        let expected =
            RunOptions { rounds: 2, seed: 7, nemeses, keep: true, ..RunOptions::default() };
        assert_eq!(parsed(line), Ok(Command::Run(expected)));
        assert_eq!(parsed("judge here"), Ok(Command::Judge("here".into())));
        for wrong in [
            "",
            "run",
            "run other",
            "run root-kill --rounds",
            "run root-kill --rounds x",
            "run root-kill --voters 0",
            "run root-kill --nemesis earthquake",
            "run root-kill --verbose",
            "judge",
            "judge a b",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
