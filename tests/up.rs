//! `hivemem up` as a new user meets it: one command, a memory that survives the death of the node that took it, and
//! nothing left behind.
//!
//! Not here: faults drawn by chance (`chaos`).

mod cluster;
mod daemon;

use std::path::Path;

use serde_json::Value;

use crate::{
    cluster::{Cluster, command, text},
    daemon::{json_of, ok, run, until},
};

fn is_running(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Recalls until a memory is found.
fn recalls(data: &Path, question: &str, title: &str) {
    until(&format!("{title} at {}", data.display()), || {
        let found = json_of(&ok(data, &["recall", question, "--json"]));
        if found.to_string().contains(title) { Ok(()) } else { Err(found.to_string()) }
    });
}

#[test]
fn a_memory_outlives_the_node_that_took_it() {
    let (cluster, told) = Cluster::up("mesh3", &[]);
    assert_eq!(told["nodes"].as_array().expect("nodes").len(), 3);
    for node in cluster.nodes() {
        assert_eq!((&node["process"], &node["answers"]), (&"running".into(), &true.into()));
    }
    ok(&cluster.data("n1"), &["store", "Deploy window", "Tuesdays before noon"]);
    cluster.ok(&["up", "kill", "n1"]);
    assert_eq!(cluster.node("n1")["process"], "gone");
    recalls(&cluster.data("n2"), "when do we deploy", "Deploy window");
    ok(&cluster.data("n3"), &["store", "Rollback", "The last image is kept for a week"]);
    let (code, said) = cluster.refused(&["up", "kill", "n1"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("`hivemem up start n1`"), "{said}");
    cluster.ok(&["up", "start", "n1"]);
    recalls(&cluster.data("n1"), "which image is kept", "Rollback");

    cluster.ok(&["up", "pause", "n3"]);
    assert_eq!(cluster.node("n3")["process"], "paused");
    ok(&cluster.data("n1"), &["store", "Freeze", "No deploys in December"]);
    cluster.ok(&["up", "resume", "n3"]);
    recalls(&cluster.data("n3"), "deploys in december", "Freeze");
    assert!(cluster.ok(&["up", "logs", "n2"]).contains("hivemem serves on"));
}

#[test]
fn what_is_up_goes_down_and_comes_up_again_with_what_it_knew() {
    let (cluster, told) = Cluster::up("root3", &[]);
    let pids: Vec<Value> =
        told["nodes"].as_array().expect("nodes").iter().map(|node| node["pid"].clone()).collect();
    assert!(pids.iter().all(is_running));
    let leaders = cluster.nodes().into_iter().filter(|node| node["role"] == "leader").count();
    assert_eq!(leaders, 1);
    let data = cluster.data("r2");
    ok(
        &data,
        &[
            "governance",
            "put-rule",
            "freeze",
            "--operation",
            "write",
            "-n",
            "acme/prod/**",
            "--effect",
            "refuse",
        ],
    );
    cluster.ok(&["down"]);
    assert!(!pids.iter().any(is_running), "nothing is left behind");
    let again = json_of(&cluster.ok(&["up", "--json"]));
    assert_eq!(again["shape"], "root3", "it is the cluster that was there");
    until("the rule is still there", || {
        let refused = run(&data, &["store", "x", "y", "--namespace", "acme/prod/db"]);
        let said = text(&refused.stderr);
        if said.contains("freeze") { Ok(()) } else { Err(said) }
    });
}

#[test]
fn who_comes_right_after_another_gets_a_network_that_is_whole() {
    // With privileges both get the same number, and the system takes away the first one's namespaces when it has time.
    for _ in 0..2 {
        let place = tempfile::tempdir().expect("a folder");
        let ok = |arguments: &[&str]| {
            let output = command(place.path(), arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            json_of(&text(&output.stdout))
        };
        let told = ok(&["up", "--shape", "mesh2", "--json"]);
        let nodes = told["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|node| node["answers"] == true), "{told}");
        ok(&["down", "--json"]);
    }
}

#[test]
fn what_cannot_be_is_said_with_its_fix() {
    let place = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str]| {
        let output = command(place.path(), arguments);
        (output.status.code().unwrap_or(-1), text(&output.stderr))
    };
    let (code, said) = refused(&["up", "status"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("hivemem up --folder"), "{said}");
    let (code, said) = refused(&["down"]);
    assert_eq!(code, 3, "{said}");
    let (code, said) = refused(&["up", "--shape", "ring"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("mesh5"), "{said}");
    let long = "x".repeat(100);
    let (code, said) = refused(&["up", "--network", "loopback", "--folder", &long]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("shorter --folder"), "{said}");
    std::fs::create_dir(place.path().join("mine")).expect("a folder");
    std::fs::write(place.path().join("mine/letter"), "dear").expect("a file");
    let (code, said) = refused(&["up", "--network", "loopback", "--folder", "mine"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("not empty"), "{said}");

    let (cluster, _) = Cluster::up("single", &[]);
    let (code, said) = cluster.refused(&["up", "--shape", "mesh3"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("was made with --shape single"), "{said}");
    let (code, said) = cluster.refused(&["up", "--set", "log.format=json"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("was made without --set"), "{said}");
    let (code, said) = cluster.refused(&["up", "kill", "n9"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("its nodes are n1"), "{said}");
    let (code, said) = cluster.refused(&["up", "partition", "n1"]);
    assert_eq!(code, 2, "{said}");
    let (code, said) = cluster.refused(&["up", "heal"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("loopback"), "{said}");
}
