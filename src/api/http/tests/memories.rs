//! Storing, reading, changing and forgetting.

use http::StatusCode;
use serde_json::json;

use super::{Door, call, draft, get, post};

#[tokio::test]
async fn a_memory_lives_and_dies_with_its_version_as_etag() {
    let door = Door::open().await;
    let stored = door.send(post("/api/v1/memories").json(&draft("Tea", "Green, 70 degrees"))).await;
    assert_eq!(stored.status, StatusCode::CREATED);
    assert_eq!(stored.header("etag"), "\"1\"");
    let written = stored.json();
    assert_eq!(written["durability"]["fsynced"], true);
    assert_eq!(written["replayed"], false);
    let id = written["id"].as_str().unwrap();
    let path = format!("/api/v1/memories/{id}");
    assert_eq!(stored.header("location"), path);

    let read = door.send(get(&path)).await;
    assert_eq!((read.status, read.header("etag")), (StatusCode::OK, "\"1\""));
    assert_eq!(read.json()["content"], "Green, 70 degrees");
    let prefix = door.ok(get(&format!("/api/v1/memories/{}", &id[..20]))).await;
    assert_eq!(prefix["id"], id);
    let same = door.send(get(&path).header("if-none-match", "\"1\"")).await;
    assert_eq!((same.status, same.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(same.header("etag"), "\"1\"");

    let patch = |body| call("PATCH", &path).json(&body);
    let changed = door.send(patch(json!({"priority": 9})).header("if-match", "\"1\"")).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"2\""));
    let stale = door.send(patch(json!({"priority": 8})).header("if-match", "\"1\"")).await;
    assert_eq!(stale.problem(412, "version_conflict")["current_version"], 2);
    let stale = door.send(patch(json!({"priority": 8, "expected_version": 1}))).await;
    stale.problem(409, "version_conflict");
    let torn = patch(json!({"expected_version": 2})).header("if-match", "\"1\"");
    assert_eq!(door.send(torn).await.problem(400, "invalid_argument")["field"], "expected_version");

    let promoted = door.ok(post(&format!("{path}/promote")).json(&json!({"tier": "long"}))).await;
    assert_eq!(promoted["version"], 3);
    let memory = door.ok(get(&path)).await;
    assert_eq!((&memory["tier"], &memory["priority"]), (&json!("long"), &json!(9)));
    assert!(memory.get("expires_at").is_none());

    let kept = door.send(call("DELETE", &path).header("if-match", "\"1\"")).await;
    kept.problem(412, "version_conflict");
    door.ok(call("DELETE", &format!("{path}?reason=wrong"))).await;
    door.send(get(&path)).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_body_is_refused() {
    let door = Door::open().await;
    let store = |content: &str| {
        post("/api/v1/memories").json(&draft("Once", content)).header("idempotency-key", "k-1")
    };
    let first = door.send(store("a")).await;
    let again = door.send(store("a")).await;
    assert_eq!(again.status, first.status);
    let (first, again) = (first.json(), again.json());
    assert_eq!(first["id"], again["id"]);
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    door.send(store("b")).await.problem(422, "idempotency_mismatch");
    assert_eq!(door.ok(get("/api/v1/memories")).await["items"].as_array().unwrap().len(), 1);
    let long = "k".repeat(129);
    let refused = door.send(store("a").header("idempotency-key", &long)).await;
    assert_eq!(refused.problem(400, "invalid_argument")["field"], "idempotency-key");
}

#[tokio::test]
async fn a_second_store_of_a_title_folds_refuses_or_stays_apart() {
    let door = Door::open().await;
    let id = door.stored(draft("Plan", "a")).await;
    let folded = door.send(post("/api/v1/memories").json(&draft("Plan", "b"))).await;
    assert_eq!(folded.status, StatusCode::OK);
    assert_eq!((&folded.json()["id"], &folded.json()["merged"]), (&json!(id), &json!(true)));
    let with = |rule| json!({"title": "Plan", "content": "c", "on_conflict": rule});
    let refused = door.send(post("/api/v1/memories").json(&with("error"))).await;
    refused.problem(409, "already_exists");
    let apart = door.stored(with("new")).await;
    assert_ne!(apart, id);
}

#[tokio::test]
async fn bulk_refuses_items_alone_unless_atomic() {
    let door = Door::open().await;
    let body = |atomic| json!({"atomic": atomic, "memories": [draft("A", "a"), draft("", "b"), draft("C", "c")]});
    let all = door.send(post("/api/v1/memories/bulk").json(&body(true))).await;
    assert_eq!(all.problem(400, "invalid_argument")["item"], "1");
    let some = door.ok(post("/api/v1/memories/bulk").json(&body(false))).await;
    assert_eq!((&some["stored"], &some["refused"]), (&json!(2), &json!(1)));
    assert_eq!(some["items"][1]["error"]["reason"], "invalid_argument");
    let none = door.send(post("/api/v1/memories/bulk").json(&json!({"memories": []}))).await;
    none.problem(413, "too_large");
}

#[tokio::test]
async fn listings_filter_and_page() {
    let door = Door::open().await;
    for n in 0..5 {
        let tags = if n % 2 == 0 { vec!["even", "all"] } else { vec!["all"] };
        let memory = json!({"title": format!("M{n}"), "content": "x", "tags": tags,
            "namespace": "acme/eng", "priority": n + 1});
        door.stored(memory).await;
    }
    door.stored(draft("Elsewhere", "x")).await;
    let titles = |page: &serde_json::Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|m| m["title"].as_str().unwrap().to_owned()).collect()
    };
    let base = "/api/v1/memories?namespace=acme/eng&namespace_mode=exact&limit=2";
    let first = door.ok(get(base)).await;
    assert_eq!(titles(&first), ["M4", "M3"]);
    let after = first["next"].as_str().unwrap();
    let second = door.ok(get(&format!("{base}&after={after}"))).await;
    assert_eq!(titles(&second), ["M2", "M1"]);
    let even = door.ok(get("/api/v1/memories?tags=even,all&min_priority=2")).await;
    assert_eq!(titles(&even), ["M4", "M2"]);
    let within = door.ok(get("/api/v1/memories?namespace=acme&namespace_mode=within")).await;
    assert_eq!(titles(&within).len(), 5);
    let namespaces = door.ok(get("/api/v1/namespaces")).await;
    assert_eq!(namespaces["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_archive_takes_gives_back_and_is_purged() {
    let door = Door::open().await;
    let id = door.stored(draft("Old", "x")).await;
    door.ok(post(&format!("/api/v1/memories/{id}/archive")).json(&json!({"reason": "stale"})))
        .await;
    assert_eq!(door.ok(get("/api/v1/memories")).await["items"], json!([]));
    let archive = door.ok(get("/api/v1/archive")).await;
    assert_eq!(archive["items"][0]["archived_reason"], "stale");
    door.ok(post(&format!("/api/v1/memories/{id}/restore"))).await;
    let live = door.send(call("DELETE", &format!("/api/v1/archive/{id}"))).await;
    live.problem(409, "failed_precondition");
    door.ok(post(&format!("/api/v1/memories/{id}/archive"))).await;
    door.ok(post(&format!("/api/v1/archive/{id}/restore"))).await;
    let again = door.send(post(&format!("/api/v1/archive/{id}/restore"))).await;
    again.problem(409, "failed_precondition");
    door.ok(post(&format!("/api/v1/memories/{id}/archive"))).await;
    door.ok(call("DELETE", &format!("/api/v1/archive/{id}"))).await;
    door.send(get(&format!("/api/v1/memories/{id}"))).await.problem(404, "not_found");
}

#[tokio::test]
async fn forgetting_asks_first() {
    let door = Door::open().await;
    for title in ["tmp one", "tmp two", "keep"] {
        door.stored(json!({"title": title, "content": "x", "namespace": "lab"})).await;
    }
    let pattern = json!({"namespace": "lab", "title": "tmp*"});
    let asked = door.ok(post("/api/v1/forget").json(&pattern)).await;
    assert_eq!((&asked["dry_run"], asked["ids"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(door.ok(get("/api/v1/archive")).await["items"], json!([]));
    let sure = json!({"namespace": "lab", "title": "tmp*", "dry_run": false});
    let done = door.ok(post("/api/v1/forget").json(&sure)).await;
    assert_eq!((&done["dry_run"], done["ids"].as_array().unwrap().len()), (&json!(false), 2));
    let left = door.ok(get("/api/v1/memories")).await;
    assert_eq!(left["items"][0]["title"], "keep");
}

#[tokio::test]
async fn several_become_one_and_duplicates_are_found() {
    let door = Door::open().await;
    let text = "the deployment of the search cluster runs every monday at noon";
    let a = door.stored(draft("Deploy", text)).await;
    let b = door.stored(draft("Deploys", text)).await;
    let asked = json!({"title": "Deploy", "content": text});
    let twins = door.ok(post("/api/v1/check-duplicate").json(&asked)).await;
    assert_eq!(twins["items"].as_array().unwrap().len(), 2, "{twins}");
    let body = json!({"ids": [a, b], "into": draft("Deployment", text)});
    let one = door.send(post("/api/v1/consolidate").json(&body)).await;
    assert_eq!(one.status, StatusCode::CREATED, "{}", one.text());
    let left = door.ok(get("/api/v1/memories")).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let lone = json!({"ids": [a], "into": draft("x", "y")});
    let refused = door.send(post("/api/v1/consolidate").json(&lone)).await;
    assert_eq!(refused.problem(400, "invalid_argument")["field"], "ids");
}

#[tokio::test]
async fn recall_answers_by_url_by_body_and_by_words() {
    let door = Door::open().await;
    let tea = door.stored(draft("Tea", "green tea wants water of 70 degrees")).await;
    door.stored(draft("Coffee", "espresso wants nine bars of pressure")).await;
    let by_url = door.ok(get("/api/v1/recall?q=green+tea&limit=1&explain=true")).await;
    assert_eq!(by_url["hits"][0]["memory"]["id"], tea);
    assert!(by_url["hits"][0]["explanation"]["fused"].is_number());
    let asked = json!({"query": "green tea", "filter": {"tiers": ["mid"]}});
    assert_eq!(door.ok(post("/api/v1/recall").json(&asked)).await["hits"][0]["memory"]["id"], tea);
    assert_eq!(door.ok(post("/api/v1/search").json(&asked)).await["hits"][0]["memory"]["id"], tea);
    let dense = json!({"query": "tea", "mode": "dense"});
    let refused = door.send(post("/api/v1/search").json(&dense)).await;
    assert_eq!(refused.problem(400, "invalid_argument")["field"], "mode");
    let far = door.send(get("/api/v1/recall?q=tea&min_position=1000000")).await;
    far.problem(409, "position_not_reached");
    assert_eq!(far.header("retry-after"), "1");
    let majority = door.ok(get("/api/v1/recall?q=tea&consistency=quorum")).await;
    assert_eq!(majority["hits"][0]["memory"]["id"], tea);
    door.send(get("/api/v1/recall?q=tea&consistency=root")).await.problem(501, "unimplemented");
    assert_eq!(
        door.send(get("/api/v1/recall")).await.problem(400, "invalid_argument")["field"],
        "q"
    );
}
