//! Three real daemons that share their memories: a write that a quorum has, one that it has not, and nodes that
//! come back.
//!
//! Not here: what is decided (`federation::engine`) and how it is kept (`storage`), each beside its code.

mod daemon;

use std::path::Path;

use daemon::{Daemon, LocalApi, json_of, ok, run, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::vacant::vacant;

struct Peer {
    folder: TempDir,
    endpoint: String,
    daemon: Option<Daemon>,
}

impl Peer {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&mut self) {
        let peers = format!("federation.peers_file={}", self.path().join("peers.toml").display());
        let settings = [peers.as_str(), "federation.catch_up=1s"];
        self.daemon = Some(Daemon::start_at(self.folder.path(), &self.endpoint, &settings));
    }

    fn api(&self) -> LocalApi {
        LocalApi::of(self.path())
    }

    fn titles(&self) -> Vec<String> {
        let all = json_of(&ok(self.path(), &["list", "--limit", "1000", "--json"]));
        let items = all["items"].as_array().expect("items").iter();
        let mut titles: Vec<String> =
            items.map(|item| item["title"].as_str().expect("a title").to_owned()).collect();
        titles.sort();
        titles
    }
}

fn peers() -> Vec<Peer> {
    let mut all: Vec<Peer> = (0..3)
        .map(|_| Peer {
            folder: tempfile::tempdir().expect("a folder"),
            endpoint: vacant().expect("an address").to_string(),
            daemon: None,
        })
        .collect();
    let rows: Vec<String> = ["a", "b", "c"]
        .iter()
        .zip(&all)
        .map(|(name, peer)| {
            ok(peer.path(), &["peers", "row", "--name", name, "--endpoint", &peer.endpoint])
        })
        .collect();
    for peer in &mut all {
        std::fs::write(peer.path().join("peers.toml"), rows.concat()).expect("written");
        peer.start();
    }
    all
}

fn memory(title: &str) -> Value {
    json!({ "title": title, "content": format!("all about {title}"), "scope": "collective" })
}

fn has(peer: &Peer, titles: &[&str]) {
    until("all of it is there", || {
        let there = peer.titles();
        if there == titles { Ok(()) } else { Err(there.join(", ")) }
    });
}

#[test]
fn an_acknowledged_write_is_on_a_majority_and_soon_on_all() {
    let all = peers();
    let (status, stored) = all[0].api().send("/api/v1/memories", &memory("one"));
    assert_eq!(status, 201, "{stored}");
    assert!(stored["durability"]["acks"].as_u64() >= Some(2), "{stored}");
    assert_eq!(stored["durability"]["needed"], 2, "{stored}");
    // What one node adds rests on what another said.
    has(&all[1], &["one"]);
    let (status, two) = all[1].api().send("/api/v1/memories", &memory("two"));
    assert_eq!(status, 201, "{two}");
    for peer in &all {
        has(peer, &["one", "two"]);
    }
    let listed = json_of(&ok(all[0].path(), &["peers", "list", "--json"]));
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[test]
fn an_agent_that_one_node_revokes_is_soon_refused_by_all() {
    let all = peers();
    let may = |peer: &Peer| run(peer.path(), &["--agent", "mallory", "list"]);
    ok(all[0].path(), &["agents", "register", "mallory"]);
    for peer in &all {
        assert!(may(peer).status.success());
    }
    ok(all[0].path(), &["agents", "revoke", "mallory", "--yes"]);
    for peer in &all {
        until("it is refused", || {
            let told = may(peer);
            let words = String::from_utf8_lossy(&told.stderr).into_owned();
            let refused = !told.status.success() && words.contains("was revoked");
            if refused { Ok(()) } else { Err(words) }
        });
    }
}

#[test]
fn without_its_daemon_a_node_with_peers_writes_nothing() {
    let mut all = peers();
    all[0].daemon.take().expect("it runs").kill();
    let peers = format!("federation.peers_file={}", all[0].path().join("peers.toml").display());
    let stored = run(all[0].path(), &["--set", &peers, "store", "Alone", "no"]);
    let words = String::from_utf8_lossy(&stored.stderr).into_owned();
    assert!(!stored.status.success() && words.contains("start it"), "PRS-1: {words}");
    assert_eq!(all[0].titles(), Vec::<String>::new());
}

#[test]
fn a_write_that_too_few_have_says_so_and_arrives_later() {
    let mut all = peers();
    for peer in &mut all[1..] {
        peer.daemon.take().expect("it runs").kill();
    }
    let (status, answer) = all[0].api().send("/api/v1/memories", &memory("early"));
    assert_eq!((status, &answer["reason"]), (503, &json!("quorum_not_met")), "{answer}");
    let facts = (&answer["got"], &answer["needed"], &answer["cause"]);
    assert_eq!(facts, (&json!(1), &json!(2), &json!("timeout")), "{answer}");
    for peer in &mut all[1..] {
        peer.start();
    }
    for peer in &all {
        has(peer, &["early"]);
    }
    let (status, later) = all[2].api().send("/api/v1/memories", &memory("late"));
    assert_eq!(status, 201, "{later}");
    for peer in &all {
        has(peer, &["early", "late"]);
    }
}
