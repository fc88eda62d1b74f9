//! `kill -9` in the middle of concurrent writers: every acknowledged memory is there afterwards,
//! whole and once, the chain holds, and recall finds it.
//!
//! Not here: power loss, which needs the simulated disk (`sim`).

mod daemon;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daemon::{Api, Daemon};
use http::Method;
use runtime::{clock, task};
use serde_json::{Value, json};

/// Kills. The full count of the acceptance run is set by the environment.
fn rounds() -> u64 {
    std::env::var("HIVEMEM_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

const WRITERS: u64 = 32;

/// Stores until the daemon is gone; returns what was acknowledged: title → (id, content).
async fn write(
    url: String,
    writer: u64,
    round: u64,
    acked: Arc<AtomicU64>,
) -> Vec<(String, String, String)> {
    let api = Api::new(&url);
    let mut kept = Vec::new();
    for n in 0.. {
        let title = format!("round {round} writer {writer} note {n}");
        let content = format!("the {n}th thing that writer {writer} noticed in round {round}");
        let body = json!({ "title": title, "content": content, "tier": "long" });
        match api.send(Method::POST, "/api/v1/memories", Some(&body)).await {
            Ok(answer) if answer.status < 300 => {
                let id = answer.json().and_then(|v| v["id"].as_str().map(str::to_owned));
                kept.push((title, id.expect("an id"), content));
                acked.fetch_add(1, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    kept
}

async fn everything(api: &Api) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let (status, page) =
            api.json(Method::GET, &format!("/api/v1/memories?limit=1000{after}"), None).await;
        assert_eq!(status, 200, "{page}");
        for memory in page["items"].as_array().into_iter().flatten() {
            let text = |name: &str| memory[name].as_str().expect("a text").to_owned();
            all.entry(text("title")).or_default().push((text("id"), text("content")));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

async fn round(folder: &Path, number: u64, known: &mut Vec<(String, String, String)>) {
    let running = Daemon::start(folder, &[]);
    let acked = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| task::spawn(write(running.url.clone(), w, number, acked.clone())))
        .collect();
    // Not at a fixed moment: after so many acknowledgements, another number each round.
    let enough = 40 + number * 37 % 300;
    let waited = clock::timeout(Duration::from_secs(60), async {
        while acked.load(Ordering::Relaxed) < enough {
            clock::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("writers make progress");
    running.kill();
    for writer in writers {
        known.extend(writer.await.expect("a writer ends"));
    }
}

async fn check(folder: &Path, known: &[(String, String, String)]) {
    let running = Daemon::start(folder, &[]);
    let api = running.client();
    let all = everything(&api).await;
    for (title, id, content) in known {
        let found = all.get(title).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(found, [(id.clone(), content.clone())], "{title} was acknowledged");
    }
    for (title, id, _) in known.iter().rev().take(20) {
        let body = json!({ "query": title, "limit": 3 });
        let (status, answer) = api.json(Method::POST, "/api/v1/recall", Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        let hits = answer["hits"].as_array().cloned().unwrap_or_default();
        let found = hits.iter().any(|hit| hit["memory"]["id"] == Value::String(id.clone()));
        assert!(found, "recall does not find {title}");
    }
    let report = daemon::ok(folder, &["verify-signed-events-chain", "--format", "json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["chain_holds"], true, "{report}");
    assert_eq!(running.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_daemon_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut known = Vec::new();
    for number in 0..rounds() {
        round(folder.path(), number, &mut known).await;
        check(folder.path(), &known).await;
    }
    println!("{} kills, {} acknowledged memories, all there", rounds(), known.len());
}
