//! Records that are shown as one, put together when they are read.
//!
//! A row says whether it belongs to a view, so the others cost nothing more.
//!
//! Invariants: `VWR-1` whichever of its rows a view is read by, it is the same, under the smallest of its ids; `VWR-2` all
//! records of a view have one audience, so whoever may see one may see all of it.
//!
//! Not here: what is shown of several (`types::record::view`), which rows belong together (`write::views`).

use std::collections::{BTreeMap, BTreeSet};

use types::{
    MemoryId, NodeId, Record, Reject,
    limits::PAGE_MAX,
    record::view::{differing, fold},
};

use super::{
    many,
    sight::{Sight, usable},
};
use crate::{
    answer::{Conflict, ConflictRecord, Page},
    request::ConflictQuery,
    rows::{
        fault::SqlFault,
        row::{self, LIVE, Stored, signed, stored_columns},
    },
    sql::{Connection, OptionalExtension},
};

/// The records that are shown with one that is shown with others, itself among them, in order of id.
pub(crate) fn records(connection: &Connection, one: &Stored) -> Result<Vec<Stored>, SqlFault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        stored_columns!(),
        " FROM memories WHERE title_key = ?1 AND life IN (0, 3) AND others > 0 ORDER BY id"
    ))?;
    let mut rows = statement.query([one.title_key])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = row::stored(row)?;
        // Equal keys still need comparing.
        if stored.record.key().is_some() && stored.record.key() == one.record.key() {
            all.push(stored);
        }
    }
    Ok(all)
}

/// A memory as it is shown, with the ids of the others that are in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    /// The row that stands for it in the indexes.
    pub(crate) row: i64,
    /// Position of its last change.
    pub(crate) position: u64,
    /// What is shown.
    pub(crate) record: Record,
    /// The others.
    pub(crate) other_ids: Vec<MemoryId>,
}

/// What is shown of a row.
pub(crate) fn shown(connection: &Connection, stored: Stored) -> Result<Shown, SqlFault> {
    if stored.others == 0 {
        let Stored { row, position, record, .. } = stored;
        return Ok(Shown { row, position, record, other_ids: Vec::new() });
    }
    let all = records(connection, &stored)?;
    let row = all.first().map_or(stored.row, |first| first.row);
    let position = all.iter().map(|one| one.position).max().unwrap_or(stored.position);
    let other_ids = all.iter().skip(1).map(|one| one.record.id).collect();
    let folded = fold(all.into_iter().map(|one| one.record));
    Ok(Shown { row, position, record: folded.unwrap_or(stored.record), other_ids })
}

/// `memories.life` and with how many others a memory is shown.
fn place(connection: &Connection, id: MemoryId) -> Result<Option<(i64, u32)>, SqlFault> {
    let mut statement =
        connection.prepare_cached("SELECT life, others FROM memories WHERE id = ?1")?;
    let found =
        statement.query_row([id.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

fn read(connection: &Connection, id: MemoryId) -> Result<Option<Stored>, SqlFault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        stored_columns!(),
        " FROM memories WHERE id = ?1"
    ))?;
    let mut rows = statement.query([id.as_bytes().as_slice()])?;
    rows.next()?.map(row::stored).transpose()
}

/// Ids of the records that are shown as one with this one, itself among them, ascending.
pub(crate) fn members(connection: &Connection, id: MemoryId) -> Result<Vec<MemoryId>, SqlFault> {
    let together = place(connection, id)?.is_some_and(|(_, others)| others > 0);
    match if together { read(connection, id)? } else { None } {
        Some(stored) => {
            Ok(records(connection, &stored)?.into_iter().map(|one| one.record.id).collect())
        }
        None => Ok(vec![id]),
    }
}

/// The records that these memories are shown from, each with the one of these that it belongs to.
pub(crate) fn members_of(
    connection: &Connection,
    ids: &BTreeSet<MemoryId>,
) -> Result<BTreeMap<MemoryId, MemoryId>, SqlFault> {
    let mut all: BTreeMap<MemoryId, MemoryId> = ids.iter().map(|id| (*id, *id)).collect();
    for id in with_others(connection, ids.iter().copied().collect())? {
        all.extend(members(connection, id)?.into_iter().map(|member| (member, id)));
    }
    Ok(all)
}

/// Each of these records with the id under which it is shown.
pub(crate) fn faces<'i>(
    connection: &Connection,
    ids: impl IntoIterator<Item = &'i MemoryId>,
) -> Result<BTreeMap<MemoryId, MemoryId>, SqlFault> {
    let mut all: BTreeMap<MemoryId, MemoryId> = ids.into_iter().map(|id| (*id, *id)).collect();
    for id in with_others(connection, all.keys().copied().collect())? {
        if let Some(face) = members(connection, id)?.first() {
            all.insert(id, *face);
        }
    }
    Ok(all)
}

/// Those of them that are shown with others.
fn with_others(connection: &Connection, ids: Vec<MemoryId>) -> Result<Vec<MemoryId>, SqlFault> {
    let before = "SELECT id FROM memories WHERE others > 0 AND id";
    many::rows(connection, (before, ""), &[], &ids, |row| row::memory_id("memories", row.get(0)?))
}

/// A page of the keys with more than one record that the reader may see, oldest first.
pub(crate) fn conflicts(
    connection: &Connection,
    sight: &Sight,
    query: &ConflictQuery,
) -> Result<Page<Conflict>, SqlFault> {
    if query.limit == 0 || query.limit > PAGE_MAX {
        let problem = format!("needs 1 to {PAGE_MAX}, got {}", query.limit);
        return Err(Reject::from(types::Invalid::new("limit", problem)).into());
    }
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        stored_columns!(),
        " FROM memories INDEXED BY memories_views WHERE others > 0 AND id > ?3 AND ",
        usable!(),
        " ORDER BY id LIMIT ?4"
    ))?;
    let after = query.after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    let wanted = query.limit + 1;
    let mut rows = statement.query((sight.parameter(), signed(query.now_ms), after, wanted))?;
    let mut items = Vec::new();
    let mut more = false;
    while let Some(row) = rows.next()? {
        if items.len() == query.limit as usize {
            more = true;
            break;
        }
        items.push(conflict(connection, row::stored(row)?)?);
    }
    let last = items.last().map(|last: &Conflict| last.id.to_string());
    Ok(Page { items, next: last.filter(|_| more) })
}

fn conflict(connection: &Connection, face: Stored) -> Result<Conflict, SqlFault> {
    let all = records(connection, &face)?;
    let records: Vec<&Record> = all.iter().map(|one| &one.record).collect();
    let differs = differing(&records).into_iter().map(str::to_owned).collect();
    let record = &face.record;
    let own = |record: &Record| ConflictRecord {
        id: record.id,
        origin: record.created.origin,
        created_at_ms: record.created.hlc.wall_ms(),
        updated_at_ms: record.updated.hlc.wall_ms(),
        version: record.version(),
        changed_by: record.vector.iter().map(|(node, _)| node).collect::<Vec<NodeId>>(),
    };
    Ok(Conflict {
        id: record.id,
        namespace: record.namespace.clone(),
        title: record.title.value.as_str().to_owned(),
        author: record.author.clone(),
        records: records.into_iter().map(own).collect(),
        differs,
    })
}

/// Live memories that are shown as part of others.
pub(crate) fn behind(connection: &Connection) -> Result<u64, SqlFault> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM memories WHERE life = 3")?;
    Ok(row::unsigned(statement.query_row([], |row| row.get(0))?))
}

/// Whether a row is one that the indexes have: live, and not part of another.
pub(crate) fn is_indexed(stored: &Stored) -> bool {
    stored.life == LIVE
}
