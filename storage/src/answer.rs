//! What the store answers.
//!
//! Invariant: an answer is a copy; holding one holds nothing in the store.
//!
//! Not here: rendering (the doors).

use std::collections::BTreeMap;

use types::{
    AgentId, FeedHead, Hlc, Kind, Link, LinkId, MemoryId, Metadata, Namespace, NodeId, OpId,
    Reject, Scope, Tag, Tier, VersionVector, memory::Validity,
};

/// A memory as a reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryView {
    /// Its id.
    pub id: MemoryId,
    /// Where it belongs.
    pub namespace: Namespace,
    /// What it is about.
    pub title: String,
    /// The memory itself.
    pub content: String,
    /// SHA-256 of the content.
    pub content_sha256: [u8; 32],
    /// How long it lives by default.
    pub tier: Tier,
    /// Labels, sorted.
    pub tags: Vec<Tag>,
    /// 1 to 10.
    pub priority: u8,
    /// 0 to 1000.
    pub confidence_permille: u16,
    /// Where it came from.
    pub source: String,
    /// What it is.
    pub kind: Kind,
    /// Who may see it.
    pub scope: Scope,
    /// Who wrote it first.
    pub author: AgentId,
    /// Free-form facts.
    pub metadata: Metadata,
    /// Edits so far.
    pub version: u64,
    /// Recalls that returned it.
    pub access_count: u64,
    /// Created, Unix milliseconds.
    pub created_at_ms: u64,
    /// Last edit, Unix milliseconds.
    pub updated_at_ms: u64,
    /// Last recall that returned it, Unix milliseconds; 0 when never.
    pub last_accessed_at_ms: u64,
    /// Expiry, Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// When it is true.
    pub validity: Validity,
    /// Exempt from deletion.
    pub legal_hold: bool,
    /// Kinds of personal data in it.
    pub pii_flags: Vec<Tag>,
    /// Fence of its last guarded write; 0 without one.
    pub fence: u64,
    /// Stamp of the last edit.
    pub hlc: Hlc,
    /// The last operation of every origin that touched it.
    pub vector: VersionVector,
    /// Depth of a reflection; 0 otherwise.
    pub reflection_depth: u8,
    /// Sources of a reflection.
    pub sources: Vec<MemoryId>,
    /// Version of a persona; 0 otherwise.
    pub persona_version: u32,
    /// Why it is archived; `None` when it is live.
    pub archived_reason: Option<String>,
    /// Change position of its last change on this node.
    pub position: u64,
    /// Ids of the other records with the same title by the same author that are shown as this one; ascending.
    pub other_ids: Vec<MemoryId>,
}

/// Several live records that are shown as one memory, because nodes that had not heard of each other made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The id under which they are shown.
    pub id: MemoryId,
    /// Where they belong.
    pub namespace: Namespace,
    /// What they are about.
    pub title: String,
    /// Who wrote them.
    pub author: AgentId,
    /// All of them, in order of id.
    pub records: Vec<ConflictRecord>,
    /// Names of the fields in which they differ, in order.
    pub differs: Vec<String>,
}

/// One of the records of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictRecord {
    /// Its id.
    pub id: MemoryId,
    /// The node that made it.
    pub origin: NodeId,
    /// Created, Unix milliseconds.
    pub created_at_ms: u64,
    /// Last edit, Unix milliseconds.
    pub updated_at_ms: u64,
    /// Edits so far.
    pub version: u64,
    /// Nodes that changed it or made it, in order.
    pub changed_by: Vec<NodeId>,
}

/// One page and where the next begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Pass as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// What became of one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A memory was created or changed.
    Memory {
        /// Which.
        id: MemoryId,
        /// Its version now.
        version: u64,
        /// Whether a store was folded into an existing memory.
        merged: bool,
    },
    /// A link was made, changed or removed.
    Link {
        /// Which.
        id: LinkId,
    },
    /// Something else changed (an agent, an access count).
    Other,
    /// What could be was forgotten.
    Forgot(crate::state::Forgot),
    /// Nothing: the operation was covered already.
    Known,
    /// Nothing: the operation is covered by state of which something was hidden, and may not be here.
    Passed,
    /// Nothing: the operation cannot be applied here, but its feed is covered beyond it.
    Refused(types::Reject),
}

/// What is told of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// All of it.
    Whole {
        /// As its origin made it.
        bytes: Vec<u8>,
        /// Namespace of the memory that it changes, when it changes exactly one.
        namespace: Option<types::Namespace>,
    },
    /// Its hash: it is not kept here.
    Hash([u8; 32]),
}

/// One operation of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedItem {
    /// Its name.
    pub id: types::OpId,
    /// What is told of it.
    pub said: Said,
}

/// What an asker lacks, or the first part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Operations, in an order in which they can be applied.
    pub items: Vec<FeedItem>,
    /// What proves them, one for each feed of which there are any.
    pub proofs: Vec<Proof>,
    /// Whether there is more.
    pub more: bool,
    /// Whether something that the asker lacks is not kept any more: it needs the state.
    pub is_cut: bool,
}

/// What leads from the last operation that is told of a feed to a head that its origin has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The head.
    pub head: FeedHead,
    /// The origin's signature; `None` where the origin is this node, which can sign now.
    pub signature: Option<[u8; 64]>,
    /// Hashes of the operations between the last one told and the head, which are not told yet.
    pub tail: Vec<[u8; 32]>,
}

/// Operations that a write has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Under which name of this node.
    pub origin: NodeId,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// The acknowledged result of a write. Sent only after the fsync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteReceipt {
    /// One per intent, in order.
    pub results: Vec<Result<Applied, Reject>>,
    /// Change position that contains the write.
    pub position: u64,
    /// The operations that it made, if any.
    pub operations: Option<Made>,
    /// Whether this is the remembered answer of an earlier request with the same key.
    pub replayed: bool,
    /// The note that came with the request that was done; empty without a key.
    pub note: Vec<u8>,
}

/// One candidate of a recall, with what each signal says.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The memory.
    pub memory: MemoryView,
    /// BM25 score, if the words found it. Scale is the index's own.
    pub lexical: Option<f32>,
    /// Cosine similarity, if the vector found it, −1 to 1.
    pub dense: Option<f32>,
    /// Contribution of each query term, when asked for.
    pub terms: Vec<(String, f32)>,
}

/// The candidates of a recall and how they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// Union of both signals, in order of memory id.
    pub items: Vec<Candidate>,
    /// Rows that passed the filter; a database stops counting where the plan no longer depends on it.
    pub eligible: u64,
    /// How the vectors were searched, e.g. `exact`, `sign_bits`, `hnsw`, `none`.
    pub vector_plan: String,
    /// Change position the indexes had reached.
    pub position: u64,
    /// Whether an index is being rebuilt and the answer may be incomplete.
    pub rebuilding: bool,
}

/// What a link looks like to a reader who may see both ends.
pub type LinkView = Link;

/// Memories and links around a start.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Memories in order of distance from the start, then id, with that distance.
    pub nodes: Vec<(u32, MemoryView)>,
    /// Links among them, in order of id.
    pub links: Vec<LinkView>,
    /// Whether the node limit cut the walk short.
    pub truncated: bool,
}

/// One way from a memory to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Memories from one end to the other.
    pub nodes: Vec<MemoryId>,
    /// Links between them, one fewer.
    pub links: Vec<LinkId>,
}

/// A change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place in this node's change stream.
    pub position: u64,
    /// The operation.
    pub op: OpId,
    /// When, by the operation's stamp.
    pub hlc: Hlc,
    /// Who.
    pub agent: AgentId,
    /// What, e.g. `memory.store`.
    pub event_type: String,
    /// The memory it concerns, as it is now; `None` after a deletion or for other changes.
    pub memory: Option<MemoryView>,
    /// Id of that memory.
    pub memory_id: Option<MemoryId>,
}

/// A namespace and what is in it that the reader may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Which.
    pub namespace: Namespace,
    /// Live memories.
    pub memories: u64,
}

/// Use of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Memories stored this UTC day.
    pub memories_today: u64,
    /// Bytes of title and content kept.
    pub bytes_total: u64,
    /// Links made this UTC day.
    pub links_today: u64,
    /// When the day's counts start again, Unix milliseconds.
    pub resets_at_ms: u64,
}

/// What checking the audit chain found (requirement E2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// Rows looked at.
    pub rows_checked: u64,
    /// First row whose `prev_hash`, sequence or payload does not fit, with the reason.
    pub chain_break: Option<(i64, String)>,
    /// Rows whose signature does not verify.
    pub signature_failures: Vec<i64>,
    /// Sequence of the last row.
    pub head_sequence: i64,
    /// Chain hash of the last row.
    pub head_hash: [u8; 32],
}

/// A row of the audit chain, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, from 1.
    pub sequence: i64,
    /// The operation's name, or the event's.
    pub id: String,
    /// Who caused it.
    pub agent: String,
    /// What happened.
    pub event_type: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// What an event says that is no operation, as it was told.
    pub payload: Option<Vec<u8>>,
}

impl ChainReport {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.chain_break.is_none() && self.signature_failures.is_empty()
    }
}

/// Upper bounds of the counts in [`StoreStats::commits`], microseconds.
pub const COMMIT_BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// What the store knows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    /// Live memories.
    pub memories: u64,
    /// Archived memories.
    pub archived: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Links.
    pub links: u64,
    /// Operations in the log.
    pub operations: u64,
    /// Operations that are covered and not kept: hidden from this node, or refused by it.
    pub unheld: u64,
    /// Nonces of peers that are remembered.
    pub nonces: u64,
    /// Answers that are remembered for retries.
    pub answers: u64,
    /// Audit rows.
    pub events: u64,
    /// Change position of the last commit.
    pub position: u64,
    /// Change position the indexes have reached.
    pub index_position: u64,
    /// Whether an index is being rebuilt.
    pub index_rebuilding: bool,
    /// Memories with a vector in the current space.
    pub vectors: u64,
    /// Memories waiting for one.
    pub vectors_pending: u64,
    /// Texts that got no vector and are not tried again by themselves.
    pub vectors_dead: u64,
    /// Bytes of the database file.
    pub database_bytes: u64,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// Writes waiting for the writer.
    pub write_queue: u64,
    /// Group commits so far by how long they took, fsync included: one count for each of
    /// [`COMMIT_BOUNDS_MICROS`], of those that took at most so long and longer than the bound
    /// before, and one for those that took longer than the last.
    pub commits: [u64; COMMIT_BOUNDS_MICROS.len() + 1],
    /// Time spent in them, microseconds.
    pub commit_micros: u64,
    /// Further figures by name, for `doctor` and metrics.
    pub extra: BTreeMap<String, u64>,
}

/// A problem that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check, e.g. `integrity`.
    pub check: &'static str,
    /// What is wrong, naming the row or file, and the fix.
    pub problem: String,
}

/// A memory whose text waits to be embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingVector {
    /// Which memory.
    pub id: MemoryId,
    /// Title and content, as they are embedded.
    pub text: String,
    /// SHA-256 of that text.
    pub text_sha256: [u8; 32],
}

/// A text that got no vector and is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadText {
    /// Which memory; its words still find it.
    pub id: MemoryId,
    /// Why.
    pub problem: String,
}
