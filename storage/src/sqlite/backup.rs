//! Backups: a consistent copy of the database in a folder of its own, with a manifest that proves it.
//!
//! The copy is made by SQLite's backup API in one step inside one read snapshot, while the store is in
//! use, through the same disk as the store itself (so the simulation can make backups too). Every
//! figure in the manifest is computed from the finished copy, not from the store it was made of.
//!
//! Invariants: `BAK-1` a folder has a manifest only when everything it lists is complete and synced;
//! `BAK-2` a store is installed only from a backup whose files, schema, audit chain and rows verify, and
//! only where nothing is; `BAK-3` an interrupted installation leaves no database under its final name.
//!
//! Not here: keeping N backups, and when to make one (the node).

use std::{
    io,
    path::{Path, PathBuf},
};

use runtime::disk::{self, Disk, OpenMode};
use rusqlite::{OpenFlags, backup::Backup};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use types::NodeId;

pub use super::open::DATABASE_FILE;
use super::schema;
use crate::{
    answer::Finding,
    rows::{check, digest, fault::SqlFault, read::changes, verify},
    sql::{self, Connection},
};

/// Name of the manifest.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of the manifest's form.
const FORMAT: u32 = 1;
/// Bytes hashed per read.
const CHUNK_BYTES: usize = 1 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// Version of this form.
    pub format: u32,
    /// The node whose store it is.
    pub node_id: String,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: u64,
    /// Schema of the database.
    pub schema_version: i64,
    /// Change position of the last commit in it.
    pub position: u64,
    /// Sequence of the last audit row.
    pub chain_head_sequence: i64,
    /// Chain hash of that row, hexadecimal.
    pub chain_head_hash: String,
    /// Digest over all content, hexadecimal (see `digest`).
    pub content_digest: String,
    /// Its files, in order of name.
    pub files: Vec<BackupFile>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Name within the folder.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// Why a backup could not be made, believed or installed.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The folder holds something already.
    #[error("{folder} is not empty (it holds {found}); choose an empty folder")]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// The folder is not a backup this build can read.
    #[error("{file} is not a manifest of a backup: {problem}")]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What the folder holds is not what was backed up.
    #[error(
        "the backup in {folder} was changed or damaged: {}; use another backup",
        joined(findings)
    )]
    Tampered {
        /// The folder.
        folder: PathBuf,
        /// Each file or row that does not fit.
        findings: Vec<Finding>,
    },
    /// The backup was made by a newer build.
    #[error(
        "the backup in {folder} has schema {found}, this build knows up to {known}; use the newer build"
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Schema version of the backup.
        found: i64,
        /// Newest schema version this build knows.
        known: i64,
    },
    /// The database of the backup could not be written or read.
    #[error("cannot {doing} {file}: {cause}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// The database file.
        file: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn joined(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.problem.as_str()).collect::<Vec<_>>().join("; ")
}

/// Copies the database that `source` reads into the empty folder `folder` and describes it.
pub(crate) fn write_backup(
    source: &Connection,
    disk: &dyn Disk,
    folder: &Path,
    now_ms: u64,
) -> Result<BackupManifest, BackupError> {
    disk.create_dir_all(folder)?;
    require_empty(disk, folder)?;
    let file = folder.join(DATABASE_FILE);
    copy_database(source, disk, &file).map_err(|e| failed("write", &file, &e.into()))?;
    // SQLite creates files that others may read.
    disk.set_mode(&file, 0o600)?;
    // SQLite synced what it wrote; the name is ours to sync.
    disk.open(&file, OpenMode::Existing)?.sync()?;
    disk.sync_dir(folder)?;
    let manifest = describe(disk, &file, now_ms)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
    disk::write_atomically(disk, &folder.join(MANIFEST_FILE), &text, 0o600)?;
    Ok(manifest)
}

fn failed(doing: &'static str, file: &Path, fault: &SqlFault) -> BackupError {
    BackupError::Sql { doing, file: file.to_path_buf(), cause: fault.to_string() }
}

fn require_empty(disk: &dyn Disk, folder: &Path) -> Result<(), BackupError> {
    match disk.list(folder)?.into_iter().next() {
        None => Ok(()),
        Some(found) => Err(BackupError::NotEmpty { folder: folder.to_path_buf(), found }),
    }
}

fn open(disk: &dyn Disk, file: &Path, flags: OpenFlags) -> rusqlite::Result<rusqlite::Connection> {
    match disk.sqlite_vfs() {
        Some(vfs) => rusqlite::Connection::open_with_flags_and_vfs(file, flags, vfs.as_str()),
        None => rusqlite::Connection::open_with_flags(file, flags),
    }
}

fn copy_database(source: &Connection, disk: &dyn Disk, file: &Path) -> sql::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = open(disk, file, flags)?;
    // All pages in one step: one snapshot, and no restart when the writer commits meanwhile.
    let outcome = Backup::new(source.as_sqlite()?, &mut target)?.step(-1)?;
    if outcome != rusqlite::backup::StepResult::Done {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some(format!("the copy did not finish: {outcome:?}")),
        )
        .into());
    }
    // One file that can be read without writing beside it; a store switches back when it opens it.
    let mut statement = target.prepare("PRAGMA journal_mode = DELETE")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Computes the manifest of a finished copy.
fn describe(disk: &dyn Disk, file: &Path, now_ms: u64) -> Result<BackupManifest, BackupError> {
    let reading = |fault: SqlFault| failed("read", file, &fault);
    let copy = open_copy(disk, file).map_err(|e| reading(e.into()))?;
    let node: Vec<u8> = copy
        .query_row("SELECT node FROM daemons ORDER BY id LIMIT 1", [], |row| row.get(0))
        .map_err(|e| reading(e.into()))?;
    let node_id = NodeId::from_slice(&node)
        .map_err(|e| BackupError::Manifest { file: file.to_path_buf(), problem: e.to_string() })?;
    let head = verify::head(&copy).map_err(reading)?;
    let digest = digest::content_digest(&copy).map_err(reading)?;
    let manifest = BackupManifest {
        format: FORMAT,
        node_id: node_id.to_string(),
        created_at_ms: now_ms,
        schema_version: schema::version(&copy).map_err(|e| reading(e.into()))?,
        position: changes::head(&copy).map_err(reading)?,
        chain_head_sequence: head.0,
        chain_head_hash: hex::encode(head.1),
        content_digest: hex::encode(digest),
        files: vec![hash_file(disk, file, DATABASE_FILE)?],
    };
    Ok(manifest)
}

/// Opens the database of a backup for reading alone: nothing is created beside it.
fn open_copy(disk: &dyn Disk, file: &Path) -> sql::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::sqlite(open(disk, file, flags)?))
}

fn hash_file(disk: &dyn Disk, path: &Path, name: &str) -> io::Result<BackupFile> {
    let file = disk.open(path, OpenMode::ReadOnly)?;
    let (mut hash, mut chunk, mut offset) = (Sha256::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let read = file.read_at(offset, &mut chunk)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        offset += read as u64;
    }
    let sha256 = hex::encode(hash.finalize());
    Ok(BackupFile { name: name.to_owned(), bytes: offset, sha256 })
}

/// Checks that a folder holds the backup its manifest describes: files, schema, audit chain, rows,
/// digest. Blocks for as long as reading everything takes.
///
/// # Errors
/// [`BackupError::Tampered`] names every file and row that does not fit.
pub fn verify_backup(disk: &dyn Disk, folder: &Path) -> Result<BackupManifest, BackupError> {
    let manifest = read_manifest(disk, folder)?;
    if manifest.schema_version > schema::VERSION {
        return Err(BackupError::Newer {
            folder: folder.to_path_buf(),
            found: manifest.schema_version,
            known: schema::VERSION,
        });
    }
    let mut findings = Vec::new();
    for expected in &manifest.files {
        let found = hash_file(disk, &folder.join(&expected.name), &expected.name)?;
        if found != *expected {
            let problem = format!("{} is not the file that was backed up", expected.name);
            findings.push(Finding { check: "files", problem });
        }
    }
    // Also when a file does not fit: the rows that were changed are worth knowing.
    match inspect(disk, &folder.join(DATABASE_FILE), &manifest) {
        Ok(more) => findings.extend(more),
        Err(fault) => findings.push(Finding { check: "database", problem: fault.to_string() }),
    }
    if findings.is_empty() {
        return Ok(manifest);
    }
    Err(BackupError::Tampered { folder: folder.to_path_buf(), findings })
}

fn read_manifest(disk: &dyn Disk, folder: &Path) -> Result<BackupManifest, BackupError> {
    let file = folder.join(MANIFEST_FILE);
    let bytes = disk::read_all(disk, &file)?;
    let broken = |problem: String| BackupError::Manifest { file: file.clone(), problem };
    let manifest: BackupManifest =
        serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(broken(format!("format {} is not {FORMAT}", manifest.format)));
    }
    // The names are joined to paths: nothing but our own may stand there.
    if manifest.files.len() != 1 || manifest.files[0].name != DATABASE_FILE {
        return Err(broken(format!("it must list {DATABASE_FILE} and nothing else")));
    }
    Ok(manifest)
}

fn inspect(
    disk: &dyn Disk,
    file: &Path,
    manifest: &BackupManifest,
) -> Result<Vec<Finding>, SqlFault> {
    let copy = open_copy(disk, file)?;
    let mut findings = super::engine::structure(&copy)?;
    findings.extend(check::strays(&copy)?);
    let chain = verify::verify_all(&copy, 0)?;
    if let Some((sequence, problem)) = &chain.chain_break {
        let problem = format!("audit row {sequence}: {problem}");
        findings.push(Finding { check: "chain", problem });
    }
    for sequence in &chain.signature_failures {
        let problem = format!("audit row {sequence}: its signature does not verify");
        findings.push(Finding { check: "chain", problem });
    }
    let head = (chain.head_sequence, hex::encode(chain.head_hash));
    if head != (manifest.chain_head_sequence, manifest.chain_head_hash.clone()) {
        let problem =
            format!("the audit chain ends at row {}, not where the manifest says", head.0);
        findings.push(Finding { check: "chain", problem });
    }
    let mut rows = check::RowCheck::default();
    while rows.step(&copy)? {}
    findings.extend(rows.finish());
    if hex::encode(digest::content_digest(&copy)?) != manifest.content_digest {
        let problem = "the content is not what the manifest says".to_owned();
        findings.push(Finding { check: "digest", problem });
    }
    Ok(findings)
}

/// Verifies the backup in `folder` and puts its database into the empty folder `target`, which is
/// created if missing. Nothing is changed when the backup does not verify.
///
/// # Errors
/// [`BackupError`]; after an error of the disk the target may hold an unfinished `*.tmp` file.
pub fn install_backup(
    disk: &dyn Disk,
    folder: &Path,
    target: &Path,
) -> Result<BackupManifest, BackupError> {
    let manifest = verify_backup(disk, folder)?;
    disk.create_dir_all(target)?;
    require_empty(disk, target)?;
    let unfinished = target.join(format!("{DATABASE_FILE}.tmp"));
    disk::copy(disk, &folder.join(DATABASE_FILE), &unfinished)?;
    // What was verified and what was copied must be the same bytes.
    let copied = hash_file(disk, &unfinished, DATABASE_FILE)?;
    if Some(&copied) != manifest.files.first() {
        disk.remove(&unfinished)?;
        let problem = format!("{DATABASE_FILE} changed while it was copied");
        let findings = vec![Finding { check: "files", problem }];
        return Err(BackupError::Tampered { folder: folder.to_path_buf(), findings });
    }
    disk.rename(&unfinished, &target.join(DATABASE_FILE))?;
    disk.sync_dir(target)?;
    Ok(manifest)
}
