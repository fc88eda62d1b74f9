//! One step after the other: copying while the node runs, then the rest while it does not.
//!
//! Invariants: `MOV-1`; what was verified while the node ran is verified again as far as it can have changed.
//!
//! Not here: the steps (`sweep`, `derived`, `ends`).

use std::time::Duration;

use runtime::{
    clock::{self, Instant},
    disk::{DiskRef, LockGuard},
    parallel,
};
use tokio::runtime::Handle;

use super::{
    MoveError, Moved, Plan, Progress, Way,
    derived::Derived,
    ends::{Ends, position},
    sweep::{Extent, sweep},
    tables::TABLES,
};
use crate::{
    OpenError, folder,
    rows::{digest::content_digest, fault::SqlFault, verify},
    sql::Connection,
};

/// How often it is looked whether the node was stopped.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Changes from which on it is worth copying again while the node runs.
const WORTH_COPYING: u64 = 10_000;

/// Moves the memories of a node. Blocks, and is to be called where that is allowed, within the runtime that drives connections
/// to servers. `tell` hears how far it is.
///
/// # Errors
/// [`MoveError`]; then the memories are where they were, and what was copied stays for the next try.
pub fn run(
    disk: &DiskRef,
    plan: &Plan,
    tell: &mut dyn FnMut(Progress),
) -> Result<Moved, MoveError> {
    let failed = |source| MoveError::Io { path: plan.folder.clone(), source };
    if plan.way == Way::ToFile {
        disk.create_dir_all(&plan.folder).map_err(failed)?;
    }
    let _alone = folder::hold_moving(disk, &plan.folder)?;
    let held = hold(disk, plan)?;
    let ends = Ends::open(disk, plan)?;
    let is_fresh = ends.is_fresh()?;
    let mut course = Course { plan, ends, tell, copied: 0, verified: 0 };
    let (lock, since, is_copied) = match held {
        Held::By(lock) => (lock, Instant::now(), is_fresh),
        Held::Other(_) => {
            course.copy(true)?;
            let lock = course.wait(disk)?;
            (lock, Instant::now(), false)
        }
    };
    course.finish(lock, since, is_copied)
}

enum Held {
    By(LockGuard),
    Other(String),
}

fn hold(disk: &DiskRef, plan: &Plan) -> Result<Held, MoveError> {
    match folder::hold(disk, &plan.folder) {
        Ok(lock) => Ok(Held::By(lock)),
        Err(OpenError::Locked { holder, .. }) => Ok(Held::Other(holder)),
        Err(error) => Err(error.into()),
    }
}

/// Digest of the content, and sequence and hash of the last audit row.
type Same = ([u8; 32], (i64, [u8; 32]));

struct Course<'p> {
    plan: &'p Plan,
    ends: Ends,
    tell: &'p mut dyn FnMut(Progress),
    copied: u64,
    /// The chain of the copy holds up to this row.
    verified: i64,
}

impl Course<'_> {
    /// Makes all tables equal, up to where the source is now. With `goes_on` rows that were copied before are taken for the same.
    fn copy(&mut self, goes_on: bool) -> Result<(), MoveError> {
        let (from, to) = (&self.ends.from, &self.ends.to);
        let up_to = Some(position(&from.reader()?)?);
        for table in TABLES {
            let reader = from.reader()?;
            let of: i64 = reader.query_row(&table.count(from.side), [], |row| row.get(0))?;
            drop(reader);
            let (of, name) = (of.cast_unsigned(), table.name);
            let tell = &mut self.tell;
            let mut looked = |done| tell(Progress::Rows { table: name, done, of });
            self.copied += sweep((from, to), table, Extent { goes_on, up_to }, &mut looked)?;
        }
        if self.plan.way == Way::ToServer {
            let derived = Derived::new(to, &self.plan.server, &self.plan.space)?;
            derived.fill(to, &mut *self.tell)?;
            (self.tell)(Progress::Index);
            derived.index(to.writer()?)?;
        }
        // What holds now need not be looked at while the node cannot run. What does not may be half of a change.
        (self.tell)(Progress::Verifying);
        let chain = verify::verify_all(&to.reader()?, self.verified)?;
        if chain.holds() {
            self.verified = chain.head_sequence;
        }
        Ok(())
    }

    /// Waits for the node to be stopped, and copies again when it has changed much.
    fn wait(&mut self, disk: &DiskRef) -> Result<LockGuard, MoveError> {
        let mut copied_to = position(&self.ends.to.reader()?)?;
        let mut told = false;
        loop {
            let holder = match hold(disk, self.plan)? {
                Held::By(lock) => return Ok(lock),
                Held::Other(holder) => holder,
            };
            if !self.plan.waits {
                return Err(MoveError::Running { holder });
            }
            if position(&self.ends.from.reader()?)? > copied_to + WORTH_COPYING {
                self.copy(false)?;
                copied_to = position(&self.ends.to.reader()?)?;
                told = false;
            }
            if !told {
                (self.tell)(Progress::Waiting { holder });
                told = true;
            }
            Handle::current().block_on(clock::sleep(LOOK_EVERY));
        }
    }

    /// Copies the rest, compares both and has the folder say where its memories are.
    fn finish(
        mut self,
        lock: LockGuard,
        since: Instant,
        is_fresh: bool,
    ) -> Result<Moved, MoveError> {
        // Into an empty place everything is copied now; otherwise everything is compared.
        self.copy(is_fresh)?;
        let (content_digest, chain_head) = self.compare()?;
        let left = self.ends.settle()?;
        drop(lock);
        let held_ms = since.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        Ok(Moved { copied: self.copied, content_digest, chain_head, held_ms, left })
    }

    /// What is the same on both sides, as a whole.
    fn compare(&self) -> Result<Same, MoveError> {
        let differs = |problem: String| MoveError::Differs { problem };
        let (from, to) = (self.ends.from.reader()?, self.ends.to.reader()?);
        let one = |connection: &Connection| -> Result<_, SqlFault> {
            Ok((content_digest(connection)?, verify::head(connection)?))
        };
        let to_check = |connection: &Connection| -> Result<_, SqlFault> {
            Ok((one(connection)?, verify::verify_all(connection, self.verified)?))
        };
        let (source, copy) = parallel::join(move || one(&from), || to_check(&to));
        let (source, (copy, chain)) = (source?, copy?);
        if !chain.holds() {
            return Err(differs(format!("its audit chain does not hold: {chain:?}")));
        }
        if source.1 != copy.1 {
            return Err(differs("its audit chain ends elsewhere".to_owned()));
        }
        if source.0 != copy.0 {
            let (source, copy) = (hex::encode(source.0), hex::encode(copy.0));
            return Err(differs(format!("its content has digest {copy} instead of {source}")));
        }
        Ok(source)
    }
}
