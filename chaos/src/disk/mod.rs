//! Disks that fail on purpose below real processes: the simulator's disk, mounted.
//!
//! | file | what |
//! |---|---|
//! | `mounted` | a file system (FUSE) on that disk |
//! | `tree` | numbers for its files, as the kernel wants them |
//! | `power` | power loss of a real file system (ext4, XFS) |
//!
//! Not here: which fault, and when (`nemesis`); the disk itself (`runtime::disk::faulty`).

mod mounted;
mod power;
mod tree;

pub use self::{
    mounted::{Disk, obstacle},
    power::{FileSystem, RealDisk, obstacle as image_obstacle},
};
