//! What peers promise, driven through HTTP: three real daemons with certificates, a key and signatures, one of
//! which is gone for a while, or stale, or refuses, or comes back with nothing.
//!
//! Not here: what needs a clock of its own (the simulator), and what is refused at the door
//! (`tests/mutual_tls.rs`, `tests/bad_peers.rs`).

mod daemon;
mod fleet;

use daemon::{CLUSTER, confirmed, json_of, ok, until};
use fleet::{Fleet, NAMES, Row, memory};
use http::Method;
use serde_json::{Value, json};

const ALL: [usize; 3] = [0, 1, 2];

#[test]
fn a_write_is_acknowledged_by_exactly_its_quorum() {
    let mut fleet = Fleet::start();
    fleet.nodes[2].kill();
    let told = fleet.store(0, &memory("one"));
    assert_eq!(told.status, 201, "{}", told.body);
    assert_eq!(told.body["quorum_acks"], 2, "{}", told.body);
    assert_eq!(told.body["durability"]["acks"], 2, "{}", told.body);
    assert_eq!(told.body["durability"]["needed"], 2, "{}", told.body);
    fleet.all_have(&[0, 1], &["one"]);
    fleet.nodes[2].start();
    fleet.all_have(&ALL, &["one"]);
}

#[test]
fn a_quorum_missed_is_said_and_the_same_key_finds_out() {
    let mut fleet = Fleet::start();
    fleet.nodes[1].kill();
    fleet.nodes[2].kill();
    let body = memory("one");
    let once = |fleet: &Fleet| {
        fleet.ask_as(0, "local", Method::POST, "/api/v1/memories", Some(&body), Some("k1"))
    };
    let missed = once(&fleet);
    assert_eq!((missed.status, &missed.body["reason"]), (503, &json!("quorum_not_met")));
    let facts = ["got", "needed", "cause", "verdict", "retryable"].map(|name| &missed.body[name]);
    let expected = [&json!(1), &json!(2), &json!("timeout"), &json!("unknown"), &json!(true)];
    assert_eq!(facts, expected, "{}", missed.body);
    assert_eq!(missed.headers["retry-after"], "2");
    fleet.nodes[1].start();
    let met = once(&fleet);
    assert_eq!((met.status, &met.body["replayed"]), (201, &json!(true)), "{}", met.body);
    assert_eq!(met.body["quorum_acks"], 2, "{}", met.body);
    fleet.nodes[2].start();
    fleet.all_have(&ALL, &["one"]);
}

#[test]
fn what_was_deleted_while_a_peer_was_down_stays_deleted() {
    let mut fleet = Fleet::start();
    let id = fleet.stored(0, &memory("gone"));
    fleet.all_have(&ALL, &["gone"]);
    fleet.nodes[2].kill();
    fleet.changed(0, Method::DELETE, &format!("/api/v1/memories/{id}"), None);
    fleet.nodes[2].start();
    fleet.all_have(&ALL, &[]);
    // Whatever the stale one has to tell is told once this has arrived.
    fleet.stored(2, &memory("after"));
    fleet.all_have(&ALL, &["after"]);
    for at in ALL {
        assert_eq!(fleet.get(at, &id).status, 404, "resurrected at {}", NAMES[at]);
    }
}

#[test]
fn what_was_lowered_removed_or_shortened_stays_so_against_a_stale_peer() {
    let mut fleet = Fleet::start();
    let early = "2099-01-01T00:00:00.000Z";
    let first = json!({
        "title": "one", "content": "all about it", "scope": "collective", "tier": "mid",
        "priority": 9, "tags": ["x", "y"], "expires_at": "2099-06-01T00:00:00.000Z",
    });
    let id = fleet.stored(0, &first);
    fleet.all_have(&ALL, &["one"]);
    fleet.nodes[2].kill();
    let patch = json!({ "priority": 2, "remove_tags": ["x"], "expires_at": early });
    let path = format!("/api/v1/memories/{id}");
    fleet.changed(0, Method::PATCH, &path, Some(&patch));
    fleet.nodes[2].start();
    // The stale one changes something else, and its older values do not come back with that.
    let other = json!({ "add_tags": ["z"] });
    fleet.changed(2, Method::PATCH, &path, Some(&other));
    let expected = |seen: &Value| {
        let memory = &seen["memory"];
        memory["priority"] == 2
            && memory["tags"] == json!(["y", "z"])
            && memory["expires_at"] == early
    };
    fleet.agree("lowered, removed and shortened", |at| fleet.seen(at, &id), expected);
}

#[test]
fn one_title_written_on_two_sides_is_one_memory_under_either_id() {
    // Each side acknowledges alone, as an operator may choose.
    let alone = ["federation.quorum=1", "federation.quorum_below_majority=true"];
    let mut fleet = Fleet::at_rest(&alone);
    let body = |words: &str, tag: &str, priority: u8| {
        json!({
            "title": "same", "content": words, "scope": "collective", "tags": [tag, "both"],
            "priority": priority, "metadata": { tag: words },
        })
    };
    let mut ids = Vec::new();
    for (at, words, tag, priority) in [(0, "the first", "x", 3), (1, "the second", "y", 4)] {
        fleet.nodes[at].start();
        ids.push(fleet.stored(at, &body(words, tag, priority)));
        fleet.nodes[at].kill();
    }
    fleet.nodes.iter_mut().for_each(fleet::Node::start);
    let both = |fleet: &Fleet, at: usize| json!([fleet.seen(at, &ids[0]), fleet.seen(at, &ids[1])]);
    let one = |seen: &Value| {
        let memory = &seen[0]["memory"];
        seen[0] == seen[1]
            && memory["content"] == "the second"
            && memory["tags"] == json!(["both", "x", "y"])
            && memory["priority"] == 7
            && memory["metadata"] == json!({ "x": "the first", "y": "the second" })
    };
    fleet.agree("both ids are one memory", |at| both(&fleet, at), one);
    fleet.all_have(&ALL, &["same"]);
    let data = fleet.nodes[2].data();
    let conflicts = json_of(&ok(&data, &["conflicts", "list", "--json"]));
    let conflict = &conflicts["items"][0];
    assert_eq!(conflict["records"][0]["id"], json!(ids[0]), "{conflicts}");
    assert_eq!(conflict["records"][1]["id"], json!(ids[1]), "{conflicts}");
    assert_ne!(conflict["records"][0]["origin"], conflict["records"][1]["origin"]);
    let differs = json!(["content", "expires_at", "metadata", "priority", "tags"]);
    assert_eq!(conflict["differs"], differs);
    // A change by either id, at any node, is a change of what all see, and sticks.
    for (at, id, priority) in [(0, 1, 9), (2, 0, 2)] {
        let path = format!("/api/v1/memories/{}", ids[id]);
        let patch = json!({ "priority": priority, "remove_tags": ["both"] });
        fleet.changed(at, Method::PATCH, &path, Some(&patch));
        let changed = |seen: &Value| {
            let memory = &seen[0]["memory"];
            seen[0] == seen[1]
                && memory["priority"] == priority
                && memory["tags"] == json!(["x", "y"])
        };
        fleet.agree("changed by either id", |at| both(&fleet, at), changed);
    }
    // So does a link, which each end shows of the other.
    let other = fleet.stored(2, &memory("other"));
    fleet.agree("the other", |at| fleet.seen(at, &other), |seen| seen["status"] == 200);
    let link = json!({ "source": other, "target": ids[1], "relation": "contradicts" });
    fleet.changed(1, Method::POST, "/api/v1/links", Some(&link));
    let ends = |at: usize| {
        let of = |id: &str| {
            let told = fleet.ask(at, Method::GET, &format!("/api/v1/memories/{id}/links"), None);
            let link = &told.body["items"][0];
            json!([told.body["items"].as_array().map(Vec::len), link["source"], link["target"]])
        };
        json!([of(&ids[0]), of(&ids[1]), of(&other)])
    };
    let expected = json!([1, ids[0], other]);
    let alike =
        |seen: &Value| seen.as_array().is_some_and(|all| all.iter().all(|one| *one == expected));
    fleet.agree("the contradiction, from every end", ends, alike);
    fleet.changed(0, Method::DELETE, &format!("/api/v1/memories/{}", ids[1]), None);
    let gone = |seen: &Value| seen[0]["status"] == 404 && seen[1]["status"] == 404;
    fleet.agree("deleted under both", |at| both(&fleet, at), gone);
    fleet.all_have(&ALL, &["other"]);
}

/// The rows of others on one node's list, with what they may send.
fn may_send(rows: &[Row], agents: &[&str]) -> Vec<Row> {
    let agents: Vec<String> = agents.iter().map(|agent| (*agent).to_owned()).collect();
    rows.iter().map(|row| Row { agents: agents.clone(), ..row.clone() }).collect()
}

#[test]
fn what_a_peer_refuses_is_no_acknowledgement_and_is_taken_once_it_may_be() {
    let mut fleet = Fleet::at_rest(&[]);
    let rows = fleet.rows();
    fleet.nodes[2].knows(&may_send(&rows, &["ann"]));
    fleet.nodes.iter_mut().for_each(fleet::Node::start);
    let store = |fleet: &Fleet, agent: &str, title: &str| {
        fleet.ask_as(0, agent, Method::POST, "/api/v1/memories", Some(&memory(title)), None)
    };
    assert_eq!(store(&fleet, "ann", "by ann").status, 201);
    fleet.all_have(&ALL, &["by ann"]);
    let told = store(&fleet, "bob", "by bob");
    assert_eq!((told.status, &told.body["quorum_acks"]), (201, &json!(2)), "{}", told.body);
    let data = fleet.nodes[0].data();
    let letters = || json_of(&ok(&data, &["dlq", "list", "--json"]))["items"].clone();
    until("the refusal is known", || match letters() {
        all if all[0]["peer"] == "c" && all[0]["reason"] == "forbidden" => Ok(()),
        all => Err(all.to_string()),
    });
    // With the only other one gone, the refusal is the reason.
    fleet.nodes[1].kill();
    let told = store(&fleet, "bob", "by bob again");
    assert_eq!((told.status, &told.body["reason"]), (503, &json!("quorum_not_met")));
    fleet.nodes[1].start();
    fleet.all_have(&[0, 1], &["by ann", "by bob", "by bob again"]);
    fleet.all_have(&[2], &["by ann"]);
    fleet.nodes[2].knows(&rows);
    until("c has what it refused", || {
        ok(&data, &["dlq", "retry", "c"]);
        match fleet.titles(2) {
            there if there == ["by ann", "by bob", "by bob again"] => Ok(()),
            there => Err(there.join(", ")),
        }
    });
    until("no letter is left", || match letters() {
        all if all == json!([]) => Ok(()),
        all => Err(all.to_string()),
    });
}

/// Waits until a node's letters are these.
fn until_letters(fleet: &Fleet, at: usize, what: &str, fits: impl Fn(&Value) -> bool) {
    let data = fleet.nodes[at].data();
    until(what, || match json_of(&ok(&data, &["dlq", "list", "--json"]))["items"].clone() {
        all if fits(&all) => Ok(()),
        all => Err(all.to_string()),
    });
}

/// Has node c refuse what a stores next, which then says why; then lets c take it.
fn refused_and_taken_later(
    fleet: &mut Fleet,
    title: &str,
    cause: &str,
    lift: impl FnOnce(&mut Fleet),
) {
    let before = fleet.titles(2);
    fleet.nodes[1].kill();
    let told = fleet.store(0, &memory(title));
    let facts = [&told.body["reason"], &told.body["cause"], &told.body["got"]];
    let expected = [&json!("quorum_not_met"), &json!(cause), &json!(1)];
    assert_eq!((told.status, facts), (503, expected), "{}", told.body);
    until_letters(fleet, 0, "the refusal is a letter", |all| {
        all[0]["peer"] == "c" && all[0]["reason"] == cause
    });
    // The other one takes it, from whom it could come by catching up or by comparing.
    fleet.nodes[1].start();
    let mut all = before.clone();
    all.push(title.to_owned());
    all.sort();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    fleet.all_have(&[0, 1], &all);
    assert_eq!(fleet.titles(2), before);
    lift(fleet);
    let data = fleet.nodes[0].data();
    until("c has what it refused", || {
        ok(&data, &["dlq", "retry", "c"]);
        match fleet.titles(2) {
            there if there == all => Ok(()),
            there => Err(there.join(", ")),
        }
    });
    until_letters(fleet, 0, "no letter is left", |letters| *letters == json!([]));
    fleet.all_have(&ALL, &all);
}

#[test]
fn what_is_beyond_a_peers_quota_is_refused_and_taken_once_there_is_room() {
    let mut fleet = Fleet::at_rest(&[]);
    let small = ["quota.memories_per_day=1".to_owned()];
    fleet.nodes[2].start_with(&small);
    fleet.nodes[..2].iter_mut().for_each(fleet::Node::start);
    fleet.stored(0, &memory("one"));
    fleet.all_have(&ALL, &["one"]);
    // What an agent stored elsewhere counts against what it stores here.
    let here = fleet.store(2, &memory("one too many"));
    assert_eq!((here.status, &here.body["reason"]), (429, &json!("quota_exceeded")));
    refused_and_taken_later(&mut fleet, "two", "quota_exceeded", |fleet| {
        fleet.nodes[2].kill();
        fleet.nodes[2].start();
    });
}

#[test]
fn what_a_peers_policy_forbids_is_refused_and_taken_once_it_is_allowed() {
    let mut fleet = Fleet::at_rest(&[]);
    // A root of one, whose rules are c's alone.
    let c = &fleet.nodes[2];
    let endpoint = c.address.clone();
    let root = [
        "root.member=1".to_owned(),
        format!("root.cluster={CLUSTER}"),
        format!("root.endpoint={endpoint}"),
        format!("root.peer_key_file={}", c.file("peer.key").display()),
        format!("root.peer_ca_file={}", c.file("node.crt").display()),
    ];
    fleet.nodes[2].start_with(&root);
    let data = fleet.nodes[2].data();
    fleet.nodes[0].start();
    // Nothing is taken before the rules are known, and nothing is refused for good either.
    let early = fleet.store(0, &memory("early"));
    assert_eq!((early.status, &early.body["cause"]), (503, &json!("timeout")), "{}", early.body);
    ok(&data, &["root", "init", &format!("1={endpoint}")]);
    confirmed(&data);
    fleet.nodes[1].start();
    fleet.all_have(&ALL, &["early"]);
    until_letters(&fleet, 0, "it left no letter", |letters| *letters == json!([]));
    let put = ["governance", "put-rule", "frozen", "--effect", "refuse", "--operation", "write"];
    ok(&data, &put);
    refused_and_taken_later(&mut fleet, "two", "forbidden", |fleet| {
        ok(&fleet.nodes[2].data(), &["governance", "remove-rule", "frozen"]);
    });
}

#[test]
fn a_peer_that_comes_back_with_an_empty_disk_gets_everything() {
    let mut fleet = Fleet::start();
    fleet.stored(2, &memory("of its former life"));
    let gone = fleet.stored(0, &memory("deleted"));
    fleet.all_have(&ALL, &["deleted", "of its former life"]);
    fleet.changed(1, Method::DELETE, &format!("/api/v1/memories/{gone}"), None);
    fleet.all_have(&ALL, &["of its former life"]);
    fleet.nodes[2].kill();
    fleet.replace(2);
    fleet.all_have(&ALL, &["of its former life"]);
    assert_eq!(fleet.get(2, &gone).status, 404);
    let id = until("its writes count again", || match fleet.store(2, &memory("new")) {
        told if told.status == 201 || told.status == 200 => Ok(told.body["id"].clone()),
        told => Err(told.body.to_string()),
    });
    let id = id.as_str().expect("an id").to_owned();
    fleet.agree("the new one", |at| fleet.seen(at, &id), |seen| seen["status"] == 200);
}
