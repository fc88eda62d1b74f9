//! The reading half of the port, on the pool of connections.
//!
//! Invariant: `RED-1` every answer comes from one snapshot; long checks are taken in steps, each its own
//! snapshot, so that they hold neither the log back nor a connection for long.
//!
//! Not here: what the answers are (the modules beside).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use runtime::clock;
use types::{
    AgentId, AgentRecord, DeadLetter, FeedHead, Link, MemoryId, Namespace, NodeId, OpId, Reason,
    Reject, VersionVector, ids::IdRef,
};

use super::{
    audit,
    candidates::{self, Source},
    changes, feeds, figures, links, memories, registry,
    sight::Sight,
    snapshot, states, times, views,
};
use crate::{
    answer::{
        AuditRow, Candidates, ChainReport, Change, Conflict, DeadText, FeedItem, Finding, Graph,
        Lacking, MemoryView, NamespaceInfo, Page, Path, QuotaUsage, StoreStats,
    },
    error::StoreError,
    port::{Answer, ReadStore},
    request::{
        CandidateQuery, ConflictQuery, DuplicateQuery, ForgetQuery, GraphQuery, LackingQuery,
        ListQuery, PathQuery, Reader, TimelineQuery,
    },
    rows::{
        RowStore,
        check::{self, RowCheck},
        config::StoreConfig,
        digest,
        fault::SqlFault,
        indexes::Indexes,
        recall::Recall,
        verify::ChainCheck,
        work,
        write::head::own_origin,
    },
    sql::Connection,
    state::{CoveredFeed, Holding, Item, ItemDigest, ItemKey, KeyRange, Visible},
};

impl RowStore {
    /// Runs `work` on a connection, within one snapshot.
    fn answer<T, F>(&self, doing: &'static str, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlFault> + Send + 'static,
    {
        self.pool.read(doing, move |connection| snapshot(connection, work)).boxed()
    }

    /// Counts what `stats` tells of the rows.
    fn count(&self) -> impl Future<Output = Result<StoreStats, StoreError>> + Send + 'static {
        let (engine, recall) = (self.engine.clone(), self.recall.clone());
        let (pool, is_slow) = (self.pool.clone(), work::is_slow(&self.config.space));
        let count = move |c: &Connection| {
            let mut stats = figures::stats(c)?;
            stats.database_bytes = engine.bytes(c)?;
            if let Recall::Database(database) = &recall {
                database.stats(c, &mut stats)?;
            }
            if is_slow {
                (stats.vectors_pending, stats.vectors_dead) = work::counts(c)?;
            }
            Ok(stats)
        };
        async move { pool.read("reading figures", move |c| snapshot(c, count)).await }
    }

    /// Waits until the indexes have everything that the rows have.
    async fn indexes_filled(&self) -> Result<(), StoreError> {
        let Some(indexes) = self.recall.indexes() else { return Ok(()) };
        while indexes.is_filling() {
            // Asked of the pool, so that the wait ends when the store is closed.
            self.answer("waiting for the index", |_| Ok(())).await?;
            clock::sleep(FILL_POLL).await;
        }
        Ok(())
    }

    /// Runs `step` on a fresh snapshot until it says that there is no more.
    async fn in_steps<S, F>(&self, doing: &'static str, state: S, step: F) -> Result<S, StoreError>
    where
        S: Send + 'static,
        F: Fn(&mut S, &Connection) -> Result<bool, SqlFault> + Clone + Send + 'static,
    {
        let state = Arc::new(Mutex::new(Some(state)));
        loop {
            let (shared, step) = (state.clone(), step.clone());
            let more = self
                .pool
                .read(doing, move |connection| match shared.lock().as_mut() {
                    Some(state) => snapshot(connection, |connection| step(state, connection)),
                    None => Ok(false),
                })
                .await?;
            if !more {
                break;
            }
            runtime::task::yield_now().await;
        }
        let taken = state.lock().take();
        taken.ok_or(StoreError::Failed { doing, cause: "a step lost its state".into() })
    }
}

/// What there is to search at this moment.
fn source(indexes: &Indexes, config: &StoreConfig) -> Source {
    match indexes.searchable() {
        Some(serving) => Source::Indexes(serving),
        None => Source::Rows(config.space.clone()),
    }
}

impl ReadStore for RowStore {
    fn get<'a>(&'a self, reader: Reader<'a>, id: IdRef, now_ms: u64) -> Answer<'a, MemoryView> {
        let sight = Sight::of(reader);
        self.answer("reading a memory", move |c| memories::get(c, &sight, &id, now_ms))
    }

    fn list<'a>(&'a self, reader: Reader<'a>, query: ListQuery) -> Answer<'a, Page<MemoryView>> {
        let sight = Sight::of(reader);
        self.answer("listing memories", move |c| memories::list(c, &sight, &query))
    }

    fn conflicts<'a>(
        &'a self,
        reader: Reader<'a>,
        query: ConflictQuery,
    ) -> Answer<'a, Page<Conflict>> {
        let sight = Sight::of(reader);
        self.answer("listing conflicts", move |c| views::conflicts(c, &sight, &query))
    }

    fn candidates<'a>(
        &'a self,
        reader: Reader<'a>,
        query: CandidateQuery,
    ) -> Answer<'a, Candidates> {
        let (sight, recall) = (Sight::of(reader), self.recall.clone());
        let config = self.config.clone();
        self.answer("searching memories", move |c| match &recall {
            Recall::Memory(indexes, _) => {
                candidates::candidates(c, &sight, &source(indexes, &config), &query)
            }
            Recall::Database(database) => database.candidates(c, &sight, &query),
        })
    }

    fn duplicates<'a>(
        &'a self,
        reader: Reader<'a>,
        query: DuplicateQuery,
    ) -> Answer<'a, Vec<(u16, MemoryView)>> {
        let (sight, recall) = (Sight::of(reader), self.recall.clone());
        let config = self.config.clone();
        self.answer("searching duplicates", move |c| match &recall {
            Recall::Memory(indexes, _) => {
                candidates::near_duplicates(c, &sight, &source(indexes, &config), &query)
            }
            Recall::Database(database) => database.duplicates(c, &sight, &query),
        })
    }

    fn forgettable<'a>(
        &'a self,
        reader: Reader<'a>,
        query: ForgetQuery,
    ) -> Answer<'a, Vec<MemoryView>> {
        let sight = Sight::of(reader);
        let viewer = match reader {
            Reader::Agent(viewer) => Some(viewer.clone()),
            Reader::Operator => None,
        };
        self.answer("listing what to forget", move |c| {
            memories::forgettable(c, &sight, viewer.as_ref(), &query)
        })
    }

    fn links<'a>(&'a self, reader: Reader<'a>, id: MemoryId) -> Answer<'a, Vec<Link>> {
        let sight = Sight::of(reader);
        self.answer("reading links", move |c| links::links(c, &sight, id))
    }

    fn graph<'a>(&'a self, reader: Reader<'a>, query: GraphQuery) -> Answer<'a, Graph> {
        let sight = Sight::of(reader);
        self.answer("walking links", move |c| links::graph(c, &sight, &query))
    }

    fn paths<'a>(&'a self, reader: Reader<'a>, query: PathQuery) -> Answer<'a, Vec<Path>> {
        let sight = Sight::of(reader);
        self.answer("searching paths", move |c| links::paths(c, &sight, &query))
    }

    fn timeline<'a>(&'a self, reader: Reader<'a>, query: TimelineQuery) -> Answer<'a, Vec<Change>> {
        let sight = Sight::of(reader);
        self.answer("reading a timeline", move |c| changes::timeline(c, &sight, &query))
    }

    fn entities<'a>(
        &'a self,
        reader: Reader<'a>,
        namespace: Option<Namespace>,
        name: String,
    ) -> Answer<'a, Vec<MemoryView>> {
        let sight = Sight::of(reader);
        self.answer("searching entities", move |c| {
            registry::entities(c, &sight, namespace.as_ref(), &name)
        })
    }

    fn aliases<'a>(&'a self, reader: Reader<'a>, id: MemoryId) -> Answer<'a, Vec<String>> {
        let sight = Sight::of(reader);
        self.answer("reading aliases", move |c| registry::aliases(c, &sight, id))
    }

    fn namespaces<'a>(&'a self, reader: Reader<'a>, now_ms: u64) -> Answer<'a, Vec<NamespaceInfo>> {
        let sight = Sight::of(reader);
        let recall = self.recall.clone();
        self.answer("counting namespaces", move |c| {
            let serving = recall.indexes().and_then(|indexes| indexes.searchable());
            registry::namespaces(c, &sight, serving.as_deref(), now_ms)
        })
    }

    fn changes<'a>(
        &'a self,
        reader: Reader<'a>,
        after: u64,
        limit: u32,
    ) -> Answer<'a, (Vec<Change>, u64)> {
        let sight = Sight::of(reader);
        self.answer("reading changes", move |c| changes::changes(c, &sight, after, limit))
    }

    fn agent(&self, id: AgentId) -> Answer<'_, Option<AgentRecord>> {
        self.answer("reading an agent", move |c| registry::agent(c, &id))
    }

    fn agent_by_token(&self, token_sha256: [u8; 32]) -> Answer<'_, Option<AgentRecord>> {
        self.answer("reading an agent", move |c| registry::agent_by_token(c, &token_sha256))
    }

    fn agents(&self) -> Answer<'_, Vec<AgentRecord>> {
        self.answer("listing agents", registry::agents)
    }

    fn quota(&self, agent: AgentId, namespace: Namespace, now_ms: u64) -> Answer<'_, QuotaUsage> {
        self.answer("reading a quota", move |c| registry::quota(c, &agent, &namespace, now_ms))
    }

    fn expired(&self, now_ms: u64, limit: u32) -> Answer<'_, Vec<MemoryId>> {
        self.answer("listing expired memories", move |c| memories::expired(c, now_ms, limit))
    }

    fn dead_texts(&self, limit: u32) -> Answer<'_, Vec<DeadText>> {
        self.answer("listing texts without a vector", move |c| work::dead(c, limit))
    }

    fn verify_chain(&self, since: i64) -> Answer<'_, ChainReport> {
        async move {
            let check = ChainCheck::new(since);
            let check = self.in_steps("checking the audit chain", check, ChainCheck::step).await?;
            Ok(check.finish())
        }
        .boxed()
    }

    fn audit_rows(
        &self,
        after: i64,
        type_prefix: Option<String>,
        limit: u32,
    ) -> Answer<'_, Vec<AuditRow>> {
        self.answer("reading the audit chain", move |c| {
            audit::rows(c, after, type_prefix.as_deref(), limit)
        })
    }

    fn event_logs(&self) -> Answer<'_, BTreeMap<String, u64>> {
        self.answer("reading how far logs are kept", audit::event_logs)
    }

    fn feeds(&self) -> Answer<'_, BTreeMap<NodeId, FeedHead>> {
        self.answer("reading the feeds", feeds::feeds)
    }

    fn own_feed(&self) -> Answer<'_, FeedHead> {
        let me = self.node_id();
        self.answer("reading this node's feed", move |c| {
            let origin = own_origin(c, me)?;
            Ok(feeds::feeds(c)?.remove(&origin).unwrap_or(FeedHead::empty(origin)))
        })
    }

    fn covered_at(&self, before_ms: u64) -> Answer<'_, VersionVector> {
        let me = self.node_id();
        self.answer("reading what was covered", move |c| {
            times::covered_at(c, own_origin(c, me)?, before_ms)
        })
    }

    fn lacking(&self, query: LackingQuery) -> Answer<'_, Lacking> {
        let me = self.node_id();
        self.answer("reading what is lacking", move |c| {
            feeds::lacking(c, &query, own_origin(c, me)?)
        })
    }

    fn operations(&self, ids: Vec<OpId>) -> Answer<'_, Vec<FeedItem>> {
        self.answer("reading operations", move |c| feeds::operations(c, &ids))
    }

    fn letters(&self) -> Answer<'_, Vec<(NodeId, DeadLetter)>> {
        self.answer("reading the dead letters", feeds::letters)
    }

    fn items(&self, range: KeyRange, visible: Visible) -> Answer<'_, Vec<ItemDigest>> {
        self.answer("listing digests", move |c| states::items(c, &range, &visible))
    }

    fn states(
        &self,
        keys: Vec<ItemKey>,
        visible: Visible,
        bytes_max: u64,
    ) -> Answer<'_, (Vec<Item>, u64)> {
        self.answer("reading state", move |c| states::states(c, &keys, &visible, bytes_max))
    }

    fn holdings(&self, keys: Vec<ItemKey>) -> Answer<'_, Vec<Holding>> {
        self.answer("reading what is held", move |c| states::holdings(c, &keys))
    }

    fn gone(&self, held: Vec<Holding>) -> Answer<'_, Vec<ItemKey>> {
        self.answer("reading what is gone", move |c| states::gone(c, &held))
    }

    fn covered_feeds(&self) -> Answer<'_, Vec<CoveredFeed>> {
        let me = self.node_id();
        self.answer("reading the heads", move |c| states::covered_feeds(c, own_origin(c, me)?))
    }

    fn content_digest(&self) -> Answer<'_, [u8; 32]> {
        self.answer("computing the digest", digest::content_digest)
    }

    fn backup(&self, folder: PathBuf) -> Answer<'_, ()> {
        let engine = self.engine.clone();
        let now_ms = clock::now_unix_ms();
        async move {
            let made = self
                .pool
                .read("making a backup", move |c| Ok(engine.backup(c, &folder, now_ms)))
                .await?;
            made.map_err(|error| {
                Reject::new(Reason::FailedPrecondition, format!("no backup was made: {error}"))
            })?;
            Ok(())
        }
        .boxed()
    }

    fn check(&self) -> Answer<'_, Vec<Finding>> {
        async move {
            let engine = self.engine.clone();
            let mut findings = self
                .answer("checking the file", move |c| {
                    let mut findings = engine.structure(c)?;
                    findings.extend(check::strays(c)?);
                    Ok(findings)
                })
                .await?;
            let rows = RowCheck::default();
            let rows = self.in_steps("checking rows", rows, RowCheck::step).await?;
            findings.extend(rows.finish());
            let config = self.config.clone();
            let waiting = move |c: &Connection| work::check(c, &config.space);
            findings.extend(self.answer("looking at who waits for vectors", waiting).await?);
            self.indexes_filled().await?;
            let recall = self.recall.clone();
            let compared = self.answer("comparing the index", move |c| {
                let indexes = match &recall {
                    Recall::Memory(indexes, _) => indexes,
                    Recall::Database(database) => return database.check(c),
                };
                // Taken first: a row committed in between is in neither or in both.
                let serving = indexes.serving();
                let words = serving.recall.snapshot();
                let vectors = serving.vectors.as_ref().map(|v| u64::from(v.stats().live));
                check::compare_index(c, words.position(), words.live().into(), vectors)
            });
            findings.extend(compared.await?);
            Ok(findings)
        }
        .boxed()
    }

    fn stats(&self) -> Answer<'_, StoreStats> {
        async move {
            let mut stats = match &self.recall {
                Recall::Memory(..) => self.count().await?,
                Recall::Database(_) => {
                    let counted = self.tally.clone().of(self.count()).await?;
                    let position = counted.position.max(self.moves.known());
                    StoreStats { position, index_position: position, ..counted }
                }
            };
            stats.wal_bytes = self.counters.wal_pages() * PAGE_BYTES;
            stats.write_queue = self.queued() as u64;
            stats.commits = self.counters.commits();
            stats.commit_micros = self.counters.commit_micros();
            stats.extra.insert("checkpoints".into(), self.counters.checkpoints());
            if let Some(indexes) = self.recall.indexes() {
                describe(indexes, work::is_slow(&self.config.space), &mut stats);
            }
            Ok(stats)
        }
        .boxed()
    }
}

/// Adds what the indexes know to the figures.
fn describe(indexes: &Indexes, is_slow: bool, stats: &mut StoreStats) {
    let serving = indexes.serving();
    let words = serving.recall.snapshot();
    stats.index_rebuilding = !indexes.is_complete();
    stats.index_position = words.position();
    if let Some(vectors) = &serving.vectors {
        let figures = vectors.stats();
        stats.vectors = figures.live.into();
        if !is_slow {
            stats.vectors_pending = u64::from(words.live()).saturating_sub(stats.vectors);
        }
        stats.extra.insert("graph_rows".into(), figures.graph_rows.into());
    }
    stats.extra.insert("index_slots".into(), words.slots().into());
    stats.extra.insert("index_live".into(), words.live().into());
}

/// Time between two looks at indexes that are being filled.
const FILL_POLL: Duration = Duration::from_millis(50);
/// Bytes of a page of the database.
const PAGE_BYTES: u64 = 4096;
