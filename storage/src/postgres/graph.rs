//! The graph of Apache AGE beside the tables, where AGE is installed.
//!
//! It repeats what the tables say, and triggers keep it so in the transaction that changes a row (`graph.sql`), whichever node
//! writes. It is made at the first start that finds AGE, and checked with everything else.
//!
//! Invariant: `AGE-1` it is asked only for what may be reached at all; what a reader sees of that is decided by the tables.
//!
//! Not here: the walk itself (`rows::read::links`).

use std::collections::BTreeSet;

use types::MemoryId;

use super::{config::Graph, schema};
use crate::{
    answer::Finding,
    rows::{fault::SqlFault, read::conditions::json_numbers, row},
    sql::{self, Connection, OptionalExtension},
};

/// Makes tables and functions of AGE known, for the transaction.
const SEEN: &str = "SET LOCAL search_path = public, ag_catalog";
/// Undoes it: with these functions in sight, operators of other statements would have more than one meaning.
const UNSEEN: &str = "SET LOCAL search_path TO DEFAULT";

/// The part of a vertex's number that is the number of its row (AGE's documentation: a label in 16 bits, an entry in 48).
const ROW_BITS: i64 = (1 << 48) - 1;

/// How links are followed: what the owner wants, as far as it is there. Makes the graph where it is wanted and missing.
pub(super) fn prepare(connection: &Connection, wanted: Option<Graph>) -> Result<Graph, SqlFault> {
    let other = match wanted {
        Some(Graph::Recursive | Graph::Layers) => return Ok(wanted.unwrap_or(Graph::Recursive)),
        Some(Graph::Age) | None => Graph::Recursive,
    };
    let text = "SELECT extversion FROM pg_extension WHERE extname = 'age'";
    let found: Option<String> = connection.query_row(text, [], |row| row.get(0)).optional()?;
    if found.is_none() {
        if wanted.is_some() {
            tracing::warn!("AGE is not installed in this database; links are followed without it");
        }
        return Ok(other);
    }
    match make(connection) {
        Ok(()) => Ok(Graph::Age),
        Err(error) if error.is_away() => Err(error.into()),
        Err(error) => {
            let fix = "GRANT USAGE ON SCHEMA ag_catalog, SELECT on its tables, and shared_preload_libraries = 'age'";
            tracing::warn!(%error, fix, "the graph of AGE cannot be made; links are followed without it");
            Ok(other)
        }
    }
}

/// Makes the graph from the tables, unless it is there.
fn make(connection: &Connection) -> sql::Result<()> {
    schema::alone(connection, || match is_made(connection)? {
        true => Ok(()),
        false => connection.as_postgres()?.batch(&format!("{SEEN}; {}", include_str!("graph.sql"))),
    })
}

fn is_made(connection: &Connection) -> sql::Result<bool> {
    let text = "SELECT to_regclass('hivemem_graph.\"Link\"') IS NOT NULL";
    connection.query_row(text, [], |row| row.get(0))
}

/// Memories that may be fewer than `depth` steps from one, itself among them, whoever may see them; `None` when there are
/// more than `most`.
pub(crate) fn reached(
    connection: &Connection,
    start: MemoryId,
    depth: u32,
    most: usize,
) -> Result<Option<Vec<MemoryId>>, SqlFault> {
    let session = connection.as_postgres()?;
    let text = "SELECT CAST(CAST(hivemem_vertex(row) AS ag_catalog.agtype) AS text)
        FROM memories WHERE id = ?1";
    let start: String =
        connection.query_row(text, [start.as_bytes().as_slice()], |row| row.get(0))?;
    let mut frontier = vec![vertex(&start)?];
    let mut seen: BTreeSet<i64> = frontier.iter().copied().collect();
    for _ in 1..depth {
        if frontier.is_empty() {
            break;
        }
        let met = session.texts(&next_to(&frontier))?;
        let met = met.iter().map(|text| vertex(text)).collect::<Result<Vec<_>, _>>()?;
        frontier = met.into_iter().filter(|vertex| seen.insert(*vertex)).collect();
        if seen.len() > most {
            return Ok(None);
        }
    }
    let rows: Vec<i64> = seen.into_iter().map(|vertex| vertex & ROW_BITS).collect();
    let text = "SELECT id FROM memories \
         WHERE row = ANY (ARRAY(SELECT CAST(value AS INTEGER) FROM json_each(?1)))";
    let mut statement = connection.prepare_cached(text)?;
    let mut found = statement.query([json_numbers(&rows)])?;
    let mut ids = Vec::new();
    while let Some(row) = found.next()? {
        ids.push(row::memory_id("memories", row.get(0)?)?);
    }
    Ok(Some(ids))
}

fn vertex(text: &str) -> Result<i64, SqlFault> {
    text.parse().map_err(|_| SqlFault::Damaged {
        table: "hivemem_graph",
        key: text.to_owned(),
        problem: "is no vertex".to_owned(),
    })
}

/// One step from these vertices, along links and against them: each way for itself, because AGE looks at all vertices
/// when it may go both ways (1.8).
fn next_to(near: &[i64]) -> String {
    let near = json_numbers(near);
    let step = |near_end: &str, far_end: &str| {
        format!(
            "SELECT CAST(far AS text) FROM cypher('hivemem_graph', $$ UNWIND {near} AS near \
             MATCH (a:Memory)-[:Link]->(b:Memory) WHERE id({near_end}) = near \
             RETURN DISTINCT id({far_end}) $$) AS (far agtype)"
        )
    };
    format!("{SEEN}; {} UNION {}; {UNSEEN}", step("a", "b"), step("b", "a"))
}

/// Whether the graph says what the tables say.
pub(super) fn check(connection: &Connection) -> Result<Vec<Finding>, SqlFault> {
    if !is_made(connection)? {
        return Ok(Vec::new());
    }
    let count = |text: &str| connection.query_row(text, [], |row| row.get::<i64>(0));
    let vertices = count("SELECT count(*) FROM hivemem_graph.\"Memory\"")?;
    let edges = count("SELECT count(*) FROM hivemem_graph.\"Link\"")?;
    let memories = count("SELECT count(*) FROM memories")?;
    let links = count(
        "SELECT count(*) FROM links l JOIN memories s ON s.id = l.source
         JOIN memories t ON t.id = l.target WHERE l.removed = 0",
    )?;
    if (vertices, edges) == (memories, links) {
        return Ok(Vec::new());
    }
    let problem = format!(
        "AGE has {vertices} memories and {edges} links, the tables have {memories} and {links}; after \
         `SELECT ag_catalog.drop_graph('hivemem_graph', true)` by the owner the next start makes it anew"
    );
    Ok(vec![Finding { check: "graph", problem }])
}
