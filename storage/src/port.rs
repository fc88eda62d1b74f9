//! The contract between the node and whatever keeps its memories.
//!
//! Invariants: `STO-1`, `STO-2` (see the crate's documentation); `STO-4` a write that was
//! acknowledged is seen by every later read on this node, recall included; `STO-5` a position never
//! goes back while a store is open, and after a restart it is at least that of the last acknowledged write.
//!
//! Not here: SQL. A backend translates; it does not decide what a request means.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures::future::BoxFuture;
use runtime::span::Traced;
use tokio::sync::watch;
use types::{
    AgentId, AgentRecord, DeadLetter, FeedHead, Link, MemoryId, Namespace, NodeId, OpId,
    VersionVector, ids::IdRef,
};

use crate::{
    answer::{
        AuditRow, Candidates, ChainReport, Change, Conflict, DeadText, FeedItem, Finding, Graph,
        Lacking, MemoryView, NamespaceInfo, Page, Path, PendingVector, QuotaUsage, StoreStats,
        WriteReceipt,
    },
    error::StoreError,
    request::{
        CandidateQuery, ComputedVector, ConflictQuery, DuplicateQuery, ForgetQuery, GraphQuery,
        LackingQuery, ListQuery, PathQuery, Reader, ReturnedText, TimelineQuery, WriteRequest,
    },
    state::{CoveredFeed, Holding, Item, ItemDigest, ItemKey, KeyRange, Visible},
};

/// The result of a store operation, in its own time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Signs audit rows. Called on the writer, so it must not block on a network.
pub trait Signer: Send + Sync {
    /// Ed25519 signature over a 32-byte digest.
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64];
    /// First 8 bytes of SHA-256 of the public key.
    fn key_id(&self) -> [u8; 8];
    /// The public key.
    fn public_key(&self) -> [u8; 32];
}

/// Turns text into a vector by itself: quick, pure, no model. The store uses it at write time and to
/// rebuild; vectors of slower embedders come in through [`WriteStore::put_vectors`].
pub trait Vectorizer: Send + Sync {
    /// Unit vector of `text`; `None` when it has no features.
    fn vector(&self, text: &str) -> Option<Vec<f32>>;
}

/// The space all vectors of a store live in.
#[derive(Clone)]
pub struct EmbeddingSpace {
    /// Name of the model.
    pub model: String,
    /// Version of the model.
    pub version: String,
    /// Number of components.
    pub dimension: u16,
    /// Present when vectors can be computed on the spot.
    pub vectorizer: Option<Arc<dyn Vectorizer>>,
}

/// The half of a store that changes it.
pub trait WriteStore: Send + Sync {
    /// Commits a batch of intents; answers after the fsync.
    fn write(&self, request: WriteRequest) -> Answer<'_, WriteReceipt>;

    /// Keeps computed vectors. They are derived data: no operation, no audit row.
    fn put_vectors(&self, vectors: Vec<ComputedVector>) -> Answer<'_, u64>;

    /// Texts that need a vector and whose turn it is, oldest first, for `lease_ms`: who does not come back with a vector or with
    /// [`WriteStore::return_texts`] by then has given them up. None where vectors are computed on the spot.
    fn take_texts(&self, limit: u32, now_ms: u64, lease_ms: u64) -> Answer<'_, Vec<PendingVector>>;

    /// Puts texts back that were taken; how many were still what they were.
    fn return_texts(&self, texts: Vec<ReturnedText>) -> Answer<'_, u64>;

    /// Gives texts another try that are not tried again by themselves; how many there were.
    fn revive_texts(&self) -> Answer<'_, u64>;

    /// Has every live memory without a vector wait for one, as after another model was chosen; how many did not.
    fn review_texts(&self) -> Answer<'_, u64>;

    /// The position of the last commit, and a signal when it moves.
    fn position(&self) -> watch::Receiver<u64>;

    /// A number, and a signal when registered agents have changed, whoever changed them.
    fn agents_changed(&self) -> watch::Receiver<u64>;

    /// The trace for which the first operation of this node from a number on was made that was made for one, as long
    /// as that is remembered: a while.
    fn traced(&self, first: u64) -> Option<Traced>;

    /// Writes what is worth keeping (index images, a checkpoint) and closes. Later calls are refused.
    fn close(&self) -> Answer<'_, ()>;
}

/// The half of a store that answers questions.
pub trait ReadStore: Send + Sync {
    /// One memory. Archived ones are returned too (`archived_reason`), deleted and expired ones are not.
    fn get<'a>(&'a self, reader: Reader<'a>, id: IdRef, now_ms: u64) -> Answer<'a, MemoryView>;

    /// A page of memories, newest first.
    fn list<'a>(&'a self, reader: Reader<'a>, query: ListQuery) -> Answer<'a, Page<MemoryView>>;

    /// A page of the records that are shown as one, because nodes that had not heard of each other made them.
    fn conflicts<'a>(
        &'a self,
        reader: Reader<'a>,
        query: ConflictQuery,
    ) -> Answer<'a, Page<Conflict>>;

    /// Candidates for a recall, from both indexes, already limited to what the reader may see.
    fn candidates<'a>(
        &'a self,
        reader: Reader<'a>,
        query: CandidateQuery,
    ) -> Answer<'a, Candidates>;

    /// Memories that say nearly the same, most similar first, with their similarity in permille.
    fn duplicates<'a>(
        &'a self,
        reader: Reader<'a>,
        query: DuplicateQuery,
    ) -> Answer<'a, Vec<(u16, MemoryView)>>;

    /// What a `forget` with this pattern would take: only live memories the reader may change.
    fn forgettable<'a>(
        &'a self,
        reader: Reader<'a>,
        query: ForgetQuery,
    ) -> Answer<'a, Vec<MemoryView>>;

    /// Links that start or end at a memory, both ends visible.
    fn links<'a>(&'a self, reader: Reader<'a>, id: MemoryId) -> Answer<'a, Vec<Link>>;

    /// The neighbourhood of a memory. Never walks through what the reader may not see.
    fn graph<'a>(&'a self, reader: Reader<'a>, query: GraphQuery) -> Answer<'a, Graph>;

    /// The shortest paths, shortest first, ties by ids (Yen 1971).
    fn paths<'a>(&'a self, reader: Reader<'a>, query: PathQuery) -> Answer<'a, Vec<Path>>;

    /// Changes in order of time.
    fn timeline<'a>(&'a self, reader: Reader<'a>, query: TimelineQuery) -> Answer<'a, Vec<Change>>;

    /// Entities known by this name or alias.
    fn entities<'a>(
        &'a self,
        reader: Reader<'a>,
        namespace: Option<Namespace>,
        name: String,
    ) -> Answer<'a, Vec<MemoryView>>;

    /// Other names of an entity.
    fn aliases<'a>(&'a self, reader: Reader<'a>, id: MemoryId) -> Answer<'a, Vec<String>>;

    /// Namespaces with what the reader may see in them.
    fn namespaces<'a>(&'a self, reader: Reader<'a>, now_ms: u64) -> Answer<'a, Vec<NamespaceInfo>>;

    /// Changes after a position, at most `limit`, only those the reader may see; the second part is
    /// the position covered, which may be beyond the last change returned.
    ///
    /// # Errors
    /// `position_too_old` when the log no longer reaches back so far.
    fn changes<'a>(
        &'a self,
        reader: Reader<'a>,
        after: u64,
        limit: u32,
    ) -> Answer<'a, (Vec<Change>, u64)>;

    /// A registered agent.
    fn agent(&self, id: AgentId) -> Answer<'_, Option<AgentRecord>>;

    /// The agent with this access token, compared by its SHA-256.
    fn agent_by_token(&self, token_sha256: [u8; 32]) -> Answer<'_, Option<AgentRecord>>;

    /// All registered agents, in order of name.
    fn agents(&self) -> Answer<'_, Vec<AgentRecord>>;

    /// Use of an agent's quota in a namespace.
    fn quota(&self, agent: AgentId, namespace: Namespace, now_ms: u64) -> Answer<'_, QuotaUsage>;

    /// Live memories whose expiry has passed and that no legal hold protects.
    fn expired(&self, now_ms: u64, limit: u32) -> Answer<'_, Vec<MemoryId>>;

    /// Texts that got no vector and are not tried again by themselves, oldest memories first.
    fn dead_texts(&self, limit: u32) -> Answer<'_, Vec<DeadText>>;

    /// Checks the audit chain from `since` (a sequence; 0 is the beginning): hashes, order, signatures,
    /// and that every operation kept still has the bytes its row signed.
    fn verify_chain(&self, since: i64) -> Answer<'_, ChainReport>;

    /// Rows of the audit chain behind a sequence, oldest first, at most `limit`; with a prefix, only
    /// those whose type begins with it.
    fn audit_rows(
        &self,
        after: i64,
        type_prefix: Option<String>,
        limit: u32,
    ) -> Answer<'_, Vec<AuditRow>>;

    /// The logs whose events are kept, each with the entry up to which all of them are.
    fn event_logs(&self) -> Answer<'_, BTreeMap<String, u64>>;

    /// The feed that this node goes on with, as far as it got.
    fn own_feed(&self) -> Answer<'_, FeedHead>;

    /// The feeds of all origins, as far as they are covered here.
    fn feeds(&self) -> Answer<'_, BTreeMap<NodeId, FeedHead>>;

    /// What was covered here before a time, Unix milliseconds of this node's clock; rather less than more.
    fn covered_at(&self, before_ms: u64) -> Answer<'_, VersionVector>;

    /// What another node lacks of them, in an order in which it can be applied.
    fn lacking(&self, query: LackingQuery) -> Answer<'_, Lacking>;

    /// These operations, as far as they are kept here, in the order asked for.
    fn operations(&self, ids: Vec<OpId>) -> Answer<'_, Vec<FeedItem>>;

    /// Operations of this node that peers have refused, in order of peer and sequence.
    fn letters(&self) -> Answer<'_, Vec<(NodeId, DeadLetter)>>;

    /// Keys and digests of the items in a range that may be seen, in order.
    fn items(&self, range: KeyRange, visible: Visible) -> Answer<'_, Vec<ItemDigest>>;

    /// All that is known of these items, as far as they are here and may be seen, in the order asked for, until
    /// so many bytes are reached; the second part says how many keys were looked at.
    fn states(
        &self,
        keys: Vec<ItemKey>,
        visible: Visible,
        bytes_max: u64,
    ) -> Answer<'_, (Vec<Item>, u64)>;

    /// What another store needs to know of these to say whether they are gone, as far as they are here and not
    /// deleted.
    fn holdings(&self, keys: Vec<ItemKey>) -> Answer<'_, Vec<Holding>>;

    /// Those of which this store has seen everything, and which it does not hold.
    fn gone(&self, held: Vec<Holding>) -> Answer<'_, Vec<ItemKey>>;

    /// The heads of all feeds up to which this store's state stands for them, and up to where something of
    /// each was hidden from it; of this node's own, the signature is blank.
    fn covered_feeds(&self) -> Answer<'_, Vec<CoveredFeed>>;

    /// A digest over all content that is the same on two stores exactly when their memories, links,
    /// agents and operations are (SHA-256 over rows in order of id).
    fn content_digest(&self) -> Answer<'_, [u8; 32]>;

    /// Writes a consistent copy of the store into an empty folder, while it is in use.
    fn backup(&self, folder: PathBuf) -> Answer<'_, ()>;

    /// Integrity, schema, row checksums, vectors against rows, index against rows.
    fn check(&self) -> Answer<'_, Vec<Finding>>;

    /// Figures for metrics and `doctor`.
    fn stats(&self) -> Answer<'_, StoreStats>;
}

/// A store of memories.
pub trait Store: WriteStore + ReadStore {}

impl<T: WriteStore + ReadStore + ?Sized> Store for T {}
