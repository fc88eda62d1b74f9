//! Going on after the quorum is lost for ever: judging what folders hold, and making one member the only
//! voter. Offline: no member may run on the folders.
//!
//! What a lost majority had decided without the survivor is gone, and clients may have acted on it. So the
//! survivor's log goes on far behind anything that the others can have reached: whatever was named by
//! an index (a fence, a session, an action) is never named again. Its terms go on far behind theirs too, so
//! that it votes for no log of before. And every member of before is outdated in the survivor's eyes, so
//! that one that comes back is fenced by the first thing it says.
//!
//! Invariants: `RFT-21` an index behind a recovery is greater than any that a lost member gave, as long as
//! one group decides fewer than 2^40 entries, and a term than any that it voted in, below 2^20 elections;
//! the old folder is kept beside the new one; a recovery that was interrupted is completed by the next.
//!
//! Not here: which commands are proposed afterwards, and telling operators (the node).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use runtime::disk::{Disk, DiskRef};

use super::{
    apply::{State, StateMachine, take},
    boot::{self, Boot},
    codec,
    snapshot::SnapshotStore,
    types::{LogId, Member, MemberId, Membership, entry_id, log_id},
};
use crate::log::{self, Contents, EntryId, Identity, Log, LogError, LogOptions, Vote};

/// Distance between the indexes of two recoveries.
const INDEXES: u64 = 1 << 40;
/// Distance between their terms.
const TERMS: u64 = 1 << 20;
/// Ends the name of a folder that is being made.
const MAKING: &str = "recovering";

/// Why a folder cannot be judged or recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Its files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry or the snapshot.
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
    /// The disk.
    #[error("{path}: {source}", path = path.display())]
    Disk {
        /// What was being read or written.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// There is no member of a group.
    #[error("{} holds no member of a root that was founded", path.display())]
    Nobody {
        /// The folder.
        path: PathBuf,
    },
}

/// What the folder of one member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The cluster, and which member it is.
    pub identity: Identity,
    /// What it promised last.
    pub vote: Option<Vote>,
    /// Its newest entry. Of several survivors the one with the greatest, by term and then by index, has
    /// everything that the others have.
    pub last: EntryId,
    /// Newest entry that it knows to be committed; what is behind may be, and is kept.
    pub committed: Option<EntryId>,
    /// Newest entry in its snapshot.
    pub snapshot: Option<EntryId>,
    /// All members, as of its newest entry.
    pub members: BTreeMap<MemberId, Member>,
    /// Those with a vote; while the membership changes, those of either side.
    pub voters: BTreeSet<MemberId>,
    /// Its newest start.
    pub boot: Boot,
    /// Whether it knows that it is a copy from an older time.
    pub fenced: bool,
}

/// How a recovery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered<E> {
    /// What there was before.
    pub before: Survivor,
    /// The index that the log goes on behind.
    pub goes_on_behind: EntryId,
    /// Where the old files are.
    pub kept: PathBuf,
    /// What the entries behind the old snapshot did, by index: they are in the new one, so no start tells
    /// of them again.
    pub effects: Vec<(u64, Vec<E>)>,
}

struct Judged<M: StateMachine> {
    survivor: Survivor,
    state: State<M>,
    effects: Vec<(u64, Vec<M::Effect>)>,
}

fn judge<M: StateMachine>(
    disk: &DiskRef,
    dir: &Path,
    fresh: M,
) -> Result<Judged<M>, RecoveryError> {
    let nobody = || RecoveryError::Nobody { path: dir.to_path_buf() };
    refuse_interrupted(&**disk, dir)?;
    let contents = log::look(&**disk, dir)?.ok_or_else(nobody)?;
    let snapshots = SnapshotStore::open(disk.clone(), dir)?;
    let snapshot = snapshots.current().and_then(|stored| stored.meta.last_log_id);
    let mut state = State::open(&snapshots, fresh)?;
    let Contents { identity, vote, bounds, entries } = contents;
    if bounds.purged.map(|id| id.index) > snapshot.map(|id| id.index) {
        let problem = "the log begins behind the end of the snapshot";
        return Err(LogError::damaged("snapshot", 0, problem).into());
    }
    let mut effects = Vec::new();
    for (id, bytes) in entries {
        if state.last().is_none_or(|last| last.index < id.index) {
            effects.push((id.index, state.apply(codec::decode_entry(id, &bytes)?).1));
        }
    }
    effects.retain(|(_, of_entry)| !of_entry.is_empty());
    let last = state.last().as_ref().map(entry_id).ok_or_else(nobody)?;
    let (boot, fenced) = boot::look(&**disk, dir)?;
    let membership = state.membership().membership();
    let survivor = Survivor {
        identity,
        vote,
        last,
        committed: bounds.committed.max(snapshot.as_ref().map(entry_id)),
        snapshot: snapshot.as_ref().map(entry_id),
        members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        voters: membership.voter_ids().collect(),
        boot,
        fenced,
    };
    Ok(Judged { survivor, state, effects })
}

/// Reads what the folder of a member holds, `fresh` being the state before the first entry, and lets
/// `look` see the state after its last entry. Changes nothing. Blocks.
///
/// # Errors
/// [`RecoveryError`].
pub fn inspect<M: StateMachine, T>(
    disk: &DiskRef,
    dir: &Path,
    fresh: M,
    look: impl FnOnce(&M) -> T,
) -> Result<(Survivor, T), RecoveryError> {
    let Judged { survivor, state, .. } = judge(disk, dir, fresh)?;
    let seen = look(&state.machine);
    Ok((survivor, seen))
}

/// Whether the old folder was put aside for a new one that did not take its place yet.
fn is_interrupted(disk: &dyn Disk, dir: &Path) -> std::io::Result<bool> {
    Ok(!disk.exists(dir)? && disk.exists(&dir.with_extension(MAKING))?)
}

/// Refuses to take `dir` for that of a member that never was. Blocks.
pub(super) fn refuse_interrupted(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    if is_interrupted(disk, dir)? {
        let problem = format!(
            "{} was put aside by a recovery that was interrupted: recover it again",
            dir.display()
        );
        return Err(LogError::Io(std::io::Error::other(problem)));
    }
    Ok(())
}

/// Lets the new folder of a recovery that was interrupted take its place; before anything else is done
/// to `dir`. Blocks.
///
/// # Errors
/// The disk failed.
pub fn complete(disk: &DiskRef, dir: &Path) -> Result<(), RecoveryError> {
    let interrupted = is_interrupted(&**disk, dir);
    if interrupted.map_err(|source| RecoveryError::Disk { path: dir.to_path_buf(), source })? {
        put_in_place(disk, &dir.with_extension(MAKING), dir)?;
    }
    Ok(())
}

fn put_in_place(disk: &DiskRef, from: &Path, to: &Path) -> Result<(), RecoveryError> {
    let failed = |source| RecoveryError::Disk { path: from.to_path_buf(), source };
    disk.rename(from, to).map_err(failed)?;
    to.parent().map_or(Ok(()), |parent| disk.sync_dir(parent)).map_err(failed)
}

/// Makes the member in `dir` the only one of its group (`RFT-21`). The old folder is kept, under a name
/// that says of which term it was.
///
/// # Errors
/// [`RecoveryError`]; then `dir` is as it was, or, if the disk failed at the very end, [`complete`] puts the
/// new folder in its place.
pub async fn recover<M: StateMachine + Sync>(
    disk: DiskRef,
    dir: PathBuf,
    fresh: M,
) -> Result<Recovered<M::Effect>, RecoveryError> {
    let Judged { survivor, state, effects } = judge(&disk, &dir, fresh)?;
    let making = dir.with_extension(MAKING);
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RecoveryError::Disk { path, source }
    };
    clear(&disk, &making).map_err(failed(&making))?;
    disk.create_dir_all(&making).map_err(failed(&making))?;
    let last = next_generation(&survivor);
    write_state(&disk, &making, &survivor, state, last).await.map_err(failed(&making))?;
    write_log(&disk, &making, &survivor, last).await?;
    let gone: Vec<MemberId> =
        survivor.members.keys().copied().filter(|id| *id != survivor.identity.member).collect();
    boot::write_outdating(&*disk, &dir, &making, &gone)?;
    disk.sync_dir(&making).map_err(failed(&making))?;
    let kept = dir.with_extension(format!("before-{}", last.term));
    put_in_place(&disk, &dir, &kept)?;
    put_in_place(&disk, &making, &dir)?;
    Ok(Recovered { before: survivor, goes_on_behind: last, kept, effects })
}

/// A folder that an earlier try left behind.
fn clear(disk: &DiskRef, folder: &Path) -> std::io::Result<()> {
    if disk.exists(folder)? {
        for name in disk.list(folder)? {
            runtime::disk::remove_if_exists(&**disk, &folder.join(name))?;
        }
    }
    Ok(())
}

/// The entry that the log goes on behind: at the next multiples of [`TERMS`] and [`INDEXES`].
fn next_generation(survivor: &Survivor) -> EntryId {
    let voted = survivor.vote.map_or(0, |vote| vote.term);
    EntryId {
        term: (voted.max(survivor.last.term) / TERMS + 1) * TERMS,
        index: (survivor.last.index / INDEXES + 1) * INDEXES,
    }
}

async fn write_state<M: StateMachine>(
    disk: &DiskRef,
    dir: &Path,
    survivor: &Survivor,
    state: State<M>,
    last: EntryId,
) -> std::io::Result<()> {
    let me = survivor.identity.member;
    let member = survivor.members.get(&me).cloned().unwrap_or_default();
    let alone = Membership::new(vec![BTreeSet::from([me])], BTreeMap::from([(me, member)]))
        .map_err(std::io::Error::other)?;
    let last: LogId = log_id(last);
    let stored = take(&state.moved_to(last, alone));
    let snapshots =
        SnapshotStore::open(disk.clone(), dir).map_err(|e| std::io::Error::other(e.to_string()))?;
    snapshots.save(stored).await
}

async fn write_log(
    disk: &DiskRef,
    dir: &Path,
    survivor: &Survivor,
    last: EntryId,
) -> Result<(), RecoveryError> {
    let (opening, folder, identity) = (disk.clone(), dir.to_path_buf(), survivor.identity);
    let log = runtime::blocking::run_on(disk.clone(), move || {
        Log::open(&opening, &folder, identity, LogOptions::default())
    })
    .await?;
    let written = async {
        log.save_vote(Vote { term: last.term, member: identity.member, committed: false }).await?;
        log.purge(last).await?;
        log.set_committed(Some(last)).await?;
        log.close().await
    };
    let failed = |source| RecoveryError::Disk { path: dir.to_path_buf(), source };
    written.await.map_err(failed)
}
