//! What a root refuses, line by line: with which reason and status, that nothing was decided by it, and
//! that it is in the audit chain where it concerns others.
//!
//! Not here: what is decided (`tests/root.rs`), and refusals without a root.

mod daemon;

use std::path::Path;

use daemon::{Api, CLUSTER, Daemon, confirmed, hivemem, json_of, member_folder, ok, run, until};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::vacant::vacant;

/// A root of one.
struct Alone {
    folder: TempDir,
    endpoint: String,
    daemon: Option<Daemon>,
}

fn settings(folder: &Path, cluster: &str, member: u64, endpoint: &str) -> Vec<String> {
    vec![
        format!("root.member={member}"),
        format!("root.cluster={cluster}"),
        format!("root.endpoint={endpoint}"),
        format!("root.peer_key_file={}", folder.join("peer.key").display()),
    ]
}

impl Alone {
    fn founded() -> Self {
        let endpoint = vacant().expect("an address").to_string();
        let mut alone = Self { folder: member_folder(), endpoint, daemon: None };
        alone.start();
        ok(alone.path(), &["root", "init", &format!("1={}", alone.endpoint)]);
        confirmed(alone.path());
        alone
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&mut self) {
        let settings = settings(self.path(), CLUSTER, 1, &self.endpoint);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        self.daemon = Some(Daemon::start_at(self.folder.path(), &self.endpoint, &settings));
    }

    /// Asks as an agent, over the local socket.
    fn ask(&self, agent: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let socket = format!("unix:{}", self.path().join("hivemem.sock").display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            Api::new(&socket).with("x-agent-id", agent).json(method, path, body).await
        })
    }

    fn post(&self, agent: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask(agent, Method::POST, path, Some(body))
    }

    fn done(&self, agent: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(agent, path, body);
        assert!(status < 400, "{path}: {status} {answer}");
        answer
    }

    /// Digest of everything that is decided.
    fn decided(&self) -> Value {
        let (_, digest) = self.ask("ann", Method::GET, "/api/v1/root/digest", None);
        assert!(digest["decisions_sha256"].is_string(), "{digest}");
        digest["decisions_sha256"].clone()
    }

    /// Audit rows about refusals.
    fn refusals(&self) -> usize {
        let (_, rows) = self.ask("ann", Method::GET, "/api/v1/admin/audit?type=refused", None);
        rows["items"].as_array().expect("rows").len()
    }
}

/// A request that is refused.
#[derive(Clone)]
struct Line {
    what: &'static str,
    agent: &'static str,
    path: String,
    body: Value,
    status: u16,
    reason: &'static str,
    /// Whether it is a row of the audit chain.
    told: bool,
}

fn line(what: &'static str, path: &str, body: Value, status: u16, reason: &'static str) -> Line {
    Line { what, agent: "ann", path: path.to_owned(), body, status, reason, told: false }
}

impl Line {
    fn by(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    fn told(self) -> Self {
        Self { told: true, ..self }
    }
}

fn acquire(session: &Value, seq: u64, key: &str, wait_until_ms: Option<u64>) -> Value {
    json!({
        "session": session, "seq": seq, "wants": [{ "key": key }], "wait_until_ms": wait_until_ms,
    })
}

fn release(session: &Value, seq: u64, key: &str, fence: u64) -> Value {
    json!({ "session": session, "seq": seq, "locks": [{ "key": key, "fence": fence }] })
}

/// What the lines need.
struct Scene {
    /// A session of ann's that holds `k` under the fence, and one that has expired.
    holds: Value,
    fence: u64,
    gone: Value,
    /// A session of bob's.
    other: Value,
    /// The root's time when it began.
    time_ms: u64,
    /// An action of dan's, who is a person like eve, who is revoked.
    action: Value,
}

fn proposal(payload: &str) -> Value {
    let request = json!({ "operation": "promote", "namespace": "acme" });
    json!({ "kind": "memory.promote", "request": request, "payload": payload, "asked": "human" })
}

fn scene(root: &Alone) -> Scene {
    let open = json!({ "ttl_ms": 600_000 });
    let opened = root.done("ann", "/api/v1/sessions", &open);
    let holds = opened["session"].clone();
    let other = root.done("bob", "/api/v1/sessions", &open)["session"].clone();
    let granted = root.done("ann", "/api/v1/locks/acquire", &acquire(&holds, 1, "k", None));
    let gone = root.done("ann", "/api/v1/sessions", &json!({ "ttl_ms": 1_000 }))["session"].clone();
    until("the session expires", || {
        let (_, sessions) = root.ask("ann", Method::GET, "/api/v1/sessions", None);
        let sessions = sessions["items"].as_array().expect("sessions");
        match sessions.iter().any(|session| session["session"] == gone) {
            true => Err(format!("{sessions:?}")),
            false => Ok(()),
        }
    });
    for agent in ["eve", "dan"] {
        root.done("ann", "/api/v1/root/agents", &json!({ "agent_id": agent, "human": true }));
    }
    let above = json!({ "namespace": "acme", "reflection_depth_max": 1 });
    let (status, answer) = root.ask("ann", Method::PUT, "/api/v1/policies", Some(&above));
    assert!(status < 400, "{answer}");
    let action = root.done("dan", "/api/v1/pending", &proposal("x"))["id"].clone();
    root.done("ann", "/api/v1/root/agents/eve/revoke", &json!({ "reason": "left" }));
    let fence = granted["grants"][0]["fence"].as_u64().expect("a fence");
    let time_ms = opened["root_time_ms"].as_u64().expect("a time");
    Scene { holds, fence, gone, other, time_ms, action }
}

/// Sessions and locks.
fn lock_lines(scene: &Scene) -> Vec<Line> {
    let Scene { holds, fence, gone, other, time_ms, .. } = scene;
    let (take, give) = ("/api/v1/locks/acquire", "/api/v1/locks/release");
    let often = json!([{ "key": "k", "mode": "often" }]);
    let mode = json!({ "session": holds, "seq": 7, "wants": often });
    let nobody = json!(999_999_999_999_u64);
    let too_long = acquire(holds, 3, "j", Some(time_ms + 3_600_000));
    let keep_gone = format!("/api/v1/sessions/{gone}/keep-alive");
    let not_held = release(other, 1, "k", *fence);
    vec![
        line("a command of another shape", take, json!([1]), 400, "invalid_argument"),
        line("no such mode", take, mode, 400, "invalid_argument"),
        line("an unknown session", take, acquire(&nobody, 1, "k", None), 404, "not_found"),
        line("an expired session", take, acquire(gone, 1, "k", None), 410, "session_expired"),
        line("an expired session is not kept", &keep_gone, json!({}), 410, "session_expired"),
        line("too small a fence", give, release(holds, 2, "k", fence - 1), 409, "fence_too_small"),
        line("a release by a non-holder", give, not_held, 409, "not_holder").by("bob"),
        line("waiting beyond limits", take, too_long, 400, "invalid_argument"),
        line("another's session", take, acquire(other, 9, "k", None), 403, "forbidden"),
    ]
}

/// Actions and the group.
fn other_lines(root: &Alone, scene: &Scene) -> Vec<Line> {
    let approve = format!("/api/v1/pending/{}/approve", scene.action);
    let promote = |member: u64| format!("/api/v1/root/members/{member}/promote");
    let (big, own) = (proposal(&"x".repeat(9 * 1024)), "an approval of one's own");
    let init = json!({ "members": [{ "member": 1, "endpoint": root.endpoint }] });
    let quorum = "a change that would lose the quorum";
    vec![
        line("an oversized command", "/api/v1/pending", big, 400, "invalid_argument"),
        line("an approval by a revoked agent", &approve, json!({}), 403, "agent_revoked").by("eve"),
        line(own, &approve, json!({}), 403, "forbidden").by("dan").told(),
        line("a second init", "/api/v1/root/init", init, 409, "already_exists"),
        line(quorum, &promote(2), json!({}), 409, "failed_precondition"),
        line("a member that is not there", &promote(9), json!({}), 404, "not_found"),
    ]
}

#[test]
fn what_is_refused_says_why_changes_nothing_and_is_told_where_it_matters() {
    let root = Alone::founded();
    // A member that nobody can reach.
    let deaf = json!({ "member": 2, "endpoint": "127.0.0.1:9" });
    let (status, answer) = root.post("ann", "/api/v1/root/members", &deaf);
    assert!(status < 400 || answer["verdict"] == "unknown", "{status} {answer}");
    let scene = scene(&root);
    let lines = [lock_lines(&scene), other_lines(&root, &scene)].concat();
    let mut problems = Vec::new();
    for Line { what, agent, path, body, status, reason, told } in lines {
        let before = (root.decided(), root.refusals());
        let (got, answer) = root.post(agent, &path, &body);
        if (got, answer["reason"].as_str()) != (status, Some(reason)) {
            problems.push(format!("{what}: not {status} {reason} but {got} {answer}"));
            continue;
        }
        assert_eq!(answer["verdict"], "rejected", "{what}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 8), "{answer}");
        assert_eq!(root.decided(), before.0, "{what}: something was decided");
        let rows = before.1 + usize::from(told);
        until(what, || match root.refusals() {
            found if found == rows => Ok(()),
            found => Err(format!("{found} rows, not {rows}")),
        });
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let child = json!({ "namespace": "acme/x", "reflection_depth_max": 2 });
    let before = (root.decided(), root.refusals());
    let path = "/api/v1/policies";
    let (status, answer) = root.ask("ann", Method::PUT, path, Some(&child));
    assert_eq!((status, answer["reason"].as_str()), (409, Some("policy_conflict")), "{answer}");
    assert_eq!(root.decided(), before.0);
    until("it is told", || match root.refusals() - before.1 {
        1 => Ok(()),
        more => Err(format!("{more} rows")),
    });
}

/// Runs the daemon that must not start, and gives what it says.
fn refused_start(folder: &Path, settings: &[String]) -> String {
    let mut command = hivemem(folder);
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    command.args(["--set", "server.listen=127.0.0.1:0", "serve"]);
    let output = command.output().expect("the binary runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Castagnoli's checksum, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

#[test]
fn files_of_another_cluster_member_or_version_are_refused_at_the_start() {
    let mut root = Alone::founded();
    let endpoint = root.endpoint.clone();
    assert_eq!(root.daemon.take().expect("it runs").terminate(), Some(0));
    let other = "00000000-6d4f-4f5a-9d2f-0a4f5f1c2b3d";
    let said = refused_start(root.path(), &settings(root.path(), other, 1, &endpoint));
    assert!(said.contains("another cluster") || said.contains("belongs to cluster"), "{said}");
    let said = refused_start(root.path(), &settings(root.path(), CLUSTER, 2, &endpoint));
    assert!(said.contains("member 1 of cluster"), "{said}");
    // A log as a later version writes it: intact, and not understood.
    let path = root.path().join("root/vote");
    let before = std::fs::read(&path).expect("a vote");
    let mut later = before.clone();
    later[16] += 1;
    let checksum = crc32c(&later[12..]);
    later[8..12].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &later).expect("written");
    let said = refused_start(root.path(), &settings(root.path(), CLUSTER, 1, &endpoint));
    assert!(said.contains("newer") || said.contains("version"), "{said}");
    assert_eq!(std::fs::read(&path).expect("a vote"), later, "nothing was changed");
    std::fs::write(&path, before).expect("written");
    root.start();
    let shown = run(root.path(), &["root", "status", "--json"]);
    assert_eq!(json_of(&String::from_utf8_lossy(&shown.stdout))["member"], 1);
}
