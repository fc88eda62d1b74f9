//! Starts of members, counted: how a member that was put back from a backup is found out.
//!
//! Each start has an epoch, one more than the last start that any peer has heard of, and a random
//! nonce, both on the disk before the first message; a start that nobody has heard of is the same one
//! after a restart. Messages carry both. A peer keeps the newest start it has seen of every other member; one
//! that is older, or the same with another nonce, belongs to a copy from an older time. Its log and
//! its vote may lack what the member has promised since, so nothing it says counts.
//!
//! Invariants: `RFT-7` what is older than a start that was seen is refused, across restarts of the one
//! who saw it. `RFT-8` a member that hears it is a copy neither asks nor answers any more, across its
//! restarts: it comes back under a new number, with an empty folder. `RFT-9` an epoch moves on only
//! after a peer was met in it, so a copy cannot count up to the present by restarting alone.
//!
//! The limit: a copy made during the current start has its epoch. And a copy is found out by those who
//! know better, so members introduce themselves and one another at every start (`introduce`): once all
//! others remember a start, no copy from before it has a say. Until then somebody who was away all along
//! may take a copy for the member, if nobody who knows better can be reached.
//!
//! Not here: the messages (`message`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use prost::Message;
use runtime::disk::{Disk, DiskRef};
use types::planted;

use super::{turns::Turns, types::MemberId};
use crate::log::{
    LogError,
    sealed::{self, Sealed},
};

const FILE: &str = "starts";

/// One start of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// From 1; grows with every start that a peer has heard of.
    pub epoch: u64,
    /// Random.
    pub nonce: u64,
}

/// The message is from a copy of the member, older than what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {member} was seen at start {}, this says start {}", seen.epoch, says.epoch)]
pub struct StaleBoot {
    /// The member.
    pub member: MemberId,
    /// The newest start seen of it.
    pub seen: Boot,
    /// The start that the message names.
    pub says: Boot,
}

#[derive(Clone, PartialEq, Message)]
struct StartsMessage {
    /// Own newest start.
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    nonce: u64,
    /// Whether a peer was met in it.
    #[prost(bool, tag = "3")]
    met: bool,
    #[prost(bool, tag = "4")]
    fenced: bool,
    /// Ascending by member.
    #[prost(message, repeated, tag = "5")]
    seen: Vec<SeenMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SeenMessage {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    nonce: u64,
}

impl Sealed for StartsMessage {
    const KIND: u32 = 4;
}

#[derive(Clone, Debug, Default)]
struct Known {
    mine: Boot,
    met: bool,
    fenced: bool,
    seen: BTreeMap<MemberId, Boot>,
}

impl From<StartsMessage> for Known {
    fn from(message: StartsMessage) -> Self {
        let seen = message.seen.into_iter();
        Known {
            mine: Boot { epoch: message.epoch, nonce: message.nonce },
            met: message.met,
            fenced: message.fenced,
            seen: seen.map(|s| (s.member, Boot { epoch: s.epoch, nonce: s.nonce })).collect(),
        }
    }
}

impl From<&Known> for StartsMessage {
    fn from(known: &Known) -> Self {
        let seen = known.seen.iter();
        StartsMessage {
            epoch: known.mine.epoch,
            nonce: known.mine.nonce,
            met: known.met,
            fenced: known.fenced,
            seen: seen
                .map(|(member, boot)| SeenMessage {
                    member: *member,
                    epoch: boot.epoch,
                    nonce: boot.nonce,
                })
                .collect(),
        }
    }
}

/// The newest start of the member whose files are in `dir`; the default if it never started. Blocks.
pub(super) fn look(disk: &dyn Disk, dir: &Path) -> Result<(Boot, bool), LogError> {
    let known = sealed::read::<StartsMessage>(disk, &dir.join(FILE))?.map(Known::from);
    let known = known.unwrap_or_default();
    Ok((known.mine, known.fenced))
}

/// Copies what is known in `from` to `to`, with every start of the `gone` outdated: whatever any of them
/// says, ever again, is answered with what fences it (`RFT-8`). Blocks.
pub(super) fn write_outdating(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    gone: &[MemberId],
) -> Result<(), LogError> {
    let known = sealed::read::<StartsMessage>(disk, &from.join(FILE))?.map(Known::from);
    let mut known = known.unwrap_or_default();
    known.seen.extend(gone.iter().map(|id| (*id, Boot { epoch: u64::MAX, nonce: 0 })));
    sealed::write(disk, &to.join(FILE), &StartsMessage::from(&known))?;
    Ok(())
}

/// This member's start, and the newest of its peers.
pub(super) struct Boots {
    disk: DiskRef,
    path: Arc<PathBuf>,
    mine: Boot,
    known: Arc<Mutex<Known>>,
    /// Who remembers this start.
    known_to: Mutex<BTreeSet<MemberId>>,
    turns: Turns,
}

impl Boots {
    /// Reads what is known, begins a new start and writes it down. Blocks.
    pub(super) fn open(disk: DiskRef, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(FILE);
        let known = match sealed::read::<StartsMessage>(&*disk, &path)?.map(Known::from) {
            // Nobody has met that start: this is still it.
            Some(known) if !known.met => known,
            before => {
                let seen = before.unwrap_or_default();
                let mine = Boot { epoch: seen.mine.epoch + 1, nonce: runtime::random::u64() };
                let known = Known { mine, met: false, ..seen };
                sealed::write(&*disk, &path, &StartsMessage::from(&known))?;
                known
            }
        };
        let (mine, turns) = (known.mine, Turns::new(disk.clone()));
        let (path, known) = (Arc::new(path), Arc::new(Mutex::new(known)));
        Ok(Self { disk, path, mine, known, known_to: Mutex::default(), turns })
    }

    /// This start.
    pub(super) fn mine(&self) -> Boot {
        self.mine
    }

    /// The newest start seen of a member; the default if none was.
    pub(super) fn seen(&self, member: MemberId) -> Boot {
        self.known.lock().seen.get(&member).copied().unwrap_or_default()
    }

    /// The newest starts seen, of all but one member; ascending by member.
    pub(super) fn seen_except(&self, member: MemberId) -> Vec<(MemberId, Boot)> {
        let known = self.known.lock();
        known.seen.iter().filter(|(id, _)| **id != member).map(|(id, boot)| (*id, *boot)).collect()
    }

    /// Who remembers this start.
    pub(super) fn known_to(&self) -> BTreeSet<MemberId> {
        self.known_to.lock().clone()
    }

    /// A peer has answered this start, so it remembers it.
    pub(super) fn remembered_by(&self, member: MemberId) {
        self.known_to.lock().insert(member);
    }

    /// Whether a peer that has seen this start of us shows that we are a copy.
    pub(super) fn is_outdated_by(&self, seen: Boot) -> bool {
        if planted::is_on("copy-not-fenced") {
            return false;
        }
        seen.epoch > self.mine.epoch || (seen.epoch == self.mine.epoch && seen != self.mine)
    }

    /// Whether this member knows that it is a copy (`RFT-8`).
    pub(super) fn is_fenced(&self) -> bool {
        self.known.lock().fenced
    }

    /// Checks a peer's start, and remembers a newer one before it counts (`RFT-7`).
    ///
    /// # Errors
    /// The inner error: the peer is a copy. The outer one: the disk failed.
    pub(super) async fn check(
        &self,
        member: MemberId,
        says: Boot,
    ) -> io::Result<Result<(), StaleBoot>> {
        if planted::is_on("copy-not-fenced") {
            return Ok(Ok(()));
        }
        let judge = move |known: &Known| match known.seen.get(&member) {
            Some(seen) if *seen == says => Some(Ok(())),
            Some(seen) if seen.epoch >= says.epoch => {
                Some(Err(StaleBoot { member, seen: *seen, says }))
            }
            _ => None,
        };
        if let Some(judged) = judge(&self.known.lock()) {
            return Ok(judged);
        }
        self.change(move |known| {
            let judged = judge(known).unwrap_or(Ok(()));
            if judged.is_ok() {
                known.seen.insert(member, says);
            }
            judged
        })
        .await
    }

    /// Remembers what a peer has seen of others, where it is newer.
    pub(super) async fn learn(&self, starts: &[(MemberId, Boot)]) -> io::Result<()> {
        if planted::is_on("copy-not-fenced") {
            return Ok(());
        }
        let is_newer = |known: &Known, (member, says): &(MemberId, Boot)| {
            known.seen.get(member).is_none_or(|seen| seen.epoch < says.epoch)
        };
        if !starts.iter().any(|start| is_newer(&self.known.lock(), start)) {
            return Ok(());
        }
        let starts = starts.to_vec();
        self.change(move |known| {
            for start in &starts {
                if is_newer(known, start) {
                    known.seen.insert(start.0, start.1);
                }
            }
        })
        .await
    }

    /// A peer has heard of this start, or will have (`RFT-9`).
    pub(super) async fn met(&self) -> io::Result<()> {
        if self.known.lock().met {
            return Ok(());
        }
        self.change(|known| known.met = true).await
    }

    /// A peer knows that this member is a copy (`RFT-8`).
    pub(super) async fn fence(&self, by: MemberId) -> io::Result<()> {
        if self.is_fenced() {
            return Ok(());
        }
        tracing::error!(
            by,
            "this member is a copy from an older time and takes no part: remove it from the group \
             and let it join again under a new number, with an empty folder"
        );
        self.change(|known| known.fenced = true).await
    }

    /// Lets what is being written be written, and nothing more (`RFT-25`).
    pub(super) async fn close(&self) {
        self.turns.close().await;
    }

    /// Changes what is known, durably first.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Known) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (disk, path, shared) = (self.disk.clone(), self.path.clone(), self.known.clone());
        let work = move || {
            let mut known = shared.lock().clone();
            let value = change(&mut known);
            sealed::write(&*disk, &path, &StartsMessage::from(&known))?;
            *shared.lock() = known;
            Ok(value)
        };
        self.turns.take(work).await
    }
}

#[cfg(test)]
mod tests {
    use runtime::disk::faulty::FaultyDisk;

    use super::*;

    fn open(disk: &FaultyDisk) -> Boots {
        Boots::open(disk.shared(), Path::new("raft")).unwrap()
    }

    fn disk() -> FaultyDisk {
        use runtime::disk::Disk;
        let disk = FaultyDisk::new(1);
        disk.create_dir_all(Path::new("raft")).unwrap();
        disk
    }

    #[tokio::test]
    async fn older_starts_and_twins_are_refused_across_restarts() {
        let disk = disk();
        let boot = |epoch, nonce| Boot { epoch, nonce };
        let boots = open(&disk);
        for newer in [boot(3, 1), boot(3, 1), boot(5, 2)] {
            assert_eq!(boots.check(7, newer).await.unwrap(), Ok(()));
        }
        for boots in [boots, open(&disk)] {
            for stale in [boot(5, 3), boot(4, 2), boot(3, 1)] {
                assert!(boots.check(7, stale).await.unwrap().is_err(), "{stale:?}");
            }
            assert_eq!(boots.check(7, boot(5, 2)).await.unwrap(), Ok(()));
            assert_eq!(boots.check(8, boot(1, 9)).await.unwrap(), Ok(()), "another member");
        }
    }

    #[tokio::test]
    async fn an_epoch_moves_on_only_after_a_peer_was_met_in_it() {
        let disk = disk();
        let first = open(&disk).mine();
        assert_eq!((first.epoch, open(&disk).mine()), (1, first), "nobody has heard of it");
        open(&disk).met().await.unwrap();
        let second = open(&disk);
        assert_eq!(second.mine().epoch, 2);
        assert_ne!(second.mine().nonce, first.nonce);
        let newer = Boot { epoch: 3, nonce: 0 };
        let twin = Boot { epoch: 2, nonce: !second.mine().nonce };
        assert!(second.is_outdated_by(newer) && second.is_outdated_by(twin));
        for not in [Boot::default(), first, second.mine()] {
            assert!(!second.is_outdated_by(not), "{not:?}");
        }
        second.fence(1).await.unwrap();
        assert!(open(&disk).is_fenced());
    }
}
