//! The simulator's disk as a file system: what a process writes there is in a page cache that loses it when the power
//! goes, and syncs may fail, lie or take their time.
//!
//! The kernel keeps no page of it that was written: it writes through, and every mount begins with nothing cached.
//!
//! Invariants: `DSK-1` a fault is a rule of the disk, counted where it strikes; `DSK-2` after a power loss nothing that
//! the kernel remembers is left: the disk is mounted anew.
//!
//! Not here: links, owners, sockets that outlive the mount.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow,
};
use runtime::disk::{
    Disk as _, DiskError, DiskFile, OpenMode, OsDisk,
    faulty::{FaultyDisk, FaultyFile, Loss},
};

use super::tree::{ROOT, Tree};

/// For how long the kernel may believe what it was told of a name or a size: not at all.
const TTL: Duration = Duration::ZERO;
/// Bytes of a block, as programs are told.
const BLOCK_BYTES: u32 = 4096;
/// Mode of folders and of sockets.
const FOLDER_MODE: u16 = 0o700;

/// What keeps this machine from mounting; `None` if nothing does.
pub fn obstacle() -> Option<String> {
    let device = Path::new("/dev/fuse");
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(device);
    opened.err().map(|error| format!("{}: {error}", device.display()))
}

/// A disk, mounted somewhere.
pub struct Disk {
    /// The disk itself.
    pub faulty: FaultyDisk,
    place: PathBuf,
    mounted: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts an empty disk.
    ///
    /// # Errors
    /// The system's.
    pub fn mount(place: &Path, seed: u64) -> io::Result<Self> {
        let (faulty, place) = (FaultyDisk::new(seed), place.to_owned());
        let mut disk = Self { faulty, place, mounted: None };
        disk.mount_again()?;
        Ok(disk)
    }

    fn mount_again(&mut self) -> io::Result<()> {
        let options = [MountOption::FSName("hivemem-chaos".to_owned()), MountOption::NoAtime];
        let files = Files::of(&self.faulty);
        self.mounted = Some(fuser::spawn_mount2(files, &self.place, &options)?);
        Ok(())
    }

    /// An empty disk in its place; no process may be using it.
    ///
    /// # Errors
    /// The system's, when it cannot be mounted.
    pub fn wipe(&mut self, seed: u64) -> io::Result<()> {
        self.mounted = None;
        self.faulty = FaultyDisk::new(seed);
        self.mount_again()
    }

    /// The power goes and comes back; no process may be using the disk (`DSK-2`).
    ///
    /// # Errors
    /// The system's, when it cannot be mounted again.
    pub fn lose_power(&mut self, loss: Loss) -> io::Result<()> {
        self.mounted = None;
        self.faulty.power_loss(loss);
        self.mount_again()
    }

    /// Room that is left, as the system tells it to processes.
    ///
    /// # Errors
    /// The system's.
    pub fn free_bytes(&self) -> io::Result<u64> {
        OsDisk.free_bytes(&self.place)
    }

    /// How often a fault has struck, by the name of its kind.
    pub fn struck(&self, fault: &str) -> u64 {
        self.faulty.stats().faults.get(fault).copied().unwrap_or(0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.mounted = None;
        // Lazily, should a process have kept it from going: it must not stay without anybody who answers for it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).output();
    }
}

/// An open file.
struct Opened {
    number: u64,
    file: FaultyFile,
}

struct Files {
    disk: FaultyDisk,
    tree: Tree,
    opened: BTreeMap<u64, Opened>,
    handles: u64,
    /// Sockets, which no disk keeps.
    sockets: BTreeSet<PathBuf>,
}

/// The system's number of an error of the disk.
fn code(error: &io::Error) -> i32 {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DiskError>());
    let number = inner.and_then(|error| error.source.raw_os_error()).or(error.raw_os_error());
    number.unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::AlreadyExists => libc::EEXIST,
        io::ErrorKind::StorageFull => libc::ENOSPC,
        _ => libc::EIO,
    })
}

impl Files {
    fn of(disk: &FaultyDisk) -> Self {
        let (tree, opened, sockets) = Default::default();
        Self { disk: disk.clone(), tree, opened, handles: 0, sockets }
    }

    /// A name in a folder.
    fn path(&self, folder: u64, name: &OsStr) -> Result<PathBuf, i32> {
        self.tree.name(folder).map(|folder| folder.join(name)).ok_or(libc::ENOENT)
    }

    fn pay(&self) {
        let owed = self.disk.take_latency();
        if !owed.is_zero() {
            #[expect(clippy::disallowed_methods, reason = "a slow disk is slow for its caller")]
            std::thread::sleep(owed);
        }
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, i32> {
        let (size, kind, perm) = match self.tree.name(number) {
            Some(path) if self.sockets.contains(path) => (0, FileType::Socket, FOLDER_MODE),
            Some(path) => {
                let found = self.disk.metadata(path).map_err(|error| code(&error))?;
                let kind = if found.is_dir { FileType::Directory } else { FileType::RegularFile };
                (found.len_bytes, kind, (found.mode & 0o7777) as u16)
            }
            // It has no name any more and is open.
            None => {
                let opened = self.opened.values().find(|opened| opened.number == number);
                let size = opened.ok_or(libc::ENOENT)?.file.len().map_err(|error| code(&error))?;
                (size, FileType::RegularFile, 0o600)
            }
        };
        let never = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    /// The attributes of a name.
    fn entry(&mut self, path: &Path) -> Result<FileAttr, i32> {
        if !self.sockets.contains(path) && !self.disk.exists(path).map_err(|e| code(&e))? {
            return Err(libc::ENOENT);
        }
        let number = self.tree.number(path);
        self.attributes(number)
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<u64, i32> {
        let file = self.disk.open_file(path, mode).map_err(|error| code(&error))?;
        let number = self.tree.number(path);
        self.handles += 1;
        self.opened.insert(self.handles, Opened { number, file });
        Ok(self.handles)
    }

    fn file(&self, handle: u64) -> Result<&FaultyFile, i32> {
        self.opened.get(&handle).map(|opened| &opened.file).ok_or(libc::EBADF)
    }

    fn resize(&mut self, number: u64, handle: Option<u64>, size: u64) -> Result<(), i32> {
        let set = match (handle, self.tree.name(number)) {
            (Some(handle), _) => self.file(handle)?.set_len(size),
            (None, Some(path)) => {
                self.disk.open_file(path, OpenMode::Existing).and_then(|file| file.set_len(size))
            }
            (None, None) => return Err(libc::ENOENT),
        };
        set.map_err(|error| code(&error))
    }

    fn names(&mut self, folder: u64) -> Result<Vec<(u64, FileType, String)>, i32> {
        let path = self.tree.name(folder).ok_or(libc::ENOENT)?.to_owned();
        let mut all = vec![
            (folder, FileType::Directory, ".".to_owned()),
            (ROOT, FileType::Directory, "..".to_owned()),
        ];
        let names = self.disk.list(&path).map_err(|error| code(&error))?;
        let sockets = self.sockets.iter().filter(|socket| socket.parent() == Some(&path));
        let sockets = sockets.filter_map(|socket| Some(socket.file_name()?.to_str()?.to_owned()));
        for name in names.into_iter().chain(sockets.collect::<Vec<_>>()) {
            let entry = self.entry(&path.join(&name))?;
            all.push((entry.ino, entry.kind, name));
        }
        Ok(all)
    }

    fn remove(&mut self, path: &Path) -> Result<(), i32> {
        if !self.sockets.remove(path) {
            self.disk.remove(path).map_err(|error| code(&error))?;
        }
        self.tree.removed(path);
        Ok(())
    }
}

fn answer(result: Result<(), i32>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(code) => reply.error(code),
    }
}

fn show(result: Result<FileAttr, i32>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, 0),
        Err(code) => reply.error(code),
    }
}

impl Filesystem for Files {
    fn lookup(&mut self, _: &Request<'_>, folder: u64, name: &OsStr, reply: ReplyEntry) {
        let found = self.path(folder, name).and_then(|path| self.entry(&path));
        show(found, reply);
    }

    fn getattr(&mut self, _: &Request<'_>, number: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.attributes(number) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(code) => reply.error(code),
        }
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        number: u64,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let sized = size.map_or(Ok(()), |size| self.resize(number, handle, size));
        let moded = match (mode, self.tree.name(number)) {
            (Some(mode), Some(path)) if !self.sockets.contains(path) => {
                self.disk.set_mode(path, mode & 0o7777).map_err(|error| code(&error))
            }
            _ => Ok(()),
        };
        match sized.and(moded).and_then(|()| self.attributes(number)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(code) => reply.error(code),
        }
    }

    fn mknod(
        &mut self,
        _: &Request<'_>,
        folder: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.path(folder, name).and_then(|path| {
            if mode & libc::S_IFMT != libc::S_IFSOCK {
                return Err(libc::EPERM);
            }
            self.sockets.insert(path.clone());
            self.entry(&path)
        });
        show(made, reply);
    }

    fn mkdir(
        &mut self,
        _: &Request<'_>,
        folder: u64,
        name: &OsStr,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.path(folder, name).and_then(|path| {
            self.disk.create_dir_all(&path).map_err(|error| code(&error))?;
            self.entry(&path)
        });
        show(made, reply);
    }

    fn unlink(&mut self, _: &Request<'_>, folder: u64, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.path(folder, name).and_then(|path| self.remove(&path));
        answer(removed, reply);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        folder: u64,
        name: &OsStr,
        to_folder: u64,
        to_name: &OsStr,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let renamed = (|| {
            let (from, to) = (self.path(folder, name)?, self.path(to_folder, to_name)?);
            if self.sockets.contains(&from) {
                return Err(libc::EPERM);
            }
            self.disk.rename(&from, &to).map_err(|error| code(&error))?;
            self.tree.renamed(&from, &to);
            Ok(())
        })();
        answer(renamed, reply);
    }

    fn open(&mut self, _: &Request<'_>, number: u64, flags: i32, reply: ReplyOpen) {
        let mode = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => OpenMode::ReadOnly,
            _ => OpenMode::Existing,
        };
        let path = self.tree.name(number).map(Path::to_owned).ok_or(libc::ENOENT);
        match path.and_then(|path| Files::open(self, &path, mode)) {
            Ok(handle) => reply.opened(handle, 0),
            Err(code) => reply.error(code),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        folder: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.path(folder, name).and_then(|path| {
            let handle = Files::open(self, &path, OpenMode::OpenOrCreate)?;
            self.disk.set_mode(&path, mode & 0o7777).map_err(|error| code(&error))?;
            Ok((handle, self.entry(&path)?))
        });
        match made {
            Ok((handle, attributes)) => reply.created(&TTL, &attributes, 0, handle, 0),
            Err(code) => reply.error(code),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let read = self.file(handle).and_then(|file| {
            let mut filled = 0;
            while filled < bytes.len() {
                let at = offset as u64 + filled as u64;
                match file.read_at(at, &mut bytes[filled..]).map_err(|error| code(&error))? {
                    0 => break,
                    more => filled += more,
                }
            }
            Ok(filled)
        });
        match read {
            Ok(filled) => reply.data(&bytes[..filled]),
            Err(code) => reply.error(code),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let written = self
            .file(handle)
            .and_then(|file| file.write_at(offset as u64, data).map_err(|error| code(&error)));
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(code) => reply.error(code),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        _: i32,
        _: Option<u64>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.opened.remove(&handle);
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, handle: u64, _: bool, reply: ReplyEmpty) {
        let synced = self.file(handle).and_then(|file| file.sync().map_err(|error| code(&error)));
        self.pay();
        answer(synced, reply);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, number: u64, _: u64, _: bool, reply: ReplyEmpty) {
        let path = self.tree.name(number).ok_or(libc::ENOENT);
        let synced = path.and_then(|path| self.disk.sync_dir(path).map_err(|error| code(&error)));
        self.pay();
        answer(synced, reply);
    }

    fn readdir(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        let names = match self.names(number) {
            Ok(names) => names,
            Err(code) => return reply.error(code),
        };
        for (at, (number, kind, name)) in names.into_iter().enumerate().skip(offset as usize) {
            if reply.add(number, at as i64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        let free = self.disk.free_bytes(Path::new("")).unwrap_or(0) / u64::from(BLOCK_BYTES);
        let used = self.disk.used_bytes() / u64::from(BLOCK_BYTES);
        reply.statfs(free + used, free, free, 1 << 20, 1 << 20, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
