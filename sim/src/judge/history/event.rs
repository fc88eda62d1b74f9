//! The events of a history: what clients asked and learned, what nodes did as seen from outside,
//! what was done to them.
//!
//! Invariants: `HIS-1` an operation is Done, Rejected or Unknown, and Unknown stays so for ever; every
//! event carries the observer's one clock, never a node's.
//!
//! Not here: how events are recorded (the worlds do that) and what they mean (the judges).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Seen;

fn is_false(value: &bool) -> bool {
    !value
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The observer's clock, microseconds since the run began.
    pub at_us: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// A client asks.
    Invoke(Invoke),
    /// A client's question ends: it was answered, or the client gave up.
    Complete {
        /// Which operation.
        op: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A waiting acquire was told, or was seen from outside, to have taken its place in the queue.
    Queued {
        /// The acquire.
        op: u64,
        /// Log index of the entry that queued it.
        index: u64,
    },
    /// A session was seen to expire.
    Expired {
        /// Which session.
        session: u64,
        /// Log index of the entry in which it expired.
        index: u64,
        /// The node that showed it.
        node: String,
    },
    /// A step of the consensus protocol.
    Raft {
        /// The node that took it.
        node: String,
        /// The step.
        step: RaftStep,
    },
    /// A fault begins.
    Fault {
        /// Its number in this run.
        fault: u64,
        /// Its kind, as the catalogue calls it.
        kind: String,
        /// Nodes that it hits.
        at: Vec<String>,
    },
    /// A fault ends.
    FaultOver {
        /// Its number in this run.
        fault: u64,
    },
    /// The last fault is over and none will follow: from here on the liveness bounds count.
    Healed,
    /// A node starts or stops.
    Node {
        /// Which.
        node: String,
        /// Whether it runs from now on.
        up: bool,
    },
    /// A node is lost for good, with everything on its disk: on purpose, and not to come back.
    Lost {
        /// Which.
        node: String,
    },
    /// A node was put back to an older copy of its disk, on purpose: what came after that is gone there.
    SetBack {
        /// Which.
        node: String,
    },
    /// The size of something that must stay bounded.
    Sample {
        /// Where.
        node: String,
        /// What, for example `dedup` or `queue:k`.
        table: String,
        /// Its size, rows or entries.
        size: u64,
        /// Size it may never exceed, if there is such a limit.
        limit: Option<u64>,
        /// Size to which it must have returned in the end.
        floor: u64,
        /// From when on it must not be larger from hour to hour, microseconds of the observer's clock; `None` where
        /// nobody promises that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steady_us: Option<u64>,
    },
    /// A node's audit chain was scanned.
    Chain(ChainScan),
    /// Everything that a node shows of its memories, at the end.
    Memories {
        /// Which node.
        node: String,
        /// In order of their ids.
        memories: Vec<Seen>,
    },
    /// On whose disks an acknowledged memory was found, soon after it was acknowledged.
    Copies {
        /// The operation that stored it.
        op: u64,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// All peers showed the same to who may see it, for the first time after the last fault.
    Converged,
    /// Text that is in every memory of a namespace was found at a node.
    Trace {
        /// Which node.
        node: String,
        /// Which namespace.
        namespace: String,
        /// Where: a file, or the answer to an operation.
        place: String,
    },
    /// The recording is complete.
    End,
}

/// A client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// Number of the operation from 1, unique in the run. A retry is an operation of its own.
    pub op: u64,
    /// Who asks.
    pub client: String,
    /// Which node is asked.
    pub node: String,
    /// The session and sequence under which it may happen once; retries repeat it.
    pub request: Option<Request>,
    /// What is asked.
    pub call: Call,
}

/// Identity of a request across its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The session.
    pub session: u64,
    /// Number within the session.
    pub seq: u64,
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Beside others that share.
    Shared,
    /// Some permits of a semaphore.
    Permits {
        /// How many.
        take: u32,
        /// Of how many.
        of: u32,
    },
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields repeat the words of the protocol")]
pub enum Call {
    /// Writes a register; `None` deletes.
    Put { key: String, value: Option<String> },
    /// Reads a register.
    Get { key: String },
    /// Writes `to` if the register holds `from`.
    Cas { key: String, from: Option<String>, to: Option<String> },
    /// Puts an element into a set.
    Add { key: String, element: String },
    /// Takes an element out of a set.
    Remove { key: String, element: String },
    /// Reads a set.
    Elements { key: String },
    /// Opens a session that lives `ttl_ms` without a sign of life.
    OpenSession { ttl_ms: u64 },
    /// Shows a sign of life.
    KeepAlive { session: u64 },
    /// Ends a session and frees what it holds.
    CloseSession { session: u64 },
    /// Asks for all of these locks at once; waits when `wait_ms` is given.
    Acquire { session: u64, keys: Vec<String>, mode: Mode, wait_ms: Option<u64> },
    /// Gives back locks granted under `fence`.
    Release { session: u64, keys: Vec<String>, fence: u64 },
    /// An operator takes a lock away from whoever holds it under `fence`.
    ForceRelease { key: String, fence: u64 },
    /// Writes a hot key in one store under a fencing token.
    GuardedWrite { store: String, key: String, fence: u64, value: String },
    /// Reads a hot key in one store.
    GuardedRead { store: String, key: String },
    /// Replaces the rule set.
    SetRules { rules: String },
    /// Asks which rules hold.
    GetRules,
    /// Proposes an action that others must decide.
    Propose { agent: String, action: String },
    /// Approves an action.
    Approve { agent: String, action: u64 },
    /// Rejects an action.
    Reject { agent: String, action: u64 },
    /// Asks what became of an action.
    Observe { agent: String, action: u64 },
    /// Stores a memory with these fields (see [`Seen::fields`]): one of its own, or together with what the agent has
    /// under this title there.
    Store {
        agent: String,
        namespace: String,
        title: String,
        fields: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "is_false")]
        together: bool,
    },
    /// Reads a memory.
    Read { id: String },
    /// Reads a memory as a quorum has it.
    ReadQuorum { id: String },
    /// Changes a field of a memory; `None` takes a tag away.
    Change { id: String, field: String, value: Option<String> },
    /// Deletes a memory.
    Delete { id: String },
    /// Links two memories.
    Link { source: String, target: String },
    /// Removes a link.
    Unlink { link: String },
}

/// How an operation ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It happened.
    Done(Done),
    /// It did not happen and will not.
    Rejected {
        /// Stable reason code.
        reason: String,
        /// Log index at which it was refused, when it had been through the log.
        index: Option<u64>,
        /// The decision that an operator was told along with the refusal.
        decision: Option<Decision>,
    },
    /// It may have happened, or may yet, or never.
    Unknown {
        /// What is known.
        detail: String,
    },
}

/// It happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// What the client was told.
    pub answer: Answer,
    /// Log index at which it took effect; for a read, the applied index it was served at; for a
    /// lock, the index of the grant.
    pub index: Option<u64>,
    /// The audit row that must exist because of it.
    pub evidence: Option<Evidence>,
}

/// The audit row of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Whose chain has it.
    pub node: String,
    /// Identity of the change.
    pub change: String,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields repeat the words of the protocol")]
pub enum Answer {
    /// It is written, added, removed, closed or noted.
    Ok,
    /// What the register holds.
    Value { value: Option<String> },
    /// Whether the register was replaced, and what it held before.
    Swapped { swapped: bool, seen: Option<String> },
    /// What the set holds, each element as often as the answer had it.
    Elements { elements: Vec<String> },
    /// The new session.
    Session { session: u64 },
    /// The locks are held under this fencing token.
    Granted { fence: u64 },
    /// Whether the lock had been held under that token.
    Released { held: bool },
    /// What the store holds for the hot key and under which token.
    Guarded { value: Option<String>, fence: u64 },
    /// The version of the rules.
    Rules { version: u64 },
    /// The action's number and how many approvals it needs.
    Proposed { action: u64, needed: u32 },
    /// Not decided yet.
    Pending { approvals: u32 },
    /// Decided.
    Decided { decision: Decision },
    /// The memory, how many nodes have it, and whether it had been there before.
    Stored {
        id: String,
        acks: u64,
        #[serde(default, skip_serializing_if = "is_false")]
        merged: bool,
    },
    /// The memory, or that there is none.
    Memory { seen: Option<Seen> },
    /// The new link.
    Linked { link: String },
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Approved, rejected or expired.
    pub ruling: Ruling,
    /// Log index of the decision.
    pub index: u64,
}

/// Approved, rejected or expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Enough approvers agreed.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

/// A step of the consensus protocol, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "`index` and `term` are those of the log entry throughout")]
pub enum RaftStep {
    /// It leads this term.
    Leader { term: u64 },
    /// Its vote of this term is given.
    Voted { term: u64, candidate: String },
    /// An entry joined its log; `hash` covers the entry's payload.
    Appended { index: u64, term: u64, hash: String },
    /// Its log lost everything from here on.
    Truncated { from: u64 },
    /// Its log is on stable storage up to here.
    Durable { index: u64 },
    /// It learned, from the leader of `by_term`, that everything up to here is committed.
    Committed { index: u64, by_term: u64 },
    /// It applied an entry; `state` is the hash of the state machine afterwards, empty where nobody
    /// looked. `request` is the
    /// identity the entry carries, `executed` whether it was executed rather than recognised.
    Applied { index: u64, term: u64, state: String, request: Option<Request>, executed: bool },
    /// It replaced its state and its log up to here by a snapshot of the state with this hash.
    Snapshot { index: u64, term: u64, state: String },
    /// Its log now begins after this index, because a durable snapshot covers the rest.
    Purged { upto: u64 },
    /// It follows this membership from the entry at `index` on; two sets of voters while joint.
    Membership { index: u64, voters: Vec<Vec<String>> },
    /// It is back and found this on its disk: the last entry, its term and the greatest term voted in.
    Recovered { last: u64, last_term: u64, vote_term: u64 },
}

/// The result of scanning a node's audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainScan {
    /// Whose chain.
    pub node: String,
    /// How often the node was deliberately set back to a backup; a chain is judged within one epoch.
    pub epoch: u64,
    /// Whether every row verifies: hash, link and signature.
    pub holds: bool,
    /// Number of rows.
    pub rows: u64,
    /// Hashes at some sequence numbers, the head among them.
    pub marks: Vec<ChainMark>,
    /// Changes that have a row; `None` when the scan did not list them.
    pub changes: Option<Vec<String>>,
}

/// The hash of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainMark {
    /// Which row, counted from 1.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}
