//! Random requests give the same answers on PostgreSQL and on SQLite: what became of each intent, what each agent may see,
//! the log, the audit chain, and what a recall finds, in what order.
//!
//! Tolerance of recalls: the same memories are found, always. Scores of words differ by 2 % and similarities of vectors by 0.002
//! at most, because one keeps numbers in other widths than the other, once SQLite's index was made from the rows: until then
//! it also counts texts that it has not forgotten yet. So two memories may change places only where their scores are as
//! near as that.
//!
//! Not here: large stores, where both search by approximation (`bench`).

use types::{VersionVector, codec};

use super::{
    steps::{Plan, Step, steps, tag, text, viewers},
    *,
};
use crate::{
    answer::{Candidates, Lacking, Said},
    port::Vectorizer,
    postgres::Graph,
    request::{
        CandidateQuery, ConflictQuery, Direction, DuplicateQuery, Event, ForgetQuery, GraphQuery,
        Incoming, LackingQuery, ListQuery, MemoryFilter, NamespaceFilter, Passed, PathQuery,
        TimelineQuery,
    },
    sqlite::{self, tests::Letters},
    state::{Forget, ItemKey, KeyRange, Visible},
};
use std::sync::atomic::AtomicUsize;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Sequences that are tried.
const SEQUENCES: u32 = 48;
/// How far scores of words may be apart, as a part of the greater.
const WORDS_APART: f32 = 0.02;
/// How far similarities may be apart.
const VECTORS_APART: f32 = 0.002;

/// Fails the sequence unless both are equal.
macro_rules! alike {
    ($one:expr, $two:expr, $($what:tt)+) => {{
        let (one, two) = (format!("{:?}", $one), format!("{:?}", $two));
        prop_assert_eq!(one, two, $($what)+);
    }};
}

/// Two stores of one node, on one of each.
struct Pair {
    lite: RowStore,
    full: RowStore,
    folders: [TempDir; 2],
}

impl Pair {
    async fn new() -> Self {
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let lite = sqlite::open_store(OsDisk::shared(), folders[0].path(), config()).unwrap();
        // The same name, so the same bytes.
        let node = format!("{}\n", lite.node_id());
        std::fs::write(folders[1].path().join("node"), node).unwrap();
        // Each way of following links in turn.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let ways = [Graph::Age, Graph::Recursive, Graph::Layers];
        let graph = Some(ways[COUNT.fetch_add(1, Ordering::Relaxed) % ways.len()]);
        let postgres = PostgresConfig { graph, ..database().await };
        let full = open(folders[1].path(), &postgres, config()).await.unwrap();
        Self { lite, full, folders }
    }

    /// Has SQLite's indexes made from the rows.
    async fn indexed_anew(mut self) -> Self {
        let folder = self.folders[0].path();
        self.lite.close().await.unwrap();
        std::fs::remove_dir_all(folder.join("recall")).unwrap();
        self.lite = sqlite::open_store(OsDisk::shared(), folder, config()).unwrap();
        self
    }

    async fn run(self, steps: &[Step]) -> Result<f32, TestCaseError> {
        let mut plan = Plan::default();
        for step in steps {
            let request = plan.request(step);
            let (one, two) = (self.lite.write(request.clone()), self.full.write(request));
            alike!(one.await, two.await, "{:?}", step);
        }
        self.logs().await?;
        let mut apart: f32 = 0.0;
        self.travels(&plan).await?;
        for viewer in viewers() {
            self.lists(&viewer, &plan).await?;
            self.memories(&viewer, &plan).await?;
            self.patterns(&viewer, &plan).await?;
            self.recalls(&viewer, &plan, None).await?;
        }
        let settled = self.indexed_anew().await;
        for viewer in viewers() {
            let found = settled.recalls(&viewer, &plan, Some(WORDS_APART)).await?;
            apart = apart.max(found);
        }
        Ok(apart)
    }

    async fn logs(&self) -> Result<(), TestCaseError> {
        let (lite, full) = (&self.lite, &self.full);
        alike!(lite.content_digest().await, full.content_digest().await, "digests");
        alike!(lite.audit_rows(0, None, 999).await, full.audit_rows(0, None, 999).await, "audit");
        alike!(lite.verify_chain(0).await, full.verify_chain(0).await, "chains");
        alike!(lite.feeds().await, full.feeds().await, "feeds");
        alike!(lite.check().await, full.check().await, "checks");
        alike!(
            lite.changes(Reader::Operator, 0, 999).await,
            full.changes(Reader::Operator, 0, 999).await,
            "changes"
        );
        let (one, two) = (lite.stats().await.unwrap(), full.stats().await.unwrap());
        alike!(
            (one.memories, one.archived, one.tombstones, one.links, one.operations, one.vectors),
            (two.memories, two.archived, two.tombstones, two.links, two.operations, two.vectors),
            "figures"
        );
        Ok(())
    }

    /// Another pair takes operations, a third one state, and then all is forgotten.
    async fn travels(&self, plan: &Plan) -> Result<(), TestCaseError> {
        let told = self.told().await?;
        let (second, third) = (Self::new().await, Self::new().await);
        let mut intents = Vec::new();
        for (at, item) in told.items.iter().enumerate() {
            let Said::Whole { bytes, .. } = &item.said else { continue };
            // Some of it is hidden from it.
            intents.push(match at % 5 {
                4 => Intent::Pass(Passed {
                    id: item.id,
                    hash: codec::op_hash(bytes),
                    refused: None,
                    about: None,
                }),
                _ => Intent::Take(Box::new(Incoming {
                    op: codec::decode_op(bytes).unwrap(),
                    bytes: bytes.clone(),
                })),
            });
        }
        second.both(operator(plan.now_ms(), intents)).await?;
        second.logs().await?;
        second.told().await?;

        let keys: Vec<ItemKey> = self
            .lite
            .items(KeyRange::ALL, Visible::default())
            .await
            .unwrap()
            .into_iter()
            .map(|item| item.key)
            .collect();
        let (items, _) = self.lite.states(keys, Visible::default(), u64::MAX).await.unwrap();
        let mut intents = vec![Intent::Event(Box::new(Event {
            name: "taken".into(),
            agent: "node".parse().unwrap(),
            event_type: "state.taken".into(),
            at_ms: plan.now_ms(),
            payload: vec![1, 2, 3],
        }))];
        intents.extend(items.into_iter().map(|item| Intent::Join(Box::new(item))));
        let feeds = self.lite.covered_feeds().await.unwrap();
        intents.extend(feeds.into_iter().map(Intent::CoverFeed));
        third.both(operator(plan.now_ms(), intents)).await?;
        third.logs().await?;

        let feeds = self.lite.feeds().await.unwrap();
        let stable: VersionVector = feeds.values().map(|feed| (feed.origin, feed.seq)).collect();
        for pair in [self, &second, &third] {
            let forget =
                Forget { stable: stable.clone(), before_ms: u64::MAX, after: 0, rows_max: 40 };
            let intents = vec![Intent::Forget(Box::new(forget))];
            pair.both(operator(plan.now_ms(), intents)).await?;
            pair.told().await?;
            alike!(pair.lite.content_digest().await, pair.full.content_digest().await, "digests");
            alike!(pair.lite.verify_chain(0).await, pair.full.verify_chain(0).await, "chains");
            alike!(pair.lite.check().await, pair.full.check().await, "checks");
        }
        Ok(())
    }

    /// The same on both.
    async fn both(&self, request: WriteRequest) -> Result<(), TestCaseError> {
        let (one, two) = (self.lite.write(request.clone()), self.full.write(request));
        alike!(one.await, two.await, "what a node takes of others");
        Ok(())
    }

    /// What peers may ask.
    async fn told(&self) -> Result<Lacking, TestCaseError> {
        let (lite, full) = (&self.lite, &self.full);
        let all = || (KeyRange::ALL, Visible::default());
        alike!(lite.items(all().0, all().1).await, full.items(all().0, all().1).await, "items");
        let items = lite.items(all().0, all().1).await.unwrap();
        let keys: Vec<ItemKey> = items.iter().map(|item| item.key).collect();
        let to = keys.get(keys.len() / 2).copied();
        let work = || Visible(vec![vec!["work/**".parse().unwrap()]]);
        let half = KeyRange { from: ItemKey::FIRST, to };
        alike!(lite.items(half, work()).await, full.items(half, work()).await, "some items");
        alike!(
            lite.states(keys.clone(), Visible::default(), 9000).await,
            full.states(keys.clone(), Visible::default(), 9000).await,
            "states"
        );
        alike!(lite.holdings(keys.clone()).await, full.holdings(keys.clone()).await, "holdings");
        let held = lite.holdings(keys).await.unwrap();
        alike!(lite.gone(held.clone()).await, full.gone(held).await, "what is gone");
        alike!(lite.covered_feeds().await, full.covered_feeds().await, "covered feeds");
        alike!(
            lite.covered_at(u64::MAX).await,
            full.covered_at(u64::MAX).await,
            "what was covered"
        );
        alike!(lite.own_feed().await, full.own_feed().await, "their own feeds");
        alike!(lite.event_logs().await, full.event_logs().await, "logs of events");
        alike!(lite.letters().await, full.letters().await, "letters");
        let lacking = || LackingQuery {
            has: VersionVector::default(),
            lost: Default::default(),
            items_max: 500,
            bytes_max: 1 << 20,
        };
        let (one, two) = (lite.lacking(lacking()).await, full.lacking(lacking()).await);
        alike!(one, two, "what another lacks");
        let told = one.unwrap();
        let ids: Vec<_> = told.items.iter().map(|item| item.id).collect();
        alike!(lite.operations(ids.clone()).await, full.operations(ids).await, "operations");
        Ok(told)
    }

    async fn lists(&self, viewer: &Viewer, plan: &Plan) -> Result<(), TestCaseError> {
        let eyes = Reader::Agent(viewer);
        let plans: NamespaceFilter = NamespaceFilter::Within("work/plans".parse().unwrap());
        let above = NamespaceFilter::WithAncestors("work/plans".parse().unwrap());
        let filters = [
            MemoryFilter::default(),
            MemoryFilter { tags_all: [tag(0)].into(), ..MemoryFilter::default() },
            MemoryFilter { namespaces: Some(plans), ..MemoryFilter::default() },
            MemoryFilter { namespaces: Some(above), ..MemoryFilter::default() },
            MemoryFilter {
                priority_min: Some(5),
                include_invalid: true,
                ..MemoryFilter::default()
            },
        ];
        for filter in filters {
            for archived in [false, true] {
                let mut after = None;
                loop {
                    let (filter, now_ms) = (filter.clone(), plan.now_ms());
                    let query = ListQuery { filter, archived, after, limit: 4, now_ms };
                    let one = self.lite.list(eyes, query.clone()).await.unwrap();
                    let two = self.full.list(eyes, query).await.unwrap();
                    alike!(one, two, "a page for {}", viewer.agent);
                    after = one.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        let now_ms = plan.now_ms();
        alike!(
            self.lite.namespaces(eyes, now_ms).await,
            self.full.namespaces(eyes, now_ms).await,
            "namespaces"
        );
        let query = ConflictQuery { after: None, limit: 50, now_ms };
        alike!(
            self.lite.conflicts(eyes, query.clone()).await,
            self.full.conflicts(eyes, query).await,
            "conflicts"
        );
        Ok(())
    }

    async fn memories(&self, viewer: &Viewer, plan: &Plan) -> Result<(), TestCaseError> {
        let (eyes, now_ms) = (Reader::Agent(viewer), plan.now_ms());
        let (lite, full) = (&self.lite, &self.full);
        for id in plan.memories.iter().copied() {
            let named = || IdRef::Full(id);
            alike!(
                lite.get(eyes, named(), now_ms).await,
                full.get(eyes, named(), now_ms).await,
                "get"
            );
            alike!(lite.links(eyes, id).await, full.links(eyes, id).await, "links");
            alike!(lite.aliases(eyes, id).await, full.aliases(eyes, id).await, "aliases");
        }
        for pair in plan.memories.windows(2).step_by(3) {
            let graph = |direction| GraphQuery {
                start: IdRef::Full(pair[0]),
                depth: 4,
                relations: Default::default(),
                direction,
                as_of_ms: None,
                now_ms,
            };
            for direction in [Direction::Outgoing, Direction::Both] {
                let (one, two) = (graph(direction), graph(direction));
                alike!(lite.graph(eyes, one).await, full.graph(eyes, two).await, "neighbourhoods");
            }
            let paths = || PathQuery {
                from: IdRef::Full(pair[0]),
                to: IdRef::Full(pair[1]),
                depth: 5,
                limit: 4,
                as_of_ms: None,
                now_ms,
            };
            alike!(lite.paths(eyes, paths()).await, full.paths(eyes, paths()).await, "paths");
        }
        Ok(())
    }

    async fn patterns(&self, viewer: &Viewer, plan: &Plan) -> Result<(), TestCaseError> {
        let (eyes, now_ms) = (Reader::Agent(viewer), plan.now_ms());
        let (lite, full) = (&self.lite, &self.full);
        let forget = || ForgetQuery {
            namespace: NamespaceFilter::Within("work".parse().unwrap()),
            title_glob: Some("*li?ht*".into()),
            tier: None,
            limit: 50,
            now_ms,
        };
        alike!(
            lite.forgettable(eyes, forget()).await,
            full.forgettable(eyes, forget()).await,
            "what a pattern names"
        );
        let timeline = || TimelineQuery {
            id: None,
            filter: MemoryFilter::default(),
            from_ms: None,
            until_ms: None,
            limit: 200,
            now_ms,
        };
        alike!(
            lite.timeline(eyes, timeline()).await,
            full.timeline(eyes, timeline()).await,
            "timelines"
        );
        alike!(
            lite.entities(eyes, None, "HARBOUR".into()).await,
            full.entities(eyes, None, "HARBOUR".into()).await,
            "entities"
        );
        let duplicates = || DuplicateQuery {
            title: "light".into(),
            content: text(&[0, 2, 4]),
            namespace: "work".parse().unwrap(),
            similarity_min_permille: 100,
            now_ms,
        };
        alike!(
            lite.duplicates(eyes, duplicates()).await,
            full.duplicates(eyes, duplicates()).await,
            "near duplicates"
        );
        Ok(())
    }

    /// The greatest distance between two scores of words, as a part of the greater one.
    async fn recalls(
        &self,
        viewer: &Viewer,
        plan: &Plan,
        apart_max: Option<f32>,
    ) -> Result<f32, TestCaseError> {
        let eyes = Reader::Agent(viewer);
        let mut apart: f32 = 0.0;
        for question in ["harbour lights", "\"night train\"", "run red 42", "überfahrt salt queen"]
        {
            for (words, dense) in [(true, false), (true, true), (false, true)] {
                let query = CandidateQuery {
                    text: if words { question.to_owned() } else { String::new() },
                    vector: if dense { Letters.vector(question) } else { None },
                    filter: MemoryFilter::default(),
                    depth: 200,
                    now_ms: plan.now_ms(),
                    explain: false,
                };
                let one = self.lite.candidates(eyes, query.clone()).await.unwrap();
                let two = self.full.candidates(eyes, query).await.unwrap();
                alike!(one.eligible, two.eligible, "rows that pass for {}", viewer.agent);
                apart = apart.max(near(&one, &two, question, apart_max)?);
            }
        }
        Ok(apart)
    }
}

/// A request by the node itself.
fn operator(now_ms: u64, intents: Vec<Intent>) -> WriteRequest {
    let viewer = Viewer { operator: true, ..ann() };
    WriteRequest { viewer, now_ms, intents, idempotency: None, atomic: false, ..storing(0, 0) }
}

/// Whether two recalls agree.
fn near(
    one: &Candidates,
    two: &Candidates,
    question: &str,
    apart_max: Option<f32>,
) -> Result<f32, TestCaseError> {
    let ids = |found: &Candidates| found.items.iter().map(|c| c.memory.id).collect::<Vec<_>>();
    prop_assert_eq!(ids(one), ids(two), "what {} finds", question);
    let mut apart: f32 = 0.0;
    for (a, b) in one.items.iter().zip(&two.items) {
        alike!(a.memory, b.memory, "what {} finds", question);
        prop_assert_eq!(a.lexical.is_some(), b.lexical.is_some(), "{}", question);
        prop_assert_eq!(a.dense.is_some(), b.dense.is_some(), "{}", question);
        if let (Some(x), Some(y)) = (a.lexical, b.lexical) {
            apart = apart.max((x - y).abs() / x.abs().max(y.abs()).max(f32::MIN_POSITIVE));
            prop_assert!(apart_max.is_none_or(|max| apart <= max), "{}: {} and {}", question, x, y);
        }
        if let (Some(x), Some(y)) = (a.dense, b.dense) {
            prop_assert!((x - y).abs() <= VECTORS_APART, "{}: {} and {}", question, x, y);
        }
    }
    Ok(apart)
}

#[test]
fn random_requests_have_equal_answers_on_both() {
    if !can_have_a_server() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config {
        cases: SEQUENCES,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[6; 32]);
    // Bits of a positive number are in its order.
    let apart = AtomicU64::new(0);
    let done = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let found = runtime.block_on(async { Pair::new().await.run(&steps).await })?;
        apart.fetch_max(u64::from(found.to_bits()), Ordering::Relaxed);
        Ok(())
    });
    let apart = f32::from_bits(apart.into_inner() as u32);
    println!("{SEQUENCES} sequences; scores of words differ by a part of {apart} at most");
    done.unwrap();
}
