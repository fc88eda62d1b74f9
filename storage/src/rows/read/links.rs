//! Links, neighbourhoods and paths.
//!
//! Invariants: `STO-2` an edge is loaded only when both its ends may be seen, so a walk never passes
//! through what the reader may not see and no answer hints at it; `LRD-1` a link of one of several records that are
//! shown as one is a link of what is shown, and one between them is none. Graphs and paths consist of memories in
//! use; [`links`] also shows links to archived ones, which `get` returns.
//!
//! Not here: the walk itself (`crate::graph`).

use std::collections::{BTreeMap, BTreeSet};

use types::{
    AgentId, Hlc, Link, LinkId, MemoryId, NodeId, Register, Relation, Stamp,
    limits::{GRAPH_DEPTH_MAX, GRAPH_NODES_MAX, PATHS_MAX},
    memory::Validity,
};

use super::{many, memories, reach, sight::Sight, views};
use crate::{
    answer::{Graph, Path},
    graph::{Edge, Walk, shortest_paths},
    request::{Direction, GraphQuery, PathQuery},
    rows::{
        fault::SqlFault,
        row::{self, BEHIND, signed, unsigned},
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
    let mut found = Vec::new();
    // Two statements, each along its index; together they would be a scan of all links.
    for column in ["source", "target"] {
        let before = format!(concat!(select_links!(), "WHERE l.removed = 0 AND l.{}"), column);
        found.extend(many::rows(connection, (&before, ""), &[], &members, link)?);
    }
    let ends = found.iter().flat_map(|link| [link.source, link.target]);
    let ends: BTreeSet<MemoryId> = ends.filter(|end| !members.contains(end)).collect();
    let seen = memories::gettable_of(connection, sight, &ends, UNTIMED)?;
    found.retain(|link| {
        [link.source, link.target].iter().all(|end| members.contains(end) || seen.contains(end))
    });
    let faces = views::faces(connection, ends.iter().chain(&members))?;
    let mut all: Vec<Link> = found.into_iter().filter_map(|link| as_shown(&faces, link)).collect();
    all.sort_unstable_by_key(|link| link.id);
    Ok(all)
}

/// The link between what its ends are shown as, if that is known and not one and the same (`LRD-1`).
fn as_shown(faces: &BTreeMap<MemoryId, MemoryId>, link: Link) -> Option<Link> {
    let (mut source, mut target) = (*faces.get(&link.source)?, *faces.get(&link.target)?);
    if link.relation.is_symmetric() && target < source {
        std::mem::swap(&mut source, &mut target);
    }
    (source != target).then_some(Link { source, target, ..link })
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
    steps.run(&mut walk, (start, query.depth), query.direction)?;
    let found = walk.finish();
    let members: BTreeSet<MemoryId> = found.nodes.iter().map(|(_, id)| *id).collect();
    let mut views = memories::get_all(connection, sight, &members, query.now_ms)?;
    let view = |(distance, id)| match views.remove(&id) {
        Some(view) => Ok((distance, view)),
        None => Err(memories::not_found(id)),
    };
    let nodes = found.nodes.into_iter().map(view).collect::<Result<_, _>>()?;
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
        steps.run(&mut walk, (end, depth), Direction::Both)?;
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
pub(super) struct Steps<'a> {
    pub(super) connection: &'a Connection,
    pub(super) sight: &'a Sight,
    pub(super) relations: i64,
    pub(super) at_ms: u64,
    pub(super) now_ms: u64,
}

/// A link's id.
pub(super) fn link_id(bytes: &[u8]) -> Result<LinkId, SqlFault> {
    LinkId::from_slice(bytes).map_err(|error| SqlFault::Damaged {
        table: "links",
        key: hex::encode(bytes),
        problem: error.to_string(),
    })
}

/// Edges of records: `$near` is their column, `$far` that of the other end. The far end must be a memory in use that
/// may be seen, or be shown as one, which `?1` and `?2` decide.
macro_rules! edges_of {
    ($near:literal, $far:literal) => {
        (
            concat!(
                "SELECT l.id, l.",
                $near,
                ", m.id, m.life FROM links l CROSS JOIN memories m ON m.id = l.",
                $far,
                " WHERE l.removed = 0 AND l.",
                $near,
            ),
            concat!(
                " AND ((1 << l.relation) & ?3) <> 0 \
                 AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?4) \
                 AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?4) AND ",
                super::sight::present!()
            ),
        )
    };
}

impl Steps<'_> {
    fn run(
        &self,
        walk: &mut Walk,
        (start, depth): (MemoryId, u32),
        direction: Direction,
    ) -> Result<(), SqlFault> {
        if let Some(edges) = reach::edges(self, start, depth, direction)? {
            let mut leaving: BTreeMap<MemoryId, Vec<Edge>> = BTreeMap::new();
            for edge in edges {
                leaving.entry(edge.from).or_default().push(edge);
            }
            loop {
                let frontier: Vec<MemoryId> = walk.frontier().collect();
                if frontier.is_empty() {
                    return Ok(());
                }
                walk.advance(frontier.iter().filter_map(|node| leaving.remove(node)).flatten());
            }
        }
        loop {
            let frontier: BTreeSet<MemoryId> = walk.frontier().collect();
            if frontier.is_empty() {
                return Ok(());
            }
            walk.advance(self.edges_of(&frontier, direction)?);
        }
    }

    /// Relations that are followed from source to target, and those that are the other way.
    pub(super) fn masks(&self, direction: Direction) -> (i64, i64) {
        match direction {
            Direction::Both => (self.relations, self.relations),
            Direction::Outgoing => (self.relations, self.relations & symmetric_mask()),
            Direction::Incoming => (self.relations & symmetric_mask(), self.relations),
        }
    }

    /// Edges of all these memories, the nearer end first.
    fn edges_of(
        &self,
        nodes: &BTreeSet<MemoryId>,
        direction: Direction,
    ) -> Result<Vec<Edge>, SqlFault> {
        let (outgoing, incoming) = self.masks(direction);
        let shown = views::members_of(self.connection, nodes)?;
        let mut met = self.select(edges_of!("source", "target"), &shown, outgoing)?;
        met.extend(self.select(edges_of!("target", "source"), &shown, incoming)?);
        let behind = met.iter().filter(|(_, life)| *life == BEHIND).map(|(edge, _)| &edge.to);
        let faces = views::faces(self.connection, behind)?;
        let edges = met.into_iter().map(|(edge, _)| {
            let to = faces.get(&edge.to).copied().unwrap_or(edge.to);
            Edge { to, ..edge }
        });
        Ok(edges.filter(|edge| edge.from != edge.to).collect())
    }

    /// Edges with `memories.life` of their far ends.
    fn select(
        &self,
        around: (&str, &str),
        shown: &BTreeMap<MemoryId, MemoryId>,
        relations: i64,
    ) -> Result<Vec<(Edge, i64)>, SqlFault> {
        if relations == 0 {
            return Ok(Vec::new());
        }
        let values: [Value; 4] = [
            self.sight.parameter(),
            signed(self.now_ms).into(),
            relations.into(),
            signed(self.at_ms).into(),
        ];
        let records: Vec<MemoryId> = shown.keys().copied().collect();
        many::rows(self.connection, around, &values, &records, |row| {
            let near = row::memory_id("links", row.get(1)?)?;
            let link = link_id(row.get(0)?)?;
            let from = shown.get(&near).copied().unwrap_or(near);
            let to = row::memory_id("links", row.get(2)?)?;
            Ok((Edge { from, to, link }, row.get(3)?))
        })
    }

    /// Links whose ends are both in the set, in order of id.
    fn links_among(&self, nodes: &BTreeSet<MemoryId>) -> Result<Vec<Link>, SqlFault> {
        let around = (
            concat!(
                select_links!(),
                "WHERE l.removed = 0 AND ((1 << l.relation) & ?1) <> 0 \
                 AND (l.valid_from_ms IS NULL OR l.valid_from_ms <= ?2) \
                 AND (l.valid_until_ms IS NULL OR l.valid_until_ms > ?2) AND l.source"
            ),
            "",
        );
        let shown = views::members_of(self.connection, nodes)?;
        let records: Vec<MemoryId> = shown.keys().copied().collect();
        let values: [Value; 2] = [self.relations.into(), signed(self.at_ms).into()];
        let met = many::rows(self.connection, around, &values, &records, link)?;
        let mut all: Vec<Link> =
            met.into_iter().filter_map(|link| as_shown(&shown, link)).collect();
        all.sort_unstable_by_key(|link| link.id);
        Ok(all)
    }
}
