//! Which operation fails, how, and when.

use std::path::Path;
use std::time::Duration;

use super::generator::Generator;

/// What survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything, the page cache included: only the process died.
    None,
    /// Nothing unsynced.
    All,
    /// A random prefix of all unsynced effects of the disk; the last write is torn at a sector.
    Prefix,
    /// Each unsynced sector independently: a cache that reorders.
    Subset,
    /// As `Subset`, and a sector may be half written or garbage, inside the range written.
    Torn,
}

impl Loss {
    /// The kinds that lose something.
    pub const LOSSY: [Loss; 4] = [Loss::All, Loss::Prefix, Loss::Subset, Loss::Torn];
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A read fails with EIO.
    ReadEio,
    /// A write or resize fails with EIO and changes nothing.
    WriteEio,
    /// A write or resize fails with ENOSPC and changes nothing.
    Enospc,
    /// A sync fails as on Linux: some of the unsynced data reached the disk, all of it is now
    /// considered clean, the page cache keeps it, and the next sync says OK.
    SyncEio,
    /// A sync says OK and does nothing; a later honest one makes up for it.
    SyncLie,
    /// A sync works and owes this much simulated time.
    SyncSlow(Duration),
    /// One bit of one read is wrong; the disk keeps the right one.
    FlipRead,
    /// One bit of one write is stored wrong.
    FlipWrite,
    /// The machine dies in the middle of an effect (write, resize, sync, name change).
    PowerCut(Loss),
}

impl Fault {
    /// Its name in [`super::Stats::faults`].
    pub fn name(self) -> &'static str {
        match self {
            Fault::ReadEio => "read_eio",
            Fault::WriteEio => "write_eio",
            Fault::Enospc => "enospc",
            Fault::SyncEio => "sync_eio",
            Fault::SyncLie => "sync_lie",
            Fault::SyncSlow(_) => "sync_slow",
            Fault::FlipRead => "flip_read",
            Fault::FlipWrite => "flip_write",
            Fault::PowerCut(_) => "power_cut",
        }
    }

    fn fits(self, kind: Kind) -> bool {
        match self {
            Fault::ReadEio | Fault::FlipRead => kind == Kind::Read,
            Fault::WriteEio | Fault::Enospc => matches!(kind, Kind::Write | Kind::Resize),
            Fault::FlipWrite => kind == Kind::Write,
            Fault::SyncEio | Fault::SyncLie | Fault::SyncSlow(_) => kind == Kind::Sync,
            Fault::PowerCut(_) => kind != Kind::Read,
        }
    }
}

/// When a rule hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once, at the n-th operation it fits, counted from now; 1 is the next one.
    Nth(u64),
    /// At each operation it fits, with this chance in a million.
    PerMillion(u32),
}

/// What an operation does, as far as rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Resize,
    Sync,
    Name,
}

struct Rule {
    fault: Fault,
    when: When,
    suffix: String,
    seen: u64,
}

impl Rule {
    fn hits(&mut self, kind: Kind, path: &Path, chance: &mut Generator) -> bool {
        let bytes = path.as_os_str().as_encoded_bytes();
        if !self.fault.fits(kind) || !bytes.ends_with(self.suffix.as_bytes()) {
            return false;
        }
        self.seen += 1;
        match self.when {
            When::Nth(n) => self.seen >= n,
            When::PerMillion(per_million) => chance.chance(per_million),
        }
    }
}

/// All rules of a disk, oldest first.
#[derive(Default)]
pub(super) struct Rules(Vec<Rule>);

/// What the rules say about one operation.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) fault: Option<Fault>,
    /// Sum of the slow syncs that hit.
    pub(super) slow: Option<Duration>,
}

impl Rules {
    pub(super) fn add(&mut self, fault: Fault, when: When, suffix: &str) {
        self.0.push(Rule { fault, when, suffix: suffix.to_owned(), seen: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Shows one operation to every rule. A one-time rule that wins is used up.
    pub(super) fn judge(&mut self, kind: Kind, path: &Path, chance: &mut Generator) -> Verdict {
        let mut verdict = Verdict::default();
        self.0.retain_mut(|rule| {
            if !rule.hits(kind, path, chance) {
                return true;
            }
            match rule.fault {
                Fault::SyncSlow(time) => {
                    verdict.slow = Some(verdict.slow.unwrap_or_default() + time);
                }
                // An older rule has won; a one-time rule tries again at the next operation.
                _ if verdict.fault.is_some() => return true,
                fault => verdict.fault = Some(fault),
            }
            matches!(rule.when, When::PerMillion(_))
        });
        verdict
    }
}
