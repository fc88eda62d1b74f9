//! Looking after the node.

use serde_json::json;

use super::{Door, draft, get, post};

#[tokio::test]
async fn the_node_tells_about_itself() {
    let door = Door::open().await;
    door.stored(draft("A", "a")).await;
    let status = door.ok(get("/api/v1/status")).await;
    assert_eq!((&status["ready"], &status["memories"]), (&json!(true), &json!(1)));
    let can = door.ok(get("/api/v1/capabilities")).await;
    assert_eq!((&can["api"], &can["limits"]["content_bytes"]), (&json!("v1"), &json!(65_536)));
    let metrics = door.send(get("/metrics")).await.text();
    assert!(metrics.contains("hivemem_memories 1\n"), "{metrics}");
    let counted = "hivemem_requests_total{door=\"http\",operation=\"store\",reason=\"ok\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    let stores = "hivemem_memory_store_latency_seconds_count 1\n";
    assert!(metrics.contains(stores), "{metrics}");
    assert!(metrics.contains("hivemem_process_resident_memory_bytes "), "{metrics}");
}

#[tokio::test]
async fn evidence_and_checks_hold_and_backups_stay_in_their_folder() {
    let door = Door::open().await;
    door.stored(draft("A", "a")).await;
    let chain = door.ok(post("/api/v1/admin/verify-chain")).await;
    assert_eq!(chain["chain_holds"], true, "{chain}");
    let since = json!({"since": 1});
    assert_eq!(door.ok(post("/api/v1/admin/verify-chain").json(&since)).await["chain_holds"], true);
    let negative = door.send(post("/api/v1/admin/verify-chain").json(&json!({"since": -1}))).await;
    assert_eq!(negative.problem(400, "invalid_argument")["field"], "since");
    let doctor = door.ok(post("/api/v1/admin/doctor")).await;
    assert_eq!((&doctor["healthy"], &doctor["findings"]), (&json!(true), &json!([])), "{doctor}");
    let digest = door.ok(get("/api/v1/admin/digest")).await;
    assert_eq!(digest["sha256"].as_str().unwrap().len(), 64);

    std::fs::create_dir(door.folder.path().join("backups")).unwrap();
    let backup = |name: &str| post("/api/v1/admin/backup").json(&json!({"name": name}));
    door.ok(backup("nightly.1")).await;
    assert!(door.folder.path().join("backups/nightly.1").is_dir());
    door.send(backup("nightly.1")).await.problem(409, "failed_precondition");
    for bad in ["../out", "/etc/out", ""] {
        let refused = door.send(backup(bad)).await;
        assert_eq!(refused.problem(400, "invalid_argument")["field"], "name", "{bad}");
    }
}
