//! Small files that are replaced whole: the identity of the log, and the vote.
//!
//! Layout: magic "hivseal\0", CRC-32C of what follows (u32, little-endian), kind (u32), version
//! (u32), a protobuf message.
//!
//! Invariants: `LOG-5` a sealed file is the old one or the new one, never a mixture, and durable when
//! [`write`] returns. A message is read only if its bytes are the one encoding of what they say.
//!
//! Not here: what the messages mean.

use std::{io, path::Path};

use prost::Message;
use runtime::disk::{self, Disk};

use super::{LogError, record::u32_at};

const MAGIC: [u8; 8] = *b"hivseal\0";
const HEAD: usize = 20;
const VERSION: u32 = 1;
const MODE: u32 = 0o600;

/// A message with a file of its own.
pub(crate) trait Sealed: Message + Default {
    /// Keeps one kind of file from being read as another; never reused.
    const KIND: u32;
}

/// Whose log this is; written once, when everything else is there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IdentityMessage {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) cluster: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) member: u64,
}

impl Sealed for IdentityMessage {
    const KIND: u32 = 1;
}

/// The vote.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct VoteMessage {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) member: u64,
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

impl Sealed for VoteMessage {
    const KIND: u32 = 2;
}

/// Replaces the file (`LOG-5`).
pub(crate) fn write<M: Sealed>(disk: &dyn Disk, path: &Path, message: &M) -> io::Result<()> {
    disk::write_atomically(disk, path, &encode(message), MODE)
}

/// Replaces the file without a sync: `purge-before-snapshot`.
#[cfg(planted)]
pub(crate) fn write_unsynced<M: Sealed>(
    disk: &dyn Disk,
    path: &Path,
    message: &M,
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    disk::remove_if_exists(disk, &temporary)?;
    disk.open(&temporary, disk::OpenMode::CreateNew)?.write_at(0, &encode(message))?;
    disk.rename(&temporary, path)
}

fn encode<M: Sealed>(message: &M) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&M::KIND.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&message.encode_to_vec());
    let checksum = crc32c::crc32c(&out[12..]);
    out[8..12].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads the file; `None` if there is none.
///
/// # Errors
/// [`LogError::Damaged`] or [`LogError::Newer`] when it is not what [`write`] wrote.
pub(crate) fn read<M: Sealed>(disk: &dyn Disk, path: &Path) -> Result<Option<M>, LogError> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let bytes = disk::read_all(disk, path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if bytes.len() < HEAD
        || bytes[..8] != MAGIC
        || crc32c::crc32c(&bytes[12..]) != u32_at(&bytes, 8)
        || u32_at(&bytes, 12) != M::KIND
    {
        return Err(LogError::damaged(file, 0, "the checksum does not match"));
    }
    let version = u32_at(&bytes, 16);
    if version != VERSION {
        return Err(LogError::Newer { file, found: version, known: VERSION });
    }
    match M::decode(&bytes[HEAD..]) {
        Ok(message) if encode(&message) == bytes => Ok(Some(message)),
        Ok(_) => Err(LogError::damaged(file, HEAD as u64, "not the one encoding of its message")),
        Err(error) => Err(LogError::damaged(file, HEAD as u64, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use runtime::disk::faulty::FaultyDisk;

    use super::*;

    #[test]
    fn a_sealed_file_comes_back_and_every_bit_counts() {
        let disk = FaultyDisk::new(1);
        let path = Path::new("vote");
        assert_eq!(read::<VoteMessage>(&disk, path).unwrap(), None);
        let vote = VoteMessage { term: 4, member: 2, committed: true };
        write(&disk, path, &vote).unwrap();
        assert_eq!(read(&disk, path).unwrap(), Some(vote));
        assert!(read::<IdentityMessage>(&disk, path).is_err(), "another kind");
        for bit in 0..disk.dump(path).unwrap().len() * 8 {
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            disk.tamper(path, flip);
            assert!(read::<VoteMessage>(&disk, path).is_err(), "bit {bit}");
            disk.tamper(path, flip);
        }
    }
}
