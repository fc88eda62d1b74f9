//! The four layers between peers in real daemons: certificates in the handshake, a key, a scope, a signature; and
//! certificates and lists that change without a restart.
//!
//! Not here: what a signature is refused for, line by line (`tests/bad_peers.rs`).

mod daemon;
mod fleet;
mod player;

use daemon::until;
use fleet::{API, BETWEEN, Fleet, Row, certificate, identity, memory, over_tls};
use http::{HeaderMap, Method};
use player::{BOTH, Over, Player, Reached};
use serde_json::json;
use types::{NodeId, Reason};
use wire::{http_client::HttpClient, tls::ClientIdentity};

const ALL: [usize; 3] = [0, 1, 2];

fn reached(fleet: &Fleet, at: usize, who: Option<&ClientIdentity>, key: Option<&str>) -> Reached {
    let node = &fleet.nodes[at];
    let id = node.row().node.parse().expect("a UUID");
    Reached::new(NodeId(id), over_tls(&node.address, node.pin, who), key)
}

/// A node that the test plays, on the list of the daemon at 0 with a certificate of its own.
fn joined(fleet: &Fleet, agents: &[&str], namespaces: &[&str]) -> (Player, ClientIdentity) {
    let player = Player::new(9);
    let pin = certificate(fleet.client.path(), "player");
    let row: toml::Table = player.row("player", agents, namespaces).parse().expect("a row");
    let key = row["peer"][0]["public_keys"][0].as_str().expect("a key").to_owned();
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let own = Row {
        name: "player".to_owned(),
        node: player.node.to_string(),
        keys: vec![key],
        endpoint: None,
        // As people write fingerprints: pairs with colons, in capitals, with a remark.
        certificates: vec![format!("{} # the test", colons(&pin.to_string()))],
        agents: texts(agents),
        namespaces: texts(namespaces),
    };
    fleet.nodes[0].knows(&[fleet.rows(), vec![own]].concat());
    (player, identity(fleet.client.path(), "player"))
}

fn colons(hex: &str) -> String {
    let pairs: Vec<&str> = (0..32).map(|at| &hex[2 * at..2 * at + 2]).collect();
    pairs.join(":").to_uppercase()
}

async fn gets_in(fleet: &Fleet, who: Option<&ClientIdentity>) -> bool {
    let node = &fleet.nodes[0];
    let client = HttpClient::new(over_tls(&node.address, node.pin, who));
    let path = "/api/v1/health";
    client.request(Method::GET, path, &HeaderMap::new(), None).await.is_ok_and(|a| a.status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_layer_refuses_on_its_own() {
    let mut fleet = tokio::task::block_in_place(|| Fleet::at_rest(&[]));
    let (mut player, own) = joined(&fleet, &["ann"], &["acme/**"]);
    tokio::task::block_in_place(|| fleet.nodes[0].start());
    certificate(fleet.client.path(), "eve");
    let eve = identity(fleet.client.path(), "eve");
    let agent = identity(fleet.client.path(), "client");
    // Layer 1: the handshake.
    assert!(!gets_in(&fleet, None).await && !gets_in(&fleet, Some(&eve)).await, "TLS-1");
    assert!(gets_in(&fleet, Some(&own)).await && gets_in(&fleet, Some(&agent)).await);
    player.stores("ann", "one");
    let at = |who, key| reached(&fleet, 0, Some(who), key);
    let proper = at(&own, Some(BETWEEN));
    let push = || player.push(proper.node, 1, 1);
    let told = |result: Result<_, types::Reject>| result.err().map(|refused| refused.reason);
    for over in BOTH {
        // A certificate that may come in, but is another's.
        let lent = at(&agent, Some(BETWEEN)).push(over, &player, push()).await;
        let refused = lent.expect_err("DWY-1");
        assert_eq!(refused.reason, Reason::Forbidden);
        assert_eq!(refused.fact("field"), Some("certificate"), "{refused}");
        // Layer 2: the key of agents is not that of peers.
        for key in [None, Some(API)] {
            let result = at(&own, key).push(over, &player, push()).await;
            assert_eq!(told(result), Some(Reason::Unauthenticated), "DWY-2");
        }
        // Layer 4: certificate and key without the node's own key.
        let pretender = Player { node: player.node, ..Player::new(8) };
        let result = proper.push(over, &pretender, push()).await;
        assert_eq!(told(result), Some(Reason::Unauthenticated), "SEA-1");
    }
    // All of them together; layer 3 decides on each operation.
    player.stores("eve", "not hers to send");
    let push = player.push(proper.node, 1, 2);
    let judged = proper.push(Over::Http, &player, push).await.expect("judged");
    assert_eq!(player::results(&judged), ["applied", "forbidden"], "ADM-2");
    let stored = tokio::task::block_in_place(|| {
        let body =
            json!({ "title": "two", "content": "x", "namespace": "other", "scope": "collective" });
        fleet.ask_as(0, "ann", Method::POST, "/api/v1/memories", Some(&body), None)
    });
    assert_eq!(stored.body["reason"], "quorum_not_met", "{}", stored.body);
    let told = proper.since(&player, &[]).await;
    let is_own = |origin: &str| origin.parse().is_ok_and(|origin| proper.node.speaks_as(origin));
    let own = told.operations.iter().filter(|item| is_own(&item.origin));
    let mut own = own.peekable();
    assert!(own.peek().is_some() && own.all(|item| item.whole.is_none()), "EXC-3");
}

#[test]
fn a_certificate_is_replaced_without_a_restart() {
    let mut fleet = Fleet::start();
    fleet.stored(0, &memory("before"));
    fleet.all_have(&ALL, &["before"]);
    // Both are on the lists while the change is under way.
    let old = fleet.nodes[1].pin;
    let files = fleet.nodes[1].folder.path().to_path_buf();
    let new = certificate(&files, "next");
    let mut rows = fleet.rows();
    rows[1].certificates = vec![old.to_string(), new.to_string()];
    fleet.nodes.iter().for_each(|node| node.knows(&rows));
    for end in ["key", "crt"] {
        let name = |name: &str| files.join(format!("{name}.{end}"));
        std::fs::rename(name("next"), name("node")).expect("renamed");
    }
    fleet.nodes[1].pin = new;
    until("b shows the new one", || {
        let who = identity(fleet.client.path(), "client");
        let endpoint = over_tls(&fleet.nodes[1].address, new, Some(&who));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = HttpClient::new(endpoint);
        let headers = HeaderMap::new();
        let asked = client.request(Method::GET, "/api/v1/health", &headers, None);
        runtime.expect("a runtime").block_on(asked).map(drop).map_err(|error| error.to_string())
    });
    // The others know it by the new one alone, and have to connect again.
    rows[1].certificates = vec![new.to_string()];
    fleet.nodes.iter().for_each(|node| node.knows(&rows));
    for at in [0, 2] {
        fleet.nodes[at].kill();
        fleet.nodes[at].start();
    }
    fleet.nodes[2].kill();
    for (at, title) in [(0, "by a"), (1, "by b")] {
        until(title, || match fleet.store(at, &memory(title)).status {
            200 | 201 => Ok(()),
            status => Err(status.to_string()),
        });
    }
    fleet.all_have(&[0, 1], &["before", "by a", "by b"]);
}

#[test]
fn who_is_struck_off_the_list_is_out_without_a_restart() {
    let fleet = Fleet::start();
    fleet.stored(2, &memory("before"));
    fleet.all_have(&ALL, &["before"]);
    let rows = fleet.rows();
    for node in &fleet.nodes[..2] {
        node.knows(&rows[..2]);
    }
    until("c's writes count no more", || {
        let told = fleet.store(2, &memory("after"));
        match told.body["reason"] == "quorum_not_met" {
            true => Ok(()),
            false => Err(told.body.to_string()),
        }
    });
    fleet.stored(0, &memory("without c"));
    for at in [0, 1] {
        until("they go on", || match fleet.titles(at).contains(&"without c".to_owned()) {
            true => Ok(()),
            false => Err(fleet.titles(at).join(", ")),
        });
    }
    assert!(!fleet.titles(2).contains(&"without c".to_owned()));
}
