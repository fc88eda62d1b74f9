//! What operators see of peers: `sync status`, and metrics, in real daemons.
//!
//! Not here: how the figures are counted (`federation::driver::seen`, `peers::standing`).

mod daemon;
mod fleet;
mod player;

use daemon::{json_of, ok, until};
use fleet::{BETWEEN, Fleet, memory, over_tls};
use http::Method;
use player::{Player, Reached, json_of_push};
use serde_json::{Value, json};
use types::{NodeId, Reason};

fn status(fleet: &Fleet, at: usize) -> Value {
    json_of(&ok(&fleet.nodes[at].data(), &["sync", "status", "--json"]))
}

fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let items = status["items"].as_array().expect("peers");
    items.iter().find(|item| item["name"] == name).expect(name)
}

/// The value of a metric, with its labels as they are written.
fn metric(fleet: &Fleet, at: usize, name: &str) -> f64 {
    let socket = format!("unix:{}", fleet.nodes[at].data().join("hivemem.sock").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.expect("a runtime").block_on(async {
        daemon::Api::new(&socket).send(Method::GET, "/metrics", None).await.expect("an answer")
    });
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(-1.0)
}

#[test]
fn status_and_metrics_say_who_lags_and_why() {
    let mut fleet = Fleet::start();
    fleet.stored(0, &memory("one"));
    until("both have it", || {
        let status = status(&fleet, 0);
        let settled = |name| of(&status, name)["settled"] == status["position"];
        let known = |name| of(&status, name)["version"] == status["version"];
        match ["b", "c"].iter().all(|name| settled(name) && known(name)) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    let all = status(&fleet, 0);
    for name in ["b", "c"] {
        let peer = of(&all, name);
        assert_eq!((&peer["lag"], &peer["drifts"]), (&json!(0), &json!(false)), "{peer}");
        assert!(peer["last_heard"].is_string() && peer["quiet_until"].is_null(), "{peer}");
        let offset = peer["clock_offset_ms"].as_i64().expect("an offset");
        assert!(offset.abs() < 10_000, "one machine has one clock: {peer}");
        assert_eq!(peer["capabilities"], all["capabilities"]);
    }
    let text = ok(&fleet.nodes[0].data(), &["sync", "status"]);
    assert!(text.contains("LAST_HEARD") && text.contains("CLOCK_OFFSET_MS"), "{text}");
    fleet.nodes[2].kill();
    let told = fleet.store(0, &memory("two"));
    assert_eq!(told.status, 201, "{}", told.body);
    until("c lags and is left alone for a while", || {
        let status = status(&fleet, 0);
        let c = of(&status, "c");
        let shown = c["lag"].as_u64() > Some(0) && c["failures"].as_u64() > Some(0);
        match shown && c["quiet_until"].is_string() && c["trouble"].is_string() {
            true => Ok(()),
            false => Err(c.to_string()),
        }
    });
    let of_c =
        |name: &str| metric(&fleet, 0, &format!("hivemem_federation_peer_{name}{{peer=\"c\"}}"));
    assert!(of_c("lag") > 0.0 && of_c("failures") > 0.0 && of_c("silent_seconds") >= 0.0);
    assert!(of_c("drift") == 0.0 && of_c("clock_offset_seconds").abs() < 10.0);
    let total = |name: &str| metric(&fleet, 0, &format!("hivemem_federation_{name}"));
    assert!(total("fanout_retry_total") > 0.0 && total("partial_quorum_total") > 0.0);
    assert!(total("push_dlq_depth") == 0.0 && total("fanout_dropped_total") == 0.0);
    fleet.nodes[1].kill();
    let told = fleet.store(0, &memory("three"));
    assert_eq!(told.body["reason"], "quorum_not_met", "{}", told.body);
    assert!(metric(&fleet, 0, "hivemem_federation_quorum_not_met_total") >= 1.0);
}

#[test]
fn what_is_refused_is_counted_until_somebody_gives_it_up() {
    let fleet = Fleet::at_rest(&[]);
    let mut rows = fleet.rows();
    rows.iter_mut().for_each(|row| row.agents = vec!["ann".to_owned()]);
    fleet.nodes[2].knows(&rows);
    let mut fleet = fleet;
    fleet.nodes.iter_mut().for_each(fleet::Node::start);
    let told = fleet.ask_as(0, "bob", Method::POST, "/api/v1/memories", Some(&memory("x")), None);
    assert_eq!(told.status, 201, "{}", told.body);
    until("c's refusal is seen", || match of(&status(&fleet, 0), "c").clone() {
        c if c["quarantined"].as_u64() > Some(0) => Ok(()),
        c => Err(c.to_string()),
    });
    let total = |name: &str| metric(&fleet, 0, &format!("hivemem_federation_{name}"));
    let depth = total("push_dlq_depth");
    assert!(depth > 0.0 && total("push_dlq_quarantined") == depth);
    assert!(total("push_dlq_given_up_total") >= depth && total("fanout_dropped_total") >= depth);
    ok(&fleet.nodes[0].data(), &["dlq", "purge", "c", "--yes"]);
    assert_eq!(total("push_dlq_depth"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kind_of_node_is_shown_and_another_version_refused() {
    let fleet = tokio::task::block_in_place(|| Fleet::at_rest(&[]));
    let mut fleet = fleet;
    // The test plays b: it has b's certificate, and a key of its own that the list names.
    let rows = fleet.rows();
    let mut player = Player::new(7);
    player.node = NodeId(rows[1].node.parse().expect("a UUID"));
    let row: toml::Table = player.row("b", &["*"], &["**"]).parse().expect("a row");
    let key = row["peer"][0]["public_keys"][0].as_str().expect("a key").to_owned();
    let mut played = rows.clone();
    played[1].keys = vec![key];
    fleet.nodes[0].knows(&played);
    tokio::task::block_in_place(|| fleet.nodes[0].start());
    player.stores("ann", "one");
    let node = NodeId(rows[0].node.parse().expect("a UUID"));
    let who = fleet::identity(fleet.nodes[1].folder.path(), "node");
    let endpoint = over_tls(&fleet.nodes[0].address, fleet.nodes[0].pin, Some(&who));
    let at = Reached::new(node, endpoint, Some(BETWEEN));
    let mut push = json_of_push(player.push(node, 1, 1));
    (push.schema, push.capabilities) = (999, vec!["flying".to_owned()]);
    let body = serde_json::to_value(&push).expect("JSON");
    assert_eq!(at.post(&player, &body).await.status, 200, "its store is its own affair");
    let shown = tokio::task::block_in_place(|| status(&fleet, 0));
    let b = of(&shown, "b");
    let kind = (&b["schema"], &b["capabilities"], &b["drifts"]);
    assert_eq!(kind, (&json!(999), &json!(["flying"]), &json!(true)), "{b}");
    let drift = "hivemem_federation_peer_drift{peer=\"b\"}";
    assert_eq!(tokio::task::block_in_place(|| metric(&fleet, 0, drift)), 1.0);
    push.version += 1;
    let answer = at.post(&player, &serde_json::to_value(&push).expect("JSON")).await;
    let refused = answer.reject().expect("a refusal");
    assert_eq!((answer.status, refused.reason), (501, Reason::Unimplemented), "{refused}");
    assert!(refused.detail.contains("version"), "{refused}");
}
