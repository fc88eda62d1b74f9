//! What a node says to peers that send what it must not take, line by line and over both doors: the documented
//! code, nothing half-applied, and the sender knows which operation it was.
//!
//! Not here: certificates (`tests/mutual_tls.rs`), and what peers do in order (`tests/federation.rs`).

mod daemon;
mod player;

use std::{os::unix::fs::OpenOptionsExt, path::Path};

use daemon::{Daemon, json_of, ok, until};
use http::Method;
use player::{BOTH, Over, PUSH, Player, Reached, json_of_push, nonce, now_ms, results};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use types::{NodeId, Reason, Reject, limits::CLOCK_SKEW_MAX_MS};
use wire::v1::{SyncOperation, SyncPush, sync_operation::Said};

const KEY: &str = "between peers";

/// A daemon with two peers that the test plays, and one that nobody knows.
struct Scene {
    folder: TempDir,
    _daemon: Daemon,
    at: Reached,
    ann: Player,
    bob: Player,
    stranger: Player,
}

fn secret(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path).expect("a file");
    std::io::Write::write_all(&mut &file, KEY.as_bytes()).expect("written");
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let (ann, bob, stranger) = (Player::new(1), Player::new(2), Player::new(3));
    let rows = [ann.row("ann", &["ann"], &["**"]), bob.row("bob", &["*"], &["**"])];
    std::fs::write(folder.path().join("peers.toml"), rows.concat()).expect("written");
    secret(&folder.path().join("peer.key"));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        format!("federation.peers_file={}", file("peers.toml")),
        format!("federation.peer_key_file={}", file("peer.key")),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(folder.path(), &settings);
    let own = ok(folder.path(), &["peers", "row", "--name", "x", "--endpoint", "127.0.0.1:1"]);
    let own: toml::Table = own.parse().expect("a row");
    let node = own["peer"][0]["node"].as_str().expect("a node").parse().expect("a UUID");
    let endpoint = daemon.url.parse().expect("an endpoint");
    let at = Reached::new(NodeId(node), endpoint, Some(KEY));
    Scene { folder, _daemon: daemon, at, ann, bob, stranger }
}

impl Scene {
    fn titles(&self) -> Vec<String> {
        let all = json_of(&ok(self.folder.path(), &["list", "--limit", "1000", "--json"]));
        let items = all["items"].as_array().expect("items").iter();
        let mut titles: Vec<String> =
            items.map(|item| item["title"].as_str().expect("a title").to_owned()).collect();
        titles.sort();
        titles
    }
}

fn reason<T>(result: Result<T, Reject>) -> Option<(Reason, u16)> {
    let reason = result.err()?.reason;
    Some((reason, wire::errors::row(reason).http))
}

/// A push by the player that has something wrong with it, and the code that it is refused with.
struct Line {
    what: &'static str,
    push: Box<dyn Fn(&Scene) -> SyncPush>,
    reason: Reason,
}

fn line(what: &'static str, reason: Reason, push: impl Fn(&Scene) -> SyncPush + 'static) -> Line {
    Line { what, push: Box::new(push), reason }
}

fn in_order(scene: &Scene) -> SyncPush {
    scene.ann.push(scene.at.node, 1, 3)
}

fn with_header(scene: &Scene, change: impl Fn(&mut wire::v1::SyncHeader)) -> SyncPush {
    let mut push = in_order(scene);
    push.header.iter_mut().for_each(change);
    push
}

/// Whole batches that are not believed.
fn lines() -> Vec<Line> {
    let hour_ms = 3_600_000;
    vec![
        line("for somebody else", Reason::Forbidden, |scene| {
            with_header(scene, |header| header.to = scene.bob.node.as_bytes().to_vec())
        }),
        line("of an hour ago", Reason::ClockSkew, move |scene| {
            with_header(scene, |header| header.sent_ms -= hour_ms)
        }),
        line("of an hour ahead", Reason::ClockSkew, move |scene| {
            with_header(scene, |header| header.sent_ms += hour_ms)
        }),
        line("of a later version", Reason::Unimplemented, |scene| {
            with_header(scene, |header| header.version += 7)
        }),
        line("too many operations", Reason::TooLarge, |scene| {
            let mut push = in_order(scene);
            push.operations = vec![push.operations[0].clone(); 2001];
            push
        }),
        line("cut short", Reason::ChainBroken, |scene| {
            let mut push = in_order(scene);
            push.operations.pop();
            push
        }),
        line("changed on the way", Reason::ChainBroken, |scene| {
            let mut push = in_order(scene);
            push.operations[1].said = Some(Said::Hash(vec![7; 32]));
            push
        }),
        line("signed by another", Reason::ChainBroken, |scene| {
            let mut push = in_order(scene);
            push.proofs = vec![scene.ann.proof_by(3, &scene.bob.key)];
            push
        }),
        line("another's feed, forged", Reason::ChainBroken, |scene| {
            let mut push = in_order(scene);
            push.operations = scene.bob.operations(1, 1);
            push.proofs = vec![scene.bob.proof_by(1, &scene.ann.key)];
            push
        }),
        line("a feed of nobody", Reason::Forbidden, |scene| {
            let mut push = in_order(scene);
            push.operations = scene.stranger.operations(1, 1);
            push.proofs = vec![scene.stranger.proof_by(1, &scene.stranger.key)];
            push
        }),
        line("a hash of another length", Reason::Malformed, |scene| {
            let mut push = in_order(scene);
            push.operations[1].said = Some(Said::Hash(vec![7; 31]));
            push
        }),
    ]
}

#[tokio::test]
async fn a_batch_that_is_not_believed_leaves_nothing_behind() {
    let mut scene = scene();
    for title in ["one", "two", "three"] {
        scene.ann.stores("ann", title);
    }
    scene.bob.stores("bob", "forged");
    scene.stranger.stores("eve", "nobody");
    let mut problems = Vec::new();
    for line in lines() {
        for over in BOTH {
            let push = (line.push)(&scene);
            let told = scene.at.push(over, &scene.ann, push).await;
            if told.as_ref().err().map(|refused| refused.reason) != Some(line.reason) {
                problems.push(format!("{} over {over:?}: {told:?}", line.what));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let mut forged = in_order(&scene);
    forged.proofs = vec![scene.ann.proof_by(3, &scene.bob.key)];
    let forged = serde_json::to_value(json_of_push(forged)).expect("JSON");
    assert_eq!(scene.at.post(&scene.ann, &forged).await.status, 422, "the sender's fault");
    assert_eq!(scene.titles(), Vec::<String>::new(), "nothing is half-applied");
    // The same operations in order are taken, and are known the second time.
    for (over, result) in [(Over::Http, "applied"), (Over::Grpc, "known")] {
        let taken = scene.at.push(over, &scene.ann, in_order(&scene)).await.expect("taken");
        assert_eq!(results(&taken), [result; 3]);
    }
    assert_eq!(scene.titles(), ["one", "three", "two"]);
}

#[tokio::test]
async fn who_does_not_prove_itself_is_not_read() {
    let mut scene = scene();
    scene.ann.stores("ann", "one");
    scene.stranger.stores("eve", "nobody");
    let Scene { at, ann, stranger, .. } = &scene;
    let push = || ann.push(at.node, 1, 1);
    let unauthenticated = Some((Reason::Unauthenticated, 401));
    for over in BOTH {
        let unknown = at.push(over, stranger, stranger.push(at.node, 1, 1)).await;
        assert_eq!(reason(unknown), Some((Reason::Forbidden, 403)), "{over:?}");
        for key in [None, Some("another key")] {
            let told = at.with_key(key).push(over, ann, push()).await;
            assert_eq!(reason(told), unauthenticated, "{over:?} with {key:?}");
        }
        let pretender = Player { node: ann.node, ..Player::new(2) };
        let told = at.push(over, &pretender, push()).await;
        assert_eq!(reason(told), unauthenticated, "{over:?}");
    }
    // Over gRPC: unsigned, another nonce, another name, no name.
    let question = || ann.question(push().encode_to_vec(), &nonce());
    let mut unsigned = question();
    unsigned.signature.clear();
    let mut renamed = question();
    renamed.nonce = nonce();
    let mut cut = question();
    cut.body.pop();
    for (question, named) in [
        (unsigned, Some(ann.node)),
        (renamed, Some(ann.node)),
        (cut, Some(ann.node)),
        (question(), Some(scene.bob.node)),
        (question(), None),
    ] {
        assert_eq!(reason(at.grpc(question, named).await), unauthenticated, "{named:?}");
    }
    assert_eq!(scene.titles(), Vec::<String>::new());
}

#[tokio::test]
async fn headers_that_are_missing_or_wrong_are_named() {
    let mut scene = scene();
    scene.ann.stores("ann", "one");
    let Scene { at, ann, .. } = &scene;
    let body = serde_json::to_vec(&json_of_push(ann.push(at.node, 1, 1))).expect("JSON");
    let (own, short) = (ann.node.to_string(), "ed25519=AAAA".to_owned());
    for (header, value, status) in [
        ("x-peer-id", None, 401),
        ("x-peer-id", Some("bob".to_owned()), 400),
        ("x-memory-sig", None, 401),
        ("x-memory-sig", Some(short), 400),
        ("x-memory-sig", Some(own), 400),
        ("x-memory-nonce", None, 401),
        ("x-memory-nonce", Some(nonce()), 401),
        ("x-memory-nonce", Some("n".repeat(129)), 400),
    ] {
        let mut headers = ann.headers(&body);
        headers.retain(|(name, _)| *name != header);
        headers.extend(value.clone().map(|value| (header, value)));
        let answer = at.http(Method::POST, PUSH, &headers, body.clone()).await;
        let problem = answer.json().expect("a problem");
        assert_eq!(answer.status, status, "{header} {value:?}: {problem}");
    }
    let mut changed = body.clone();
    changed.push(b' ');
    let answer = at.http(Method::POST, PUSH, &ann.headers(&body), changed).await;
    assert_eq!(answer.status, 401, "HSY-2");
    let half = &body[..body.len() / 2];
    let answer = at.http(Method::POST, PUSH, &ann.headers(half), half.to_vec()).await;
    let problem = answer.json().expect("a problem");
    assert_eq!((answer.status, &problem["reason"]), (400, &json!("malformed")), "{problem}");
    let target = ann.target(at.node, &[]);
    let headers = ann.headers(target.as_bytes());
    let rewritten = format!("{target}&limit=5");
    assert_eq!(at.http(Method::GET, &rewritten, &headers, vec![]).await.status, 401, "HSY-2");
    assert_eq!(scene.titles(), Vec::<String>::new());
}

#[tokio::test]
async fn words_of_json_that_have_no_meaning_are_named() {
    let mut scene = scene();
    scene.ann.stores("ann", "one");
    let Scene { at, ann, .. } = &scene;
    let good = serde_json::to_value(json_of_push(ann.push(at.node, 1, 1))).expect("JSON");
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a place");
        body.pointer_mut(parent).expect("there")[name] = value;
        body
    };
    for (pointer, value, field) in [
        ("/purpose", json!("since"), "purpose"),
        ("/to", json!("bob"), "to"),
        ("/version", json!("one"), "version"),
        ("/sent_ms", json!(-1), "sent_ms"),
        ("/operations/0/said", json!("other"), "operations.0.said"),
        ("/operations/0/whole", json!("%%%"), "operations.whole"),
        ("/proofs/0/chain", json!("zz"), "proofs.chain"),
    ] {
        let answer = at.post(ann, &with(pointer, value)).await;
        let problem = answer.json().expect("a problem");
        let told = (answer.status, &problem["reason"], &problem["field"]);
        assert_eq!(told, (400, &json!("invalid_argument"), &json!(field)), "{problem}");
    }
    // Over gRPC an unknown purpose is none that a push is for.
    let mut push = ann.push(at.node, 1, 1);
    push.header.iter_mut().for_each(|header| header.purpose = 99);
    let told = at.push(Over::Grpc, ann, push).await;
    assert_eq!(reason(told), Some((Reason::Forbidden, 403)));
    for target in ["since=yesterday", "covers=x", "limit=many", "cover=x", "to=b"] {
        let target = format!("{}&{target}", ann.target(at.node, &[]));
        let answer = at.get(ann, &target).await;
        assert_eq!(answer.status, 400, "{target}: {:?}", answer.json());
    }
    assert_eq!(scene.titles(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_such() {
    let scene = scene();
    let Scene { at, ann, .. } = &scene;
    let huge = SyncOperation {
        origin: ann.node.as_bytes().to_vec(),
        seq: 1,
        said: Some(Said::Whole(vec![0; 17 << 20])),
    };
    let mut push = ann.push(at.node, 1, 0);
    push.operations = vec![huge];
    let body = serde_json::to_vec(&json_of_push(push.clone())).expect("JSON");
    let told = at.push(Over::Grpc, ann, push).await;
    assert_eq!(reason(told), Some((Reason::TooLarge, 413)));
    // The answer comes before all of it was sent, and the connection ends: who is still sending may miss it.
    for attempt in 0.. {
        match at.try_http(Method::POST, PUSH, &ann.headers(&body), body.clone()).await {
            Ok(answer) => {
                let problem = answer.json().expect("a problem");
                assert_eq!((answer.status, &problem["reason"]), (413, &json!("too_large")));
                break;
            }
            Err(error) => assert!(attempt < 100, "{error}"),
        }
    }
}

#[tokio::test]
async fn what_was_used_once_is_refused_also_after_a_restart() {
    let mut scene = scene();
    scene.ann.stores("ann", "one");
    let replay = Some((Reason::NonceReplay, 401));
    let node = scene.ann.node;
    let question = scene.ann.question(in_first(&scene).encode_to_vec(), &nonce());
    assert!(scene.at.grpc(question.clone(), Some(node)).await.is_ok());
    let body = serde_json::to_vec(&json_of_push(in_first(&scene))).expect("JSON");
    let headers = scene.ann.headers(&body);
    let send = async |at: &Reached| at.http(Method::POST, PUSH, &headers, body.clone()).await;
    assert_eq!(send(&scene.at).await.status, 200);
    let target = scene.ann.target(scene.at.node, &[]);
    let asked = scene.ann.headers(target.as_bytes());
    let ask = async |at: &Reached| at.http(Method::GET, &target, &asked, Vec::new()).await;
    assert_eq!(ask(&scene.at).await.status, 200);
    let mut restarted = false;
    loop {
        assert_eq!(reason(scene.at.grpc(question.clone(), Some(node)).await), replay);
        for answer in [send(&scene.at).await, ask(&scene.at).await] {
            let problem = answer.json().expect("a problem");
            let told = (answer.status, &problem["reason"]);
            assert_eq!(told, (401, &json!("x_memory_nonce_replay")), "{problem}");
        }
        if std::mem::replace(&mut restarted, true) {
            break;
        }
        scene = again(scene);
    }
    assert_eq!(scene.titles(), ["one"]);
}

fn in_first(scene: &Scene) -> SyncPush {
    scene.ann.push(scene.at.node, 1, 1)
}

/// The same scene after a restart of its daemon.
fn again(scene: Scene) -> Scene {
    let Scene { folder, _daemon: daemon, at, ann, bob, stranger } = scene;
    daemon.kill();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        format!("federation.peers_file={}", file("peers.toml")),
        format!("federation.peer_key_file={}", file("peer.key")),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(folder.path(), &settings);
    let at = Reached::new(at.node, daemon.url.parse().expect("an endpoint"), Some(KEY));
    Scene { folder, _daemon: daemon, at, ann, bob, stranger }
}

#[tokio::test]
async fn one_bad_operation_keeps_no_good_one_out() {
    for over in BOTH {
        let mut scene = scene();
        scene.ann.stores("ann", "first");
        scene.ann.stores("eve", "of somebody else");
        scene.ann.stores_at("ann", "of tomorrow", now_ms() + 2 * CLOCK_SKEW_MAX_MS);
        // Bytes that are no operation, and an operation under another's name.
        scene.ann.feed.push(vec![0xff; 40]);
        scene.ann.feed.push(scene.ann.feed[0].clone());
        scene.ann.stores("ann", "last");
        let push = scene.ann.push(scene.at.node, 1, 6);
        let told = scene.at.push(over, &scene.ann, push).await.expect("judged");
        let expected = ["applied", "forbidden", "clock_skew", "malformed", "malformed", "applied"];
        assert_eq!(results(&told), expected, "{over:?}");
        let seqs: Vec<u64> = told.verdicts.iter().map(|verdict| verdict.seq).collect();
        assert_eq!((seqs, told.behind), ((1..=6).collect(), false));
        let details = told.verdicts.iter().filter(|verdict| verdict.result == "refused");
        for verdict in details {
            assert!(verdict.detail.as_ref().is_some_and(|text| text.len() > 8), "{verdict:?}");
        }
        assert_eq!(scene.titles(), ["first", "last"], "{over:?}");
    }
}

#[tokio::test]
async fn a_gap_is_said_to_be_one() {
    let mut scene = scene();
    for title in ["one", "two", "three"] {
        scene.ann.stores("ann", title);
    }
    for over in BOTH {
        let push = scene.ann.push(scene.at.node, 2, 3);
        let told = scene.at.push(over, &scene.ann, push).await.expect("judged");
        assert!(told.behind && told.verdicts.is_empty(), "{over:?}: {told:?}");
        let covered = told.covers.iter().find(|feed| feed.origin == scene.ann.node.to_string());
        assert_eq!(covered.map_or(0, |feed| feed.seq), 0, "where to begin");
    }
    assert_eq!(scene.titles(), Vec::<String>::new());
    let taken = scene.at.push(Over::Http, &scene.ann, in_order(&scene)).await.expect("taken");
    assert_eq!(results(&taken), ["applied"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_lacks_is_told_to_it_as_it_may_see_it() {
    let mut scene = scene();
    for title in ["one", "two"] {
        scene.ann.stores("ann", title);
    }
    scene
        .at
        .push(Over::Http, &scene.ann, scene.ann.push(scene.at.node, 1, 2))
        .await
        .expect("taken");
    let early = now_ms();
    let told = scene.at.since(&scene.bob, &[]).await;
    assert_eq!(told.operations.len(), 2, "{told:?}");
    assert!(told.operations.iter().all(|item| item.whole.is_some()) && !told.more);
    // What it is told leads to what its origin has signed, so it can be passed on as it is.
    assert_eq!((told.proofs.len(), told.proofs[0].seq), (1, 2));
    let covers = told.covers;
    assert!(scene.at.since(&scene.bob, &covers).await.operations.is_empty());
    // A time is mapped to a position: to what stands before an operation of this node's own that is older
    // by more than clocks may be apart.
    ok(scene.folder.path(), &["store", "three", "its own"]);
    let since = async |at_ms: u64, limit: u32| {
        let since = hivemem::node::model::time::to_text(at_ms);
        let target =
            format!("{}&since={since}&limit={limit}", scene.bob.target(scene.at.node, &[]));
        let told = scene.at.get(&scene.bob, &target).await.json().expect("JSON");
        (told["operations"].as_array().map(Vec::len), told["more"] == true)
    };
    assert_eq!(since(early, 100).await, (Some(3), false), "rather earlier");
    assert_eq!(since(now_ms() + 2 * CLOCK_SKEW_MAX_MS, 100).await, (Some(0), false));
    assert_eq!(since(early, 1).await, (Some(1), true), "in parts");
    // The list changes what may be seen, without a restart.
    let rows =
        [scene.ann.row("ann", &["ann"], &["**"]), scene.bob.row("bob", &["*"], &["acme/**"])];
    std::fs::write(scene.folder.path().join("peers.toml"), rows.concat()).expect("written");
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        until("the list counts", || {
            let told = runtime.block_on(scene.at.since(&scene.bob, &[]));
            match told.operations.iter().all(|item| item.hash.is_some()) {
                true => Ok(()),
                false => Err(format!("{told:?}")),
            }
        });
    });
}
