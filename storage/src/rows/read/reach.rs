//! All edges that a walk can meet, loaded at once where the database can follow links by itself.
//!
//! A walk asks for one layer after the other, which costs two statements each. PostgreSQL follows links in one recursive
//! statement; AGE is asked for what can be reached, and the tables for the edges between.
//!
//! Invariants: `STO-2` an edge is loaded only when both its ends may be seen; `REA-1` what is loaded is what the walk would have
//! asked for, or nothing: where memories are shown as one, or there are too many edges, it goes layer by layer.
//!
//! Not here: the walk (`links`).

use types::MemoryId;

use super::{links::Steps, sight::present, views};
use crate::{
    graph::Edge,
    postgres::Graph,
    request::Direction,
    rows::{
        fault::SqlFault,
        row::{self, signed},
    },
    sql::{Value, params_from_iter},
};

/// Most edges that are loaded at once.
const EDGES_MAX: usize = 50_000;

/// Links that leave `$near` and hold: parameters 3 and 5 are the relations that are followed from source to target and the
/// other way, parameter 4 is the instant.
macro_rules! leaving {
    ($near:literal) => {
        concat!(
            "(SELECT l.id AS link, l.target AS far FROM links l WHERE l.removed = 0 AND l.source = ",
            $near,
            " AND ((1 << l.relation) & ?3) <> 0 \
             AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?4) \
             AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?4) \
             UNION ALL SELECT l.id, l.source FROM links l WHERE l.removed = 0 AND l.target = ",
            $near,
            " AND ((1 << l.relation) & ?5) <> 0 \
             AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?4) \
             AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?4))"
        )
    };
}

/// Edges that leave what `near` selects.
macro_rules! edges_from {
    ($with:expr, $near:literal) => {
        concat!(
            $with,
            " SELECT e.link, n.id, m.id, m.others FROM ",
            $near,
            " n JOIN LATERAL ",
            leaving!("n.id"),
            " e ON true JOIN memories m ON m.id = e.far WHERE ",
            present!(),
            " LIMIT ?8"
        )
    };
}

/// By one statement: parameters 6 and 7 are the start and the depth.
const RECURSIVE: &str = edges_from!(
    concat!(
        "WITH RECURSIVE reached(id, depth) AS (SELECT CAST(?6 AS bytea), 0 UNION \
         SELECT m.id, r.depth + 1 FROM reached r JOIN LATERAL ",
        leaving!("r.id"),
        " e ON true JOIN memories m ON m.id = e.far WHERE r.depth < ?7 AND ",
        present!(),
        "), near AS (SELECT id FROM reached WHERE depth < ?7 GROUP BY id)"
    ),
    "near"
);

/// Of memories that are known: parameter 6 is a JSON array of their ids, parameter 7 is 0.
const KNOWN: &str = edges_from!(
    "WITH near AS (SELECT decode(value, 'hex') AS id FROM json_each(?6) WHERE ?7 = 0)",
    "near"
);

/// All edges within a number of steps, or `None` where the walk has to go layer by layer.
pub(super) fn edges(
    steps: &Steps<'_>,
    start: MemoryId,
    depth: u32,
    direction: Direction,
) -> Result<Option<Vec<Edge>>, SqlFault> {
    let way = steps.connection.graph();
    if way == Graph::Layers || views::members(steps.connection, start)?.len() > 1 {
        return Ok(None);
    }
    match way {
        Graph::Layers => Ok(None),
        Graph::Recursive => {
            let start = Value::from(start.as_bytes().to_vec());
            select(steps, RECURSIVE, (start, i64::from(depth)), direction)
        }
        Graph::Age => {
            let Some(near) = steps.connection.reached(start, depth, EDGES_MAX)? else {
                return Ok(None);
            };
            let ids: Vec<String> = near.iter().map(|id| hex::encode(id.as_bytes())).collect();
            let ids = Value::from(serde_json::Value::from(ids).to_string());
            select(steps, KNOWN, (ids, 0), direction)
        }
    }
}

fn select(
    steps: &Steps<'_>,
    text: &str,
    (near, depth): (Value, i64),
    direction: Direction,
) -> Result<Option<Vec<Edge>>, SqlFault> {
    let (outgoing, incoming) = steps.masks(direction);
    let values: [Value; 8] = [
        steps.sight.parameter(),
        signed(steps.now_ms).into(),
        outgoing.into(),
        signed(steps.at_ms).into(),
        incoming.into(),
        near,
        depth.into(),
        (EDGES_MAX as i64).into(),
    ];
    let mut statement = steps.connection.prepare_cached(text)?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let mut edges = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<i64>(3)? > 0 {
            return Ok(None);
        }
        let (from, to) =
            (row::memory_id("links", row.get(1)?)?, row::memory_id("links", row.get(2)?)?);
        let link = super::links::link_id(row.get(0)?)?;
        if from != to {
            edges.push(Edge { from, to, link });
        }
    }
    Ok((edges.len() < EDGES_MAX).then_some(edges))
}
