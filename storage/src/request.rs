//! What the store can be asked.
//!
//! Invariants: every read names its [`Reader`], and there is no default; every write is one
//! [`WriteRequest`], so preconditions, idempotency, quota, operation, audit row and index change are
//! decided in one place.
//!
//! Not here: parsing (the doors) and authorisation beyond visibility (the node's service).

use std::collections::BTreeSet;

use types::{
    AgentId, AgentRecord, Audience, DeadLetter, Kind, LinkId, MemoryId, Namespace, NewMemory,
    NodeId, Patch, Reject, Relation, SignedHead, Tag, Tier, audit::AttestLevel, ids::IdRef,
    link::NewLink, memory::Validity,
};

use crate::state::{CoveredFeed, Forget, Item, ItemKey};

/// Who is asking, with everything that decides what it may see and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The agent.
    pub agent: AgentId,
    /// Every audience it is part of.
    pub audiences: Vec<Audience>,
    /// How it was established.
    pub attest: AttestLevel,
    /// Whether it may change what others wrote, and see what others keep private, when it asks to.
    pub operator: bool,
}

/// Through whose eyes a read happens.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// Rows whose audience is one of the viewer's.
    Agent(&'a Viewer),
    /// Every row: backup, export by the operator, repair. Never built from a request by itself.
    Operator,
}

/// A key under which a write is done at most once in 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key; unique per agent.
    pub key: String,
    /// SHA-256 of the canonical request body.
    pub body_sha256: [u8; 32],
    /// What the caller needs besides the results to give the same answer again; kept as it is.
    pub note: Vec<u8>,
}

/// What to do when the author already has a live memory with this namespace, title and scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Fold the new one into it: newest content, union of tags, greater tier and priority.
    #[default]
    Merge,
    /// Keep both.
    New,
    /// Refuse with `already_exists` and the id.
    Error,
}

/// One wish. The store turns it into an operation if its preconditions hold.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Create a memory, or fold it into the author's own of the same title.
    Store {
        /// The memory. `reflection_depth` is computed by the store from `sources`.
        memory: Box<NewMemory>,
        /// What to do when the title exists.
        on_conflict: OnConflict,
    },
    /// Change fields.
    Update {
        /// Which memory.
        id: IdRef,
        /// What to set.
        patch: Box<Patch>,
        /// Refuse unless this is the current version.
        expected_version: Option<u64>,
    },
    /// Change the tier and the expiry that goes with it.
    Promote {
        /// Which memory.
        id: IdRef,
        /// New tier.
        tier: Tier,
        /// Expiry under it, Unix milliseconds.
        expires_at_ms: Option<u64>,
        /// Whether repeated access asked for it.
        automatic: bool,
        /// Refuse unless this is the current version.
        expected_version: Option<u64>,
    },
    /// Delete for good.
    Delete {
        /// Which memory, live or archived.
        id: IdRef,
        /// Why; may be empty.
        reason: String,
        /// Refuse unless this is the current version.
        expected_version: Option<u64>,
    },
    /// Move into the archive.
    Archive {
        /// Which memory.
        id: IdRef,
        /// Why.
        reason: String,
    },
    /// Take back from the archive.
    Restore {
        /// Which memory.
        id: IdRef,
    },
    /// Count recalls.
    Access(Vec<types::op::Accessed>),
    /// Link two memories. `supersedes` also closes the target's validity.
    Link(NewLink),
    /// Remove a link.
    Unlink {
        /// Which link.
        id: LinkId,
    },
    /// Change when a link holds.
    LinkValidity {
        /// Which link.
        id: LinkId,
        /// New span.
        validity: Validity,
    },
    /// Give an entity another name, or take it away.
    Alias {
        /// The entity.
        id: IdRef,
        /// The other name.
        alias: String,
        /// Whether it is taken away.
        remove: bool,
    },
    /// Register, change or revoke an agent.
    Agent(Box<AgentRecord>),
    /// Do this unless one of these keys was written under a greater fence, whatever has them; from then
    /// on they are guarded by the request's own. Operators pass.
    Guarded {
        /// The keys; opaque here.
        keys: Vec<String>,
        /// What to do.
        intent: Box<Intent>,
    },
    /// Keep what was decided elsewhere as an audit row, once for each name.
    Event(Box<Event>),
    /// Note that every event of a log up to here is kept; never goes back. In a request with the last of
    /// those events, so that both are kept or neither.
    Covered {
        /// Which log.
        log: String,
        /// Index of the last entry whose events are kept.
        through: u64,
    },
    /// Take an operation of another node, admitted before.
    Take(Box<Incoming>),
    /// Go past an operation that is hidden from this node.
    Pass(Passed),
    /// Keep what another node has signed of its feed, so that others can be shown that it is all there.
    Vouch(SignedHead),
    /// Keep what a peer has refused, in place of an older word of it on the same operation.
    KeepLetter {
        /// Who refused.
        peer: NodeId,
        /// What, and why.
        letter: Box<DeadLetter>,
    },
    /// Keep it no longer.
    DropLetter {
        /// Who refused.
        peer: NodeId,
        /// Which operation of this node.
        id: types::OpId,
    },
    /// Refuse with [`types::Reason::NonceReplay`] if this came before; remember it until then.
    Nonce {
        /// Who used it.
        peer: NodeId,
        /// Never used twice by that peer.
        nonce: [u8; 16],
        /// When it may be forgotten: messages of this age are refused for their age. Unix milliseconds.
        until_ms: u64,
    },
    /// Join an item as another store holds it. In a request with an event that says from whom it came.
    Join(Box<Item>),
    /// Drop an item of which another store has seen everything, and does not hold it.
    Drop(ItemKey),
    /// Cover a feed up to here: everything before was taken as state.
    CoverFeed(CoveredFeed),
    /// Speak under this name from now on. A store that was opened mute makes operations only from then on.
    SpeakAs(Life),
    /// Forget what every member has seen.
    Forget(Box<Forget>),
    /// Refuse, unless the answer to this request is remembered: for an atomic request that can no
    /// longer be worked out, because doing it the first time changed what it starts from.
    Refuse(Box<Reject>),
}

/// Under which name a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The name: the one that the store speaks under, or one that nobody has used.
    pub origin: types::NodeId,
    /// With another name: the node's word for all that it has said under the last one, so that others can be shown that
    /// it is whole. `None` if it has said nothing.
    pub word: Option<SignedHead>,
}

/// An operation of another node.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What it says.
    pub op: types::Op,
    /// As its origin made it.
    pub bytes: Vec<u8>,
}

/// An operation that this node may not see, or does not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its name.
    pub id: types::OpId,
    /// Its hash.
    pub hash: [u8; 32],
    /// Why this node does not let it in; `None`: it was hidden from it.
    pub refused: Option<types::Reason>,
    /// What it is about, where it can be read: one memory, or none.
    pub about: Option<Option<MemoryId>>,
}

/// What another node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LackingQuery {
    /// What it covers.
    pub has: types::VersionVector,
    /// Nodes of whose words what is not kept here is not to be waited for: they have left for good, or it is they who ask or answer.
    pub lost: std::collections::BTreeSet<types::NodeId>,
    /// Most operations to tell.
    pub items_max: u32,
    /// Bytes behind which no more is told.
    pub bytes_max: u64,
}

/// Something that happened beside the operations of this store, for its audit chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A name that nothing else has, without which it could be told twice.
    pub name: String,
    /// Who caused it.
    pub agent: AgentId,
    /// What happened, e.g. `lock.force_release`.
    pub event_type: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// More about it, encoded by whoever tells it; its hash is signed.
    pub payload: Vec<u8>,
}

/// A batch of wishes by one viewer, committed in one transaction.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// By whom.
    pub viewer: Viewer,
    /// The node's wall clock when the request was accepted, Unix milliseconds.
    pub now_ms: u64,
    /// Fencing token the caller holds; 0 without one.
    pub fence: u64,
    /// At-most-once key.
    pub idempotency: Option<Idempotency>,
    /// What to do, in order. May be empty only under a key: then "nothing was done" is remembered.
    pub intents: Vec<Intent>,
    /// Whether one refusal refuses all of them.
    pub atomic: bool,
    /// Whether the limits of the agent's quota apply (not for the node's own upkeep).
    pub quota: Option<QuotaLimits>,
    /// Greatest reflection depth allowed here.
    pub reflection_depth_max: u8,
}

/// Limits of one agent in one namespace; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// New memories per UTC day.
    pub memories_per_day: Option<u64>,
    /// Bytes of title and content kept.
    pub bytes_total: Option<u64>,
    /// New links per UTC day.
    pub links_per_day: Option<u64>,
}

/// What a listing or a recall may return, besides what the reader may see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryFilter {
    /// Only these namespaces; `None` is any.
    pub namespaces: Option<NamespaceFilter>,
    /// Only these kinds; empty is any.
    pub kinds: BTreeSet<Kind>,
    /// Only these tiers; empty is any.
    pub tiers: BTreeSet<Tier>,
    /// All of these tags.
    pub tags_all: BTreeSet<Tag>,
    /// At least one of these tags, unless empty.
    pub tags_any: BTreeSet<Tag>,
    /// Only this author.
    pub author: Option<AgentId>,
    /// Created at or after, Unix milliseconds.
    pub created_from_ms: Option<u64>,
    /// Created before, Unix milliseconds.
    pub created_until_ms: Option<u64>,
    /// At least this priority.
    pub priority_min: Option<u8>,
    /// At least this confidence, permille.
    pub confidence_min_permille: Option<u16>,
    /// The instant at which it must be valid; `None` is now.
    pub as_of_ms: Option<u64>,
    /// Whether memories outside their validity are wanted too.
    pub include_invalid: bool,
}

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceFilter {
    /// This one alone.
    Exactly(Namespace),
    /// This one and those above it: what an agent working here should know.
    WithAncestors(Namespace),
    /// This one and those below it.
    Within(Namespace),
}

/// A page of a listing, newest first.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// What may be returned.
    pub filter: MemoryFilter,
    /// Archived instead of live memories.
    pub archived: bool,
    /// Continue after this cursor of an earlier page.
    pub after: Option<String>,
    /// At most so many, 1 to `PAGE_MAX`.
    pub limit: u32,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Candidates for a recall.
#[derive(Clone, Debug)]
pub struct CandidateQuery {
    /// The words; may be empty when there is a vector.
    pub text: String,
    /// The query's vector in the store's space.
    pub vector: Option<Vec<f32>>,
    /// What may be returned.
    pub filter: MemoryFilter,
    /// So many from each signal.
    pub depth: u32,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
    /// Whether term by term contributions are wanted.
    pub explain: bool,
}

/// A walk along links.
#[derive(Clone, Debug)]
pub struct GraphQuery {
    /// Where it starts.
    pub start: IdRef,
    /// How many links deep, 1 to `GRAPH_DEPTH_MAX`.
    pub depth: u32,
    /// Only these relations; empty is any.
    pub relations: BTreeSet<Relation>,
    /// Which way to follow links.
    pub direction: Direction,
    /// The instant at which links must hold; `None` is now.
    pub as_of_ms: Option<u64>,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Which way a link is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From source to target.
    Outgoing,
    /// From target to source.
    Incoming,
    /// Both.
    #[default]
    Both,
}

/// The shortest ways between two memories.
#[derive(Clone, Debug)]
pub struct PathQuery {
    /// One end.
    pub from: IdRef,
    /// The other.
    pub to: IdRef,
    /// Longest path, in links, 1 to `GRAPH_DEPTH_MAX`.
    pub depth: u32,
    /// At most so many paths, 1 to `PATHS_MAX`.
    pub limit: u32,
    /// The instant at which links must hold; `None` is now.
    pub as_of_ms: Option<u64>,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// What happened to a memory or in a namespace, in order of time.
#[derive(Clone, Debug)]
pub struct TimelineQuery {
    /// This memory's history; or, without it, that of the filter's memories.
    pub id: Option<IdRef>,
    /// What may be returned.
    pub filter: MemoryFilter,
    /// From this instant, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Until this instant, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Keys with more than one live record, oldest first.
#[derive(Clone, Debug)]
pub struct ConflictQuery {
    /// Continue behind this one.
    pub after: Option<MemoryId>,
    /// At most so many, 1 to `PAGE_MAX`.
    pub limit: u32,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Memories that say nearly the same as a text.
#[derive(Clone, Debug)]
pub struct DuplicateQuery {
    /// Title of the candidate.
    pub title: String,
    /// Content of the candidate.
    pub content: String,
    /// Where to look.
    pub namespace: Namespace,
    /// Least similarity, permille of shared word shingles (Broder 1997).
    pub similarity_min_permille: u16,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Which memories a pattern names, for `forget`.
#[derive(Clone, Debug)]
pub struct ForgetQuery {
    /// Where.
    pub namespace: NamespaceFilter,
    /// Glob over titles (`*`, `?`); `None` is any.
    pub title_glob: Option<String>,
    /// Only this tier.
    pub tier: Option<Tier>,
    /// At most so many.
    pub limit: u32,
    /// The node's wall clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Vectors computed for memories whose text has this hash; ignored where the text has changed.
#[derive(Clone, Debug)]
pub struct ComputedVector {
    /// Which memory.
    pub id: MemoryId,
    /// SHA-256 of the text that was embedded.
    pub text_sha256: [u8; 32],
    /// The components.
    pub values: Vec<f32>,
}

/// A text that was taken and got no vector; ignored where it has changed since.
#[derive(Clone, Debug)]
pub struct ReturnedText {
    /// Which memory.
    pub id: MemoryId,
    /// SHA-256 of the text.
    pub text_sha256: [u8; 32],
    /// Why.
    pub problem: String,
    /// When to try again, Unix milliseconds; `None`: not by itself.
    pub again_at_ms: Option<u64>,
}
