//! A store in a PostgreSQL database.
//!
//! Not here: what a store does once it is open (`rows::store`).

use std::{path::Path, sync::Arc};

use runtime::{
    clock,
    disk::{DiskRef, LockGuard},
};
use types::NodeId;

use super::{
    Initialised, PostgresConfig,
    engine::PostgresEngine,
    graph,
    recall::PostgresRecall,
    schema::{self, Unfit},
};
use crate::{
    error::OpenError,
    folder, moving,
    rows::{
        RowStore, StoreConfig,
        daemon::{self, Daemon},
        engine::{Engine, Role},
        fault::SqlFault,
        store::{Parts, Search},
        vectors,
        write::{head::Head, vocabulary::Vocabulary},
    },
    sql::Connection,
};

/// Opens the store in a database as the node that a folder is, which has its rows there with those of others. Blocks, and is to be called where
/// that is allowed, within the runtime that will drive its connections.
///
/// # Errors
/// [`OpenError::Server`], [`OpenError::Newer`], each with its fix.
pub fn open_store(
    disk: DiskRef,
    folder: &Path,
    postgres: &PostgresConfig,
    config: StoreConfig,
) -> Result<RowStore, OpenError> {
    let failed = |source| OpenError::Io { path: folder.to_path_buf(), source };
    disk.create_dir_all(folder).map_err(failed)?;
    let lock = folder::hold(&disk, folder)?;
    let engine = engine(postgres, disk.clone())?;
    let node = folder::node(&disk, folder)?;
    let place = engine.place();
    let opened = engine.reach().and_then(|()| open(engine, postgres, (node, lock), config));
    opened.map_err(|unfit| refused(&place, unfit))
}

/// Brings a database to the schema of this build, without a node that would begin to write. Blocks, as [`open_store`].
///
/// # Errors
/// [`OpenError::Server`], [`OpenError::Newer`], each with its fix.
pub fn init(disk: DiskRef, postgres: &PostgresConfig) -> Result<Initialised, OpenError> {
    let engine = engine(postgres, disk)?;
    let place = engine.place();
    let made = || {
        engine.reach()?;
        let connection = engine.open(Role::Writer)?;
        let found = schema::version(&connection)?;
        schema::migrate(&connection)?;
        graph::prepare(&connection, postgres.graph)?;
        let server = schema::server(&connection)?;
        Ok(Initialised { place: place.clone(), found, version: schema::VERSION, server })
    };
    made().map_err(|unfit| refused(&place, unfit))
}

/// A database that has not been reached yet.
pub(crate) fn engine(
    postgres: &PostgresConfig,
    disk: DiskRef,
) -> Result<PostgresEngine, OpenError> {
    let wrong = |problem| OpenError::Server { place: "storage.url".to_owned(), problem };
    PostgresEngine::new(postgres, disk).map_err(wrong)
}

/// Why it cannot be used, for whoever wanted to open it.
pub(crate) fn refused(place: &str, unfit: Unfit) -> OpenError {
    match unfit {
        Unfit::Newer { found } => {
            OpenError::Newer { path: place.into(), found, known: schema::VERSION }
        }
        other => OpenError::Server { place: place.to_owned(), problem: other.to_string() },
    }
}

fn open(
    engine: PostgresEngine,
    postgres: &PostgresConfig,
    (node, lock): (NodeId, LockGuard),
    config: StoreConfig,
) -> Result<RowStore, Unfit> {
    let connection = engine.open(Role::Writer)?;
    schema::migrate(&connection)?;
    connection.as_postgres()?.follow_by(graph::prepare(&connection, postgres.graph)?);
    let space = vectors::space_number(&connection, &config.space)?;
    let recall = PostgresRecall::new(postgres, &config.space, space);
    recall.make_index(&connection)?;
    let daemon = begin(&connection, node, &config)?;
    let (words, head, broken) = end(&connection, &daemon, &config)?;
    if let Some(problem) = &broken {
        tracing::error!(problem, "the audit chain does not hold; writes will be refused");
    }
    let parts = Parts {
        engine: Arc::new(engine.of(daemon, config.has_peers)),
        config: Arc::new(config),
        connection,
        node,
        words,
        head,
        broken,
        search: Search::Database(Arc::new(recall)),
        lock,
    };
    RowStore::start(parts).map_err(|error| {
        let cause = format!("a thread: {error}");
        SqlFault::Damaged { table: "the writer", key: "of the store".into(), problem: cause }.into()
    })
}

/// Counts the start of a node.
///
/// A node with peers answers for all that is in its database, so no other node has rows there.
fn begin(connection: &Connection, node: NodeId, config: &StoreConfig) -> Result<Daemon, Unfit> {
    let transaction = connection.begin()?;
    if let Some(problem) = moving::hindrance(connection)? {
        return Err(Unfit::Moved { problem });
    }
    let (others, with_peers): (i64, bool) = connection.query_row(
        "SELECT (SELECT count(*) FROM daemons WHERE node <> ?1),
            EXISTS(SELECT 1 FROM meta WHERE key = 'has_peers')",
        [node.as_bytes()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if others > 0 && (config.has_peers || with_peers) {
        return Err(Unfit::Shared { others });
    }
    let note = match config.has_peers {
        true => "INSERT INTO meta (key, value) VALUES ('has_peers', 1) ON CONFLICT DO NOTHING",
        false => "DELETE FROM meta WHERE key = 'has_peers'",
    };
    connection.execute(note, [])?;
    let daemon = daemon::note(connection, node, config.signer.as_ref(), clock::now_unix_ms())?;
    transaction.commit()?;
    Ok(daemon)
}

/// Where everything ends, with nobody writing meanwhile.
fn end(
    connection: &Connection,
    daemon: &Daemon,
    config: &StoreConfig,
) -> Result<(Vocabulary, Head, Option<String>), SqlFault> {
    let transaction = connection.begin()?;
    let words = Vocabulary::load(connection)?;
    let (mut head, broken) = Head::load(connection, daemon)?;
    transaction.commit()?;
    head.is_mute = config.has_peers;
    Ok((words, head, broken))
}
