//! Operations on bytes: length, read, write, resize, sync.
//!
//! The path only selects fault rules; an empty one marks an anonymous temporary file, which no cut
//! preserves.

use std::io;
use std::path::Path;

use super::engine::{Engine, Handle, Tag, os_error};
use super::generator::Generator;
use super::image::Effect;
use super::rules::{Fault, Kind};

impl Engine {
    pub(super) fn len(&self, handle: Handle) -> io::Result<u64> {
        self.alive(handle)?;
        Ok(self.files[&handle.inode].current.len() as u64)
    }

    pub(super) fn read(
        &mut self,
        handle: Handle,
        path: &Path,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        self.alive(handle)?;
        let fault = self.judge(Kind::Read, path)?;
        self.stats.reads += 1;
        let image = &self.files[&handle.inode].current;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(image.len());
        let count = (image.len() - start).min(buf.len());
        buf[..count].copy_from_slice(&image[start..start + count]);
        if fault == Some(Fault::FlipRead) {
            flip_bit(&mut buf[..count], &mut self.generator);
        }
        Ok(count)
    }

    pub(super) fn write(
        &mut self,
        handle: Handle,
        path: &Path,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        self.alive(handle)?;
        let fault = self.judge(Kind::Write, path)?;
        self.reserve(handle, offset.saturating_add(data.len() as u64))?;
        let mut data = data.to_vec();
        if fault == Some(Fault::FlipWrite) {
            flip_bit(&mut data, &mut self.generator);
        }
        self.stats.writes += 1;
        self.stats.written_bytes += data.len() as u64;
        self.note(Tag::Write, handle.inode ^ offset << 20, data.len() as u64);
        let offset = usize::try_from(offset).map_err(|_| os_error(libc::EFBIG))?;
        self.queue(handle, path, fault, Effect::Write { offset, data })
    }

    pub(super) fn set_len(&mut self, handle: Handle, path: &Path, len: u64) -> io::Result<()> {
        self.alive(handle)?;
        let fault = self.judge(Kind::Resize, path)?;
        self.reserve(handle, len)?;
        self.note(Tag::Resize, handle.inode, len);
        let len = usize::try_from(len).map_err(|_| os_error(libc::EFBIG))?;
        self.queue(handle, path, fault, Effect::SetLen(len))
    }

    /// Refuses to let a file grow to `end` beyond the capacity of the disk.
    fn reserve(&mut self, handle: Handle, end: u64) -> io::Result<()> {
        let growth = end.saturating_sub(self.files[&handle.inode].current.len() as u64);
        let bounded = self.capacity_bytes != u64::MAX && growth > 0;
        if bounded && self.used_bytes().saturating_add(growth) > self.capacity_bytes {
            self.stats.count_fault("capacity");
            return Err(os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn queue(
        &mut self,
        handle: Handle,
        path: &Path,
        fault: Option<Fault>,
        effect: Effect,
    ) -> io::Result<()> {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let file = self.file(handle);
        effect.apply(&mut file.current);
        let anonymous = path.as_os_str().is_empty();
        if !anonymous {
            file.pending.push((sequence, effect));
        }
        if let Some(Fault::PowerCut(loss)) = fault {
            self.cut(loss);
            return Err(os_error(libc::EIO));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, handle: Handle, path: &Path) -> io::Result<()> {
        self.alive(handle)?;
        let fault = self.judge(Kind::Sync, path)?;
        self.stats.syncs += 1;
        self.note(Tag::Sync, handle.inode, 0);
        match fault {
            Some(Fault::SyncLie) => return Ok(()),
            Some(Fault::SyncEio) => {
                self.fail_sync(handle);
                return Err(os_error(libc::EIO));
            }
            // Most cuts strike before the data is down, some after: durable, and nobody hears.
            Some(Fault::PowerCut(loss)) => {
                if self.generator.chance(300_000) {
                    self.file(handle).persist();
                }
                self.cut(loss);
                return Err(os_error(libc::EIO));
            }
            _ => {}
        }
        self.file(handle).persist();
        Ok(())
    }

    /// Half of the unsynced effects reach the disk, all are forgotten, the page cache keeps them.
    fn fail_sync(&mut self, handle: Handle) {
        let pending = std::mem::take(&mut self.file(handle).pending);
        for (_, effect) in pending {
            if self.generator.coin() {
                effect.apply(&mut self.file(handle).durable);
            } else {
                self.stats.lost_effects += 1;
            }
        }
    }
}

fn flip_bit(bytes: &mut [u8], chance: &mut Generator) {
    if !bytes.is_empty() {
        let bit = chance.below_len(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}
