//! `SVC-4`: every operation that changes something is done once under one key, gives its first
//! answer again, and refuses another body.
//!
//! The table below is held against the document, so an operation cannot be added without a row.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::{super::openapi, Call, Door, call, draft, get, post};

/// Operations that a body is sent to although they change nothing that a key could protect: reads
/// with a body, checks, and the copy of the store, which refuses a folder that exists.
const READS: &[&str] = &[
    "backup",
    "check_duplicate",
    "doctor",
    "find_paths",
    "graph",
    "recall",
    "search",
    "timeline",
    "verify_chain",
];

/// Operations on what peers refuse, and what peers push: done twice, they leave what they leave when done once.
const PEERS: &[&str] = &["peers_purge_dead_letters", "peers_retry_dead_letters", "sync_push"];

/// Operations that leave what they leave however often they are done: evidence has a name, and a
/// text given back is not given up any more.
const NAMED: &[&str] = &["evidence", "vectors_retry"];

/// Operations that the root decides: a session's numbers, versions and fences make their retries safe.
const ROOT: &[&str] = &[
    "acquire_locks",
    "approve_action",
    "cancel_wait",
    "close_session",
    "evaluate_rules",
    "force_release_lock",
    "keep_alive",
    "open_session",
    "propose_action",
    "put_policy",
    "put_rule",
    "reject_action",
    "release_locks",
    "remove_policy",
    "remove_rule",
    "root_add_member",
    "root_init",
    "root_promote_member",
    "root_readmit",
    "root_register_agent",
    "root_remove_member",
    "root_replace_member",
    "root_revoke_agent",
    "root_rotate_key",
    "root_snapshot",
    "root_transfer",
];

/// Memories for the operations to change: `{name}` in a path or body stands for an id.
struct Ground(Vec<(&'static str, String)>);

impl Ground {
    async fn new(door: &Door) -> Self {
        let mut ids = Vec::new();
        for name in ["a", "b", "c", "d", "old", "older", "oldest"] {
            ids.push((name, door.stored(draft(name, &format!("about {name}"))).await));
        }
        let entity = json!({"title": "Ann", "content": "a person", "kind": "entity"});
        ids.push(("entity", door.stored(entity).await));
        let mut ground = Self(ids);
        for name in ["old", "older", "oldest"] {
            let path = ground.fill(&format!("/api/v1/memories/{{{name}}}/archive"));
            door.ok(post(&path)).await;
        }
        let link = ground.fill(r#"{"source":"{a}","target":"{b}","relation":"related_to"}"#);
        let link = door.ok(post("/api/v1/links").body("application/json", link)).await;
        ground.0.push(("link", link["id"].as_str().expect("an id").to_owned()));
        let alias = json!({"alias": "Annie"});
        door.ok(post(&ground.fill("/api/v1/memories/{entity}/aliases")).json(&alias)).await;
        door.ok(post("/api/v1/agents").json(&json!({"agent_id": "bob"}))).await;
        ground
    }

    fn fill(&self, text: &str) -> String {
        let fill =
            |text: String, (name, id): &(&str, String)| text.replace(&format!("{{{name}}}"), id);
        self.0.iter().fold(text.to_owned(), fill)
    }
}

/// One operation: its name, method, path, body, and a path or body that asks for something else.
struct Row {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    other: Other,
}

enum Other {
    Body(Value),
    Path(&'static str),
}

fn row(
    name: &'static str,
    at: (&'static str, &'static str),
    body: impl Into<Option<Value>>,
    other: Other,
) -> Row {
    Row { name, method: at.0, path: at.1, body: body.into(), other }
}

fn rows() -> Vec<Row> {
    let mut rows = single_memories();
    rows.extend(archive_and_links());
    rows.extend(many_and_agents());
    rows
}

fn new(content: &str) -> Value {
    json!({"title": "new", "content": content, "on_conflict": "new"})
}

fn single_memories() -> Vec<Row> {
    use Other::Body;
    vec![
        row("store", ("POST", "/api/v1/memories"), new("x"), Body(new("y"))),
        row(
            "bulk_store",
            ("POST", "/api/v1/memories/bulk"),
            json!({"memories": [new("x"), {"title": "", "content": ""}, new("z")]}),
            Body(json!({"memories": [new("x")]})),
        ),
        row(
            "update",
            ("PATCH", "/api/v1/memories/{a}"),
            json!({"priority": 7, "tags": ["t"]}),
            Body(json!({"priority": 8})),
        ),
        row(
            "promote",
            ("POST", "/api/v1/memories/{a}/promote"),
            json!({"tier": "long"}),
            Body(json!({"tier": "short"})),
        ),
        row(
            "archive",
            ("POST", "/api/v1/memories/{c}/archive"),
            json!({"reason": "x"}),
            Body(json!({"reason": "y"})),
        ),
    ]
}

fn archive_and_links() -> Vec<Row> {
    use Other::{Body, Path};
    vec![
        row(
            "restore",
            ("POST", "/api/v1/memories/{old}/restore"),
            None,
            Path("/api/v1/memories/{older}/restore"),
        ),
        row(
            "archive_restore",
            ("POST", "/api/v1/archive/{older}/restore"),
            None,
            Path("/api/v1/archive/{old}/restore"),
        ),
        row(
            "archive_purge",
            ("DELETE", "/api/v1/archive/{oldest}"),
            None,
            Path("/api/v1/archive/{old}"),
        ),
        row(
            "delete",
            ("DELETE", "/api/v1/memories/{d}"),
            None,
            Path("/api/v1/memories/{d}?reason=other"),
        ),
        row(
            "link",
            ("POST", "/api/v1/links"),
            json!({"source": "{a}", "target": "{entity}", "relation": "depends_on"}),
            Body(json!({"source": "{a}", "target": "{entity}", "relation": "advances"})),
        ),
        row("unlink", ("DELETE", "/api/v1/links/{link}"), None, Path("/api/v1/links/{a}")),
        row(
            "alias",
            ("POST", "/api/v1/memories/{entity}/aliases"),
            json!({"alias": "Nan"}),
            Body(json!({"alias": "Nana"})),
        ),
        row(
            "unalias",
            ("DELETE", "/api/v1/memories/{entity}/aliases?alias=Annie"),
            None,
            Path("/api/v1/memories/{entity}/aliases?alias=Nan"),
        ),
    ]
}

fn many_and_agents() -> Vec<Row> {
    use Other::{Body, Path};
    let lines = |title: &str| Value::from(draft(title, "imported").to_string());
    vec![
        row(
            "consolidate",
            ("POST", "/api/v1/consolidate"),
            json!({"ids": ["{a}", "{b}"], "into": draft("both", "a and b")}),
            Body(json!({"ids": ["{a}", "{b}"], "into": draft("both", "b and a")})),
        ),
        row(
            "forget",
            ("POST", "/api/v1/forget"),
            json!({"namespace": "global", "title": "new", "dry_run": false}),
            Body(json!({"namespace": "global", "title": "newer", "dry_run": false})),
        ),
        row("import", ("POST", "/api/v1/import"), lines("i"), Body(lines("j"))),
        row(
            "put_agent",
            ("POST", "/api/v1/agents"),
            json!({"agent_id": "eve", "issue_token": true}),
            Body(json!({"agent_id": "eve"})),
        ),
        row(
            "revoke_agent",
            ("POST", "/api/v1/agents/bob/revoke"),
            None,
            Path("/api/v1/agents/eve/revoke"),
        ),
    ]
}

fn request(ground: &Ground, row: &Row, path: &str, body: Option<&Value>) -> Call {
    let call = call(row.method, &ground.fill(path)).header("idempotency-key", row.name);
    match body {
        None => call,
        // Text stands for lines of an import.
        Some(Value::String(lines)) => call.body("application/x-ndjson", lines.clone()),
        Some(body) => call.body("application/json", ground.fill(&body.to_string())),
    }
}

async fn change_position(door: &Door) -> Value {
    door.ok(get("/api/v1/status")).await["position"].clone()
}

#[tokio::test]
async fn every_operation_is_done_once_under_one_key() {
    let door = Door::open().await;
    let ground = Ground::new(&door).await;
    for row in rows() {
        let name = row.name;
        let first = door.send(request(&ground, &row, row.path, row.body.as_ref())).await;
        assert!(first.status.is_success(), "{name}: {}", first.text());
        let position = change_position(&door).await;
        let again = door.send(request(&ground, &row, row.path, row.body.as_ref())).await;
        assert_eq!(again.status, first.status, "{name}: {}", again.text());
        let (mut first, mut again) = (first.json(), again.json());
        if let Some(replayed) = again.as_object_mut().and_then(|answer| answer.remove("replayed")) {
            assert_eq!(replayed, json!(true), "{name}");
            assert_eq!(
                first.as_object_mut().and_then(|a| a.remove("replayed")),
                Some(json!(false))
            );
        }
        if name == "put_agent" {
            let token = first.as_object_mut().and_then(|answer| answer.remove("token"));
            assert!(token.is_some_and(|token| token.is_string()), "a token is shown once");
        }
        assert_eq!(again, first, "{name} answers what it answered");
        assert_eq!(change_position(&door).await, position, "{name} changed something again");

        let (path, body) = match &row.other {
            Other::Body(body) => (row.path, Some(body)),
            Other::Path(path) => (*path, row.body.as_ref()),
        };
        let other = door.send(request(&ground, &row, path, body)).await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {}", other.text());
        other.problem(422, "idempotency_mismatch");
        assert_eq!(change_position(&door).await, position, "{name} did what it refused");
    }
}

#[tokio::test]
async fn what_a_pattern_names_now_is_not_what_it_named_then() {
    let door = Door::open().await;
    let kept = door.stored(draft("note 1", "first")).await;
    let forget = json!({"namespace": "global", "title": "note*", "dry_run": false});
    let call = || post("/api/v1/forget").json(&forget).header("idempotency-key", "k");
    assert_eq!(door.ok(call()).await["ids"], json!([kept]));
    door.stored(draft("note 2", "second")).await;
    let again = door.ok(call()).await;
    assert_eq!((&again["ids"], &again["titles"]), (&json!([kept]), &json!(["note 1"])));
    // Having found nothing is an answer too.
    let none = json!({"namespace": "global", "title": "memo*", "dry_run": false});
    let call = || post("/api/v1/forget").json(&none).header("idempotency-key", "none");
    assert_eq!(door.ok(call()).await["ids"], json!([]));
    door.stored(draft("memo 1", "late")).await;
    let again = door.ok(call()).await;
    assert_eq!((&again["ids"], &again["replayed"]), (&json!([]), &json!(true)));
}

#[test]
fn every_operation_that_changes_something_has_a_row() {
    let document: Value = serde_json::from_str(&openapi::text()).expect("JSON");
    let tested: BTreeSet<&str> = rows().iter().map(|row| row.name).collect();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            let name = operation["operationId"].as_str().expect("a name");
            let unkeyed = [READS, PEERS, NAMED, ROOT].iter().any(|names| names.contains(&name));
            let reads = method == "get" || unkeyed;
            assert_ne!(reads, tested.contains(name), "{method} {path}: {name}");
            let takes_key = operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| p["name"] == "Idempotency-Key"));
            assert_eq!(takes_key, !reads, "{name} declares what it does");
        }
    }
}
