//! Measures graph queries: SQLite, and PostgreSQL by each way of following links, on the same memories and links.
//!
//! `cargo run --release -p storage --example graph_bench -- FOLDER URL [ENTITIES] [LINKS] [ROUNDS]`
//!
//! Fills an empty folder and the empty database of the URL, asks for the neighbourhood of random memories at depths 1 to 5, and
//! prints one line of JSON for each way and depth. That all ways find the same is checked for each question.
//!
//! Not here: other questions (`read_bench`), and what agents are told of a graph.

mod signer;

use std::{path::Path, time::Duration};

use runtime::{
    blocking,
    clock::{Instant, now_unix_ms},
    disk::OsDisk,
    random,
};
use storage::{
    ReadStore, RowStore, StoreConfig, WriteStore, open_store,
    port::EmbeddingSpace,
    postgres::{Graph, PostgresConfig},
    request::{Direction, GraphQuery, Intent, OnConflict, Reader, Viewer, WriteRequest},
};
use types::{
    Affiliation, LinkId, MemoryId, NewMemory, Relation, Scope, audit::AttestLevel, ids::IdRef,
    link::NewLink, memory::Validity,
};

/// Intents in one request.
const BATCH: usize = 500;
/// Greatest depth.
const DEPTH_MAX: u32 = 5;

fn config() -> StoreConfig {
    let (model, version) = ("none".into(), "1".into());
    let space = EmbeddingSpace { model, version, dimension: 8, vectorizer: None };
    StoreConfig::new(signer::known(), space)
}

fn viewer() -> Viewer {
    let (agent, affiliation) = ("writer".parse().expect("a name"), Affiliation::default());
    let audiences = affiliation.audiences(&agent);
    Viewer { agent, audiences, attest: AttestLevel::AgentToken, operator: false }
}

/// Random memories and links between them.
fn world(entities: usize, links: usize) -> (Vec<MemoryId>, Vec<Intent>) {
    let audience = Affiliation::default().audience(&viewer().agent, Scope::Private);
    let audience = audience.expect("a private scope needs no affiliation");
    let ids: Vec<MemoryId> =
        (0..entities).map(|_| MemoryId(random::uuid_v7(now_unix_ms()))).collect();
    let memories = ids.iter().enumerate().map(|(number, id)| {
        let title = format!("entity {number}").parse().expect("a short line");
        let content = format!("what is known of {number}").parse().expect("a short text");
        let memory = Box::new(NewMemory::new(*id, title, content, audience.clone()));
        Intent::Store { memory, on_conflict: OnConflict::New }
    });
    let any = || ids[random::below(ids.len() as u64) as usize];
    let linked = (0..links).map(|_| {
        Intent::Link(NewLink {
            id: LinkId(random::uuid_v7(now_unix_ms())),
            source: any(),
            target: any(),
            relation: Relation::DependsOn,
            validity: Validity::default(),
        })
    });
    let intents = memories.chain(linked).collect();
    (ids, intents)
}

async fn fill(store: &RowStore, intents: &[Intent]) {
    for part in intents.chunks(BATCH) {
        let request = WriteRequest {
            viewer: viewer(),
            now_ms: now_unix_ms(),
            fence: 0,
            idempotency: None,
            intents: part.to_vec(),
            // A link from a memory to itself is refused.
            atomic: false,
            quota: None,
            reflection_depth_max: 3,
        };
        store.write(request).await.expect("the store takes the write");
    }
}

/// Milliseconds at a part of the sorted times.
fn at(times: &[Duration], part: f64) -> f64 {
    let place = ((times.len() - 1) as f64 * part).round() as usize;
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Asks, and gives how much was found by each question.
async fn ask(store: &RowStore, way: &str, starts: &[MemoryId]) -> Vec<(usize, usize)> {
    let viewer = viewer();
    let mut found = Vec::new();
    for direction in [Direction::Outgoing, Direction::Both] {
        for depth in 1..=DEPTH_MAX {
            let mut times = Vec::with_capacity(starts.len());
            for start in starts {
                let query = GraphQuery {
                    start: IdRef::Full(*start),
                    depth,
                    relations: Default::default(),
                    direction,
                    as_of_ms: None,
                    now_ms: now_unix_ms(),
                };
                let begun = Instant::now();
                let graph = store.graph(Reader::Agent(&viewer), query).await.expect("a graph");
                times.push(begun.elapsed());
                found.push((graph.nodes.len(), graph.links.len()));
            }
            times.sort_unstable();
            println!(
                r#"{{"way":"{way}","direction":"{direction:?}","depth":{depth},"p50_ms":{:.2},"p95_ms":{:.2}}}"#,
                at(&times, 0.5),
                at(&times, 0.95)
            );
        }
    }
    found
}

async fn opened(folder: &Path, database: Option<PostgresConfig>) -> RowStore {
    let folder = folder.to_owned();
    let open = move || open_store(OsDisk::shared(), &folder, database.as_ref(), config());
    blocking::run(open).await.expect("an empty folder, and an empty database")
}

async fn measure(folder: &Path, url: &str, [entities, links, rounds]: [usize; 3]) {
    let (ids, intents) = world(entities, links);
    let starts: Vec<MemoryId> =
        (0..rounds).map(|_| ids[random::below(ids.len() as u64) as usize]).collect();
    let lite = opened(&folder.join("sqlite"), None).await;
    fill(&lite, &intents).await;
    let expected = ask(&lite, "sqlite", &starts).await;
    let mut is_filled = false;
    for (way, graph) in
        [("age", Graph::Age), ("recursive", Graph::Recursive), ("layers", Graph::Layers)]
    {
        let database = PostgresConfig { graph: Some(graph), ..PostgresConfig::new(url) };
        let store = opened(&folder.join("postgres"), Some(database)).await;
        if !is_filled {
            fill(&store, &intents).await;
            is_filled = true;
        }
        assert_eq!(ask(&store, way, &starts).await, expected, "{way} finds something else");
        store.close().await.expect("the store closes");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, url, numbers @ ..] = arguments.as_slice() else {
        panic!("graph_bench FOLDER URL [ENTITIES] [LINKS] [ROUNDS]");
    };
    let number = |at: usize, otherwise: usize| {
        numbers.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let sizes = [number(0, 1000), number(1, 5000), number(2, 50)];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("threads").block_on(measure(Path::new(folder), url, sizes));
}
