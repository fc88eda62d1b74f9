//! Locks for hot keys.
//!
//! A key is held in one of three modes, queued for by requests that wait, or rests after its exclusive
//! holder was lost. A request names one key or several and gets all of them in one entry, or none
//! (`LOCK-5`); while it waits it stands in the queue of each, in the place that its log index gives it.
//!
//! **Fair.** A request is granted only at the head of all its queues. So a shared request waits behind
//! an exclusive one even while the holders are shared, and a free key waits for the request ahead
//! that still lacks another key: that is the price for nobody starving. Whoever holds a key already
//! in a mode that covers the new one is not held up by its queue (reentrant).
//!
//! **Reentrant.** Per session: a covered request raises the count and keeps the fence; so many
//! releases give it back. A request for more than is held (shared to exclusive, more permits) is an
//! upgrade: it queues as everyone does, keeps the count, and gets a new fence.
//!
//! **Without deadlock.** A session waits for the holders in its way and for the waiter before it. A
//! request that would close a circle is refused (`LOCK-6`); a session that gives up a hold on which a
//! waiting request of its own counts loses that request, because it would else turn a waiter that
//! waits for it into one that it waits for.
//!
//! Layout: `table` (holders, queues), `grant` (who gets what when), `cycle` (deadlock), `release`,
//! `explain`.
//!
//! Invariants: `LOCK-1` to `LOCK-9` of [`machine`](super).
//!
//! Not here: sessions (`session`) and the enforcement of fences (`storage`).

mod cycle;
mod explain;
mod grant;
mod release;
mod table;

use types::{
    Invalid,
    lock::{Fence, LockKey, Want},
};

pub use explain::{HolderView, LockExplanation, WaiterView};
pub(super) use table::{Hold, Lock, Locks};

/// Asks for all of some keys at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// 1 to [`KEYS_PER_ACQUIRE_MAX`](types::root_limits::KEYS_PER_ACQUIRE_MAX) distinct keys, in any
    /// order.
    pub wants: Vec<Want>,
    /// Until when to wait, in the root's time; `None` tries once. At most
    /// [`WAIT_MS_MAX`](types::root_limits::WAIT_MS_MAX) ahead.
    pub wait_until_ms: Option<u64>,
}

/// Gives back some keys, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What is given back.
    pub locks: Vec<Held>,
}

/// A key, and the grant by which it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which key.
    pub key: LockKey,
    /// The fence of the grant.
    pub fence: Fence,
}

/// Takes a waiting request of the same session out of the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelWait {
    /// The request's place in the session's sequence.
    pub seq: u64,
}

/// Takes a key from its holder, by an operator. Without a delay: the fence keeps the former holder
/// from harming anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// Which key.
    pub key: LockKey,
    /// The fence of the grant that is taken; shared grants of one entry have the same.
    pub fence: Fence,
    /// Why, for the audit chain; 1 to 1024 bytes.
    pub reason: String,
}

/// Why a request left the queues without its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// Its deadline has come.
    TimedOut = 1,
    /// Its client took it back.
    Cancelled = 2,
    /// Its session gave up, or lost, a hold on which it counted.
    HoldLost = 3,
}

impl WaitCause {
    /// The stored number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The cause with this number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that no cause has.
    pub fn from_number(number: u32) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::TimedOut),
            2 => Ok(Self::Cancelled),
            3 => Ok(Self::HoldLost),
            _ => Err(Invalid::new("cause", format!("unknown value {number}"))),
        }
    }

    /// The cause in a few letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::HoldLost => "hold_lost",
        }
    }
}

types::proto_vocabulary!(WaitCause);
types::proto_message!(Acquire { 1 => wants, 2 => wait_until_ms });
types::proto_message!(Held { 1 => key, 2 => fence });
types::proto_message!(Release { 1 => locks });
types::proto_message!(CancelWait { 1 => seq });
types::proto_message!(ForceRelease { 1 => key, 2 => fence, 3 => reason });
