//! A file of ai-memory, made here as its releases make them, imported by a command.

mod daemon;

use std::path::{Path, PathBuf};

use daemon::{json_of, ok, run};
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest, Sha256};

const PARENT: &str = "5b9f9c5e-3a55-4a3e-9d1c-0a1b2c3d4e5f";
const CHILD: &str = "6c8e8d4f-4b66-4b4f-8e2d-1b2c3d4e5f60";

/// The tables of release 0.9, as far as they are read.
const TABLES: &str = "
    CREATE TABLE schema_version (version INTEGER NOT NULL);
    INSERT INTO schema_version VALUES (78);
    CREATE TABLE memories (
        id TEXT PRIMARY KEY, tier TEXT NOT NULL, namespace TEXT NOT NULL DEFAULT 'global',
        title TEXT NOT NULL, content TEXT NOT NULL, tags TEXT NOT NULL DEFAULT '[]',
        priority INTEGER NOT NULL DEFAULT 5, confidence REAL NOT NULL DEFAULT 1.0,
        source TEXT NOT NULL DEFAULT 'api', access_count INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, last_accessed_at TEXT, expires_at TEXT,
        metadata TEXT NOT NULL DEFAULT '{}', memory_kind TEXT NOT NULL DEFAULT 'observation',
        citations TEXT NOT NULL DEFAULT '[]', source_uri TEXT, encrypted_envelope BLOB,
        version BIGINT NOT NULL DEFAULT 1, lifecycle_state TEXT NOT NULL DEFAULT 'open',
        scope_idx TEXT GENERATED ALWAYS AS (json_extract(metadata, '$.scope')) VIRTUAL);
    CREATE TABLE archived_memories (
        id TEXT PRIMARY KEY, tier TEXT NOT NULL, namespace TEXT NOT NULL, title TEXT NOT NULL,
        content TEXT NOT NULL, tags TEXT NOT NULL DEFAULT '[]', priority INTEGER NOT NULL DEFAULT 5,
        confidence REAL NOT NULL DEFAULT 1.0, source TEXT NOT NULL DEFAULT 'api',
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, metadata TEXT NOT NULL DEFAULT '{}',
        archived_at TEXT NOT NULL, archive_reason TEXT NOT NULL DEFAULT 'ttl_expired',
        original_tier TEXT, memory_kind TEXT);
    CREATE TABLE memory_links (
        source_id TEXT NOT NULL, target_id TEXT NOT NULL, relation TEXT NOT NULL,
        created_at TEXT NOT NULL, valid_from TEXT, valid_until TEXT, observed_by TEXT,
        signature BLOB, attest_level TEXT, PRIMARY KEY (source_id, target_id, relation));
    CREATE TABLE signed_events (
        id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, event_type TEXT NOT NULL,
        payload_hash BLOB NOT NULL, signature BLOB, attest_level TEXT NOT NULL DEFAULT 'unsigned',
        timestamp TEXT NOT NULL, prev_hash BLOB, sequence INTEGER, cause_hash BLOB);";

/// Memories: two that belong together, and one for each reason to be left out.
const ROWS: &str = "
    INSERT INTO memories (id, tier, namespace, title, content, tags, priority, confidence, source,
        created_at, updated_at, metadata, memory_kind, source_uri) VALUES
      ('5b9f9c5e-3a55-4a3e-9d1c-0a1b2c3d4e5f', 'long', 'acme/eng', 'Harbour lights',
       'They are lit at dusk.', '[\"night watch\",\"sea\"]', 8, 0.75, 'claude',
       '2026-05-05T12:00:00.123456789+00:00', '2026-05-05T12:00:00+00:00',
       '{\"agent_id\":\"ai:claude@host\",\"scope\":\"collective\"}', 'claim', 'doc:lights'),
      ('6c8e8d4f-4b66-4b4f-8e2d-1b2c3d4e5f60', 'mid', 'acme/eng', 'Who lights them',
       'The keeper does.', '[]', 5, 1.0, 'api', '2026-05-05T12:00:01+00:00', '2026-05-05T12:00:01+00:00',
       '{\"scope\":\"collective\"}', 'told', NULL),
      ('not:a:uuid', 'long', 'global', 'An id of its own', 'And a text.', '[]', 5, 1.0, 'cli',
       '2026-05-05T12:00:02+00:00', '2026-05-05T12:00:02+00:00', '{\"scope\":\"collective\"}', 'observation', NULL),
      ('00000000-0000-4000-8000-00000000000a', 'long', '_agents', 'agent:alice', '{}', '[]', 5, 1.0, 'system',
       '2026-05-05T12:00:02+00:00', '2026-05-05T12:00:02+00:00', '{}', 'observation', NULL);
    INSERT INTO memories (id, tier, title, content, created_at, updated_at, expires_at) VALUES
      ('00000000-0000-4000-8000-00000000000b', 'short', 'Long over', 'x', '2026-01-01T00:00:00+00:00',
       '2026-01-01T00:00:00+00:00', '2026-01-01T06:00:00+00:00');
    INSERT INTO memories (id, tier, title, content, created_at, updated_at, encrypted_envelope) VALUES
      ('00000000-0000-4000-8000-00000000000c', 'long', 'Sealed', '', '2026-01-01T00:00:00+00:00',
       '2026-01-01T00:00:00+00:00', x'02');
    INSERT INTO memories (id, tier, title, content, created_at, updated_at, lifecycle_state) VALUES
      ('00000000-0000-4000-8000-00000000000d', 'long', 'Gone', 'x', '2026-01-01T00:00:00+00:00',
       '2026-01-01T00:00:00+00:00', 'tombstoned');
    INSERT INTO archived_memories (id, tier, namespace, title, content, created_at, updated_at, metadata,
        archived_at, archive_reason, original_tier) VALUES
      ('7d9e9e5a-5c77-4c5a-9f3e-2c3d4e5f6071', 'mid', 'acme/eng', 'The old lamp', 'It burnt oil.',
       '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00', '{\"scope\":\"collective\"}',
       '2026-02-01T00:00:00+00:00', 'forget', 'long'),
      ('5b9f9c5e-3a55-4a3e-9d1c-0a1b2c3d4e5f', 'long', 'acme/eng', 'Harbour lights', 'They are lit at noon.',
       '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00', '{}',
       '2026-02-01T00:00:00+00:00', 'in_place_edit', 'long');";

/// One field behind its length.
fn field(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
    bytes.extend_from_slice(value);
}

/// The bytes of an audit row, whose hash the next one carries: joined up to 0.8, behind lengths from 0.9 on.
fn bytes_of(number: i64, is_old: bool) -> Vec<u8> {
    let hash = Sha256::digest(format!("payload {number}"));
    let id = format!("00000000-0000-4000-8000-{number:012}");
    let fields: [&[u8]; 7] = [
        id.as_bytes(),
        b"daemon",
        b"memory_link.created",
        &hash,
        b"",
        b"unsigned",
        b"2026-05-05T12:00:00+00:00",
    ];
    let mut bytes = Vec::new();
    for value in fields {
        if is_old {
            bytes.extend_from_slice(value);
            bytes.push(0x1f);
        } else {
            field(&mut bytes, value);
        }
    }
    bytes.extend_from_slice(&number.to_be_bytes());
    if !is_old {
        bytes.push(0);
    }
    bytes
}

/// A file that 0.8 began and 0.9 went on with.
fn file(folder: &Path) -> PathBuf {
    let path = folder.join("ai-memory.db");
    let made = Connection::open(&path).expect("a file");
    made.execute_batch(TABLES).expect("tables");
    made.execute_batch(ROWS).expect("rows");
    let mut link = vec![0; 32];
    for number in 1..=120_i64 {
        made.execute(
            "INSERT INTO signed_events (id, agent_id, event_type, payload_hash, timestamp, prev_hash, sequence)
             VALUES (?1, 'daemon', 'memory_link.created', ?2, '2026-05-05T12:00:00+00:00', ?3, ?4)",
            (
                format!("00000000-0000-4000-8000-{number:012}"),
                Sha256::digest(format!("payload {number}")).to_vec(),
                &link,
                number,
            ),
        )
        .expect("a row");
        link = Sha256::digest(bytes_of(number, number < 70)).to_vec();
    }
    let insert = |relation: &str, signature: Option<Vec<u8>>| {
        made.execute(
            "INSERT INTO memory_links (source_id, target_id, relation, created_at, valid_from, signature)
             VALUES (?1, ?2, ?3, '2026-05-05T12:00:01.000001+00:00', '2026-05-05T12:00:01.000001+00:00', ?4)",
            (CHILD, PARENT, relation, signature),
        )
        .expect("a link");
    };
    insert("depends_on", Some(vec![7; 64]));
    insert("derives_from", None);
    path
}

fn import(folder: &Path, file: &Path) -> Value {
    json_of(&ok(folder, &["import", &file.to_string_lossy(), "--json"]))
}

#[test]
fn memories_links_and_evidence_come_over_once() {
    let (data, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let file = file(other.path());
    let done = import(data.path(), &file);
    // Three live, one archived (and that it is), two links.
    assert_eq!((&done["chain_rows"], &done["chain_holds"]), (&120.into(), &true.into()), "{done}");
    assert_eq!(done["evidence_rows"], 121, "{done}");
    assert_eq!(done["refused"].as_array().map(Vec::len), Some(0), "{done}");
    for reason in [
        "registered agents",
        "encrypted contents",
        "expired memories",
        "deleted or quarantined memories",
        "earlier texts of live memories",
    ] {
        assert_eq!(done["left_out"][reason], 1, "{reason}: {done}");
    }
    let lights = json_of(&ok(data.path(), &["get", PARENT, "--json"]));
    assert_eq!((&lights["kind"], &lights["priority"]), (&"claim".into(), &8.into()), "{lights}");
    assert_eq!(lights["tags"], serde_json::json!(["night-watch", "sea"]));
    assert_eq!(lights["content"], "They are lit at dusk.");
    let kept = &lights["metadata"]["ai_memory"];
    assert_eq!(kept["created_at"], "2026-05-05T12:00:00.123456789+00:00", "{lights}");
    assert_eq!(kept["source_uri"], "doc:lights");
    assert_eq!(lights["metadata"]["agent_id"], "ai:claude@host");
    let keeper = json_of(&ok(data.path(), &["get", CHILD, "--json"]));
    assert_eq!(keeper["kind"], "conversation");
    assert_eq!(keeper["metadata"]["ai_memory"]["memory_kind"], "told");
    let graph = json_of(&ok(data.path(), &["graph", CHILD, "--depth", "1", "--json"]));
    assert_eq!(graph["nodes"].as_array().map(Vec::len), Some(2), "{graph}");
    let found = json_of(&ok(data.path(), &["recall", "an id of its own", "--json"]));
    let own = &found["hits"][0]["memory"]["metadata"]["ai_memory"]["id"];
    assert_eq!(own, "not:a:uuid", "{found}");
    let archived = json_of(&ok(data.path(), &["archive", "list", "--json"]));
    assert_eq!(archived["items"][0]["title"], "The old lamp", "{archived}");

    let rows =
        json_of(&ok(data.path(), &["audit", "--type", "import.", "--limit", "100", "--json"]));
    let rows = rows["items"].as_array().expect("rows");
    let all: Vec<&str> = rows
        .iter()
        .flat_map(|row| row["facts"].as_object())
        .flatten()
        .filter_map(|(_, text)| text.as_str())
        .collect();
    let first = all.iter().find(|text| text.contains("000000000001\"")).expect("the first row");
    assert!(first.contains(&hex::encode(Sha256::digest("payload 1"))), "{first}");
    assert!(all.iter().any(|text| text.contains(&hex::encode([7; 64]))), "a link's signature");
    let verdict = rows.iter().find(|row| row["facts"]["holds"] == "true").expect("a verdict");
    assert_eq!(verdict["facts"]["encoding_changes_at"], "[71]", "{verdict}");
    ok(data.path(), &["verify-signed-events-chain"]);

    let again = import(data.path(), &file);
    // Four memories and two links.
    assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &6.into()), "{again}");
    let rows_again =
        json_of(&ok(data.path(), &["audit", "--type", "import.", "--limit", "100", "--json"]));
    assert_eq!(rows_again["items"].as_array().map(Vec::len), Some(rows.len()));
}

#[test]
fn a_chain_that_does_not_hold_is_told_first() {
    let (data, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let file = file(other.path());
    let changed = "UPDATE signed_events SET agent_id = 'eve' WHERE sequence = 30";
    Connection::open(&file).expect("a file").execute(changed, []).expect("changed");
    let refused = run(data.path(), &["import", &file.to_string_lossy()]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("row 31") && told.contains("--despite-breaks"), "{told}");
    assert_eq!(
        json_of(&ok(data.path(), &["list", "--json"]))["items"].as_array().map(Vec::len),
        Some(0)
    );
    let words = ["import", &file.to_string_lossy(), "--despite-breaks", "--json"];
    assert_eq!(json_of(&ok(data.path(), &words))["chain_holds"], false);
    let rows = ok(data.path(), &["audit", "--type", "import.", "--limit", "100", "--json"]);
    assert!(rows.contains("row 31: the row before is not the one it goes on from"));
}
