//! What the cases share: people, ids, a clock of their own, and short ways to ask.
//!
//! Invariant: everything is drawn from counters, so a case does the same on every run.
//!
//! Not here: expectations.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use types::{
    Affiliation, Content, LinkId, MemoryId, NewMemory, Reason, Relation, Scope, Title,
    audit::AttestLevel, ids::IdRef, link::NewLink, memory::Validity,
};
use uuid::Uuid;

use super::Factory;
use crate::{
    Store, StoreError,
    answer::{Applied, MemoryView, WriteReceipt},
    request::{
        CandidateQuery, Intent, ListQuery, MemoryFilter, OnConflict, Reader, Viewer, WriteRequest,
    },
};

/// When the cases begin, Unix milliseconds.
pub(super) const START_MS: u64 = 1_700_000_000_000;

/// Why a case failed.
#[derive(Debug)]
pub(super) struct Problem(String);

impl Problem {
    /// A problem in words.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self(format!("the store answered {}: {error}", error.reason()))
    }
}

impl From<types::Reject> for Problem {
    fn from(reject: types::Reject) -> Self {
        Self(format!("refused with {}: {reject}", reject.reason))
    }
}

impl From<types::Invalid> for Problem {
    fn from(invalid: types::Invalid) -> Self {
        Self(invalid.to_string())
    }
}

/// How a case ends.
pub(super) type Outcome = Result<(), Problem>;

/// Fails the case unless both are equal.
macro_rules! same {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if found != expected {
                    return Err($crate::conformance::world::Problem::new(format!(
                        "{}: got {found:?}, expected {expected:?}", format_args!($($what)+),
                    )));
                }
            }
        }
    };
}
/// Fails the case unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::conformance::world::Problem::new(format!($($what)+)));
        }
    };
}
pub(super) use {holds, same};

/// Fails unless the result is a refusal for this reason.
pub(super) fn refused<T: fmt::Debug>(
    result: Result<T, StoreError>,
    reason: Reason,
    what: &str,
) -> Outcome {
    match result {
        Err(StoreError::Rejected(reject)) if reject.reason == reason => Ok(()),
        other => Err(Problem::new(format!("{what}: got {other:?}, expected {reason}"))),
    }
}

/// An agent and where it belongs.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// What it shows the store.
    pub(super) viewer: Viewer,
    affiliation: Affiliation,
}

impl Person {
    /// An agent of `path` (`org/unit/team`, or a part of it, or nothing).
    pub(super) fn new(name: &str, path: &str) -> Result<Self, Problem> {
        let (agent, affiliation) = (name.parse()?, path.parse::<Affiliation>()?);
        let viewer = Viewer {
            audiences: affiliation.audiences(&agent),
            agent,
            attest: AttestLevel::Asserted,
            operator: false,
        };
        Ok(Self { viewer, affiliation })
    }

    /// The eyes of this agent.
    pub(super) fn eyes(&self) -> Reader<'_> {
        Reader::Agent(&self.viewer)
    }

    /// A memory as this agent would write it.
    pub(super) fn memory(
        &self,
        id: MemoryId,
        title: &str,
        content: &str,
        scope: Scope,
    ) -> Result<NewMemory, Problem> {
        let audience = self.affiliation.audience(&self.viewer.agent, scope)?;
        let mut memory =
            NewMemory::new(id, title.parse::<Title>()?, content.parse::<Content>()?, audience);
        memory.scope = scope;
        Ok(memory)
    }
}

/// The store under trial, with a clock and ids.
pub(super) struct World<'f> {
    factory: &'f dyn Factory,
    /// The store.
    pub(super) store: Arc<dyn Store>,
    now_ms: AtomicU64,
    drawn: AtomicU64,
}

impl<'f> World<'f> {
    /// A world around an empty store.
    pub(super) fn new(factory: &'f dyn Factory, store: Arc<dyn Store>) -> Self {
        Self { factory, store, now_ms: AtomicU64::new(START_MS), drawn: AtomicU64::new(0) }
    }

    /// Now, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, ms: u64) -> u64 {
        self.now_ms.fetch_add(ms, Ordering::Relaxed) + ms
    }

    /// Position of the store's last commit.
    pub(super) fn position(&self) -> u64 {
        *self.store.position().borrow()
    }

    fn uuid(&self) -> Uuid {
        let n = u128::from(self.drawn.fetch_add(1, Ordering::Relaxed) + 1);
        Uuid::from_u128(
            (u128::from(self.now_ms()) << 80) | (7 << 76) | (0b10 << 62) | (n << 32) | n,
        )
    }

    /// The next id; greater than every one before.
    pub(super) fn id(&self) -> MemoryId {
        MemoryId(self.uuid())
    }

    /// The next link between two memories.
    pub(super) fn link(&self, source: MemoryId, relation: Relation, target: MemoryId) -> NewLink {
        let id = LinkId(self.uuid());
        NewLink { id, source, target, relation, validity: Validity::default() }
    }

    /// A request by `who`, not atomic, without key, quota or fence.
    pub(super) fn request(&self, who: &Person, intents: Vec<Intent>) -> WriteRequest {
        WriteRequest {
            viewer: who.viewer.clone(),
            now_ms: self.now_ms(),
            fence: 0,
            idempotency: None,
            intents,
            atomic: false,
            quota: None,
            reflection_depth_max: 3,
        }
    }

    /// Does one thing; its refusal is the error.
    pub(super) async fn act(&self, who: &Person, intent: Intent) -> Result<Applied, StoreError> {
        let receipt = self.store.write(self.request(who, vec![intent])).await?;
        one(receipt)
    }

    /// Stores a memory that must not meet another of its title.
    pub(super) async fn keep(&self, who: &Person, memory: NewMemory) -> Result<MemoryId, Problem> {
        let id = memory.id;
        let intent = Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::Error };
        self.act(who, intent).await?;
        Ok(id)
    }

    /// Stores a memory with this title, which is also its content.
    pub(super) async fn note(
        &self,
        who: &Person,
        title: &str,
        scope: Scope,
    ) -> Result<MemoryId, Problem> {
        self.keep(who, who.memory(self.id(), title, title, scope)?).await
    }

    /// Links two memories.
    pub(super) async fn connect(
        &self,
        who: &Person,
        source: MemoryId,
        relation: Relation,
        target: MemoryId,
    ) -> Result<LinkId, Problem> {
        let link = self.link(source, relation, target);
        let id = link.id;
        self.act(who, Intent::Link(link)).await?;
        Ok(id)
    }

    /// One memory as `who` sees it.
    pub(super) async fn get(&self, who: &Person, id: MemoryId) -> Result<MemoryView, StoreError> {
        self.store.get(who.eyes(), IdRef::Full(id), self.now_ms()).await
    }

    /// A query for the first page of everything.
    pub(super) fn everything(&self) -> ListQuery {
        ListQuery {
            filter: MemoryFilter::default(),
            archived: false,
            after: None,
            limit: 100,
            now_ms: self.now_ms(),
        }
    }

    /// Ids of the first page under a filter.
    pub(super) async fn list(
        &self,
        who: &Person,
        filter: MemoryFilter,
    ) -> Result<Vec<MemoryId>, Problem> {
        let query = ListQuery { filter, ..self.everything() };
        let page = self.store.list(who.eyes(), query).await?;
        Ok(page.items.into_iter().map(|view| view.id).collect())
    }

    /// A query for words.
    pub(super) fn words(&self, text: &str) -> CandidateQuery {
        CandidateQuery {
            text: text.to_owned(),
            vector: None,
            filter: MemoryFilter::default(),
            depth: 50,
            now_ms: self.now_ms(),
            explain: false,
        }
    }

    /// A query for what lies near a text, whatever its words.
    pub(super) fn near(&self, text: &str) -> Result<CandidateQuery, Problem> {
        let vector = self.factory.vector(text);
        holds!(vector.is_some(), "the factory has no vector for {text:?}");
        Ok(CandidateQuery { vector, ..self.words("") })
    }

    /// Ids of the candidates for some words.
    pub(super) async fn recall(&self, who: &Person, text: &str) -> Result<Vec<MemoryId>, Problem> {
        let found = self.store.candidates(who.eyes(), self.words(text)).await?;
        Ok(found.items.into_iter().map(|candidate| candidate.memory.id).collect())
    }

    /// Whether the audit chain holds and the check finds nothing.
    pub(super) async fn evidence_holds(&self) -> Outcome {
        let report = self.store.verify_chain(0).await?;
        holds!(report.holds(), "after the case the chain does not hold: {report:?}");
        let findings = self.store.check().await?;
        holds!(findings.is_empty(), "after the case the check finds {findings:?}");
        Ok(())
    }
}

/// The result of the only intent of a request.
pub(super) fn one(receipt: WriteReceipt) -> Result<Applied, StoreError> {
    match receipt.results.into_iter().next() {
        Some(result) => result.map_err(StoreError::Rejected),
        None => Err(StoreError::Failed {
            doing: "writing",
            cause: "a receipt without a result for its intent".into(),
        }),
    }
}
