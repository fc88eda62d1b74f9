//! Power loss of a real file system: an image on a loop device that is shut down without its log, and mounted again.
//!
//! Invariant: `DSK-3` after [`RealDisk::lose_power`] the file system has what was synced, and of the rest what its
//! journal makes of it.
//!
//! Not here: faults of the device itself (`mounted` has those).

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
};

/// Size of an image.
const IMAGE_BYTES: u64 = 512 << 20;
/// `_IOR('X', 125, __u32)`, alike for ext4 and XFS (linux/fs.h of both).
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Without writing the log: what the journal has not on disk is gone.
const NOLOGFLUSH: u32 = 2;

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

/// What keeps this machine from having one; `None` if nothing does.
pub fn obstacle() -> Option<String> {
    let folder = tempfile::tempdir();
    let probed =
        folder.and_then(|folder| RealDisk::mount(FileSystem::Ext4, &folder.path().join("disk")));
    probed.err().map(|error| error.to_string())
}

impl FileSystem {
    /// One that can be made here: XFS for every other node where there is `mkfs.xfs`, else ext4.
    pub fn here(prefer_ext4: bool) -> Self {
        let has_xfs = Command::new("mkfs.xfs").arg("-V").output().is_ok();
        if has_xfs && !prefer_ext4 { Self::Xfs } else { Self::Ext4 }
    }

    fn make(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["mkfs.ext4", "-q", "-F"],
            Self::Xfs => &["mkfs.xfs", "-q", "-f"],
        }
    }
}

/// A file system of its own, unmounted and gone when dropped.
#[derive(Debug)]
pub struct RealDisk {
    image: PathBuf,
    place: PathBuf,
}

fn run(words: &[&str]) -> io::Result<()> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let told = |error: String| io::Error::other(format!("`{}`: {error}", words.join(" ")));
    let output = output.map_err(|error| told(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(told(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other(format!("{path:?} is no text")))
}

impl RealDisk {
    /// Makes and mounts one, its image beside the place.
    ///
    /// # Errors
    /// The system's; a program that is not there is named.
    pub fn mount(kind: FileSystem, place: &Path) -> io::Result<Self> {
        let disk = Self { image: place.with_extension("image"), place: place.to_owned() };
        File::create(&disk.image)?.set_len(IMAGE_BYTES)?;
        run(&[kind.make(), &[text(&disk.image)?]].concat())?;
        std::fs::create_dir_all(place)?;
        disk.mount_again()?;
        Ok(disk)
    }

    fn mount_again(&self) -> io::Result<()> {
        run(&["mount", "-o", "loop", text(&self.image)?, text(&self.place)?])
    }

    /// The power goes and comes back; no process may be using the disk any more when this is called.
    ///
    /// # Errors
    /// The system's.
    pub fn lose_power(&self) -> io::Result<()> {
        self.cut_power()?;
        self.come_back()
    }

    /// The power goes: every operation fails from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn cut_power(&self) -> io::Result<()> {
        let folder = OpenOptions::new().read(true).open(&self.place)?;
        let flags = NOLOGFLUSH;
        // SAFETY: the call reads one number, which lives as long as it.
        match unsafe { libc::ioctl(folder.as_raw_fd(), FS_IOC_SHUTDOWN, &flags) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// It comes back, when no process has a file of it open any more.
    ///
    /// # Errors
    /// The system's.
    pub fn come_back(&self) -> io::Result<()> {
        run(&["umount", text(&self.place)?])?;
        self.mount_again()
    }
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        // Lazily, should a process still use it: it must not stay.
        if let Ok(place) = text(&self.place) {
            let _ = run(&["umount", "--lazy", place]);
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_synced_outlives_the_power_and_the_rest_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = match RealDisk::mount(FileSystem::Ext4, &folder.path().join("disk")) {
            Ok(disk) => disk,
            Err(problem) => return println!("skipped: no loop device: {problem}"),
        };
        let place = folder.path().join("disk");
        let mut file = File::create(place.join("synced")).unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        file.sync_all().unwrap();
        File::open(&place).unwrap().sync_all().unwrap();
        file.write_all(&[2; 10_000]).unwrap();
        drop(file);
        std::fs::write(place.join("unsynced"), [3; 10_000]).unwrap();
        disk.lose_power().unwrap();
        assert_eq!(std::fs::read(place.join("synced")).unwrap(), [1; 10_000], "DSK-3");
        assert!(std::fs::read(place.join("unsynced")).map_or(true, |bytes| bytes.is_empty()));
    }
}
