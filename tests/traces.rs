//! A trace through real nodes: from the command that asks, through the queue and the commit of the node that it asks, to
//! the peers that have it too, and to the leader of the root.
//!
//! Not here: spans (`runtime::span`), collectors (`telemetry::otlp`).

mod cluster;
mod daemon;

use std::{path::Path, process::Stdio};

use serde_json::Value;

use crate::{
    cluster::{Cluster, text},
    daemon::{hivemem, json_of, until},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ASKING: &str = "00f067aa0ba902b7";
const LOGS: [&str; 2] = ["log.format=json", "log.filter=info,hivemem::span=debug"];

/// Runs a command as part of the trace.
fn traced(data: &Path, words: &[&str]) -> String {
    let mut command = hivemem(data);
    command.env("TRACEPARENT", format!("00-{TRACE}-{ASKING}-01"));
    let output = command.args(words).stdin(Stdio::null()).output().expect("the binary runs");
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The spans of the trace that a node has logged.
fn spans(cluster: &Cluster, node: &str) -> Vec<Value> {
    let log = cluster.log(node);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "hivemem::span" && line["trace_id"] == TRACE).collect()
}

/// The spans of a name that are part of a span.
fn parts<'s>(spans: &'s [Value], name: &str, parent: &Value) -> Vec<&'s Value> {
    spans.iter().filter(|span| span["name"] == name && span["parent_id"] == *parent).collect()
}

#[test]
fn a_write_is_followed_from_the_command_to_the_peers() {
    let (cluster, _) = Cluster::up("mesh3", &LOGS);
    traced(&cluster.data("n1"), &["store", "Deploy window", "Tuesdays before noon"]);
    until("the trace is whole", || {
        let here = spans(&cluster, "n1");
        let request = parts(&here, "store", &ASKING.into());
        let request = &request.first().ok_or("no request")?["span_id"];
        for stage in ["store.queue", "store.commit", "quorum"] {
            let found = parts(&here, stage, request).len();
            if found != 1 {
                return Err(format!("{found} times {stage} in {here:?}"));
            }
        }
        let pushes = parts(&here, "push", request);
        for peer in ["n2", "n3"] {
            let there = spans(&cluster, peer);
            let name = "hivemem.v1.SyncPeer/Push";
            let taken = pushes.iter().flat_map(|push| parts(&there, name, &push["span_id"]));
            let taken: Vec<&Value> = taken.collect();
            let request =
                &taken.first().ok_or(format!("nothing came to {peer}: {there:?}"))?["span_id"];
            if parts(&there, "store.commit", request).is_empty() {
                return Err(format!("nothing was committed at {peer}: {there:?}"));
            }
        }
        Ok(())
    });
    for node in ["n1", "n2", "n3"] {
        let log = cluster.log(node);
        assert!(!log.contains("Deploy window") && !log.contains("Tuesdays"), "SPN-3: {log}");
    }
}

#[test]
fn a_lock_is_followed_to_the_leader() {
    let (cluster, _) = Cluster::up("root3", &LOGS);
    let role = |node: &str| cluster.node(node)["role"].clone();
    let leader = ["r1", "r2", "r3"].into_iter().find(|node| role(node) == "leader");
    let leader = leader.expect("somebody leads");
    let follower = if leader == "r1" { "r2" } else { "r1" };
    traced(&cluster.data(follower), &["lock", "run", "deploy", "--", "true"]);
    until("the trace is whole", || {
        let (here, there) = (spans(&cluster, follower), spans(&cluster, leader));
        let asked = here.iter().filter(|span| span["name"] == "root.propose");
        let name = "hivemem.v1.RootPeer/Propose";
        let taken = asked.filter(|span| !parts(&there, name, &span["span_id"]).is_empty()).count();
        // A session, a grant, and their ends.
        if taken >= 3 { Ok(()) } else { Err(format!("{taken} proposals: {here:?}; {there:?}")) }
    });
}

#[test]
fn what_belongs_to_no_trace_is_traced_by_chance_alone() {
    let all = [&LOGS[..], &["trace.sample_percent=100"]].concat();
    for (settings, wanted) in [(&LOGS[..], false), (&all, true)] {
        let (cluster, _) = Cluster::up("single", settings);
        daemon::ok(&cluster.data("n1"), &["store", "Deploy window", "Tuesdays before noon"]);
        let found = || {
            let log = cluster.log("n1");
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.any(|line| line["target"] == "hivemem::span" && line["name"] == "store")
        };
        if wanted {
            until("the request is traced", || found().then_some(()).ok_or_else(String::new));
        }
        let told = json_of(&cluster.ok(&["up", "status", "--json"]));
        assert_eq!(told["nodes"][0]["answers"], true);
        assert_eq!(found(), wanted);
    }
}
