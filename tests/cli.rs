//! The command line as a user meets it: an empty folder, the README's first steps, wrong input, a
//! running daemon, backup and restore.
//!
//! Not here: what operations mean (the service's tests).

mod daemon;

use std::os::unix::fs::PermissionsExt;

use daemon::{Daemon, ok, run};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn refused(folder: &std::path::Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(folder, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?} does not say {word:?}: {text}");
    }
}

#[test]
fn the_first_steps_work_in_an_empty_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let f = folder.path();
    ok(f, &["store", "Deploy window", "We deploy on Tuesdays before noon.", "-n", "acme/ops"]);
    let answer = json(&ok(f, &["recall", "when can we deploy?", "--json"]));
    let memory = &answer["hits"][0]["memory"];
    assert_eq!(memory["title"], "Deploy window");
    let id = memory["id"].as_str().expect("an id");
    let same = json(&ok(f, &["get", &id[..30], "--json"]));
    assert_eq!(same["content"], "We deploy on Tuesdays before noon.");
    ok(f, &["update", id, "--add-tag", "ops", "--priority", "9"]);
    assert_eq!(json(&ok(f, &["get", id, "--json"]))["tags"], serde_json::json!(["ops"]));
    assert!(ok(f, &["list"]).contains("Deploy window"));
    let dry = ok(f, &["forget", "-n", "acme/ops", "--dry-run"]);
    assert!(dry.contains("would forget 1"), "{dry}");
    ok(f, &["forget", "-n", "acme/ops", "--yes"]);
    assert!(ok(f, &["recall", "deploy"]).contains("nothing found"));
    ok(f, &["archive", "restore", id]);
    assert!(ok(f, &["recall", "deploy"]).contains("Deploy window"));
    assert!(ok(f, &["doctor"]).contains("no problem"));
    ok(f, &["delete", id, "--yes"]);
    refused(f, &["get", id], 3, &["not_found"]);
    assert_eq!(
        json(&ok(f, &["verify-signed-events-chain", "--format", "json"]))["chain_holds"],
        true
    );
}

#[test]
fn wrong_input_is_named_with_its_fix() {
    let folder = tempfile::tempdir().expect("a folder");
    let f = folder.path();
    refused(f, &["store", "", "x"], 2, &["title"]);
    refused(f, &["store", "t", "x", "-n", "Bad Space"], 2, &["namespace"]);
    refused(f, &["store", "t", "x", "--tier", "eternal"], 2, &["tier", "short, mid, long"]);
    refused(f, &["store", "t", "x", "--scope", "team"], 2, &["scope", "register"]);
    refused(f, &["store", "t", "x", "--metadata", "[1"], 2, &["metadata"]);
    refused(f, &["get", "abc"], 2, &["prefix"]);
    refused(f, &["get", "0192aabb-ccdd-7eef-8011-223344556677"], 3, &["not_found"]);
    refused(f, &["delete", "0192aabb"], 3, &["not_found"]);
    refused(f, &["--set", "server.lisen=x", "status"], 2, &["server.listen"]);
    refused(f, &["--set", "server.listen=0.0.0.0:1", "status"], 2, &["auth.api_key_file"]);
    std::fs::write(f.join("hivemem.toml"), "[memory]\nmid_ttl = \"7d\"\nlong_ttl = \"1d\"\n")
        .expect("written");
    refused(f, &["status"], 2, &["hivemem.toml:3", "memory.long_ttl"]);
}

#[test]
fn keys_with_lax_permissions_and_damaged_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let f = folder.path();
    ok(f, &["store", "t", "x"]);
    let key = f.join("identity/node.key");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode));
    mode(0o644).expect("changed");
    refused(f, &["status"], 8, &["node.key", "chmod 600"]);
    mode(0o600).expect("changed");
    ok(f, &["status"]);
    let database = std::fs::read_dir(f)
        .expect("readable")
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "db"))
        .expect("a database");
    std::fs::write(&database, b"this is not a database, whatever its name says").expect("written");
    refused(f, &["status"], 8, &["damaged", "restore"]);
}

#[test]
fn a_daemon_and_the_command_line_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let f = folder.path();
    let running = Daemon::start(f, &[]);
    ok(f, &["store", "Through the socket", "One daemon, many commands."]);
    assert!(ok(f, &["recall", "socket"]).contains("Through the socket"));
    let second = run(f, &["--set", "server.listen=127.0.0.1:0", "serve"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(8), "{text}");
    assert!(text.contains("in use"), "{text}");
    assert_eq!(running.terminate(), Some(0));
    assert!(ok(f, &["recall", "socket"]).contains("Through the socket"));
}

#[test]
fn a_backup_restores_into_an_empty_folder_and_a_tampered_one_is_refused() {
    let (from, to, other) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (from, to, other) =
        (from.expect("a folder"), to.expect("a folder"), other.expect("a folder"));
    let f = from.path();
    for n in 0..30 {
        ok(f, &["store", &format!("note {n}"), "something worth keeping", "--tier", "long"]);
    }
    ok(f, &["backup", "--name", "copy"]);
    let backup = f.join("backups/copy");
    ok(to.path(), &["restore", backup.to_str().expect("UTF-8")]);
    let chain = |folder| json(&ok(folder, &["verify-signed-events-chain", "--format", "json"]));
    assert_eq!(chain(f)["head_hash"], chain(to.path())["head_hash"]);
    assert_eq!(
        json(&ok(to.path(), &["list", "--limit", "100", "--json"]))["items"]
            .as_array()
            .map(Vec::len),
        Some(30)
    );
    refused(to.path(), &["restore", backup.to_str().expect("UTF-8")], 1, &["empty"]);

    let database = std::fs::read_dir(&backup)
        .expect("readable")
        .flatten()
        .map(|e| e.path())
        .max_by_key(|p| p.metadata().map(|m| m.len()).unwrap_or(0))
        .expect("a file");
    let mut bytes = std::fs::read(&database).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&database, bytes).expect("written");
    let name = database.file_name().expect("a name").to_string_lossy().into_owned();
    refused(other.path(), &["restore", backup.to_str().expect("UTF-8")], 1, &[&name]);
}

#[test]
fn export_and_import_carry_everything_once() {
    let (from, to) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = from.path().join("all.ndjson");
    let path = file.to_str().expect("UTF-8");
    ok(from.path(), &["store", "one", "first", "--tag", "a,b", "--tier", "long"]);
    ok(from.path(), &["store", "two", "second", "--kind", "decision"]);
    ok(from.path(), &["export", path]);
    assert!(ok(to.path(), &["import", path]).contains("2 imported"));
    assert!(ok(to.path(), &["import", path]).contains("0 imported, 2 already there"));
    std::fs::write(
        &file,
        "{\"title\":\"ok\",\"content\":\"x\"}\n{\"title\":\"\",\"content\":\"x\"}\nnot json\n",
    )
    .expect("written");
    refused(to.path(), &["import", path], 1, &["line 2", "line 3", "title"]);
    assert!(ok(to.path(), &["recall", "ok"]).contains("ok"));
}
