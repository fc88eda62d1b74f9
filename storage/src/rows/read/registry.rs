//! Names: agents, entities and their aliases, namespaces, quotas.
//!
//! Invariants: `STO-2` for everything that leads to a memory. Agents and quotas are not memories:
//! whoever may ask for them is decided above.
//!
//! Not here: credentials in the clear; a token is known by its SHA-256 alone.

use std::collections::{BTreeMap, BTreeSet};

use types::{AgentId, AgentRecord, Hlc, Kind, MemoryId, Namespace};

use super::{
    candidates, memories,
    sight::{Sight, gettable, usable},
    views,
};
use crate::{
    answer::{MemoryView, NamespaceInfo, QuotaUsage},
    index::{Filter, Serving, Snapshot},
    rows::{
        fault::SqlFault,
        row::{STORED_COLUMNS, alias_key, signed, unsigned},
    },
    sql::{Connection, OptionalExtension, Row, Value, params_from_iter},
};

/// Milliseconds of a day; days are UTC.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

macro_rules! select_agents {
    () => {
        "SELECT agent, affiliation, token_sha256, public_key, revoked, changed_hlc FROM agents "
    };
}

fn agent_record(row: Row<'_>) -> Result<AgentRecord, SqlFault> {
    let name: String = row.get(0)?;
    let damaged =
        |problem: String| SqlFault::Damaged { table: "agents", key: name.clone(), problem };
    let hash = |at: usize| -> Result<Option<[u8; 32]>, SqlFault> {
        let bytes: Option<Vec<u8>> = row.get(at)?;
        bytes
            .map(|bytes| {
                bytes.try_into().map_err(|b: Vec<u8>| {
                    damaged(format!("column {at} has {} bytes instead of 32", b.len()))
                })
            })
            .transpose()
    };
    let affiliation: String = row.get(1)?;
    Ok(AgentRecord {
        agent_id: name.parse().map_err(|e: types::Invalid| damaged(e.to_string()))?,
        affiliation: affiliation.parse().map_err(|e: types::Invalid| damaged(e.to_string()))?,
        token_sha256: hash(2)?,
        public_key: hash(3)?,
        revoked: row.get(4)?,
        changed: Hlc::from_u64(unsigned(row.get(5)?)),
    })
}

/// One agent by name.
pub(crate) fn agent(
    connection: &Connection,
    id: &AgentId,
) -> Result<Option<AgentRecord>, SqlFault> {
    first(
        connection,
        concat!(select_agents!(), "WHERE agent = ?1"),
        &[id.as_str().to_owned().into()],
    )
}

/// The agent whose token has this hash. Looking a hash up leaks nothing that helps to guess the token.
pub(crate) fn agent_by_token(
    connection: &Connection,
    token_sha256: &[u8; 32],
) -> Result<Option<AgentRecord>, SqlFault> {
    let text = concat!(select_agents!(), "WHERE token_sha256 = ?1 ORDER BY agent LIMIT 1");
    first(connection, text, &[token_sha256.to_vec().into()])
}

fn first(
    connection: &Connection,
    text: &str,
    values: &[Value],
) -> Result<Option<AgentRecord>, SqlFault> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    rows.next()?.map(agent_record).transpose()
}

/// All agents, by name.
pub(crate) fn agents(connection: &Connection) -> Result<Vec<AgentRecord>, SqlFault> {
    let mut statement = connection.prepare_cached(concat!(select_agents!(), "ORDER BY agent"))?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(agent_record(row)?);
    }
    Ok(all)
}

/// Entities whose title or alias is `name`, compared without regard to case (of ASCII, in titles) and to
/// runs of white space; in order of id.
pub(crate) fn entities(
    connection: &Connection,
    sight: &Sight,
    namespace: Option<&Namespace>,
    name: &str,
) -> Result<Vec<MemoryView>, SqlFault> {
    let key = alias_key(name);
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE {} AND kind = {} \
         AND (?4 IS NULL OR namespace = (SELECT n.id FROM namespaces n WHERE n.name = ?4)) \
         AND id IN (SELECT t.id FROM memories t WHERE t.kind = {} AND t.life = 0 \
                    AND t.title = ?3 COLLATE NOCASE \
                    UNION SELECT memory FROM aliases WHERE alias_key = ?3 AND removed = 0 \
                    UNION SELECT f.id FROM aliases x JOIN memories b ON b.id = x.memory \
                    JOIN memories f ON f.title_key = b.title_key \
                    WHERE x.alias_key = ?3 AND x.removed = 0 AND b.life = 3 \
                    AND f.life IN (0, 3) AND f.others > 0) \
         ORDER BY id",
        usable!(),
        Kind::Entity.number(),
        Kind::Entity.number(),
    );
    let values: [Value; 4] = [
        sight.parameter(),
        0.into(),
        key.into(),
        namespace.map_or(Value::Null, |n| n.as_str().to_owned().into()),
    ];
    let found = memories::query(connection, &text, &values)?;
    Ok(found.into_iter().map(memories::view).collect())
}

/// Other names of an entity, as they were written, in order.
pub(crate) fn aliases(
    connection: &Connection,
    sight: &Sight,
    id: MemoryId,
) -> Result<Vec<String>, SqlFault> {
    if !memories::is_gettable(connection, sight, id, 0)? {
        return Err(memories::not_found(id));
    }
    let text = concat!(
        "SELECT alias FROM aliases WHERE memory = ?3 AND removed = 0 \
         AND EXISTS (SELECT 1 FROM memories WHERE id = ?3 AND ",
        gettable!(),
        ") ORDER BY alias"
    );
    let mut statement = connection.prepare_cached(text)?;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for id in views::members(connection, id)? {
        let id = id.as_bytes().as_slice();
        let rows = statement.query_map((sight.parameter(), 0, id), |row| row.get(0))?;
        for name in rows {
            names.insert(name?);
        }
    }
    Ok(names.into_iter().collect())
}

/// Namespaces with at least one usable memory the reader may see, by name.
///
/// Counted in the index of words, whose columns are a hundredth of the rows and which holds every
/// acknowledged memory under the same audience (`STO-4`).
pub(crate) fn namespaces(
    connection: &Connection,
    sight: &Sight,
    indexes: Option<&Serving>,
    now_ms: u64,
) -> Result<Vec<NamespaceInfo>, SqlFault> {
    let counts = match indexes {
        Some(serving) => counted(connection, sight, &serving.recall.snapshot(), now_ms)?,
        None => counted_in_rows(connection, sight, now_ms)?,
    };
    let mut statement = connection.prepare_cached("SELECT name FROM namespaces WHERE id = ?1")?;
    let mut all = Vec::with_capacity(counts.len());
    for (id, memories) in counts {
        let name: String = statement.query_row([id], |row| row.get(0))?;
        let namespace = name.parse().map_err(|e: types::Invalid| SqlFault::Damaged {
            table: "namespaces",
            key: id.to_string(),
            problem: e.to_string(),
        })?;
        all.push(NamespaceInfo { namespace, memories });
    }
    all.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
    Ok(all)
}

/// Memories by namespace, from the index.
fn counted(
    connection: &Connection,
    sight: &Sight,
    words: &Snapshot,
    now_ms: u64,
) -> Result<BTreeMap<u32, u64>, SqlFault> {
    let audiences = candidates::audiences(connection, sight)?;
    let filter = Filter::new(audiences, signed(now_ms)).any_validity();
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for slot in words.prefilter(&filter).iter() {
        if let Some(attributes) = words.attributes(slot) {
            *counts.entry(attributes.namespace).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Memories by namespace, from the rows: slow, for as long as there is no index.
fn counted_in_rows(
    connection: &Connection,
    sight: &Sight,
    now_ms: u64,
) -> Result<BTreeMap<u32, u64>, SqlFault> {
    let text = concat!(
        "SELECT namespace, count(*) FROM memories WHERE ",
        usable!(),
        " GROUP BY namespace"
    );
    let mut statement = connection.prepare_cached(text)?;
    let counts = statement.query_map((sight.parameter(), signed(now_ms)), |row| {
        Ok((row.get(0)?, unsigned(row.get(1)?)))
    })?;
    Ok(counts.collect::<Result<_, _>>()?)
}

/// Use of an agent's quota; counts of an earlier day are over.
pub(crate) fn quota(
    connection: &Connection,
    agent: &AgentId,
    namespace: &Namespace,
    now_ms: u64,
) -> Result<QuotaUsage, SqlFault> {
    let today = now_ms / DAY_MS;
    let mut statement = connection.prepare_cached(
        "SELECT day, memories, links, bytes FROM quota \
         WHERE agent = (SELECT id FROM names WHERE name = ?1) \
         AND namespace = (SELECT id FROM namespaces WHERE name = ?2)",
    )?;
    let kept = statement
        .query_row((agent.as_str(), namespace.as_str()), |row| {
            Ok((row.get::<i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let (day, memories, links, bytes) = kept.unwrap_or((0, 0, 0, 0));
    // A clock that was set back stays on the later day, as it does where quotas are charged.
    let is_over = unsigned(day) < today;
    Ok(QuotaUsage {
        memories_today: if is_over { 0 } else { unsigned(memories) },
        bytes_total: unsigned(bytes),
        links_today: if is_over { 0 } else { unsigned(links) },
        resets_at_ms: (unsigned(day).max(today) + 1).saturating_mul(DAY_MS),
    })
}
