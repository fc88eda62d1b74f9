//! Opening the store: what must be true before the first request.
//!
//! Invariants: `SQL-4` SQLite opens a write-ahead log that was copied
//! to a new file and synced first, because what the system shows of the old one may exist in its cache alone after
//! a failed sync; `OPN-2` names created by opening are durable before the first commit is acknowledged.
//!
//! Not here: repairing. A damaged file is refused with the fix in the message.

use std::{
    io,
    path::{Path, PathBuf},
};

use runtime::{
    clock,
    disk::{self, DiskRef, LockGuard, OpenMode},
    random,
};
use rusqlite::ErrorCode;
use types::NodeId;

use super::{
    connection,
    schema::{self, MigrateError},
};
use crate::{
    error::OpenError,
    folder,
    rows::{
        config::StoreConfig,
        daemon::{self, Daemon},
        engine::Role,
        fault::SqlFault,
        write::{group::Group, head::Head, vocabulary::Vocabulary},
    },
    sql::{self, Connection, OptionalExtension},
};

/// Name of the database in the store's folder.
pub const DATABASE_FILE: &str = "hivemem.db";
/// Permissions of the database.
const FILE_MODE: u32 = 0o600;

/// A store that is ready for its worker.
pub(crate) struct Opened {
    pub(crate) lock: LockGuard,
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) node: NodeId,
    pub(crate) words: Vocabulary,
    pub(crate) head: Head,
    pub(crate) broken: Option<String>,
}

/// Opens the database in `folder`, which is created if missing.
pub(crate) fn open(
    disk: &DiskRef,
    folder: &Path,
    config: &StoreConfig,
) -> Result<Opened, OpenError> {
    let path = folder.join(DATABASE_FILE);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    disk.create_dir_all(folder).map_err(failed)?;
    let lock = folder::hold(disk, folder)?;
    folder::need_here(disk, folder)?;
    renew_log(disk, folder, &path).map_err(failed)?;
    keep_private(disk, &path).map_err(failed)?;
    let vfs = disk.sqlite_vfs();
    let mut connection =
        connection::open(&path, vfs.as_deref(), Role::Writer, config.write_cache_kib)
            .map_err(|error| refused(&path, error))?;
    let prepared = prepare(&mut connection, &path, config).and_then(|ready| {
        disk.sync_dir(folder).map_err(failed)?;
        Ok(ready)
    });
    match prepared {
        Ok((node, words, head, broken)) => {
            Ok(Opened { lock, path, connection, node, words, head, broken })
        }
        Err(error) => {
            // Closing could write; what failed here is left as it is (SQL-2).
            std::mem::forget(connection);
            Err(error)
        }
    }
}

type Prepared = (NodeId, Vocabulary, Head, Option<String>);

fn prepare(
    connection: &mut Connection,
    path: &Path,
    config: &StoreConfig,
) -> Result<Prepared, OpenError> {
    let file = connection.as_sqlite_mut().map_err(|error| refused(path, error))?;
    schema::migrate(file, path).map_err(|error| unfit(path, error))?;
    let read = |error: SqlFault| match error {
        SqlFault::Sql(error) => refused(path, error),
        other => OpenError::Corrupt { path: path.to_path_buf(), problem: other.to_string() },
    };
    let daemon = begin(connection, config).map_err(|error| refused(path, error))?;
    let mut words = Vocabulary::load(connection).map_err(|error| refused(path, error))?;
    let (mut head, broken) = Head::load(connection, &daemon).map_err(read)?;
    look_at_old_titles(connection, config, &mut words, &mut head).map_err(read)?;
    head.is_mute = config.has_peers;
    if let Some(problem) = &broken {
        tracing::error!(problem, "the audit chain does not hold; writes will be refused");
    }
    Ok((daemon.node, words, head, broken))
}

/// Names the node on the first start, and counts the start.
fn begin(connection: &Connection, config: &StoreConfig) -> sql::Result<Daemon> {
    let now_ms = clock::now_unix_ms();
    let node = match daemon::only(connection)? {
        Some(node) => node,
        None => NodeId(random::uuid_v7(now_ms)),
    };
    daemon::start(connection, node, config.signer.as_ref(), now_ms)
}

/// Finds the memories of a store from before views that are shown as one now.
fn look_at_old_titles(
    connection: &Connection,
    config: &StoreConfig,
    words: &mut Vocabulary,
    head: &mut Head,
) -> Result<(), SqlFault> {
    let due: Option<i64> = connection
        .query_row("SELECT 1 FROM meta WHERE key = 'views_due'", [], |row| row.get(0))
        .optional()?;
    if due.is_none() {
        return Ok(());
    }
    let transaction = connection.begin()?;
    Group::new(connection, config, words, head).look_at_old_titles()?;
    transaction.commit()?;
    words.keep();
    Ok(())
}

/// Replaces the write-ahead log by a synced copy of itself (`SQL-4`).
fn renew_log(disk: &DiskRef, folder: &Path, path: &Path) -> io::Result<()> {
    let log = beside(path, "-wal");
    let copy = beside(path, "-wal.new");
    disk::remove_if_exists(disk.as_ref(), &copy)?;
    if !disk.exists(&log)? {
        return Ok(());
    }
    disk::copy(disk.as_ref(), &log, &copy)?;
    disk.rename(&copy, &log)?;
    disk.sync_dir(folder)
}

/// Makes the database file the owner's alone before there is anything in it. SQLite gives its log the same
/// permissions.
fn keep_private(disk: &DiskRef, path: &Path) -> io::Result<()> {
    drop(disk.open(path, OpenMode::OpenOrCreate)?);
    disk.set_mode(path, FILE_MODE)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Why a file could not be brought up to date, for whoever wanted to open it.
pub(crate) fn unfit(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::Open(error) => error,
        MigrateError::Sql { source } => refused(path, source),
    }
}

/// What SQLite's refusal to open or read a file means.
pub(crate) fn refused(path: &Path, error: impl Into<sql::Error>) -> OpenError {
    let (path, error) = (path.to_path_buf(), error.into());
    match error.sqlite_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { path, problem: error.to_string() }
        }
        Some(ErrorCode::DiskFull) => {
            OpenError::Io { path, source: io::Error::new(io::ErrorKind::StorageFull, error) }
        }
        _ => OpenError::Io { path, source: io::Error::other(error) },
    }
}
