//! Memories one by one, by prefix, by page and by pattern.
//!
//! Records that are shown as one are read as one (`views`), whichever of them is asked for.
//!
//! Invariants: `STO-2`; `LST-1` pages of one query, taken one after the other while nothing is
//! written, hold every row exactly once, in descending order of id; `LST-2` a page costs a bounded number
//! of index steps per row returned when the filter names at most [`NAMESPACES_MERGED`] namespaces.
//!
//! Not here: ranking.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    MemoryId, Reason, Reject,
    ids::IdRef,
    limits::{BULK_MAX, PAGE_MAX},
};

use super::{
    conditions::{Conditions, json_numbers, namespace_ids, sqlite_glob},
    many,
    sight::{Sight, gettable, usable, visible},
    views::{self, Shown},
};
use crate::{
    answer::{MemoryView, Page},
    cursor,
    request::{ForgetQuery, ListQuery, MemoryFilter, Viewer},
    rows::{
        fault::SqlFault,
        row::{self, STORED_COLUMNS, signed},
    },
    sql::{Connection, OptionalExtension, Row, Value, params_from_iter},
};

/// Up to so many namespaces are read separately, each along its index, and merged.
pub(crate) const NAMESPACES_MERGED: usize = 16;

/// The refusal that says the same for what is not there and what may not be seen.
pub(crate) fn not_found(what: impl std::fmt::Display) -> SqlFault {
    Reject::new(Reason::NotFound, format!("no memory {what} that you may see; check the id")).into()
}

/// Records of one view that a prefix may fit besides those of another.
const PREFIX_ROWS: u32 = 16;

/// What is shown of the rows of a statement that selects [`STORED_COLUMNS`].
pub(crate) fn query<'v>(
    connection: &Connection,
    text: &str,
    values: impl IntoIterator<Item = &'v Value>,
) -> Result<Vec<Shown>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(views::shown(connection, row::stored(row)?)?);
    }
    Ok(all)
}

/// What a reader is given.
pub(crate) fn view(shown: Shown) -> MemoryView {
    row::view(shown.record, shown.position, shown.other_ids)
}

/// One memory, live or archived.
pub(crate) fn get(
    connection: &Connection,
    sight: &Sight,
    id: &IdRef,
    now_ms: u64,
) -> Result<MemoryView, SqlFault> {
    let (low, high) = id.range();
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE id BETWEEN ?3 AND ?4 AND {} LIMIT {PREFIX_ROWS}",
        gettable!()
    );
    let values = [
        sight.parameter(),
        signed(now_ms).into(),
        low.as_bytes().to_vec().into(),
        high.as_bytes().to_vec().into(),
    ];
    let mut found = query(connection, &text, &values)?;
    found.sort_by_key(|shown| shown.record.id);
    found.dedup_by_key(|shown| shown.record.id);
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(view(only)),
        (None, _) => Err(not_found(shown(id))),
        (Some(_), Some(_)) => Err(Reject::new(
            Reason::AmbiguousPrefix,
            format!("more than one memory begins with {}; use more digits", shown(id)),
        )
        .into()),
    }
}

/// A reference as a person writes it.
pub(crate) fn shown(id: &IdRef) -> String {
    match id {
        IdRef::Full(id) => id.to_string(),
        IdRef::Prefix(digits) => digits.clone(),
    }
}

/// The whole id of a memory that `get` would return.
pub(crate) fn resolve(
    connection: &Connection,
    sight: &Sight,
    id: &IdRef,
    now_ms: u64,
) -> Result<MemoryId, SqlFault> {
    get(connection, sight, id, now_ms).map(|view| view.id)
}

/// One row whatever its life, tombstones included, if it may be seen.
pub(crate) fn any_life(
    connection: &Connection,
    sight: &Sight,
    id: MemoryId,
) -> Result<Option<Shown>, SqlFault> {
    let text = format!("SELECT {STORED_COLUMNS} FROM memories WHERE id = ?2 AND {}", visible!());
    let values = [sight.parameter(), id.as_bytes().to_vec().into()];
    Ok(query(connection, &text, &values)?.pop())
}

/// Whether `get` would return this id.
pub(crate) fn is_gettable(
    connection: &Connection,
    sight: &Sight,
    id: MemoryId,
    now_ms: u64,
) -> Result<bool, SqlFault> {
    exists(
        connection,
        concat!("SELECT 1 FROM memories WHERE id = ?3 AND ", gettable!()),
        sight,
        id,
        now_ms,
    )
}

/// Those of these ids that `get` would return.
pub(crate) fn gettable_of(
    connection: &Connection,
    sight: &Sight,
    ids: &BTreeSet<MemoryId>,
    now_ms: u64,
) -> Result<BTreeSet<MemoryId>, SqlFault> {
    let before = concat!("SELECT id FROM memories WHERE ", gettable!(), " AND id");
    let values = [sight.parameter(), signed(now_ms).into()];
    let ids: Vec<MemoryId> = ids.iter().copied().collect();
    let read = |row: Row<'_>| row::memory_id("memories", row.get(0)?);
    Ok(many::rows(connection, (before, ""), &values, &ids, read)?.into_iter().collect())
}

/// What `get` returns for each of these ids that it returns something for.
pub(crate) fn get_all(
    connection: &Connection,
    sight: &Sight,
    ids: &BTreeSet<MemoryId>,
    now_ms: u64,
) -> Result<BTreeMap<MemoryId, MemoryView>, SqlFault> {
    let before = format!("SELECT {STORED_COLUMNS} FROM memories WHERE {} AND id", gettable!());
    let values = [sight.parameter(), signed(now_ms).into()];
    let ids: Vec<MemoryId> = ids.iter().copied().collect();
    let mut found = BTreeMap::new();
    for stored in many::rows(connection, (&before, ""), &values, &ids, row::stored)? {
        let id = stored.record.id;
        found.insert(id, view(views::shown(connection, stored)?));
    }
    Ok(found)
}

fn exists(
    connection: &Connection,
    text: &str,
    sight: &Sight,
    id: MemoryId,
    now_ms: u64,
) -> Result<bool, SqlFault> {
    let values: [Value; 3] =
        [sight.parameter(), signed(now_ms).into(), id.as_bytes().to_vec().into()];
    let mut statement = connection.prepare_cached(text)?;
    Ok(statement.query_row(params_from_iter(&values), |_| Ok(())).optional()?.is_some())
}

/// A page of a listing, newest first.
pub(crate) fn list(
    connection: &Connection,
    sight: &Sight,
    query: &ListQuery,
) -> Result<Page<MemoryView>, SqlFault> {
    if query.limit == 0 || query.limit > PAGE_MAX {
        let problem = format!("needs 1 to {PAGE_MAX}, got {}", query.limit);
        return Err(Reject::from(types::Invalid::new("limit", problem)).into());
    }
    let after = match &query.after {
        Some(text) => Some(cursor::decode(query, text).map_err(Reject::from)?),
        None => None,
    };
    let base = if query.archived {
        concat!("life = 1 AND ?2 IS NOT NULL AND ", visible!())
    } else {
        usable!()
    };
    let mut conditions = Conditions::new(sight, query.now_ms, base);
    if let Some(after) = after {
        conditions.and("id < ", after.as_bytes().to_vec(), "");
    }
    conditions.filter(&query.filter, query.now_ms);
    // One row more than asked for tells whether there is another page.
    let wanted = query.limit as usize + 1;
    let mut found = newest(connection, conditions, &query.filter, wanted)?;
    let more = found.len() == wanted;
    found.truncate(query.limit as usize);
    let next = match found.last() {
        Some(last) if more => Some(cursor::encode(query, last.record.id)),
        _ => None,
    };
    Ok(Page { items: found.into_iter().map(view).collect(), next })
}

/// The `wanted` rows with the greatest ids that satisfy the conditions in the filter's namespaces.
pub(crate) fn newest(
    connection: &Connection,
    mut conditions: Conditions,
    filter: &MemoryFilter,
    wanted: usize,
) -> Result<Vec<Shown>, SqlFault> {
    let select = |conditions: &Conditions| {
        format!(
            "SELECT {STORED_COLUMNS} FROM memories WHERE {} ORDER BY id DESC LIMIT {wanted}",
            conditions.text()
        )
    };
    let Some(namespaces) = &filter.namespaces else {
        return query(connection, &select(&conditions), conditions.values());
    };
    let ids = namespace_ids(connection, namespaces)?;
    if ids.len() > NAMESPACES_MERGED {
        // The plus sign keeps SQLite on the index of ids, whose order is the page's.
        let json = json_numbers(&ids);
        conditions.and("+namespace IN (SELECT CAST(value AS INTEGER) FROM json_each(", json, "))");
        return query(connection, &select(&conditions), conditions.values());
    }
    let mut merged = Vec::new();
    for id in ids {
        let mut one = conditions.clone();
        one.and("namespace = ", id, "");
        merged.extend(query(connection, &select(&one), one.values())?);
    }
    merged.sort_unstable_by_key(|stored| std::cmp::Reverse(stored.record.id));
    merged.truncate(wanted);
    Ok(merged)
}

/// What a `forget` would take: usable memories of the viewer (of anyone, for an operator) that no
/// legal hold protects.
pub(crate) fn forgettable(
    connection: &Connection,
    sight: &Sight,
    viewer: Option<&Viewer>,
    query: &ForgetQuery,
) -> Result<Vec<MemoryView>, SqlFault> {
    let mut conditions = Conditions::new(sight, query.now_ms, usable!());
    let mut filter = MemoryFilter {
        namespaces: Some(query.namespace.clone()),
        // A memory that is no longer true can be forgotten too.
        include_invalid: true,
        ..MemoryFilter::default()
    };
    filter.tiers.extend(query.tier);
    if let Some(viewer) = viewer.filter(|viewer| !viewer.operator) {
        filter.author = Some(viewer.agent.clone());
    }
    conditions.filter(&filter, query.now_ms);
    conditions.and("legal_hold = ", 0, "");
    if let Some(glob) = &query.title_glob {
        conditions.and("title GLOB ", sqlite_glob(glob), "");
    }
    let wanted = query.limit.min(BULK_MAX as u32) as usize;
    Ok(newest(connection, conditions, &filter, wanted)?.into_iter().map(view).collect())
}

/// Live memories whose expiry has passed and that no legal hold protects, longest expired first.
pub(crate) fn expired(
    connection: &Connection,
    now_ms: u64,
    limit: u32,
) -> Result<Vec<MemoryId>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM memories WHERE life = 0 AND expires_ms IS NOT NULL AND expires_ms <= ?1 \
         AND legal_hold = 0 ORDER BY expires_ms, id LIMIT ?2",
    )?;
    let mut rows = statement.query((signed(now_ms), limit))?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(row::memory_id("memories", row.get(0)?)?);
    }
    Ok(ids)
}
