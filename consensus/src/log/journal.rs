//! The journal: the one writer of the segments. It has no thread and no callbacks; `shell` gives it
//! those.
//!
//! Invariants: `LOG-10` after the first error of the disk nothing is written any more: what the disk
//! holds is unknown, and only a restart reads it back. `LOG-11` a segment is given up only after the
//! purge that makes it superfluous is durable, oldest first. `LOG-12` a batch is synced before the
//! next begins, and every record says so.
//!
//! Not here: reading entries (`shell`), votes and identity (`open`).

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use runtime::disk::{Disk, DiskFile, DiskRef, OpenMode};
use types::planted;

use super::{
    LogError, LogOptions,
    id::{Bounds, EntryId},
    place::Place,
    record::{self, Change, Frame},
    recover::{self, Recovered, Tail},
    segment::{self, HEAD_BYTES, Head},
    slots::Slots,
};

/// An entry that now stands in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) id: EntryId,
    pub(super) place: Place,
}

/// The segment that is being written.
struct Current {
    number: u64,
    salt: u64,
    file: Arc<dyn DiskFile>,
    /// Size of the file; that of new ones may have been set to another since.
    file_bytes: u64,
    /// Offset behind the last record handed to the disk.
    end: u64,
    /// Offset up to which it is durable.
    synced_to: u64,
    /// Checksum of the last record, also of those still in the buffer.
    chain: u32,
}

/// See the module.
pub(super) struct Journal {
    disk: DiskRef,
    dir: PathBuf,
    options: LogOptions,
    cluster: [u8; 16],
    /// Living entries as written, each with its segment.
    slots: Slots<u64>,
    /// Numbers of the segments on the disk, oldest first.
    segments: VecDeque<u64>,
    current: Current,
    /// Files ready for use.
    spares: Vec<u64>,
    next_spare: u64,
    /// Records encoded but not yet handed to the disk; they begin at `current.end`.
    buffer: Vec<u8>,
    purged_unsynced: bool,
    /// The newest record is a mark.
    marked: bool,
    poisoned: Option<String>,
}

impl Journal {
    /// Creates the first segment of a new log.
    pub(super) fn create(
        disk: DiskRef,
        dir: &Path,
        options: LogOptions,
        cluster: [u8; 16],
    ) -> Result<Self, LogError> {
        segment::prepare_spare(&*disk, dir, 1, options.segment_bytes)?;
        let bounds = Bounds::default();
        let head = Head {
            cluster,
            number: 1,
            salt: runtime::random::u64(),
            previous_end: 0,
            previous: 0,
            bounds,
            file_bytes: options.segment_bytes,
        };
        let (file, chain) = segment::begin(&*disk, dir, 1, &head)?;
        let current = Current {
            number: 1,
            salt: head.salt,
            file,
            file_bytes: head.file_bytes,
            end: HEAD_BYTES,
            synced_to: HEAD_BYTES,
            chain,
        };
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            cluster,
            slots: Slots::new(bounds),
            segments: VecDeque::from([1]),
            current,
            spares: Vec::new(),
            next_spare: 2,
            buffer: Vec::new(),
            purged_unsynced: false,
            marked: false,
            poisoned: None,
        })
    }

    /// Reads the segments `numbers` back and goes on behind them. Gives the living entries too.
    pub(super) fn recover(
        disk: DiskRef,
        dir: &Path,
        options: LogOptions,
        cluster: [u8; 16],
        numbers: &[u64],
    ) -> Result<(Self, Slots<(Bytes, Place)>), LogError> {
        let Recovered { slots: loaded, segments, tail } =
            recover::read_segments(&*disk, dir, cluster, numbers)?;
        let current = go_on(&*disk, dir, tail)?;
        let mut slots = Slots::new(loaded.bounds());
        for (id, (_, place)) in loaded.items() {
            slots.push_loaded(*id, place.segment);
        }
        let (spares, next_spare) = tidy(&*disk, dir, &options)?;
        let mut journal = Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            cluster,
            slots,
            segments: segments.into(),
            current,
            spares,
            next_spare,
            buffer: Vec::new(),
            purged_unsynced: false,
            marked: false,
            poisoned: None,
        };
        // A purge may have become durable just before the crash, its segments still there.
        journal.give_up_segments()?;
        Ok((journal, loaded))
    }

    /// Bounds after everything written so far.
    pub(super) fn bounds(&self) -> Bounds {
        self.slots.bounds()
    }

    /// Number of the segment being written.
    #[cfg(test)]
    pub(super) fn current_segment(&self) -> u64 {
        self.current.number
    }

    /// Numbers of the segments on the disk, oldest first.
    #[cfg(test)]
    pub(super) fn segments(&self) -> &VecDeque<u64> {
        &self.segments
    }

    /// Writes a batch and makes it durable. Changes that break a rule are refused before anything is
    /// written.
    pub(super) fn write(&mut self, changes: &[Change]) -> Result<Vec<Written>, LogError> {
        self.check(changes)?;
        let result = self.write_checked(changes);
        self.poison_on_error(result)
    }

    /// Proves to a later recovery that everything before is durable, if nothing says so yet. The
    /// proof itself need not be durable.
    pub(super) fn mark(&mut self) -> Result<(), LogError> {
        self.guard()?;
        let room = self.current.file_bytes - self.current.end;
        if self.marked || self.current.end == HEAD_BYTES || room < Change::Mark.stored_bytes() {
            return Ok(());
        }
        let result = self.encode(&Change::Mark).and_then(|_| self.flush());
        self.marked = true;
        self.poison_on_error(result)
    }

    /// Number for a spare file, if one should be prepared now with [`segment::prepare_spare`].
    pub(super) fn wants_spare(&mut self) -> Option<u64> {
        let half_full = self.current.end > self.current.file_bytes / 2;
        let wanted = half_full && self.spares.is_empty() && self.poisoned.is_none();
        wanted.then(|| self.take_spare_number())
    }

    /// A spare file with this number is ready.
    pub(super) fn add_spare(&mut self, number: u64) {
        self.spares.push(number);
    }

    fn take_spare_number(&mut self) -> u64 {
        self.next_spare += 1;
        self.next_spare - 1
    }

    fn guard(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison_on_error<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result {
            self.poisoned = Some(error.to_string());
        }
        result
    }

    fn check(&self, changes: &[Change]) -> Result<(), LogError> {
        self.guard()?;
        let mut bounds = self.slots.bounds();
        for change in changes {
            bounds = bounds.after(change)?;
            if let Change::Entry { id, payload } = change
                && payload.len() as u64 > self.options.payload_bytes_max()
            {
                return Err(LogError::refused(format!(
                    "entry {id} has {} bytes, at most {} fit",
                    payload.len(),
                    self.options.payload_bytes_max()
                )));
            }
        }
        Ok(())
    }

    fn write_checked(&mut self, changes: &[Change]) -> Result<Vec<Written>, LogError> {
        let mut written = Vec::with_capacity(changes.len());
        for change in changes {
            let place = self.encode(change)?;
            self.slots.apply(change, place.segment)?;
            if let Change::Entry { id, .. } = change {
                written.push(Written { id: *id, place });
            }
            self.purged_unsynced |= matches!(change, Change::Purge { .. });
        }
        self.flush()?;
        self.sync()?;
        if std::mem::take(&mut self.purged_unsynced) {
            self.give_up_segments()?;
        }
        Ok(written)
    }

    /// Puts a record into the buffer, in a new segment if this one is full.
    fn encode(&mut self, change: &Change) -> Result<Place, LogError> {
        let bytes = change.stored_bytes();
        if self.position() + bytes > self.current.file_bytes {
            self.rotate()?;
        }
        let Current { salt, synced_to, chain, number, .. } = self.current;
        let place = Place { segment: number, offset: self.position(), bytes };
        let frame = Frame { salt, synced_to, previous: chain };
        self.current.chain = record::encode(frame, change, &mut self.buffer);
        self.marked = false;
        Ok(place)
    }

    /// Where the next record goes.
    fn position(&self) -> u64 {
        self.current.end + self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if !self.buffer.is_empty() {
            self.current.file.write_at(self.current.end, &self.buffer)?;
            self.current.end = self.position();
            self.buffer.clear();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let synced = self.current.file.sync();
        if synced.is_err() && planted::is_on("fsync-retried") {
            self.current.file.sync()?;
        } else {
            synced?;
        }
        self.current.synced_to = self.current.end;
        Ok(())
    }

    /// Ends this segment, durably, and begins the next.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.flush()?;
        self.sync()?;
        let spare = match self.spares.pop() {
            Some(spare) => spare,
            None => {
                let spare = self.take_spare_number();
                segment::prepare_spare(&*self.disk, &self.dir, spare, self.options.segment_bytes)?;
                spare
            }
        };
        let head = Head {
            cluster: self.cluster,
            number: self.current.number + 1,
            salt: runtime::random::u64(),
            previous_end: self.current.end,
            previous: self.current.chain,
            bounds: self.slots.bounds(),
            file_bytes: self.options.segment_bytes,
        };
        let (file, chain) = segment::begin(&*self.disk, &self.dir, spare, &head)?;
        self.segments.push_back(head.number);
        self.current = Current {
            number: head.number,
            salt: head.salt,
            file,
            file_bytes: head.file_bytes,
            end: HEAD_BYTES,
            synced_to: HEAD_BYTES,
            chain,
        };
        Ok(())
    }

    /// Recycles or removes segments without living entries (`LOG-11`).
    fn give_up_segments(&mut self) -> Result<(), LogError> {
        let keep = self.slots.items().front().map_or(self.current.number, |(_, segment)| *segment);
        while self.segments.front().is_some_and(|oldest| *oldest < keep) {
            let Some(number) = self.segments.pop_front() else { break };
            let path = self.dir.join(segment::name(number));
            if self.spares.len() < self.options.spares_max {
                let spare = self.take_spare_number();
                self.disk.rename(&path, &self.dir.join(segment::spare_name(spare)))?;
                self.spares.push(spare);
            } else {
                self.disk.remove(&path)?;
            }
            // One by one: no crash may lose the name of a newer segment and keep an older one's.
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// Writes the last segment anew, without what a torn batch left, and opens it for writing (`LOG-9`). A
/// sync of the file that is there would prove nothing: one that failed in the life before has left pages
/// that are only in memory and count as clean. And durable records are not written over in place.
fn go_on(disk: &dyn Disk, dir: &Path, tail: Tail) -> Result<Current, LogError> {
    let path = dir.join(segment::name(tail.number));
    if tail.torn_end > tail.end {
        tracing::warn!(
            segment = tail.number,
            offset = tail.end,
            bytes = tail.torn_end - tail.end,
            "cutting a batch that was never acknowledged"
        );
    }
    let mut bytes = runtime::disk::read_all(disk, &path)?;
    let end = usize::try_from(tail.end).unwrap_or(usize::MAX).min(bytes.len());
    bytes[end..].fill(0);
    runtime::disk::write_atomically(disk, &path, &bytes, segment::MODE)?;
    let file = disk.open(&path, OpenMode::Existing)?;
    Ok(Current {
        number: tail.number,
        salt: tail.salt,
        file: Arc::from(file),
        file_bytes: tail.file_bytes,
        end: tail.end,
        synced_to: tail.end,
        chain: tail.chain,
    })
}

/// Removes half-made files and gives the spares that may be used, with the next free number.
fn tidy(disk: &dyn Disk, dir: &Path, options: &LogOptions) -> Result<(Vec<u64>, u64), LogError> {
    let (mut spares, mut next) = (Vec::new(), 1);
    for name in disk.list(dir)? {
        if let Some(number) = segment::spare_number(&name) {
            next = next.max(number + 1);
            let length = disk.metadata(&dir.join(&name))?.len_bytes;
            if length == options.segment_bytes && spares.len() < options.spares_max {
                spares.push(number);
                continue;
            }
        } else if !name.ends_with(".tmp") {
            continue;
        }
        runtime::disk::remove_if_exists(disk, &dir.join(&name))?;
    }
    Ok((spares, next))
}
