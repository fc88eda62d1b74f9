//! Texts that wait for the vector of a model: a queue in the database.
//!
//! A memory's row in the queue is made with the memory and goes with its vector, so what waits survives whoever computes.
//! A worker takes a text for a while; if it does not come back, somebody else takes it. On a server several workers take from
//! one queue, each what no other is just taking.
//!
//! Invariants: `WRK-1` a live memory that needs a vector has one, or a place in the queue, from its commit on; `WRK-2` a text is
//! with one worker at a time, as long as that one comes back in time; `WRK-3` a text that cannot be embedded leaves the queue as a
//! dead letter, which says why, and holds nothing up; a change of the text gives it another try.
//!
//! Not here: computing (the node), and keeping what was computed (`vectors`).

use types::MemoryId;

use super::{
    fault::SqlFault,
    read::{
        conditions::json_numbers,
        views::{Shown, is_indexed, shown},
    },
    row::{self, LIVE, STORED_COLUMNS, signed, unsigned},
    vectors::space_known,
};
use crate::{
    answer::{DeadText, Finding, PendingVector},
    port::EmbeddingSpace,
    request::{ComputedVector, ReturnedText},
    sql::{Connection, params_from_iter},
};

/// How often a text is taken by workers that do not come back.
const TAKEN_MAX: i64 = 5;
/// Rows that are put in order at once.
const REVIEW_ROWS: i64 = 5_000;

/// What is to be done about texts that wait for vectors.
#[derive(Debug)]
pub(crate) enum TextJob {
    /// Keep what was computed.
    Keep(Vec<ComputedVector>),
    /// Give so many, at this time and for so long, milliseconds.
    Take(u32, u64, u64),
    /// Put these back.
    Return(Vec<ReturnedText>),
    /// Give dead letters another try.
    Revive,
    /// See that all wait that should.
    Review,
}

/// What was done about them.
#[derive(Debug)]
pub(crate) enum TextsDone {
    /// With so many.
    Count(u64),
    /// These are taken.
    Taken(Vec<PendingVector>),
}

/// Puts a row into the queue, at its end or again at its beginning.
pub(crate) const ENQUEUE: &str =
    "INSERT INTO vector_work (row, due_ms, tries, is_dead) VALUES (?1, 0, 0, 0)
     ON CONFLICT (row) DO UPDATE SET due_ms = 0, tries = 0, is_dead = 0, problem = NULL";
/// Takes a row out of it.
pub(crate) const DEQUEUE: &str = "DELETE FROM vector_work WHERE row = ?1";

/// Whether vectors of this space come from a model that takes its time.
pub(crate) fn is_slow(space: &EmbeddingSpace) -> bool {
    space.vectorizer.is_none() && space.dimension > 0
}

/// Whether a memory brings its own.
pub(crate) fn is_supplied(record: &types::Record, space: &EmbeddingSpace) -> bool {
    record.embedding.value.as_ref().is_some_and(|given| {
        given.model == space.model
            && given.version == space.version
            && given.values.len() == usize::from(space.dimension)
    })
}

/// Takes texts whose turn it is for `lease_ms`. On a server this is no part of a group, and waits for none.
pub(crate) fn take(
    connection: &Connection,
    space: &EmbeddingSpace,
    limit: u32,
    (now_ms, lease_ms): (u64, u64),
) -> Result<Vec<PendingVector>, SqlFault> {
    if !is_slow(space) {
        return Ok(Vec::new());
    }
    let text = format!(
        "UPDATE vector_work SET due_ms = ?2, tries = tries + 1 WHERE row IN
            (SELECT row FROM vector_work WHERE is_dead = 0 AND due_ms <= ?1
             ORDER BY due_ms, row LIMIT ?3{}) RETURNING row, tries",
        if connection.is_shared() { " FOR UPDATE SKIP LOCKED" } else { "" }
    );
    let mut statement = connection.prepare_cached(&text)?;
    let times = (signed(now_ms), signed(now_ms.saturating_add(lease_ms)), limit);
    let read = |row: crate::sql::Row<'_>| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
    let taken = statement.query_map(times, read)?.collect::<Result<Vec<_>, _>>()?;
    let (lost, taken): (Vec<_>, Vec<_>) = taken.into_iter().partition(|(_, n)| *n > TAKEN_MAX);
    for (row, _) in lost {
        let problem = format!("taken {TAKEN_MAX} times by workers that did not come back");
        bury(connection, row, &problem)?;
    }
    let rows: Vec<i64> = taken.into_iter().map(|(row, _)| row).collect();
    texts_of(connection, space, rows)
}

/// The texts of rows; rows that need no vector leave the queue.
fn texts_of(
    connection: &Connection,
    space: &EmbeddingSpace,
    rows: Vec<i64>,
) -> Result<Vec<PendingVector>, SqlFault> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE row IN
            (SELECT CAST(value AS INTEGER) FROM json_each(?1)) ORDER BY row"
    );
    let mut found = Vec::new();
    {
        let mut statement = connection.prepare_cached(&text)?;
        let mut stored = statement.query([json_numbers(&rows)])?;
        while let Some(one) = stored.next()? {
            found.push(row::stored(one)?);
        }
    }
    let number = space_known(connection, space)?;
    let (mut pending, mut waiting) = (Vec::new(), Vec::new());
    for stored in found {
        if stored.life != LIVE || !is_indexed(&stored) {
            continue;
        }
        let row = stored.row;
        let Shown { record, .. } = shown(connection, stored)?;
        let (title, content) = (record.title.value.as_str(), record.content.value.as_str());
        let text_sha256 = row::text_sha256(title, content);
        if is_supplied(&record, space) || has_vector(connection, row, number, &text_sha256)? {
            continue;
        }
        waiting.push(row);
        let text = row::embedded_text(title, content);
        pending.push(PendingVector { id: record.id, text, text_sha256 });
    }
    for row in rows.iter().filter(|row| !waiting.contains(row)) {
        connection.prepare_cached(DEQUEUE)?.execute([*row])?;
    }
    Ok(pending)
}

fn has_vector(
    connection: &Connection,
    row: i64,
    space: Option<i64>,
    text_sha256: &[u8; 32],
) -> Result<bool, SqlFault> {
    let text = "SELECT 1 FROM vectors WHERE row = ?1 AND space = ?2 AND text_sha256 = ?3";
    let Some(space) = space else { return Ok(false) };
    Ok(connection.prepare_cached(text)?.exists((row, space, text_sha256))?)
}

fn bury(connection: &Connection, row: i64, problem: &str) -> Result<(), SqlFault> {
    let text = "UPDATE vector_work SET is_dead = 1, problem = ?2 WHERE row = ?1";
    connection.prepare_cached(text)?.execute((row, problem))?;
    Ok(())
}

/// Puts texts back that were taken and got no vector; gives how many were still the same.
pub(crate) fn give_back(connection: &Connection, texts: &[ReturnedText]) -> Result<u64, SqlFault> {
    let transaction = connection.begin()?;
    let mut same = 0;
    for text in texts {
        let Some((row, text_sha256)) = text_now(connection, text.id)? else { continue };
        if text_sha256 != text.text_sha256 {
            // It has changed, and was put at the beginning again.
            continue;
        }
        same += 1;
        match text.again_at_ms {
            None => bury(connection, row, &text.problem)?,
            Some(at_ms) => {
                // Not the text's fault, so the try does not count.
                let text_of =
                    "UPDATE vector_work SET due_ms = ?2, problem = ?3, tries = max(tries - 1, 0)
                    WHERE row = ?1 AND is_dead = 0";
                connection.prepare_cached(text_of)?.execute((
                    row,
                    signed(at_ms),
                    text.problem.as_str(),
                ))?;
            }
        }
    }
    transaction.commit()?;
    Ok(same)
}

fn text_now(connection: &Connection, id: MemoryId) -> Result<Option<(i64, [u8; 32])>, SqlFault> {
    let text = format!("SELECT {STORED_COLUMNS} FROM memories WHERE id = ?1");
    let found = {
        let mut statement = connection.prepare_cached(&text)?;
        let mut rows = statement.query([id.as_bytes().as_slice()])?;
        rows.next()?.map(row::stored).transpose()?
    };
    let Some(stored) = found else { return Ok(None) };
    let Shown { row, record, .. } = shown(connection, stored)?;
    let (title, content) = (record.title.value.as_str(), record.content.value.as_str());
    Ok(Some((row, row::text_sha256(title, content))))
}

/// Gives dead letters another try; says how many there were.
pub(crate) fn revive(connection: &Connection) -> Result<u64, SqlFault> {
    let transaction = connection.begin()?;
    let text = "UPDATE vector_work SET is_dead = 0, tries = 0, due_ms = 0 WHERE is_dead = 1";
    let revived = connection.execute(text, [])?;
    transaction.commit()?;
    Ok(revived as u64)
}

/// The dead letters, oldest memories first.
pub(crate) fn dead(connection: &Connection, limit: u32) -> Result<Vec<DeadText>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT m.id, w.problem FROM vector_work w JOIN memories m ON m.row = w.row
         WHERE w.is_dead = 1 ORDER BY w.row LIMIT ?1",
    )?;
    let mut rows = statement.query([limit])?;
    let mut dead = Vec::new();
    while let Some(found) = rows.next()? {
        let id = row::memory_id("memories", found.get(0)?)?;
        let problem: Option<String> = found.get(1)?;
        dead.push(DeadText { id, problem: problem.unwrap_or_default() });
    }
    Ok(dead)
}

/// How many texts wait, and how many are dead letters.
pub(crate) fn counts(connection: &Connection) -> Result<(u64, u64), SqlFault> {
    let text = "SELECT count(*), coalesce(sum(is_dead), 0) FROM vector_work";
    let (all, dead): (i64, i64) =
        connection.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((unsigned(all - dead), unsigned(dead)))
}

/// Live memories that need a vector and have neither one nor a place in the queue: `?1` is the number of the space.
const LACKING: &str = "SELECT m.row FROM memories m WHERE m.life = 0 AND m.embedding IS NULL
    AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.row = m.row AND v.space = ?1)
    AND NOT EXISTS (SELECT 1 FROM vector_work w WHERE w.row = m.row)";

/// Puts into the queue what should be there: after another model was chosen, say; gives how many there were.
pub(crate) fn review(connection: &Connection, space: &EmbeddingSpace) -> Result<u64, SqlFault> {
    if !is_slow(space) {
        return Ok(0);
    }
    if !connection.is_shared() {
        // Whoever had taken some has ended.
        let transaction = connection.begin()?;
        connection.execute("UPDATE vector_work SET due_ms = 0 WHERE is_dead = 0", [])?;
        transaction.commit()?;
    }
    let mut put = 0;
    loop {
        let transaction = connection.begin()?;
        let number = space_known(connection, space)?.unwrap_or(0);
        let rows: Vec<i64> = {
            let text = format!("{LACKING} ORDER BY m.row LIMIT ?2");
            let mut statement = connection.prepare_cached(&text)?;
            let rows = statement.query_map((number, REVIEW_ROWS), |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut batch = connection.batch(ENQUEUE)?;
        for row in &rows {
            batch.add([*row])?;
        }
        batch.finish()?;
        transaction.commit()?;
        put += rows.len() as u64;
        if rows.len() < REVIEW_ROWS as usize {
            return Ok(put);
        }
    }
}

/// What does not fit between memories, vectors and the queue.
pub(crate) fn check(
    connection: &Connection,
    space: &EmbeddingSpace,
) -> Result<Vec<Finding>, SqlFault> {
    if !is_slow(space) {
        return Ok(Vec::new());
    }
    let number = space_known(connection, space)?.unwrap_or(0);
    // What several records are shown as may have the vector of one of them.
    let text = format!("SELECT count(*) FROM ({LACKING} AND m.others = 0) lacking");
    let lacking: i64 = connection.query_row(&text, params_from_iter([number]), |row| row.get(0))?;
    let text = "SELECT count(*) FROM vector_work w WHERE NOT EXISTS
        (SELECT 1 FROM memories m WHERE m.row = w.row AND m.life = 0)";
    let stray: i64 = connection.query_row(text, [], |row| row.get(0))?;
    let mut findings = Vec::new();
    if lacking > 0 {
        let problem = format!(
            "{lacking} memories have no vector and do not wait for one; start the node, which puts them into the queue"
        );
        findings.push(Finding { check: "vectors", problem });
    }
    if stray > 0 {
        let problem = format!("{stray} places in the queue of vectors are for no live memory");
        findings.push(Finding { check: "vectors", problem });
    }
    Ok(findings)
}
