//! What is asked for, from the command line.
//!
//! Invariant: what is not understood is refused, never ignored.
//!
//! Not here: running.

use std::{path::PathBuf, time::Duration};

use crate::{nemesis::Nemesis, soak::Soak, storm::Storm};

/// How to call it.
pub const USAGE: &str = "\
cargo chaos run storm [--shape S] [--rounds N] [--minutes M] [--seed S] [--clients N] [--nemesis all|NAME,NAME…]
                      [--plain] [--next PATH] [--binary PATH] [--release] [--report FOLDER] [--keep] [--set KEY=VALUE]…
cargo chaos run campaign [FILE] [--next PATH] [--binary PATH] [--release] [--report FOLDER] [--keep]
cargo chaos run soak --minutes M [--seed S] [--clients N] [--binary PATH] [--release] [--report FOLDER] [--keep]
                     [--set KEY=VALUE]…
cargo chaos judge FOLDER                  judges a recorded run again
cargo chaos nemeses                       shows all faults, and what keeps this machine from any of them
shapes: root1 to root9, mesh2 to mesh9, hive; a plain storm needs no privileges, and has neither network nor disks
that fail; each nemesis is had once before any comes again; --next is a daemon of another version, for upgrades
exit codes: 0 pass, 1 a promise is broken, 2 the run failed, 3 something could not be decided";

/// Time between two looks of a soak.
const SOAK_EVERY: Duration = Duration::from_secs(30);

/// How the daemon is had, and where everything goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The daemon; built when not given.
    pub binary: Option<PathBuf>,
    /// Whether the daemon is built for speed.
    pub release: bool,
    /// Where the files of the run go; a folder named after it when not given.
    pub report: Option<PathBuf>,
    /// Whether the nodes' folders stay.
    pub keep: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// One storm.
    Storm(Storm, Place),
    /// Checks and storms from a file, that of the project when not given; and a daemon of another version.
    Campaign(Option<PathBuf>, Option<PathBuf>, Place),
    /// Hours of load.
    Soak(Soak, Place),
    /// Another look at a recorded one.
    Judge(PathBuf),
    /// A list of all faults.
    Nemeses,
}

impl Default for Storm {
    fn default() -> Self {
        Self {
            shape: "root3".to_owned(),
            seed: 1,
            rounds: 20,
            lasts: None,
            clients: None,
            nemeses: Nemesis::ALL.to_vec(),
            deep: true,
            settings: Vec::new(),
            next: None,
        }
    }
}

fn number(name: &str, text: &str, low: u64, high: u64) -> Result<u64, String> {
    let number: u64 = text.parse().map_err(|_| format!("{name}: {text:?} is no number"))?;
    match (low..=high).contains(&number) {
        true => Ok(number),
        false => Err(format!("{name}: use {low} to {high}")),
    }
}

/// Faults by their names.
///
/// # Errors
/// Names the one that nobody knows.
pub fn nemeses<'n>(names: impl Iterator<Item = &'n str>) -> Result<Vec<Nemesis>, String> {
    let mut all = Vec::new();
    for name in names {
        match name {
            "all" => all.extend(Nemesis::ALL),
            _ => all
                .push(Nemesis::from_name(name).ok_or_else(|| format!("unknown nemesis {name:?}"))?),
        }
    }
    Ok(all)
}

/// Takes an option that every run has; whether it was one.
fn place(
    place: &mut Place,
    name: &str,
    mut value: impl FnMut() -> Result<String, String>,
) -> Result<bool, String> {
    match name {
        "--binary" => place.binary = Some(value()?.into()),
        "--report" => place.report = Some(value()?.into()),
        "--release" => place.release = true,
        "--keep" => place.keep = true,
        _ => return Ok(false),
    }
    Ok(true)
}

fn storm(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut storm, mut had) = (Storm::default(), Place::default());
    let mut rounds = None;
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        if place(&mut had, &name, &mut value)? {
            continue;
        }
        match name.as_str() {
            "--shape" => storm.shape = value()?,
            "--rounds" => rounds = Some(number(&name, &value()?, 0, 10_000)?),
            "--minutes" => {
                let minutes = number(&name, &value()?, 1, 10_000)?;
                storm.lasts = Some(Duration::from_secs(60 * minutes));
            }
            "--seed" => storm.seed = number(&name, &value()?, 0, u64::MAX)?,
            "--clients" => storm.clients = Some(number(&name, &value()?, 1, 256)?),
            "--nemesis" => storm.nemeses = nemeses(value()?.split(','))?,
            "--set" => storm.settings.push(value()?),
            "--plain" => storm.deep = false,
            "--next" => storm.next = Some(value()?.into()),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    storm.rounds = match (rounds, storm.lasts) {
        (Some(rounds), _) => rounds,
        (None, Some(_)) => u64::MAX,
        (None, None) => storm.rounds,
    };
    Ok(Command::Storm(storm, had))
}

fn soak(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut minutes, mut had) = (None, Place::default());
    let mut soak = Soak {
        lasts: Duration::ZERO,
        seed: 1,
        clients: 8,
        every: SOAK_EVERY,
        settings: Vec::new(),
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        if place(&mut had, &name, &mut value)? {
            continue;
        }
        match name.as_str() {
            "--minutes" => minutes = Some(number(&name, &value()?, 1, 10_000)?),
            "--seed" => soak.seed = number(&name, &value()?, 0, u64::MAX)?,
            "--clients" => soak.clients = number(&name, &value()?, 1, 256)?,
            "--set" => soak.settings.push(value()?),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    soak.lasts = Duration::from_secs(60 * minutes.ok_or("a soak needs --minutes")?);
    // Short of an hour there would be too few looks.
    soak.every = SOAK_EVERY.min(soak.lasts / 60);
    Ok(Command::Soak(soak, had))
}

fn campaign(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut file, mut next, mut had) = (None, None, Place::default());
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        if place(&mut had, &name, &mut value)? {
            continue;
        }
        if name == "--next" {
            next = Some(value()?.into());
            continue;
        }
        if name.starts_with("--") || file.is_some() {
            return Err(format!("unknown option {name:?}"));
        }
        file = Some(name.into());
    }
    Ok(Command::Campaign(file, next, had))
}

/// Understands the command line, without the program's name.
///
/// # Errors
/// In words what is not understood.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    match arguments.next().as_deref() {
        Some("run") => match arguments.next().as_deref() {
            Some("storm") => storm(arguments),
            Some("campaign") => campaign(arguments),
            Some("soak") => soak(arguments),
            other => {
                let other = other.unwrap_or("nothing");
                Err(format!("run what? {other} is neither storm, campaign nor soak"))
            }
        },
        Some("judge") => match (arguments.next(), arguments.next()) {
            (Some(folder), None) => Ok(Command::Judge(folder.into())),
            _ => Err("judge needs the folder of a run".to_owned()),
        },
        Some("nemeses") if arguments.next().is_none() => Ok(Command::Nemeses),
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
        let line = "run storm --shape mesh5 --rounds 2 --seed 7 --nemesis kill-leader,split --keep";
        let nemeses = vec![Nemesis::KillLeader, Nemesis::Split];
        let shape = "mesh5".to_owned();
        let storm = Storm { shape, rounds: 2, seed: 7, nemeses, ..Storm::default() };
        let place = Place { keep: true, ..Place::default() };
        assert_eq!(parsed(line), Ok(Command::Storm(storm, place)));
        let Ok(Command::Storm(storm, _)) = parsed("run storm --minutes 3 --plain") else {
            panic!("a storm")
        };
        assert_eq!((storm.rounds, storm.lasts), (u64::MAX, Some(Duration::from_secs(180))));
        assert!(!storm.deep);
        let place = Place { release: true, ..Place::default() };
        assert_eq!(
            parsed("run campaign few.toml --next other --release"),
            Ok(Command::Campaign(Some("few.toml".into()), Some("other".into()), place))
        );
        assert_eq!(parsed("judge here"), Ok(Command::Judge("here".into())));
        assert_eq!(parsed("nemeses"), Ok(Command::Nemeses));
        for wrong in [
            "",
            "run",
            "run other",
            "run storm --rounds",
            "run storm --rounds x",
            "run storm --minutes 0",
            "run storm --nemesis earthquake",
            "run storm --verbose",
            "run soak",
            "run soak --minutes 5 --plain",
            "run campaign one two",
            "run campaign --seed 1",
            "judge a b",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_nemesis_is_found_by_its_name() {
        for nemesis in Nemesis::ALL {
            assert_eq!(Nemesis::from_name(nemesis.name()), Some(*nemesis));
            assert!(nemesis.about().trim().ends_with('.'), "{}", nemesis.name());
        }
        assert!(Nemesis::ALL.len() >= 20);
    }
}
