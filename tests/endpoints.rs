//! Embedding endpoints, against a live server that behaves and misbehaves: vectors come after the
//! acknowledgement, words find what has none, and a new model is taken over wherever a kill struck.
//!
//! Not here: the transformer in this process (`src/embed/minilm`).

mod daemon;
mod embedder;

use std::{path::Path, time::Duration};

use daemon::{Api, Daemon, json_of, ok};
use embedder::{Asked, Endpoint, Manner};
use http::Method;
use runtime::clock;
use serde_json::{Value, json};

const DIMENSION: usize = 8;

/// Settings of a daemon that asks this endpoint.
fn settings(kind: &str, endpoint: &Endpoint, model: &str, dimension: usize) -> Vec<String> {
    vec![
        format!("embedder.kind={kind}"),
        format!("embedder.url={}", endpoint.url),
        format!("embedder.model={model}"),
        format!("embedder.dimension={dimension}"),
    ]
}

fn start(folder: &Path, settings: &[String]) -> Daemon {
    Daemon::start(folder, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn store(api: &Api, title: &str, content: &str) -> String {
    let body = json!({ "title": title, "content": content, "tier": "long" });
    let (status, stored) = api.json(Method::POST, "/api/v1/memories", Some(&body)).await;
    assert_eq!(status, 201, "{stored}");
    stored["id"].as_str().expect("an id").to_owned()
}

/// Ids that a recall finds, best first.
async fn recall(api: &Api, query: &str) -> Vec<String> {
    let body = json!({ "query": query, "limit": 5 });
    let (status, answer) = api.json(Method::POST, "/api/v1/recall", Some(&body)).await;
    assert_eq!(status, 200, "{answer}");
    let hits = answer["hits"].as_array().cloned().unwrap_or_default();
    hits.iter().filter_map(|hit| hit["memory"]["id"].as_str().map(str::to_owned)).collect()
}

/// How many texts wait for a vector, and how many got none.
async fn standing(api: &Api) -> (u64, u64) {
    let (_, status) = api.json(Method::GET, "/api/v1/status", None).await;
    let number = |name: &str| status[name].as_u64().expect("a number");
    (number("vectors_pending"), number("vectors_dead"))
}

async fn pending(api: &Api) -> u64 {
    standing(api).await.0
}

/// Waits for a condition.
macro_rules! until {
    ($what:expr, $holds:expr) => {
        let waited = clock::timeout(Duration::from_secs(30), async {
            while !$holds {
                clock::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{} within 30 s", $what));
    };
}

/// Texts that were asked for, without questions.
fn texts(asked: &[Asked]) -> Vec<String> {
    let all = asked.iter().flat_map(|asked| &asked.texts);
    all.filter(|text| text.contains('\n')).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_come_after_the_acknowledgement_and_find_by_meaning() {
    for kind in ["openai", "ollama"] {
        let endpoint = Endpoint::start(DIMENSION, Manner::Never).await;
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("endpoint.key");
        std::fs::write(&key, "secret\n").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).expect("its owner's alone");
        let mut settings = settings(kind, &endpoint, "tiny", DIMENSION);
        settings.push(format!("embedder.api_key_file={}", key.display()));
        let running = start(folder.path(), &settings);
        let api = running.client();
        let id = store(&api, "Parking", "The automobile stands behind the old mill.").await;
        store(&api, "Harbour", "Ships wait for the tide.").await;
        assert_eq!(pending(&api).await, 2, "{kind}: acknowledged before there is a vector");
        assert_eq!(recall(&api, "automobile").await[0], id, "{kind}: words find it meanwhile");
        until!("a request", !texts(&endpoint.asked()).is_empty());
        endpoint.behave(Manner::Well);
        until!("both vectors", pending(&api).await == 0);
        assert_eq!(recall(&api, "where can I find my car").await[0], id, "{kind}: by meaning");
        let asked = endpoint.asked();
        assert!(asked.iter().all(|asked| asked.path == kind && asked.model == "tiny"));
        assert!(asked.iter().all(|a| a.authorization.as_deref() == Some("Bearer secret")));
        assert!(!running.log().iter().any(|line| line.contains("secret")), "{:?}", running.log());
        assert_eq!(running.terminate(), Some(0));
    }
}

/// A daemon whose endpoint misbehaves from the first request on: the memory is found by its words,
/// the log says what is wrong without the memory, and it gets its vector once the endpoint is well.
async fn endures(manner: Manner, words_of_the_log: &str) -> Vec<Asked> {
    let endpoint = Endpoint::start(DIMENSION, manner.clone()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), &settings("openai", &endpoint, "tiny", DIMENSION));
    let api = running.client();
    let id = store(&api, "Parking", "The automobile stands behind the old mill.").await;
    assert_eq!(recall(&api, "the old mill").await, std::slice::from_ref(&id), "{manner:?}");
    let told = |log: &[String]| {
        log.iter().any(|l| l.contains("wait for their vectors") && l.contains(words_of_the_log))
    };
    until!(format!("{words_of_the_log} in the log under {manner:?}"), told(&running.log()));
    assert_eq!(pending(&api).await, 1, "{manner:?}");
    endpoint.behave(Manner::Well);
    until!(format!("the vector after {manner:?}"), pending(&api).await == 0);
    assert_eq!(recall(&api, "where is my car").await, [id], "{manner:?}");
    let log = running.log();
    assert!(!log.iter().any(|line| line.contains("mill")), "a memory in the log: {log:?}");
    assert_eq!(running.terminate(), Some(0), "{manner:?}");
    let is_memory = |asked: &Asked| asked.texts.iter().any(|text| text.contains('\n'));
    endpoint.asked().into_iter().filter(is_memory).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_leave_the_words_and_are_tried_again() {
    let (broken, dimension, garbage, busy, missing) = futures::join!(
        endures(Manner::Status(500, None), "status 500"),
        endures(Manner::WrongDimension, "9 components where embedder.dimension is 8"),
        endures(Manner::Garbage, "something that is not JSON"),
        endures(Manner::Status(429, Some(4)), "is busy (status 429)"),
        endures(Manner::Status(404, None), "check embedder.url and embedder.model"),
    );
    for asked in [&broken, &dimension, &garbage, &missing] {
        let gap = asked[1].at - asked[0].at;
        assert!(gap >= Duration::from_secs(2), "tried again after {gap:?}");
    }
    let gap = busy[1].at - busy[0].at;
    assert!(gap >= Duration::from_secs(4), "asked to wait 4 s, and tried again after {gap:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_there_is_found_when_it_comes() {
    let endpoint = Endpoint::start(DIMENSION, Manner::Well).await;
    let address = endpoint.url.trim_start_matches("http://").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings("ollama", &endpoint, "tiny", DIMENSION);
    drop(endpoint);
    let running = start(folder.path(), &settings);
    let api = running.client();
    let id = store(&api, "Pet", "The feline sleeps on the stove.").await;
    assert_eq!(recall(&api, "stove").await, std::slice::from_ref(&id));
    until!("a word in the log", running.log().iter().any(|line| line.contains("did not answer")));
    let _endpoint = Endpoint::start_at(&address, DIMENSION, Manner::Well).await;
    until!("the vector", pending(&api).await == 0);
    assert_eq!(recall(&api, "kitten").await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_question_nor_the_end_waits_for_a_slow_endpoint() {
    let endpoint = Endpoint::start(DIMENSION, Manner::Never).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), &settings("openai", &endpoint, "tiny", DIMENSION));
    let api = running.client();
    let id = store(&api, "Parking", "The automobile stands behind the old mill.").await;
    let started = clock::Instant::now();
    assert_eq!(recall(&api, "the old mill").await, [id]);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    until!("a request for the memory", !texts(&endpoint.asked()).is_empty());
    let started = clock::Instant::now();
    assert_eq!(running.terminate(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_not_taken_keeps_no_other_from_its_vector() {
    let endpoint = Endpoint::start(DIMENSION, Manner::Dislikes("interminable")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), &settings("openai", &endpoint, "tiny", DIMENSION));
    let api = running.client();
    let long = store(&api, "Minutes", "An interminable account of a meeting.").await;
    let id = store(&api, "Parking", "The automobile stands behind the old mill.").await;
    until!("the other vector", standing(&api).await == (0, 1));
    assert_eq!(recall(&api, "car").await[0], id);
    assert!(recall(&api, "account of a meeting").await.contains(&long), "by its words");
    let told = |log: &[String]| {
        log.iter().any(|line| line.contains("words alone find this memory") && line.contains(&long))
    };
    until!("its id in the log", told(&running.log()));
    let before = texts(&endpoint.asked()).len();
    store(&api, "Pay", "The wage comes on Fridays.").await;
    until!("a vector for the next", texts(&endpoint.asked()).len() > before);
    until!("no other work", standing(&api).await == (0, 1));
    assert_eq!(texts(&endpoint.asked()).len(), before + 1, "what was refused is not sent again");
    let dead = json_of(&ok(folder.path(), &["vectors", "dead", "--json"]));
    assert_eq!(dead["items"][0]["id"], long.as_str(), "{dead}");
    assert!(dead["items"][0]["problem"].as_str().expect("why").contains("status 4"), "{dead}");
    // Until somebody wants it to be, after a start too.
    assert_eq!(running.terminate(), Some(0));
    let running = start(folder.path(), &settings("openai", &endpoint, "tiny", DIMENSION));
    let api = running.client();
    assert_eq!(standing(&api).await, (0, 1));
    let before = texts(&endpoint.asked()).len();
    assert_eq!(json_of(&ok(folder.path(), &["vectors", "retry", "--json"]))["revived"], 1);
    until!("another try", texts(&endpoint.asked()).len() > before);
    until!("the same end", standing(&api).await == (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_model_embeds_everything_and_goes_on_after_a_kill() {
    const MEMORIES: usize = 200;
    let endpoint = Endpoint::start(DIMENSION, Manner::Well).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), &settings("openai", &endpoint, "first", DIMENSION));
    let api = running.client();
    let note = |n: usize| json!({ "title": format!("Note {n}"), "content": format!("about {n}") });
    let mut memories: Vec<Value> = (1..MEMORIES).map(note).collect();
    memories.push(json!({ "title": "Parking", "content": "The automobile is behind the mill." }));
    let bulk = json!({ "memories": memories });
    let (status, stored) = api.json(Method::POST, "/api/v1/memories/bulk", Some(&bulk)).await;
    assert_eq!((status, &stored["stored"]), (200, &json!(MEMORIES)));
    until!("all vectors", pending(&api).await == 0);
    assert_eq!(running.terminate(), Some(0));
    let of = |model: &str| -> Vec<String> {
        let asked = endpoint.asked();
        let asked: Vec<Asked> = asked.into_iter().filter(|a| a.model == model).collect();
        texts(&asked)
    };
    assert_eq!(of("first").len(), MEMORIES, "each is asked for once");

    // Two batches are answered, then the kill comes while a third is under way.
    endpoint.dimension(16);
    endpoint.behave(Manner::WellThenNever(2));
    let running = start(folder.path(), &settings("openai", &endpoint, "second", 16));
    let api = running.client();
    until!("a third batch", of("second").len() == 96);
    until!("two batches kept", pending(&api).await == MEMORIES as u64 - 64);
    running.kill();
    endpoint.behave(Manner::Well);
    let before = of("second").len();
    let running = start(folder.path(), &settings("openai", &endpoint, "second", 16));
    let api = running.client();
    until!("all vectors of the second model", pending(&api).await == 0);
    assert_eq!(of("second").len() - before, MEMORIES - 64, "what was kept is not asked for again");
    let car = recall(&api, "car").await;
    let (_, found) = api.json(Method::GET, &format!("/api/v1/memories/{}", car[0]), None).await;
    assert_eq!(found["title"], "Parking", "found by meaning in the new space");
    assert_eq!(running.terminate(), Some(0));

    // The same name with another dimension is another space.
    endpoint.dimension(12);
    let before = of("second").len();
    let running = start(folder.path(), &settings("openai", &endpoint, "second", 12));
    let api = running.client();
    until!("all vectors of the new dimension", {
        of("second").len() - before >= MEMORIES && pending(&api).await == 0
    });
    assert_eq!(of("second").len() - before, MEMORIES);
    assert_eq!(running.terminate(), Some(0));
}
