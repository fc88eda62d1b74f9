//! What every peer has seen is forgotten, and whoever comes later gets what it lacks all the same: three real
//! daemons that keep their logs for a second.
//!
//! Not here: what may be forgotten (`federation::engine`, `storage`), each beside its code.

mod daemon;
mod fleet;

use daemon::until;
use fleet::{Fleet, memory};
use http::Method;
use serde_json::json;

const ALL: [usize; 3] = [0, 1, 2];
const SHORT: [&str; 2] = ["federation.keep=1s", "federation.compare=2s"];

/// A figure of a node.
fn figure(fleet: &Fleet, at: usize, name: &str) -> u64 {
    let text = fleet.metrics(at);
    let line = text.lines().find(|line| line.starts_with(&format!("hivemem_{name} ")));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no figure {name} in {text}"))
}

/// Waits until nothing is kept of the past at these nodes.
fn forgotten(fleet: &Fleet, nodes: &[usize]) {
    for at in nodes {
        until("the log and the tombstones are gone", || {
            let kept = ["log_operations", "tombstones"].map(|name| figure(fleet, *at, name));
            if kept == [0, 0] { Ok(()) } else { Err(format!("{kept:?} at {at}")) }
        });
    }
}

#[test]
fn logs_and_tombstones_go_and_a_new_peer_gets_what_is_left() {
    let mut fleet = Fleet::start_with(&SHORT);
    let gone = fleet.stored(0, &memory("gone"));
    let kept = fleet.stored(1, &memory("kept"));
    let other = fleet.stored(2, &memory("other"));
    fleet.all_have(&ALL, &["gone", "kept", "other"]);
    let link = json!({ "source": kept, "target": other, "relation": "depends_on" });
    fleet.changed(0, Method::POST, "/api/v1/links", Some(&link));
    fleet.changed(1, Method::DELETE, &format!("/api/v1/memories/{gone}"), None);
    fleet.all_have(&ALL, &["kept", "other"]);
    forgotten(&fleet, &ALL);
    // One of them loses its disk and comes back as somebody new.
    fleet.nodes[2].kill();
    fleet.replace(2);
    fleet.all_have(&ALL, &["kept", "other"]);
    let links = |fleet: &Fleet| {
        let told = fleet.ask(2, Method::GET, &format!("/api/v1/memories/{kept}/links"), None);
        told.body["items"].as_array().map_or(0, Vec::len)
    };
    until("its links come too", || match links(&fleet) {
        1 => Ok(()),
        count => Err(format!("{count} links")),
    });
    assert_eq!(fleet.get(2, &gone).status, 404);
    // And it takes part: what it writes is acknowledged, and goes on from where the others are.
    let stored = || match fleet.store(2, &memory("new")) {
        told if told.status < 300 => Ok(()),
        told => Err(told.body.to_string()),
    };
    until("its writes count", stored);
    fleet.all_have(&ALL, &["kept", "new", "other"]);
    forgotten(&fleet, &ALL);
}

#[test]
fn a_peer_that_is_away_keeps_the_past_alive() {
    let mut fleet = Fleet::start_with(&SHORT);
    let gone = fleet.stored(0, &memory("gone"));
    fleet.all_have(&ALL, &["gone"]);
    forgotten(&fleet, &ALL);
    fleet.nodes[2].kill();
    fleet.changed(0, Method::DELETE, &format!("/api/v1/memories/{gone}"), None);
    fleet.stored(1, &memory("one"));
    fleet.all_have(&[0, 1], &["one"]);
    // The other one asks every second what it lacks: enough rounds of forgetting have passed meanwhile.
    let before = figure(&fleet, 0, "peer_nonces");
    until("some questions later", || match figure(&fleet, 0, "peer_nonces") {
        now if now >= before + 6 => Ok(()),
        now => Err(format!("{now}")),
    });
    assert_eq!(figure(&fleet, 0, "tombstones"), 1, "one peer has not seen the deletion");
    fleet.nodes[2].start();
    fleet.all_have(&ALL, &["one"]);
    forgotten(&fleet, &ALL);
    for at in ALL {
        assert_eq!(fleet.get(at, &gone).status, 404);
    }
}
