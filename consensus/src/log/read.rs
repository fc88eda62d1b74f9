//! Reading entries: from memory if they are recent, else from their segments.
//!
//! Invariant: `LOG-20` what is returned is the entry that was asked for, checked against its checksum
//! and its name; anything else poisons the log.
//!
//! Not here: writing (`shell`).

use std::{collections::BTreeMap, io, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use runtime::{
    blocking,
    disk::{DiskFile, DiskRef, OpenMode},
};

use super::{
    EntryId, LogError,
    memory::{Found, Memory},
    place::Place,
    record::{self, Change},
    segment,
};

/// Reads one log. Clones share what they have opened.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    disk: DiskRef,
    dir: PathBuf,
    memory: Arc<Mutex<Memory>>,
    files: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl Reader {
    pub(super) fn new(disk: DiskRef, dir: PathBuf, memory: Arc<Mutex<Memory>>) -> Self {
        Self(Arc::new(Inner { disk, dir, memory, files: Mutex::default() }))
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock()
    }

    /// The living entries of `range`, in order and without a gap: at most about `max_bytes` of them,
    /// but at least one if there is one.
    ///
    /// # Errors
    /// The disk failed or is damaged; the log is poisoned then.
    pub async fn entries(
        &self,
        range: Range<u64>,
        max_bytes: u64,
    ) -> io::Result<Vec<(EntryId, Bytes)>> {
        let found = {
            let memory = self.memory();
            memory.guard()?;
            memory.find(range, max_bytes)
        };
        let in_memory = found.iter().all(|(_, found)| matches!(found, Found::Memory(_)));
        if in_memory {
            return Ok(found.into_iter().map(|(id, found)| (id, payload(found))).collect());
        }
        let reader = self.clone();
        let disk = self.0.disk.clone();
        blocking::run_on(disk, move || reader.load(found)).await
    }

    fn load(&self, found: Vec<(EntryId, Found)>) -> io::Result<Vec<(EntryId, Bytes)>> {
        let mut entries = Vec::with_capacity(found.len());
        for (id, found) in found {
            let Found::Disk(place) = found else {
                entries.push((id, payload(found)));
                continue;
            };
            match self.read(id, place) {
                Ok(payload) => entries.push((id, payload)),
                // Purged or cut meanwhile, its segment put to another use: no longer an entry.
                Err(_) if !self.memory().has(id) => entries.clear(),
                Err(error) => {
                    self.memory().poison(&error);
                    return Err(error.into());
                }
            }
        }
        Ok(entries)
    }

    fn read(&self, id: EntryId, place: Place) -> Result<Bytes, LogError> {
        let file = self.file(place.segment)?;
        let mut bytes = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
        let read = file.read_at(place.offset, &mut bytes)?;
        let damaged =
            |problem: &str| LogError::damaged(segment::name(place.segment), place.offset, problem);
        let record = record::decode(&bytes[..read]).map_err(damaged)?;
        match record.change {
            Change::Entry { id: found, payload } if found == id => Ok(payload),
            _ => Err(damaged("another record stands here")),
        }
    }

    fn file(&self, segment: u64) -> Result<Arc<dyn DiskFile>, LogError> {
        let oldest = self.memory().first_segment().unwrap_or(0);
        let mut files = self.0.files.lock();
        files.retain(|number, _| *number >= oldest);
        if let Some(file) = files.get(&segment) {
            return Ok(file.clone());
        }
        let path = self.0.dir.join(segment::name(segment));
        let file: Arc<dyn DiskFile> = Arc::from(self.0.disk.open(&path, OpenMode::ReadOnly)?);
        files.insert(segment, file.clone());
        Ok(file)
    }
}

fn payload(found: Found) -> Bytes {
    match found {
        Found::Memory(payload) => payload,
        Found::Disk(_) => Bytes::new(),
    }
}
