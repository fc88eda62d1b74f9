//! A store in a folder of this machine.
//!
//! Not here: what a store does once it is open (`rows::store`).

use std::{path::Path, sync::Arc};

use runtime::disk::DiskRef;

use super::{
    engine::SqliteEngine,
    open::{self, Opened},
};
use crate::{
    error::OpenError,
    rows::{
        RowStore, StoreConfig,
        fault::SqlFault,
        indexes::{Indexes, Sources},
        store::{Parts, Search},
    },
};

/// Opens the store in `folder`, which is created if missing. Blocks: reads the file and, where no usable
/// index is on disk, some of its rows; the others are read beside the running store.
///
/// # Errors
/// [`OpenError`], each with its fix.
pub fn open_store(
    disk: DiskRef,
    folder: &Path,
    config: StoreConfig,
) -> Result<RowStore, OpenError> {
    let config = Arc::new(config);
    let opened = open::open(&disk, folder, &config)?;
    let Opened { lock, path, connection, node, words, head, broken } = opened;
    let damaged = |fault: SqlFault| match fault {
        SqlFault::Sql(error) => open::refused(&path, error),
        other => OpenError::Corrupt { path: path.clone(), problem: other.to_string() },
    };
    let sources = Sources {
        disk: &disk,
        folder,
        node,
        connection: &connection,
        space: &config.space,
        position: head.position,
        ahead_rows: config.ahead_rows,
    };
    let (indexes, build) = Indexes::open(&sources).map_err(damaged)?;
    let engine = Arc::new(SqliteEngine::new(disk, path.clone(), &config));
    let search = Search::Memory(Box::new(indexes), build);
    let parts = Parts { engine, config, connection, node, words, head, broken, search, lock };
    RowStore::start(parts).map_err(|source| OpenError::Io { path, source })
}
