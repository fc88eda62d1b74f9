//! The log on a disk that fails on purpose.
//!
//! `power` cuts the power at every effect; `damage` flips bits and takes files away; `model` compares
//! with a plain list; `shell` runs the thread. This file has what they share: a model of a log, and a
//! driver that feeds both.

mod damage;
mod model;
mod power;
mod shell;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use runtime::disk::faulty::{FaultyDisk, Generator};

use super::{
    Bounds, EntryId, Identity, LogError, LogOptions, Vote,
    open::{self, Opened},
    record::Change,
};

const IDENTITY: Identity = Identity { cluster: [9; 16], member: 2 };
const OPTIONS: LogOptions = LogOptions { segment_bytes: 4096, cache_bytes: 1000, spares_max: 1 };

fn dir() -> PathBuf {
    PathBuf::from("log")
}

fn reopen(disk: &FaultyDisk) -> Result<Opened, LogError> {
    open::open(&disk.shared(), &dir(), IDENTITY, OPTIONS)
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, index }
}

fn entry(term: u64, index: u64, bytes: usize) -> Change {
    Change::Entry { id: id(term, index), payload: Bytes::from(vec![index as u8; bytes]) }
}

/// What a log must say: a list, written without looking at how the log does it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<(EntryId, Bytes)>,
    purged: Option<EntryId>,
    last: Option<EntryId>,
    committed: Option<EntryId>,
    vote: Option<Vote>,
}

impl Model {
    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry { id, payload } => {
                self.entries.push((*id, payload.clone()));
                self.last = Some(*id);
            }
            Change::Truncate { after } => {
                let keep = after.map_or(0, |id| id.index + 1);
                self.entries.retain(|(id, _)| id.index < keep);
                self.last = *after;
            }
            Change::Purge { upto } => {
                if self.purged.is_none_or(|purged| purged.index < upto.index) {
                    self.entries.retain(|(id, _)| id.index > upto.index);
                    self.purged = Some(*upto);
                    self.last = self.last.filter(|last| last.index > upto.index).or(self.purged);
                }
            }
            Change::Committed { id } => self.committed = *id,
            Change::Mark => {}
        }
    }

    fn of(opened: &Opened) -> Model {
        let Bounds { purged, last, committed } = opened.slots.bounds();
        let items = opened.slots.items().iter();
        let entries = items.map(|(id, (payload, _))| (*id, payload.clone())).collect();
        Model { entries, purged, last, committed, vote: opened.vote }
    }
}

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>),
    Vote(Vote),
    Mark,
}

/// The next step of a run that stands at `model`, drawn from `chance`: lawful, and of every kind.
fn draw(model: &Model, chance: &mut Generator) -> Step {
    let term = model.vote.map_or(0, |vote| vote.term);
    let mut after = model.clone();
    let mut changes = Vec::new();
    match chance.below(12) {
        0 | 1 => return Step::Vote(Vote { term: term + 1, member: 2, committed: true }),
        2 => return Step::Mark,
        _ => {}
    }
    for _ in 0..=chance.below(3) {
        let first = after.purged.map_or(0, |id| id.index + 1);
        let living = after.next_index().saturating_sub(first);
        let uncommitted = after.committed.map_or(first, |id| first.max(id.index + 1));
        let change = match chance.below(10) {
            0 if uncommitted < after.next_index() && uncommitted > 0 => {
                let cut = uncommitted + chance.below(after.next_index() - uncommitted);
                let named = |(id, _): &&(EntryId, Bytes)| id.index + 1 == cut;
                let kept = after.entries.iter().find(named).map(|(id, _)| *id);
                match kept.or(after.purged) {
                    Some(kept) => Change::Truncate { after: Some(kept) },
                    None => continue,
                }
            }
            1 if living > 2 => {
                let upto = after.entries[chance.below(living - 1) as usize].0;
                Change::Purge { upto }
            }
            2 => Change::Purge { upto: id(term, after.next_index() + 3) },
            3 => Change::Committed { id: after.last },
            _ => entry(term, after.next_index(), chance.below(900) as usize),
        };
        after.apply(&change);
        changes.push(change);
    }
    Step::Write(changes)
}

/// How a run ended.
#[derive(Debug)]
struct Run {
    /// States that a crash during the last step may leave: all that was acknowledged, and any
    /// beginning of what was asked for last.
    possible: Vec<Model>,
    /// Whether every step was done.
    finished: bool,
}

/// Opens the log and takes `steps` steps, or as many as the disk allows.
fn run(disk: &FaultyDisk, steps: usize, seed: u64) -> Run {
    let mut acked = Model::default();
    let mut chance = Generator::new(seed);
    let stopped = |possible| Run { possible, finished: false };
    let Ok(mut opened) = reopen(disk) else {
        return stopped(vec![acked]);
    };
    for _ in 0..steps {
        let step = draw(&acked, &mut chance);
        let mut possible = vec![acked.clone()];
        let done = match &step {
            Step::Write(changes) => {
                for change in changes {
                    let mut next = possible[possible.len() - 1].clone();
                    next.apply(change);
                    possible.push(next);
                }
                opened.journal.write(changes).map(drop)
            }
            Step::Vote(vote) => {
                possible.push(Model { vote: Some(*vote), ..acked.clone() });
                open::write_vote(&*disk.shared(), &dir(), *vote)
            }
            Step::Mark => opened.journal.mark(),
        };
        if done.is_err() {
            return stopped(possible);
        }
        acked = possible.pop().unwrap();
    }
    Run { possible: vec![acked], finished: true }
}

/// The files of the log with this ending, ascending.
fn files(disk: &FaultyDisk, ending: &str) -> Vec<PathBuf> {
    use runtime::disk::Disk;
    let names = disk.list(Path::new("log")).unwrap();
    names.iter().filter(|name| name.ends_with(ending)).map(|name| dir().join(name)).collect()
}
