//! A root of three real daemons: founding it, rules that every node enforces, locks that change hands,
//! the loss of a leader, approvals.
//!
//! Not here: what is decided (`consensus::machine`) and how (`consensus::raft`), each beside its code.

mod daemon;

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use daemon::{
    CLUSTER, Daemon, LocalApi, confirmed, hivemem, json_of, member_folder, ok, run, until,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::vacant::vacant;

struct Member {
    folder: TempDir,
    endpoint: String,
    daemon: Option<Daemon>,
}

impl Member {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&mut self, number: usize) {
        let settings = [
            format!("root.member={number}"),
            format!("root.cluster={CLUSTER}"),
            format!("root.endpoint={}", self.endpoint),
            format!("root.peer_key_file={}", self.path().join("peer.key").display()),
            "root.heartbeat_ms=100".to_owned(),
            "root.election_ms=600".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        self.daemon = Some(Daemon::start_at(self.folder.path(), &self.endpoint, &settings));
    }

    fn status(&self) -> Value {
        json_of(&ok(self.path(), &["root", "status", "--json"]))
    }
}

/// Three members, founded, all of which know the leader and confirmed their rules.
fn founded() -> Vec<Member> {
    let mut members = Vec::new();
    for number in 1..=3 {
        let endpoint = vacant().expect("an address").to_string();
        let mut member = Member { folder: member_folder(), endpoint, daemon: None };
        member.start(number);
        members.push(member);
    }
    let voters: Vec<String> =
        (1..).zip(&members).map(|(n, m): (usize, &Member)| format!("{n}={}", m.endpoint)).collect();
    let mut arguments = vec!["root", "init"];
    arguments.extend(voters.iter().map(String::as_str));
    ok(members[0].path(), &arguments);
    for member in &members {
        confirmed(member.path());
    }
    members
}

fn leader(members: &[Member]) -> usize {
    let live = |m: &&Member| m.daemon.is_some();
    until("a leader", || {
        let status = members.iter().find(live).expect("a live member").status();
        let leader = status["leader"].as_u64().map(|number| number as usize - 1);
        leader.filter(|at| members[*at].daemon.is_some()).ok_or(status.to_string())
    })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_rule_made_on_a_follower_is_enforced_by_every_node() {
    let members = founded();
    let follower = (leader(&members) + 1) % 3;
    for member in &members {
        ok(member.path(), &["store", "Before", "fine", "-n", "acme/frozen"]);
    }
    let put = ["governance", "put-rule", "freeze", "--effect", "refuse", "--operation", "write"];
    ok(members[follower].path(), &[&put[..], &["-n", "acme/frozen"]].concat());
    for member in &members {
        until("the rule holds", || {
            let stored = run(member.path(), &["store", "After", "no", "-n", "acme/frozen"]);
            let words = text(&stored);
            match (stored.status.code(), words.contains("freeze") && words.contains("version")) {
                (Some(5), true) => Ok(()),
                other => Err(format!("{other:?}: {words}")),
            }
        });
        ok(member.path(), &["store", "Elsewhere", "fine", "-n", "acme/open"]);
    }
    // A hot title needs the fence of a grant.
    let policy = json!({ "namespace": "acme/hot", "hot_keys": ["deploy*"] }).to_string();
    ok(members[0].path(), &["governance", "put-policy", &policy]);
    let store = ["store", "deploy window", "noon", "-n", "acme/hot"];
    until("the title is hot", || {
        let stored = run(members[1].path(), &store);
        match stored.status.code() {
            Some(4) if text(&stored).contains("fence_too_small") => Ok(()),
            other => Err(format!("{other:?}: {}", text(&stored))),
        }
    });
    let grant = json_of(&ok(members[2].path(), &["lock", "acquire", "acme/hot/deploy", "--json"]));
    let fence = grant["fence"].to_string();
    ok(members[1].path(), &[&store[..], &["--fence", &fence]].concat());
}

fn acquire(at: &Path, session: &Value, seq: u64, key: &str, wait_until_ms: Option<u64>) -> Value {
    let api = LocalApi::of(at);
    let body = json!({
        "session": session, "seq": seq, "wants": [{ "key": key }], "wait_until_ms": wait_until_ms,
    });
    api.post("/api/v1/locks/acquire", &body)
}

#[test]
fn a_lock_changes_hands_and_outlives_its_leader() {
    let mut members = founded();
    let led = leader(&members);
    let (a, b) = ((led + 1) % 3, (led + 2) % 3);
    let open = json!({ "ttl_ms": 300_000 });
    let first = LocalApi::of(members[a].path()).post("/api/v1/sessions", &open);
    let second = LocalApi::of(members[b].path()).post("/api/v1/sessions", &open);
    let until_ms = second["root_time_ms"].as_u64().expect("a time") + 240_000;
    let granted = acquire(members[a].path(), &first["session"], 1, "k", None);
    assert_eq!(granted["state"], "granted", "{granted}");
    let again = acquire(members[b].path(), &first["session"], 1, "k", None);
    assert_eq!(again, granted, "the same request at another member gets the same answer");
    let (folder, session) = (members[b].path().to_owned(), second["session"].clone());
    let waiting = std::thread::Builder::new()
        .spawn(move || {
            loop {
                let answer = acquire(&folder, &session, 1, "k", Some(until_ms));
                if answer["state"] != "waiting" {
                    return answer;
                }
            }
        })
        .expect("a thread");
    until("somebody waits", || {
        let lock = json_of(&ok(members[a].path(), &["lock", "explain", "k", "--json"]));
        if lock["queue"].as_array().is_some_and(|q| q.len() == 1) {
            Ok(())
        } else {
            Err(lock.to_string())
        }
    });
    members[led].daemon.take().expect("it runs").kill();
    let release = json!({ "session": first["session"], "seq": 2, "locks": [
        { "key": "k", "fence": granted["grants"][0]["fence"] } ] });
    until("the release is decided", || {
        let (status, answer) =
            LocalApi::of(members[a].path()).send("/api/v1/locks/release", &release);
        if status < 400 { Ok(()) } else { Err(answer.to_string()) }
    });
    let handed = waiting.join().expect("an answer");
    assert_eq!(handed["state"], "granted", "{handed}");
    assert!(handed["grants"][0]["fence"].as_u64() > granted["grants"][0]["fence"].as_u64());
    // The one that was killed comes back and knows who holds it.
    members[led].start(led + 1);
    until("it has caught up", || {
        let lock = json_of(&ok(members[led].path(), &["lock", "explain", "k", "--json"]));
        if lock["holders"][0]["session"] == second["session"] {
            Ok(())
        } else {
            Err(lock.to_string())
        }
    });
}

#[test]
fn a_command_that_nobody_confirms_is_unknown_and_the_same_again_finds_out() {
    let members = founded();
    let led = leader(&members);
    let others = [(led + 1) % 3, (led + 2) % 3];
    let api = LocalApi::of(members[led].path());
    let session = api.post("/api/v1/sessions", &json!({ "ttl_ms": 300_000 }))["session"].clone();
    for other in others {
        members[other].daemon.as_ref().expect("it runs").freeze();
    }
    let wanted = json!({ "session": session, "seq": 1, "wants": [{ "key": "k" }] });
    let (status, answer) = api.send_within("/api/v1/locks/acquire", &wanted, 3_000);
    assert_eq!((status, &answer["reason"]), (504, &json!("outcome_unknown")), "{answer}");
    assert_eq!((&answer["verdict"], &answer["retryable"]), (&json!("unknown"), &json!(true)));
    for other in others {
        members[other].daemon.as_ref().expect("it runs").thaw();
    }
    let granted = until("it is found out", || {
        let (status, answer) = api.send("/api/v1/locks/acquire", &wanted);
        if status < 400 { Ok(answer) } else { Err(answer.to_string()) }
    });
    assert_eq!(granted["state"], "granted", "{granted}");
    let again = api.send("/api/v1/locks/acquire", &wanted);
    assert_eq!(again, (200, granted), "executed once, whoever leads");
}

/// Rows of a member's audit chain that the root caused, by name.
fn root_rows(member: &Member) -> Vec<Value> {
    let rows = json_of(&ok(member.path(), &["audit", "--limit", "1000", "--json"]));
    let of_root = |row: &&Value| row["id"].as_str().is_some_and(|id| id.starts_with("root:"));
    rows["items"].as_array().expect("rows").iter().filter(of_root).cloned().collect()
}

fn named<'a>(rows: &'a [Value], event_type: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["event_type"] == event_type).collect()
}

#[test]
fn what_the_root_decides_is_one_row_in_every_members_chain() {
    let mut members = founded();
    let grant = json_of(&ok(members[0].path(), &["lock", "acquire", "stuck", "--json"]));
    let fence = grant["fence"].to_string();
    let force = ["lock", "force-release", "stuck", "--fence", &fence, "--yes"];
    ok(members[1].path(), &[&force[..], &["--reason", "its holder is gone"]].concat());
    let put = ["governance", "put-rule", "freeze", "--effect", "refuse", "--operation", "write"];
    ok(members[2].path(), &[&put[..], &["-n", "acme/frozen"]].concat());
    let above = json!({ "namespace": "acme", "reflection_depth_max": 1 }).to_string();
    let child = json!({ "namespace": "acme/x", "reflection_depth_max": 2 });
    ok(members[0].path(), &["governance", "put-policy", &above]);
    let refused = run(members[0].path(), &["governance", "put-policy", &child.to_string()]);
    assert!(text(&refused).contains("policy_conflict"), "{}", text(&refused));
    let complete = |member: &Member| {
        let rows = root_rows(member);
        let kinds = ["lock.force_release", "rule.put", "policy.put", "refused"];
        let counts: Vec<usize> = kinds.iter().map(|kind| named(&rows, kind).len()).collect();
        if counts == [1, 1, 1, 1] { Ok(rows) } else { Err(format!("{counts:?}")) }
    };
    let rows = until("the rows are there", || complete(&members[0]));
    let forced = named(&rows, "lock.force_release")[0];
    assert_eq!(forced["subject"], "stuck", "{forced}");
    assert_eq!(forced["facts"]["reason"], "its holder is gone", "{forced}");
    let told = |rows: &[Value]| -> Vec<(Value, Value)> {
        rows.iter().map(|row| (row["id"].clone(), row["facts"].clone())).collect()
    };
    for member in &members[1..] {
        until("every member has the same rows", || {
            let theirs = complete(member)?;
            let boots = |rows: &[Value]| named(rows, "node.boot").len();
            match told(&theirs) == told(&rows) {
                true => Ok(()),
                false => Err(format!("{} and {} boots", boots(&theirs), boots(&rows))),
            }
        });
    }
    // Restarted, hard and softly: nothing is told twice, with and without a snapshot.
    for (at, snapshot) in [(1, false), (2, true)] {
        if snapshot {
            ok(members[at].path(), &["root", "snapshot"]);
        }
        match members[at].daemon.take().expect("it runs") {
            daemon if snapshot => assert_eq!(daemon.terminate(), Some(0)),
            daemon => daemon.kill(),
        }
        members[at].start(at + 1);
        let again = until("it is back", || {
            let rows = complete(&members[at])?;
            match members[at].status()["confirmed"] == true {
                true => Ok(rows),
                false => Err("not confirmed".to_owned()),
            }
        });
        let ids: std::collections::BTreeSet<String> =
            again.iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(ids.len(), again.len(), "RTH-7: {again:?}");
        ok(members[at].path(), &["verify-signed-events-chain"]);
    }
}

/// What `--dry-run` says of two folders, the best first; nothing is changed.
fn said_before_it_is_done(best: &Member, other: &Member) {
    let folders: Vec<String> =
        [best, other].iter().map(|at| at.path().display().to_string()).collect();
    let look = ["root", "recover", "--dry-run", "--json", &folders[0], &folders[1]];
    let report = json_of(&ok(best.path(), &look));
    let shown = report["folders"].as_array().expect("folders");
    assert_eq!(shown.len(), 2, "{report}");
    assert!(shown[0]["last_index"].as_u64() >= shown[1]["last_index"].as_u64(), "{report}");
    assert_eq!(shown[0]["members"].as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!(report, json_of(&ok(best.path(), &look)), "a look changes nothing");
}

/// They come back, both of them, and one is a member again under a new number.
fn those_given_up_are_shut_out(members: &mut [Member], alone: usize) {
    let others = [(alone + 1) % 3, (alone + 2) % 3];
    let again = others[1];
    for at in others {
        members[at].start(at + 1);
    }
    for at in others {
        until("it is shut out", || {
            let status = members[at].status();
            if status["fenced"] == true { Ok(()) } else { Err(status.to_string()) }
        });
    }
    let status = members[alone].status();
    assert_eq!((&status["role"], &status["fenced"]), (&json!("leader"), &json!(false)), "{status}");
    // Under a new number, with an empty root folder, one is a member again.
    members[again].daemon.take().expect("it runs").kill();
    std::fs::remove_dir_all(members[again].path().join("root")).expect("its root folder");
    members[again].start(4);
    let added = format!("4={}", members[again].endpoint);
    ok(members[alone].path(), &["root", "add", &added, "--vote"]);
    until("it has caught up", || {
        let status = members[again].status();
        match status["confirmed"] == true && status["cluster_epoch"] == 1 {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
}

/// The runbook of docs/OPERATIONS.md for the loss of a majority, followed to the letter.
#[test]
fn a_root_whose_majority_is_lost_goes_on_with_the_best_survivor() {
    let mut members = founded();
    let led = leader(&members);
    let (a, b) = ((led + 1) % 3, (led + 2) % 3);
    let put = ["governance", "put-rule", "freeze", "--effect", "refuse", "--operation", "write"];
    ok(members[led].path(), &[&put[..], &["-n", "acme/frozen"]].concat());
    let grant =
        json_of(&ok(members[led].path(), &["lock", "acquire", "k", "--ttl", "10m", "--json"]));
    let fence = grant["fence"].as_u64().expect("a fence");
    until("the survivor has it", || {
        let status = members[a].status();
        match (status["rules_version"].as_u64(), status["locks"].as_u64()) {
            (Some(1..), Some(1)) => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    for at in [led, b] {
        members[at].daemon.take().expect("it runs").kill();
    }
    let busy = run(members[a].path(), &["root", "recover", "--dry-run"]);
    assert_eq!(busy.status.code(), Some(8), "its daemon runs: {}", text(&busy));
    members[a].daemon.take().expect("it runs").kill();
    said_before_it_is_done(&members[a], &members[b]);
    let unasked = run(members[a].path(), &["root", "recover"]);
    assert_eq!(unasked.status.code(), Some(2), "not without a yes: {}", text(&unasked));
    // Recovered: it decides alone, in a new epoch, and remembers.
    let recover = ["root", "recover", "--yes", "--json", "--reason", "fire in the hall"];
    let done = json_of(&ok(members[a].path(), &recover));
    assert_eq!(done["cluster_epoch"], 1, "{done}");
    members[a].start(a + 1);
    until("it leads", || {
        let status = members[a].status();
        let alone = status["members"].as_array().map(Vec::len) == Some(1);
        match status["role"] == "leader" && status["confirmed"] == true && alone {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    let rules = json_of(&ok(members[a].path(), &["governance", "show", "--json"]));
    assert_eq!(rules["rules"][0]["id"], "freeze", "{rules}");
    let lock = json_of(&ok(members[a].path(), &["lock", "explain", "k", "--json"]));
    assert_eq!(lock["holders"][0]["fence"].as_u64(), Some(fence), "{lock}");
    let fresh = json_of(&ok(members[a].path(), &["lock", "acquire", "new", "--json"]));
    assert!(fresh["fence"].as_u64() > Some(1 << 40), "RFT-21: {fresh}");
    let rows = until("the recovery is in the chain", || {
        let rows = root_rows(&members[a]);
        if named(&rows, "cluster.epoch").len() == 1 { Ok(rows) } else { Err(format!("{rows:?}")) }
    });
    let epoch = named(&rows, "cluster.epoch")[0];
    assert!(epoch["facts"]["reason"].as_str().is_some_and(|r| r.contains("fire in the hall")));
    assert_eq!(named(&rows, "rule.put").len(), 1, "RTH-12: {rows:?}");
    assert!(named(&rows, "root.snapshot").is_empty(), "RTH-12: nothing was missed: {rows:?}");
    those_given_up_are_shut_out(&mut members, a);
}

#[test]
fn an_action_is_decided_once() {
    let members = founded();
    ok(members[0].path(), &["root", "agent", "ann", "--human"]);
    ok(members[0].path(), &["root", "agent", "bob", "--human"]);
    let propose = [
        "pending",
        "propose",
        "memory.promote",
        "promote",
        "acme",
        "--approver",
        "human",
        "--json",
    ];
    let action = json_of(&ok(members[1].path(), &[&["--agent", "carl"][..], &propose].concat()));
    assert_eq!(action["state"], "pending", "{action}");
    let id = action["id"].to_string();
    let own = run(members[1].path(), &["--agent", "carl", "pending", "approve", &id]);
    assert_eq!(own.status.code(), Some(5), "nobody approves their own: {}", text(&own));
    let decide = |at: usize, who: &str, word: &str| -> Child {
        let mut command: Command = hivemem(members[at].path());
        command.args(["--agent", who, "pending", word, &id]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs")
    };
    let both = [decide(0, "ann", "approve"), decide(2, "bob", "reject")];
    let codes: Vec<Option<i32>> =
        both.into_iter().map(|c| c.wait_with_output().expect("it ends").status.code()).collect();
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(4)), "one decides: {codes:?}");
    let states: Vec<Value> = members
        .iter()
        .map(|m| json_of(&ok(m.path(), &["pending", "show", &id, "--json"]))["state"].clone())
        .collect();
    assert!(states.iter().all(|state| *state == states[0] && *state != "pending"), "{states:?}");
    registry(&members);
}

/// Agents have keys that are replaced, and are shut out for ever, as every member sees.
fn registry(members: &[Member]) {
    let (first, second) = ("ab".repeat(32), "cd".repeat(32));
    ok(members[0].path(), &["root", "agent", "dora", "--public-key", &first]);
    let rotated =
        json_of(&ok(members[1].path(), &["root", "rotate-key", "dora", &second, "--json"]));
    assert_eq!(rotated["public_key"], second.as_str(), "{rotated}");
    assert_eq!(rotated["past_keys"], json!([first]), "{rotated}");
    let wrong = run(members[1].path(), &["root", "rotate-key", "dora", "abc"]);
    assert!(text(&wrong).contains("64 hexadecimal digits"), "{}", text(&wrong));
    ok(members[2].path(), &["root", "revoke", "dora", "--reason", "left", "--yes"]);
    let late = run(members[0].path(), &["root", "rotate-key", "dora", &first]);
    assert!(text(&late).contains("agent_revoked"), "{}", text(&late));
    let all = json_of(&ok(members[0].path(), &["root", "agents", "--after", "bob", "--json"]));
    let names: Vec<&Value> =
        all["items"].as_array().expect("agents").iter().map(|agent| &agent["agent_id"]).collect();
    assert_eq!(names, ["dora"], "{all}");
    assert_eq!(all["items"][0]["revoked"], true, "{all}");
}

#[test]
fn a_program_runs_under_a_lock_and_survives_the_loss_of_the_leader() {
    let mut members = founded();
    let led = leader(&members);
    let at = (led + 1) % 3;
    let folder = tempfile::tempdir().expect("a folder");
    let (begun, go) = (folder.path().join("begun"), folder.path().join("go"));
    let script = format!(
        "echo $HIVEMEM_LOCK_KEY $HIVEMEM_FENCE > {0}.new; mv {0}.new {0}; \
         while [ ! -e {1} ]; do sleep 0.1; done; exit 3",
        begun.display(),
        go.display()
    );
    let arguments = ["lock", "run", "deploy", "--ttl", "20s", "--", "sh", "-c", &script];
    let running = hivemem(members[at].path())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let said = until("it has begun", || std::fs::read_to_string(&begun).map_err(|e| e.to_string()));
    let fence: u64 =
        said.trim().strip_prefix("deploy ").expect("the key").parse().expect("a fence");
    let other = run(members[(led + 2) % 3].path(), &["lock", "run", "deploy", "--", "true"]);
    assert_eq!(other.status.code(), Some(6), "it is held: {}", text(&other));
    members[led].daemon.take().expect("it runs").kill();
    until("the others go on", || {
        let lock = run(members[at].path(), &["lock", "explain", "deploy", "--json"]);
        if lock.status.success() { Ok(()) } else { Err(text(&lock)) }
    });
    std::fs::write(&go, "").expect("written");
    let ended = running.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(3), "the program's own code: {}", text(&ended));
    let next = ["lock", "acquire", "deploy", "--wait", "20s", "--json"];
    let grant = json_of(&ok(members[at].path(), &next));
    assert!(grant["fence"].as_u64() > Some(fence), "{grant}");
}

#[test]
fn a_program_is_stopped_before_its_lease_can_end() {
    let mut members = founded();
    let led = leader(&members);
    let at = (led + 1) % 3;
    let arguments = ["lock", "run", "deploy", "--ttl", "8s", "--", "sleep", "600"];
    let running = hivemem(members[at].path())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    until("it holds the lock", || {
        let lock = json_of(&ok(members[at].path(), &["lock", "explain", "deploy", "--json"]));
        if lock["holders"].as_array().is_some_and(|h| h.len() == 1) {
            Ok(())
        } else {
            Err(lock.to_string())
        }
    });
    for member in [led, (led + 2) % 3] {
        members[member].daemon.take().expect("it runs").kill();
    }
    let ended = running.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(9), "the lease was lost: {}", text(&ended));
}

#[test]
fn a_peer_call_needs_the_peers_key() {
    let members = founded();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        use wire::{
            client::{Channel, ChannelTimes},
            v1::{RootReadIndexRequest, root_peer_client::RootPeerClient},
        };
        let endpoint: wire::dial::Endpoint = members[0].endpoint.parse().expect("an endpoint");
        for (endpoint, code) in [
            (endpoint.clone(), tonic::Code::Unauthenticated),
            (endpoint.clone().presenting("wrong").expect("a key"), tonic::Code::Unauthenticated),
            (endpoint.presenting("between members").expect("a key"), tonic::Code::PermissionDenied),
        ] {
            let mut peer = RootPeerClient::new(Channel::new(endpoint, ChannelTimes::default()));
            let asked = peer.read_index(RootReadIndexRequest { cluster: vec![0; 16] }).await;
            assert_eq!(asked.expect_err("RTH-4").code(), code);
        }
    });
}
