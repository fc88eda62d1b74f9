//! Measures reading: each question of the port, one caller, on a filled store.
//!
//! `cargo run --release -p storage --example read_bench -- [FOLDER] [ROWS] [ROUNDS]`
//!
//! Fills an empty folder with rows in 20 namespaces, half of them hidden from the reader, and two links per
//! row, then prints one line of JSON per question.
//!
//! Not here: writing (`write_bench`) and many callers at once.

mod signer;

use std::{path::PathBuf, time::Duration};

use futures::future::BoxFuture;
use runtime::{
    clock::{Instant, now_unix_ms},
    disk::OsDisk,
    random,
};
use storage::{
    ReadStore, RowStore, StoreConfig, WriteStore,
    port::EmbeddingSpace,
    request::{
        CandidateQuery, Direction, GraphQuery, Intent, ListQuery, MemoryFilter, NamespaceFilter,
        OnConflict, PathQuery, Reader, Viewer, WriteRequest,
    },
    sqlite::open_store,
};
use types::{
    Affiliation, LinkId, MemoryId, NewMemory, Relation, Scope, audit::AttestLevel, ids::IdRef,
    link::NewLink, memory::Validity,
};

const BATCH_ROWS: u64 = 500;
const NAMESPACES: u64 = 20;

fn viewer(name: &str, affiliation: &Affiliation) -> Viewer {
    let agent = name.parse().expect("a valid name");
    let audiences = affiliation.audiences(&agent);
    Viewer { agent, audiences, attest: AttestLevel::AgentToken, operator: false }
}

/// Words with a frequency that falls like those of a language.
fn text(words: usize) -> String {
    let word = |_| {
        let rank = (1u64 << random::below(13)) + random::below(64);
        format!("w{rank}")
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn memory(number: u64, author: &Viewer, affiliation: &Affiliation) -> NewMemory {
    let scope = if number.is_multiple_of(2) { Scope::Team } else { Scope::Private };
    let audience = affiliation.audience(&author.agent, scope).expect("a full affiliation");
    let id = MemoryId(random::uuid_v7(now_unix_ms()));
    let title = format!("note {number} {}", text(4)).parse().expect("a short line");
    let content = text(60).parse().expect("a short text");
    let mut memory = NewMemory::new(id, title, content, audience);
    memory.scope = scope;
    memory.namespace = format!("bench/n{}", number % NAMESPACES).parse().expect("a namespace");
    memory
}

async fn write(store: &RowStore, author: &Viewer, intents: Vec<Intent>) {
    let request = WriteRequest {
        viewer: author.clone(),
        now_ms: now_unix_ms(),
        fence: 0,
        idempotency: None,
        intents,
        atomic: true,
        quota: None,
        reflection_depth_max: 3,
    };
    store.write(request).await.expect("the store takes the write");
}

/// Fills the store; gives the ids that the reader may see.
async fn fill(store: &RowStore, rows: u64, affiliation: &Affiliation) -> Vec<MemoryId> {
    let author = viewer("writer", affiliation);
    let mut shared: Vec<MemoryId> = Vec::new();
    for first in (0..rows).step_by(BATCH_ROWS as usize) {
        let batch: Vec<NewMemory> = (first..rows.min(first + BATCH_ROWS))
            .map(|number| memory(number, &author, affiliation))
            .collect();
        shared.extend(batch.iter().filter(|m| m.scope == Scope::Team).map(|m| m.id));
        let store_it =
            |memory| Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::New };
        write(store, &author, batch.into_iter().map(store_it).collect()).await;
        let recent = shared.len().saturating_sub(BATCH_ROWS as usize / 2);
        let links =
            (recent..shared.len()).flat_map(|at| [at, at]).filter(|at| *at > 0).map(|at| NewLink {
                id: LinkId(random::uuid_v7(now_unix_ms())),
                source: shared[at],
                target: shared[random::below(at as u64) as usize],
                relation: if random::below(2) == 0 {
                    Relation::DerivedFrom
                } else {
                    Relation::Advances
                },
                validity: Validity::default(),
            });
        let mut links: Vec<NewLink> = links.collect();
        links.sort_by_key(|link| (link.source, link.target, link.relation));
        links.dedup_by_key(|link| (link.source, link.target, link.relation));
        write(store, &author, links.into_iter().map(Intent::Link).collect()).await;
    }
    shared
}

/// Asks one question so often, and prints how long it took.
async fn measure<'a>(name: &str, rounds: usize, ask: impl Fn(usize) -> BoxFuture<'a, u64>) {
    let mut took: Vec<Duration> = Vec::with_capacity(rounds);
    let mut items = 0;
    for round in 0..rounds {
        let asked = Instant::now();
        items += ask(round).await;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let at = |permille: usize| took[(took.len() - 1) * permille / 1000].as_micros() as u64;
    println!(
        "{}",
        serde_json::json!({
            "question": name,
            "rounds": rounds,
            "items_mean": items as f64 / rounds as f64,
            "p50_micros": at(500),
            "p95_micros": at(950),
            "p99_micros": at(990),
        })
    );
}

fn listing(namespaces: Option<NamespaceFilter>) -> ListQuery {
    ListQuery {
        filter: MemoryFilter { namespaces, ..MemoryFilter::default() },
        archived: false,
        after: None,
        limit: 50,
        now_ms: now_unix_ms(),
    }
}

fn namespace(text: &str) -> types::Namespace {
    text.parse().expect("a namespace")
}

async fn questions(store: &RowStore, shared: &[MemoryId], reader: Reader<'_>, rounds: usize) {
    let now_ms = now_unix_ms();
    let any = |round: usize| shared[round * 7919 % shared.len()];
    measure("get", rounds, |round| {
        let answer = store.get(reader, IdRef::Full(any(round)), now_ms);
        Box::pin(async { answer.await.map_or(0, |_| 1) })
    })
    .await;
    let all = || NamespaceFilter::Within(namespace("bench"));
    for (name, filter) in [
        ("list 50", None),
        ("list 50 of a namespace", Some(NamespaceFilter::Exactly(namespace("bench/n4")))),
        ("list 50 of 20 namespaces", Some(all())),
    ] {
        measure(name, rounds, |_| {
            let answer = store.list(reader, listing(filter.clone()));
            Box::pin(async { answer.await.map_or(0, |page| page.items.len() as u64) })
        })
        .await;
    }
    measure("graph of depth 3", rounds, |round| {
        let answer = store.graph(reader, around(any(round), now_ms));
        Box::pin(async { answer.await.map_or(0, |graph| graph.nodes.len() as u64) })
    })
    .await;
    measure("4 shortest paths of depth 4", rounds / 4, |round| {
        let query = PathQuery {
            from: IdRef::Full(any(round)),
            to: IdRef::Full(any(round + 1)),
            depth: 4,
            limit: 4,
            as_of_ms: None,
            now_ms,
        };
        let answer = store.paths(reader, query);
        Box::pin(async { answer.await.map_or(0, |paths| paths.len() as u64) })
    })
    .await;
    measure("candidates for three words", rounds, |_| {
        let answer = store.candidates(reader, recall(now_ms));
        Box::pin(async { answer.await.map_or(0, |found| found.items.len() as u64) })
    })
    .await;
    let head = *store.position().borrow();
    measure("100 changes", rounds / 4, |round| {
        let after = (round as u64 * 7919) % head.saturating_sub(1000).max(1);
        let answer = store.changes(reader, after, 100);
        Box::pin(async { answer.await.map_or(0, |(changes, _)| changes.len() as u64) })
    })
    .await;
}

fn around(start: MemoryId, now_ms: u64) -> GraphQuery {
    GraphQuery {
        start: IdRef::Full(start),
        depth: 3,
        relations: Default::default(),
        direction: Direction::Both,
        as_of_ms: None,
        now_ms,
    }
}

fn recall(now_ms: u64) -> CandidateQuery {
    CandidateQuery {
        text: text(3),
        vector: None,
        filter: MemoryFilter::default(),
        depth: 50,
        now_ms,
        explain: false,
    }
}

async fn whole_file(store: &RowStore, reader: Reader<'_>, folder: PathBuf) {
    let now_ms = now_unix_ms();
    measure("namespaces", 5, |_| {
        let answer = store.namespaces(reader, now_ms);
        Box::pin(async { answer.await.map_or(0, |all| all.len() as u64) })
    })
    .await;
    measure("figures", 5, |_| {
        let answer = store.stats();
        Box::pin(async { answer.await.map_or(0, |_| 1) })
    })
    .await;
    measure("audit chain", 1, |_| {
        let answer = store.verify_chain(0);
        Box::pin(async { answer.await.map_or(0, |report| report.rows_checked) })
    })
    .await;
    measure("check", 1, |_| {
        let answer = store.check();
        Box::pin(async { answer.await.map_or(0, |findings| findings.len() as u64) })
    })
    .await;
    measure("digest", 1, |_| {
        let answer = store.content_digest();
        Box::pin(async { answer.await.map_or(0, |_| 1) })
    })
    .await;
    measure("backup", 1, |_| {
        let answer = store.backup(folder.clone());
        Box::pin(async { answer.await.map_or(0, |()| 1) })
    })
    .await;
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or_else(|| PathBuf::from("read-bench"), PathBuf::from);
    let number = |at: usize, otherwise: u64| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (rows, rounds) = (number(1, 100_000), number(2, 1000) as usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system gives threads");
    runtime.block_on(async move {
        let space = EmbeddingSpace {
            model: "none".into(),
            version: "1".into(),
            dimension: 8,
            vectorizer: None,
        };
        let signer = signer::known();
        let config = StoreConfig::new(signer, space);
        let store =
            open_store(OsDisk::shared(), &folder.join("data"), config).expect("an empty folder");
        let affiliation = "acme/eng/core".parse().expect("an affiliation");
        let shared = fill(&store, rows, &affiliation).await;
        let reader = viewer("reader", &affiliation);
        questions(&store, &shared, Reader::Agent(&reader), rounds).await;
        whole_file(&store, Reader::Agent(&reader), folder.join("backup")).await;
        store.close().await.expect("the store closes");
    });
}
