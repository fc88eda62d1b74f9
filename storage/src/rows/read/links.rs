//! Links, neighbourhoods and paths.
//!
//! Invariants: `STO-2` an edge is loaded only when both its ends may be seen, so a walk never passes
//! through what the reader may not see and no answer hints at it; `LRD-1` a link of one of several records that are
//! shown as one is a link of what is shown, and one between them is none. Graphs and paths consist of memories in
//! use; [`links`] also shows links to archived ones, which `get` returns.
//!
//! Not here: the walk itself (`crate::graph`).

use std::collections::BTreeSet;

use types::{
    AgentId, Hlc, Link, LinkId, MemoryId, NodeId, Register, Relation, Stamp,
    limits::{GRAPH_DEPTH_MAX, GRAPH_NODES_MAX, PATHS_MAX},
    memory::Validity,
};

use super::{memories, sight::Sight, views};
use crate::{
    answer::{Graph, Path},
    graph::{Edge, Walk, shortest_paths},
    request::{Direction, GraphQuery, PathQuery},
    rows::{
        fault::SqlFault,
        row::{BEHIND, signed, unsigned},
    },
    sql::{Connection, Row, Value},
};

/// An instant at which nothing has expired.
const UNTIMED: u64 = 0;
/// Most memories a search for paths looks at from each end.
const PATH_NODES_MAX: usize = 20_000;

/// Columns that [`link`] reads; append conditions on `l`.
macro_rules! select_links {
    () => {
        "SELECT l.id, l.source, l.target, l.relation, a.name, l.created_fence, l.created_hlc, \
         cn.node, l.valid_from_ms, l.valid_until_ms, l.validity_fence, l.validity_hlc, vn.node, \
         l.removed FROM links l JOIN names a ON a.id = l.author JOIN nodes cn ON cn.id = l.created_node \
         JOIN nodes vn ON vn.id = l.validity_node "
    };
}
pub(super) use select_links;

/// Reads a row of `select_links!`.
pub(crate) fn link(row: Row<'_>) -> Result<Link, SqlFault> {
    let id: Vec<u8> = row.get(0)?;
    let damaged =
        |problem: String| SqlFault::Damaged { table: "links", key: hex::encode(&id), problem };
    let broken = |error: types::Invalid| damaged(error.to_string());
    let memory = |at: usize| -> Result<MemoryId, SqlFault> {
        MemoryId::from_slice(&row.get::<Vec<u8>>(at)?).map_err(broken)
    };
    let stamp = |at: usize| -> Result<Stamp, SqlFault> {
        Ok(Stamp {
            fence: unsigned(row.get(at)?),
            hlc: Hlc::from_u64(unsigned(row.get(at + 1)?)),
            origin: NodeId::from_slice(&row.get::<Vec<u8>>(at + 2)?).map_err(broken)?,
        })
    };
    let validity = Validity {
        from_ms: row.get::<Option<i64>>(8)?.map(unsigned),
        until_ms: row.get::<Option<i64>>(9)?.map(unsigned),
    };
    Ok(Link {
        id: LinkId::from_slice(&id).map_err(broken)?,
        source: memory(1)?,
        target: memory(2)?,
        relation: Relation::from_number(row.get(3)?).map_err(broken)?,
        author: row.get::<String>(4)?.parse::<AgentId>().map_err(broken)?,
        created: stamp(5)?,
        validity: Register::new(validity, stamp(10)?),
        removed: row.get(13)?,
    })
}

/// Links that start or end at a memory, in order of id, both ends visible and not deleted. Expiry is
/// not judged: the request has no clock.
pub(crate) fn links(
    connection: &Connection,
    sight: &Sight,
    id: MemoryId,
) -> Result<Vec<Link>, SqlFault> {
    if !memories::is_gettable(connection, sight, id, UNTIMED)? {
        return Err(memories::not_found(id));
    }
    let members = views::members(connection, id)?;
    let mut all = Vec::new();
    // Two statements, each along its index; together they would be a scan of all links.
    for text in [
        concat!(select_links!(), "WHERE l.removed = 0 AND l.source = ?1"),
        concat!(select_links!(), "WHERE l.removed = 0 AND l.target = ?1"),
    ] {
        let mut statement = connection.prepare_cached(text)?;
        for member in &members {
            let mut rows = statement.query([member.as_bytes().as_slice()])?;
            while let Some(row) = rows.next()? {
                let link = link(row)?;
                let other = if link.source == *member { link.target } else { link.source };
                if memories::is_gettable(connection, sight, other, UNTIMED)? {
                    all.extend(as_shown(connection, link)?);
                }
            }
        }
    }
    all.sort_unstable_by_key(|link| link.id);
    Ok(all)
}

/// The link between what its ends are shown as, if that is not one and the same (`LRD-1`).
fn as_shown(connection: &Connection, link: Link) -> Result<Option<Link>, SqlFault> {
    let mut source = views::face(connection, link.source)?;
    let mut target = views::face(connection, link.target)?;
    if link.relation.is_symmetric() && target < source {
        std::mem::swap(&mut source, &mut target);
    }
    Ok((source != target).then_some(Link { source, target, ..link }))
}

/// The neighbourhood of a memory and all links among it that hold.
pub(crate) fn graph(
    connection: &Connection,
    sight: &Sight,
    query: &GraphQuery,
) -> Result<Graph, SqlFault> {
    check_depth(query.depth)?;
    let start = memories::resolve(connection, sight, &query.start, query.now_ms)?;
    let steps = Steps {
        connection,
        sight,
        relations: relation_mask(&query.relations),
        at_ms: query.as_of_ms.unwrap_or(query.now_ms),
        now_ms: query.now_ms,
    };
    let mut walk = Walk::new(start, query.depth, GRAPH_NODES_MAX);
    steps.run(&mut walk, query.direction)?;
    let found = walk.finish();
    let members: BTreeSet<MemoryId> = found.nodes.iter().map(|(_, id)| *id).collect();
    let mut nodes = Vec::with_capacity(found.nodes.len());
    for (distance, id) in &found.nodes {
        let view = memories::get(connection, sight, &types::ids::IdRef::Full(*id), query.now_ms)?;
        nodes.push((*distance, view));
    }
    let links = steps.links_among(&members)?;
    Ok(Graph { nodes, links, truncated: found.truncated })
}

/// The shortest paths between two memories, links taken in either direction.
pub(crate) fn paths(
    connection: &Connection,
    sight: &Sight,
    query: &PathQuery,
) -> Result<Vec<Path>, SqlFault> {
    check_depth(query.depth)?;
    if query.limit == 0 || query.limit > PATHS_MAX {
        return Err(invalid("limit", format!("needs 1 to {PATHS_MAX}, got {}", query.limit)));
    }
    let from = memories::resolve(connection, sight, &query.from, query.now_ms)?;
    let to = memories::resolve(connection, sight, &query.to, query.now_ms)?;
    let steps = Steps {
        connection,
        sight,
        relations: ANY_RELATION,
        at_ms: query.as_of_ms.unwrap_or(query.now_ms),
        now_ms: query.now_ms,
    };
    // Every link of a path lies within half its length of one of the ends, so two short walks load
    // what one long walk would find.
    let mut edges: BTreeSet<Edge> = BTreeSet::new();
    for (end, depth) in [(from, query.depth.div_ceil(2)), (to, query.depth / 2)] {
        let mut walk = Walk::new(end, depth, PATH_NODES_MAX);
        steps.run(&mut walk, Direction::Both)?;
        edges.extend(walk.edges());
    }
    let both_ways = edges.iter().flat_map(|edge| [*edge, edge.reversed()]);
    Ok(shortest_paths(both_ways, from, to, query.depth, query.limit))
}

fn invalid(field: &'static str, problem: String) -> SqlFault {
    types::Reject::from(types::Invalid::new(field, problem)).into()
}

fn check_depth(depth: u32) -> Result<(), SqlFault> {
    if (1..=GRAPH_DEPTH_MAX).contains(&depth) {
        return Ok(());
    }
    Err(invalid("depth", format!("needs 1 to {GRAPH_DEPTH_MAX}, got {depth}")))
}

/// One bit per relation.
const ANY_RELATION: i64 = -1;

fn relation_mask(relations: &BTreeSet<Relation>) -> i64 {
    if relations.is_empty() {
        return ANY_RELATION;
    }
    relations.iter().map(|relation| 1i64 << relation.number()).sum()
}

/// The relations whose direction means nothing: followed both ways whatever is asked.
fn symmetric_mask() -> i64 {
    Relation::ALL.iter().filter(|r| r.is_symmetric()).map(|r| 1i64 << r.number()).sum()
}

/// Loads edges that a walk may take.
struct Steps<'a> {
    connection: &'a Connection,
    sight: &'a Sight,
    relations: i64,
    at_ms: u64,
    now_ms: u64,
}

/// Edges of one record: `$near` is its column, `$far` that of the other end. The far end must be a memory in use
/// that may be seen, or be shown as one, which `?1` and `?2` decide.
macro_rules! edges_of {
    ($near:literal, $far:literal) => {
        concat!(
            "SELECT l.id, m.id, m.life FROM links l CROSS JOIN memories m ON m.id = l.",
            $far,
            " WHERE l.removed = 0 AND l.",
            $near,
            " = ?3 \
             AND ((1 << l.relation) & ?4) <> 0 \
             AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?5) \
             AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?5) AND ",
            super::sight::present!()
        )
    };
}

impl Steps<'_> {
    fn run(&self, walk: &mut Walk, direction: Direction) -> Result<(), SqlFault> {
        loop {
            let frontier: Vec<MemoryId> = walk.frontier().collect();
            if frontier.is_empty() {
                return Ok(());
            }
            let mut edges = Vec::new();
            for node in frontier {
                self.edges_of(node, direction, &mut edges)?;
            }
            walk.advance(edges);
        }
    }

    fn edges_of(
        &self,
        node: MemoryId,
        direction: Direction,
        edges: &mut Vec<Edge>,
    ) -> Result<(), SqlFault> {
        let (outgoing, incoming) = match direction {
            Direction::Both => (self.relations, self.relations),
            Direction::Outgoing => (self.relations, self.relations & symmetric_mask()),
            Direction::Incoming => (self.relations & symmetric_mask(), self.relations),
        };
        for member in views::members(self.connection, node)? {
            self.select(edges_of!("source", "target"), (node, member), outgoing, edges)?;
            self.select(edges_of!("target", "source"), (node, member), incoming, edges)?;
        }
        Ok(())
    }

    fn select(
        &self,
        text: &str,
        (node, member): (MemoryId, MemoryId),
        relations: i64,
        edges: &mut Vec<Edge>,
    ) -> Result<(), SqlFault> {
        if relations == 0 {
            return Ok(());
        }
        let values: [Value; 5] = [
            self.sight.parameter(),
            signed(self.now_ms).into(),
            member.as_bytes().to_vec().into(),
            relations.into(),
            signed(self.at_ms).into(),
        ];
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query(crate::sql::params_from_iter(&values))?;
        let broken = |error: types::Invalid| SqlFault::Damaged {
            table: "links",
            key: format!("at memory {node}"),
            problem: error.to_string(),
        };
        while let Some(row) = rows.next()? {
            let link = LinkId::from_slice(&row.get::<Vec<u8>>(0)?).map_err(broken)?;
            let mut to = MemoryId::from_slice(&row.get::<Vec<u8>>(1)?).map_err(broken)?;
            if row.get::<i64>(2)? == BEHIND {
                to = views::face(self.connection, to)?;
            }
            if to != node {
                edges.push(Edge { from: node, link, to });
            }
        }
        Ok(())
    }

    /// Links whose ends are both in the set, in order of id.
    fn links_among(&self, members: &BTreeSet<MemoryId>) -> Result<Vec<Link>, SqlFault> {
        let mut statement = self.connection.prepare_cached(concat!(
            select_links!(),
            "WHERE l.removed = 0 AND l.source = ?1 AND ((1 << l.relation) & ?2) <> 0 \
             AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?3) \
             AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?3)"
        ))?;
        let mut all = Vec::new();
        for shown in members {
            for member in views::members(self.connection, *shown)? {
                let mut rows = statement.query((
                    member.as_bytes().as_slice(),
                    self.relations,
                    signed(self.at_ms),
                ))?;
                while let Some(row) = rows.next()? {
                    let found = as_shown(self.connection, link(row)?)?;
                    let among = |link: &Link| {
                        members.contains(&link.source) && members.contains(&link.target)
                    };
                    all.extend(found.filter(among));
                }
            }
        }
        all.sort_unstable_by_key(|link| link.id);
        Ok(all)
    }
}
