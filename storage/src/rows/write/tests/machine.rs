//! A store on the disk that fails on purpose, driven without its workers: the test decides what happens when.

use std::{path::Path, sync::Arc};

use runtime::{
    disk::faulty::FaultyDisk,
    worker::{self, WorkerOptions},
};
use tokio::sync::oneshot;
use types::{Patch, Scope};

use super::world::*;
use crate::{
    error::OpenError,
    request::{Intent, OnConflict, Viewer},
    rows::{
        counters::Counters,
        fault::SqlFault,
        indexes::{Build, Indexes, Sources},
        moves::Moves,
        pool::ReadPool,
        write::{prepare, writer::Writer},
    },
    rows::{engine::Engine, recall::Recall},
    sqlite::engine::SqliteEngine,
    sqlite::{open, vfs::SimVfs},
};

pub(super) const FOLDER: &str = "data";

/// A machine that can lose its power, and the writer of a store on it without a worker in front.
pub(super) struct Machine {
    pub(super) disk: FaultyDisk,
    _vfs: SimVfs,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        let vfs = SimVfs::register(&disk, seed, || NOW_MS);
        Self { disk, _vfs: vfs }
    }

    /// A writer as the store makes it, with complete indexes.
    pub(super) fn boot(&self) -> Result<Writer, OpenError> {
        let (writer, build) = self.boot_ahead(u32::MAX)?;
        assert!(build.is_none(), "everything is read ahead");
        Ok(writer)
    }

    /// A writer, and what is left to do after so many rows were read ahead.
    pub(super) fn boot_ahead(&self, ahead_rows: u32) -> Result<(Writer, Option<Build>), OpenError> {
        let (disk, config) = (self.disk.shared(), Arc::new(config()));
        let folder = Path::new(FOLDER);
        let opened = open::open(&disk, folder, &config)?;
        let open::Opened { path, connection, node, words, head, broken, lock } = opened;
        // The lock goes with the process; here the process is a value.
        drop(lock);
        let sources = Sources {
            disk: &disk,
            folder,
            node,
            connection: &connection,
            space: &config.space,
            position: head.position,
            ahead_rows,
        };
        let (indexes, build) = Indexes::open(&sources).map_err(|fault| match fault {
            SqlFault::Sql(error) => open::refused(&path, error),
            other => panic!("{other}"),
        })?;
        let options =
            WorkerOptions { name: "no-upkeep", capacity_jobs: 1, max_batch: 1, disk: disk.clone() };
        let engine: Arc<dyn Engine> = Arc::new(SqliteEngine::new(disk, path, &config));
        let moves = Moves::from(head.position);
        let writer = Writer {
            pool: ReadPool::new(engine.clone(), 1, moves.clone()),
            moves,
            counters: Arc::new(Counters::default()),
            traces: Arc::default(),
            ticked: 0,
            recall: Recall::Memory(Arc::new(indexes), worker::start(options, |_, _| {}).unwrap()),
            connection: Some(connection),
            is_closed: false,
            engine,
            config,
            words,
            head,
            broken,
        };
        Ok((writer, build))
    }
}

/// Commits requests that store these numbers, three memories at a time, and touch the first again.
pub(super) fn commit(writer: &mut Writer, numbers: &[u128]) -> Result<(), SqlFault> {
    let ann = viewer("ann");
    let requests = numbers.chunks(3).map(|chunk| {
        let mut intents: Vec<Intent> = chunk
            .iter()
            .map(|number| Intent::Store {
                memory: Box::new(memory(&ann, *number, &format!("m{number}"), Scope::Private)),
                on_conflict: OnConflict::Merge,
            })
            .collect();
        let patch = Patch { priority: Some(9), ..Patch::default() };
        intents.push(Intent::Update {
            id: full(chunk[0]),
            patch: Box::new(patch),
            expected_version: None,
        });
        let ready = prepare::ready(request(&ann, intents), &writer.config.space).unwrap();
        (Box::new(ready), oneshot::channel().0)
    });
    let requests = requests.collect();
    let mut answered = Vec::new();
    let old = writer.head.clone();
    let entries = writer.transact(requests, &mut answered).map_err(|failed| failed.fault)?;
    writer.words.keep();
    writer.publish(&old, entries);
    Ok(())
}

/// Commits a group of requests, one intent each.
pub(super) fn commit_intents(
    writer: &mut Writer,
    viewer: &Viewer,
    intents: Vec<Intent>,
) -> Result<(), SqlFault> {
    let requests = intents.into_iter().map(|intent| {
        let ready = prepare::ready(request(viewer, vec![intent]), &writer.config.space).unwrap();
        (Box::new(ready), oneshot::channel().0)
    });
    let requests = requests.collect();
    let mut answered = Vec::new();
    let old = writer.head.clone();
    let entries = writer.transact(requests, &mut answered).map_err(|failed| failed.fault)?;
    for (_, answer) in &answered {
        answer.as_ref().unwrap().results[0].as_ref().unwrap();
    }
    writer.words.keep();
    writer.publish(&old, entries);
    Ok(())
}
