//! Nothing crosses a scope: every pair of agents, every scope, every way to read (requirement A12).
//!
//! Each author stores one memory of every scope with a secret word in title, content, tag and
//! metadata. Then every agent reads by every path; an answer may contain a secret exactly when the
//! reader is in the audience.
//!
//! Not here: visibility below the doors (the store's conformance suite).

mod daemon;

use std::{collections::BTreeMap, time::Duration};

use daemon::{Api, Daemon};
use http::Method;
use runtime::clock;
use serde_json::{Value, json};

const SCOPES: [&str; 5] = ["private", "team", "unit", "org", "collective"];
/// Agents and where they belong.
const AGENTS: [(&str, &str); 6] = [
    ("ann", "acme/eng/core"),
    ("bob", "acme/eng/core"),
    ("cid", "acme/eng/web"),
    ("dee", "acme/ops/core"),
    ("eve", "beta/eng/core"),
    ("fay", ""),
];

/// Whether a reader is in the audience of an author's scope, written down independently of the code.
fn may_see(author: usize, reader: usize, scope: &str) -> bool {
    let parts =
        |agent: usize| AGENTS[agent].1.split('/').filter(|p| !p.is_empty()).collect::<Vec<_>>();
    let (a, r) = (parts(author), parts(reader));
    let shares = |n: usize| a.len() >= n && r.len() >= n && a[..n] == r[..n];
    match scope {
        "private" => author == reader,
        "team" => shares(3),
        "unit" => shares(2),
        "org" => shares(1),
        _ => true,
    }
}

fn secret(author: usize, scope: &str) -> String {
    format!("xq{}{scope}zz", AGENTS[author].0)
}

struct World {
    apis: Vec<Api>,
    /// Author and scope → id.
    ids: BTreeMap<(usize, &'static str), String>,
}

fn register(folder: &std::path::Path) -> Vec<String> {
    AGENTS
        .iter()
        .map(|(name, affiliation)| {
            let arguments =
                ["agents", "register", name, "--affiliation", affiliation, "--token", "--json"];
            let answer: Value =
                serde_json::from_str(&daemon::ok(folder, &arguments)).expect("JSON");
            answer["token"].as_str().expect("a token").to_owned()
        })
        .collect()
}

async fn populate(apis: Vec<Api>) -> World {
    let mut ids = BTreeMap::new();
    for (author, api) in apis.iter().enumerate() {
        for scope in SCOPES {
            let secret = secret(author, scope);
            let body = json!({
                "title": format!("common title {secret}"), "content": format!("common words {secret} end"),
                "namespace": format!("ns/{}", secret.to_lowercase()), "scope": scope, "kind": "entity",
                "tags": [secret], "metadata": { "note": secret }, "tier": "long",
            });
            let (status, answer) = api.json(Method::POST, "/api/v1/memories", Some(&body)).await;
            if AGENTS[author].1.is_empty() && ["team", "unit", "org"].contains(&scope) {
                assert_eq!(status, 400, "an agent without a group has no {scope}: {answer}");
                continue;
            }
            assert_eq!(status, 201, "{answer}");
            ids.insert((author, scope), answer["id"].as_str().expect("an id").to_owned());
        }
        // A chain of links through everything the author has, so that walks have somewhere to go.
        let own: Vec<&String> =
            ids.iter().filter(|((a, _), _)| *a == author).map(|(_, id)| id).collect();
        for pair in own.windows(2) {
            let body = json!({ "source": pair[0], "target": pair[1], "relation": "related_to" });
            let (status, answer) = api.json(Method::POST, "/api/v1/links", Some(&body)).await;
            assert_eq!(status, 201, "{answer}");
        }
    }
    World { apis, ids }
}

/// Everything a reader can get that does not name one memory.
async fn broad_reads(api: &Api, author_secret: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let gets = [
        "/api/v1/memories?limit=1000".to_owned(),
        format!("/api/v1/memories?limit=1000&tags={author_secret}"),
        format!("/api/v1/memories?limit=1000&namespace=ns/{author_secret}"),
        "/api/v1/namespaces".to_owned(),
        "/api/v1/archive".to_owned(),
        "/api/v1/export".to_owned(),
        format!("/api/v1/entities?name=common%20title%20{author_secret}"),
    ];
    for path in gets {
        let answer = api.send(Method::GET, &path, None).await.expect("an answer");
        assert!(answer.status < 500, "{path}");
        all.push((path, String::from_utf8_lossy(&answer.body).into_owned()));
    }
    let posts = [
        (
            "/api/v1/recall",
            json!({ "query": format!("common {author_secret}"), "limit": 200, "explain": true }),
        ),
        ("/api/v1/recall", json!({ "query": "common title words", "limit": 200, "explain": true })),
        ("/api/v1/search", json!({ "query": author_secret, "limit": 200 })),
        ("/api/v1/kg/timeline", json!({ "limit": 1000 })),
        (
            "/api/v1/check-duplicate",
            json!({ "title": format!("common title {author_secret}"),
            "content": format!("common words {author_secret} end"), "min_similarity": 0.1 }),
        ),
        (
            "/api/v1/forget",
            json!({ "namespace": "ns", "namespace_mode": "within", "dry_run": true }),
        ),
    ];
    for (path, body) in posts {
        let answer = api.send(Method::POST, path, Some(&body)).await.expect("an answer");
        assert!(answer.status < 500, "{path}");
        all.push((path.to_owned(), String::from_utf8_lossy(&answer.body).into_owned()));
    }
    all
}

/// Everything a reader can get that names one memory.
async fn pointed_reads(api: &Api, id: &str, own: Option<&String>) -> String {
    let mut all = String::new();
    let prefix: String = id.chars().filter(|c| *c != '-').take(28).collect();
    for path in [
        format!("/api/v1/memories/{id}"),
        format!("/api/v1/memories/{prefix}"),
        format!("/api/v1/memories/{id}/links"),
        format!("/api/v1/memories/{id}/lineage"),
    ] {
        let answer = api.send(Method::GET, &path, None).await.expect("an answer");
        all.push_str(&String::from_utf8_lossy(&answer.body));
    }
    let mut posts = vec![
        ("/api/v1/kg/query", json!({ "id": id, "depth": 5 })),
        ("/api/v1/kg/timeline", json!({ "id": id })),
    ];
    if let Some(own) = own {
        posts.push(("/api/v1/kg/query", json!({ "id": own, "depth": 5 })));
        posts.push(("/api/v1/kg/find_paths", json!({ "from": own, "to": id })));
    }
    for (path, body) in posts {
        let answer = api.send(Method::POST, path, Some(&body)).await.expect("an answer");
        all.push_str(&String::from_utf8_lossy(&answer.body));
    }
    all.push_str(&mcp_resource(api, id).await);
    all
}

/// The memory as an MCP resource, in a session of its own.
async fn mcp_resource(api: &Api, id: &str) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let answer = api.send(Method::POST, "/mcp", Some(&hello)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let session = answer.headers["mcp-session-id"].to_str().expect("ASCII").to_owned();
    let read = json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/read",
        "params": { "uri": format!("hivemem://memory/{id}") } });
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    api.in_session(&session, &ready).await;
    api.in_session(&session, &read).await
}

/// All changes from the beginning, as the watch shows them.
async fn watched(api: &Api) -> String {
    let mut stream = api.stream("/api/v1/watch?after=0").await;
    let mut all = String::new();
    // The stream never ends; what it has to say comes at once, then heartbeats.
    while let Ok(Ok(Some(event))) =
        clock::timeout(Duration::from_millis(700), stream.next_event()).await
    {
        all.push_str(&event.data);
    }
    all
}

fn judge(path: &str, reader: usize, seen: &str) {
    for (author, (name, _)) in AGENTS.iter().enumerate() {
        for scope in SCOPES {
            let secret = secret(author, scope);
            if !may_see(author, reader, scope) {
                assert!(
                    !seen.contains(&secret),
                    "{path}: {} sees the {scope} memory of {name}: {seen}",
                    AGENTS[reader].0,
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_a_scope() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Daemon::start(folder.path(), &[]);
    let tokens = register(folder.path());
    let accept = "application/json, text/event-stream";
    let api = |token: &String| running.client().with("x-api-key", token).with("accept", accept);
    let world = populate(tokens.iter().map(api).collect()).await;

    let mut pointed = 0;
    for (reader, api) in world.apis.iter().enumerate() {
        let watched = watched(api).await;
        judge("watch", reader, &watched);
        assert!(watched.contains(&secret(reader, "private")), "one's own changes are shown");
        for ((author, scope), id) in &world.ids {
            let word = secret(*author, scope);
            let answers = broad_reads(api, &word).await;
            for (path, seen) in &answers {
                judge(path, reader, seen);
            }
            let found = answers.iter().any(|(_, seen)| seen.contains(&word));
            assert_eq!(found, may_see(*author, reader, scope), "{word} for {reader}");
            let own = world.ids.get(&(reader, "collective"));
            let seen = pointed_reads(api, id, own).await;
            judge("a read by id", reader, &seen);
            assert_eq!(
                seen.contains(&word),
                may_see(*author, reader, scope),
                "{word} for {reader}"
            );
            pointed += 1;
        }
    }
    println!("{pointed} pairs of reader and memory, by every path");
}
