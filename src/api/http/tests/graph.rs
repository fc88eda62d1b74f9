//! Links, walks, names and history.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Door, call, draft, get, post};

async fn linked(door: &Door, source: &str, target: &str, relation: &str) -> String {
    let body = json!({"source": source, "target": target, "relation": relation});
    let answer = door.send(post("/api/v1/links").json(&body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn links_make_a_graph() {
    let door = Door::open().await;
    let [a, b, c] = [
        door.stored(draft("A", "a")).await,
        door.stored(draft("B", "b")).await,
        door.stored(draft("C", "c")).await,
    ];
    let ab = linked(&door, &a, &b, "derived_from").await;
    let bc = linked(&door, &b, &c, "derived_from").await;

    let links = door.ok(get(&format!("/api/v1/memories/{b}/links"))).await;
    assert_eq!(links["items"].as_array().unwrap().len(), 2);
    let lineage = door.ok(get(&format!("/api/v1/memories/{a}/lineage"))).await;
    assert_eq!(lineage["nodes"].as_array().unwrap().len(), 3);
    let near = door.ok(post("/api/v1/kg/query").json(&json!({"id": a, "depth": 1}))).await;
    let found: Vec<&Value> = near["nodes"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2, "{near}");
    let paths = door.ok(post("/api/v1/kg/find_paths").json(&json!({"from": a, "to": c}))).await;
    assert_eq!(paths["items"][0]["links"], json!([ab, bc]));
    let deep = door.send(post("/api/v1/kg/query").json(&json!({"id": a, "depth": 6}))).await;
    assert_eq!(deep.problem(400, "invalid_argument")["field"], "depth");

    door.ok(call("DELETE", &format!("/api/v1/links/{ab}"))).await;
    let gone = door.send(call("DELETE", &format!("/api/v1/links/{ab}"))).await;
    gone.problem(404, "not_found");
    let odd = door.send(call("DELETE", "/api/v1/links/nonsense")).await;
    odd.problem(400, "invalid_argument");
}

#[tokio::test]
async fn a_cycle_and_a_link_to_nowhere_are_refused() {
    let door = Door::open().await;
    let a = door.stored(draft("A", "a")).await;
    let b = door.stored(draft("B", "b")).await;
    linked(&door, &a, &b, "supersedes").await;
    let back = json!({"source": b, "target": a, "relation": "supersedes"});
    door.send(post("/api/v1/links").json(&back)).await.problem(409, "cycle");
    let nowhere = json!({"source": a, "target": "01890000-0000-7000-8000-000000000000",
        "relation": "related_to"});
    door.send(post("/api/v1/links").json(&nowhere)).await.problem(404, "not_found");
    let odd = json!({"source": a, "target": b, "relation": "likes"});
    let refused = door.send(post("/api/v1/links").json(&odd)).await;
    assert_eq!(refused.problem(400, "invalid_argument")["field"], "relation");
}

#[tokio::test]
async fn entities_have_other_names() {
    let door = Door::open().await;
    let entity = json!({"title": "PostgreSQL", "content": "a database", "kind": "entity"});
    let id = door.stored(entity).await;
    let aliases = format!("/api/v1/memories/{id}/aliases");
    door.ok(post(&aliases).json(&json!({"alias": "Postgres"}))).await;
    assert_eq!(door.ok(get(&aliases)).await["items"], json!(["Postgres"]));
    let found = door.ok(get("/api/v1/entities?name=Postgres")).await;
    assert_eq!(found["items"][0]["id"], id);
    door.ok(call("DELETE", &format!("{aliases}?alias=Postgres"))).await;
    assert_eq!(door.ok(get(&aliases)).await["items"], json!([]));
    let unnamed = door.send(call("DELETE", &aliases)).await;
    assert_eq!(unnamed.problem(400, "invalid_argument")["field"], "alias");
    let unnamed = door.send(get("/api/v1/entities")).await;
    assert_eq!(unnamed.problem(400, "invalid_argument")["field"], "name");
}

#[tokio::test]
async fn history_is_told_in_order() {
    let door = Door::open().await;
    let id = door.stored(draft("A", "a")).await;
    let path = format!("/api/v1/memories/{id}");
    door.ok(call("PATCH", &path).json(&json!({"content": "b"}))).await;
    let history = door.ok(post("/api/v1/kg/timeline").json(&json!({"id": id}))).await;
    let events: Vec<&str> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["event_type"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["memory.store", "memory.update"]);
}
