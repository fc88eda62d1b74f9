//! Real daemons whose rows are in PostgreSQL: one, several on one database, behind a pooler, and among peers that have files.
//!
//! Not here: what becomes of requests when the server fails (`storage::postgres`, beside its code).

mod daemon;

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use daemon::{Daemon, LocalApi, hivemem, json_of, ok, run, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::vacant::vacant;

/// Whether there can be a server; says so where not.
fn can_start_a_server() -> bool {
    let can = Command::new("apt-get").arg("--version").output().is_ok();
    if !can {
        eprintln!("skipped: no PostgreSQL: neither apt-get nor HIVEMEM_TEST_POSTGRES_URL");
    }
    can
}

/// Where the server of the tests lives, which goes on for the next run.
fn place() -> PathBuf {
    std::env::temp_dir().join("hivemem-postgres-for-tests")
}

/// Runs one of the scripts.
fn script(name: &str, words: &[&str]) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/postgres");
    let mut command = Command::new(scripts.join(name));
    let output = command.args(words).env("FSYNC", "off").output().expect("bash");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {words:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// A database of a test's own.
struct Database {
    name: String,
    url: String,
}

impl Database {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let place = place();
        script("install.sh", &[]);
        script("server.sh", &["start", &place.to_string_lossy()]);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("d{}_{number}", std::process::id());
        let url = script("server.sh", &["database", &place.to_string_lossy(), &name]);
        Self { name, url: url.trim().to_owned() }
    }

    /// The same by way of a pooler, which gives every transaction another connection.
    fn pooled(&self) -> String {
        let told = script("server.sh", &["bouncer", &place().to_string_lossy()]);
        let url = told.lines().find_map(|l| l.strip_prefix("HIVEMEM_TEST_POSTGRES_BOUNCER_URL="));
        let (server, _) = url.expect("a pooler").rsplit_once('/').expect("a database");
        format!("{server}/{}", self.name)
    }

    /// What psql answers, beside whoever serves.
    fn psql(&self, text: &str) -> String {
        let place = place();
        let place = place.to_string_lossy();
        let words = ["psql", &place, "-X", "-q", "-A", "-t", "-d", &self.name, "-c", text];
        script("server.sh", &words).trim().to_owned()
    }
}

/// A data folder whose rows are at this address.
fn folder(url: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    point(folder.path(), url);
    folder
}

/// Has the configuration of a folder name this address, in a file of its own, which is given.
fn point(folder: &Path, url: &str) -> PathBuf {
    let file = folder.join("database.url");
    std::fs::write(&file, url).expect("written");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("its own file");
    let text = format!("[storage]\nurl_file = {:?}\n", file.display().to_string());
    std::fs::write(folder.join("hivemem.toml"), text).expect("written");
    file
}

fn memory(title: &str) -> Value {
    json!({ "title": title, "content": format!("all about {title}"), "scope": "collective" })
}

fn stored(folder: &TempDir, title: &str) -> Value {
    let (status, told) = LocalApi::of(folder.path()).send("/api/v1/memories", &memory(title));
    assert_eq!(status, 201, "{told}");
    told
}

fn titles(folder: &TempDir) -> Vec<String> {
    let all = json_of(&ok(folder.path(), &["list", "--limit", "1000", "--json"]));
    let items = all["items"].as_array().expect("items").iter();
    let mut titles: Vec<String> =
        items.map(|item| item["title"].as_str().expect("a title").to_owned()).collect();
    titles.sort();
    titles
}

fn found(folder: &TempDir, question: &str) -> Vec<String> {
    let told = json_of(&ok(folder.path(), &["recall", question, "--json"]));
    let hits = told["hits"].as_array().expect("hits").iter();
    hits.map(|hit| hit["memory"]["title"].as_str().expect("a title").to_owned()).collect()
}

/// How an invocation is refused.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn goes_through_a_life(database: &Database, url: &str) {
    let folder = folder(url);
    let made = json_of(&ok(folder.path(), &["schema-init", "--json"]));
    assert!(made["server"]["vector"].is_string(), "{made}");
    let again = json_of(&ok(folder.path(), &["schema-init", "--json"]));
    assert_eq!((&again["found"], &again["schema"]), (&made["schema"], &made["schema"]));

    let daemon = Daemon::start(folder.path(), &[]);
    let one = stored(&folder, "harbour lights")["id"].as_str().expect("an id").to_owned();
    let two = stored(&folder, "night train")["id"].as_str().expect("an id").to_owned();
    ok(folder.path(), &["link", &one, "depends_on", &two]);
    ok(folder.path(), &["update", &two, "--content", "it leaves from platform nine"]);
    assert_eq!(found(&folder, "which platform").first().expect("a hit"), "night train");
    let graph = json_of(&ok(folder.path(), &["graph", &one, "--depth", "3", "--json"]));
    assert_eq!(graph["nodes"].as_array().map(Vec::len), Some(2), "{graph}");
    let rows = "SELECT string_agg(title, ', ' ORDER BY title) FROM memories WHERE life = 0";
    assert_eq!(database.psql(rows), "harbour lights, night train");
    assert_eq!(database.psql("SELECT count(*) FROM links WHERE removed = 0"), "1");
    daemon.kill();

    let daemon = Daemon::start(folder.path(), &[]);
    assert_eq!(titles(&folder), ["harbour lights", "night train"]);
    ok(folder.path(), &["delete", &one, "--yes"]);
    assert!(!found(&folder, "harbour").contains(&"harbour lights".to_owned()));
    ok(folder.path(), &["doctor"]);
    assert_eq!(daemon.terminate(), Some(0));
    // Without its daemon a command goes to the database itself.
    assert_eq!(titles(&folder), ["night train"]);
}

#[test]
fn a_daemon_keeps_its_rows_in_a_database() {
    if can_start_a_server() {
        let database = Database::new();
        goes_through_a_life(&database, &database.url);
    }
}

#[test]
fn a_pooler_between_changes_nothing() {
    if can_start_a_server() {
        let database = Database::new();
        goes_through_a_life(&database, &database.pooled());
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_fix() {
    if !can_start_a_server() {
        return;
    }
    let database = Database::new();
    let there = folder(&database.url);
    ok(there.path(), &["store", "one", "kept there"]);
    std::fs::remove_file(there.path().join("hivemem.toml")).expect("removed");
    let told = refused(there.path(), &["list"]);
    assert!(told.contains("set storage.url"), "FLD-1: {told}");

    let here = tempfile::tempdir().expect("a folder");
    ok(here.path(), &["store", "one", "kept here"]);
    let told = refused(here.path(), &["--store-url", &database.url, "list"]);
    assert!(told.contains("hivemem migrate"), "FLD-1: {told}");

    let lax = folder(&database.url);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(lax.path().join("database.url"), open).expect("its own file");
    let told = refused(lax.path(), &["list"]);
    assert!(told.contains("database.url"), "{told}");

    let away = tempfile::tempdir().expect("a folder");
    let url = "postgres://nobody:secret@127.0.0.1:1/x";
    let told = refused(away.path(), &["--store-url", url, "list"]);
    assert!(told.contains("127.0.0.1:1/x cannot be reached") && !told.contains("secret"), "{told}");
    let told = refused(away.path(), &["schema-init"]);
    assert!(told.contains("storage.url"), "{told}");
}

#[test]
fn a_daemon_is_moved_there_and_back_while_it_runs() {
    if !can_start_a_server() {
        return;
    }
    let (database, folder) = (Database::new(), tempfile::tempdir().expect("a folder"));
    let here = format!("sqlite:{}", folder.path().display());
    let daemon = Daemon::start(folder.path(), &[]);
    for number in 0..30 {
        stored(&folder, &format!("note {number}"));
    }
    let there = ["migrate", "--from", &here, "--to", &database.url];
    let told = refused(folder.path(), &[&there[..], &["--no-wait"]].concat());
    assert!(told.contains("stop it and give the same command again"), "{told}");

    let mut mover = hivemem(folder.path());
    let mut mover =
        mover.args(there).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(mover.stderr.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text").contains("everything is copied; stop process")));
    stored(&folder, "behind the copy");
    assert_eq!(daemon.terminate(), Some(0));
    let output = mover.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("audit chain up to row 31"), "{told}");

    let address = point(folder.path(), &database.url);
    let daemon = Daemon::start(folder.path(), &[]);
    assert_eq!(titles(&folder).len(), 31);
    assert_eq!(
        found(&folder, "what is behind the copy").first().expect("a hit"),
        "behind the copy"
    );
    stored(&folder, "in the database");
    daemon.kill();

    let address = format!("file:{}", address.display());
    let back = ["migrate", "--from", &address, "--to", &here, "--json"];
    let moved = json_of(&ok(folder.path(), &back));
    assert_eq!(moved["chain_head"]["sequence"], 32, "{moved}");
    let told = refused(folder.path(), &["list"]);
    assert!(told.contains("would be missing in the database"), "FLD-1: {told}");
    std::fs::remove_file(folder.path().join("hivemem.toml")).expect("removed");
    let daemon = Daemon::start(folder.path(), &[]);
    assert_eq!(titles(&folder).len(), 32);
    assert_eq!(
        found(&folder, "what is behind the copy").first().expect("a hit"),
        "behind the copy"
    );
    ok(folder.path(), &["doctor"]);
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn several_daemons_share_a_database() {
    if !can_start_a_server() {
        return;
    }
    let database = Database::new();
    let folders = [folder(&database.url), folder(&database.pooled())];
    let _daemons = folders.each_ref().map(|folder| Daemon::start(folder.path(), &[]));
    let told = stored(&folders[0], "one");
    let position = told["durability"]["position"].as_u64().expect("a position").to_string();
    let id = told["id"].as_str().expect("an id");
    ok(folders[1].path(), &["get", id, "--min-position", &position]);
    stored(&folders[1], "two");
    assert_eq!(titles(&folders[0]), ["one", "two"]);
    let may = |folder: &TempDir| run(folder.path(), &["--agent", "mallory", "list"]);
    ok(folders[0].path(), &["agents", "register", "mallory"]);
    assert!(may(&folders[1]).status.success());
    ok(folders[0].path(), &["agents", "revoke", "mallory", "--yes"]);
    until("it is refused", || {
        let told = may(&folders[1]);
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        if words.contains("was revoked") { Ok(()) } else { Err(words) }
    });
    for folder in &folders {
        ok(folder.path(), &["doctor"]);
    }
    assert_eq!(database.psql("SELECT count(*) FROM daemons"), "2");
    // A node with peers does not share.
    let peer = self::folder(&database.url);
    let list = peer.path().join("peers.toml");
    std::fs::write(&list, "").expect("written");
    let setting = format!("federation.peers_file={}", list.display());
    let told = refused(peer.path(), &["--set", &setting, "list"]);
    assert!(told.contains("a database of its own"), "{told}");
}

#[test]
fn peers_on_files_and_on_a_database_hold_the_same() {
    if !can_start_a_server() {
        return;
    }
    let database = Database::new();
    let folders = [
        folder(&database.url),
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    ];
    let endpoints = [0; 3].map(|_| vacant().expect("an address").to_string());
    let rows: Vec<String> = ["a", "b", "c"]
        .iter()
        .zip(folders.iter().zip(&endpoints))
        .map(|(name, (folder, endpoint))| {
            ok(folder.path(), &["peers", "row", "--name", name, "--endpoint", endpoint])
        })
        .collect();
    let start = |at: usize| {
        let (folder, endpoint) = (&folders[at], &endpoints[at]);
        let list = folder.path().join("peers.toml");
        std::fs::write(&list, rows.concat()).expect("written");
        let peers = format!("federation.peers_file={}", list.display());
        Daemon::start_at(folder.path(), endpoint, &[&peers, "federation.catch_up=1s"])
    };
    let mut daemons: Vec<Option<Daemon>> = (0..3).map(|at| Some(start(at))).collect();
    let hold = |titles_of: &[&str]| {
        for folder in &folders {
            until("all of it is there", || {
                let there = titles(folder);
                if there == titles_of { Ok(()) } else { Err(there.join(", ")) }
            });
        }
    };
    until("a first write", || {
        let (status, told) = LocalApi::of(folders[0].path()).send("/api/v1/memories", &memory("a"));
        if status == 201 { Ok(()) } else { Err(told.to_string()) }
    });
    let told = stored(&folders[1], "b");
    assert!(told["durability"]["acks"].as_u64() >= Some(2), "{told}");
    hold(&["a", "b"]);
    // The one on the database misses some, and catches up; then the others rest on it.
    daemons[0].take().expect("it runs").kill();
    stored(&folders[1], "c");
    daemons[0] = Some(start(0));
    hold(&["a", "b", "c"]);
    daemons[1].take().expect("it runs").kill();
    until("a write with the third", || {
        let (status, told) = LocalApi::of(folders[0].path()).send("/api/v1/memories", &memory("d"));
        if status == 201 { Ok(()) } else { Err(told.to_string()) }
    });
    daemons[1] = Some(start(1));
    hold(&["a", "b", "c", "d"]);
}
