//! Bounds of the root tier: what a session, a lock, a rule or an action may be at most.
//!
//! Every member of the root keeps this state in memory and sends it whole in a snapshot, so each
//! table has a bound, and the bounds are related by assertions that the compiler checks.
//!
//! Invariant: `LIM-ROOT` no command makes the state larger than these bounds allow; what would is
//! refused with `overloaded` or `too_large`.
//!
//! Not here: bounds of memories and doors (`limits`), and timeouts of the group (`consensus`).

use crate::limits::{AGENT_BYTES_MAX, BODY_BYTES_MAX, REASON_BYTES_MAX};

// Commands.

/// Largest command, in bytes: a policy with all its patterns, or an action's payload, and room.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Largest answer, in bytes: the grant of every key of one request, and room.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Largest snapshot, in bytes: more than all tables at their bounds together.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 31;

// Sessions.

/// Most live sessions: 100 nodes with eighty clients each. Their answers are the largest table.
pub const SESSIONS_MAX: usize = 8 * 1024;
/// Most live sessions of one agent, so that one can't use up the table.
pub const SESSIONS_PER_AGENT_MAX: usize = 1024;
/// Shortest TTL, in milliseconds: three keep-alives must fit, and a leader change.
pub const SESSION_TTL_MS_MIN: u64 = 1_000;
/// Longest TTL, in milliseconds: how long a lock may stay with the dead.
pub const SESSION_TTL_MS_MAX: u64 = 10 * 60 * 1000;
/// Longest lock-delay, in milliseconds.
pub const LOCK_DELAY_MS_MAX: u64 = 60 * 1000;
/// How many ended sessions are remembered, to tell their owners what happened.
pub const SESSIONS_ENDED_KEPT: usize = 4096;
/// How many answers each session keeps for retries: a client that has more requests in flight than
/// this can't retry the oldest.
pub const DEDUP_WINDOW: usize = 16;

// Requests without a session.

/// Longest time a request id can be valid, in milliseconds (24 h, as idempotency keys are).
pub const REQUEST_VALID_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Most remembered requests of one agent.
pub const REQUESTS_PER_AGENT_MAX: usize = 256;
/// Most remembered requests in all.
pub const REQUESTS_MAX: usize = 16 * 1024;

// Locks.

/// Longest lock key, in bytes.
pub const LOCK_KEY_BYTES_MAX: usize = 256;
/// Most keys of one acquire or release.
pub const KEYS_PER_ACQUIRE_MAX: usize = 16;
/// Most keys one session holds.
pub const HOLDS_PER_SESSION_MAX: usize = 1024;
/// Most sessions that hold one key together.
pub const HOLDERS_PER_KEY_MAX: usize = 1024;
/// Most times one session holds one key (reentrant).
pub const REENTRANT_MAX: u32 = 1024;
/// Most waits in the queue of one key.
pub const QUEUE_PER_KEY_MAX: usize = 1024;
/// Most waits of one session at a time.
pub const WAITS_PER_SESSION_MAX: usize = 8;
/// Most keys that are held, waited for or in lock-delay.
pub const LOCKS_MAX: usize = 64 * 1024;
/// Longest wait, in milliseconds.
pub const WAIT_MS_MAX: u64 = 10 * 60 * 1000;
/// Most permits of a semaphore.
pub const CAPACITY_MAX: u32 = 1024;

// Governance.

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// Most patterns in one list.
pub const PATTERNS_MAX: usize = 64;
/// Most namespace policies.
pub const POLICIES_MAX: usize = 4096;
/// Most operator rules: each write is held against all of them.
pub const RULES_MAX: usize = 1024;
/// Longest id of a rule, in bytes.
pub const RULE_ID_BYTES_MAX: usize = 64;
/// Longest retention, in days (a century).
pub const RETENTION_DAYS_MAX: u32 = 36_525;
/// Largest rule set, in bytes, as tiers below receive it.
pub const RULE_SET_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most registered agents, revoked ones included: they are never forgotten.
pub const AGENTS_MAX: usize = 64 * 1024;
/// How many earlier keys of an agent are kept, to verify what they signed.
pub const AGENT_KEYS_KEPT: usize = 16;
/// Most approvals an action can need.
pub const APPROVALS_MAX: u32 = 64;
/// Most requirements of one action: the rules that escalate it.
pub const APPROVERS_MAX: usize = 16;
/// Most undecided actions.
pub const ACTIONS_PENDING_MAX: usize = 1024;
/// Largest payload of an action, in bytes: a description or a hash, not the content itself.
pub const ACTION_PAYLOAD_BYTES_MAX: usize = 8 * 1024;
/// Longest kind of an action, in bytes.
pub const ACTION_KIND_BYTES_MAX: usize = 64;
/// Longest life of an undecided action, in milliseconds (30 days).
pub const ACTION_TTL_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// How many decided actions are kept whole.
pub const ACTIONS_DECIDED_KEPT: usize = 1024;
/// How many decisions are kept as id and outcome, after the whole action is gone.
pub const DECISIONS_KEPT: usize = 64 * 1024;

// Members.

/// Most registered nodes of all tiers.
pub const MEMBERS_MAX: usize = 4096;
/// Most nodes that ever were members: their boot epochs are kept for ever.
pub const BOOT_EPOCHS_MAX: usize = 64 * 1024;
/// Most labels of a node.
pub const LABELS_MAX: usize = 16;
/// Longest name or value of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 256;

const _: () = assert!(COMMAND_BYTES_MAX < BODY_BYTES_MAX && RESPONSE_BYTES_MAX < BODY_BYTES_MAX);
const _: () = assert!(RULE_SET_BYTES_MAX <= SNAPSHOT_BYTES_MAX);
const _: () = assert!(
    KEYS_PER_ACQUIRE_MAX * (LOCK_KEY_BYTES_MAX + 64) + AGENT_BYTES_MAX < COMMAND_BYTES_MAX,
    "an acquire fits one command, and its grant one answer",
);
const _: () = assert!(
    ACTION_PAYLOAD_BYTES_MAX + REASON_BYTES_MAX + 4 * AGENT_BYTES_MAX < COMMAND_BYTES_MAX,
    "a proposal fits one command",
);
const _: () = assert!(
    2 * PATTERNS_MAX * PATTERN_BYTES_MAX + 4 * AGENT_BYTES_MAX < COMMAND_BYTES_MAX,
    "a policy with two full lists of patterns fits one command",
);
const _: () = assert!(
    (APPROVERS_MAX + APPROVALS_MAX as usize) * (AGENT_BYTES_MAX + 16) < RESPONSE_BYTES_MAX,
    "an action's approvals fit one answer",
);
const _: () = assert!(SESSION_TTL_MS_MIN < SESSION_TTL_MS_MAX);
const _: () = assert!(
    LOCK_DELAY_MS_MAX <= SESSION_TTL_MS_MAX,
    "a delay is for a holder that still runs; it can't need longer than its lease",
);
const _: () = assert!(KEYS_PER_ACQUIRE_MAX <= HOLDS_PER_SESSION_MAX);
const _: () = assert!(HOLDS_PER_SESSION_MAX <= LOCKS_MAX && SESSIONS_PER_AGENT_MAX <= SESSIONS_MAX);
const _: () = assert!(CAPACITY_MAX as usize <= HOLDERS_PER_KEY_MAX);
const _: () = assert!(WAITS_PER_SESSION_MAX < DEDUP_WINDOW, "a waiting request can be retried");
const _: () = assert!(REQUESTS_PER_AGENT_MAX <= REQUESTS_MAX);
const _: () = assert!(ACTIONS_DECIDED_KEPT <= DECISIONS_KEPT);
const _: () = assert!(MEMBERS_MAX <= BOOT_EPOCHS_MAX);
/// A granted key, or one that is waited for, at its longest.
const KEY_BYTES: usize = LOCK_KEY_BYTES_MAX + 48;
/// An action at its longest, with its approvals.
const ACTION_BYTES: usize = ACTION_PAYLOAD_BYTES_MAX
    + 4 * REASON_BYTES_MAX
    + (APPROVERS_MAX + APPROVALS_MAX as usize) * 2 * AGENT_BYTES_MAX;
const _: () = assert!(
    SESSIONS_MAX * KEYS_PER_ACQUIRE_MAX * KEY_BYTES * (DEDUP_WINDOW + WAITS_PER_SESSION_MAX)
        + LOCKS_MAX * KEY_BYTES
        + RULE_SET_BYTES_MAX
        + AGENTS_MAX * (REASON_BYTES_MAX + 4 * AGENT_BYTES_MAX + AGENT_KEYS_KEPT * 48)
        + (ACTIONS_PENDING_MAX + ACTIONS_DECIDED_KEPT) * ACTION_BYTES
        + (DECISIONS_KEPT + BOOT_EPOCHS_MAX) * 2 * AGENT_BYTES_MAX
        + MEMBERS_MAX * (ENDPOINT_BYTES_MAX + LABELS_MAX * 2 * (LABEL_BYTES_MAX + 8) + 128)
        + REQUESTS_MAX * (APPROVERS_MAX + APPROVALS_MAX as usize) * (AGENT_BYTES_MAX + 16)
        < SNAPSHOT_BYTES_MAX,
    "all tables at their bounds fit one snapshot",
);
