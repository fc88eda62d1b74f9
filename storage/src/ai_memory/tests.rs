//! Files as ai-memory writes them, made here from its tables.

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{chain::hash, *};

/// A file with these audit rows, each in the encoding in which the one behind it names it.
fn file(folder: &TempDir, schema: i64, encodings: &[Encoding]) -> PathBuf {
    let path = folder.path().join(format!("of-{schema}.db"));
    let made = Connection::open(&path).unwrap();
    made.execute_batch(&format!(
        "CREATE TABLE schema_version (version INTEGER NOT NULL);
         INSERT INTO schema_version VALUES ({schema});
         CREATE TABLE memories (id TEXT PRIMARY KEY, title TEXT NOT NULL, confidence REAL NOT NULL);
         CREATE TABLE archived_memories (id TEXT PRIMARY KEY);
         CREATE TABLE memory_links (source_id TEXT, target_id TEXT, relation TEXT,
            PRIMARY KEY (source_id, target_id, relation));
         CREATE TABLE signed_events (id TEXT PRIMARY KEY, agent_id TEXT NOT NULL,
            event_type TEXT NOT NULL, payload_hash BLOB NOT NULL, signature BLOB,
            attest_level TEXT NOT NULL DEFAULT 'unsigned', timestamp TEXT NOT NULL,
            prev_hash BLOB, sequence INTEGER, cause_hash BLOB);"
    ))
    .unwrap();
    let mut link = [0; 32];
    for (sequence, encoding) in (1_i64..).zip(encodings) {
        let row = event(sequence);
        let values = (row.text("id"), row.bytes("payload_hash"), link.as_slice(), sequence);
        made.execute(
            "INSERT INTO signed_events (id, agent_id, event_type, payload_hash, timestamp, prev_hash, sequence)
             VALUES (?1, 'alice', 'memory_link.created', ?2, '2026-05-05T12:00:00+00:00', ?3, ?4)",
            values,
        )
        .unwrap();
        link = hash(&row, *encoding);
    }
    path
}

fn event(sequence: i64) -> Row {
    let text = |text: &str| Cell::Text(text.to_owned());
    let cells = [
        ("id", text(&format!("00000000-0000-4000-8000-{sequence:012}"))),
        ("agent_id", text("alice")),
        ("event_type", text("memory_link.created")),
        ("payload_hash", Cell::Blob(Sha256::digest("payload").to_vec())),
        ("signature", Cell::Null),
        ("attest_level", text("unsigned")),
        ("timestamp", text("2026-05-05T12:00:00+00:00")),
        ("sequence", Cell::Integer(sequence)),
        ("cause_hash", Cell::Null),
    ];
    Row(cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect())
}

/// Worked out by another program from the description of the encodings.
#[test]
fn a_row_has_the_bytes_that_are_described() {
    let row = event(1);
    assert_eq!(
        hex::encode(hash(&row, Encoding::Separated)),
        "cf0db1991f558332b3bc8c18f1274c66ec21bbc837dda745ab9932c70b2557b4"
    );
    assert_eq!(
        hex::encode(hash(&row, Encoding::Prefixed)),
        "fc8dcc22a75546a99f068cda7822240684cc322b6855075d67a8acb3943c7544"
    );
}

#[test]
fn a_chain_holds_in_either_encoding_and_where_it_changes() {
    use Encoding::{Prefixed as P, Separated as S};
    let folder = tempfile::tempdir().unwrap();
    for (schema, encodings, switches) in
        [(57, vec![S; 2500], vec![]), (78, vec![P; 9], vec![]), (80, vec![S, S, P, P, P], vec![4])]
    {
        let source = Source::open(&file(&folder, schema, &encodings)).unwrap();
        let verdict = source.verify_chain().unwrap();
        assert!(verdict.holds(), "{verdict:?}");
        assert_eq!((verdict.rows, verdict.switches), (encodings.len() as u64, switches));
        assert_eq!(verdict.head_sequence, encodings.len() as i64);
    }
}

#[test]
fn what_was_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        ("UPDATE signed_events SET agent_id = 'eve' WHERE sequence = 3", vec![4]),
        ("DELETE FROM signed_events WHERE sequence = 3", vec![4, 4]),
        ("DELETE FROM signed_events WHERE sequence = 1", vec![2, 2]),
        ("UPDATE signed_events SET prev_hash = NULL WHERE sequence = 2", vec![2]),
    ];
    for (schema, (change, expected)) in (57..).zip(changes) {
        let path = file(&folder, schema, &[Encoding::Separated; 6]);
        Connection::open(&path).unwrap().execute(change, []).unwrap();
        let verdict = Source::open(&path).unwrap().verify_chain().unwrap();
        let found: Vec<i64> = verdict.breaks.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(found, expected, "{change}");
        assert!(!verdict.holds());
    }
    let path = file(&folder, 70, &[Encoding::Separated; 3]);
    let change = "UPDATE signed_events SET sequence = NULL WHERE sequence = 3";
    Connection::open(&path).unwrap().execute(change, []).unwrap();
    let verdict = Source::open(&path).unwrap().verify_chain().unwrap();
    assert!(verdict.outside == 1 && !verdict.holds(), "{verdict:?}");
}

#[test]
fn rows_come_by_their_names_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, 71, &[]);
    let made = Connection::open(&path).unwrap();
    for number in 0..5 {
        let values = (format!("id {number}"), "a title", 0.5);
        made.execute("INSERT INTO memories VALUES (?1, ?2, ?3)", values).unwrap();
    }
    let source = Source::open(&path).unwrap();
    assert_eq!(source.count(Table::Memories).unwrap(), 5);
    let first = source.page(Table::Memories, 0, 3).unwrap();
    assert_eq!(first.len(), 3);
    assert_eq!((first[2].1.text("id"), first[2].1.real("confidence")), (Some("id 2"), Some(0.5)));
    let rest = source.page(Table::Memories, first[2].0, 3).unwrap();
    assert_eq!(rest.len(), 2);
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let newer = file(&folder, 81, &[]);
    let told = Source::open(&newer).err().unwrap().to_string();
    assert!(told.contains("its schema is 81"), "{told}");
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute("CREATE TABLE x (y)", []).unwrap();
    let told = Source::open(&other).err().unwrap().to_string();
    assert!(told.contains("no table schema_version"), "{told}");
    std::fs::write(folder.path().join("no.db"), "this is no database, and never was one").unwrap();
    assert!(Source::open(&folder.path().join("no.db")).is_err());
}
