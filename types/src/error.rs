//! Why something was refused: one list of reasons, the same at every door.
//!
//! Invariants: a [`Reason`] is stable (its code is part of the public API) and each has exactly one
//! row in `wire::errors`, which maps it to gRPC, HTTP and MCP. A [`Reject`] means that nothing was
//! changed.
//!
//! Not here: status numbers (they belong to the doors) and faults of the disk (`storage`).

use std::fmt;

use thiserror::Error;

/// A field that breaks a rule, with the rule and the fix. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Name of the offending field as the caller wrote it, e.g. `title`.
    pub field: &'static str,
    /// What is wrong and what would be right, in one sentence.
    pub problem: String,
}

impl Invalid {
    /// Builds the error for `field`.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),+ $(,)?) => {
        /// Stable cause of a refusal. The code is what `ErrorInfo.reason`, the `reason` of a problem
        /// document and MCP's error data carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $variant),+ }

        impl Reason {
            /// All reasons, in declaration order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The stable machine-readable code, e.g. `version_conflict`.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }

            /// The reason with this code, if there is one.
            pub fn from_code(code: &str) -> Option<Reason> {
                match code { $($code => Some(Reason::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// A field breaks a rule of its type.
    InvalidArgument = "invalid_argument",
    /// The request could not be parsed at all.
    Malformed = "malformed",
    /// The body or a batch exceeds its limit.
    TooLarge = "too_large",
    /// No such memory, link, agent or page, or none that the caller may see.
    NotFound = "not_found",
    /// An id prefix fits more than one memory.
    AmbiguousPrefix = "ambiguous_prefix",
    /// `expected_version` is not the current version.
    VersionConflict = "version_conflict",
    /// The thing exists already and the caller asked for a new one.
    AlreadyExists = "already_exists",
    /// An idempotency key was used before with another body.
    IdempotencyMismatch = "idempotency_mismatch",
    /// The embedding belongs to another model, version or dimension.
    EmbeddingMismatch = "embedding_mismatch",
    /// No credentials, or wrong ones.
    Unauthenticated = "unauthenticated",
    /// A signed message came a second time.
    NonceReplay = "x_memory_nonce_replay",
    /// The caller is known and may not do this.
    Forbidden = "forbidden",
    /// The agent's registration was revoked.
    AgentRevoked = "agent_revoked",
    /// A quota is used up; the error says when it resets.
    QuotaExceeded = "quota_exceeded",
    /// Too many requests are queued; try again later.
    Overloaded = "overloaded",
    /// The record is under legal hold.
    LegalHold = "legal_hold",
    /// The record is in a state that does not allow this, e.g. restoring what is not archived.
    FailedPrecondition = "failed_precondition",
    /// A reflection would exceed the depth cap.
    ReflectionDepth = "reflection_depth_exceeded",
    /// A link or reflection would close a cycle, or a lock request a deadlock.
    Cycle = "cycle",
    /// A hot key was written without a fence, or with one that is too small.
    FenceTooSmall = "fence_too_small",
    /// The fixed time for the answer ran out; the outcome is unknown.
    DeadlineExceeded = "deadline_exceeded",
    /// Too few peers have the write; the outcome is unknown.
    QuorumNotMet = "quorum_not_met",
    /// The request was sent on and its answer never came: it was done, or will be, or never will. The
    /// same request under the same identity (session and number, or idempotency key) finds out.
    OutcomeUnknown = "outcome_unknown",
    /// This member does not lead the root; the facts name who does, if that is known.
    NotLeader = "not_leader",
    /// The position asked for has not been reached here.
    PositionNotReached = "position_not_reached",
    /// The change stream cannot be resumed at that position any more.
    PositionTooOld = "position_too_old",
    /// The disk is full; nothing of the batch was kept.
    StorageFull = "storage_full",
    /// The store's database cannot be reached; nothing was kept.
    StorageUnavailable = "storage_unavailable",
    /// The store failed and the node is stopping; the outcome is unknown.
    StorageFailed = "storage_failed",
    /// A fault of the program itself; the outcome is unknown and the node's log has the details.
    Internal = "internal",
    /// The audit chain does not hold; appends are refused until it is repaired.
    ChainBroken = "chain_broken",
    /// The node is shutting down.
    Stopping = "stopping",
    /// This build or topology does not offer the operation.
    Unimplemented = "unimplemented",
    /// The caller's clock or an operation's time is out of bounds.
    ClockSkew = "clock_skew",
    /// The session has ended: its locks are gone, open another.
    SessionExpired = "session_expired",
    /// The answer to a request this old is not kept any more; whether it was done can be read.
    SequenceTooOld = "sequence_too_old",
    /// Somebody else holds the lock, or it rests after a lost session.
    LockBusy = "lock_busy",
    /// The caller does not hold the lock it wants to give back.
    NotHolder = "not_holder",
    /// A namespace's policy would allow what one above it forbids.
    PolicyConflict = "policy_conflict",
    /// The action has been decided already; the facts say how.
    AlreadyDecided = "already_decided",
    /// The node or the cluster has gone on to a later epoch; this is from before.
    StaleEpoch = "stale_epoch",
    /// The rules ask for an approval first; the facts say whose.
    ApprovalNeeded = "approval_needed",
    /// The node does not know yet which rules hold; nothing that needs them is done.
    RulesUnknown = "rules_unknown",
    /// The node has just started and asks its peers what it had said before; nothing is written until then.
    Starting = "starting",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refusal: nothing was changed, and the caller can act on it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Reject {
    /// Stable cause.
    pub reason: Reason,
    /// One sentence for a person: what, why, and the fix.
    pub detail: String,
    /// Machine-readable extras, e.g. `current_version`, `retry_after_ms`, `field`; sorted by key.
    pub facts: Vec<(&'static str, String)>,
}

impl Reject {
    /// A refusal without extras.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), facts: Vec::new() }
    }

    /// Adds one machine-readable fact.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.facts.push((key, value.to_string()));
        self.facts.sort();
        self
    }

    /// The value of a fact, if present.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }
}

impl From<Invalid> for Reject {
    fn from(invalid: Invalid) -> Self {
        Reject::new(Reason::InvalidArgument, invalid.to_string()).with("field", invalid.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.code()), "{reason} twice");
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(Reason::from_code("no_such_reason"), None);
    }
}
