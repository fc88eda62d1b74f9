//! Keeping vectors that a model computed.
//!
//! Invariant: a vector is kept only for the text it was computed from; they are derived data, so
//! there is no operation and no audit row.
//!
//! Not here: supplied vectors, which are part of the memory, and searching.

use half::f16;
use types::{Invalid, Reject};

use super::{
    fault::SqlFault,
    read::views::{is_indexed, shown},
    recall::Recall,
    row::{self, STORED_COLUMNS},
    work,
};
use crate::{
    port::EmbeddingSpace,
    request::ComputedVector,
    sql::{Connection, OptionalExtension, params},
};

/// Keeps those that fit; gives them with their rows.
pub(crate) fn keep<'v>(
    connection: &Connection,
    recall: &Recall,
    space: &EmbeddingSpace,
    computed: &'v [ComputedVector],
) -> Result<Vec<(i64, &'v ComputedVector)>, SqlFault> {
    for vector in computed {
        if vector.values.len() != usize::from(space.dimension) {
            let problem =
                format!("needs {} components, got {}", space.dimension, vector.values.len());
            return Err(Reject::from(Invalid::new("vectors", problem)).into());
        }
    }
    let transaction = connection.begin()?;
    let kept = keep_all(connection, recall, space, computed)?;
    transaction.commit()?;
    Ok(kept)
}

fn keep_all<'v>(
    connection: &Connection,
    recall: &Recall,
    space: &EmbeddingSpace,
    computed: &'v [ComputedVector],
) -> Result<Vec<(i64, &'v ComputedVector)>, SqlFault> {
    let space = space_number(connection, space)?;
    let sql = format!("SELECT {STORED_COLUMNS} FROM memories WHERE id = ?1");
    let mut find = connection.prepare_cached(&sql)?;
    let mut kept = Vec::new();
    for vector in computed {
        let mut rows = find.query([vector.id.as_bytes().as_slice()])?;
        let Some(found) = rows.next()? else { continue };
        let stored = row::stored(found)?;
        drop(rows);
        let indexed = is_indexed(&stored);
        let stored = shown(connection, stored)?;
        let record = &stored.record;
        let text = row::text_sha256(record.title.value.as_str(), record.content.value.as_str());
        if text != vector.text_sha256 || !indexed {
            continue;
        }
        match recall {
            Recall::Database(database) => {
                database.keep_vector(connection, stored.row, &text, &vector.values)?;
            }
            Recall::Memory(..) => {
                insert(connection, stored.row, space, &text, &vector.values)?;
            }
        }
        connection.prepare_cached(work::DEQUEUE)?.execute([stored.row])?;
        kept.push((stored.row, vector));
    }
    Ok(kept)
}

fn insert(
    connection: &Connection,
    row: i64,
    space: i64,
    text_sha256: &[u8; 32],
    values: &[f32],
) -> crate::sql::Result<()> {
    let halves: Vec<u8> =
        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
    let mut insert = connection.prepare_cached(
        "INSERT INTO vectors (row, space, text_sha256, halves) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (row) DO UPDATE SET space = excluded.space,
            text_sha256 = excluded.text_sha256, halves = excluded.halves",
    )?;
    insert.execute(params![row, space, text_sha256, halves]).map(drop)
}

/// Number of a space, which is added when it is new.
pub(crate) fn space_number(
    connection: &Connection,
    space: &EmbeddingSpace,
) -> crate::sql::Result<i64> {
    if let Some(id) = space_known(connection, space)? {
        return Ok(id);
    }
    connection.query_row(
        "INSERT INTO spaces (id, model, version, dimension)
         SELECT coalesce(max(id), 0) + 1, ?1, ?2, ?3 FROM spaces RETURNING id",
        (&space.model, &space.version, space.dimension),
        |row| row.get(0),
    )
}

/// Number of a space, if it has one.
pub(crate) fn space_known(
    connection: &Connection,
    space: &EmbeddingSpace,
) -> crate::sql::Result<Option<i64>> {
    let mut find = connection.prepare_cached(
        "SELECT id FROM spaces WHERE model = ?1 AND version = ?2 AND dimension = ?3",
    )?;
    let name = (&space.model, &space.version, space.dimension);
    find.query_row(name, |row| row.get(0)).optional()
}
