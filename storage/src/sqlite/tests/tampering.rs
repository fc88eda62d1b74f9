//! Whoever changes the file behind the store's back is found, and the row is named.

use rusqlite::{Connection, params};
use types::MemoryId;

use super::Rig;
use crate::{answer::ChainReport, port::ReadStore};

/// Memories in each tampered store; each is one operation and one audit row.
const COUNT: i64 = 6;

async fn filled() -> (Rig, Vec<MemoryId>, Connection) {
    let rig = Rig::new();
    let ids = rig.fill(COUNT as u64).await;
    assert!(rig.store.verify_chain(0).await.unwrap().holds());
    assert_eq!(rig.store.check().await.unwrap(), []);
    let behind = Connection::open(rig.path("data/hivemem.db")).unwrap();
    (rig, ids, behind)
}

/// Flips the lowest bit of the last byte of a column.
fn flip(behind: &Connection, table: &str, column: &str, key: &str, row: i64) {
    let find = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {key} = ?1");
    let mut bytes: Vec<u8> = behind.query_row(&find, [row], |r| r.get(0)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let write = format!(
        "UPDATE {table} SET {column} = CASE typeof({column}) WHEN 'text' THEN CAST(?2 AS TEXT) ELSE ?2 END \
         WHERE {key} = ?1"
    );
    assert_eq!(behind.execute(&write, params![row, bytes]).unwrap(), 1);
}

async fn verified(rig: &Rig) -> ChainReport {
    rig.store.verify_chain(0).await.unwrap()
}

#[tokio::test]
async fn a_changed_byte_of_a_memory_is_found_and_the_memory_is_named() {
    for column in ["title", "content", "state"] {
        let (rig, ids, behind) = filled().await;
        flip(&behind, "memories", column, "row", 3);
        let findings = rig.store.check().await.unwrap();
        assert_eq!(findings.len(), 1, "{column}: {findings:?}");
        assert_eq!(findings[0].check, "rows");
        assert!(findings[0].problem.contains(&ids[2].to_string()), "{findings:?}");
        assert!(verified(&rig).await.holds(), "the chain does not speak of rows");
    }
}

#[tokio::test]
async fn a_memory_rewritten_with_its_checksum_is_found_by_its_operations() {
    let (rig, ids, behind) = filled().await;
    let (title, state): (String, Vec<u8>) = behind
        .query_row("SELECT title, state FROM memories WHERE row = 3", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    let checksum = crate::rows::row::checksum(&title, &state, "a lie", &[]);
    behind
        .execute("UPDATE memories SET content = 'a lie', checksum = ?1 WHERE row = 3", [checksum])
        .unwrap();
    let findings = rig.store.check().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].check, "replay");
    assert!(findings[0].problem.contains(&ids[2].to_string()), "{findings:?}");
}

#[tokio::test]
async fn a_column_that_contradicts_its_record_is_found() {
    for (column, value) in [
        ("audience", "(SELECT id FROM audiences WHERE name = '*')"),
        ("life", "1"),
        ("legal_hold", "1"),
        ("expires_ms", "5"),
        ("valid_until_ms", "5"),
        ("author", "99"),
        ("priority", "10"),
        ("version", "7"),
    ] {
        let (rig, ids, behind) = filled().await;
        behind.execute("INSERT OR IGNORE INTO audiences (name) VALUES ('*')", []).unwrap();
        behind
            .execute(&format!("UPDATE memories SET {column} = {value} WHERE row = 3"), [])
            .unwrap();
        let findings = rig.store.check().await.unwrap();
        let named = findings.iter().any(|finding| {
            finding.check == "columns"
                && finding.problem.contains(column)
                && finding.problem.contains(&ids[2].to_string())
        });
        assert!(named, "{column}: {findings:?}");
    }
}

#[tokio::test]
async fn a_changed_byte_of_an_operation_breaks_the_chain_at_its_row() {
    let (rig, ids, behind) = filled().await;
    flip(&behind, "ops", "bytes", "position", 4);
    let report = verified(&rig).await;
    let (sequence, problem) = report.chain_break.clone().unwrap();
    assert_eq!(sequence, 4, "{problem}");
    assert!(problem.contains("not those that were signed"), "{problem}");
    assert_eq!(report.rows_checked, COUNT as u64, "the rest is looked at too");
    let findings = rig.store.check().await.unwrap();
    assert!(findings.iter().any(|f| f.problem.contains(&ids[3].to_string())), "{findings:?}");
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_an_audit_row_is_found_there() {
    for column in ["event_type", "payload_hash", "signature", "key_id", "prev_hash"] {
        let (rig, _, behind) = filled().await;
        flip(&behind, "signed_events", column, "sequence", 4);
        let report = verified(&rig).await;
        assert!(!report.holds(), "{column}");
        let at = report.chain_break.as_ref().map(|(sequence, _)| *sequence);
        let found = at == Some(4) || at == Some(5) || report.signature_failures == [4];
        assert!(found, "{column}: {report:?}");
    }
    for (column, value) in [("attest_level", 3), ("timestamp_ms", 1), ("agent", 2), ("seq", 77)] {
        let (rig, _, behind) = filled().await;
        behind.execute("INSERT INTO names (name) VALUES ('eve')", []).unwrap();
        behind
            .execute(&format!("UPDATE signed_events SET {column} = {value} WHERE sequence = 4"), [])
            .unwrap();
        let report = verified(&rig).await;
        assert_eq!(report.signature_failures, [4], "{column}: {report:?}");
        assert!(report.chain_break.is_some(), "{column}: {report:?}");
    }
}

#[tokio::test]
async fn a_row_that_was_deleted_is_missed() {
    let cases = [
        ("DELETE FROM signed_events WHERE sequence = 3", 3, "missing"),
        ("DELETE FROM signed_events WHERE sequence = 6", 6, "without its audit row"),
        ("DELETE FROM ops WHERE position = 3", 3, "no longer kept"),
        ("DELETE FROM signed_events WHERE sequence = 1", 1, "missing"),
    ];
    for (statement, expected, words) in cases {
        let (rig, _, behind) = filled().await;
        assert_eq!(behind.execute(statement, []).unwrap(), 1);
        let (sequence, problem) = verified(&rig).await.chain_break.unwrap();
        assert_eq!(sequence, expected, "{statement}: {problem}");
        assert!(problem.contains(words), "{statement}: {problem}");
    }
}

#[tokio::test]
async fn a_chain_cut_off_at_its_end_is_missed() {
    let (rig, _, behind) = filled().await;
    behind.execute("DELETE FROM signed_events WHERE sequence = 6", []).unwrap();
    behind.execute("DELETE FROM ops WHERE position = 6", []).unwrap();
    let (sequence, problem) = verified(&rig).await.chain_break.unwrap();
    assert_eq!(sequence, 6);
    assert!(problem.contains("row 5 is not the last row"), "{problem}");
    let findings = rig.store.check().await.unwrap();
    assert!(findings.iter().any(|f| f.check == "chain"), "{findings:?}");
}

#[tokio::test]
async fn two_rows_that_changed_places_break_the_chain() {
    let (rig, _, behind) = filled().await;
    for statement in [
        "UPDATE signed_events SET sequence = 100 WHERE sequence = 3",
        "UPDATE signed_events SET sequence = 3 WHERE sequence = 4",
        "UPDATE signed_events SET sequence = 4 WHERE sequence = 100",
    ] {
        behind.execute(statement, []).unwrap();
    }
    assert_eq!(verified(&rig).await.chain_break.unwrap().0, 3);
}

#[tokio::test]
async fn a_key_that_cannot_be_believed_signs_nothing() {
    // The identity point: a weak key under which one signature fits every message.
    let mut weak = [0u8; 32];
    weak[0] = 1;
    for key in [weak, [9; 32]] {
        let (rig, _, behind) = filled().await;
        behind.execute("UPDATE signing_keys SET public_key = ?1", [key.as_slice()]).unwrap();
        let report = verified(&rig).await;
        assert_eq!(report.signature_failures, [1, 2, 3, 4, 5, 6], "{report:?}");
    }
    let (rig, _, behind) = filled().await;
    behind.execute("DELETE FROM signing_keys", []).unwrap();
    assert_eq!(verified(&rig).await.signature_failures.len(), COUNT as usize);
}

#[tokio::test]
async fn an_operation_slipped_in_without_evidence_is_found() {
    let (rig, _, behind) = filled().await;
    behind
        .execute(
            "INSERT INTO ops (position, origin, seq, hlc, memory, bytes) \
             SELECT 7, origin, 7, hlc, memory, bytes FROM ops WHERE position = 6",
            [],
        )
        .unwrap();
    let (sequence, problem) = verified(&rig).await.chain_break.unwrap();
    assert_eq!((sequence, problem.contains("without its audit row")), (7, true), "{problem}");
}

#[tokio::test]
async fn a_log_that_no_longer_reaches_back_says_so() {
    let (rig, _, behind) = filled().await;
    behind.execute("DELETE FROM ops WHERE position <= 2", []).unwrap();
    let answer = rig.store.changes(crate::request::Reader::Operator, 0, 10).await;
    assert_eq!(answer.unwrap_err().reason(), types::Reason::PositionTooOld);
    let (changes, covered) =
        rig.store.changes(crate::request::Reader::Operator, 2, 10).await.unwrap();
    assert_eq!((changes.len(), covered), (4, 6));
}
