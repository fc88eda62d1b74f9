//! Text on a peer's disk: what it may not know, and what it has acknowledged.
//!
//! Invariant: every byte of every file is looked at, current content and nothing less.
//!
//! Not here: whether that is a violation (the judges `scopes` and `acknowledged`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use memchr::memmem;
use runtime::{
    clock,
    disk::{Disk, faulty::FaultyDisk},
};

use super::PeersWorld;
use crate::judge::history::{Answer, Call, Event, Outcome, What};

/// Time between two counts of copies.
const COUNT: Duration = Duration::from_millis(400);
/// The same in a run of hours, of which counting would otherwise be most.
const COUNT_SELDOM: Duration = Duration::from_secs(600);

/// Files below a folder that contain a text.
pub fn files_with(disk: &FaultyDisk, folder: &Path, text: &str) -> Vec<PathBuf> {
    let (mut found, text_in) = (Vec::new(), memmem::Finder::new(text));
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in disk.list(&folder).unwrap_or_default() {
            let path = folder.join(name);
            match disk.holds(&path, |bytes| text_in.find(bytes).is_some()) {
                Some(true) => found.push(path),
                Some(false) => {}
                None => folders.push(path),
            }
        }
    }
    found
}

/// The newest acknowledged store behind this operation, with what it stored. What is stored together with other memories
/// may be overwritten by the time that it is looked for.
fn newest(events: &[Event], behind: u64) -> Option<(u64, String)> {
    let stored = events.iter().rev().find_map(|event| match &event.what {
        What::Complete { op, outcome: Outcome::Done(done) } => {
            matches!(done.answer, Answer::Stored { .. }).then_some(*op)
        }
        _ => None,
    });
    let op = stored.filter(|op| *op > behind)?;
    let content = events.iter().rev().find_map(|event| match &event.what {
        What::Invoke(invoke) if invoke.op == op => match &invoke.call {
            Call::Store { fields, together: false, .. } => fields.get("content").cloned(),
            _ => None,
        },
        _ => None,
    });
    Some((op, content?))
}

/// Counts, now and then, on how many disks the newest acknowledged memory is, until one of the disks is spoilt.
pub async fn count_copies(world: Arc<PeersWorld>) {
    let (mut last, recorder) = (0, world.fleet.recorder.clone());
    loop {
        clock::sleep(if world.options.soak_hours > 0 { COUNT_SELDOM } else { COUNT }).await;
        if world.spoilt.load(Ordering::Relaxed) {
            return;
        }
        let Some((op, content)) = recorder.look(|events| newest(events, last)) else { continue };
        last = op;
        let hosts = world.fleet.hosts();
        let with = hosts
            .iter()
            .filter(|host| !files_with(&host.disk, Path::new("data"), &content).is_empty());
        recorder.record(What::Copies { op, nodes: with.map(|host| host.name.clone()).collect() });
    }
}
