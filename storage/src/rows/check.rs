//! What `doctor` finds in the file: structure, rows against their checksums, columns against the
//! record they repeat, records against the operations that made them, and derived data against both.
//!
//! Bit flips pass SQLite's own integrity check, and whoever changes a row can change its checksum too; the
//! replay of the operations, whose bytes the audit chain signs, finds that as well.
//!
//! Invariants: `CHK-1` a finding names the row or file and what to do; `CHK-2` checking changes
//! nothing and stops at [`FINDINGS_MAX`] findings.
//!
//! Not here: the audit chain (`verify`) and the content of the recall indexes.

use types::{MemoryId, Payload, Record, codec, record::view::fold};

use super::{
    fault::SqlFault,
    read::states::{joined_at, log_begins},
    row::{self, BEHIND, DELETED, STORED_COLUMNS, Stored, signed},
};

use crate::{
    answer::Finding,
    sql::{Connection, OptionalExtension, Value},
};

/// More findings than this help nobody.
pub const FINDINGS_MAX: usize = 100;
/// Rows per step.
const STEP_ROWS: u32 = 500;
/// What to do about damage.
pub(crate) const FIX: &str = "restore the newest backup that verifies";

/// A check in progress.
#[derive(Default)]
pub(crate) struct RowCheck {
    last_row: i64,
    findings: Vec<Finding>,
}

impl RowCheck {
    /// Checks the next rows of `memories`; says whether there are more.
    pub(crate) fn step(&mut self, connection: &Connection) -> Result<bool, SqlFault> {
        let mut statement = connection
            .prepare_cached("SELECT row, id FROM memories WHERE row > ?1 ORDER BY row LIMIT ?2")?;
        let mut rows = statement.query((self.last_row, STEP_ROWS))?;
        let mut seen = 0;
        while let Some(found) = rows.next()? {
            seen += 1;
            self.last_row = found.get(0)?;
            let id: Vec<u8> = found.get(1)?;
            self.row(connection, self.last_row, &id)?;
            if self.findings.len() >= FINDINGS_MAX {
                return Ok(false);
            }
        }
        Ok(seen == STEP_ROWS)
    }

    /// What was found.
    pub(crate) fn finish(self) -> Vec<Finding> {
        self.findings
    }

    fn row(&mut self, connection: &Connection, number: i64, id: &[u8]) -> Result<(), SqlFault> {
        let Ok(id) = MemoryId::from_slice(id) else {
            self.add("rows", format!("memory in row {number}: its id has {} bytes", id.len()));
            return Ok(());
        };
        let text = format!("SELECT {STORED_COLUMNS} FROM memories WHERE row = ?1");
        let mut statement = connection.prepare_cached(&text)?;
        let stored = statement.query_row([number], |found| Ok(row::stored(found))).optional()?;
        let stored = match stored {
            // Purged since the step began.
            None => return Ok(()),
            Some(Ok(stored)) => stored,
            Some(Err(SqlFault::Damaged { problem, .. })) => {
                self.add("rows", format!("memory {id} (row {number}): {problem}"));
                return Ok(());
            }
            Some(Err(fault)) => return Err(fault),
        };
        for problem in mirror_problems(connection, number, id, &stored)? {
            self.add("columns", format!("memory {id} (row {number}): {problem}"));
        }
        if let Some(problem) = replay_problem(connection, &stored.record)? {
            self.add("replay", format!("memory {id} (row {number}): {problem}"));
        }
        Ok(())
    }

    fn add(&mut self, check: &'static str, problem: String) {
        self.findings.push(Finding { check, problem: format!("{problem}; {FIX}") });
    }
}

/// Rows beside `memories` that lead nowhere.
pub(crate) fn strays(connection: &Connection) -> Result<Vec<Finding>, SqlFault> {
    let mut findings = Vec::new();
    for (check, query, problem) in STRAYS {
        let count: i64 = connection.query_row(query, [], |found| found.get(0))?;
        if count > 0 {
            findings.push(Finding { check, problem: format!("{count} {problem}") });
        }
    }
    Ok(findings)
}

/// Counts of rows that lead nowhere: check, query, and what is said of them.
const STRAYS: &[(&str, &str, &str)] = &[
    (
        "vectors",
        "SELECT count(*) FROM vectors v WHERE NOT EXISTS \
         (SELECT 1 FROM memories m WHERE m.row = v.row AND m.life < 2)",
        "vectors belong to no memory: wasted space, no harm",
    ),
    (
        "tags",
        "SELECT count(*) FROM memory_tags t WHERE NOT EXISTS \
         (SELECT 1 FROM memories m WHERE m.row = t.row)",
        "tags belong to no memory; restore the newest backup that verifies",
    ),
    (
        "chain",
        "SELECT count(*) FROM memories WHERE position > (SELECT coalesce(max(sequence), 0) FROM signed_events)",
        "memories changed after the last audit row: the chain was cut; restore the newest backup that verifies",
    ),
];

/// Where the columns of a row say something else than its record.
fn mirror_problems(
    connection: &Connection,
    number: i64,
    id: MemoryId,
    stored: &Stored,
) -> Result<Vec<String>, SqlFault> {
    let mut problems = Vec::new();
    let record = &stored.record;
    if record.id != id {
        problems.push(format!("its state is that of memory {}", record.id));
    }
    let mut statement = connection.prepare_cached(
        "SELECT n.name, u.name, a.name, m.life, m.kind, m.tier, m.scope, m.priority, \
         m.confidence_permille, m.created_ms, m.updated_ms, m.expires_ms, m.valid_from_ms, \
         m.valid_until_ms, m.legal_hold, m.version, m.access_count, m.last_accessed_ms, m.others \
         FROM memories m LEFT JOIN namespaces n ON n.id = m.namespace \
         LEFT JOIN audiences u ON u.id = m.audience LEFT JOIN names a ON a.id = m.author \
         WHERE m.row = ?1",
    )?;
    let together = together(connection, stored)?;
    let expected = mirrored(record, &together);
    let found = statement
        .query_row([number], |found| {
            (0..expected.len()).map(|at| found.get::<Value>(at)).collect::<Result<Vec<_>, _>>()
        })
        .optional()?;
    for ((name, expected), found) in expected.iter().zip(found.iter().flatten()) {
        if expected != found {
            problems.push(format!("column {name} is {found:?}, its state says {expected:?}"));
        }
    }
    Ok(problems)
}

/// The live records that share the key of one, itself among them, in order of id; none where it is shown by
/// itself whatever its title.
fn together(connection: &Connection, stored: &Stored) -> Result<Vec<Record>, SqlFault> {
    let Some(key) = stored.record.key() else { return Ok(Vec::new()) };
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE title_key = ?1 AND life IN (0, 3) ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query([stored.title_key])?;
    let mut all = Vec::new();
    while let Some(found) = rows.next()? {
        // A damaged row is told of by itself.
        let Ok(other) = row::stored(found) else { continue };
        if other.record.key() == Some(key) {
            all.push(other.record);
        }
    }
    Ok(all)
}

/// The columns that repeat a part of the record, or of the view that it belongs to.
fn mirrored(record: &Record, together: &[Record]) -> Vec<(&'static str, Value)> {
    let others = together.len().saturating_sub(1);
    let is_behind = others > 0 && together.first().is_some_and(|first| first.id != record.id);
    let life = if is_behind { BEHIND } else { row::life(record) };
    let view = if others > 0 { fold(together.iter().cloned()) } else { None };
    let record = view.as_ref().unwrap_or(record);
    let text = |text: &str| Value::Text(text.to_owned());
    let time = |ms: Option<u64>| ms.map_or(Value::Null, |ms| Value::Integer(signed(ms)));
    let number = |number: u64| Value::Integer(signed(number));
    vec![
        ("namespace", text(record.namespace.as_str())),
        ("audience", text(record.scope.value.1.as_str())),
        ("author", text(record.author.as_str())),
        ("life", life.into()),
        ("kind", number(record.kind.value.number().into())),
        ("tier", number(record.tier().number().into())),
        ("scope", number(record.scope.value.0.number().into())),
        ("priority", number(record.priority.value.into())),
        ("confidence_permille", number(record.confidence_permille.value.into())),
        ("created_ms", number(record.created.hlc.wall_ms())),
        ("updated_ms", number(record.updated.hlc.wall_ms())),
        ("expires_ms", time(record.expires_at_ms())),
        ("valid_from_ms", time(record.validity.value.from_ms)),
        ("valid_until_ms", time(record.validity.value.until_ms)),
        ("legal_hold", number(record.legal_hold.value.into())),
        ("version", number(record.version())),
        ("access_count", number(record.accesses.total())),
        ("last_accessed_ms", number(record.last_accessed_ms)),
        ("others", number(others as u64)),
    ]
}

/// How the record differs from what its operations make, if it does. Reports of recalls name many
/// memories and are left out, with what only they change. Where the log does not reach back to the beginning, or
/// state was taken without it, a record can have operations that are not here: then nothing is said.
fn replay_problem(connection: &Connection, record: &Record) -> Result<Option<String>, SqlFault> {
    let mut statement = connection
        .prepare_cached("SELECT position, bytes FROM ops WHERE memory = ?1 ORDER BY position")?;
    let mut rows = statement.query([record.id.as_bytes().as_slice()])?;
    let is_partial = log_begins(connection)? > 0 || joined_at(connection)? > 0;
    let (mut replayed, mut edits): (Option<Record>, u64) = (None, 0);
    while let Some(found) = rows.next()? {
        let (position, bytes): (i64, Vec<u8>) = (found.get(0)?, found.get(1)?);
        let op = match codec::decode_op(&bytes) {
            Ok(op) => op,
            Err(error) => return Ok(Some(format!("operation {position}: {error}"))),
        };
        edits += u64::from(!matches!(op.payload, Payload::Alias { .. }));
        match (&mut replayed, &op.payload) {
            (Some(record), _) => _ = record.apply(&op),
            (None, Payload::Store(new)) => replayed = Some(Record::create(&op, new)),
            (None, _) if is_partial => return Ok(None),
            (None, _) => return Ok(Some(format!("operation {position} precedes its creation"))),
        }
    }
    if is_partial && edits < record.version() {
        return Ok(None);
    }
    let Some(mut replayed) = replayed else {
        return Ok(Some("no operation made it".into()));
    };
    if row::life(record) == DELETED {
        let same = replayed.deleted == record.deleted;
        return Ok((!same).then(|| "its operations did not delete it like this".into()));
    }
    replayed.accesses = record.accesses.clone();
    replayed.last_accessed_ms = record.last_accessed_ms;
    replayed.vector = record.vector.clone();
    Ok((replayed != *record).then(|| "it is not what its operations made it".into()))
}

/// Compares the indexes, which have reached `position` and hold `indexed` memories and so many vectors,
/// with the rows. Counts are compared only when both show the same commit.
pub(crate) fn compare_index(
    connection: &Connection,
    position: u64,
    indexed: u64,
    vectors: Option<u64>,
) -> Result<Vec<Finding>, SqlFault> {
    if super::read::changes::head(connection)? != position {
        return Ok(Vec::new());
    }
    let text = "SELECT count(*) FROM memories WHERE life = 0";
    let live = row::unsigned(connection.query_row(text, [], |found| found.get(0))?);
    let mut findings = Vec::new();
    if live != indexed {
        findings.push(format!("the index of words holds {indexed} memories, the file {live}"));
    }
    // Fewer is no fault: a text without features has no vector, and slow models are behind.
    if let Some(vectors) = vectors.filter(|vectors| *vectors > live) {
        findings.push(format!("the index of vectors holds {vectors} memories, the file {live}"));
    }
    let finding = |problem| Finding {
        check: "index",
        problem: format!("{problem}; delete the index folder, it is built again"),
    };
    Ok(findings.into_iter().map(finding).collect())
}
