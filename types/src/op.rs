//! Operations: the only way state changes, and the unit that travels.
//!
//! Invariants: `OP-1` every mutation is one of [`Payload`]; `OP-2` operations of one origin carry
//! consecutive sequence numbers and growing HLC stamps; `OP-3` an operation's bytes
//! ([`crate::codec`]) are made once by its origin and never re-encoded.
//!
//! Not here: what decides whether a request becomes an operation (the node's service and the
//! store's preconditions).

use std::collections::BTreeSet;

use crate::{
    AgentId, AgentRecord, Hlc, Invalid, LinkId, MemoryId, NewMemory, OpId, Patch, Stamp, Tier,
    VersionVector,
    limits::{ALIAS_BYTES_MAX, REASON_BYTES_MAX},
    link::NewLink,
    memory::Validity,
    tags::Dot,
};

/// One change, made by one agent on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its name.
    pub id: OpId,
    /// When.
    pub hlc: Hlc,
    /// Who asked for it.
    pub author: AgentId,
    /// Fencing token it was made under; 0 without one.
    pub fence: u64,
    /// Operations of other origins that its author's node had applied.
    pub context: VersionVector,
    /// What changes.
    pub payload: Payload,
}

impl Op {
    /// Its place in the order of all writes.
    pub fn stamp(&self) -> Stamp {
        Stamp { fence: self.fence, hlc: self.hlc, origin: self.id.origin }
    }
}

/// A partial change with the tag additions that its removals have seen.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateBody {
    /// Which memory.
    pub id: MemoryId,
    /// Fields to set.
    pub patch: Patch,
    /// Dots of the tags in `patch.remove_tags`, as the origin saw them.
    pub removed_dots: Vec<Dot>,
}

/// Recalls of one memory since the last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accessed {
    /// Which memory.
    pub id: MemoryId,
    /// How often.
    pub count: u32,
    /// Last time, Unix milliseconds.
    pub at_ms: u64,
}

/// What an operation changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Creates a memory.
    Store(Box<NewMemory>),
    /// Changes fields of a memory.
    Update(Box<UpdateBody>),
    /// Changes the tier and the expiry that goes with it.
    Promote {
        /// Which memory.
        id: MemoryId,
        /// New tier.
        tier: Tier,
        /// Whether repeated access asked for it; then it never lowers the tier.
        automatic: bool,
        /// Expiry under the new tier, Unix milliseconds.
        expires_at_ms: Option<u64>,
    },
    /// Deletes for good: leaves a tombstone.
    Delete {
        /// Which memory.
        id: MemoryId,
        /// Why; may be empty.
        reason: String,
    },
    /// Moves a memory into the archive.
    Archive {
        /// Which memory.
        id: MemoryId,
        /// Why.
        reason: String,
    },
    /// Takes a memory back from the archive.
    Restore {
        /// Which memory.
        id: MemoryId,
    },
    /// Reports recalls; names each memory once.
    Access(Vec<Accessed>),
    /// Links two memories.
    Link(NewLink),
    /// Removes a link for good.
    Unlink {
        /// Which link.
        id: LinkId,
    },
    /// Changes when a link holds.
    LinkValidity {
        /// Which link.
        id: LinkId,
        /// New span.
        validity: Validity,
    },
    /// Gives an entity another name, or takes it away.
    Alias {
        /// The entity.
        id: MemoryId,
        /// The other name.
        alias: String,
        /// Whether it is taken away.
        remove: bool,
    },
    /// Registers, changes or revokes an agent.
    Agent(Box<AgentRecord>),
}

impl Payload {
    /// The `event_type` of its audit row.
    pub fn event_type(&self) -> &'static str {
        match self {
            Payload::Store(_) => "memory.store",
            Payload::Update(_) => "memory.update",
            Payload::Promote { .. } => "memory.promote",
            Payload::Delete { .. } => "memory.delete",
            Payload::Archive { .. } => "memory.archive",
            Payload::Restore { .. } => "memory.restore",
            Payload::Access(_) => "memory.access",
            Payload::Link(_) => "link.create",
            Payload::Unlink { .. } => "link.delete",
            Payload::LinkValidity { .. } => "link.validity",
            Payload::Alias { .. } => "entity.alias",
            Payload::Agent(_) => "agent.change",
        }
    }

    /// Checks what its parts' own types cannot. An origin checks before it makes an operation, and
    /// every reader of operations checks again.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Payload::Store(new) => new.check(),
            Payload::Update(body) => body.patch.check(),
            Payload::Delete { reason, .. } | Payload::Archive { reason, .. } => {
                check_text("reason", reason, 0, REASON_BYTES_MAX)
            }
            Payload::Alias { alias, .. } => check_text("alias", alias, 1, ALIAS_BYTES_MAX),
            Payload::Access(accessed) => {
                let ids: BTreeSet<MemoryId> = accessed.iter().map(|entry| entry.id).collect();
                if ids.len() == accessed.len() {
                    return Ok(());
                }
                Err(Invalid::new("accessed", "names a memory twice; add the counts up"))
            }
            Payload::Link(link) => link.check(),
            Payload::LinkValidity { validity, .. } => validity.check(),
            Payload::Promote { .. }
            | Payload::Restore { .. }
            | Payload::Unlink { .. }
            | Payload::Agent(_) => Ok(()),
        }
    }

    /// The memory it changes, when it changes exactly one.
    pub fn memory(&self) -> Option<MemoryId> {
        match self {
            Payload::Store(new) => Some(new.id),
            Payload::Update(body) => Some(body.id),
            Payload::Promote { id, .. }
            | Payload::Delete { id, .. }
            | Payload::Archive { id, .. }
            | Payload::Restore { id }
            | Payload::Alias { id, .. } => Some(*id),
            _ => None,
        }
    }
}

fn check_text(
    field: &'static str,
    text: &str,
    min_bytes: usize,
    max_bytes: usize,
) -> Result<(), Invalid> {
    if (min_bytes..=max_bytes).contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    Err(Invalid::new(field, format!("needs {min_bytes} to {max_bytes} bytes without NUL")))
}
