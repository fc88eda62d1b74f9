//! Reads among peers: three real daemons, of which the reader's own lags.
//!
//! What is written is pushed at once as long as all is well. So the writer believes that the reader is somewhere else,
//! and the reader catches up by itself once, when it starts: what it has of the writer afterwards, it was asked for.
//!
//! Not here: what writes promise (`tests/peers_http.rs`).

mod daemon;
mod fleet;

use daemon::{json_of, ok};
use fleet::{Fleet, Row, Told, memory};
use http::Method;
use serde_json::{Value, json};
use wire::vacant::vacant;

const WRITER: usize = 0;
const OTHER: usize = 1;
const READER: usize = 2;

/// A fleet whose writer has acknowledged something that the reader has not heard of; its id, and what the writer said
/// of how safe it is.
fn behind() -> (Fleet, String, Value) {
    let mut fleet = Fleet::at_rest(&["federation.catch_up=1h", "federation.compare=1h"]);
    let rows = fleet.rows();
    let nowhere = vacant().expect("an address").to_string();
    for (who, lost) in [(WRITER, READER), (READER, OTHER)] {
        let mut rows = rows.clone();
        rows[lost] = Row { endpoint: Some(nowhere.clone()), ..rows[lost].clone() };
        fleet.nodes[who].knows(&rows);
    }
    fleet.nodes[WRITER].start();
    fleet.nodes[OTHER].start();
    fleet.stored(WRITER, &memory("before"));
    fleet.nodes[READER].start();
    fleet.all_have(&[READER], &["before"]);
    let told = fleet.store(WRITER, &memory("missed"));
    assert_eq!((told.status, &told.body["quorum_acks"]), (201, &json!(2)), "{}", told.body);
    fleet.all_have(&[WRITER, OTHER], &["before", "missed"]);
    let id = told.body["id"].as_str().expect("an id").to_owned();
    (fleet, id, told.body["durability"].clone())
}

fn read(fleet: &Fleet, at: usize, id: &str, how: &str) -> Told {
    fleet.ask(at, Method::GET, &format!("/api/v1/memories/{id}?{how}"), None)
}

#[test]
fn a_read_of_a_quorum_sees_what_was_acknowledged_elsewhere() {
    let (mut fleet, id, _) = behind();
    assert_eq!(read(&fleet, READER, &id, "consistency=local").status, 404);
    let seen = read(&fleet, READER, &id, "consistency=quorum");
    assert_eq!((seen.status, &seen.body["title"]), (200, &json!("missed")), "{}", seen.body);
    assert_eq!(read(&fleet, READER, &id, "consistency=local").status, 200);
    // Each door asks.
    let next = fleet.stored(WRITER, &memory("next"));
    let question = json!({ "query": "next", "consistency": "quorum" });
    let told = fleet.ask(READER, Method::POST, "/api/v1/recall", Some(&question));
    assert_eq!(told.body["hits"][0]["memory"]["id"], json!(next), "{}", told.body);
    let last = fleet.stored(WRITER, &memory("last"));
    let data = fleet.nodes[READER].data();
    let got = json_of(&ok(&data, &["get", &last, "--consistency", "quorum", "--json"]));
    assert_eq!(got["id"], json!(last));
    // Alone it cannot know.
    fleet.nodes[WRITER].kill();
    let refused = read(&fleet, READER, &id, "consistency=quorum");
    let facts = ["reason", "got", "needed"].map(|name| refused.body[name].clone());
    assert_eq!(facts, [json!("quorum_not_met"), json!(1), json!(2)], "{}", refused.body);
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (503, &"2".parse().expect("text"))
    );
    assert_eq!(read(&fleet, READER, &id, "consistency=local").status, 200);
    let bad = read(&fleet, READER, &id, "consistency=most");
    assert_eq!((bad.status, &bad.body["field"]), (400, &json!("consistency")), "{}", bad.body);
}

#[test]
fn a_read_that_names_a_write_waits_for_it_wherever_it_is_asked() {
    let (fleet, id, durability) = behind();
    let token = durability["token"].as_str().expect("a token").to_owned();
    assert_eq!(read(&fleet, READER, &id, "consistency=local").status, 404);
    let seen = read(&fleet, READER, &id, &format!("min_position={token}"));
    assert_eq!((seen.status, &seen.body["title"]), (200, &json!("missed")), "{}", seen.body);
    let told = fleet.store(WRITER, &memory("next"));
    let token = told.body["durability"]["token"].as_str().expect("a token").to_owned();
    let listed = format!("/api/v1/memories?min_position={token}");
    let listed = fleet.ask(READER, Method::GET, &listed, None);
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(3), "{}", listed.body);
    // What nobody wrote yet is waited for in vain.
    let (node, seq) = token.split_once(':').expect("two parts");
    let later = format!("{node}:{}", seq.parse::<u64>().expect("a number") + 1);
    let (path, question) = ("/api/v1/recall", json!({ "query": "later", "min_position": later }));
    let never = fleet.ask_within(READER, Method::POST, path, &question, 1500);
    assert_eq!(never.status, 409, "{}", never.body);
    let facts = (&never.body["reason"], &never.body["missing"]);
    assert_eq!(facts, (&json!("position_not_reached"), &json!(later)), "{}", never.body);
    // The writer's next write is that one.
    let told = fleet.store(WRITER, &memory("later"));
    assert_eq!(told.body["durability"]["token"], json!(later), "{}", told.body);
    let found = fleet.ask(READER, Method::POST, path, Some(&question));
    assert_eq!(found.body["hits"][0]["memory"]["id"], told.body["id"], "{}", found.body);
    let bad = read(&fleet, READER, &id, "min_position=yesterday");
    assert_eq!((bad.status, &bad.body["field"]), (400, &json!("min_position")), "{}", bad.body);
}
