//! Links, walks along them, and history, as a client asks for them.
//!
//! Invariant: depths, limits and times are checked here, before anything is read.
//!
//! Not here: the walks themselves (`storage`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use storage::{
    answer::{Change, Graph, Path},
    request::{Direction, GraphQuery, PathQuery, TimelineQuery},
};
use types::{
    Invalid, Link, LinkId, MemoryId,
    limits::{GRAPH_DEPTH_MAX, PAGE_MAX, PATHS_MAX},
    link::NewLink,
    memory::Validity,
};
use utoipa::ToSchema;

use super::{
    FilterInput, MemoryOut,
    filter::page_limit,
    time,
    vocabulary::{AgentName, InstantText, LinkKey, MemoryKey, MemoryRefKey, RelationName},
};

/// A link to make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkInput {
    /// Id of the memory it starts at.
    #[schema(value_type = MemoryKey)]
    pub source: String,
    /// Id of the memory it ends at.
    #[schema(value_type = MemoryKey)]
    pub target: String,
    /// `related_to`, `supersedes`, `contradicts`, `derived_from`, `reflects_on`, `decomposes_into`,
    /// `depends_on` or `advances`.
    #[schema(value_type = RelationName)]
    pub relation: String,
    /// From when it holds (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_from: Option<String>,
    /// Until when it holds (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_until: Option<String>,
}

impl LinkInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_link(&self, id: LinkId) -> Result<NewLink, Invalid> {
        let end = |field, text: &str| {
            text.parse::<MemoryId>().map_err(|e| Invalid::new(field, e.problem))
        };
        NewLink {
            id,
            source: end("source", &self.source)?,
            target: end("target", &self.target)?,
            relation: self.relation.parse()?,
            validity: Validity {
                from_ms: time::from_option("valid_from", self.valid_from.as_deref())?,
                until_ms: time::from_option("valid_until", self.valid_until.as_deref())?,
            },
        }
        .normalise()
    }
}

/// A link as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkOut {
    /// Its id.
    #[schema(value_type = LinkKey)]
    pub id: String,
    /// Id of the memory it starts at.
    #[schema(value_type = MemoryKey)]
    pub source: String,
    /// Id of the memory it ends at.
    #[schema(value_type = MemoryKey)]
    pub target: String,
    /// What it says.
    #[schema(value_type = RelationName)]
    pub relation: String,
    /// Who made it.
    #[schema(value_type = AgentName)]
    pub agent_id: String,
    /// When it was made.
    #[schema(value_type = InstantText)]
    pub created_at: String,
    /// From when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_from: Option<String>,
    /// Until when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_until: Option<String>,
}

impl From<Link> for LinkOut {
    fn from(link: Link) -> Self {
        Self {
            id: link.id.to_string(),
            source: link.source.to_string(),
            target: link.target.to_string(),
            relation: link.relation.to_string(),
            agent_id: link.author.to_string(),
            created_at: time::to_text(link.created.hlc.wall_ms()),
            valid_from: link.validity.value.from_ms.map(time::to_text),
            valid_until: link.validity.value.until_ms.map(time::to_text),
        }
    }
}

/// A walk along links.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GraphInput {
    /// Id (or prefix) of the memory it starts at.
    #[schema(value_type = MemoryRefKey, required)]
    pub id: String,
    /// How many links deep, 1 to 5. Default 1.
    #[schema(minimum = 1, maximum = 5)]
    pub depth: Option<u32>,
    /// Only these relations.
    #[schema(value_type = Vec<RelationName>)]
    pub relations: Vec<String>,
    /// `both` (default), `outgoing` or `incoming`.
    #[schema(pattern = "^(both|outgoing|incoming)$")]
    pub direction: Option<String>,
    /// Links that held at this instant (RFC 3339). Default now.
    #[schema(value_type = Option<InstantText>)]
    pub as_of: Option<String>,
}

fn graph_depth(depth: Option<u32>, default: u32) -> Result<u32, Invalid> {
    match depth.unwrap_or(default) {
        n if (1..=GRAPH_DEPTH_MAX).contains(&n) => Ok(n),
        n => Err(Invalid::new("depth", format!("needs 1 to {GRAPH_DEPTH_MAX}, got {n}"))),
    }
}

impl GraphInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_query(&self, now_ms: u64) -> Result<GraphQuery, Invalid> {
        Ok(GraphQuery {
            start: self.id.parse()?,
            depth: graph_depth(self.depth, 1)?,
            relations: self
                .relations
                .iter()
                .map(|r| r.parse())
                .collect::<Result<BTreeSet<_>, _>>()?,
            direction: match self.direction.as_deref().unwrap_or("both") {
                "both" => Direction::Both,
                "outgoing" => Direction::Outgoing,
                "incoming" => Direction::Incoming,
                other => {
                    return Err(Invalid::new(
                        "direction",
                        format!("unknown value {other:?}; use both, outgoing or incoming"),
                    ));
                }
            },
            as_of_ms: time::from_option("as_of", self.as_of.as_deref())?,
            now_ms,
        })
    }
}

/// A memory at some distance from the start of a walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// Links from the start.
    pub distance: u32,
    /// The memory.
    pub memory: MemoryOut,
}

/// The neighbourhood of a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphOut {
    /// Memories by distance, then id.
    pub nodes: Vec<GraphNode>,
    /// Links among them.
    pub links: Vec<LinkOut>,
    /// Whether the node limit cut the walk short.
    pub truncated: bool,
}

impl From<Graph> for GraphOut {
    fn from(graph: Graph) -> Self {
        Self {
            nodes: graph
                .nodes
                .into_iter()
                .map(|(distance, memory)| GraphNode { distance, memory: memory.into() })
                .collect(),
            links: graph.links.into_iter().map(Into::into).collect(),
            truncated: graph.truncated,
        }
    }
}

/// The shortest ways between two memories.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathInput {
    /// Id (or prefix) of one end.
    #[schema(value_type = MemoryRefKey, required)]
    pub from: String,
    /// Id (or prefix) of the other.
    #[schema(value_type = MemoryRefKey, required)]
    pub to: String,
    /// Longest path in links, 1 to 5. Default 5.
    #[schema(minimum = 1, maximum = 5)]
    pub depth: Option<u32>,
    /// At most so many paths, 1 to 16. Default 3.
    #[schema(minimum = 1, maximum = 16)]
    pub limit: Option<u32>,
    /// Links that held at this instant (RFC 3339). Default now.
    #[schema(value_type = Option<InstantText>)]
    pub as_of: Option<String>,
}

impl PathInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_query(&self, now_ms: u64) -> Result<PathQuery, Invalid> {
        Ok(PathQuery {
            from: self.from.parse().map_err(|e: Invalid| Invalid::new("from", e.problem))?,
            to: self.to.parse().map_err(|e: Invalid| Invalid::new("to", e.problem))?,
            depth: graph_depth(self.depth, GRAPH_DEPTH_MAX)?,
            limit: page_limit(Some(self.limit.unwrap_or(3)), PATHS_MAX)?,
            as_of_ms: time::from_option("as_of", self.as_of.as_deref())?,
            now_ms,
        })
    }
}

/// One way between two memories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathOut {
    /// Ids of the memories on it, from one end to the other.
    pub nodes: Vec<String>,
    /// Ids of the links between them.
    pub links: Vec<String>,
}

impl From<Path> for PathOut {
    fn from(path: Path) -> Self {
        Self {
            nodes: path.nodes.iter().map(MemoryId::to_string).collect(),
            links: path.links.iter().map(LinkId::to_string).collect(),
        }
    }
}

/// History of a memory, or of those a filter names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimelineInput {
    /// Id (or prefix) of the memory; absent: by filter.
    #[schema(value_type = Option<MemoryRefKey>)]
    pub id: Option<String>,
    /// What may be returned.
    pub filter: FilterInput,
    /// From this instant (RFC 3339).
    #[schema(value_type = Option<InstantText>)]
    pub from: Option<String>,
    /// Until this instant (RFC 3339).
    #[schema(value_type = Option<InstantText>)]
    pub until: Option<String>,
    /// At most so many, 1 to 1000. Default 50.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

impl TimelineInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_query(&self, now_ms: u64) -> Result<TimelineQuery, Invalid> {
        Ok(TimelineQuery {
            id: self.id.as_deref().map(str::parse).transpose()?,
            filter: self.filter.to_filter()?,
            from_ms: time::from_option("from", self.from.as_deref())?,
            until_ms: time::from_option("until", self.until.as_deref())?,
            limit: page_limit(self.limit, PAGE_MAX)?,
            now_ms,
        })
    }
}

/// A change as a client reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeOut {
    /// Its place in this node's change stream; resume a watch after it.
    pub position: u64,
    /// The operation's name, `node:sequence`.
    pub op: String,
    /// When.
    pub at: String,
    /// Who.
    pub agent_id: String,
    /// What, e.g. `memory.store`.
    pub event_type: String,
    /// Id of the memory it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_id: Option<String>,
    /// That memory as it is now; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryOut>,
}

impl From<Change> for ChangeOut {
    fn from(change: Change) -> Self {
        Self {
            position: change.position,
            op: change.op.to_string(),
            at: time::to_text(change.hlc.wall_ms()),
            agent_id: change.agent.to_string(),
            event_type: change.event_type,
            memory_id: change.memory_id.map(|id| id.to_string()),
            memory: change.memory.map(Into::into),
        }
    }
}
