//! A data folder: which process has it, which node it is, and where its memories are.
//!
//! Invariants: `OPN-1` one process has a folder open; `FLD-1` the memories of a folder are in a file there or in a database
//! elsewhere, and are never begun anew in the one while they are in the other.
//!
//! Not here: what is in a file (`sqlite`) or in a database (`postgres`).

use std::{io, path::Path};

use runtime::{
    clock,
    disk::{self, DiskRef, LockGuard},
    random,
};
use types::NodeId;
use uuid::Uuid;

use crate::{error::OpenError, sqlite::DATABASE_FILE};

/// Name of the file whose lock says that the folder is in use.
const LOCK_FILE: &str = "hivemem.lock";
/// Name of the file whose lock says that somebody moves the folder's memories.
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
const MOVING_FILE: &str = "hivemem.moving.lock";
/// Name of the file with the identity of a node whose memories are elsewhere: a UUID.
const NODE_FILE: &str = "node";
/// Permissions of what is the owner's alone.
const FILE_MODE: u32 = 0o600;

/// Takes the lock of a folder without opening what is in it, so that nobody else does meanwhile.
///
/// # Errors
/// [`OpenError::Locked`] when a process has it.
pub fn hold(disk: &DiskRef, folder: &Path) -> Result<LockGuard, OpenError> {
    lock(disk, &folder.join(LOCK_FILE))
}

/// Takes the lock of whoever moves the folder's memories: two who did would write over each other.
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
pub(crate) fn hold_moving(disk: &DiskRef, folder: &Path) -> Result<LockGuard, OpenError> {
    lock(disk, &folder.join(MOVING_FILE))
}

fn lock(disk: &DiskRef, path: &Path) -> Result<LockGuard, OpenError> {
    disk.lock_exclusive(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let holder = disk::read_all(disk.as_ref(), path)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|text| !text.trim().is_empty())
                .map_or("another process".to_owned(), |pid| format!("process {}", pid.trim()));
            OpenError::Locked { path: path.to_path_buf(), holder }
        }
        _ => OpenError::Io { path: path.to_path_buf(), source: error },
    })
}

/// Refuses a folder whose memories are in a database.
pub(crate) fn need_here(disk: &DiskRef, folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(NODE_FILE);
    match disk.exists(&path) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let problem = "says that the memories of this folder are in a database; set storage.url to it again, or use another data folder";
            Err(OpenError::Folder { path, problem })
        }
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

/// The node that a folder is, whose memories are in a database; named at its first start. The folder is held.
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
pub(crate) fn node(disk: &DiskRef, folder: &Path) -> Result<NodeId, OpenError> {
    if let Some(named) = named(disk, folder)? {
        return Ok(named);
    }
    let path = folder.join(DATABASE_FILE);
    if disk.exists(&path).map_err(failed(&path))? {
        let problem = "has memories, which would be missing in the database of storage.url: move them there with `hivemem migrate`, or use another data folder";
        return Err(OpenError::Folder { path, problem });
    }
    let made: Uuid = random::uuid_v7(clock::now_unix_ms());
    say_elsewhere(disk, folder, NodeId(made))?;
    Ok(NodeId(made))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    |source| OpenError::Io { path: path.to_path_buf(), source }
}

/// The node that a folder is, if it says that the memories are in a database.
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
pub(crate) fn named(disk: &DiskRef, folder: &Path) -> Result<Option<NodeId>, OpenError> {
    let path = folder.join(NODE_FILE);
    if !disk.exists(&path).map_err(failed(&path))? {
        return Ok(None);
    }
    let bytes = disk::read_all(disk.as_ref(), &path).map_err(failed(&path))?;
    let text = String::from_utf8_lossy(&bytes);
    let node = text.trim().parse().map_err(|_: uuid::Error| {
        let problem = "is no UUID; put back the one that the node had, which its peers know it by";
        OpenError::Folder { path: path.clone(), problem }
    })?;
    Ok(Some(NodeId(node)))
}

/// From now on the memories of the folder's node are in a database (`FLD-1`).
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
pub(crate) fn say_elsewhere(disk: &DiskRef, folder: &Path, node: NodeId) -> Result<(), OpenError> {
    let (path, text) = (folder.join(NODE_FILE), format!("{}\n", node.0));
    disk::write_atomically(disk.as_ref(), &path, text.as_bytes(), FILE_MODE).map_err(failed(&path))
}

/// From now on they are in the folder's file.
#[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
pub(crate) fn say_here(disk: &DiskRef, folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(NODE_FILE);
    disk::remove_if_exists(disk.as_ref(), &path).map_err(failed(&path))?;
    disk.sync_dir(folder).map_err(failed(folder))
}

#[cfg(test)]
mod tests {
    use runtime::disk::OsDisk;

    use super::*;
    use crate::sqlite::{open_store, tests::config};

    #[test]
    fn memories_are_in_one_place() {
        let disk = OsDisk::shared();
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop(open_store(disk.clone(), here.path(), config()).unwrap());
        let refused = node(&disk, here.path()).unwrap_err().to_string();
        assert!(refused.contains("hivemem migrate"), "FLD-1: {refused}");
        let named = node(&disk, there.path()).unwrap();
        assert_eq!(node(&disk, there.path()).unwrap(), named, "it stays who it is");
        let refused = open_store(disk.clone(), there.path(), config()).map(drop).unwrap_err();
        assert!(refused.to_string().contains("set storage.url"), "FLD-1: {refused}");
        std::fs::write(there.path().join(NODE_FILE), "somebody").unwrap();
        let refused = node(&disk, there.path()).unwrap_err().to_string();
        assert!(refused.contains("is no UUID"), "{refused}");
    }
}
