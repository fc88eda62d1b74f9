//! Opening a log: whose it is, what it says, what was voted.
//!
//! Invariants: `LOG-13` a log is opened only by the member of the cluster that made it. `LOG-14` the
//! vote's term is never below the last entry's: a vote file that is missing or older than the log
//! could let this member vote twice, so it refuses. `LOG-15` the identity is written last, so a log
//! with an identity was whole once, and a missing part of it is damage.

use std::{cmp::Ordering, path::Path};

use bytes::Bytes;
use runtime::disk::{Disk, DiskRef};

use super::{
    LogError, LogOptions,
    journal::Journal,
    place::Place,
    sealed::{self, IdentityMessage, VoteMessage},
    segment,
    slots::Slots,
};

pub(super) const IDENTITY_FILE: &str = "identity";
const VOTE_FILE: &str = "vote";

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, drawn once when it is founded.
    pub cluster: [u8; 16],
    /// Number of the member within it; never given twice.
    pub member: u64,
}

/// What this member has promised: whom it voted for, and whether that one became the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// Number of the member voted for.
    pub member: u64,
    /// Whether a majority did the same.
    pub committed: bool,
}

impl Vote {
    /// Whether this vote may replace `before`: a later term, or in the same term the news that
    /// somebody has won it. Nobody votes for two in one term, and no term has two winners.
    pub fn may_follow(&self, before: &Vote) -> bool {
        match self.term.cmp(&before.term) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.member == before.member => self.committed >= before.committed,
            Ordering::Equal => self.committed && !before.committed,
        }
    }
}

/// A log that was opened.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) slots: Slots<(Bytes, Place)>,
    pub(super) vote: Option<Vote>,
}

/// Opens the log in `dir`, or creates it.
pub(super) fn open(
    disk: &DiskRef,
    dir: &Path,
    identity: Identity,
    options: LogOptions,
) -> Result<Opened, LogError> {
    options.check()?;
    disk.create_dir_all(dir)?;
    let numbers = segment_numbers(&**disk, dir)?;
    let known: Option<IdentityMessage> = sealed::read(&**disk, &dir.join(IDENTITY_FILE))?;
    let vote = read_vote(&**disk, dir)?;
    match known {
        Some(known) => check_identity(&known, identity)?,
        // A first start that was interrupted leaves at most one segment, and nothing in it.
        None if vote.is_none() && numbers.len() <= 1 => {}
        None => return Err(LogError::damaged(IDENTITY_FILE, 0, "the file is missing")),
    }
    if numbers.is_empty() && known_before(&**disk, dir)? {
        return Err(LogError::damaged(segment::name(1), 0, "all segments are missing"));
    }
    let cluster = identity.cluster;
    let (journal, slots) = if numbers.is_empty() {
        let journal = Journal::create(disk.clone(), dir, options, cluster)?;
        let slots = Slots::new(journal.bounds());
        (journal, slots)
    } else {
        Journal::recover(disk.clone(), dir, options, cluster, &numbers)?
    };
    if !known_before(&**disk, dir)? {
        if slots.bounds().last.is_some() {
            return Err(LogError::damaged(IDENTITY_FILE, 0, "the file is missing"));
        }
        let message = IdentityMessage { cluster: cluster.to_vec(), member: identity.member };
        sealed::write(&**disk, &dir.join(IDENTITY_FILE), &message)?;
    }
    check_vote(vote, &slots)?;
    Ok(Opened { journal, slots, vote })
}

fn known_before(disk: &dyn Disk, dir: &Path) -> Result<bool, LogError> {
    Ok(disk.exists(&dir.join(IDENTITY_FILE))?)
}

/// Numbers of the segments there, ascending, and without gaps.
pub(super) fn segment_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, LogError> {
    let numbers: Vec<u64> =
        disk.list(dir)?.iter().filter_map(|name| segment::number(name)).collect();
    for pair in numbers.windows(2) {
        if pair[0] + 1 != pair[1] {
            return Err(LogError::damaged(segment::name(pair[0] + 1), 0, "the segment is missing"));
        }
    }
    Ok(numbers)
}

fn check_identity(known: &IdentityMessage, expected: Identity) -> Result<(), LogError> {
    if known.cluster == expected.cluster && known.member == expected.member {
        return Ok(());
    }
    let name = |cluster: &[u8], member: u64| {
        let digits: String = cluster.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("member {member} of cluster {digits}")
    };
    Err(LogError::Foreign {
        found: name(&known.cluster, known.member),
        expected: name(&expected.cluster, expected.member),
    })
}

pub(super) fn read_vote(disk: &dyn Disk, dir: &Path) -> Result<Option<Vote>, LogError> {
    let message: Option<VoteMessage> = sealed::read(disk, &dir.join(VOTE_FILE))?;
    Ok(message.map(|m| Vote { term: m.term, member: m.member, committed: m.committed }))
}

/// Replaces the vote; durable on return.
pub(super) fn write_vote(disk: &dyn Disk, dir: &Path, vote: Vote) -> Result<(), LogError> {
    let Vote { term, member, committed } = vote;
    sealed::write(disk, &dir.join(VOTE_FILE), &VoteMessage { term, member, committed })?;
    Ok(())
}

fn check_vote(vote: Option<Vote>, slots: &Slots<(Bytes, Place)>) -> Result<(), LogError> {
    let voted = vote.map_or(0, |vote| vote.term);
    match slots.bounds().last.filter(|last| last.term > voted) {
        Some(last) => Err(LogError::damaged(
            VOTE_FILE,
            0,
            format!("the vote is of term {voted}, the log has entry {last}"),
        )),
        None => Ok(()),
    }
}
